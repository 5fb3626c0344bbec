//! Programs out of other people's images, and the way back to them.

use bpfkit_bundler::{FetchedImage, Limits, PackProgram, PackSet, PushEvent, bundle, copy, pull, pull_image, push};
use bpfkit_schemas::{
    Code,
    bundle::ProgramOrigin,
    names::Digest,
    reference::{Pinned, Place},
};
use serde_json::json;

use crate::{
    fixture::{Here, amd64, arm64, codes, edge, lay_out, network, object, pinned, program, stored},
    server::{Say, Server},
};

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

/// A set with a program out of the image `digest`, whatever that is.
fn set_from(image: &FetchedImage, digest: Digest) -> PackSet {
    let mut image = image.clone();
    image.pinned.digest = digest;
    mine(&image)
}

/// What copying says of a set that names `image` as the origin of its program.
fn copied(image: impl FnOnce(&Here) -> Digest) -> Result<usize, Vec<Code>> {
    let (_theirs, fetched) = theirs();
    let here = lay_out(&edge("1.0"));
    let digest = image(&here);
    let set = bundle(&here.layout, &set_from(&fetched, digest)).unwrap();
    let mut blobs = 0;
    let to = Place::Layout(here.dir.path().join("copied"));
    let on = &mut |event| blobs += usize::from(matches!(event, PushEvent::Blob { .. }));
    copy(&network(), &set.pinned, &to, on).map(|_| blobs).map_err(|error| codes(&error))
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn manifest(layers: &[serde_json::Value], here: &Here) -> serde_json::Value {
    let config = stored(&here.layout, "application/vnd.oci.empty.v1+json", b"{}");
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    stored(&here.layout, MANIFEST, manifest.to_string().as_bytes())
}

fn index(entries: &[serde_json::Value], here: &Here) -> serde_json::Value {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    stored(&here.layout, INDEX, index.to_string().as_bytes())
}

fn digest(descriptor: &serde_json::Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

#[test]
fn an_image_that_leads_to_too_much_is_not_carried_along() {
    let layers = |count: usize, size: Option<u64>, here: &Here| -> Vec<_> {
        let layer = |n: usize| {
            let mut layer = stored(&here.layout, "x/y", n.to_string().as_bytes());
            layer["size"] = size.map_or(layer["size"].clone(), Into::into);
            layer
        };
        (0..count).map(layer).collect()
    };
    assert!(copied(|here| digest(&manifest(&layers(256, None, here), here))).is_ok());
    assert_eq!(copied(|here| digest(&manifest(&layers(257, None, here), here))), Err(vec![Code::TOO_MANY]));
    // 17 times 32 MiB, by what their descriptors say: refused before the first is asked for.
    assert_eq!(copied(|here| digest(&manifest(&layers(17, Some(32 << 20), here), here))), Err(vec![Code::TOO_LARGE]));

    let entries = |count: usize, here: &Here| -> Vec<_> {
        (0..count).map(|n| manifest(&[stored(&here.layout, "x/y", n.to_string().as_bytes())], here)).collect()
    };
    assert!(copied(|here| digest(&index(&entries(256, here), here))).is_ok());
    assert_eq!(copied(|here| digest(&index(&entries(257, here), here))), Err(vec![Code::TOO_MANY]));
}

#[test]
fn an_index_that_is_called_a_manifest_leads_no_deeper() {
    assert!(copied(|here| digest(&index(&[manifest(&[], here)], here))).is_ok());
    for kind in [INDEX, MANIFEST] {
        let nested = |here: &Here| {
            let mut inner = index(&[manifest(&[], here)], here);
            inner["mediaType"] = kind.into();
            digest(&index(&[inner], here))
        };
        assert_eq!(copied(nested), Err(vec![Code::BAD_MEDIA_TYPE]), "{kind}");
    }
}

#[test]
fn an_image_that_several_programs_are_from_is_fetched_once() {
    let there = lay_out(&edge("1.0"));
    let set = pinned(&there.layout, there.bundled.pinned.digest);
    let take = |name: &str| {
        pull_image(&network(), &set, &[amd64(), arm64()], Some(&name.parse().unwrap()), &Limits::default()).unwrap()
    };
    let mut both = edge("7");
    for programs in both.platforms.values_mut() {
        for program in programs {
            program.origin = ProgramOrigin::Image {
                repository: "registry.acme.example/bpf/edge".parse().unwrap(),
                version: None,
                digest: set.digest,
            };
        }
    }
    both.images = vec![take("guard"), take("meter")];
    let here = lay_out(&both);
    let server = Server::start({
        let layout = here.layout.clone();
        move |asked| {
            let last = asked.path.rsplit('/').next().unwrap();
            match last.parse().ok().and_then(|digest| layout.blob(&digest, 1 << 20).ok()) {
                Some(bytes) if !asked.path.contains("/referrers/") => Say::new(200, bytes),
                _ => Say::new(404, "{}"),
            }
        }
    });
    let asked_for = Pinned { place: server.place(), digest: here.bundled.pinned.digest };
    let fetched = pull(&network(), &asked_for, amd64(), &Limits::default()).unwrap();
    assert_eq!(fetched.images.len(), 2);
    let times = |digest: &Digest| {
        let get = |asked: &&crate::server::Asked| asked.path.ends_with(&format!("/manifests/{digest}"));
        server.asked().iter().filter(get).count()
    };
    assert_eq!(times(&set.digest), 1);
    assert_eq!(times(&here.bundled.pinned.digest), 1);
}

#[test]
fn what_programs_share_counts_for_each_that_gets_it() {
    let (theirs, _) = theirs();
    let image = theirs.bundled.programs[0].1;
    let big = format!("{{\"x\":\"{}\"}}", "x".repeat(100_000));
    theirs.layout.add_signature(&image, big.as_bytes(), std::collections::BTreeMap::default()).unwrap();
    let from = pinned(&theirs.layout, image);
    let image = pull_image(&network(), &from, &[amd64(), arm64()], None, &Limits::default()).unwrap();
    let mut set = mine(&image);
    for programs in set.platforms.values_mut() {
        let twin = programs[0].clone();
        programs.extend((0..19).map(|n| PackProgram { name: format!("limit{n}").parse().unwrap(), ..twin.clone() }));
    }
    let here = lay_out(&set);
    let with = |total_bytes| {
        let limits = Limits { total_bytes, ..Limits::default() };
        pull(&network(), &here.bundled.pinned, amd64(), &limits).map(|fetched| fetched.images.len())
    };
    assert_eq!(with(3_000_000).unwrap(), 20);
    assert_eq!(codes(&with(1_500_000).unwrap_err()), [Code::TOO_LARGE]);
}
