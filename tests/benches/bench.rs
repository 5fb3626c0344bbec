//! bpfkit beside what its users would run otherwise, in one run: `make bench`.
//!
//! Prints tables of ratios; with `--write` they go to `docs/benchmarks.md` as well. Times differ from
//! machine to machine and from hour to hour, so each line is measured beside its rivals, in turns,
//! and the least of several rounds counts: what is left when nothing got in the way.
#![forbid(unsafe_code)]
#![expect(clippy::panic, reason = "a benchmark that can't go on stops, and says why")]
#![expect(clippy::print_stdout, reason = "what it measured is what it is for")]

#[path = "bench/applies.rs"]
mod applies;
#[path = "bench/hops.rs"]
mod hops;
#[path = "bench/rivals.rs"]
mod rivals;
#[path = "bench/table.rs"]
mod table;

use std::fmt::Write as _;

fn main() {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let write = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--write"] => true,
        _ => panic!("usage: make bench [ARGS=--write]"),
    };
    let mut text = String::from(include_str!("bench/method.md"));
    for (title, table) in
        [("Start-up", applies::start_up as fn() -> String), ("One more program in a chain", hops::hops)]
            .into_iter()
            .chain([
                ("A chain from nothing", applies::first as fn() -> String),
                ("Nothing to do", applies::nothing_to_do),
            ])
    {
        let table = table();
        println!("## {title}\n\n{table}");
        let _ = write!(text, "\n## {title}\n\n{table}");
    }
    if write {
        let path = bpfkit_tests::root().join("docs/benchmarks.md");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("wrote {}", path.display());
    }
}
