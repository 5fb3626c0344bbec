//! The way back: what was applied is kept, gone back to, and restored after a reboot, with its trust decided anew.

use std::fs;

use bpfkit_tests::host::{Host, wait_until};

use crate::support::{Chain, Hop, among_others, apply, live, project, trail_of_one};

const A: Hop = Hop::new("a", 1, 2);
const B: Hop = Hop::new("b", 2, 2);
const C: Hop = Hop::new("c", 3, 2);
const D: Hop = Hop::new("d", 4, 0);

/// A set of one XDP chain.
pub(crate) const fn xdp(hops: &[Hop]) -> Chain<'_> {
    Chain { hook: "xdp", more: "", hops }
}

/// Applies three versions, 1 to 3, of one chain: `a`, then `a b`, then `a b c`.
fn three_versions(host: &Host) {
    apply(host, "one", &[xdp(&[A])]);
    apply(host, "two", &[xdp(&[A, B])]);
    apply(host, "three", &[xdp(&[A, B, C])]);
    assert_eq!(trail_of_one(host, "xdp"), "123");
}

/// The number and the state of each generation, the newest first, as `status` tells them; a star for the live one.
#[track_caller]
pub(crate) fn generations(host: &Host) -> Vec<String> {
    let status = host.run("bpfkit status $set --json").json();
    let kept = status["sets"][0]["generations"].as_array().cloned().unwrap_or_default();
    let one = |one: &serde_json::Value| {
        let live = if one["live"] == true { "*" } else { "" };
        format!("{}{live} {}", one["number"], one["state"].as_str().unwrap_or_default())
    };
    kept.iter().map(one).collect()
}

/// What a reboot leaves: files on disks. bpffs and `/run` are empty, interfaces and namespaces are new ones of the same names.
#[track_caller]
pub(crate) fn reboot(host: &Host) {
    host.run(
        "set -e; umount /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf; rm -rf /run/bpfkit
         ip netns del edge 2>/dev/null || true; ip link del eth0
         echo $RANDOM$RANDOM >/run/boot_id; mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
         ip link add eth0 address 02:00:00:00:00:01 type veth peer name w0 address 02:00:00:00:00:02 netns world
         ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 up
         ip -n world addr add 10.0.0.2/24 dev w0; ip -n world link set w0 up
         ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
         ip -n world neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev w0 nud permanent",
    )
    .exits(0);
    assert!(wait_until(3, || host.footprint().programs == 0), "chains outlive the reboot: {:?}", host.footprint());
}

#[test]
fn going_back_makes_a_new_generation_and_twice_is_forth_again() {
    let _cpus = among_others();
    let host = Host::new();
    three_versions(&host);
    assert_eq!(generations(&host), ["3* confirmed", "2 confirmed", "1 confirmed"]);

    host.run("bpfkit rollback $set").exits(0).says(&["- c", "generation 4 is live", "generation 2 again"]);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    assert_eq!(generations(&host), ["4* confirmed", "3 confirmed", "2 confirmed", "1 confirmed"]);
    host.run("bpfkit rollback $set").exits(0).says(&["+ c", "generation 3 again"]);
    assert_eq!(trail_of_one(&host, "xdp"), "123");

    host.run("cd one && bpfkit rollback 1").exits(0).says(&["generation 6 is live", "generation 1 again"]);
    assert_eq!(trail_of_one(&host, "xdp"), "1");
    let listed = host.run("bpfkit status $set --generations").exits(0);
    listed.says(&["generation 6\n", "6    live, 1 again", "5    confirmed, 3 again", "oci:"]);
    host.run("cd one && bpfkit plan --exit-code").exits(0);
    host.run("bpfkit rollback $set 99").exits(1).says(&["A350", "2, 3, 4, 5, 6"]);
    host.run("bpfkit rollback $set nowhere").exits(2);
    host.run("bpfkit rollback elsewhere").exits(1).says(&["A350", "`elsewhere`"]);
}

