//! Plans, as operators read them: a host in words, a wish in words, the plan as it is shown.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do: at once and with a trace"
)]

#[path = "words/world.rs"]
mod world;

use bpfkit_applier::{model::Disturbance, status::status};
use bpfkit_schemas::hook::Attach;
use world::{World, diagnosed};

fn live(interfaces: &str, chains: &str) -> World {
    let mut world = World::new(interfaces);
    world.apply(chains);
    world
}

#[test]
fn a_new_chain_is_attached_and_lists_its_programs() {
    let world = World::new("eth0");
    assert_eq!(
        world.planned("xdp eth0: guard, meter"),
        "\
set edge
  xdp eth0 (native, fused): attach, not attached yet
    + guard
    + meter
"
    );
}

#[test]
fn applying_twice_plans_nothing() {
    let world = live("eth0 eth1", "xdp eth0: guard, meter; tc/ingress eth*: shape");
    assert_eq!(
        world.planned("xdp eth0: guard, meter; tc/ingress eth*: shape"),
        "set edge: nothing to do, 3 hooks as declared\n"
    );
}

#[test]
fn a_program_put_in_the_middle_moves_nothing_else() {
    let world = live("eth0", "xdp eth0: guard, meter, old");
    assert_eq!(
        world.planned("xdp eth0: guard, limit, meter"),
        "\
set edge
  xdp eth0 (native, fused): replace, 1 added, 1 removed
      guard
    + limit  new in the manifest
      meter
    - old    no longer in the manifest
"
    );
}

#[test]
fn one_put_in_and_two_exchanged_shows_exactly_that() {
    let world = live("eth0", "xdp eth0: a, b, c, d");
    assert_eq!(
        world.planned("xdp eth0: a, c, b, x, d"),
        "\
set edge
  xdp eth0 (native, fused): replace, 1 added, 1 moved
      a
    ~ c  moved after `a`
      b
    + x  new in the manifest
      d
"
    );
}

#[test]
fn what_changed_about_a_program_stands_beside_it() {
    let world = live("eth0", "xdp eth0: guard, limit, meter");
    assert_eq!(
        world.planned("xdp eth0: guard@2, limit#2[pass drop], meter[drop]"),
        "\
set edge
  xdp eth0 (native, fused): replace, 2 changed
    ~ guard  object changed sha256:010101010101 -> sha256:020202020202
    ~ limit  globals changed, proceed_on changed [pass] -> [drop, pass]
      meter
"
    );
}

#[test]
fn the_last_programs_proceed_on_is_never_asked_and_changes_nothing() {
    let world = live("eth0", "xdp eth0: guard, meter");
    assert!(world.plan("xdp eth0: guard, meter[drop]").unwrap().is_empty());
}

#[test]
fn a_chain_that_is_no_longer_declared_is_detached_last() {
    let world = live("eth0 eth1", "xdp eth0: guard; tc/egress eth0: shape");
    assert_eq!(
        world.planned("xdp eth0: guard; xdp eth1: guard"),
        "\
set edge
  xdp eth1 (native, fused): attach, not attached yet
    + guard
  tc/egress eth0 (fused): detach, no longer in the manifest
    - shape
  1 hook as declared
"
    );
}

#[test]
fn a_pattern_that_matches_nothing_is_a_warning_and_keeps_the_maps() {
    let mut world = World::new("eth0 wan0");
    world.map("shape", "counts 1/4/8/64");
    world.apply("tc/ingress wan*: shape");
    let point = world.at("tc/ingress", "wan0");
    world.model.disturb(&Disturbance::RemoveInterface { namespace: point.namespace, index: point.index });
    assert_eq!(
        world.planned("tc/ingress wan*: shape"),
        "\
set edge
  tc/ingress wan0 (fused): unpin, its interface is gone
    - shape
  warning: no interface matches `wan*`; the tc/ingress chain waits for one
"
    );
}

#[test]
fn strangers_on_a_shared_hook_are_kept_named_and_run_after_us() {
    let mut world = World::new("eth0^");
    world.foreign("tc/ingress", "eth0", "cil_from_netdev", 0);
    assert_eq!(
        world.planned("tc/ingress eth0^/run/netns/a: shape"),
        "\
set edge
  tc/ingress eth0 in /run/netns/a (fused): attach, not attached yet
    + shape
      beside `cil_from_netdev` (program 1, link 1)
"
    );
    world.apply("tc/ingress eth0^/run/netns/a: shape");
    world.foreign("tc/ingress", "eth0", "sneaky\u{1b}[1m", 0);
    assert_eq!(
        world.planned("tc/ingress eth0^/run/netns/a: shape"),
        "\
set edge: nothing to do, 1 hook as declared
  warning: tc/ingress eth0 in /run/netns/a runs after `sneaky\\u{1b}[1m` (program 4, link 4)
"
    );
}

