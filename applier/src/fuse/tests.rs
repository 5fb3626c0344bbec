use bpfkit_schemas::object::ProgramType;

use super::*;
use crate::live::MapKey;

use bpfkit_objects::insn::{CALL, EXIT, JA};

use super::{
    join::{JEQ32, JNE32, LOAD64, STORE64},
    splice::MOV64,
};

const MOV_IMM: u8 = 0xb7;
const ADD64: u8 = 0x07;
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

/// Instructions as text, one a line.
fn listing(fused: &Fused) -> String {
    let line = |insn: &Insn| match insn.code {
        MOV64 => format!("r{} = r{}", insn.dst, insn.src),
        MOV_IMM => format!("r{} = {}", insn.dst, insn.imm),
        ADD64 => format!("r{} += {}", insn.dst, insn.imm),
        LOAD64 => format!("r{} = *(u64 *)(r{} {:+})", insn.dst, insn.src, insn.off),
        STORE64 => format!("*(u64 *)(r{} {:+}) = r{}", insn.dst, insn.off, insn.src),
        CALL if insn.src == 1 => format!("call {:+}", insn.imm),
        CALL => format!("call helper {}", insn.imm),
        LD_IMM64 if insn.src == 4 => format!("r{} = function {:+}", insn.dst, insn.imm),
        LD_IMM64 => format!("r{} = map, {}", insn.dst, insn.src),
        0 => format!("  and {}", insn.imm),
        JA => format!("goto {:+}", insn.off),
        JEQ32 => format!("if w{} == {} goto {:+}", insn.dst, insn.imm, insn.off),
        JNE32 => format!("if w{} != {} goto {:+}", insn.dst, insn.imm, insn.off),
        EXIT => "exit".to_owned(),
        other => format!("{other:#x}"),
    };
    fused.instructions.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn forms(fused: &Fused) -> Vec<String> {
    fused.forms.iter().map(ToString::to_string).collect()
}

/// Makes a tail call, and answers 2 where there is nothing to jump into.
fn tail_caller(name: &str) -> Component {
    Component::of(name, ProgramType::Xdp, vec![insn(CALL, 0, 0, 0, 12), insn(MOV_IMM, 0, 0, 0, 2), exit()])
}

#[test]
fn bodies_follow_each_other_and_exits_become_jumps_to_the_glue() {
    let (limit, meter) = (answers("limit", -1), answers("meter", 1));
    // Answers 3 at once or 2 at the end.
    let code = vec![insn(0x15, 1, 0, 2, 0), insn(MOV_IMM, 0, 0, 0, 3), exit(), insn(MOV_IMM, 0, 0, 0, 2), exit()];
    let guard = Component::of("guard", ProgramType::Xdp, code);
    let fused = fuse_all(&[(&guard, &on(&[2])), (&limit, &on(&[-1, 0, 3])), (&meter, &on(&[2]))]).unwrap();
    assert_eq!(
        listing(&fused),
        "\
*(u64 *)(r10 -8) = r1
0x15
r0 = 3
goto +1
r0 = 2
if w0 != 2 goto +8
r1 = *(u64 *)(r10 -8)
r0 = -1
if w0 == -1 goto +2
if w0 == 0 goto +1
if w0 != 3 goto +3
r1 = *(u64 *)(r10 -8)
r0 = 1
exit
exit"
    );
    let spans: Vec<_> = fused.spans.iter().map(|s| format!("{} {}..{}", s.program, s.start, s.end)).collect();
    assert_eq!(spans, ["guard 1..5", "limit 7..8", "meter 12..14"]);
    assert_eq!(fused.locate(3).map(|(name, at)| (name.as_str(), at)), Some(("guard", 2)));
    assert_eq!(fused.locate(5), None);
    assert_eq!(forms(&fused), ["spliced"; 3]);
}

#[test]
fn what_makes_tail_calls_is_called_and_its_answer_asked() {
    let (first, tail, last) = (answers("first", 2), tail_caller("tail"), tail_caller("last"));
    let fused = fuse_all(&[(&first, &on(&[2])), (&tail, &on(&[2, 3])), (&last, &on(&[]))]).unwrap();
    assert_eq!(
        listing(&fused),
        "\
*(u64 *)(r10 -8) = r1
r0 = 2
if w0 != 2 goto +6
r1 = *(u64 *)(r10 -8)
call +5
if w0 == 2 goto +1
if w0 != 3 goto +2
r1 = *(u64 *)(r10 -8)
call +4
exit
call helper 12
r0 = 2
exit
call helper 12
r0 = 2
exit"
    );
    assert_eq!(forms(&fused), ["spliced", "called: it makes tail calls", "called: it makes tail calls"]);
    let functions: Vec<_> = fused.functions.iter().map(|f| (f.start, f.of.as_ref().map(|of| of.0.as_str()))).collect();
    assert_eq!(functions, [(0, None), (10, Some("tail")), (13, Some("last"))]);
}

#[test]
fn where_nothing_is_spliced_the_context_stays_in_a_register() {
    let (first, last) = (tail_caller("first"), tail_caller("last"));
    let fused = fuse_all(&[(&first, &on(&[2])), (&last, &on(&[2]))]).unwrap();
    let main = listing(&fused);
    let main: Vec<_> = main.lines().take(6).collect();
    assert_eq!(main, ["r6 = r1", "call +4", "if w0 != 2 goto +2", "r1 = r6", "call +4", "exit"]);
}

#[test]
fn a_spliced_frame_begins_below_the_context_and_keeps_its_shape() {
    let code = vec![
        insn(STORE64, 10, 1, -16, 0),
        insn(MOV64, 2, 10, 0, 0),
        insn(ADD64, 2, 0, 0, -16),
        insn(ADD64, 2, 0, 0, 4),
        insn(LOAD64, 0, 10, -8, 0),
        exit(),
    ];
    let guard = Component::of("guard", ProgramType::Xdp, code);
    let fused = fuse_all(&[(&guard, &on(&[2])), (&answers("last", 2), &on(&[2]))]).unwrap();
    let body = listing(&fused);
    let body: Vec<_> = body.lines().skip(1).take(5).collect();
    assert_eq!(body, ["*(u64 *)(r10 -24) = r1", "r2 = r10", "r2 += -24", "r2 += 4", "r0 = *(u64 *)(r10 -16)"]);
}

#[test]
fn what_cannot_be_spliced_says_why() {
    let form = |code: Vec<Insn>| {
        let odd = Component::of("odd", ProgramType::Xdp, code);
        forms(&fuse_all(&[(&odd, &on(&[2])), (&answers("last", 2), &on(&[2]))]).unwrap()).remove(0)
    };
    let ends = |mut code: Vec<Insn>| {
        code.extend([insn(MOV_IMM, 0, 0, 0, 2), exit()]);
        code
    };
    let copy = insn(MOV64, 2, 10, 0, 0);
    let lost = "called: its use of the stack can't be followed";
    let unset = "called: it reads registers that it hasn't set";
    let store = |off: i16| insn(STORE64, 10, 1, off, 0);
    let cases = [
        (ends(vec![]), "spliced"),
        (ends(vec![store(-504)]), "spliced"),
        (ends(vec![store(-512)]), "called: the stack has no room for it"),
        (ends(vec![copy, insn(ADD64, 2, 0, 0, -512)]), "called: the stack has no room for it"),
        (ends(vec![copy]), lost),
        (ends(vec![copy, insn(ADD64, 3, 0, 0, -8)]), lost),
        (ends(vec![copy, insn(ADD64, 2, 0, 0, 8)]), lost),
        (ends(vec![copy, insn(ADD64, 2, 0, 0, i32::MIN)]), lost),
        // A jump between the copy and the sum.
        (ends(vec![insn(0x15, 1, 0, 1, 0), copy, insn(ADD64, 2, 0, 0, -8)]), lost),
        // The frame's address stored, compared, added; a store that reaches above the frame.
        (ends(vec![insn(STORE64, 1, 10, 0, 0)]), lost),
        (ends(vec![insn(0x1d, 1, 10, 0, 0)]), lost),
        (ends(vec![insn(0x0f, 1, 10, 0, 0)]), lost),
        (ends(vec![store(-4)]), lost),
        (ends(vec![store(0)]), lost),
        (ends(vec![insn(CALL, 0, 0, 0, 12)]), "called: it makes tail calls"),
        (ends(vec![insn(0x30, 0, 0, 0, 14)]), "called: it reads the packet with `LD_ABS` or `LD_IND`"),
        (ends(vec![insn(LD_IMM64, 2, 4, 0, -1), Insn::default()]), "called: its own functions call it"),
        (ends(vec![insn(0x15, 1, 0, 2, 0)]), "called: it jumps out of its function"),
        (ends(vec![insn(0x15, 1, 0, -2, 0)]), "called: it jumps out of its function"),
        (vec![exit(), insn(MOV_IMM, 0, 0, 0, 2)], "called: it jumps out of its function"),
        (vec![exit()], unset),
        (vec![insn(0x15, 1, 0, 1, 0), insn(MOV_IMM, 0, 0, 0, 2), exit()], unset),
        (ends(vec![insn(STORE64, 10, 6, -8, 0)]), unset),
        (ends(vec![insn(CALL, 0, 0, 0, 5), insn(MOV64, 2, 1, 0, 0)]), unset),
        (ends(vec![insn(CALL, 0, 0, 0, 5), insn(MOV64, 2, 0, 0, 0)]), "spliced"),
        (ends(vec![insn(MOV_IMM, 1, 0, 0, 0); 40_000]), "called: it is too long for 16-bit jumps"),
    ];
    for (at, (code, wanted)) in cases.into_iter().enumerate() {
        assert_eq!(form(code), wanted, "case {at}");
    }
}

#[test]
fn the_second_half_of_a_load_is_no_tail_call_and_no_exit() {
    let code = vec![insn(LD_IMM64, 1, 0, 0, 1), insn(EXIT, 0, 0, 0, 12), insn(MOV_IMM, 0, 0, 0, 2), exit()];
    let odd = Component::of("odd", ProgramType::Xdp, code);
    let fused = fuse_all(&[(&odd, &on(&[2])), (&answers("last", 2), &on(&[2]))]).unwrap();
    assert_eq!(fused.instructions[2], insn(EXIT, 0, 0, 0, 12));
}

#[test]
fn functions_of_a_spliced_program_are_carried_once_and_found_from_each_place() {
    // Calls one of its functions and hands the other over as a callback.
    let code = vec![
        insn(CALL, 0, 1, 0, 4),
        insn(LD_IMM64, 2, 4, 0, 5),
        Insn::default(),
        insn(MOV_IMM, 0, 0, 0, 2),
        exit(),
        insn(MOV_IMM, 0, 0, 0, 7),
        exit(),
        insn(MOV_IMM, 0, 0, 0, 8),
        exit(),
    ];
    let (guard, meter) = (Component::of("guard", ProgramType::Xdp, code), answers("meter", 2));
    let pass = on(&[2]);
    let fused = fuse_all(&[(&guard, &pass), (&meter, &pass), (&guard, &pass)]).unwrap();
    assert_eq!(forms(&fused), ["spliced"; 3]);
    let starts: Vec<_> = fused.functions.iter().map(|f| f.start).collect();
    let referred: Vec<_> = bpfkit_objects::insn::code(&fused.instructions)
        .filter(|(_, i)| i.is_subprogram_call() || i.is_func_load())
        .map(|(at, i)| at + 1 + usize::try_from(i.imm).unwrap())
        .collect();
    assert_eq!(starts.len(), 3);
    assert_eq!(referred, [starts[1], starts[2], starts[1], starts[2]]);
    assert_eq!(fused.instructions[starts[2]], insn(MOV_IMM, 0, 0, 0, 8));
    assert_eq!(fused.locate(starts[1]).map(|(name, at)| (name.as_str(), at)), Some(("guard", 5)));
}

#[test]
fn frames_that_would_not_fit_together_are_not_spliced() {
    let frame = |name: &str, depth: i16| {
        Component::of(name, ProgramType::Xdp, vec![insn(STORE64, 10, 1, -depth, 0), insn(MOV_IMM, 0, 0, 0, 2), exit()])
    };
    let pass = on(&[2]);
    let of = |hops: &[&Component]| {
        let hops: Vec<_> = hops.iter().map(|c| (*c, &pass)).collect();
        forms(&fuse_all(&hops).unwrap()).iter().map(|form| form.chars().next().unwrap()).collect::<String>()
    };
    let (small, large, full) = (frame("small", 64), frame("large", 400), frame("full", 512));
    assert_eq!(of(&[&small, &large]), "ss");
    // A call needs all that there is: nothing is left for the others' frame.
    assert_eq!(of(&[&small, &full, &large]), "ccc");
    // Half of the stack at most may lie before a tail call.
    assert_eq!(of(&[&small, &tail_caller("tail"), &large]), "scc");
    assert_eq!(of(&[&small, &tail_caller("tail"), &frame("most", 200)]), "scs");
    // Frames of what a spliced program calls count too.
    let caller = |depth: i16| {
        let code =
            vec![insn(CALL, 0, 1, 0, 1), exit(), insn(STORE64, 10, 1, -depth, 0), insn(MOV_IMM, 0, 0, 0, 2), exit()];
        Component::of("caller", ProgramType::Xdp, code)
    };
    assert_eq!(of(&[&small, &caller(400)]), "ss");
    assert_eq!(of(&[&large, &caller(400)]), "cs");
}

#[test]
fn jumps_that_would_be_too_far_leave_where_they_are() {
    let long = |name: &str| {
        let code = [vec![insn(MOV_IMM, 1, 0, 0, 0); 20_000], vec![insn(MOV_IMM, 0, 0, 0, 2), exit()]].concat();
        Component::of(name, ProgramType::Xdp, code)
    };
    let (first, second, third) = (long("first"), long("second"), long("third"));
    let several = on(&[2, 3]);
    let fused = fuse_all(&[(&first, &several), (&second, &several), (&third, &several)]).unwrap();
    let main = listing(&fused);
    let glue: Vec<_> = main.lines().filter(|line| !line.starts_with("r1 = 0") && !line.starts_with("r0")).collect();
    let load = "r1 = *(u64 *)(r10 -8)";
    let far = ["if w0 == 2 goto +2", "if w0 == 3 goto +1", "exit", load];
    let near = ["if w0 == 2 goto +1", "if w0 != 3 goto +20003", load];
    assert_eq!(glue[1..], [&far[..], &near[..], &["exit", "exit"]].concat());
}

#[test]
fn a_program_alone_is_the_program_itself() {
    let guard = answers("guard", 2);
    assert_eq!(listing(&fuse_all(&[(&guard, &on(&[2]))]).unwrap()), "r0 = 2\nexit");
}

#[test]
fn what_can_never_be_reached_is_left_out() {
    let (guard, meter) = (answers("guard", 2), answers("meter", 2));
    let fused = fuse_all(&[(&guard, &on(&[])), (&meter, &on(&[2]))]).unwrap();
    assert_eq!(listing(&fused), "r0 = 2\nexit");
    assert_eq!(forms(&fused), ["the whole program", "left out: the chain never gets to it"]);
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
    assert_eq!(places, [1, 6, 11]);
    assert!(places.iter().all(|at| fused.instructions[*at].is_map_load()));
    assert_eq!(fused.maps().len(), 2);
}

#[test]
fn what_this_form_cannot_carry_is_refused_by_name() {
    let program = |code: Vec<Insn>| Component::of("odd", ProgramType::Xdp, [code, vec![exit()]].concat());
    let cases = [
        (
            vec![insn(LD_IMM64, 1, 4, 0, 7), Insn::default()],
            "A120 `odd` is malformed: instruction 0 calls what isn't there",
        ),
        (vec![insn(CALL, 0, 2, 0, 1)], "A124 `odd` uses a kernel function (kfunc)"),
        (vec![insn(LD_IMM64, 1, 3, 0, 1), Insn::default()], "A124 `odd` uses a kernel variable (`__ksym`)"),
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
fn all_problems_come_at_once() {
    let tail = Component::of("tail", ProgramType::SchedCls, vec![insn(CALL, 0, 2, 0, 12), exit()]);
    let empty = Component::of("void", ProgramType::Xdp, Vec::new());
    let pass = on(&[2]);
    let codes: Vec<_> =
        fuse_all(&[(&tail, &pass), (&empty, &pass)]).unwrap_err().iter().map(FuseProblem::code).collect();
    assert_eq!(codes.iter().map(|code| code.as_str()).collect::<Vec<_>>(), ["A121", "A124", "A120"]);
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

    let many: Vec<_> = (0..MAX_FUNCTIONS).map(|at| tail_caller(&format!("p{at}"))).collect();
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

/// Loads its `.rodata`, which holds `bytes`, at `offset`.
fn with_constants(name: &str, bytes: Vec<u8>, flags: u32, offset: i32) -> Component {
    let code = vec![insn(LD_IMM64, 1, 2, 0, 0), insn(0, 0, 0, 0, offset), insn(MOV_IMM, 0, 0, 0, 2), exit()];
    Component::of(name, ProgramType::Xdp, code).with(|parts| {
        parts.loads.push(MapLoad { at: 0, map: ComponentMap::Constant(".rodata".to_owned()) });
        parts.constants.insert(".rodata".to_owned(), component::Constants { image: bytes, flags });
    })
}

#[test]
fn constants_share_a_map_only_where_there_would_be_too_many() {
    let programs: Vec<_> = (0..=MAX_MAPS)
        .map(|at| with_constants(&format!("p{at}"), vec![u8::try_from(at).unwrap(); 5], 128, 3))
        .collect();
    let pass = on(&[2]);
    let hops: Vec<_> = programs.iter().map(|c| (c, &pass)).collect();
    let few = fuse_all(&hops[..MAX_MAPS]).unwrap();
    assert_eq!((few.maps().len(), few.packed.len()), (MAX_MAPS, 0));

    let many = fuse_all(&hops).unwrap();
    assert_eq!(many.maps().into_iter().collect::<Vec<_>>(), [&FusedMap::Packed(128)]);
    let image = &many.packed[&128];
    for (at, load) in many.loads.iter().enumerate() {
        let offset = usize::try_from(many.instructions[load.at + 1].imm).unwrap();
        assert_eq!((offset % 8, usize::from(image[offset])), (3, at), "the load of p{at}");
    }
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
