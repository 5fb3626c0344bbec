//! `apply --confirm`: what nobody confirms is put back, whatever became of whoever applied it.

use std::{thread, time::Duration};

use bpfkit_tests::host::{Host, wait_until};

use crate::{
    support::{Chain, Hop, among_others, apply, project, trail_of_one},
    wayback::{generations, reboot, xdp},
};

const A: Hop = Hop::new("a", 1, 2);
const B: Hop = Hop::new("b", 2, 2);

/// The process that waits, as `pgrep` finds it.
const WAITING: &str = "pgrep -f '^[^ ]*bpfkit put-back '";

/// A host on which `a` is live, and `a b` is ready to be applied in `two`.
fn stage() -> Host {
    let host = Host::new();
    apply(&host, "one", &[xdp(&[A])]);
    project(&host, "two", &[xdp(&[A, B])]);
    host
}

/// Waits until the process that puts back has ended.
#[track_caller]
fn settled(host: &Host) {
    let ended = wait_until(20, || host.run(WAITING).code == Some(1));
    assert!(ended, "it still waits: {}", host.run("ps axf; cat /run/bpfkit/*.log").stdout);
}

/// The old chain is live again, and nothing of the new one is left but its place in the list.
#[track_caller]
fn put_back(host: &Host, list: &[&str]) {
    settled(host);
    assert_eq!(trail_of_one(host, "xdp"), "1");
    assert_eq!(generations(host), list);
    host.run("bpfkit status $set").exits(0);
    host.run("cd one && bpfkit plan --exit-code").exits(0);
}

#[test]
fn what_is_confirmed_in_time_stays() {
    let _cpus = among_others();
    let host = stage();
    host.run("cd two && bpfkit apply --confirm 60s").exits(0).says(&[
        "generation 2 waits",
        "bpfkit confirm",
        "within 60 s",
    ]);
    assert_eq!(generations(&host), ["2* pending", "1 confirmed"]);
    host.run("bpfkit status $set").exits(0).says(&["generation 2: `bpfkit confirm", "else 1 is put back"]);
    host.run("bpfkit confirm --json").exits(0);
    settled(&host);
    assert_eq!(generations(&host), ["2* confirmed", "1 confirmed"]);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    host.run("bpfkit confirm $set").exits(1).says(&["A354"]);
    host.run("bpfkit confirm").exits(2).says(&["no set of this host waits"]);
    host.run("bpfkit confirm elsewhere").exits(1).says(&["A354"]);
}

#[test]
fn what_nobody_confirms_is_put_back_and_then_it_is_too_late() {
    let _cpus = among_others();
    let host = stage();
    let before = host.footprint();
    host.run("cd two && bpfkit apply --confirm 1s").exits(0);
    put_back(&host, &["2 put_back", "1* confirmed"]);
    assert!(wait_until(3, || host.footprint() == before), "{:?}", host.footprint());
    host.run("bpfkit confirm $set").exits(1).says(&["A355", "generation 2"]);
    // It is there to be gone back to, by its number alone.
    host.run("bpfkit rollback $set").exits(1).says(&["A350"]);
    host.run("bpfkit rollback $set 2").exits(0).says(&["generation 3 is live"]);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
}

#[test]
fn a_first_apply_that_nobody_confirms_is_taken_off_and_stays_in_the_list() {
    let _cpus = among_others();
    let host = Host::new();
    project(&host, "one", &[xdp(&[A])]);
    host.run("cd one && bpfkit apply --confirm 1s").exits(0).says(&["are taken off"]);
    settled(&host);
    assert_eq!((host.footprint().pins.len(), host.footprint().links), (0, 0));
    assert_eq!(generations(&host), ["1 put_back"]);
    host.run("bpfkit rollback $set 1").exits(0);
    assert_eq!(trail_of_one(&host, "xdp"), "1");
}

#[test]
fn a_first_apply_after_a_reboot_that_nobody_confirms_takes_no_good_generation_along() {
    let _cpus = among_others();
    let host = stage();
    reboot(&host);
    host.run("cd two && bpfkit apply --confirm 1s").exits(0).says(&["are taken off"]);
    settled(&host);
    assert_eq!(host.footprint().links, 0);
    assert_eq!(generations(&host), ["2 put_back", "1 confirmed"]);
    host.run("bpfkit apply --last --offline").exits(0);
    assert_eq!(trail_of_one(&host, "xdp"), "1");
}

