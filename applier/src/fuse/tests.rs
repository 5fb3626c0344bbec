use bpfkit_schemas::object::ProgramType;

use super::*;
use crate::live::MapKey;

const MOV_IMM: u8 = 0xb7;
const LD_IMM64: u8 = 0x18;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

fn exit() -> Insn {
    insn(EXIT, 0, 0, 0, 0)
}

/// A program that answers `verdict`.
fn answers(name: &str, verdict: i32) -> Component {
    Component::of(name, ProgramType::Xdp, vec![insn(MOV_IMM, 0, 0, 0, verdict), exit()])
}

fn on(verdicts: &[i32]) -> ProceedOn {
    verdicts.iter().copied().collect()
}

fn fuse_all(hops: &[(&Component, &ProceedOn)]) -> Result<Fused, Vec<FuseProblem>> {
    let hops: Vec<_> = hops.iter().map(|(component, proceed_on)| Hop { component, proceed_on }).collect();
    fuse(Hook::Xdp, &hops)
}

/// What is wrong with one program in a chain of two.
fn problems(component: &Component) -> Vec<String> {
    let plain = answers("plain", 2);
    match fuse_all(&[(component, &on(&[2])), (&plain, &on(&[2]))]) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|p| format!("{} {p}", p.code())).collect(),
    }
}

