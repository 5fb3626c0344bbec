//! What the crate promises, held against clang, libbpf, bpftool and this machine's kernel (as root).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests; clippy.toml's exceptions don't reach functions beside `#[test]`"
)]

mod btf;
mod building;
mod core_relo;
mod libbpf;
mod merge;
mod objects;
mod vmlinux;
