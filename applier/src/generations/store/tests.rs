//! A store in a folder: what is kept, what goes, and what a kill or a stranger leaves.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use bpfkit_bundler::hash::sha256;

use super::*;
use crate::generations::{State, tests::generation};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let places = Places { state: folder.path().join("bpfkit"), ..Places::default() };
    let store = Store::new(&places, &"edge".parse().unwrap());
    (folder, store)
}

/// Writes a generation with its parts, as an apply does.
fn put(store: &Store, generation: &Generation) {
    store.keep(&Parts::default()).unwrap();
    let layout = Layout::open(store.layout()).unwrap();
    for bytes in [&generation.number.to_le_bytes()[..], b"in all of them"] {
        layout.put_blob(bytes).unwrap();
    }
    store.write(generation).unwrap();
    store.collect(None).unwrap();
}

fn blobs(store: &Store) -> usize {
    fs::read_dir(store.layout().join("blobs/sha256")).unwrap().count()
}

#[test]
fn a_set_of_which_nothing_is_kept_has_no_generations_and_gets_no_folder() {
    let (folder, store) = store();
    assert!(store.numbers().unwrap().is_empty() && store.newest().unwrap().is_none());
    assert!(matches!(store.read(1), Err(StoreError::Missing { have, .. }) if have.is_empty()));
    store.set_aside().unwrap();
    store.put_back().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_last_five_are_kept_and_parts_that_nobody_names_go() {
    let (_folder, store) = store();
    for number in 1..=8 {
        put(&store, &generation(number));
    }
    assert_eq!(store.numbers().unwrap(), [4, 5, 6, 7, 8]);
    // One of each, and the one that all have.
    assert_eq!(blobs(&store), 6);
    assert_eq!(Layout::open(store.layout()).unwrap().blob(&sha256(b"in all of them"), 99).unwrap(), b"in all of them");
}

#[test]
fn the_last_two_that_were_confirmed_are_kept_however_many_were_put_back_since() {
    let (_folder, store) = store();
    put(&store, &generation(1));
    put(&store, &generation(2));
    for number in 3..=12 {
        put(&store, &Generation { state: State::PutBack, ..generation(number) });
    }
    assert_eq!(store.numbers().unwrap(), [1, 2, 8, 9, 10, 11, 12]);
    assert_eq!(store.last_confirmed(None).unwrap().unwrap().number, 2);
    assert_eq!(store.last_confirmed(Some(2)).unwrap().unwrap().number, 1);
    assert!(store.last_confirmed(Some(1)).unwrap().is_none());
}

#[test]
fn the_live_one_is_kept_however_old_it_is() {
    let (_folder, store) = store();
    for number in 1..=5 {
        put(&store, &generation(number));
    }
    for number in 6..=9 {
        store.write(&generation(number)).unwrap();
        store.collect(Some(1)).unwrap();
    }
    assert_eq!(store.numbers().unwrap(), [1, 5, 6, 7, 8, 9]);
}

#[test]
fn what_a_kill_leaves_is_nothing_to_readers_and_goes_with_the_next_collection() {
    let (_folder, store) = store();
    put(&store, &generation(1));
    let clean = blobs(&store);
    fs::write(store.generations().join(".new-2"), "half a gener").unwrap();
    fs::write(store.layout().join("blobs/sha256/.new-x"), "half a bl").unwrap();
    fs::write(store.layout().join(".new-y"), "half an ind").unwrap();
    Layout::open(store.layout()).unwrap().put_blob(b"a part of a generation that was never written").unwrap();
    assert_eq!(store.numbers().unwrap(), [1]);
    put(&store, &generation(2));
    assert_eq!(blobs(&store), clean + 1);
    assert_eq!(fs::read_dir(store.generations()).unwrap().count(), 2);
    assert!(!store.layout().join(".new-y").exists());
}

#[test]
fn a_damaged_file_is_refused_by_name_and_hides_no_other() {
    let (_folder, store) = store();
    for number in 1..=3 {
        put(&store, &generation(number));
    }
    let damage = |number: u64, make: &dyn Fn(&Path)| {
        let path = store.path(number);
        fs::remove_file(&path).unwrap();
        make(&path);
        match store.read(number) {
            Err(StoreError::Damaged { source, path: named }) => {
                assert_eq!(named, path);
                source
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(damage(3, &|path| fs::write(path, "").unwrap()), Damage::Foreign);
    assert_eq!(damage(3, &|path| symlink("/etc/passwd", path).unwrap()), Damage::Irregular);
    assert_eq!(damage(3, &|path| fs::create_dir(path).unwrap()), Damage::Irregular);
    fs::remove_dir(store.path(3)).unwrap();
    fs::write(store.path(3), "").unwrap();
    let copy = |path: &Path| assert_ne!(fs::copy(store.path(2), path).unwrap(), 0);
    assert_eq!(damage(3, &copy), Damage::OtherNumber(2));
    let endless = |path: &Path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(damage(3, &endless), Damage::TooLong);

    assert_eq!(store.last_confirmed(None).unwrap().unwrap().number, 2);
    let all: Vec<_> = store.all().unwrap().into_iter().map(|one| (one.number, one.read.is_ok())).collect();
    assert_eq!(all, [(3, false), (2, true), (1, true)]);
    put(&store, &generation(4));
    assert_eq!(store.numbers().unwrap(), [1, 2, 3, 4], "the next number is above the damaged one's");
}

#[test]
fn one_that_cannot_be_read_now_is_no_damage_and_loses_no_part() {
    let (_folder, store) = store();
    for number in 1..=2 {
        put(&store, &generation(number));
    }
    let before = blobs(&store);
    // Opening a socket fails as a disk does that has a bad moment.
    let (path, aside) = (store.path(2), store.dir().join("aside"));
    fs::rename(&path, &aside).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(store.newest(), Err(StoreError::Io { .. })));
    assert!(matches!(store.collect(None), Err(StoreError::Io { .. })));
    drop(socket);
    fs::rename(&aside, &path).unwrap();
    assert_eq!(blobs(&store), before);
    assert_eq!(store.newest().unwrap().unwrap().number, 2);
    // A damaged one is none.
    fs::write(&path, "").unwrap();
    assert!(store.newest().unwrap().is_none());
}

#[test]
fn what_could_not_be_kept_leaves_nothing_on_a_full_disk() {
    let (_folder, store) = store();
    put(&store, &generation(1));
    let before = blobs(&store);
    Layout::open(store.layout()).unwrap().put_blob(b"a part of generation 2").unwrap();
    // Nothing can be renamed there.
    fs::create_dir(store.path(2)).unwrap();
    assert!(store.add(&generation(2), &Parts::default(), Some(1)).is_err());
    assert_eq!(blobs(&store), before);
}

#[test]
fn what_a_removal_set_aside_that_was_cut_off_comes_back_unless_something_was_kept_since() {
    let (_folder, store) = store();
    store.recover().unwrap();
    put(&store, &generation(1));
    store.set_aside().unwrap();
    store.recover().unwrap();
    assert_eq!(store.numbers().unwrap(), [1]);
    store.set_aside().unwrap();
    put(&store, &generation(7));
    store.recover().unwrap();
    assert_eq!(store.numbers().unwrap(), [7]);
}

#[test]
fn nobody_else_may_look_into_it() {
    let (folder, store) = store();
    put(&store, &generation(1));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.path().join("bpfkit")), mode(&store.dir()), mode(&store.path(1))), (0o700, 0o700, 0o600));
}

#[test]
fn a_set_that_is_removed_is_away_in_one_step_and_comes_back_whole() {
    let (_folder, store) = store();
    put(&store, &generation(1));
    store.set_aside().unwrap();
    assert!(store.numbers().unwrap().is_empty());
    store.put_back().unwrap();
    assert_eq!(store.numbers().unwrap(), [1]);
    store.set_aside().unwrap();
    store.drop_aside().unwrap();
    store.put_back().unwrap();
    assert!(store.numbers().unwrap().is_empty());
    // What an older removal left in the way is no hindrance.
    put(&store, &generation(1));
    fs::create_dir_all(store.aside().join("x")).unwrap();
    store.set_aside().unwrap();
    assert!(store.aside().join("generations/1").exists());
}