/// The instructions as text, one a line.
fn listing(fused: &Fused) -> String {
    let line = |insn: &Insn| match insn.code {
        MOV64 => format!("r{} = r{}", insn.dst, insn.src),
        MOV_IMM => format!("r{} = {}", insn.dst, insn.imm),
        CALL => format!("call {:+}", insn.imm),
        JEQ32 => format!("if w{} == {} goto {:+}", insn.dst, insn.imm, insn.off),
        EXIT => "exit".to_owned(),
        other => format!("{other:#x}"),
    };
    fused.instructions.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_chain_calls_each_program_and_looks_at_each_verdict_but_the_last() {
    let (guard, limit, meter) = (answers("guard", 2), answers("limit", -1), answers("meter", 1));
    let fused = fuse_all(&[(&guard, &on(&[2])), (&limit, &on(&[-1, 0, 3])), (&meter, &on(&[2]))]).unwrap();
    assert_eq!(
        listing(&fused),
        "\
r6 = r1
r1 = r6
call +11
if w0 == 2 goto +1
exit
r1 = r6
call +9
if w0 == -1 goto +3
if w0 == 0 goto +2
if w0 == 3 goto +1
exit
r1 = r6
call +5
exit
r0 = 2
exit
r0 = -1
exit
r0 = 1
exit"
    );
    let spans: Vec<_> = fused.spans.iter().map(|s| format!("{} {}..{}", s.program, s.start, s.end)).collect();
    assert_eq!(spans, ["guard 14..16", "limit 16..18", "meter 18..20"]);
    assert_eq!(fused.locate(17).map(|(name, at)| (name.as_str(), at)), Some(("limit", 1)));
    assert_eq!(fused.locate(3), None);
}

#[test]
fn a_program_alone_is_the_program_itself() {
    let guard = answers("guard", 2);
    assert_eq!(listing(&fuse_all(&[(&guard, &on(&[2]))]).unwrap()), "r0 = 2\nexit");
}

#[test]
fn a_program_that_is_there_twice_is_carried_once() {
    let (guard, meter) = (answers("guard", 2), answers("meter", 2));
    let pass = on(&[2]);
    let fused = fuse_all(&[(&guard, &pass), (&meter, &pass), (&guard, &pass)]).unwrap();
    let calls: Vec<_> = fused.instructions.iter().enumerate().filter(|(_, i)| i.is_call()).collect();
    let targets: Vec<_> = calls.iter().map(|(at, i)| at + 1 + usize::try_from(i.imm).unwrap()).collect();
    assert_eq!(targets, [12, 14, 12]);
    assert_eq!(fused.instructions.len(), 16);
}

#[test]
fn what_can_never_be_reached_is_left_out() {
    let (guard, meter) = (answers("guard", 2), answers("meter", 2));
    let fused = fuse_all(&[(&guard, &on(&[])), (&meter, &on(&[2]))]).unwrap();
    assert_eq!(listing(&fused), "r0 = 2\nexit");
}

#[test]
fn map_loads_move_with_their_program() {
    let with_map = |name: &str, map: ComponentMap| {
        let code = vec![insn(LD_IMM64, 1, 1, 0, 0), Insn::default(), insn(MOV_IMM, 0, 0, 0, 2), exit()];
        Component::of(name, ProgramType::Xdp, code).with(|parts| parts.loads.push(MapLoad { at: 0, map }))
    };
    let shared = ComponentMap::Set(MapKey::Shared("blocklist".parse().unwrap()));
    let guard = with_map("guard", shared.clone());
    let limit = with_map("limit", shared);
    let meter = with_map("meter", ComponentMap::Constant(".rodata".to_owned()));
    let pass = on(&[2]);
    let fused = fuse_all(&[(&guard, &pass), (&limit, &pass), (&meter, &pass)]).unwrap();
    let places: Vec<_> = fused.loads.iter().map(|load| load.at).collect();
    assert_eq!(places, [12, 16, 20]);
    assert!(places.iter().all(|at| fused.instructions[*at].is_map_load()));
    assert_eq!(fused.maps().len(), 2);
}

#[test]
fn what_this_form_cannot_carry_is_refused_by_name() {
    let program = |code: Vec<Insn>| Component::of("odd", ProgramType::Xdp, [code, vec![exit()]].concat());
    let cases = [
        (vec![insn(CALL, 0, 0, 0, 12)], "A122 `odd` makes tail calls"),
        (vec![insn(LD_IMM64, 1, 4, 0, 1), Insn::default()], "A123 `odd` hands a callback to the kernel"),
        (vec![insn(CALL, 0, 2, 0, 1)], "A124 `odd` uses a kernel function (kfunc)"),
        (vec![insn(LD_IMM64, 1, 3, 0, 1), Insn::default()], "A124 `odd` uses a kernel variable (`__ksym`)"),
        (vec![insn(0x30, 0, 0, 0, 14)], "A132 `odd` reads the packet with `LD_ABS` or `LD_IND`"),
        (vec![insn(CALL, 0, 1, 0, 7)], "A120 `odd` is malformed: instruction 0 calls what isn't there"),
        (vec![insn(CALL, 0, 1, 0, -9)], "A120 `odd` is malformed: instruction 0 calls what isn't there"),
        (
            vec![insn(LD_IMM64, 1, 1, 0, 1), Insn::default()],
            "A120 `odd` is malformed: instruction 0 loads a map without a name",
        ),
    ];
    for (code, wanted) in cases {
        assert_eq!(problems(&program(code)), [wanted]);
    }
}

#[test]
fn the_second_half_of_a_load_is_no_instruction() {
    let code = vec![insn(LD_IMM64, 1, 0, 0, 1), insn(CALL, 0, 0, 0, 12), insn(MOV_IMM, 0, 0, 0, 2), exit()];
    assert_eq!(problems(&Component::of("odd", ProgramType::Xdp, code)), [""; 0]);
}

#[test]
fn an_old_packet_load_works_alone() {
    let code = vec![insn(0x30, 0, 0, 0, 14), exit()];
    let component = Component::of("odd", ProgramType::Xdp, code);
    assert!(fuse_all(&[(&component, &on(&[2]))]).is_ok());
}

#[test]
fn all_problems_come_at_once() {
    let tail = Component::of("tail", ProgramType::SchedCls, vec![insn(CALL, 0, 0, 0, 12), exit()]);
    let empty = Component::of("void", ProgramType::Xdp, Vec::new());
    let pass = on(&[2]);
    let codes: Vec<_> =
        fuse_all(&[(&tail, &pass), (&empty, &pass)]).unwrap_err().iter().map(FuseProblem::code).collect();
    assert_eq!(codes.iter().map(|code| code.as_str()).collect::<Vec<_>>(), ["A121", "A122", "A120"]);
    assert_eq!(fuse_all(&[]).unwrap_err(), [FuseProblem::Empty]);
}

#[test]
fn licenses_go_together_unless_a_helper_needs_one() {
    let licensed = |name: &str, text: &str, compatible: bool, needed_by: Option<u32>| {
        answers(name, 2).with(|parts| *parts.license = License { text: text.to_owned(), compatible, needed_by })
    };
    let gpl = licensed("gpl", "GPL", true, Some(6));
    let dual = licensed("dual", "Dual BSD/GPL", true, None);
    let apache = licensed("apache", "Apache-2.0", false, None);
    let pass = on(&[2]);
    let license = |hops: &[&Component]| {
        let hops: Vec<_> = hops.iter().map(|c| (*c, &pass)).collect();
        fuse_all(&hops).map(|fused| fused.license)
    };
    assert_eq!(license(&[&dual, &dual]).unwrap(), "Dual BSD/GPL");
    assert_eq!(license(&[&gpl, &dual]).unwrap(), "GPL");
    assert_eq!(license(&[&dual, &apache]).unwrap(), "Apache-2.0");
    let refused = license(&[&dual, &gpl, &apache]).unwrap_err();
    assert!(matches!(&refused[..], [FuseProblem::Licenses { helper: 6, .. }]), "{refused:?}");
}

#[test]
fn frags_must_agree() {
    let frags = answers("big", 2).with(|parts| *parts.frags = true);
    let plain = answers("plain", 2);
    let pass = on(&[2]);
    assert!(fuse_all(&[(&frags, &pass)]).unwrap().frags);
    let refused = fuse_all(&[(&frags, &pass), (&plain, &pass)]).unwrap_err();
    assert_eq!(refused[0].to_string(), "`big` knows multi-buffer packets (`xdp.frags`) and `plain` doesn't");
}

#[test]
fn limits_are_the_kernels() {
    let pass = on(&[2]);
    let long = Component::of(
        "long",
        ProgramType::Xdp,
        [vec![insn(MOV_IMM, 0, 0, 0, 2); MAX_INSTRUCTIONS], vec![exit()]].concat(),
    );
    assert!(matches!(fuse_all(&[(&long, &pass)]).unwrap_err()[..], [FuseProblem::TooLong { .. }]));

    let many: Vec<_> = (0..MAX_FUNCTIONS).map(|at| answers(&format!("p{at}"), 2)).collect();
    let hops = |count: usize| many[..count].iter().map(|c| (c, &pass)).collect::<Vec<_>>();
    assert!(fuse_all(&hops(MAX_FUNCTIONS - 1)).is_ok());
    assert!(matches!(
        fuse_all(&hops(MAX_FUNCTIONS)).unwrap_err()[..],
        [FuseProblem::TooManyFunctions { functions: 257 }]
    ));

    let greedy = |maps: usize| {
        let code = [insn(LD_IMM64, 1, 1, 0, 0), Insn::default()].repeat(maps);
        Component::of("greedy", ProgramType::Xdp, [code, vec![exit()]].concat()).with(|parts| {
            *parts.loads = (0..maps)
                .map(|at| MapLoad {
                    at: 2 * at,
                    map: ComponentMap::Set(MapKey::Shared(format!("m{at}").parse().unwrap())),
                })
                .collect();
        })
    };
    assert!(fuse_all(&[(&greedy(MAX_MAPS), &pass)]).is_ok());
    assert!(matches!(
        fuse_all(&[(&greedy(MAX_MAPS + 1), &pass)]).unwrap_err()[..],
        [FuseProblem::TooManyMaps { maps: 64 }]
    ));
}

#[test]
fn the_rule_compares_thirty_two_bits() {
    let (pass, minus) = (on(&[2]), on(&[-1]));
    assert_eq!(verdict(&[(2, &pass), (1, &pass)]), Some(1));
    assert_eq!(verdict(&[(0x1_0000_0002, &pass), (1, &pass)]), Some(1));
    assert_eq!(verdict(&[(0xffff_ffff, &minus), (7, &pass)]), Some(7));
    assert_eq!(verdict(&[(u64::MAX, &minus), (7, &pass)]), Some(7));
    assert_eq!(verdict(&[(9, &pass), (1, &pass)]), Some(9));
    assert_eq!(verdict(&[]), None);
}
