//! Against this machine's own kernel: attach, replace, detach, refuse, observe.
//!
//! Each test has network namespaces and a bpffs directory of its own, named after the process.

use std::{path::Path, process::Command, rc::Rc};

use bpfkit_objects::insn::{EXIT, Insn};
use bpfkit_schemas::{
    hook::{Mode, ProceedOn},
    names::{Digest, ProgramName},
    object::ProgramType,
};

use super::*;
use crate::{
    execute::{Kernel, StepError},
    fuse::{Component, ComponentMap, FusedChain, Linker, MapLoad, SourceLine, verdict},
    live::{Attachment, By, HookPoint, MapKey, MapShape, Namespace, Owner, Pin, Record, Revision},
    record::{RecordedMap, RecordedProgram, RecordedSource},
};

pub(crate) mod stranger;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

/// A program that leaves `r0` as given, all 64 bits, and counts its runs where it has a map.
fn answers(name: &str, kind: ProgramType, r0: u64, counter: Option<MapKey>) -> Rc<Component> {
    let low = u32::try_from(r0 & 0xffff_ffff).unwrap().cast_signed();
    let high = u32::try_from(r0 >> 32).unwrap().cast_signed();
    let mut code = Vec::new();
    if counter.is_some() {
        code.extend([
            insn(0x18, 1, 2, 0, 0),
            Insn::default(),
            insn(0xb7, 2, 0, 0, 1),
            insn(0xdb, 1, 2, 0, 0), // *(u64 *)r1 += r2
        ]);
    }
    code.extend([insn(0x18, 0, 0, 0, low), insn(0, 0, 0, 0, high), insn(EXIT, 0, 0, 0, 0)]);
    Rc::new(Component::of(name, kind, code).with(|parts| {
        parts.loads.extend(counter.map(|key| MapLoad { at: 0, map: ComponentMap::Set(key) }));
        parts.lines.push(SourceLine {
            at: 0,
            file: format!("src/{name}.bpf.c"),
            line: 41,
            column: 1,
            text: String::new(),
        });
    }))
}

fn record(set: &SetName, hook: Hook, mode: Mode, hops: &[(&Rc<Component>, ProceedOn)]) -> Record {
    let program = |(component, proceed_on): &(&Rc<Component>, ProceedOn)| RecordedProgram {
        name: component.name().clone(),
        object: Digest::from_bytes([1; 32]),
        entry: component.name().to_string(),
        globals: Digest::from_bytes([2; 32]),
        proceed_on: proceed_on.clone(),
        maps: component
            .loads()
            .iter()
            .filter_map(|load| match &load.map {
                ComponentMap::Set(MapKey::Private(_, name)) => Some(RecordedMap::Private(name.clone())),
                ComponentMap::Set(MapKey::Shared(name)) => Some(RecordedMap::Shared(name.clone())),
                ComponentMap::Constant(_) => None,
            })
            .collect(),
    };
    Record {
        set: set.clone(),
        hook,
        interface: "vB".to_owned(),
        mode,
        programs: hops.iter().map(program).collect(),
        kernel_btf: Digest::from_bytes([3; 32]),
        glue: crate::fuse::GLUE_VERSION,
        clsact: None,
        source: RecordedSource::default(),
    }
}

fn chain(record: &Record, hops: &[(&Rc<Component>, ProceedOn)]) -> FusedChain {
    FusedChain::new(record, hops.iter().map(|(component, _)| Rc::clone(component)).collect()).unwrap()
}

