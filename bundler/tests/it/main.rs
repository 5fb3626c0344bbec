//! The bundle format against real tools, real registries and hostile ones.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do: at once and with a trace"
)]

mod disk;
mod fixture;
mod formats;
mod images;
mod layouts;
mod registries;
mod server;
mod signing;
mod tools;
mod transport;
