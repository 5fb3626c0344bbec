//! The bundle format's only reader and only writer: lays bundles out, pushes them, pulls them, reads and writes signatures.
//!
//! | module | from what, into what | touches |
//! | --- | --- | --- |
//! | [`set`] | objects → a bundle in a layout | files of one layout |
//! | [`layout`] | an OCI image layout on disk | files of one layout |
//! | [`mod@pull`] | a reference → bytes that match their digests | a layout or a registry |
//! | [`image`] | somebody's program image → an object, and what proves whose it is | a layout or a registry |
//! | [`mod@push`] | a bundle in a layout → a registry or another layout | both |
//! | [`Parts`] | a fetched bundle → the same bundle in a layout, nothing asked again | files of one layout |
//! | [`listing`] | a reference → the digests of everything that belongs to its version | a layout or a registry |
//! | [`network`] | HTTP to registries: one transport, bounded everywhere; the async runtime lives here alone | network |
//! | [`credentials`] | docker's and podman's files → a registry's user and password | files, helpers |
//! | [`key`], [`statement`], [`signature`] | keys ⇄ files, statements ⇄ signatures | key files |
//! | [`archive`], [`oci`], [`json`], [`hash`], [`limits`] | pieces of the format | nothing |
//!
//! *Genuine* is our business: bytes are what their digests say, a config means one
//! thing, a signature belongs to its subject. *Welcome* is not: whether a key is
//! trusted is decided in `applier`, and nothing here loads anything.
#![forbid(unsafe_code)]

pub mod archive;
pub mod credentials;
pub mod hash;
pub mod image;
pub mod json;
pub mod key;
pub mod layout;
pub mod limits;
pub mod listing;
pub mod network;
pub mod oci;
mod parts;
pub mod pull;
pub mod push;
mod referrers;
mod registry;
pub mod set;
pub mod signature;
pub mod statement;
mod store;
pub mod transfer;

pub use credentials::Credentials;
pub use image::{FetchedImage, ImageObject, pull_image};
pub use layout::{Layout, LayoutError};
pub use limits::Limits;
pub use listing::{ClaimError, Listed, Listing, list};
pub use network::{Network, Timeouts};
pub use parts::Parts;
pub use pull::{CarriedImage, FetchedBundle, PullError, pin, pull};
pub use push::{PushError, PushEvent, add_signature, copy, push};
pub use referrers::RawSignature;
pub use set::{BundleError, Bundled, PackProgram, PackSet, bundle};
pub use transfer::TransferError;
