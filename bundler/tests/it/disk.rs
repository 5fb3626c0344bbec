//! Layouts that somebody else wrote: what stands where files belong, and lists without end.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

use bpfkit_bundler::{Layout, Limits, PushError, PushEvent, bundle, copy, list, pin, pull, push, push::Sent};
use bpfkit_schemas::{Code, names::Digest, reference::Place};
use serde_json::json;

use crate::fixture::{Here, amd64, at, codes, edge, edit_index, lay_out, network, program, retag, run, stored};

fn blob(layout: &Layout, digest: &Digest) -> PathBuf {
    layout.dir().join("blobs/sha256").join(digest.hex())
}

/// Runs `work`, which must not wait for anybody.
fn at_once<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(work()));
    told.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("it waits for ever"))
}

/// What pulling says once `path` has been replaced by `other`.
fn with_other(path: impl FnOnce(&Here) -> PathBuf, other: impl FnOnce(&Path)) -> Result<(), Vec<Code>> {
    let here = lay_out(&edge("1.0"));
    let path = path(&here);
    let kept = here.dir.path().join("kept");
    fs::rename(&path, &kept).unwrap();
    other(&path);
    at_once(move || {
        let named = pin(&network(), &at(&here.bundled.pinned.place, "1.0")).map_err(|error| codes(&error))?;
        pull(&network(), &named, amd64(), &Limits::default()).map(|_| ()).map_err(|error| codes(&error))
    })
}

/// Where [`with_other`] keeps the file that was at `path`.
fn kept(path: &Path) -> PathBuf {
    path.ancestors().find(|dir| dir.ends_with("oci")).unwrap().with_file_name("kept")
}

fn pipe(path: &Path) {
    run(Command::new("mkfifo").arg(path));
}

fn places() -> [fn(&Here) -> PathBuf; 3] {
    [
        |here| here.layout.dir().join("index.json"),
        |here| blob(&here.layout, &here.bundled.pinned.digest),
        |here| blob(&here.layout, &here.bundled.platforms[0].1),
    ]
}

#[test]
fn a_pipe_a_device_a_directory_or_a_link_in_the_place_of_a_file_is_refused_at_once() {
    let others: [fn(&Path); 5] = [
        pipe,
        |path| run(Command::new("mknod").arg(path).args(["c", "1", "5"])).clear(),
        |path| fs::create_dir(path).unwrap(),
        // To the very bytes that were there: it is the link that is refused.
        |path| symlink(kept(path), path).unwrap(),
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
    ];
    for place in places() {
        for other in others {
            assert_eq!(with_other(place, other), Err(vec![Code::LAYOUT_MALFORMED]));
        }
        assert_eq!(with_other(place, |path| assert!(fs::copy(kept(path), path).is_ok())), Ok(()));
    }
    assert_eq!(with_other(|here| here.layout.dir().join("oci-layout"), pipe), Err(vec![Code::LAYOUT_MALFORMED]));
}

#[test]
fn bundling_puts_a_file_where_something_else_stands_and_never_writes_through_it() {
    let here = lay_out(&edge("1.0"));
    let path = blob(&here.layout, &here.bundled.pinned.digest);
    let elsewhere = here.dir.path().join("elsewhere");
    fs::write(&elsewhere, "mine").unwrap();
    for other in [|path: &Path, _: &Path| pipe(path), |path: &Path, to: &Path| symlink(to, path).unwrap()] {
        fs::remove_file(&path).unwrap();
        other(&path, &elsewhere);
        bundle(&here.layout, &edge("1.0")).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap();
    }
    assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
}

#[test]
fn a_lock_that_is_a_pipe_or_a_link_is_refused_and_makes_no_file_elsewhere() {
    let here = lay_out(&edge("1.0"));
    let lock = here.layout.dir().join(".bpfkit.lock");
    let elsewhere = here.dir.path().join("elsewhere");
    fs::remove_file(&lock).unwrap();
    symlink(&elsewhere, &lock).unwrap();
    assert_eq!(codes(&bundle(&here.layout, &edge("1.1")).unwrap_err()), [Code::LAYOUT_MALFORMED]);
    assert!(!elsewhere.exists());
    fs::remove_file(&lock).unwrap();
    pipe(&lock);
    assert!(fs::metadata(&lock).unwrap().file_type().is_fifo());
    let layout = here.layout.clone();
    assert_eq!(codes(&at_once(move || bundle(&layout, &edge("1.1")).unwrap_err())), [Code::LAYOUT_MALFORMED]);
    fs::remove_file(&lock).unwrap();
    bundle(&here.layout, &edge("1.1")).unwrap();
}

/// A manifest of `bytes` bytes that hangs on the bundle's index, and is no signature.
fn hanging(here: &Here, bytes: usize, n: usize) -> Digest {
    let empty = stored(&here.layout, "application/vnd.oci.empty.v1+json", b"{}");
    let subject = serde_json::to_value(here.layout.describe(&here.bundled.pinned.digest).unwrap()).unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": empty, "layers": [], "subject": subject, "annotations": {"n": n.to_string(), "x": ""}});
    let mut text = manifest.to_string();
    let pad = bytes.saturating_sub(text.len());
    text = text.replace("\"x\":\"\"", &format!("\"x\":\"{}\"", "x".repeat(pad)));
    here.layout.put_blob(text.as_bytes()).unwrap()
}

