//! bpfkit as its users, and their attackers, meet it: the binary, driven from outside.
//!
//! Everything that could touch the host happens in a [`sandbox::Sandbox`], whose
//! mounts and network end with the test.
#![forbid(unsafe_code)]
#![expect(clippy::panic, reason = "a test that can't go on fails, and says why")]

mod attacks;
mod bad_input;
mod document;
mod interop;
mod matching;
mod readme;
mod registry;
mod sandbox;
mod transcripts;
