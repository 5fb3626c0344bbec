//! Makes a host's live chains what a set declares: trust, observe, plan, execute.
//!
//! | module | what | pure |
//! | --- | --- | --- |
//! | [`record`] | what a live chain says about itself | yes |
//! | [`live`] | what is live: links, records, maps, strangers | yes |
//! | [`desired`] | a set's chains and this host's interfaces → what each hook should run | yes |
//! | [`fuse`] | a chain's programs → one program | yes |
//! | [`plan`] | desired and live → what will be done, or why it won't | yes |
//! | [`kernel`] | Linux: observes, loads, attaches, pins | no |
//! | [`execute`] | plan → outcome | but for what implements [`execute::Kernel`] |
//! | [`status`] | live, and desired where that is known → what is there and in what it drifted | yes |
//! | [`session`] | all of it in order: a trusted bundle → a plan and its outcome | no |
//! | [`generations`] | what was applied, kept for the way back: rollback, confirm, restore | no |
//! | [`model`] | a kernel made of plain values, for tests | yes |
#![deny(unsafe_code)]

mod denial;
pub mod desired;
pub mod execute;
mod facts;
pub mod fuse;
pub mod generations;
mod grounds;
pub mod kernel;
pub mod live;
pub mod model;
pub mod plan;
mod policy;
pub mod record;
mod report;
pub mod session;
pub mod status;
pub mod trust;
