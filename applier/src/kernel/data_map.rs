//! What maps of global variables are called in the kernel: `bss.1a2b3c4d`.
//!
//! Pure. A live `.data` or `.bss` may serve a new program only if its variables
//! still lie where they lay and began as they would begin now. That is a digest,
//! and the only place of a live map that can hold some of it is its name, of which
//! the kernel keeps 15 characters: 32 bits of the digest are in there.

use bpfkit_schemas::names::Digest;

/// The bytes of a layout's digest that a live map keeps.
const KEPT: usize = 4;

/// The kernel's name for a map of global variables with this layout.
pub(super) fn name(section: &str, layout: &Digest) -> String {
    let section = section.trim_start_matches('.').split('.').next().unwrap_or_default();
    let section: String = section.chars().take(6).collect();
    format!("{section}.{}", layout.hex().get(..2 * KEPT).unwrap_or_default())
}

/// What a live map's name tells of a digest: its first bytes, the rest zero.
pub(super) fn kept(digest: &Digest) -> Digest {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(digest.as_bytes()).take(KEPT) {
        *to = *from;
    }
    Digest::from_bytes(bytes)
}

/// The part of the layout's digest that a live map's name tells, the rest zero.
pub(super) fn layout(name: &str) -> Option<Digest> {
    let (_, hex) = name.split_once('.')?;
    if hex.len() != 2 * KEPT || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let kept = u32::from_str_radix(hex, 16).ok()?;
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(kept.to_be_bytes()) {
        *to = from;
    }
    Some(Digest::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_first_bytes_of_the_layout_and_fits() {
        let digest = Digest::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap() + 0xa0));
        for section in [".bss", ".data", ".rodata", ".data.hot"] {
            let name = name(section, &digest);
            assert!(name.len() <= 15, "{name}");
            assert_eq!(layout(&name).unwrap().as_bytes()[..5], [0xa0, 0xa1, 0xa2, 0xa3, 0]);
        }
    }

    #[test]
    fn other_names_tell_nothing() {
        for name in ["", "bss", "bss.", "bss.1a2b3c4", "bss.1a2b3c4g", "bss.+a2b3c4d", "edge.bss"] {
            assert_eq!(layout(name), None, "{name}");
        }
    }
}
