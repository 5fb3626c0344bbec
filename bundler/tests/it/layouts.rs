//! What `bundle` writes and what a layout keeps.

use std::fs;

use bpfkit_bundler::{Layout, LayoutError, Limits, bundle, list, pin, pull, push};
use bpfkit_schemas::{Code, bundle::SIGNATURE_TYPE, reference::Place};

use crate::fixture::{amd64, arm64, at, codes, digest_in, document, edge, lay_out, network, pinned, program, retag};

#[test]
fn the_same_set_gives_the_same_bytes_wherever_it_is_laid_out() {
    let (a, b) = (lay_out(&edge("1.0")), lay_out(&edge("1.0")));
    assert_eq!(a.bundled.pinned.digest, b.bundled.pinned.digest);
    assert_eq!(
        fs::read(a.layout.dir().join("index.json")).unwrap(),
        fs::read(b.layout.dir().join("index.json")).unwrap()
    );
    let names = |layout: &Layout| {
        let mut names: Vec<_> =
            fs::read_dir(layout.dir().join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&a.layout), names(&b.layout));
    assert_ne!(a.bundled.pinned.digest, lay_out(&edge("1.1")).bundled.pinned.digest);
}

#[test]
fn the_format_has_not_moved_unnoticed() {
    // A change of these digests means that old and new versions bundle the same set differently:
    // a new compressor, a member, an order. If it is meant, write the new one here and say so in the changelog.
    let here = lay_out(&edge("1.0"));
    assert_eq!(
        here.bundled.pinned.digest.to_string(),
        "sha256:af22c03512d4c72c8a00bf58168c892092fc9932b98ec7c9b3ed55c441bf8312"
    );
}

#[test]
fn what_was_bundled_comes_back() {
    let set = edge("1.0");
    let here = lay_out(&set);
    let network = network();
    let reference = pin(&network, &at(&here.bundled.pinned.place, "1.0")).unwrap();
    assert_eq!(reference, here.bundled.pinned);
    for (platform, programs) in &set.platforms {
        let fetched = pull(&network, &reference, *platform, &Limits::default()).unwrap();
        assert_eq!(fetched.platform, *platform);
        assert_eq!(fetched.config.set, set.set);
        assert_eq!(fetched.manifest, set.manifest_yaml);
        assert_eq!(fetched.objects.len(), programs.len());
        for (object, program) in fetched.objects.iter().zip(programs) {
            assert_eq!(**object, program.bytes);
        }
        let child = here.bundled.platforms.iter().find(|(of, _)| of == platform).unwrap().1;
        assert_eq!(fetched.signed, [reference.digest, child]);
        // One platform's manifest is a bundle by itself.
        let alone = pull(&network, &pinned(&here.layout, child), *platform, &Limits::default()).unwrap();
        assert_eq!(alone.signed, [child]);
        assert_eq!(alone.objects, fetched.objects);
    }
}

#[test]
fn a_program_image_is_what_both_of_bpfmans_loaders_take() {
    let here = lay_out(&edge("1.0"));
    let tag = here.layout.tag(&"1.0.guard".parse().unwrap()).unwrap().unwrap();
    assert_eq!(tag, here.bundled.programs[0].1);
    let index = document(&here.layout, &tag);
    assert_eq!(index["manifests"][0]["platform"], serde_json::json!({"architecture": "amd64", "os": "linux"}));
    assert_eq!(index["manifests"][1]["platform"]["architecture"], "arm64");
    let manifest = document(&here.layout, &digest_in(&index["manifests"][0]["digest"]));
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(manifest["layers"][0]["annotations"]["org.opencontainers.image.title"], "guard.o.tar.gz");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    let config = document(&here.layout, &digest_in(&manifest["config"]["digest"]));
    assert_eq!(config["config"]["Labels"]["io.ebpf.programs"], r#"{"main_prog":"xdp"}"#);
    assert_eq!(config["config"]["Labels"]["io.ebpf.maps"], r#"{"blocklist":"hash"}"#);
    assert_eq!((&config["os"], &config["architecture"]), (&"linux".into(), &"amd64".into()));
}

#[test]
fn the_set_bundle_and_the_program_images_share_their_layers() {
    let here = lay_out(&edge("1.0"));
    let layer = |tag: &str, layer: usize| {
        let index = document(&here.layout, &here.layout.tag(&tag.parse().unwrap()).unwrap().unwrap());
        document(&here.layout, &digest_in(&index["manifests"][0]["digest"]))["layers"][layer]["digest"].clone()
    };
    assert_eq!(layer("1.0", 0), layer("1.0.guard", 0));
    assert_eq!(layer("1.0", 1), layer("1.0.meter", 0));
}

#[test]
fn a_signature_is_the_referrer_that_cosign_writes() {
    let here = lay_out(&edge("1.0"));
    let subject = here.bundled.pinned.digest;
    let annotations: std::collections::BTreeMap<_, _> =
        [("dev.sigstore.bundle.content".to_owned(), "dsse-envelope".to_owned())].into();
    let digest = here.layout.add_signature(&subject, b"{\"a\":1}", annotations).unwrap();
    let text = String::from_utf8(here.layout.blob(&digest, 4096).unwrap()).unwrap();
    let size = here.layout.blob(&subject, 1 << 20).unwrap().len();
    assert_eq!(
        text,
        format!(
            "{}{}{}{}{}",
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"},"#,
            r#""layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","size":7,"digest":"sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"}],"#,
            r#""annotations":{"dev.sigstore.bundle.content":"dsse-envelope"},"#,
            format_args!(
                r#""subject":{{"mediaType":"application/vnd.oci.image.index.v1+json","size":{size},"digest":"{subject}"}},"#
            ),
            r#""artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#,
        )
    );
    let found = here.layout.referrers(&subject).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].artifact_type.as_deref(), Some(SIGNATURE_TYPE));
    let fetched = pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap();
    assert_eq!(fetched.signatures.len(), 1);
    assert_eq!((fetched.signatures[0].subject, fetched.signatures[0].bytes.as_slice()), (subject, &b"{\"a\":1}"[..]));
}

