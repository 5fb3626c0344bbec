//! Linux.
pub mod error;
pub mod lock;
mod bpffs;
mod data_map;
mod netlink;
mod netns;
mod observe;
mod sys;