fn sh(command: &str) {
    let status = Command::new("sh").args(["-ec", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Two namespaces joined by a veth pair, vA here and vB there, and a set of their own.
struct Wire {
    name: String,
    kernel: LinuxKernel,
    interface: Interface,
    _run: tempfile::TempDir,
}

impl Wire {
    fn new(test: &str) -> Self {
        let name = format!("k1{}{test}", std::process::id());
        sh(&format!(
            "ip netns add {name}; ip -n {name} link add vA type veth peer name vB; \
             ip -n {name} link set vA up; ip -n {name} link set vB up"
        ));
        let run = tempfile::tempdir().unwrap();
        let places = Places { bpffs: BPFFS.into(), run: run.path().to_owned(), ..Places::default() };
        let kernel = LinuxKernel::new(places, name.parse().unwrap());
        let path = Path::new("/run/netns").join(&name);
        let facts = namespace(Some(&path)).unwrap();
        let index = *facts.interfaces.iter().find(|(_, name)| *name == "vB").unwrap().0;
        let namespace = Namespace { inode: facts.inode, path: Some(path) };
        Self { name, kernel, interface: Interface { namespace, index, name: "vB".to_owned() }, _run: run }
    }

    fn load(
        &mut self,
        hook: Hook,
        mode: Mode,
        hops: &[(&Rc<Component>, ProceedOn)],
        maps: &BTreeMap<MapKey, &sys::Map>,
    ) -> LinuxProgram {
        self.try_load(hook, mode, hops, maps).unwrap()
    }

    fn try_load(
        &mut self,
        hook: Hook,
        mode: Mode,
        hops: &[(&Rc<Component>, ProceedOn)],
        maps: &BTreeMap<MapKey, &sys::Map>,
    ) -> Result<LinuxProgram, KernelError> {
        let record = record(&self.kernel.set, hook, mode, hops);
        let chain = chain(&record, hops);
        let loaded = load::load(&chain, &record, maps, &self.kernel.places.run)?;
        Ok(LinuxProgram::of(loaded, "the chain"))
    }

    fn one(&mut self, hook: Hook, mode: Mode, verdict: u64) -> LinuxProgram {
        let component = answers("guard", hook.program_type(), verdict, None);
        self.load(hook, mode, &[(&component, hook.default_proceed_on())], &BTreeMap::new())
    }

    /// Removes a link's pin, and waits until the kernel has taken the link apart.
    fn lose(&self, point: &HookPoint) {
        std::fs::remove_file(self.kernel.directory.link(point)).unwrap();
        let is_free = || {
            let seen = self.seen(point.hook);
            seen.ours.is_none() && seen.others.is_empty()
        };
        for _ in 0..200 {
            if is_free() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the hook is still taken");
    }

    fn seen(&self, hook: Hook) -> crate::live::LivePoint {
        let live = self.kernel.observe(&[(self.interface.clone(), hook)]).unwrap();
        live.points[&HookPoint::of(&self.interface, hook)].clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.kernel.directory.path());
        sh(&format!("ip netns del {}", self.name));
    }
}

#[test]
fn a_chain_on_each_hook_is_attached_replaced_and_detached() {
    let cases = [
        (Hook::Xdp, Mode::Native),
        (Hook::Xdp, Mode::Generic),
        (Hook::TcIngress, Mode::Native),
        (Hook::TcEgress, Mode::Native),
    ];
    let mut wire = Wire::new("hooks");
    for (hook, mode) in cases {
        let (old, new) = (wire.one(hook, mode, 2), wire.one(hook, mode, 1));
        let revision = wire.seen(hook).revision;
        assert_eq!(revision.is_some(), hook != Hook::Xdp);

        let link = wire.kernel.attach(&wire.interface.clone(), hook, By::Link(mode), &old, revision).unwrap();
        let seen = wire.seen(hook);
        let ours = seen.ours.unwrap();
        assert_eq!((ours.hold, ours.mode, ours.attachment, ours.pin), (link, mode, Attachment::Attached, Pin::Pinned));
        assert_eq!(ours.record.read().unwrap().hook, hook);
        assert!(seen.others.is_empty());

        wire.kernel.replace(&wire.interface.clone(), hook, link, &old, &new).unwrap();
        assert_ne!(wire.seen(hook).ours.unwrap().program, ours.program);
        let stale = wire.kernel.replace(&wire.interface.clone(), hook, link, &old, &new).unwrap_err();
        assert!(stale.is_contended(), "{stale}");
        wire.kernel.replace(&wire.interface.clone(), hook, link, &new, &old).unwrap();
        assert_eq!(wire.seen(hook).ours.unwrap().program, ours.program);

        wire.kernel.detach(&wire.interface.clone(), hook, link).unwrap();
        wire.kernel.detach(&wire.interface.clone(), hook, link).unwrap();
        assert!(wire.seen(hook).ours.is_none());
        assert!(!wire.kernel.directory.path().exists());
    }
}

/// A cgroup of its own, gone with the value.
pub(crate) struct Scratch(std::path::PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
        let path = Path::new(root.split(' ').nth(1).unwrap()).join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn target(&self) -> Interface {
        Interface::cgroup(cgroup(&self.0).unwrap().unwrap(), &self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_chain_on_each_hook_of_a_cgroup_is_attached_replaced_and_detached() {
    let mut wire = Wire::new("cgroups");
    let scratch = Scratch::new(&wire.name);
    wire.interface = scratch.target();
    let mode = Mode::Native;
    for hook in Hook::all().filter(|hook| hook.is_cgroup()) {
        let target = wire.interface.clone();
        let (old, new) = (wire.one(hook, mode, 1), wire.one(hook, mode, 1));
        let revision = wire.seen(hook).revision;
        let hold = wire.kernel.attach(&target, hook, By::Link(mode), &old, revision).unwrap();
        let seen = wire.seen(hook);
        let ours = seen.ours.unwrap();
        assert_eq!((ours.hold, ours.attachment, ours.pin), (hold, Attachment::Attached, Pin::Pinned), "{hook}");
        assert_eq!((seen.others.len(), ours.record.read().unwrap().hook), (0, hook));
        if let Some(revision) = revision {
            assert_ne!(seen.revision, Some(revision), "{hook}");
            let error = wire.kernel.attach(&target, hook, By::Link(mode), &new, Some(revision)).unwrap_err();
            assert!(error.is_contended(), "{hook}: {error:?}");
        }
        wire.kernel.replace(&target, hook, hold, &old, &new).unwrap();
        assert_ne!(wire.seen(hook).ours.unwrap().program, ours.program, "{hook}");
        assert!(wire.kernel.replace(&target, hook, hold, &old, &new).unwrap_err().is_contended(), "{hook}");
        wire.kernel.detach(&target, hook, hold).unwrap();
        assert!(wire.seen(hook).ours.is_none(), "{hook}");
        assert!(!wire.kernel.directory.path().exists());
    }
}

#[test]
fn a_cgroup_that_goes_takes_its_chain_with_it_and_leaves_a_dead_link() {
    let mut wire = Wire::new("vanish");
    let scratch = Scratch::new(&wire.name);
    wire.interface = scratch.target();
    let hook = Hook::Cgroup(bpfkit_schemas::hook::CgroupHook::Connect4);
    let program = wire.one(hook, Mode::Native, 1);
    wire.kernel.attach(&wire.interface.clone(), hook, By::Link(Mode::Native), &program, None).unwrap();
    let point = HookPoint::of(&wire.interface, hook);
    drop(scratch);
    // The kernel lets go of a cgroup's links a moment after its directory.
    let is_gone = || {
        let live = wire.kernel.observe(&[]).unwrap();
        live.points[&point].presence == crate::live::Presence::Gone
    };
    for _ in 0..500 {
        if is_gone() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let plan = crate::plan::remove(&wire.kernel.observe(&[]).unwrap());
    assert!(plan.to_string().contains("unpin, its cgroup is gone"), "{plan}");
    let outcome = crate::execute::execute(&plan, &Linker::nothing(), &mut wire.kernel);
    assert!(outcome.stopped.is_none() && outcome.left.is_empty(), "{outcome:?}");
    assert!(!wire.kernel.directory.path().exists());
}

#[test]
fn a_removed_pin_hides_nothing_while_somebody_holds_the_link() {
    let mut wire = Wire::new("unpinned");
    let point = HookPoint::of(&wire.interface, Hook::Xdp);
    let program = wire.one(Hook::Xdp, Mode::Native, 2);
    let link = wire.kernel.attach(&wire.interface.clone(), Hook::Xdp, By::Link(Mode::Native), &program, None).unwrap();
    let held = sys::link_by_id(link.link().unwrap().0).unwrap();
    std::fs::remove_file(wire.kernel.directory.link(&point)).unwrap();

    let live = wire.kernel.observe(&[]).unwrap();
    assert_eq!(live.points[&point].ours.as_ref().unwrap().pin, Pin::Gone);
    assert_eq!((live.litter.len(), &live.points[&point].lost), (0, &None));
    wire.kernel.pin(&wire.interface.clone(), Hook::Xdp, link).unwrap();
    assert_eq!(wire.seen(Hook::Xdp).ours.unwrap().pin, Pin::Pinned);

    sys::link_detach(&held).unwrap();
    assert_eq!(wire.seen(Hook::Xdp).ours.unwrap().attachment, Attachment::Detached);
    let again = wire.kernel.attach(&wire.interface.clone(), Hook::Xdp, By::Link(Mode::Native), &program, None).unwrap();
    assert_eq!(wire.seen(Hook::Xdp).ours.unwrap().hold, again);
}

#[test]
fn a_link_that_went_with_its_pin_is_missed_by_its_record_and_the_hook_can_be_had_again() {
    let mut wire = Wire::new("lost");
    for (hook, mode) in [(Hook::Xdp, Mode::Generic), (Hook::TcEgress, Mode::Native)] {
        let point = HookPoint::of(&wire.interface, hook);
        let program = wire.one(hook, mode, 2);
        wire.kernel.attach(&wire.interface.clone(), hook, By::Link(mode), &program, None).unwrap();
        wire.lose(&point);

        let live = wire.kernel.observe(&[]).unwrap();
        let at = &live.points[&point];
        let lost = at.lost.as_ref().unwrap();
        assert_eq!((&at.ours, lost.record.read().unwrap().hook, at.interface.name.as_str()), (&None, hook, "vB"));
        let found = crate::status::status(&live, None);
        assert!(found.has_drifted() && found.to_string().contains("its link is gone"), "{found}");

        let link = wire.kernel.attach(&wire.interface.clone(), hook, By::Link(mode), &program, None).unwrap();
        let seen = wire.seen(hook);
        assert_eq!((seen.lost, seen.ours.unwrap().hold), (None, link));
        wire.lose(&point);
        let plan = crate::plan::remove(&wire.kernel.observe(&[]).unwrap());
        let outcome = crate::execute::execute(&plan, &Linker::nothing(), &mut wire.kernel);
        assert!(outcome.stopped.is_none() && outcome.left.is_empty(), "{outcome:?}");
        assert!(!wire.kernel.directory.path().exists());
    }
}

#[test]
fn a_stale_revision_is_refused() {
    let mut wire = Wire::new("stale");
    let hook = Hook::TcIngress;
    let (first, second) = (wire.one(hook, Mode::Native, 0), wire.one(hook, Mode::Native, 0));
    let before = wire.seen(hook).revision.unwrap();
    wire.kernel.attach(&wire.interface.clone(), hook, By::Link(Mode::Native), &first, Some(before)).unwrap();
    let error =
        wire.kernel.attach(&wire.interface.clone(), hook, By::Link(Mode::Native), &second, Some(before)).unwrap_err();
    assert!(matches!(error, KernelError::Changed { .. }), "{error:?}");
    assert_ne!(wire.seen(hook).revision.unwrap(), Revision(before.0));
}

#[test]
fn a_taken_xdp_hook_names_its_owner_in_either_mode() {
    let mut wire = Wire::new("busy");
    let program = wire.one(Hook::Xdp, Mode::Native, 2);
    wire.kernel.attach(&wire.interface.clone(), Hook::Xdp, By::Link(Mode::Native), &program, None).unwrap();

    // Another set on the same interface.
    let name = format!("{}x", wire.name);
    let mut other = LinuxKernel::new(wire.kernel.places.clone(), name.parse().unwrap());
    for mode in [Mode::Native, Mode::Generic] {
        let error = other.attach(&wire.interface, Hook::Xdp, By::Link(mode), &program, None).unwrap_err();
        let KernelError::Busy { owner, .. } = &error else { panic!("{error:?}") };
        assert!(owner.as_ref().unwrap().contains(&format!("the set `{}`", wire.name)), "{owner:?}");
    }
    let live = other.observe(&[(wire.interface.clone(), Hook::Xdp)]).unwrap();
    let point = &live.points[&HookPoint::of(&wire.interface, Hook::Xdp)];
    assert_eq!(point.others[0].owner, Owner::Set(wire.kernel.set.clone()));
    assert!(point.ours.is_none());
}

#[test]
fn counters_survive_a_replace() {
    let mut wire = Wire::new("maps");
    let name: ProgramName = "guard".parse().unwrap();
    let key = MapKey::Private(name, "counts".to_owned());
    let shape = MapShape { map_type: 2, key_size: 4, value_size: 8, max_entries: 1, flags: 0, layout: None };
    let spec = sys::MapSpec {
        map_type: 2,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        flags: 0,
        name: "counts",
        entries: None,
    };
    let map = sys::map_create(&spec).unwrap();
    wire.kernel.directory.pin(&map, &wire.kernel.directory.map(&key)).unwrap();

    let maps = BTreeMap::from([(key.clone(), &map)]);
    let component = answers("guard", ProgramType::Xdp, 2, Some(key.clone()));
    let hops = [(&component, Hook::Xdp.default_proceed_on())];
    let old = wire.load(Hook::Xdp, Mode::Native, &hops, &maps);
    let link = wire.kernel.attach(&wire.interface.clone(), Hook::Xdp, By::Link(Mode::Native), &old, None).unwrap();
    assert_eq!(sys::prog_test_run(old.program(), &[0; 64]).unwrap(), 2);
    let new = wire.load(Hook::Xdp, Mode::Native, &hops, &maps);
    wire.kernel.replace(&wire.interface.clone(), Hook::Xdp, link, &old, &new).unwrap();
    assert_eq!(sys::prog_test_run(new.program(), &[0; 64]).unwrap(), 2);
    let count = u64::from_ne_bytes(sys::array_lookup(&map, 0).unwrap().try_into().unwrap());
    assert!(count >= 2, "{count}");

    let live = wire.kernel.observe(&[]).unwrap();
    let id = live.maps[&key].id;
    assert_eq!(live.maps[&key].shape, shape);
    let ours = live.points.values().next().unwrap().ours.clone().unwrap();
    assert_eq!(ours.maps[&key].id, id);
}

/// How a program that answers `r0` is written.
#[derive(Clone, Copy, Debug)]
enum Written {
    /// As it comes, with one exit at its end.
    Plainly,
    /// With an exit in its middle, which is the one taken.
    InTheMiddle,
    /// So that it can't be spliced.
    ToBeCalled,
}

fn written(name: &str, how: Written, r0: u64) -> Rc<Component> {
    let low = u32::try_from(r0 & 0xffff_ffff).unwrap().cast_signed();
    let high = u32::try_from(r0 >> 32).unwrap().cast_signed();
    let answer = [insn(0x18, 0, 0, 0, low), insn(0, 0, 0, 0, high), insn(EXIT, 0, 0, 0, 0)];
    // Asks the packet's length of the context, so that what gets another one is refused.
    let asks = insn(0x61, 3, 1, 0, 0);
    let code = match how {
        Written::Plainly => [&[asks][..], &answer].concat(),
        Written::InTheMiddle => {
            let jump = insn(0x15, 3, 0, 3, 0);
            [&[asks, jump][..], &answer, &[insn(0xb7, 0, 0, 0, 7), insn(EXIT, 0, 0, 0, 0)]].concat()
        }
        Written::ToBeCalled => [&[asks, insn(0xbf, 2, 10, 0, 0)][..], &answer].concat(),
    };
    Rc::new(Component::of(name, ProgramType::Xdp, code))
}

#[test]
fn the_kernel_follows_the_rule_for_every_verdict_however_a_program_is_carried() {
    use Written::{InTheMiddle, Plainly, ToBeCalled};

    let mut wire = Wire::new("rule");
    let verdicts = [0, 2, 3, 9, 0xffff_ffff, u64::MAX, 0x1_0000_0002, 0x8000_0000];
    let proceed = [vec![], vec![2], vec![-1], vec![-1, 0, 3], vec![2, 9], vec![i32::MIN]];
    let ways = [
        [Plainly, Plainly, Plainly],
        [InTheMiddle, ToBeCalled, InTheMiddle],
        [ToBeCalled, InTheMiddle, Plainly],
        [InTheMiddle, Plainly, ToBeCalled],
        [ToBeCalled, ToBeCalled, ToBeCalled],
    ];
    for how in ways {
        for r0 in verdicts {
            for on in &proceed {
                let on: ProceedOn = on.iter().copied().collect();
                let first = written("first", how[0], r0);
                let second = written("second", how[1], 2);
                let last = written("last", how[2], 0x5_0000_0005);
                // The first one runs twice.
                let hops = [&first, &second, &first, &last].map(|component| (component, on.clone()));
                let program = wire.load(Hook::Xdp, Mode::Native, &hops, &BTreeMap::new());
                let wanted = verdict(&[(r0, &on), (2, &on), (r0, &on), (0x5_0000_0005, &on)]).unwrap();
                let found = sys::prog_test_run(program.program(), &[0; 64]).unwrap().cast_signed();
                assert_eq!(found, wanted, "{how:?}, r0 = {r0:#x}, proceed_on {on:?}");
            }
        }
    }
}

#[test]
fn the_test_of_ways_to_carry_a_program_carries_it_so() {
    let set: SetName = "forms".parse().unwrap();
    let pass = Hook::Xdp.default_proceed_on();
    for (how, wanted) in [(Written::Plainly, true), (Written::InTheMiddle, true), (Written::ToBeCalled, false)] {
        let (first, last) = (written("first", how, 2), written("last", Written::Plainly, 2));
        let hops = [(&first, pass.clone()), (&last, pass.clone())];
        let chain = chain(&record(&set, Hook::Xdp, Mode::Native, &hops), &hops);
        assert_eq!(chain.forms()[0] == crate::fuse::Form::Spliced, wanted, "{how:?}");
    }
}

#[test]
fn the_verifiers_reason_comes_with_the_line_of_c() {
    let mut wire = Wire::new("verifier");
    let bad = Rc::new(Component::of("guard", ProgramType::Xdp, vec![insn(EXIT, 0, 0, 0, 0)]).with(|parts| {
        parts.lines.push(SourceLine {
            at: 0,
            file: "src/guard.bpf.c".to_owned(),
            line: 41,
            column: 1,
            text: String::new(),
        });
    }));
    let good = answers("meter", ProgramType::Xdp, 2, None);
    let pass = Hook::Xdp.default_proceed_on();
    let error =
        wire.try_load(Hook::Xdp, Mode::Native, &[(&good, pass.clone()), (&bad, pass)], &BTreeMap::new()).unwrap_err();
    let KernelError::Verifier { reason, log, .. } = &error else { panic!("{error:?}") };
    assert_eq!(reason, "`guard` (src/guard.bpf.c:41): R0 !read_ok");
    assert!(std::fs::read_to_string(log.as_ref().unwrap()).unwrap().contains("R0 !read_ok"));
}

#[test]
fn a_foreign_program_is_named_and_left_alone() {
    let mut wire = Wire::new("foreign");
    let component = answers("alien", ProgramType::Xdp, 2, None);
    let pass = Hook::Xdp.default_proceed_on();
    let record = record(&wire.kernel.set, Hook::Xdp, Mode::Generic, &[(&component, pass.clone())]);
    let code = Insn::encode_all(&chain(&record, &[(&component, pass)]).fused().instructions);
    let spec = sys::ProgramSpec {
        program_type: 6,
        instructions: &code,
        license: c"GPL",
        name: "alien",
        flags: 0,
        attach_type: 0,
        described: None,
    };
    let program = sys::prog_load(&spec, None).unwrap();
    let pin = Path::new(BPFFS).join(&wire.name);
    sys::obj_pin(&program, &std::ffi::CString::new(pin.to_str().unwrap()).unwrap()).unwrap();
    let name = &wire.name;
    sh(&format!("nsenter --net=/run/netns/{name} ip link set vB xdpgeneric pinned {}", pin.display()));

    let seen = wire.seen(Hook::Xdp);
    let mine = wire.one(Hook::Xdp, Mode::Native, 2);
    let error =
        wire.kernel.attach(&wire.interface.clone(), Hook::Xdp, By::Link(Mode::Native), &mine, None).unwrap_err();
    std::fs::remove_file(&pin).unwrap();
    assert_eq!((seen.others[0].name.as_str(), seen.others[0].mode), ("alien", Some(Mode::Generic)));
    assert_eq!(seen.others[0].owner, Owner::Foreign(Some(format!("pinned at {}", pin.display()))));
    assert!(matches!(&error, KernelError::Busy { owner: Some(owner), .. } if owner.contains("alien")), "{error:?}");
}

#[test]
fn types_that_the_kernel_refuses_are_left_out_but_where_values_need_them() {
    // An array's key must be a 32-bit integer; this one is a struct of that size.
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let types = words(&[1, 1 << 24, 4, 32, 0, 4 << 24 | 1, 4, 1, 1, 0]);
    let mut btf = words(&[0x0001_eb9f, 24, 0, 40, 40, 3]);
    btf.extend(types);
    btf.extend(b"\0a\0");
    let spec = sys::MapSpec {
        map_type: sys::MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        flags: 0,
        name: "typed",
        entries: None,
    };
    let made = |key, special, btf: &[u8]| {
        steps::typed_map(&spec, Some(crate::fuse::Entries { btf: btf.to_vec(), key, value: 1, special }))
    };
    assert!(made(1, true, &btf).is_ok());
    for (key, btf) in [(2, &btf[..]), (1, &[][..]), (1, &btf[..30])] {
        assert!(made(key, false, btf).is_ok(), "made without types");
        assert_eq!(made(key, true, btf).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
