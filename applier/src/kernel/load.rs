//! Loads a fused chain: its constants, its record, the program.
//!
//! Nothing is attached and nothing pinned here; what is made goes away with its
//! descriptors. The instructions come out of a [`FusedChain`], which only the trust
//! decision's own type can lead to; this module takes code in no other form.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs, io,
    path::{Path, PathBuf},
};

use bpfkit_objects::insn::{Insn, POISON};
use bpfkit_schemas::{hook::Hook, object::ProgramType};
use sha2::{Digest as _, Sha256};

use super::{
    data_map,
    error::{KernelError, Spot},
    sys::{self, Described, Map, MapSpec, Program, ProgramSpec, Types},
    verifier,
};
use crate::{
    fuse::{FusedChain, FusedMap, program_name},
    live::{MapId, MapKey},
    record::{MAP_NAME, Record, Stored},
};

/// `BPF_PROG_TYPE_SCHED_CLS`.
const PROGRAM_SCHED_CLS: u32 = 3;
/// `BPF_PROG_TYPE_XDP`.
const PROGRAM_XDP: u32 = 6;
/// `BPF_F_XDP_HAS_FRAGS`.
const F_XDP_HAS_FRAGS: u32 = 1 << 5;
/// The verifier shows the path that fails (`BPF_LOG_LEVEL1`).
const LOG_LEVEL: u32 = 1;
/// Sizes of the buffer for the log, tried in turn, in bytes.
const LOG_SIZES: [usize; 3] = [1 << 16, 1 << 20, 1 << 24];

/// A program that is loaded, and the record that is bound to it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) program: Program,
    pub(super) record: Map,
}

/// Loads `chain`, whose maps of the set are `maps`, and binds `record` to it. Logs of refusals go to `logs`.
pub(super) fn load(
    chain: &FusedChain,
    record: &Record,
    maps: &BTreeMap<MapKey, &Map>,
    logs: &Path,
) -> Result<Loaded, KernelError> {
    let spot = Spot { hook: record.hook, interface: record.interface.clone() };
    let record_map = record_map(record, maps, &spot)?;
    let constants = constants(chain)?;
    let fused = chain.fused();
    let mut instructions = fused.instructions.clone();
    for load in &fused.loads {
        let map = match &load.map {
            FusedMap::Set(key) => maps.get(key).copied(),
            constant @ (FusedMap::Constant(..) | FusedMap::Packed(_)) => constants.get(constant),
        };
        let map = map.ok_or_else(|| missing(&spot, &load.map))?;
        if let Some(insn) = instructions.get_mut(load.at) {
            insn.imm = sys::raw_fd(map);
        }
    }
    let program = load_program(chain, &instructions, record, &spot, logs)?;
    sys::prog_bind_map(&program, &record_map)
        .map_err(|source| KernelError::call(format!("binding the record to the chain for {spot}"), source))?;
    Ok(Loaded { program, record: record_map })
}

fn missing(spot: &Spot, map: &FusedMap) -> KernelError {
    let name = match map {
        FusedMap::Set(key) => key.to_string(),
        FusedMap::Constant(program, name) => format!("{program}/{name}"),
        FusedMap::Packed(_) => "the constants of the chain".to_owned(),
    };
    let source = io::Error::other(format!("the plan doesn't name the map `{name}`"));
    KernelError::Call { doing: format!("loading the chain for {spot}"), source }
}

/// The frozen map that says what the chain is.
fn record_map(record: &Record, maps: &BTreeMap<MapKey, &Map>, spot: &Spot) -> Result<Map, KernelError> {
    let failed = |source| KernelError::call(format!("writing the record of the chain for {spot}"), source);
    let mut ids = BTreeMap::new();
    for (key, map) in maps {
        ids.insert(key.clone(), MapId(sys::map_info(map).map_err(failed)?.id));
    }
    let stored = Stored::new(record.clone(), &ids)
        .ok_or_else(|| failed(io::Error::other("a map that the record names is not there")))?;
    let bytes = stored.encode().map_err(|error| failed(io::Error::other(error)))?;
    frozen(MAP_NAME, sys::F_RDONLY_PROG, &bytes).map_err(failed)
}

/// The maps of constants, each with its programs' values in it.
fn constants(chain: &FusedChain) -> Result<BTreeMap<FusedMap, Map>, KernelError> {
    let fused = chain.fused();
    let wanted = fused.maps();
    let mut made = BTreeMap::new();
    for component in chain.components() {
        for (name, constants) in component.constants() {
            let map = FusedMap::Constant(component.name().clone(), name.clone());
            // Those that were packed aren't loaded by themselves.
            if !wanted.contains(&map) || made.contains_key(&map) {
                continue;
            }
            let digest = bpfkit_schemas::Digest::from_bytes(Sha256::digest(&constants.image).into());
            let frozen =
                frozen(&data_map::name(name, &digest), constants.flags, &constants.image).map_err(|source| {
                    KernelError::call(format!("creating the constants `{name}` of `{}`", component.name()), source)
                })?;
            made.insert(map, frozen);
        }
    }
    for (flags, image) in &fused.packed {
        let digest = bpfkit_schemas::Digest::from_bytes(Sha256::digest(image).into());
        let frozen = frozen(&data_map::name("consts", &digest), *flags, image)
            .map_err(|source| KernelError::call("creating the constants of the chain", source))?;
        made.insert(FusedMap::Packed(*flags), frozen);
    }
    Ok(made)
}

