//! Tests with a real clang: what is built, what is built again, and what is refused.
//!
//! They need clang 15 or newer with the kernel's user headers, make, readelf, bpftool and
//! root (to load one object); where one is missing they fail.

#[path = "it/bench.rs"]
mod bench;
#[path = "it/building.rs"]
mod building;
#[path = "it/header.rs"]
mod header;
#[path = "it/refusing.rs"]
mod refusing;