#[test]
fn the_process_that_waits_has_nothing_of_whoever_started_it() {
    let _cpus = among_others();
    let host = stage();
    // A terminal that goes away with the command, a descriptor that was left open, a passphrase.
    host.run("script -qec 'exec 7>/run/held; cd two; exec bpfkit apply --confirm 4s' /dev/null").exits(0);
    let pid = host.run(WAITING).exits(0).stdout.trim().to_owned();
    host.run(&format!("kill -HUP {pid}; kill -HUP {pid}")).exits(0);
    let open = host.run(&format!("ls -l /proc/{pid}/fd | sed -n 's/.* -> //p'")).exits(0).stdout;
    let log = format!("/run/bpfkit/put-back-{}.log", host.set());
    assert_eq!(open.lines().collect::<Vec<_>>(), ["/dev/null", "/dev/null", &log], "its descriptors");
    let stat =
        host.run(&format!("cut -d' ' -f6,7 /proc/{pid}/stat; readlink /proc/{pid}/cwd; wc -c </proc/{pid}/environ"));
    assert_eq!(stat.stdout, format!("{pid} 0\n/\n0\n"), "its session, terminal, folder and environment");
    host.run("flock -n /run/bpfkit/lock true").exits(0);
    put_back(&host, &["2 put_back", "1* confirmed"]);
}

#[test]
fn while_one_waits_no_other_is_applied() {
    let _cpus = among_others();
    let host = stage();
    host.run("cd two && bpfkit apply --confirm 60s").exits(0);
    for command in [
        "cd one && bpfkit apply",
        "cd two && bpfkit apply",
        "cd one && bpfkit apply --confirm 5s",
        "bpfkit apply --last $set",
    ] {
        host.run(command).exits(6).says(&["A353", "generation 2", "bpfkit confirm", "bpfkit rollback"]);
    }
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    host.run("cd one && bpfkit plan").exits(0);
    // Rolled back at once, without waiting.
    host.run("bpfkit rollback $set").exits(0).says(&["generation 1 is live"]);
    put_back(&host, &["2 put_back", "1* confirmed"]);

    host.run("cd two && bpfkit apply --confirm 60s && bpfkit remove").exits(0);
    settled(&host);
    assert_eq!(host.footprint().links, 0);
    host.run("ls -A /var/lib/bpfkit | grep .").exits(1);
}

#[test]
fn an_apply_that_is_killed_at_any_call_is_put_back_as_well() {
    let _cpus = among_others();
    let host = stage();
    let before = host.footprint();
    let mut kills = 0;
    for call in ["rename", "unlink", "fsync", "symlink", "clone3"] {
        // Each part of a bundle is synced.
        let step = if call == "fsync" { 5 } else { 1 };
        for nth in (1..).step_by(step) {
            assert!(nth < 400, "{call}: no end");
            let inject = format!("-e trace={call} -e inject={call}:signal=KILL:when={nth}");
            let said = host.run(&format!("cd two && exec strace -qq -o /dev/null {inject} bpfkit apply --confirm 1s"));
            if said.code == Some(0) {
                host.run("bpfkit confirm $set && cd one && bpfkit apply").exits(0);
                settled(&host);
                break;
            }
            kills += 1;
            settled(&host);
            let after = format!("killed at {call} {nth}");
            assert_eq!(trail_of_one(&host, "xdp"), "1", "{after}");
            let list = generations(&host);
            assert!(list.iter().all(|one| !one.contains("damaged") && !one.contains("* pending")), "{after}: {list:?}");
            // Killed before anything was changed, it may have left one that nobody waits for: for its second.
            assert!(wait_until(3, || host.run("cd one && bpfkit apply").code == Some(0)), "{after}");
            host.run("cd one && bpfkit plan --exit-code && bpfkit status").exits(0);
            assert!(generations(&host).iter().all(|one| !one.contains("pending")), "{after}");
            assert!(wait_until(3, || host.footprint() == before), "{after}: {:?}", host.footprint());
        }
    }
    bpfkit_tests::host::measured(&format!("`apply --confirm` killed at {kills} calls"));
}

#[test]
fn after_a_reboot_in_between_the_last_confirmed_one_is_restored() {
    let _cpus = among_others();
    let host = stage();
    host.run("cd two && bpfkit apply --confirm 60s").exits(0);
    host.run(&format!("kill -9 $({WAITING})")).exits(0);
    reboot(&host);
    host.run("bpfkit confirm $set").exits(1).says(&["A355"]);
    host.run("bpfkit apply --last --offline").exits(0);
    put_back(&host, &["2 put_back", "1* confirmed"]);
}

