//! The image config of a program image: what bpfman reads about it.
//!
//! Pure. Two labels (`shipping-bytecode`, "OCI image spec", the backwards
//! compatible variant), each JSON inside a string: function → type and map →
//! kind. Both are always there: bpfman's Rust loader refuses an image without.

use std::collections::BTreeMap;

use bpfkit_schemas::{
    names::{Digest, Platform},
    object::ProgramType,
};
use serde::Serialize;

use super::PackProgram;
use crate::json::{self, JsonError};

/// Label: function → type.
pub(super) const PROGRAMS: &str = "io.ebpf.programs";
/// Label: map → kind.
pub(super) const MAPS: &str = "io.ebpf.maps";

/// An image config (image spec 1.1, `config.md`), as far as bytecode has one.
#[derive(Serialize)]
pub(super) struct ImageConfig {
    created: String,
    architecture: &'static str,
    os: &'static str,
    config: Runtime,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct Runtime {
    #[serde(rename = "Labels")]
    labels: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<Digest>,
}

/// The config of the image of `program`, whose layer decompresses to `diff_id`.
pub(super) fn image_config(
    platform: Platform,
    program: &PackProgram,
    diff_id: &Digest,
    created: &str,
) -> Result<ImageConfig, JsonError> {
    let mut functions: BTreeMap<&str, &str> = BTreeMap::new();
    for described in &program.object.programs {
        if let Some(name) = described.kind.and_then(|kind| bpfman_type(kind, &described.section)) {
            functions.insert(&described.function, name);
        }
    }
    let section = program.object.programs.iter().find(|p| p.function == program.entry).map_or("", |p| &p.section);
    functions.insert(&program.entry, bpfman_type(program.kind, section).unwrap_or(program.kind.as_str()));
    let maps: BTreeMap<&str, &str> = program
        .object
        .maps
        .iter()
        .filter(|map| !map.internal)
        .map(|map| (map.name.as_str(), map.kind.as_str()))
        .collect();

    let text =
        |value: &BTreeMap<&str, &str>| json::write(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(ImageConfig {
        created: created.to_owned(),
        architecture: platform.arch.oci(),
        os: "linux",
        config: Runtime { labels: [(PROGRAMS, text(&functions)?), (MAPS, text(&maps)?)].into() },
        rootfs: RootFs { kind: "layers", diff_ids: vec![*diff_id] },
    })
}

/// bpfman's word for a program (`shipping-bytecode`: xdp, tc, tcx, tracepoint, kprobe, kretprobe, uprobe, uretprobe,
/// fentry, fexit, lsm); the kernel's type alone doesn't tell the probes apart, the section does.
fn bpfman_type(kind: ProgramType, section: &str) -> Option<&'static str> {
    let family = section.split(['/', '.', '+']).next().unwrap_or_default();
    Some(match kind {
        ProgramType::Xdp => "xdp",
        ProgramType::SchedCls if family == "tcx" => "tcx",
        ProgramType::SchedCls => "tc",
        ProgramType::Tracepoint => "tracepoint",
        ProgramType::Kprobe => match family {
            "kretprobe" => "kretprobe",
            "uprobe" => "uprobe",
            "uretprobe" => "uretprobe",
            _ => "kprobe",
        },
        ProgramType::Tracing => match family {
            "fentry" => "fentry",
            "fexit" => "fexit",
            _ => return None,
        },
        ProgramType::Lsm => "lsm",
        _ => return None,
    })
}