#[test]
fn what_is_applied_again_is_the_same_generation_and_what_differs_in_trust_alone_is_another() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "one", &[xdp(&[A])]);
    let kept = || host.run("find /var/lib/bpfkit -type f -printf '%p %i %T@\\n' | sort").exits(0).stdout;
    let before = kept();
    for _ in 0..3 {
        host.run("cd one && bpfkit apply").exits(0);
    }
    assert_eq!(kept(), before, "nothing is written where nothing is new");
    host.run("sed -i 's/made by a test/for another reason/' one/bpfkit.yml && cd one && bpfkit apply").exits(0);
    assert_eq!(generations(&host), ["2* confirmed", "1 confirmed"], "who is believed is part of what was applied");
    let last = host.run("bpfkit apply --last $set --json").exits(0).json();
    assert!(last["sets"][0]["plan"]["grounds"].to_string().contains("for another reason"), "{last}");
    host.run("test $(stat -c %a /var/lib/bpfkit) = 700 && test $(stat -c %a /var/lib/bpfkit/$set) = 700").exits(0);
}

#[test]
fn five_generations_are_kept_and_a_removal_forgets_them_all() {
    let _cpus = among_others();
    let host = Host::new();
    let blobs = || host.run("ls /var/lib/bpfkit/$set/oci/blobs/sha256 | wc -l").exits(0).stdout.trim().to_owned();
    for round in 0..4 {
        apply(&host, &format!("a{round}"), &[xdp(&[A])]);
        apply(&host, &format!("b{round}"), &[xdp(&[A, B])]);
    }
    assert_eq!(generations(&host), ["8* confirmed", "7 confirmed", "6 confirmed", "5 confirmed", "4 confirmed"]);
    let full = blobs();
    apply(&host, "a9", &[xdp(&[A])]);
    apply(&host, "b9", &[xdp(&[A, B])]);
    assert_eq!(blobs(), full, "parts of generations that are gone go with them");
    host.run("bpfkit remove $set").exits(0);
    host.run("ls -A /var/lib/bpfkit | grep .").exits(1);
    host.run("bpfkit rollback $set").exits(1).says(&["A350"]);
    host.run("bpfkit apply --last --offline").exits(0).says(&["nothing is kept"]);
    assert_eq!(host.footprint().links, 0);
}

#[test]
fn after_a_reboot_the_last_generation_is_restored_without_a_network() {
    let _cpus = among_others();
    let host = Host::new();
    let edge = "ip netns add edge && ip -n edge link add eth1 type veth peer name w1 && ip -n edge link set eth1 up";
    host.run(edge).exits(0);
    let chains = [
        xdp(&[A, B]),
        Chain { hook: "tc/ingress", more: "", hops: &[D] },
        Chain { hook: "xdp", more: "interfaces: [eth1], netns: /run/netns/edge,", hops: &[A] },
    ];
    apply(&host, "project", &chains);
    let (before, footprint) = (live(&host), host.footprint());
    reboot(&host);
    host.run(edge).exits(0);
    host.run("bpfkit status").exits(3).says(&[host.set(), "not on this host", "kept, but not live", "apply --last"]);
    // The project, its bundle and its manifest are of no use here.
    host.run("mv project gone").exits(0);

    let strace = "strace -f -qq -o trace -e trace=socket,connect,sendto,execve";
    host.run(&format!("{strace} bpfkit apply --last --offline")).exits(0).says(&["+ a", "+ b", "+ d"]);
    let trace = fs::read_to_string(host.folder().join("trace")).unwrap();
    let sockets: Vec<&str> = trace.lines().filter(|line| line.contains("socket(")).collect();
    assert!(!sockets.is_empty() && sockets.iter().all(|line| line.contains("AF_NETLINK")), "{sockets:?}");
    assert_eq!(trace.matches("execve(").count(), 1, "{trace}");

    let after = host.footprint();
    assert_eq!(live(&host).len(), 3);
    let sorted = |mut chains: Vec<_>| {
        chains.sort();
        chains
    };
    assert_eq!(sorted(live(&host)), sorted(before));
    assert_eq!((after.programs, after.maps, after.links), (footprint.programs, footprint.maps, footprint.links));
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    assert_eq!(generations(&host), ["1* confirmed"], "what is restored is the generation that it was");
    host.run("cd gone && bpfkit plan --exit-code && bpfkit status").exits(0);
    host.run("bpfkit apply --last --offline").exits(0).says(&["nothing to do"]);
}