/// An array of one entry that nobody can write any more.
fn frozen(name: &str, flags: u32, value: &[u8]) -> io::Result<Map> {
    let value_size = u32::try_from(value.len()).map_err(io::Error::other)?;
    let map = sys::map_create(&MapSpec {
        map_type: sys::MAP_TYPE_ARRAY,
        key_size: 4,
        value_size,
        max_entries: 1,
        flags,
        name,
        entries: None,
    })?;
    sys::array_update(&map, 0, value)?;
    sys::map_freeze(&map)?;
    Ok(map)
}

fn load_program(
    chain: &FusedChain,
    instructions: &[Insn],
    record: &Record,
    spot: &Spot,
    logs: &Path,
) -> Result<Program, KernelError> {
    let fused = chain.fused();
    let failed = |source| KernelError::call(format!("loading the chain for {spot}"), source);
    let license = CString::new(fused.license.as_str()).map_err(|error| failed(io::Error::other(error)))?;
    let name = program_name(record);
    let types = types(chain, spot)?;
    let spec = ProgramSpec {
        program_type: program_type(record.hook),
        instructions: &Insn::encode_all(instructions),
        license: &license,
        name: &name,
        flags: if fused.frags { F_XDP_HAS_FRAGS } else { 0 },
        // As libbpf has it: a program array takes programs of one kind alone (Linux 6.17, `bpf_prog_map_compatible`),
        // and those that others put into a program's array were loaded by libbpf.
        attach_type: match record.hook {
            Hook::Xdp => sys::ATTACH_XDP,
            Hook::TcIngress | Hook::TcEgress => 0,
            Hook::Cgroup(hook) => hook.attach_type(),
        },
        described: chain.types().zip(types.as_ref()).map(|(described, types)| Described {
            types,
            functions: &described.functions,
            lines: &described.lines,
        }),
    };
    let refused = match sys::prog_load(&spec, None) {
        Ok(program) => return Ok(program),
        Err(refused) => refused,
    };
    let mut log = Vec::new();
    for size in LOG_SIZES {
        log = vec![0; size];
        match sys::prog_load(&spec, Some((LOG_LEVEL, &mut log))) {
            Ok(program) => return Ok(program),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {}
            Err(_) => break,
        }
    }
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    log.truncate(end);
    let log = String::from_utf8_lossy(&log);
    if log.trim().is_empty() {
        return Err(failed(refused));
    }
    let summary = verifier::summarise(&log);
    Err(KernelError::Verifier {
        what: spot.to_string(),
        reason: reason(chain, &summary),
        excerpt: summary.excerpt,
        omitted: summary.omitted,
        log: write_log(logs, record, &log),
        source: refused,
    })
}

/// The kernel's number of the type of program that a hook runs (`enum bpf_prog_type`).
fn program_type(hook: Hook) -> u32 {
    match hook.program_type() {
        ProgramType::CgroupSkb => 8,
        ProgramType::CgroupSock => 9,
        ProgramType::SockOps => 13,
        ProgramType::CgroupDevice => 15,
        ProgramType::CgroupSockAddr => 18,
        ProgramType::CgroupSysctl => 23,
        ProgramType::CgroupSockopt => 25,
        ProgramType::SchedCls => PROGRAM_SCHED_CLS,
        _ => PROGRAM_XDP,
    }
}

/// The chain's types, given to the kernel; `None` where it takes none and the chain does without.
///
/// A kernel may be older than a kind of type among them. Callbacks and tail calls in functions aren't possible without.
fn types(chain: &FusedChain, spot: &Spot) -> Result<Option<Types>, KernelError> {
    let Some(types) = chain.types() else { return Ok(None) };
    match sys::btf_load(&types.btf) {
        Ok(types) => Ok(Some(types)),
        Err(_) if !chain.needs_types() => Ok(None),
        Err(source) => Err(KernelError::call(format!("handing over the types of the chain for {spot}"), source)),
    }
}

/// The verifier's reason with the place in C that it is about: `` `guard` (src/guard.bpf.c:41): R0 !read_ok ``.
fn reason(chain: &FusedChain, summary: &verifier::Summary) -> String {
    let said = if summary.reason.contains(&format!("#{POISON}")) {
        "it uses a kernel type or field that this kernel doesn't have"
    } else {
        summary.reason.as_str()
    };
    // An answer that a program doesn't give is noticed in the glue that reads it: then the program that ran last is meant.
    match summary.instructions.iter().find_map(|at| chain.place(*at)) {
        Some(place) => format!("{place}: {said}"),
        None => said.to_owned(),
    }
}

/// Keeps the whole log, for the reader of the message; that it can't be kept is no second error.
fn write_log(directory: &Path, record: &Record, log: &str) -> Option<PathBuf> {
    let interface: String = record.interface.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let path = directory.join(format!("verifier-{}-{}-{interface}.log", record.set, record.hook.slug()));
    fs::create_dir_all(directory).ok()?;
    fs::write(&path, log).ok()?;
    Some(path)
}
