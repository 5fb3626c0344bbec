//! Makes a host's live chains what a set declares: trust, observe, plan, execute.
//!
//! | module | what | pure |
//! | --- | --- | --- |
//! | [`record`] | what a live chain says about itself | yes |
//! | [`live`] | what is live: links, records, maps, strangers | yes |
//! | [`desired`] | a set's chains and this host's interfaces → what each hook should run | yes |
//! | [`plan`] | desired and live → what will be done, or why it won't | yes |
//! | [`execute`] | plan → outcome | but for what implements [`execute::Kernel`] |
pub mod desired;
pub mod execute;
pub mod live;
pub mod plan;
pub mod record;
