//! Bundles that were spoilt, each beside a twin that wasn't: every digest is right, something else isn't.

use std::io::Write as _;

use bpfkit_bundler::{FetchedBundle, Layout, Limits, PullError, PushEvent, archive, copy, hash::sha256, list, pull};
use bpfkit_schemas::{
    Code,
    bundle::{LAYER_TYPE, SIGNATURE_TYPE},
    reference::Place,
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::fixture::{
    Here, amd64, codes, digest_in, document, edge, lay_out, list_untagged, network, object, pinned, stored,
};

type Edit<'a> = Box<dyn Fn(&mut Value) + 'a>;

/// The parts of the bundle for linux/amd64, ready to be changed and put together again.
struct Parts<'a> {
    config: Value,
    /// Instead of `config`.
    config_text: Option<String>,
    layers: Vec<(String, Vec<u8>)>,
    /// Whether the config names the layers as they are.
    layers_named: bool,
    manifest: Edit<'a>,
    index: Edit<'a>,
}

fn spoil<'a>(edit: impl FnOnce(&mut Parts<'a>)) -> (Here, Result<FetchedBundle, PullError>) {
    spoil_with(&Limits::default(), edit)
}

fn spoil_with<'a>(limits: &Limits, edit: impl FnOnce(&mut Parts<'a>)) -> (Here, Result<FetchedBundle, PullError>) {
    let here = lay_out(&edge("1.0"));
    let layout = &here.layout;
    let mut index = document(layout, &here.bundled.pinned.digest);
    let mut manifest = document(layout, &digest_in(&index["manifests"][0]["digest"]));
    let layers = manifest["layers"].as_array().unwrap().iter();
    let layers = layers.map(|layer| {
        (layer["mediaType"].as_str().unwrap().to_owned(), layout.blob(&digest_in(&layer["digest"]), 1 << 20).unwrap())
    });
    let mut parts = Parts {
        config: document(layout, &digest_in(&manifest["config"]["digest"])),
        config_text: None,
        layers: layers.collect(),
        layers_named: true,
        manifest: Box::new(|_| ()),
        index: Box::new(|_| ()),
    };
    edit(&mut parts);
    manifest["layers"] = parts.layers.iter().map(|(media_type, bytes)| stored(layout, media_type, bytes)).collect();
    if parts.layers_named {
        for (program, (_, bytes)) in parts.config["programs"].as_array_mut().unwrap().iter_mut().zip(&parts.layers) {
            program["layer"] = sha256(bytes).to_string().into();
        }
    }
    let config = parts.config_text.unwrap_or_else(|| parts.config.to_string());
    let config_type = manifest["config"]["mediaType"].as_str().unwrap().to_owned();
    manifest["config"] = stored(layout, &config_type, config.as_bytes());
    (parts.manifest)(&mut manifest);
    let mut entry = stored(layout, "application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    entry["platform"] = json!({"architecture": "amd64", "os": "linux"});
    index["manifests"][0] = entry;
    (parts.index)(&mut index);
    let root = layout.put_blob(index.to_string().as_bytes()).unwrap();
    let pulled = pull(&network(), &pinned(layout, root), amd64(), limits);
    (here, pulled)
}

#[track_caller]
fn refused<'a>(code: Code, edit: impl FnOnce(&mut Parts<'a>)) {
    let error = spoil(edit).1.map(|_| ()).unwrap_err();
    assert_eq!(codes(&error), [code], "{error:?}");
}

