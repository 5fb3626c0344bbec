//! Makes a host's live chains what a set declares: trust, observe, plan, execute.
//!
//! | module | noun | pure |
//! | --- | --- | --- |
//! | [`live`] | what is live: links, records, maps, strangers | yes |
//! | [`execute`] | plan → outcome, through the [`execute::Kernel`] trait | but for the trait |
pub mod execute;
pub mod live;
pub mod plan;
