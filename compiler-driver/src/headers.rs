//! The headers that come with bpfkit: libbpf's helpers for BPF programs, as `<bpf/…>`.
//!
//! Taken unchanged from libbpf 1.7.0 under the BSD-2-Clause licence (see
//! `headers/bpf/LICENSE.BSD-2-Clause`). They are laid out in a folder named after
//! their content, so another version of bpfkit never changes a header under a
//! build, and a folder that is there is never written again.

use std::sync::OnceLock;

use bpfkit_schemas::Digest;

use crate::digest::Hasher;

/// File name and text.
pub(crate) const LIBBPF: [(&str, &str); 5] = [
    ("bpf_core_read.h", include_str!("../headers/bpf/bpf_core_read.h")),
    ("bpf_endian.h", include_str!("../headers/bpf/bpf_endian.h")),
    ("bpf_helper_defs.h", include_str!("../headers/bpf/bpf_helper_defs.h")),
    ("bpf_helpers.h", include_str!("../headers/bpf/bpf_helpers.h")),
    ("bpf_tracing.h", include_str!("../headers/bpf/bpf_tracing.h")),
];

/// The version of libbpf that the headers are from.
pub const LIBBPF_VERSION: &str = "1.7.0";

/// A digest of all the headers.
pub(crate) fn digest() -> Digest {
    static DIGEST: OnceLock<Digest> = OnceLock::new();
    *DIGEST.get_or_init(|| {
        let mut hasher = Hasher::new("bpfkit-libbpf-headers-1");
        for (name, text) in LIBBPF {
            hasher.part(name.as_bytes());
            hasher.part(text.as_bytes());
        }
        hasher.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_include_nothing_but_each_other() {
        for (name, text) in LIBBPF {
            for line in text.lines().filter(|line| line.trim_start().starts_with("#include")) {
                assert!(LIBBPF.iter().any(|(other, _)| line.contains(&format!("\"{other}\""))), "{name}: {line}");
            }
        }
    }
}