/// Puts `bytes` in the place of the first layer.
fn first_layer(parts: &mut Parts<'_>, bytes: Vec<u8>) {
    parts.layers[0].1 = bytes;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar_of(entries: &[(tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        // As bytes: the crate itself refuses names that climb out.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        if !kind.is_file() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn guard() -> Vec<u8> {
    object("guard amd64").1
}

#[test]
fn the_twin_of_all_these_is_accepted() {
    let (_, pulled) = spoil(|_| ());
    assert_eq!(pulled.unwrap().config.set.as_str(), "edge");
    // Another packer's layer of the same object is a layer of the same object.
    let (_, pulled) =
        spoil(|parts| first_layer(parts, gzip(&tar_of(&[(tar::EntryType::Regular, "guard.o", &guard())]))));
    assert_eq!(*pulled.unwrap().objects[0], guard());
}

#[test]
fn a_config_with_an_unknown_member_is_refused() {
    refused(Code::BAD_JSON, |parts| parts.config["chain"] = json!([]));
    refused(Code::BAD_JSON, |parts| parts.config["programs"][0]["sudo"] = json!(true));
}

#[test]
fn a_config_with_a_member_twice_is_refused() {
    refused(Code::BAD_JSON, |parts| {
        let text = parts.config.to_string();
        // Inside a map, where serde alone would keep the last.
        parts.config_text = Some(text.replacen("\"vars\":{}", "\"vars\":{\"a\":\"1\",\"a\":\"2\"}", 1));
    });
}

#[test]
fn a_config_of_another_format_is_refused_as_such() {
    refused(Code::OTHER_FORMAT, |parts| {
        parts.config["format"] = json!(2);
        parts.config["new_rule"] = json!("deny");
    });
}

#[test]
fn a_config_for_another_platform_is_refused() {
    refused(Code::CONTRADICTION, |parts| parts.config["platform"] = json!("linux/arm64"));
}

#[test]
fn a_program_that_is_there_twice_is_refused() {
    refused(Code::CONTRADICTION, |parts| parts.config["programs"][1]["name"] = json!("guard"));
}

#[test]
fn an_object_that_is_not_the_one_described_is_refused() {
    refused(Code::OTHER_OBJECT, |parts| first_layer(parts, archive::pack("guard.o", b"\x7fELF evil").unwrap().gzip));
    refused(Code::OTHER_OBJECT, |parts| parts.config["programs"][0]["object"]["size"] = json!(3));
}

#[test]
fn swapped_layers_are_refused() {
    refused(Code::CONTRADICTION, |parts| {
        parts.layers.swap(0, 1);
        parts.layers_named = false;
    });
}

#[test]
fn a_missing_or_an_extra_layer_is_refused() {
    refused(Code::CONTRADICTION, |parts| drop(parts.layers.remove(1)));
    refused(Code::CONTRADICTION, |parts| {
        let extra = parts.layers[0].clone();
        parts.layers.insert(1, extra);
    });
    refused(Code::BAD_MEDIA_TYPE, |parts| drop(parts.layers.pop()));
}

#[test]
fn more_layers_than_any_set_has_are_refused_before_they_are_fetched() {
    refused(Code::TOO_MANY, |parts| {
        parts.manifest = Box::new(|manifest| {
            let layer = json!({"mediaType": LAYER_TYPE, "size": 1, "digest": sha256(b"not there").to_string()});
            manifest["layers"] = vec![layer; 257].into();
        });
    });
}

#[test]
fn parts_of_another_media_type_are_refused() {
    refused(Code::BAD_MEDIA_TYPE, |parts| parts.layers[0].0 = "application/octet-stream".to_owned());
    refused(Code::BAD_MEDIA_TYPE, |parts| {
        parts.manifest =
            Box::new(|manifest| manifest["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json"));
    });
    refused(Code::BAD_MEDIA_TYPE, |parts| {
        parts.manifest = Box::new(|manifest| manifest["artifactType"] = json!("x/y"));
    });
}

#[test]
fn an_index_in_an_index_is_refused() {
    refused(Code::BAD_MEDIA_TYPE, |parts| {
        parts.index =
            Box::new(|index| index["manifests"][1]["mediaType"] = json!("application/vnd.oci.image.index.v1+json"));
    });
}

#[test]
fn a_document_that_is_an_index_and_a_manifest_at_once_is_refused() {
    refused(Code::BAD_JSON, |parts| parts.index = Box::new(|index| index["layers"] = json!([])));
    refused(Code::BAD_JSON, |parts| {
        parts.manifest = Box::new(|manifest| manifest["mediaType"] = json!("application/vnd.oci.image.index.v1+json"));
    });
    refused(Code::BAD_JSON, |parts| parts.index = Box::new(|index| index["schemaVersion"] = json!(1)));
}

#[test]
fn two_manifests_for_one_platform_are_refused() {
    refused(Code::CONTRADICTION, |parts| {
        parts.index = Box::new(|index| index["manifests"][1]["platform"]["architecture"] = json!("amd64"));
    });
}

#[test]
fn an_index_without_the_platform_is_refused() {
    refused(Code::NO_PLATFORM, |parts| {
        parts.index = Box::new(|index| index["manifests"][0]["platform"]["architecture"] = json!("riscv64"));
    });
}

#[test]
fn a_manifest_of_another_size_than_its_descriptor_says_is_refused() {
    refused(Code::CONTRADICTION, |parts| parts.index = Box::new(|index| index["manifests"][0]["size"] = json!(7)));
}

#[test]
fn a_blob_of_another_size_than_its_descriptor_says_is_refused() {
    refused(Code::TRUNCATED, |parts| {
        parts.manifest = Box::new(|manifest| {
            manifest["layers"][0]["size"] = json!(manifest["layers"][0]["size"].as_u64().unwrap() + 1);
        });
    });
    refused(Code::TOO_LARGE, |parts| {
        parts.manifest = Box::new(|manifest| {
            manifest["layers"][0]["size"] = json!(manifest["layers"][0]["size"].as_u64().unwrap() - 1);
        });
    });
}

#[test]
fn sizes_beyond_the_limits_are_refused_before_anything_is_fetched() {
    for part in ["/config/size", "/layers/0/size", "/layers/2/size"] {
        refused(Code::TOO_LARGE, |parts| {
            parts.manifest = Box::new(move |manifest| *manifest.pointer_mut(part).unwrap() = json!(33 << 20));
        });
    }
    refused(Code::BAD_JSON, |parts| parts.manifest = Box::new(|manifest| manifest["layers"][0]["size"] = json!(-1)));
    let little = Limits { total_bytes: 4000, ..Limits::default() };
    assert_eq!(codes(&spoil_with(&little, |_| ()).1.unwrap_err()), [Code::TOO_LARGE]);
    let enough = Limits { total_bytes: 40_000, ..Limits::default() };
    spoil_with(&enough, |_| ()).1.unwrap();
}

#[test]
fn an_archive_that_unpacks_without_end_is_refused() {
    let bomb = gzip(&tar_of(&[(tar::EntryType::Regular, "guard.o", &vec![0; 20 << 20])]));
    assert!(bomb.len() < 64 << 10);
    refused(Code::TOO_LARGE, |parts| first_layer(parts, bomb));
    let little = Limits { object_bytes: 2000, ..Limits::default() };
    assert_eq!(codes(&spoil_with(&little, |_| ()).1.unwrap_err()), [Code::TOO_LARGE]);
}

#[test]
fn a_layer_that_is_not_one_regular_file_is_refused() {
    use tar::EntryType as T;
    let guard = guard();
    let file = (T::Regular, "guard.o", guard.as_slice());
    for entries in [
        vec![],
        vec![file, file],
        vec![(T::Directory, "./", &[][..]), file],
        vec![(T::Symlink, "guard.o", &[][..])],
        vec![(T::Link, "guard.o", &[][..])],
        vec![(T::Char, "guard.o", &[][..])],
        vec![(T::Regular, "../guard.o", guard.as_slice())],
        vec![(T::Regular, "/guard.o", guard.as_slice())],
        vec![(T::Regular, "meter.o", guard.as_slice())],
        vec![(T::XHeader, "pax", b"12 path=a.o\n".as_slice()), file],
        vec![(T::GNULongName, "././@LongLink", b"guard.o\0".as_slice()), file],
    ] {
        refused(Code::BAD_LAYER, |parts| first_layer(parts, gzip(&tar_of(&entries))));
    }
}

#[test]
fn a_layer_that_is_damaged_or_has_a_tail_is_refused() {
    let whole = archive::pack("guard.o", &guard()).unwrap();
    let tail = |bytes: &[u8]| [whole.gzip.as_slice(), bytes].concat();
    refused(Code::BAD_LAYER, |parts| first_layer(parts, b"not gzip".to_vec()));
    refused(Code::BAD_LAYER, |parts| first_layer(parts, Vec::new()));
    refused(Code::BAD_LAYER, |parts| first_layer(parts, whole.gzip[..whole.gzip.len() / 2].to_vec()));
    refused(Code::BAD_LAYER, |parts| first_layer(parts, gzip(&whole.tar[..1024])));
    refused(Code::BAD_LAYER, |parts| first_layer(parts, tail(b"x")));
    refused(Code::BAD_LAYER, |parts| first_layer(parts, tail(&whole.gzip)));
    refused(Code::BAD_LAYER, |parts| first_layer(parts, gzip(&[whole.tar.as_slice(), b"x"].concat())));
    let mut wrong_sum = whole.gzip.clone();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    refused(Code::BAD_LAYER, |parts| first_layer(parts, wrong_sum));
}

/// Hangs `manifest` on the bundle's index.
fn hang(layout: &Layout, manifest: &Value) {
    let digest = layout.put_blob(manifest.to_string().as_bytes()).unwrap();
    list_untagged(layout, &digest);
}

#[test]
fn referrers_that_are_no_signatures_are_passed_over_and_counted() {
    let here = lay_out(&edge("1.0"));
    let layout = &here.layout;
    let subject = serde_json::to_value(layout.describe(&here.bundled.pinned.digest).unwrap()).unwrap();
    let empty = stored(layout, "application/vnd.oci.empty.v1+json", b"{}");
    let manifest = |layers: Value| json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": empty, "layers": layers, "subject": subject});
    let sbom = stored(layout, "text/spdx", b"sbom");
    let signature = stored(layout, SIGNATURE_TYPE, b"{\"s\":1}");
    hang(layout, &manifest(json!([sbom])));
    hang(layout, &manifest(json!([signature, signature])));
    hang(
        layout,
        &manifest(json!([{"mediaType": SIGNATURE_TYPE, "size": 2 << 20, "digest": sha256(b"huge").to_string()}])),
    );
    hang(layout, &manifest(json!([{"mediaType": SIGNATURE_TYPE, "size": 3, "digest": sha256(b"lost").to_string()}])));
    // No artifactType anywhere, as ghcr.io lists them: the layer's type says what it is.
    hang(layout, &manifest(json!([signature])));
    let fetched = pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap();
    assert_eq!(fetched.ignored_referrers, 4);
    assert_eq!(fetched.signatures.len(), 1);
    assert_eq!(fetched.signatures[0].bytes, b"{\"s\":1}");

    // A copy leaves behind what can't be read or is too large, says so, and carries the rest: other people's too.
    let to = Place::Layout(here.dir.path().join("copy"));
    let (mut skipped, mut carried) = (0, 0);
    copy(&network(), &here.bundled.pinned, &to, &mut |event| match event {
        PushEvent::Skipped { .. } => skipped += 1,
        PushEvent::Referrer { .. } => carried += 1,
        _ => (),
    })
    .unwrap();
    assert_eq!((skipped, carried), (2, 3));
    let there = bpfkit_schemas::reference::Pinned { place: to, ..here.bundled.pinned.clone() };
    assert_eq!(pull(&network(), &there, amd64(), &Limits::default()).unwrap().signatures, fetched.signatures);
}

#[test]
fn what_hangs_on_a_bundle_has_few_layers_or_is_left_behind() {
    let here = lay_out(&edge("1.0"));
    let layout = &here.layout;
    let subject = serde_json::to_value(layout.describe(&here.bundled.pinned.digest).unwrap()).unwrap();
    let empty = stored(layout, "application/vnd.oci.empty.v1+json", b"{}");
    for count in [8_usize, 9] {
        let layers: Vec<_> = (0..count).map(|n| stored(layout, "text/plain", n.to_string().as_bytes())).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": empty, "layers": layers, "subject": subject});
        hang(layout, &manifest);
        let (mut skipped, mut carried) = (0, 0);
        let to = Place::Layout(here.dir.path().join(format!("copy{count}")));
        copy(&network(), &here.bundled.pinned, &to, &mut |event| match event {
            PushEvent::Skipped { .. } => skipped += 1,
            PushEvent::Referrer { .. } => carried += 1,
            _ => (),
        })
        .unwrap();
        assert_eq!((skipped, carried), (count - 8, 1));
    }
}

#[test]
fn a_signature_of_another_manifest_does_not_count() {
    let (a, b) = (lay_out(&edge("1.0")), lay_out(&edge("1.1")));
    let signature =
        b.layout.add_signature(&b.bundled.pinned.digest, b"{}", std::collections::BTreeMap::default()).unwrap();
    a.layout.put_blob(&b.layout.blob(&signature, 4096).unwrap()).unwrap();
    a.layout.put_blob(b"{}").unwrap();
    list_untagged(&a.layout, &signature);
    assert!(pull(&network(), &a.bundled.pinned, amd64(), &Limits::default()).unwrap().signatures.is_empty());
    assert_eq!(pull(&network(), &b.bundled.pinned, amd64(), &Limits::default()).unwrap().signatures.len(), 1);
}

#[test]
fn a_flood_of_referrers_is_refused() {
    let here = lay_out(&edge("1.0"));
    let sign = |n: usize| {
        here.layout
            .add_signature(
                &here.bundled.pinned.digest,
                format!("{{\"n\":{n}}}").as_bytes(),
                std::collections::BTreeMap::default(),
            )
            .unwrap()
    };
    for n in 0..64 {
        sign(n);
    }
    assert_eq!(pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap().signatures.len(), 64);
    sign(64);
    assert_eq!(
        codes(&pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap_err()),
        [Code::TOO_MANY]
    );
    assert!(list(&network(), &here.bundled.pinned).is_ok());
}

fn is_set_index(layout: &Layout, digest: &bpfkit_schemas::names::Digest) -> bool {
    let bytes = layout.blob(digest, 1 << 20).unwrap();
    serde_json::from_slice::<Value>(&bytes).is_ok_and(|value| {
        value["artifactType"] == bpfkit_schemas::bundle::SET_ARTIFACT_TYPE && value["manifests"].is_array()
    })
}

#[test]
fn platforms_that_name_different_sets_or_versions_are_not_listed_so_nobody_signs_them() {
    let listed = |member: &'static str, value: &'static str| {
        let mut root = None;
        let (here, _) = spoil(|parts| parts.config[member] = json!(value));
        for entry in std::fs::read_dir(here.layout.dir().join("blobs/sha256")).unwrap() {
            let digest = format!("sha256:{}", entry.unwrap().file_name().to_str().unwrap()).parse().unwrap();
            let spoilt = digest != here.bundled.pinned.digest && is_set_index(&here.layout, &digest);
            root = root.or(spoilt.then_some(digest));
        }
        let root = root.unwrap_or(here.bundled.pinned.digest);
        list(&network(), &pinned(&here.layout, root)).map(|_| ()).map_err(|error| codes(&error))
    };
    for (member, value) in [("set", "other"), ("version", "0.9"), ("repository", "registry.acme.example/bpf/somebody")]
    {
        assert_eq!(listed(member, value), Err(vec![Code::CONTRADICTION]), "{member}");
    }
    assert_eq!(listed("version", "1.0"), Ok(()));
}

#[test]
fn a_program_image_is_not_a_set() {
    let here = lay_out(&edge("1.0"));
    let image = pinned(&here.layout, here.bundled.programs[0].1);
    assert_eq!(codes(&pull(&network(), &image, amd64(), &Limits::default()).unwrap_err()), [Code::BAD_MEDIA_TYPE]);
}
