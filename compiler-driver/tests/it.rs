//! Tests with a real clang: what is built, what is built again, and what is refused.
//!
//! They need clang 15 or newer with the kernel's user headers, make, readelf, bpftool and
//! root (to load one object); where one is missing they fail.

#[cfg(test)]
#[path = "it/bench.rs"]
mod bench;
#[cfg(test)]
#[path = "it/building.rs"]
mod building;
#[cfg(test)]
#[path = "it/header.rs"]
mod header;
#[cfg(test)]
#[path = "it/refusing.rs"]
mod refusing;
