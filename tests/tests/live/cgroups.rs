//! Chains at the hooks of cgroups: order, verdicts, changes, strangers, and cgroups that come and go.

use std::{fs, path::PathBuf};

use bpfkit_tests::host::{Host, wait_until};

use crate::support::{Chain, Hop, among_others, apply, compile, live, project};

const ALLOW: i32 = 1;
const DENY: i32 = 0;
const A: Hop = Hop::new("a", 1, ALLOW);
const B: Hop = Hop::new("b", 2, ALLOW);
const C: Hop = Hop::new("c", 3, ALLOW);

/// A host with a cgroup of its own, gone with the value.
struct Grouped {
    host: Host,
    /// The cgroup, as this process sees it.
    path: PathBuf,
    /// The same in a manifest: `cgroup: …,`.
    more: String,
}

impl Grouped {
    fn new() -> Self {
        let host = Host::new();
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
        let path = PathBuf::from(root.split(' ').nth(1).unwrap()).join(host.set());
        fs::create_dir(&path).unwrap();
        let more = format!("cgroup: {},", path.display());
        Self { host, path, more }
    }

    #[track_caller]
    fn apply(&self, hops: &[Hop]) {
        apply(&self.host, "project", &[self.chain(hops)]);
    }

    fn chain<'a>(&'a self, hops: &'a [Hop]) -> Chain<'a> {
        Chain { hook: "cgroup/connect4", more: &self.more, hops }
    }

    /// Connects in the cgroup: the numbers of the programs that the call met, and whether it was let through.
    #[track_caller]
    fn connect(&self) -> (String, bool) {
        let map = "maps/cgroup_trail";
        self.host.run(&format!("bpftool map update pinned $pins/{map} key 0 0 0 0 value 0 0 0 0 0 0 0 0")).exits(0);
        let connect = "exec 3<>/dev/udp/10.0.0.2/9";
        let done = self.host.run(&format!(
            "bash -c 'echo $$ >{}/cgroup.procs; {connect}' 2>said; code=$?; cat said; exit $code",
            self.path.display()
        ));
        if done.code != Some(0) {
            assert!(done.stdout.contains("Operation not permitted"), "{}{}", done.stdout, done.stderr);
        }
        (format!("{:x}", self.host.counter(map)), done.code == Some(0))
    }

    /// Takes the cgroup away.
    fn remove(&self) {
        // Whoever ended in it may not be gone yet.
        assert!(wait_until(5, || fs::remove_dir(&self.path).is_ok()));
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        let path = &self.path;
        wait_until(2, || !path.exists() || fs::remove_dir(path).is_ok());
    }
}

#[test]
fn a_chain_at_a_cgroup_runs_in_order_and_follows_its_manifest() {
    let _cpus = among_others();
    let grouped = Grouped::new();
    let host = &grouped.host;
    let empty = host.footprint();
    let met = |trail: &str, allowed| assert_eq!(grouped.connect(), (trail.to_owned(), allowed));
    grouped.apply(&[A, B]);
    met("12", true);
    let link = || host.run("bpfkit status $set --json").json()["sets"][0]["hooks"][0]["link"].clone();
    let first = link();
    grouped.apply(&[A, C, B]);
    met("132", true);
    grouped.apply(&[B, A, C]);
    met("213", true);
    grouped.apply(&[C, Hop::new("b", 2, DENY), A]);
    met("32", false);
    grouped.apply(&[C, Hop::new("b", 2, DENY).then("[deny, allow]"), A]);
    met("321", true);
    grouped.apply(&[C, A]);
    met("31", true);
    assert_eq!(link(), first, "one link all along: each change was one replacement");
    assert_eq!(host.counter("programs/a/runs"), 5, "counters live on");
    assert_eq!(live(host), [("cgroup/connect4".to_owned(), vec!["c".to_owned(), "a".to_owned()])]);
    host.run("cd project && bpfkit apply").exits(0).says(&["nothing to do"]);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
    host.run("bpfkit status $set").exits(0).says(&["cgroup/connect4 ", host.set(), "(fused): c, a"]);
    // A process elsewhere meets nothing.
    host.run("bash -c 'exec 3<>/dev/udp/10.0.0.2/9'").exits(0);
    assert_eq!(host.counter("programs/a/runs"), 5);
    host.run("bpfkit remove $set").exits(0);
    host.run("rmdir /sys/fs/bpf/bpfkit 2>/dev/null");
    assert!(wait_until(3, || host.footprint() == empty), "{:?}", host.footprint());
}

#[test]
fn what_somebody_does_to_a_cgroups_link_is_reported_and_repaired() {
    let _cpus = among_others();
    let grouped = Grouped::new();
    let host = &grouped.host;
    grouped.apply(&[A, B]);
    for (damage, words) in [
        ("bpftool link detach id $(bpftool -j link show pinned $pins/links/* | jq .id)", "somebody detached it"),
        ("rm $pins/links/*", "somebody removed it"),
        ("rm $pins/records/*", "its pin is gone"),
    ] {
        host.run(damage).exits(0);
        host.run("bpfkit status $set").exits(3).says(&["cgroup/connect4", words]);
        host.run("cd project && bpfkit apply").exits(0);
        host.run("bpfkit status $set").exits(0);
        host.run("cd project && bpfkit plan --exit-code").exits(0);
        assert_eq!(grouped.connect(), ("12".to_owned(), true), "{damage}");
    }
}