#[test]
fn a_list_that_names_one_blob_without_end_costs_one_look_at_it() {
    let here = lay_out(&edge("1.0"));
    here.layout.add_signature(&here.bundled.pinned.digest, b"{}", std::collections::BTreeMap::default()).unwrap();
    for bytes in [4 << 20, 1 << 20] {
        let digest = hanging(&here, bytes, 0);
        let entry = |size: usize| json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": size, "digest": digest.to_string()});
        // Half of them lie about its size.
        let flood: Vec<_> = (0..12_000).map(|n| entry(if n % 2 == 0 { bytes } else { 1 })).collect();
        edit_index(&here.layout, |entries| {
            entries.retain(|entry| entry["digest"] != digest.to_string());
            entries.extend(flood);
        });
        let since = Instant::now();
        let fetched = pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap();
        assert_eq!(fetched.signatures.len(), 1);
        let to = Place::Layout(here.dir.path().join(format!("copy{bytes}")));
        copy(&network(), &here.bundled.pinned, &to, &mut |_| ()).unwrap();
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
        edit_index(&here.layout, |entries| entries.retain(|entry| entry["digest"] != digest.to_string()));
    }
}

#[test]
fn manifests_that_are_listed_without_end_are_refused_and_a_crowd_is_not() {
    let here = lay_out(&edge("1.0"));
    let list = |count: std::ops::Range<usize>| {
        let entry = |n| serde_json::to_value(here.layout.describe(&hanging(&here, 1 << 20, n)).unwrap()).unwrap();
        let new: Vec<_> = count.map(entry).collect();
        edit_index(&here.layout, |entries| entries.extend(new));
    };
    list(0..60);
    pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap();
    list(60..65);
    let error = pull(&network(), &here.bundled.pinned, amd64(), &Limits::default()).unwrap_err();
    assert_eq!(codes(&error), [Code::TOO_LARGE]);
}

#[test]
fn a_tag_of_another_kind_stays_whose_it_is_in_a_layout_too() {
    let here = lay_out(&edge("1.4"));
    let there = lay_out(&edge("9"));
    let to = there.bundled.pinned.place.clone();
    let version = "1.4".parse().unwrap();
    let sets = there.bundled.pinned.digest;
    // A program's image under the set's tag, and the set under a program's.
    for (tag, digest) in [("1.4", there.bundled.programs[0].1), ("1.4.guard", sets)] {
        retag(&there.layout, tag, &digest);
        let mut events = Vec::new();
        let error =
            push(&network(), &here.layout, &version, &to, &mut |event: PushEvent| events.push(event)).unwrap_err();
        assert!(matches!(error, PushError::TagTaken { .. }), "{error:?}");
        assert_eq!(codes(&error), [Code::TAG_TAKEN]);
        assert!(events.is_empty(), "nothing is written before that is known");
        assert_eq!(there.layout.tag(&tag.parse().unwrap()).unwrap(), Some(digest));
        edit_index(&there.layout, |entries| {
            entries.retain(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] != tag);
        });
    }
    // One of the same kind moves, also where whoever set it said nothing of its kind.
    retag(&there.layout, "1.4", &sets);
    edit_index(&there.layout, |entries| {
        for entry in entries {
            entry.as_object_mut().unwrap().remove("artifactType");
        }
    });
    let mut moved = Vec::new();
    let mut on = |event| {
        if let PushEvent::Tagged { tag, before, sent, .. } = event {
            moved.push((tag.to_string(), before, sent));
        }
    };
    push(&network(), &here.layout, &version, &to, &mut on).unwrap();
    assert!(moved.contains(&("1.4".to_owned(), Some(sets), Sent::Now)), "{moved:?}");
    list(&network(), &pin(&network(), &at(&to, "1.4")).unwrap()).unwrap();

    moved.clear();
    let mut on = |event| {
        if let PushEvent::Tagged { tag, before, sent, .. } = event {
            moved.push((tag.to_string(), before, sent));
        }
    };
    push(&network(), &here.layout, &version, &to, &mut on).unwrap();
    assert!(moved.iter().all(|(_, before, sent)| (before, sent) == (&None, &Sent::Before)), "{moved:?}");
}

#[test]
fn bundling_leaves_a_tag_to_whoever_has_it_whatever_the_list_says_of_its_kind() {
    let here = lay_out(&edge("1.4"));
    let mut other = edge("1");
    other.platforms = [(amd64(), vec![program("4", "four")])].into();
    edit_index(&here.layout, |entries| {
        for entry in entries {
            entry["artifactType"] = bpfkit_schemas::bundle::PROGRAM_ARTIFACT_TYPE.into();
        }
    });
    assert_eq!(codes(&bundle(&here.layout, &other).unwrap_err()), [Code::TAG_TAKEN]);
    other.version = "2".parse().unwrap();
    bundle(&here.layout, &other).unwrap();
}
