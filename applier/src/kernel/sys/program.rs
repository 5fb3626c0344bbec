//! Programs: loading them, binding maps to them, running them in tests.

use std::{ffi::CStr, io};

use super::{
    Map, Program, Types, address, address_mut, attr, attr::Command, bpf, bpf_fd, length, object_name, path, raw,
};

/// What `PROG_LOAD` is asked for.
pub(crate) struct ProgramSpec<'a> {
    /// `enum bpf_prog_type`.
    pub(crate) program_type: u32,
    /// The instructions, 8 bytes each.
    pub(crate) instructions: &'a [u8],
    /// The license.
    pub(crate) license: &'a CStr,
    /// At most 15 bytes are kept.
    pub(crate) name: &'a str,
    /// `BPF_F_*` of `PROG_LOAD`.
    pub(crate) flags: u32,
    /// `enum bpf_attach_type`, 0 where the type of program needs none.
    pub(crate) attach_type: u32,
    /// What the kernel is told about its functions and lines, if anything.
    pub(crate) described: Option<Described<'a>>,
}

/// What a program's functions and lines are (Linux 5.0).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described<'a> {
    /// The types.
    pub(crate) types: &'a Types,
    /// A `struct bpf_func_info` for each function.
    pub(crate) functions: &'a [[u32; 2]],
    /// A `struct bpf_line_info` for each line.
    pub(crate) lines: &'a [[u32; 4]],
}

/// `BPF_PROG_LOAD`, with the verifier's words (at `level`) written to a buffer where there is one.
///
/// The kernel ends the log with a zero byte; with a buffer that is too small the
/// call fails with `ENOSPC`.
pub(crate) fn prog_load(spec: &ProgramSpec<'_>, log: Option<(u32, &mut [u8])>) -> io::Result<Program> {
    let mut attr = attr::ProgLoad {
        prog_type: spec.program_type,
        insn_cnt: length(spec.instructions.len() / 8)?,
        insns: address(spec.instructions),
        license: path(spec.license),
        prog_flags: spec.flags,
        prog_name: object_name(spec.name),
        expected_attach_type: spec.attach_type,
        ..attr::ProgLoad::default()
    };
    if let Some(described) = &spec.described {
        attr.prog_btf_fd = raw(described.types);
        attr.func_info_rec_size = length(size_of::<[u32; 2]>())?;
        attr.func_info = described.functions.as_ptr().expose_provenance() as u64;
        attr.func_info_cnt = length(described.functions.len())?;
        attr.line_info_rec_size = length(size_of::<[u32; 4]>())?;
        attr.line_info = described.lines.as_ptr().expose_provenance() as u64;
        attr.line_info_cnt = length(described.lines.len())?;
    }
    if let Some((level, buffer)) = log {
        attr.log_level = level;
        attr.log_size = length(buffer.len())?;
        attr.log_buf = address_mut(buffer);
    }
    // SAFETY: the attribute of PROG_LOAD. The kernel reads `insn_cnt` × 8 bytes,
    // which the slice has, a license that ends with a zero byte, which a `CStr`
    // does, and as many records of functions and lines, of the stated sizes, as their slices have; it writes at most `log_size` bytes to a buffer that the caller lent for
    // the call. The descriptor is new.
    unsafe { bpf_fd(Command::ProgLoad, &mut attr) }.map(Program)
}

/// `BPF_PROG_BIND_MAP` (Linux 5.10): the program keeps the map alive, without an instruction that uses it.
pub(crate) fn prog_bind_map(program: &Program, map: &Map) -> io::Result<()> {
    let mut attr = attr::ProgBindMap { prog_fd: raw(program), map_fd: raw(map), flags: 0 };
    // SAFETY: the attribute of PROG_BIND_MAP, without pointers.
    unsafe { bpf(Command::ProgBindMap, &mut attr) }.map(drop)
}

/// `BPF_PROG_TEST_RUN`: runs the program on `packet` once and returns its answer.
#[cfg(test)]
pub(crate) fn prog_test_run(program: &Program, packet: &[u8]) -> io::Result<u32> {
    let mut attr = attr::ProgTestRun {
        prog_fd: raw(program),
        data_size_in: length(packet.len())?,
        data_in: address(packet),
        repeat: 1,
        ..attr::ProgTestRun::default()
    };
    // SAFETY: the attribute of PROG_TEST_RUN; the kernel reads `data_size_in` bytes
    // of a slice that has them, and writes no data, as `data_out` is zero.
    unsafe { bpf(Command::ProgTestRun, &mut attr) }?;
    Ok(attr.retval)
}