#[test]
fn strangers_are_refused_by_name_where_the_manifest_says_so() {
    let mut world = World::new("eth0");
    world.foreign("tc/ingress", "eth0", "cil_from_netdev", 0);
    assert_eq!(
        world.planned("tc/ingress!refuse eth0: shape"),
        "\
A322 `tc/ingress eth0` has strangers, and the chain says `foreign: refuse`: `cil_from_netdev` (program 1, link 1)
  help: detach them with the tool that attached them, or say `foreign: keep`: the chain goes first, they run after it
"
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let mut world = World::new("eth0 eth1 eth2");
    world.map("guard", "blocked 1/4/8/64");
    world.apply("xdp eth1: guard");
    world.foreign("xdp", "eth0", "theirs", 0);
    world.maps.clear();
    world.map("guard", "blocked 1/4/16/64");
    assert_eq!(
        world.planned("xdp eth0: guard; xdp:generic eth1: guard"),
        "\
A324 the live map `guard/blocked` doesn't fit what `guard` declares now
  note: live:     hash, key 4, value 8, 64 entries
  note: declared: hash, key 4, value 16, 64 entries
  help: restore the old shape or rename the map; or, if its contents may go, `bpfkit remove edge`, then `bpfkit apply`
A320 `xdp eth0` is taken by `theirs` (program 4, attached without a link)
  help: if it isn't needed: `ip link set dev eth0 xdp off`; or leave this interface out of the chain
A323 `xdp eth1` runs in `native` mode and can't be changed to `generic` without a gap
  note: the kernel allows one XDP mode per interface at a time; in between, packets would meet no chain
  note: doing it in one go, with the gap, is planned (`allow_gap`) and not possible yet
  help: keep `mode: native`, or choose the moment yourself: `bpfkit remove edge`, then `bpfkit apply`
"
    );
}

#[test]
fn another_set_on_an_exclusive_hook_is_refused_by_name() {
    use bpfkit_applier::live::{HeldBy, LinkId, OtherProgram, Owner, ProgramId};
    let mut world = World::new("eth0");
    let other = OtherProgram {
        id: ProgramId(50),
        name: "bpfkit_core".into(),
        owner: Owner::Set("core".parse().unwrap()),
        held_by: HeldBy::Link(LinkId(7)),
        mode: None,
    };
    let point = world.at("xdp", "eth0");
    world.model.add_other(point, other.clone(), 0);
    assert_eq!(
        world.planned("xdp eth0: guard"),
        "\
A321 `xdp eth0` is held by the set `core`
  help: put the programs into one set, or take the other one off: `bpfkit remove core`
"
    );
    // On a hook that can be shared, another set is no stranger.
    let point = world.at("tc/ingress", "eth0");
    world.model.add_other(point, other, 0);
    assert!(world.plan("tc/ingress!refuse eth0: shape").is_ok());
}

#[test]
fn maps_are_created_kept_and_unpinned_and_lost_data_is_said() {
    let mut world = World::new("eth0");
    world.map("guard", "blocked 1/4/8/64");
    world.map("guard", ".bss 2/4/16/1~1");
    world.map("meter", "counts 6/4/8/1");
    world.share("blocked");
    assert_eq!(
        world.planned("xdp eth0: guard, meter"),
        "\
set edge
  xdp eth0 (native, fused): attach, not attached yet
    + guard
    + meter
  maps
    + blocked       create, hash, key 4, value 8, 64 entries
    + guard/.bss    create, array, key 4, value 16, 1 entry
    + meter/counts  create, percpu_array, key 4, value 8, 1 entry
"
    );
    world.apply("xdp eth0: guard, meter");
    world.maps.clear();
    world.map("guard", "blocked 1/4/8/64");
    world.map("guard", ".bss 2/4/16/1~2");
    assert_eq!(
        world.planned("xdp eth0: guard@2"),
        "\
set edge
  xdp eth0 (native, fused): replace, 1 removed, 1 changed
    ~ guard  object changed sha256:010101010101 -> sha256:020202020202
    - meter  no longer in the manifest
  maps
    ! guard/.bss    recreate, its variables or their initial values changed; its values are lost
    - meter/counts  unpin, no program needs it any more; its contents are lost
"
    );
}

#[test]
fn what_somebody_undid_is_put_back_with_the_reason() {
    let mut world = World::new("eth0 eth1 eth2");
    world.map("guard", "blocked 1/4/8/64");
    let chains = "xdp eth0 eth1 eth2: guard";
    world.apply(chains);
    let (eth0, eth1, eth2) = (world.at("xdp", "eth0"), world.at("xdp", "eth1"), world.at("xdp", "eth2"));
    let key = bpfkit_applier::live::MapKey::Private("guard".parse().unwrap(), "blocked".into());
    for disturbance in [
        Disturbance::DetachOurs { point: eth0 },
        Disturbance::UnpinHeld { point: eth1 },
        Disturbance::DamageRecord { point: eth2 },
        Disturbance::UnpinMap { key },
        Disturbance::Litter { path: "links/.new".into() },
    ] {
        world.model.disturb(&disturbance);
    }
    assert_eq!(
        world.planned(chains),
        "\
set edge
  xdp eth0 (native, fused): attach again, somebody detached it
    + guard
  xdp eth1 (native, fused): pin again, its pin is gone
      guard
  xdp eth2 (native, fused): replace, its record can't be read (it is damaged)
    + guard
  maps
    ~ guard/blocked  pin again, its pin is gone
  leftovers
    - links/.new  a half-made pin
"
    );
    world.apply(chains);
}

#[test]
fn another_kernel_or_glue_makes_the_chain_anew_and_says_so() {
    let mut world = live("eth0", "xdp eth0: guard");
    world.glue = 2;
    world.kernel_btf = 8;
    assert_eq!(
        world.planned("xdp eth0: guard"),
        "\
set edge
  xdp eth0 (native, fused): replace, it was made for another kernel, it was made by another bpfkit
      guard
"
    );
}

#[test]
fn removing_takes_everything_off_and_says_what_is_lost() {
    let mut world = World::new("eth0");
    world.map("guard", "blocked 1/4/8/64");
    assert_eq!(world.planned_removal(), "set edge: nothing to remove\n");
    world.apply("xdp eth0: guard");
    assert_eq!(
        world.planned_removal(),
        "\
set edge: remove
  xdp eth0 (native, fused): detach, the set is removed
    - guard
  maps
    - guard/blocked  unpin; its contents are lost
"
    );
}

#[test]
fn the_grounds_of_trust_are_shown_before_what_they_allow() {
    let mut world = World::new("eth0");
    world.grounds = vec!["guard: waived: \"built on this host\"".into()];
    assert_eq!(
        world.planned("xdp eth0: guard"),
        "\
set edge
  trusted: guard: waived: \"built on this host\"
  xdp eth0 (native, fused): attach, not attached yet
    + guard
"
    );
}

#[test]
fn a_chain_whose_link_somebody_removed_is_drift_without_a_manifest_and_comes_back_with_one() {
    let mut world = World::new("eth0");
    world.map("guard", "counts 1/4/8/64");
    world.apply("xdp eth0: guard, meter");
    let point = world.at("xdp", "eth0");
    world.model.disturb(&Disturbance::UnpinOurs { point });

    let found = status(&world.live(None), None);
    assert!(found.has_drifted());
    assert_eq!(
        found.to_string(),
        "\
set edge: drifted
  xdp eth0 (native, fused): guard, meter
    ! its link is gone: somebody removed it
  maps
    guard/counts: hash, key 4, value 8, 64 entries
"
    );
    assert_eq!(
        world.planned("xdp eth0: guard, meter"),
        "\
set edge
  xdp eth0 (native, fused): attach again, its link is gone: somebody removed it
    + guard
    + meter
"
    );
    assert_eq!(
        world.planned_removal(),
        "\
set edge: remove
  maps
    - guard/counts  unpin; its contents are lost
  leftovers
    - records/xdp-1-1  the record of a chain whose link is gone
"
    );
    world.apply("xdp eth0: guard, meter");
    assert!(!status(&world.live(None), None).has_drifted());
}

#[test]
fn a_map_that_would_be_taken_for_global_variables_is_refused_and_shared_ones_are_not() {
    for name in ["_bss", "_data", "_data_hot", ".data.a.b"] {
        let mut world = World::new("eth0");
        world.map("guard", ".bss 2/4/8/1~1");
        world.map("guard", &format!("{name} 1/4/8/64"));
        let refused = world.want("xdp eth0: guard").unwrap_err();
        let text = world::diagnosed(&refused);
        assert!(text.starts_with(&format!("A311 `{name}` of `guard` can't be pinned")), "{text}");
    }
    let mut world = World::new("eth0");
    world.map("guard", ".bss 2/4/8/1~1");
    world.map("guard", ".data.hot 2/4/8/1~1");
    world.map("guard", "_other 1/4/8/64");
    world.map("guard", "_bss 1/4/8/64");
    world.share("_bss");
    world.apply("xdp eth0: guard");
}

#[test]
fn a_chain_by_clsact_is_attached_replaced_and_labelled_as_such() {
    let mut world = World::new("eth0");
    assert_eq!(
        world.planned("tc/ingress:clsact eth0: shape"),
        "\
set edge
  tc/ingress eth0 (clsact, fused): attach, not attached yet
    + shape
"
    );
    world.apply("tc/ingress:clsact eth0: shape");
    assert_eq!(
        world.planned("tc/ingress:clsact eth0: shape, count"),
        "\
set edge
  tc/ingress eth0 (clsact, fused): replace, 1 added
      shape
    + count  new in the manifest
"
    );
}

#[test]
fn a_chain_that_changes_its_way_is_attached_anew_before_it_is_detached() {
    let mut world = live("eth0", "tc/ingress eth0: shape");
    assert_eq!(
        world.planned("tc/ingress:clsact eth0: shape, count"),
        "\
set edge
  tc/ingress eth0 (clsact, fused): move, attached by tcx, wanted by clsact: attached anew before it is detached, so that a packet in between may meet both, and none meets neither
      shape
    + count  new in the manifest
"
    );
    world.apply("tc/ingress:clsact eth0: shape, count");
    assert!(world.planned("tc/ingress eth0: shape, count").contains("attached by clsact, wanted by tcx"));
}

#[test]
fn a_filter_that_somebody_took_is_left_to_them() {
    let mut world = live("eth0", "tc/ingress:clsact eth0: shape");
    let point = world.at("tc/ingress", "eth0");
    world.model.disturb(&Disturbance::TakeFilter { point, name: "theirs".into() });
    let planned = world.planned("tc/ingress:clsact eth0: shape");
    assert!(planned.contains("attach again, its filter is gone: somebody removed or replaced it"), "{planned}");
    assert!(planned.contains("beside `theirs` (program"), "{planned}");
    assert!(planned.contains("filter pref 1 handle 0x62"), "{planned}");
    world.apply("tc/ingress:clsact eth0: shape");
    assert_eq!(world.model.others(point).len(), 1, "ours has another handle");
}

#[test]
fn strangers_filters_are_refused_where_the_manifest_refuses_strangers() {
    let mut world = World::new("eth0");
    let point = world.at("tc/ingress", "eth0");
    world.model.disturb(&Disturbance::AddFilter { point, name: "theirs".into(), place: 0 });
    assert!(world.planned("tc/ingress:clsact!refuse eth0: shape").starts_with("A322"));
    assert!(world.planned("tc/ingress!refuse eth0: shape").starts_with("A322"));
    assert!(!world.planned("tc/ingress:clsact eth0: shape").starts_with('A'));
}

#[test]
fn without_tcx_chains_are_filters_unless_they_insist() {
    let mut world = World::new("eth0");
    world.attach = Attach::Clsact;
    assert!(world.planned("tc/ingress eth0: shape").contains("tc/ingress eth0 (clsact, fused): attach"));
    let refused = diagnosed(&world.want("tc/ingress:tcx eth0: shape").unwrap_err());
    assert!(refused.starts_with("A312 this kernel has no tcx for the `tc/ingress` chain"), "{refused}");
    assert!(refused.contains("attach: clsact"), "{refused}");
}

#[test]
fn a_chain_of_a_cgroup_is_planned_like_the_others_and_named_by_its_path() {
    let mut world = World::new("eth0 /grp");
    assert_eq!(
        world.planned("cgroup/connect4 /grp: guard, log"),
        "\
set edge
  cgroup/connect4 /grp (fused): attach, not attached yet
    + guard
    + log
"
    );
    world.foreign("cgroup/connect4", "/grp", "theirs", 0);
    world.apply("cgroup/connect4 /grp: guard, log");
    let planned = world.planned("cgroup/connect4 /grp: log");
    assert!(planned.contains("replace, 1 removed") && planned.contains("beside `theirs`"), "{planned}");
    assert!(!planned.contains("runs after"), "who runs before cuts nobody off: {planned}");
    let point = world.at("cgroup/connect4", "/grp");
    world.model.disturb(&Disturbance::RemoveInterface { namespace: point.namespace, index: point.index });
    let refused = diagnosed(&world.want("cgroup/connect4 /grp: guard").unwrap_err());
    assert!(refused.starts_with("A313 the `cgroup/connect4` chain's cgroup `/grp` doesn't exist"), "{refused}");
    assert!(world.planned("").contains("cgroup/connect4 /grp (fused): unpin, its cgroup is gone"));
}

#[test]
fn a_stranger_at_a_cgroup_is_refused_where_the_manifest_refuses_strangers() {
    let mut world = World::new("/grp");
    world.foreign("cgroup/device", "/grp", "theirs", 0);
    assert!(world.planned("cgroup/device!refuse /grp: guard").starts_with("A322"));
    assert!(!world.planned("cgroup/device /grp: guard").starts_with('A'));
}
