//! How much of what is believed before anything is: every size, count and depth that input is held to.
//!
//! Pure. Whoever serves a bundle decides how many bytes come; these figures
//! decide how many of them are taken. Sizes are bytes.

/// A manifest or an index.
pub const MANIFEST_BYTES: u64 = 4 << 20;
/// One signature.
pub const SIGNATURE_BYTES: u64 = 1 << 20;
/// Layers of one manifest.
pub const LAYERS: usize = 256;
/// Entries of one index.
pub const INDEX_ENTRIES: usize = 256;
/// Referrers of one subject.
pub const REFERRERS: usize = 64;
/// Layers of one referrer.
pub const REFERRER_LAYERS: usize = 8;
/// All the manifests together that a layout's `index.json` lists and that may be referrers.
pub const LISTED_BYTES: u64 = 64 << 20;
/// Manifests, blobs and lists that one operation reads.
pub const PARTS: u32 = 1 << 15;

/// The figures that a caller may lower (and a test does).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// A set bundle's config, or an image's.
    pub config_bytes: u64,
    /// One layer as it travels.
    pub layer_bytes: u64,
    /// One object as it is loaded.
    pub object_bytes: u64,
    /// Everything together, compressed and decompressed.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { config_bytes: 4 << 20, layer_bytes: 32 << 20, object_bytes: 16 << 20, total_bytes: 512 << 20 }
    }
}
