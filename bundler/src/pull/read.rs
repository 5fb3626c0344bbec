//! The bundle format's rules for what was read: documents, the right child, the layers, the config.
//!
//! Pure: bytes in, parts or a [`FormatError`] out. Nothing is guessed: a bundle
//! that the writer in [`crate::set`] could not have written is refused.

use bpfkit_schemas::{
    bundle::{BundledProgram, FORMAT, LAYER_TYPE, MANIFEST_LAYER_TYPE, SET_ARTIFACT_TYPE, SET_CONFIG_TYPE, SetConfig},
    names::{Digest, Platform},
};
use serde::Deserialize;

use super::{FormatError, layer_name};
use crate::{
    archive,
    hash::sha256,
    json,
    limits::{INDEX_ENTRIES, LAYERS, Limits},
    oci::{Descriptor, Document, Index, Manifest},
    set::object_file,
};

/// Reads an index or a manifest.
pub(crate) fn document(digest: &Digest, bytes: &[u8]) -> Result<Document, FormatError> {
    Document::read(bytes).map_err(|source| FormatError::Json { what: format!("manifest `{}`", digest.short()), source })
}

/// The one entry of a flat index that is for `platform`.
pub(crate) fn child(index: &Index, platform: Platform) -> Result<&Descriptor, FormatError> {
    if index.manifests.len() > INDEX_ENTRIES {
        return Err(FormatError::TooManyEntries { count: index.manifests.len() });
    }
    if index.manifests.iter().any(Descriptor::is_index) {
        return Err(FormatError::NestedIndex);
    }
    let mut fitting = index.manifests.iter().filter(|entry| of(entry) == Some(platform));
    let Some(first) = fitting.next() else {
        let have = index.manifests.iter().filter_map(of).map(|platform| platform.to_string()).collect();
        return Err(FormatError::NoPlatform { want: platform, have });
    };
    if fitting.next().is_some() {
        return Err(FormatError::TwoForPlatform { platform });
    }
    if !first.is_manifest() {
        let found = json::printable(&first.media_type);
        return Err(FormatError::MediaType { what: format!("the entry for {platform}"), found });
    }
    Ok(first)
}

/// The platforms of an index of ours: every entry has one that bpfkit knows.
pub(crate) fn platforms(index: &Index) -> Result<Vec<Platform>, FormatError> {
    if index.manifests.len() > INDEX_ENTRIES {
        return Err(FormatError::TooManyEntries { count: index.manifests.len() });
    }
    let unknown = || FormatError::MediaType {
        what: "an entry of the index".to_owned(),
        found: "no platform that bpfkit knows".to_owned(),
    };
    index.manifests.iter().map(|entry| of(entry).ok_or_else(unknown)).collect()
}

/// The platform that a set bundle's config names.
pub(crate) fn platform_of(config: &[u8]) -> Result<Platform, FormatError> {
    #[derive(Deserialize)]
    struct Of {
        platform: Platform,
    }
    let Of { platform } =
        json::read(config).map_err(|source| FormatError::Json { what: "the config".to_owned(), source })?;
    Ok(platform)
}

/// Checks that what came has the size that its descriptor gave.
pub(crate) fn same_size(descriptor: &Descriptor, bytes: &[u8]) -> Result<(), FormatError> {
    if descriptor.size == bytes.len() as u64 {
        Ok(())
    } else {
        Err(FormatError::Size { digest: descriptor.digest, want: descriptor.size, found: bytes.len() as u64 })
    }
}

/// The program layers of a set bundle's manifest, and the layer of its YAML, all of allowed types and sizes.
pub(crate) fn set_layers<'a>(
    manifest: &'a Manifest,
    limits: &Limits,
) -> Result<(&'a [Descriptor], &'a Descriptor), FormatError> {
    if manifest.artifact_type.as_deref() != Some(SET_ARTIFACT_TYPE) {
        let found = manifest.artifact_type.as_deref().unwrap_or(&manifest.config.media_type);
        return Err(FormatError::NotASet { found: json::printable(found) });
    }
    media_type(&manifest.config, SET_CONFIG_TYPE, "the config")?;
    size(&manifest.config, limits.config_bytes, "the config")?;
    if manifest.layers.len() > LAYERS {
        return Err(FormatError::TooManyLayers { count: manifest.layers.len() });
    }
    let Some((yaml, layers)) = manifest.layers.split_last() else {
        return Err(FormatError::LayerCount { layers: 0, programs: 0 });
    };
    for layer in layers {
        media_type(layer, LAYER_TYPE, &layer_name(layer))?;
        size(layer, limits.layer_bytes, &layer_name(layer))?;
    }
    media_type(yaml, MANIFEST_LAYER_TYPE, "the last layer")?;
    size(yaml, limits.config_bytes, "the last layer")?;
    Ok((layers, yaml))
}

/// Reads a set bundle's config, which must be of our format and for `platform`.
pub(crate) fn set_config(bytes: &[u8], platform: Platform) -> Result<SetConfig, FormatError> {
    /// Read first: a newer format may have anything else in it.
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let broken = |source| FormatError::Json { what: "the config".to_owned(), source };
    let Versioned { format } = json::read(bytes).map_err(broken)?;
    if format != FORMAT {
        return Err(FormatError::Version { found: format });
    }
    let config: SetConfig = json::read(bytes).map_err(broken)?;
    if config.platform != platform {
        return Err(FormatError::OtherPlatform { want: platform, found: config.platform });
    }
    let mut names: Vec<_> = config.programs.iter().map(|program| &program.name).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
        return Err(FormatError::ProgramTwice { program: (*twice).clone() });
    }
    Ok(config)
}

/// Checks that layer `i` is program `i`'s.
pub(crate) fn layers_fit(config: &SetConfig, layers: &[Descriptor]) -> Result<(), FormatError> {
    if layers.len() != config.programs.len() {
        return Err(FormatError::LayerCount { layers: layers.len() + 1, programs: config.programs.len() });
    }
    match config.programs.iter().zip(layers).find(|(program, layer)| program.layer != layer.digest) {
        Some((program, _)) => Err(FormatError::LayerSwapped { program: program.name.clone() }),
        None => Ok(()),
    }
}

/// Takes a program's object out of its layer.
pub(crate) fn object(program: &BundledProgram, layer: &[u8], limits: &Limits) -> Result<Vec<u8>, FormatError> {
    let name = &program.name;
    let object = archive::unpack(layer, &object_file(name), limits.object_bytes)
        .map_err(|source| FormatError::Layer { program: name.to_string(), source })?;
    let found = sha256(&object);
    if found != program.object.digest || object.len() as u64 != program.object.size {
        return Err(FormatError::OtherObject { program: name.clone(), want: program.object.digest, found });
    }
    Ok(object)
}

/// Checks a part's media type.
pub(crate) fn media_type(part: &Descriptor, want: &str, what: &str) -> Result<(), FormatError> {
    if part.media_type == want {
        Ok(())
    } else {
        Err(FormatError::MediaType { what: what.to_owned(), found: json::printable(&part.media_type) })
    }
}

/// Checks a part's size before it is asked for.
pub(crate) fn size(part: &Descriptor, max: u64, what: &str) -> Result<(), FormatError> {
    if part.size <= max {
        Ok(())
    } else {
        Err(FormatError::PartTooLarge { what: what.to_owned(), size: part.size, max })
    }
}

fn of(entry: &Descriptor) -> Option<Platform> {
    entry.platform.as_ref().and_then(crate::oci::OciPlatform::known)
}
