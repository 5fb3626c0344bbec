//! What is refused: with its code, and with the host as it was.

use super::{Place, Stage, Stop, Trial, refusal_of, version};
use crate::{kit::Version, set::Hop};

fn at_xdp(place: &Place) -> bool {
    place.hook == "xdp"
}

fn good(place: &Place) -> Version {
    version(place, "good", &[Hop::new("a", 1, place.on), Hop::new("b", 2, place.on)])
}

/// The next `apply` of `tag` is refused with `code`, changes nothing, and says `words`.
#[track_caller]
fn refused(stage: &Stage<'_>, tag: &str, code: &str, words: &[&str]) {
    let before = stage.host.state();
    let said = stage.try_apply(tag).exits(1).says(words);
    let Stop::Refused { code: given, reason } = refusal_of(&said) else { return };
    assert_eq!(given, code, "{reason}");
    if !before.others.contains("/run/bpfkit") {
        stage.forget_the_lock();
    }
    // The verifier's log is kept for who wants to read it.
    stage.host.run("rm -f /run/bpfkit/verifier-*");
    assert_eq!(stage.host.state(), before, "refused ({given}), and the host isn't as it was");
}

/// What the kernel's verifier refuses never replaces what runs.
pub(super) const VERIFIER: Trial = Trial {
    name: "what the verifier refuses leaves the old chain",
    at: |_| true,
    versions: |place| {
        let (a, b) = (Hop::new("a", 1, place.on), Hop::new("b", 2, place.on));
        vec![good(place), version(place, "bad", &[a, Hop::new("careless", 3, place.on).careless(), b])]
    },
    run: |stage| {
        stage.first("good")?;
        refused(stage, "bad", "A107", &["`careless`", "invalid access to packet"]);
        assert_eq!(stage.trail(), "12");
        stage.apply("good").says(&["nothing to do"]);
        stage.removed();
        Ok(())
    },
};

/// Somebody else's program keeps its place on a hook that holds one.
pub(super) const STRANGER: Trial = Trial {
    name: "a stranger is named and left alone",
    at: at_xdp,
    versions: |place| vec![good(place)],
    run: |stage| {
        let mode = if stage.place.more.contains("generic") { "xdpgeneric" } else { "xdpdrv" };
        let object = stage.kit.stranger();
        stage.host.run(&format!("bpftool prog load {} /sys/fs/bpf/stranger", object.display())).exits(0);
        stage.host.run(&format!("bpftool net attach {mode} pinned /sys/fs/bpf/stranger dev eth0")).exits(0);
        refused(stage, "good", "A320", &["`stranger`", "eth0"]);
        stage.host.run(&format!("bpftool net detach {mode} dev eth0; rm /sys/fs/bpf/stranger")).exits(0);
        stage.first("good")?;
        assert_eq!(stage.trail(), "12");
        stage.removed();
        Ok(())
    },
};

/// libxdp's dispatcher with two programs in it: what only a kernel that loads `BPF_PROG_TYPE_EXT` can hold.
pub const PEER: Trial = Trial {
    name: "xdp-loader's dispatcher is named and left alone",
    at: |place| place.hook == "xdp" && place.more.is_empty(),
    versions: |place| vec![good(place)],
    run: |stage| {
        let object = stage.kit.stranger().display().to_string();
        let loaded = stage.host.run(&format!("xdp-loader load -m native eth0 {object} {object}"));
        if loaded.code != Some(0) {
            let last = loaded.stderr.lines().last().unwrap_or_default().trim().to_owned();
            return Err(Stop::Skipped(format!("xdp-loader can't load two programs: {last}")));
        }
        refused(stage, "good", "A320", &["xdp_dispatcher", "eth0"]);
        stage.host.run("xdp-loader status eth0").exits(0).says(&["xdp_dispatcher", "stranger"]);
        stage.host.run("xdp-loader unload eth0 --all").exits(0);
        stage.first("good")?;
        assert_eq!(stage.trail(), "12");
        stage.host.run("bpfkit remove $set").exits(0);
        Ok(())
    },
};

/// Programs are relocated by the kernel's own types; a kernel without them is refused before anything is made.
pub(super) const WITHOUT_BTF: Trial = Trial {
    name: "a kernel without BTF is refused",
    at: |place| place.hook == "xdp" && place.more.is_empty(),
    versions: |place| vec![good(place)],
    run: |stage| {
        stage.host.run("mount -t tmpfs tmpfs /sys/kernel/btf").exits(0);
        refused(stage, "good", "A102", &["/sys/kernel/btf/vmlinux"]);
        Ok(())
    },
};