#[test]
fn a_stranger_at_a_cgroup_is_named_and_kept_or_refused() {
    let _cpus = among_others();
    let grouped = Grouped::new();
    let host = &grouped.host;
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\n\
                  SEC(\"cgroup/connect4\") int stranger(struct bpf_sock_addr *ctx) { return 1; }\n\
                  char LICENSE[] SEC(\"license\") = \"GPL\";\n";
    fs::write(host.folder().join("stranger.o"), compile(folder.path(), source, "stranger")).unwrap();
    host.run("bpftool prog load stranger.o /sys/fs/bpf/stranger").exits(0);
    let attach = format!("cgroup attach {} connect4 pinned /sys/fs/bpf/stranger multi", grouped.path.display());
    host.run(&format!("bpftool {attach}")).exits(0);
    let refuse = format!("{} foreign: refuse,", grouped.more);
    project(host, "refuse", &[Chain { more: &refuse, ..grouped.chain(&[A]) }]);
    host.run("cd refuse && bpfkit apply").exits(1).says(&["A322", "`stranger`", "/sys/fs/bpf/stranger"]);
    grouped.apply(&[A, B]);
    assert_eq!(grouped.connect(), ("12".to_owned(), true));
    host.run("bpfkit status $set").exits(0).says(&["`stranger`"]);
    host.run("bpfkit remove $set").exits(0);
    let show = format!("bpftool cgroup show {}", grouped.path.display());
    host.run(&show).exits(0).says(&["stranger"]);
    host.run(&format!("bpftool {}", attach.replace("attach", "detach").replace(" multi", ""))).exits(0);
}

#[test]
fn a_cgroup_that_is_missing_is_refused_and_one_that_goes_is_cleaned_up() {
    let _cpus = among_others();
    let grouped = Grouped::new();
    let host = &grouped.host;
    for path in ["/sys/fs/cgroup/nowhere", "/etc", "/etc/hosts"] {
        let more = format!("cgroup: {path},");
        project(host, "bad", &[Chain { more: &more, ..grouped.chain(&[A]) }]);
        host.run("cd bad && bpfkit apply").exits(1).says(&["A313", path, "help"]);
    }
    grouped.apply(&[A]);
    grouped.remove();
    assert!(wait_until(5, || host.run("bpfkit status $set").code == Some(3)));
    host.run("bpfkit status $set").exits(3).says(&["its cgroup is gone"]);
    host.run("cd project && bpfkit apply").exits(1).says(&["A313"]);
    // Another one of the same name is another cgroup.
    fs::create_dir(&grouped.path).unwrap();
    host.run("cd project && bpfkit apply").exits(0).says(&["attach", "its cgroup is gone"]);
    assert_eq!(grouped.connect(), ("1".to_owned(), true));
    host.run("bpfkit status $set").exits(0);
    assert_eq!(host.footprint().links, 1);
    host.run("bpfkit remove $set").exits(0);
    assert_eq!(host.footprint().links, 0);
}

#[test]
fn a_process_connects_through_the_old_or_the_new_chain_while_it_is_replaced_100_times() {
    let _cpus = among_others();
    let grouped = Grouped::new();
    let host = &grouped.host;
    project(host, "one", &[grouped.chain(&[A, Hop::new("b", 2, DENY)])]);
    project(host, "two", &[grouped.chain(&[C, A, Hop::new("b", 2, DENY)])]);
    host.run("cd one && bpfkit apply").exits(0);
    let tries = format!(
        "bash -c 'echo $$ >{}/cgroup.procs; n=0; while [ ! -e stop ]; do \
         (exec 3<>/dev/udp/10.0.0.2/9) 2>/dev/null && echo through; n=$((n+1)); done; echo tried $n'",
        grouped.path.display()
    );
    let running = host.spawn(&tries);
    for _ in 0..50 {
        host.run("(cd two && bpfkit -q apply) && (cd one && bpfkit -q apply)").exits(0);
    }
    host.run("touch stop").exits(0);
    let said = running.wait().exits(0).stdout;
    assert!(!said.contains("through"), "{said}");
    let tried: u64 = said.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(tried > 100, "{said}");
    assert_eq!(host.counter("programs/a/runs"), tried, "each call met `a` once");
    bpfkit_tests::host::measured(&format!("cgroup/connect4: 100 changes under {tried} connections: 0 let through"));
}

#[test]
fn a_program_that_has_to_be_called_may_answer_where_the_kernel_restricts_answers() {
    let _cpus = among_others();
    let grouped = Grouped::new();
    let (host, set) = (&grouped.host, grouped.host.set());
    let source = |name: &str, body: &str| {
        format!(
            "#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\n\
             SEC(\"cgroup/connect4\") int {name}(struct bpf_sock_addr *ctx) {{ {body} }}\n\
             char LICENSE[] SEC(\"license\") = \"GPL\";\n"
        )
    };
    // A whole stack leaves no room for the chain's own eight bytes.
    let deep = "__u64 one = 1; asm volatile(\"*(u64 *)(r10 - 512) = %0\" :: \"r\"(one) : \"memory\"); return 1;";
    host.write("deep/deep.bpf.c", &source("deep", deep));
    host.write("deep/last.bpf.c", &source("last", "return 1;"));
    host.write(
        "deep/bpfkit.yml",
        &format!(
            "version: 1\nname: {set}\nprograms: [{{name: deep, source: deep.bpf.c}}, {{name: last, source: last.bpf.c}}]\n\
             chains: [{{hook: cgroup/connect4, {} programs: [deep, last]}}]\n\
             trust: {{default: reject, unsigned: [{{set: {set}, because: made by a test}}]}}\n",
            grouped.more
        ),
    );
    let applied = host.run("cd deep && bpfkit bundle -q && bpfkit apply").exits(0);
    assert!(applied.stdout.contains("called: the stack has no room for it"), "{}", applied.stdout);
    let connect = format!("bash -c 'echo $$ >{}/cgroup.procs; exec 3<>/dev/udp/10.0.0.2/9'", grouped.path.display());
    host.run(&connect).exits(0);
}