#[test]
fn a_blob_that_was_changed_on_disk_is_not_used_and_bundling_again_heals_it() {
    let here = lay_out(&edge("1.0"));
    let path = here.layout.dir().join("blobs/sha256").join(here.bundled.platforms[0].1.hex());
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = b' ';
    fs::write(&path, &bytes).unwrap();
    let error = pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap_err();
    assert_eq!(codes(&error), [Code::WRONG_DIGEST]);
    bundle(&here.layout, &edge("1.0")).unwrap();
    pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap();
}

#[test]
fn what_is_missing_is_named() {
    let here = lay_out(&edge("1.0"));
    let error = pin(&network(), &at(&here.bundled.pinned.place, "2.0")).unwrap_err();
    assert_eq!(codes(&error), [Code::BUNDLE_NOT_FOUND]);
    let nowhere = Place::Layout(here.dir.path().join("nowhere"));
    assert_eq!(codes(&pin(&network(), &at(&nowhere, "1.0")).unwrap_err()), [Code::NOT_A_LAYOUT]);
    assert!(matches!(Layout::open(here.dir.path()), Err(LayoutError::NotALayout { .. })));
}

#[test]
fn a_set_that_no_bundle_can_hold_is_refused_with_every_reason() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("oci")).unwrap();
    let mut set = edge("1.0");
    set.platforms.get_mut(&amd64()).unwrap()[0].bytes.push(0);
    set.platforms.get_mut(&arm64()).unwrap().pop();
    let error = bundle(&layout, &set).unwrap_err();
    assert_eq!(codes(&error), [Code::UNFIT_SET, Code::UNFIT_SET]);
    assert!(layout.tags().unwrap().is_empty());
    assert!(
        fs::read_dir(layout.dir().join("blobs/sha256")).unwrap().next().is_none(),
        "nothing is written before all is well"
    );

    let mut set = edge(&"v".repeat(125));
    assert_eq!(codes(&bundle(&layout, &set).unwrap_err()), [Code::UNFIT_SET, Code::UNFIT_SET]);
    set.version = "v".repeat(122).parse().unwrap();
    bundle(&layout, &set).unwrap();
}

#[test]
fn a_programs_tag_never_takes_a_versions() {
    let here = lay_out(&edge("1.4"));
    let mut other = edge("1");
    other.platforms = [(amd64(), vec![program("4", "four")])].into();
    assert_eq!(codes(&bundle(&here.layout, &other).unwrap_err()), [Code::TAG_TAKEN]);
    other.version = "2".parse().unwrap();
    bundle(&here.layout, &other).unwrap();
}

#[test]
fn many_writers_of_one_layout_lose_no_tag() {
    let here = lay_out(&edge("0"));
    std::thread::scope(|scope| {
        for version in 1..=8 {
            let layout = here.layout.clone();
            scope.spawn(move || bundle(&layout, &edge(&version.to_string())).unwrap());
        }
    });
    assert_eq!(here.layout.tags().unwrap().len(), 9 * 3);
}

#[test]
fn a_push_into_another_layout_carries_tags_and_signatures() {
    let here = lay_out(&edge("1.0"));
    for digest in list(&network(), &here.bundled.pinned).unwrap().bundle.digests() {
        here.layout.add_signature(&digest, b"{}", std::collections::BTreeMap::default()).unwrap();
    }
    let to = Place::Layout(here.dir.path().join("repo/edge"));
    let pushed = push(&network(), &here.layout, &"1.0".parse().unwrap(), &to, &mut |_| ()).unwrap();
    assert_eq!((pushed.digest, &pushed.place), (here.bundled.pinned.digest, &to));
    assert_eq!(pin(&network(), &at(&to, "1.0")).unwrap(), pushed);
    assert_eq!(pull(&network(), &pushed, arm64(), &Limits::default()).unwrap().signatures.len(), 2);
    assert_eq!(list(&network(), &pushed).unwrap().programs, list(&network(), &here.bundled.pinned).unwrap().programs);
}

#[test]
fn a_planted_program_image_is_not_listed_so_nobody_signs_it() {
    let here = lay_out(&edge("1.0"));
    let evil = lay_out(&{
        let mut set = edge("1.0");
        for programs in set.platforms.values_mut() {
            *programs = vec![program("guard", "evil")];
        }
        set
    });
    let evil =
        push(&network(), &evil.layout, &"1.0".parse().unwrap(), &Place::Layout(evil.dir.path().join("x")), &mut |_| ())
            .map(|_| evil)
            .unwrap();
    let digest = evil.layout.tag(&"1.0.guard".parse().unwrap()).unwrap().unwrap();
    for entry in fs::read_dir(evil.layout.dir().join("blobs/sha256")).unwrap() {
        here.layout.put_blob(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
    }
    retag(&here.layout, "1.0.guard", &digest);
    assert_eq!(codes(&list(&network(), &here.bundled.pinned).unwrap_err()), [Code::CONTRADICTION]);
}