#[test]
fn an_interface_that_is_not_there_yet_leaves_the_others_their_chains() {
    let _cpus = among_others();
    let host = Host::new();
    host.run("ip link add late0 type veth peer name late1 && ip netns add edge").exits(0);
    host.run("ip -n edge link add eth1 type veth peer name w1").exits(0);
    let chains = [
        xdp(&[A, B]),
        Chain { hook: "tc/ingress", more: "interfaces: [eth0, late0],", hops: &[D] },
        Chain { hook: "xdp", more: "interfaces: [eth1], netns: /run/netns/edge,", hops: &[A] },
    ];
    apply(&host, "project", &chains);
    host.run("ip link del late0").exits(0);
    reboot(&host);
    let said = host.run("bpfkit apply --last --offline").exits(1);
    said.says(&["A358", "tc/ingress of `late0`", "xdp of `eth1` in /run/netns/edge", "+ a", "+ d"]);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    assert_eq!(live(&host).len(), 2);
    // An apply stays all or nothing.
    host.run("cd project && bpfkit apply").exits(1).says(&["A301", "A302"]);
    host.run("ip link add late0 type veth peer name late1 && ip netns add edge").exits(0);
    host.run("ip -n edge link add eth1 type veth peer name w1").exits(0);
    host.run("bpfkit apply --last --offline").exits(0);
    assert_eq!(live(&host).len(), 4);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
}

#[test]
fn each_set_is_restored_by_itself_and_the_exit_code_is_the_first_failures() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "project", &[xdp(&[A])]);
    let other = "sed 's/^name: .*/name: aside/; s/set: [^,]*,/set: aside,/; s/hook: xdp/hook: tc\\/ingress/; s/entry: hop/entry: tc_hop/; s/name: trail/name: tc_trail/'";
    host.run(&format!("mkdir other && cp project/hop.bpf.o other && {other} project/bpfkit.yml >other/bpfkit.yml"))
        .exits(0);
    host.run("cd other && bpfkit bundle && bpfkit apply").exits(0);
    reboot(&host);
    // `aside` comes first, and is damaged.
    host.run("truncate -s -1 /var/lib/bpfkit/aside/generations/1").exits(0);
    let said = host.run("bpfkit apply --last --offline --json").exits(1).json();
    assert_eq!(said["sets"][0]["set"], "aside");
    assert_eq!(said["sets"][0]["problems"][0]["code"], "A351", "{said}");
    assert_eq!(
        (&said["sets"][1]["plan"]["generation"]["number"], &said["sets"][1]["problems"]),
        (&1.into(), &serde_json::json!([]))
    );
    assert_eq!(trail_of_one(&host, "xdp"), "1");
    host.run("bpfkit rollback aside 1").exits(1).says(&["A351"]);
}

#[test]
fn a_stored_byte_that_was_flipped_is_refused_and_changes_nothing() {
    let _cpus = among_others();
    let host = Host::new();
    three_versions(&host);
    let flip = |file: &str| {
        format!(
            "f={file}; b=$(od -An -tu1 -j40 -N1 $f); printf \"\\\\x$(printf %02x $((b ^ 1)))\" | dd of=$f bs=1 seek=40 conv=notrunc status=none"
        )
    };
    let before = host.footprint();
    // Each blob of generation 2's own.
    let store = "/var/lib/bpfkit/$set";
    let only = format!(
        "cd {store}/oci/blobs/sha256; for b in *; do grep -q $b ../../../generations/2 && ! grep -q $b ../../../generations/3 && echo $b; done"
    );
    let own = host.run(&only).stdout;
    assert!(own.lines().count() >= 2, "{own}");
    for blob in own.lines() {
        let path = format!("{store}/oci/blobs/sha256/{blob}");
        host.run(&format!("cp {path} kept; {}", flip(&path))).exits(0);
        host.run("bpfkit rollback $set 2").exits(1).says(&["B020", "generation 2"]);
        host.run(&format!("cp kept {path}")).exits(0);
    }
    host.run(&flip(&format!("{store}/generations/2"))).exits(0);
    host.run("bpfkit rollback $set 2").exits(1).says(&["A351"]);
    host.run("bpfkit status $set --generations").exits(0).says(&["2    damaged"]);
    assert_eq!(host.footprint(), before);
    // The one before the live one is the last that is whole.
    host.run("bpfkit rollback $set").exits(0).says(&["generation 1 again"]);
}

/// A set that ana signed, published in a layout, and applied by its reference.
#[track_caller]
fn by_reference(host: &Host) {
    project(host, "project", &[xdp(&[A, B])]);
    host.run(
        "set -e; cd project; bpfkit trust keygen --output ana >/dev/null; bpfkit sign --key ana.key >/dev/null
         cp ana.pub /etc/bpfkit/
         cat >/etc/bpfkit/trust.yml <<END
keys: {ana: {file: ana.pub}}
image: {local/$set: {author: {threshold: 1, from: [ana]}}}
END
         bpfkit apply oci:.bpfkit/oci:project",
    )
    .exits(0);
}

