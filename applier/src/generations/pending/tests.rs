//! What is decided before a hook is touched: a store in a folder, and a folder in the place of bpffs.

use std::{fs, os::unix::fs::symlink};

use bpfkit_schemas::template::HostFacts;
use jiff::Timestamp;

use super::*;
use crate::generations::tests::generation;

struct Stage {
    _folder: tempfile::TempDir,
    today: Today,
    set: SetName,
    store: Store,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let places = Places { bpffs: at("bpffs"), run: at("run"), state: at("state") };
        let set: SetName = "edge".parse().unwrap();
        fs::create_dir_all(places.bpffs.join("bpfkit/edge")).unwrap();
        let store = Store::new(&places, &set);
        let today = Today {
            policy: None,
            facts: HostFacts::default(),
            platform: "linux/amd64".parse().unwrap(),
            now: Timestamp::UNIX_EPOCH,
            places,
        };
        Self { _folder: folder, today, set, store }
    }

    /// Generation `number`, not confirmed, whose time is over after `patience`.
    fn waits(&self, number: u64, patience: Duration, back_to: Option<u64>) {
        let state = State::Pending { until: Deadline::after(patience).unwrap(), back_to };
        self.store.write(&Generation { state, ..generation(number) }).unwrap();
    }

    fn live(&self, number: u64) {
        symlink(number.to_string(), self.today.places.bpffs.join("bpfkit/edge/generation")).unwrap();
    }

    fn kernel(&self) -> LinuxKernel {
        LinuxKernel::new(self.today.places.clone(), self.set.clone())
    }

    fn states(&self) -> Vec<(u64, &'static str)> {
        let all = self.store.all().unwrap();
        all.into_iter().map(|one| (one.number, one.read.unwrap().state_word())).collect()
    }
}

const OVER: Duration = Duration::ZERO;
const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn what_is_kept_stays_where_an_unconfirmed_one_with_nothing_before_it_is_taken_off() {
    let stage = Stage::new();
    stage.store.write(&generation(1)).unwrap();
    stage.waits(2, OVER, None);
    stage.live(2);
    let applied = put_back(&stage.set, 2, &stage.today).unwrap().unwrap();
    assert!(applied.outcome.stopped.is_none() && applied.unkept.is_empty(), "{applied:?}");
    assert_eq!(stage.states(), [(2, "put_back"), (1, "confirmed")]);
    assert_eq!(stage.kernel().published(), None);
}

#[test]
fn whoever_waits_for_an_older_one_leaves_a_newer_one_alone() {
    let stage = Stage::new();
    stage.store.write(&generation(1)).unwrap();
    stage.waits(2, OVER, Some(1));
    for newer in ["confirmed", "pending"] {
        match newer {
            "confirmed" => stage.store.write(&generation(3)).unwrap(),
            _ => stage.waits(3, MINUTE, Some(1)),
        }
        assert!(put_back(&stage.set, 2, &stage.today).unwrap().is_none());
        assert_eq!(wait(&stage.set, 2, &stage.today.places).unwrap(), Waited::Settled);
        assert_eq!(stage.states(), [(3, newer), (2, "pending"), (1, "confirmed")]);
    }
}

#[test]
fn one_that_never_touched_a_hook_is_given_up_and_what_is_live_stays() {
    let stage = Stage::new();
    stage.store.write(&generation(1)).unwrap();
    stage.waits(2, OVER, Some(1));
    stage.live(1);
    assert!(put_back(&stage.set, 2, &stage.today).unwrap().is_none());
    assert_eq!(stage.states(), [(2, "put_back"), (1, "confirmed")]);
    assert_eq!(stage.kernel().published(), Some(1));
}

#[test]
fn an_expired_one_that_is_live_is_no_way_back_and_one_that_is_not_is_given_up() {
    let stage = Stage::new();
    stage.store.write(&generation(1)).unwrap();
    stage.waits(2, OVER, Some(1));
    stage.live(2);
    let refused = settle_expired(&stage.kernel(), &stage.store);
    assert!(matches!(refused, Err(GenerationError::NotPutBack { number: 2, .. })), "{refused:?}");
    assert_eq!(stage.states()[0], (2, "pending"));
    stage.kernel().unpublish().unwrap();
    settle_expired(&stage.kernel(), &stage.store).unwrap();
    assert_eq!(stage.states()[0], (2, "put_back"));
}

#[test]
fn whoever_waits_goes_on_while_the_store_cannot_be_read() {
    let stage = Stage::new();
    stage.waits(2, Duration::from_secs(2), None);
    let kept = stage.today.places.state.join("edge/generations");
    let path = kept.join("2");
    let waiting = thread::spawn({
        let (set, places) = (stage.set.clone(), stage.today.places.clone());
        move || wait(&set, 2, &places)
    });
    thread::sleep(Duration::from_millis(300));
    fs::write(kept.join("y"), "damaged").unwrap();
    fs::rename(kept.join("y"), &path).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), Waited::Over);
}

#[test]
fn half_an_apply_cannot_be_confirmed() {
    let stage = Stage::new();
    stage.store.write(&generation(1)).unwrap();
    stage.waits(2, MINUTE, Some(1));
    let refused = confirm(&stage.set, &stage.today.places);
    assert!(matches!(refused, Err(GenerationError::NotWhole { number: 2, .. })), "{refused:?}");
    assert_eq!(stage.states()[0], (2, "pending"));
    stage.live(2);
    assert!(confirm(&stage.set, &stage.today.places).unwrap().is_confirmed());
    assert_eq!(stage.states()[0], (2, "confirmed"));
}