#[test]
fn what_could_not_be_put_back_is_refused_before_anything_changes() {
    let _cpus = among_others();
    let host = stage();
    let refused = |damage: &str, code: i32, words: &[&str]| {
        host.run(&format!("cp -a /var/lib/bpfkit /var/lib/whole; {damage}")).exits(0);
        let before = host.footprint();
        host.run("cd two && bpfkit apply --confirm 5s").exits(code).says(words);
        assert_eq!(host.footprint(), before, "{damage}");
        settled(&host);
        host.run("mount -o remount,rw /var/lib; rm -rf /var/lib/bpfkit; mv /var/lib/whole /var/lib/bpfkit").exits(0);
        host.run("rm -rf /etc/bpfkit/*").exits(0);
    };
    refused("rm -r /var/lib/bpfkit", 1, &["A357"]);
    refused("rm -r /var/lib/bpfkit/$set/generations/1", 1, &["A357"]);
    refused("truncate -s -1 /var/lib/bpfkit/$set/generations/1", 1, &["A351"]);
    refused("for b in /var/lib/bpfkit/$set/oci/blobs/sha256/*; do echo >>$b; done", 1, &["B020"]);
    refused("mount -o remount,ro /var/lib", 1, &["A352"]);
    let policy = "bpfkit trust keygen --output /etc/bpfkit/ana >/dev/null; printf 'keys: {ana: {file: ana.pub}}\\nimage: {local/%s: {author: {threshold: 1, from: [ana]}}}\\n' $set >/etc/bpfkit/trust.yml";
    refused(policy, 4, &["T003"]);
    refused("rm $pins/generation", 1, &["A357"]);
}

#[test]
fn what_the_kernel_refuses_leaves_nothing_waiting() {
    let _cpus = among_others();
    let host = stage();
    // The driver takes no native XDP program at this MTU.
    host.run("bpfkit remove $set && ip -n world link set w0 mtu 9000").exits(0);
    host.run("cd two && bpfkit apply --confirm 60s").exits(5);
    settled(&host);
    assert_eq!(generations(&host), [""; 0]);
    host.run("ip -n world link set w0 mtu 1500 && cd two && bpfkit apply").exits(0);
}

#[test]
fn a_policy_that_was_tightened_meanwhile_keeps_the_old_generation_out_and_that_is_told() {
    let _cpus = among_others();
    let host = stage();
    host.run("cd two && bpfkit apply --confirm 2s").exits(0);
    let policy = "bpfkit trust keygen --output /etc/bpfkit/ana >/dev/null; printf 'keys: {ana: {file: ana.pub}}\\nimage: {local/%s: {author: {threshold: 1, from: [ana]}}}\\n' $set >/etc/bpfkit/trust.yml";
    host.run(policy).exits(0);
    assert!(wait_until(10, || host.run("grep T003 /run/bpfkit/put-back-$set.log").code == Some(0)), "nothing is told");
    host.run("bpfkit status $set").exits(0).says(&["generation 2: not confirmed in time"]);
    // It is tried again, so that whoever sees that can mend it.
    host.run("rm /etc/bpfkit/trust.yml").exits(0);
    put_back(&host, &["2 put_back", "1* confirmed"]);
}

#[test]
fn the_time_counts_from_the_end_of_the_apply_and_no_clock_moves_it() {
    let _cpus = among_others();
    let host = stage();
    // Two seconds in the middle of the change, with a deadline of three.
    let delay = "-e trace=bpf -e inject=bpf:delay_enter=2000000:when=40";
    host.run(&format!("cd two && strace -qq -o /dev/null {delay} bpfkit apply --confirm 3s")).exits(0);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(trail_of_one(&host, "xdp"), "12", "it was put back too early");
    put_back(&host, &["2 put_back", "1* confirmed"]);
    for time in ["0", "25h", "-1s", "1.5m", "+5", "s", "5d", ""] {
        host.run(&format!("cd two && bpfkit apply --confirm '{time}'")).exits(2);
    }
}

/// A chain that can't be attached is refused as ever.
#[test]
fn with_confirm_all_refusals_stand() {
    let _cpus = among_others();
    let host = stage();
    project(&host, "bad", &[Chain { hook: "xdp", more: "interfaces: [eth7],", hops: &[A] }]);
    host.run("cd bad && bpfkit apply --confirm 5s").exits(1).says(&["A301"]);
    host.run("cd one && bpfkit apply --last --confirm 5s").exits(2);
    host.run("cd one && bpfkit apply --last --set x=1").exits(2).says(&["--last"]);
    host.run("bpfkit apply --last --file one/bpfkit.yml").exits(2).says(&["--last"]);
    assert_eq!(generations(&host), ["1* confirmed"]);
    settled(&host);
}