#[test]
fn a_policy_that_was_tightened_since_keeps_a_reference_out() {
    let _cpus = among_others();
    let host = Host::new();
    by_reference(&host);
    reboot(&host);
    host.run("mv /etc/bpfkit/trust.yml policy; mv project gone").exits(0);
    host.run("bpfkit apply --last --offline").exits(4).says(&["T001"]);
    host.run("sed 's/pub}/pub, not_after: 2020-01-01}/' policy >/etc/bpfkit/trust.yml").exits(0);
    host.run("bpfkit apply --last --offline").exits(4).says(&["T008", "generation 1"]);
    host.run("sed s/local/elsewhere.example/ policy >/etc/bpfkit/trust.yml").exits(0);
    host.run("bpfkit apply --last --offline").exits(4).says(&["T002"]);
    assert_eq!(host.footprint().links, 0);
    host.run("cp policy /etc/bpfkit/trust.yml; bpfkit apply --last --offline").exits(0).says(&["author ana"]);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
}

#[test]
fn a_policy_of_the_host_binds_a_manifest_that_is_gone_back_to_wherever_it_speaks() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "one", &[xdp(&[A])]);
    apply(&host, "two", &[xdp(&[A, B])]);
    host.run("cd one && bpfkit trust keygen --output /etc/bpfkit/ana").exits(0);
    let policy = |image: &str| {
        let text = format!(
            "keys: {{ana: {{file: ana.pub}}}}\nimage: {{{image}: {{author: {{threshold: 1, from: [ana]}}}}}}\n"
        );
        host.write("trust.yml", &text);
        host.run("cp trust.yml /etc/bpfkit/").exits(0);
    };
    policy(&format!("local/{}", host.set()));
    host.run("bpfkit rollback $set").exits(4).says(&["T003", "/etc/bpfkit/trust.yml"]);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    policy("local/another");
    host.run("bpfkit rollback $set").exits(0).says(&["waived"]);
    assert_eq!(trail_of_one(&host, "xdp"), "1");
}

#[test]
fn an_apply_that_cannot_be_kept_is_done_and_says_so() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "one", &[xdp(&[A])]);
    project(&host, "two", &[xdp(&[A, B])]);
    host.run("mount -o remount,ro /var/lib").exits(0);
    host.run("cd two && bpfkit apply").exits(0).says(&["warning[A352]", "/var/lib/bpfkit"]);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    host.run("bpfkit status $set").exits(0).says(&["generation unknown"]);
    host.run("cd two && bpfkit apply --confirm 60s").exits(0).says(&["warning[A352]", "nothing to confirm"]);
    // What can't be forgotten would be back with the next boot.
    host.run("bpfkit remove $set").exits(1).says(&["error[A352]"]);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    host.run("mount -o remount,rw /var/lib && cd two && bpfkit apply").exits(0).says(&["nothing to do"]);
    assert_eq!(generations(&host), ["2* confirmed", "1 confirmed"]);

    // A disk that is full, in the middle of it.
    project(&host, "three", &[xdp(&[A, B, C])]);
    host.run("mount -t tmpfs -o size=64k tmpfs /var/lib && head -c 60k /dev/zero >/var/lib/full").exits(0);
    host.run("cd three && bpfkit apply").exits(0).says(&["warning[A352]"]);
    host.run("umount /var/lib && cd three && bpfkit apply").exits(0);
    assert_eq!(generations(&host), ["3* confirmed", "2 confirmed", "1 confirmed"]);
}

#[test]
fn with_offline_a_registry_is_refused_before_a_socket_is_made() {
    let _cpus = among_others();
    let host = Host::new();
    by_reference(&host);
    let strace = "strace -f -qq -o trace -e trace=socket";
    host.run(&format!("{strace} bpfkit apply --offline registry.example/acme/edge:1")).exits(1).says(&["B015"]);
    assert!(!fs::read_to_string(host.folder().join("trace")).unwrap().contains("AF_INET"));
    host.run("cd project && bpfkit apply --offline oci:.bpfkit/oci:project").exits(0).says(&["nothing to do"]);
    host.run("cd project && bpfkit apply --offline").exits(0);
}
