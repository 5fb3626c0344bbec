//! Programs out of other people's images, and the way back to them.

use bpfkit_bundler::{FetchedImage, Limits, PackSet, bundle, pull, pull_image, push};
use bpfkit_schemas::{Code, bundle::ProgramOrigin, names::Digest, reference::Place};
use serde_json::json;

use crate::fixture::{Here, amd64, arm64, codes, edge, lay_out, network, object, pinned, program, stored};

/// A set `mine` with the program `limit` out of `image`.
fn mine(image: &FetchedImage) -> PackSet {
    let mut set = edge("7");
    set.set = "mine".parse().unwrap();
    for (platform, programs) in &mut set.platforms {
        let mut limit = program("limit", &format!("guard {}", platform.arch.oci()));
        assert_eq!(limit.bytes, image.objects[platform].bytes);
        limit.origin = ProgramOrigin::Image {
            repository: "registry.acme.example/bpf/edge".parse().unwrap(),
            version: image.version.clone(),
            digest: image.pinned.digest,
        };
        *programs = vec![limit];
    }
    set.images = vec![image.clone()];
    set
}

fn theirs() -> (Here, FetchedImage) {
    let here = lay_out(&edge("1.0"));
    let image = here.bundled.programs[0].1;
    here.layout.add_signature(&image, b"{\"theirs\":1}", std::collections::BTreeMap::default()).unwrap();
    let fetched =
        pull_image(&network(), &pinned(&here.layout, image), &[amd64(), arm64()], None, &Limits::default()).unwrap();
    (here, fetched)
}

#[test]
fn an_image_travels_with_the_set_that_uses_it_and_keeps_its_signatures() {
    let (_theirs, image) = theirs();
    assert_eq!(image.version.as_ref().unwrap().as_str(), "1.0");
    assert_eq!(image.signatures.len(), 1);
    let here = lay_out(&mine(&image));
    let to = Place::Layout(here.dir.path().join("pushed"));
    let pushed = push(&network(), &here.layout, &"7".parse().unwrap(), &to, &mut |_| ()).unwrap();
    for place in [&here.bundled.pinned, &pushed] {
        let fetched = pull(&network(), place, arm64(), &Limits::default()).unwrap();
        let [carried] = fetched.images.as_slice() else { panic!("{:?}", fetched.images) };
        assert_eq!((carried.program.as_str(), carried.digest), ("limit", image.pinned.digest));
        assert_eq!(carried.signatures.len(), 1);
        assert_eq!(carried.signatures[0].bytes, b"{\"theirs\":1}");
        assert_eq!(carried.signed.len(), 2);
    }
}

#[test]
fn other_bytes_under_an_images_name_are_refused() {
    let (_theirs, image) = theirs();
    let mut set = mine(&image);
    for programs in set.platforms.values_mut() {
        (programs[0].object, programs[0].bytes) = object("evil");
    }
    let here = lay_out(&set);
    let error = pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap_err();
    assert_eq!(codes(&error), [Code::NOT_FROM_IMAGE]);
}

#[test]
fn an_image_that_was_left_out_is_missed() {
    let (_theirs, image) = theirs();
    let mut set = mine(&image);
    set.images.clear();
    let here = lay_out(&edge("1.0"));
    assert_eq!(codes(&bundle(&here.layout, &set).unwrap_err()), [Code::UNFIT_SET, Code::UNFIT_SET]);
}

