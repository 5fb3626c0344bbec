//! Tests with a real clang: what is built, what is rebuilt, and what is refused.
//!
//! They need clang 15 or newer, make and bpftool; where one is missing they fail.

#[path = "it/bench.rs"]
mod bench;
#[path = "it/header.rs"]
mod header;
