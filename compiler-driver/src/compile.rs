//! Runs clang once. Spawns.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::SystemTime,
};

use crate::{
    depfile,
    files::{self, Stamp},
    plan::Colour,
    toolchain,
};

/// What came of it.
pub(crate) struct Compiled {
    /// The object, with DWARF.
    pub(crate) object: Vec<u8>,
    /// The files that clang read, as it names them.
    pub(crate) inputs: Vec<PathBuf>,
    /// What it said.
    pub(crate) said: Vec<u8>,
}

/// Why there is no object.
pub(crate) enum Failure {
    /// clang refused the source and said why.
    Refused { said: Vec<u8> },
    /// clang did not run to its end.
    Stopped { said: Vec<u8>, status: ExitStatus },
    /// A file kept changing while it was read.
    Changing { input: PathBuf },
    /// clang couldn't be started, or its output couldn't be read.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How often a compile is repeated because its sources changed under it.
const ATTEMPTS: u32 = 3;

/// Compiles in `root`, using `scratch` (a folder of its own) for what clang writes.
pub(crate) fn compile(
    clang: &Path,
    argv: &[String],
    colour: Colour,
    root: &Path,
    scratch: &Path,
) -> Result<Compiled, Failure> {
    let mut before: Option<Vec<Stamp>> = None;
    let mut changing = PathBuf::new();
    for _ in 0..ATTEMPTS {
        let start = SystemTime::now();
        let compiled = once(clang, argv, colour, root, scratch)?;
        let full: Vec<PathBuf> = compiled.inputs.iter().map(|input| root.join(input)).collect();
        let changed = full.iter().find(|input| files::changed_since(input, start));
        let stamps: Vec<Stamp> = full.iter().map(|input| Stamp::of(input)).collect::<io::Result<_>>()?;
        match changed {
            None => return Ok(compiled),
            // The same stamps as after the run before: a clock that is ahead of ours, not a change.
            Some(_) if before.as_ref() == Some(&stamps) => return Ok(compiled),
            Some(input) => changing.clone_from(input),
        }
        before = Some(stamps);
    }
    Err(Failure::Changing { input: changing })
}

fn once(clang: &Path, argv: &[String], colour: Colour, root: &Path, scratch: &Path) -> Result<Compiled, Failure> {
    let (object, dependencies) = (scratch.join("object.o"), scratch.join("object.d"));
    let mut command = Command::new(clang);
    command.args(argv).arg("-o").arg(&object).arg("-MD").arg("-MF").arg(&dependencies).arg("-MTobject");
    if colour == Colour::Always {
        command.arg("-fcolor-diagnostics");
    }
    command.current_dir(root).env_clear().envs(toolchain::environment()).stdin(Stdio::null());
    let output = command.output()?;
    // clang prints nothing on stdout here, but a wrapper might.
    let said = [output.stdout, output.stderr].concat();
    match output.status.code() {
        Some(0) => {}
        Some(_) => return Err(Failure::Refused { said }),
        None => return Err(Failure::Stopped { said, status: output.status }),
    }
    let inputs = depfile::parse(&String::from_utf8_lossy(&fs::read(&dependencies)?));
    Ok(Compiled { object: fs::read(&object)?, inputs, said })
}