#[test]
fn a_program_is_picked_out_of_a_set_bundle() {
    let here = lay_out(&edge("1.0"));
    let set = pinned(&here.layout, here.bundled.pinned.digest);
    let pick = |name: Option<&str>| {
        let name = name.map(|name| name.parse().unwrap());
        pull_image(&network(), &set, &[amd64()], name.as_ref(), &Limits::default())
    };
    let meter = pick(Some("meter")).unwrap();
    assert_eq!(meter.objects[&amd64()].bytes, object("meter amd64").1);
    assert_eq!(meter.objects[&amd64()].program.as_ref().unwrap().name.as_str(), "meter");
    assert_eq!(codes(&pick(None).unwrap_err()), [Code::PICK]);
    assert_eq!(codes(&pick(Some("nobody")).unwrap_err()), [Code::PICK]);
    let image = pinned(&here.layout, here.bundled.programs[0].1);
    let error =
        pull_image(&network(), &image, &[amd64()], Some(&"guard".parse().unwrap()), &Limits::default()).unwrap_err();
    assert_eq!(codes(&error), [Code::PICK]);

    // And it can be carried on, as a program of another set.
    let guard =
        pull_image(&network(), &set, &[amd64(), arm64()], Some(&"guard".parse().unwrap()), &Limits::default()).unwrap();
    let there = lay_out(&mine(&guard));
    let fetched = pull(&network(), &there.bundled.pinned, amd64(), &Limits::default()).unwrap();
    assert_eq!(fetched.images[0].digest, guard.pinned.digest);
}

/// An image as docker or bpfman would make it, of these layers.
fn foreign(here: &Here, layers: &[(&str, Vec<u8>)]) -> Digest {
    let labels = json!({"config": {"Labels": {"io.ebpf.program_type": "xdp"}}, "os": "linux", "architecture": "amd64"});
    let config = stored(&here.layout, "application/vnd.docker.container.image.v1+json", labels.to_string().as_bytes());
    let layers: Vec<_> = layers.iter().map(|(kind, bytes)| stored(&here.layout, kind, bytes)).collect();
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
    let mut entry = stored(&here.layout, kind, manifest.to_string().as_bytes());
    entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
    // BuildKit's attestation: some manifest for nobody.
    let mut attestation = entry.clone();
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let list = json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json", "manifests": [entry, attestation]});
    here.layout.put_blob(list.to_string().as_bytes()).unwrap()
}

fn layer(entries: &[(tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (kind, name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        if *kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/shadow").unwrap();
        }
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn dockers_and_bpfmans_images_are_read_and_traced() {
    let here = lay_out(&edge("1.0"));
    let (_, bytes) = object("guard amd64");
    let kind = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let image = foreign(
        &here,
        &[(kind, layer(&[(tar::EntryType::Directory, "a/", &[]), (tar::EntryType::Regular, "a/x.o", &bytes)]))],
    );
    let image = pull_image(&network(), &pinned(&here.layout, image), &[amd64()], None, &Limits::default()).unwrap();
    assert_eq!((&image.objects[&amd64()].bytes, &image.version), (&bytes, &None));
    let mut set = edge("7");
    set.platforms.remove(&arm64());
    set.images = vec![image.clone()];
    set.platforms.get_mut(&amd64()).unwrap()[0].origin = ProgramOrigin::Image {
        repository: "quay.example/x/y".parse().unwrap(),
        version: None,
        digest: image.pinned.digest,
    };
    let there = lay_out(&set);
    let fetched = pull(&network(), &there.bundled.pinned, amd64(), &Limits::default()).unwrap();
    assert_eq!(fetched.images[0].repository.as_str(), "quay.example/x/y");
}

#[test]
fn images_with_more_than_one_layer_or_one_file_are_refused() {
    use tar::EntryType as T;
    let here = lay_out(&edge("1.0"));
    let kind = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let one = layer(&[(T::Regular, "x.o", b"\x7fELF")]);
    let refused = |layers: &[(&str, Vec<u8>)]| {
        let image = pinned(&here.layout, foreign(&here, layers));
        codes(&pull_image(&network(), &image, &[amd64()], None, &Limits::default()).unwrap_err())
    };
    assert_eq!(refused(&[(kind, one.clone()), (kind, one.clone())]), [Code::BAD_MEDIA_TYPE]);
    assert_eq!(refused(&[]), [Code::BAD_MEDIA_TYPE]);
    assert_eq!(refused(&[("application/wasm", one)]), [Code::BAD_MEDIA_TYPE]);
    assert_eq!(refused(&[(kind, layer(&[(T::Regular, "x.o", b"a"), (T::Regular, "y.o", b"b")]))]), [Code::BAD_LAYER]);
    assert_eq!(refused(&[(kind, layer(&[(T::Symlink, "x.o", b"")]))]), [Code::BAD_LAYER]);
}
