//! Turns a manifest into the commands that build it, as data.
//!
//! Reads what the commands depend on (that sources are there, which BTF was
//! chosen) and changes nothing. A [`BuildPlan`] can be printed and compared.
//!
//! # What every command keeps
//!
//! 1. *No place in it.* The compiler runs in the manifest's folder with relative
//!    names; absolute ones are mapped away. Two checkouts give the same bytes.
//! 2. *No choice left to the compiler.* CPU, language and target are spelt out:
//!    clang's defaults differ by version and, for `-mcpu`, by machine.
//! 3. *No shell.* Each flag is one argument, and `cflags` pass an allow-list.

use std::{
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use bpfkit_schemas::{
    Code, Diagnostic, Digest, Platform, ProgramName,
    manifest::{Manifest, Program, ProgramSource},
};

use crate::{
    digest::Hasher,
    error::{BuildErrors, Place},
    flags, headers,
    kernel_btf::KernelBtf,
    project::Project,
    toolchain::Toolchain,
    vmlinux,
};

/// Changed whenever the same inputs would give other objects or records: everything is then built again.
const DRIVER: &str = "bpfkit-build-1";

/// What to build, and where.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The checked manifest.
    pub manifest: &'a Manifest,
    /// The manifest's folder, as the user would spell it.
    pub root: &'a Path,
    /// `.bpfkit`, as the user would spell it.
    pub target_dir: &'a Path,
    /// `-j N`; `None` for make's jobserver, or as many as there are processors.
    pub jobs: Option<NonZeroUsize>,
    /// Whether clang's messages are coloured; no part of any key.
    pub colour: Colour,
}

/// Whether clang's messages are coloured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Colour {
    /// They go to a terminal.
    Always,
    /// They don't.
    #[default]
    Never,
}

/// Everything a build will do.
#[derive(Debug)]
pub struct BuildPlan<'a> {
    /// One step per program and platform, in the manifest's order.
    pub steps: Vec<Step>,
    /// The generated headers that the steps need.
    pub headers: Vec<Vmlinux>,
    pub(crate) request: Request<'a>,
    pub(crate) project: Project,
    /// The compiler; `None` where nothing is compiled.
    pub(crate) clang: Option<PathBuf>,
    /// The folder of generated headers, in real spelling.
    pub(crate) include: PathBuf,
}

/// One object to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The program.
    pub program: ProgramName,
    /// What for.
    pub platform: Platform,
    /// How.
    pub work: Work,
    /// Where the object goes, as the user would spell it.
    pub output: PathBuf,
    /// Everything that decides the result but the content of the files read: compiler, arguments, generated headers.
    pub key: Digest,
}

/// How an object is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Work {
    /// By clang. The executor adds only where the output and the list of files read go, and colour.
    Compile {
        /// The arguments, without the compiler's own name.
        argv: Vec<String>,
        /// The source, relative to the manifest's folder.
        source: String,
    },
    /// It is there already; checked and copied.
    Copy {
        /// The object, relative to the manifest's folder.
        object: String,
    },
}

/// One generated `vmlinux.h`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vmlinux {
    /// The platform that uses it.
    pub platform: Platform,
    /// Its folder's name under `.bpfkit/include`, made from what goes into it.
    pub folder: String,
    /// What it is made from.
    pub btf: KernelBtf,
}

/// Whether a manifest has anything that needs a compiler.
pub fn needs_compiler(manifest: &Manifest) -> bool {
    manifest.programs.iter().any(|program| matches!(program.from, ProgramSource::C(..)))
}

/// Plans the build of every program that isn't an `image:`.
///
/// `toolchain` may be `None` where [`needs_compiler`] says no. All problems of
/// the manifest's `build:` and files are reported, not the first.
pub fn plan<'a>(request: &Request<'a>, toolchain: Option<&Toolchain>) -> Result<BuildPlan<'a>, BuildErrors> {
    let manifest = request.manifest;
    let project = Project::open(request.root).map_err(|error| {
        let title = format!("the manifest's folder `{}` can't be read", request.root.display());
        Diagnostic::error(Code::INPUT_UNREADABLE, title).caused_by(&error)
    })?;
    let target = real_target(request.target_dir).map_err(|error| {
        let title = format!("the target folder `{}` can't be used", request.target_dir.display());
        Diagnostic::error(Code::OUTPUT_UNWRITABLE, title).caused_by(&error)
    })?;
    let include = target.join("include");

    let mut problems = Vec::new();
    let compiles = needs_compiler(manifest);
    if compiles && toolchain.is_none() {
        problems.push(Diagnostic::error(Code::COMPILER_NOT_FOUND, "programs with `source:` need a compiler"));
    }
    let cflags = flags::checked(manifest, &project).unwrap_or_else(|refused| {
        problems.extend(refused);
        Vec::new()
    });
    let mut headers = Vec::new();
    if compiles {
        for &platform in &manifest.build.platforms {
            match KernelBtf::choose(manifest, &project, platform) {
                Ok(btf) => headers.push(Vmlinux { platform, folder: header_folder(&btf), btf }),
                Err(problem) => problems.push(problem),
            }
        }
    }
    let mut sources = Vec::new();
    for program in &manifest.programs {
        match find_source(manifest, program, &project) {
            Ok(Some(path)) => sources.push((program, path)),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    BuildErrors::none_or(problems)?;

    let mut plan = BuildPlan {
        steps: Vec::new(),
        headers,
        request: *request,
        project,
        clang: toolchain.map(|toolchain| toolchain.clang().to_owned()),
        include,
    };
    for (program, source) in sources {
        for &platform in &manifest.build.platforms {
            let work = match &program.from {
                ProgramSource::C(..) => {
                    Work::Compile { argv: plan.argv(platform, &cflags, &source), source: source.clone() }
                }
                _ => Work::Copy { object: source.clone() },
            };
            let output = plan.output(&program.name, platform);
            let key = plan.key(&work, toolchain);
            plan.steps.push(Step { program: program.name.clone(), platform, work, output, key });
        }
    }
    Ok(plan)
}

/// The source or object of a program, relative to the project; `None` for an `image:`.
fn find_source(manifest: &Manifest, program: &Program, project: &Project) -> Result<Option<String>, Diagnostic> {
    let (ProgramSource::C(path, span) | ProgramSource::Object(path, span)) = &program.from else {
        return Ok(None);
    };
    let place = Place { source: manifest.source.clone(), span: *span };
    let full = project.inside(path, &place)?;
    if full.is_file() {
        return Ok(Some(Project::argument(path)));
    }
    let title = format!("`{}` of program `{}` does not exist", path.display(), program.name);
    let problem = place.error(Code::SOURCE_MISSING, title, if full.exists() { "not a file" } else { "not found" });
    Err(match nearest(&full) {
        Some(name) => problem.help(format!("there is a `{name}` in the same folder")),
        None => problem.help("paths are relative to the manifest's folder"),
    })
}

/// A file in the same folder with a similar name.
fn nearest(missing: &Path) -> Option<String> {
    let wanted = missing.file_name()?.to_str()?;
    let stem = |name: &str| name.split('.').next().map(str::to_lowercase);
    let entries = std::fs::read_dir(missing.parent()?).ok()?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| stem(name) == stem(wanted))
        .collect();
    names.sort();
    names.into_iter().next()
}

/// The target folder without links, though it may not exist yet.
fn real_target(target: &Path) -> io::Result<PathBuf> {
    let absolute = crate::project::plain(&std::path::absolute(target)?);
    let mut existing = absolute.as_path();
    while !existing.exists() {
        match existing.parent() {
            Some(parent) => existing = parent,
            None => return Ok(absolute),
        }
    }
    let rest = absolute.strip_prefix(existing).map_err(io::Error::other)?;
    Ok(std::fs::canonicalize(existing)?.join(rest))
}

fn header_folder(btf: &KernelBtf) -> String {
    let mut hasher = Hasher::new(vmlinux::VERSION);
    hasher.part(btf.digest().as_bytes());
    format!("vmlinux-{}", short(hasher.finish()))
}

/// The folder of libbpf's headers under `.bpfkit/include`.
pub(crate) fn libbpf_folder() -> String {
    format!("libbpf-{}", short(headers::digest()))
}

fn short(digest: Digest) -> String {
    digest.hex().chars().take(16).collect()
}

impl BuildPlan<'_> {
    /// The arguments for one source, all but where the output goes.
    fn argv(&self, platform: Platform, cflags: &[String], source: &str) -> Vec<String> {
        // What a distribution's or user's configuration file would add must not be in the object.
        let mut argv: Vec<String> = ["--no-default-config", "-target", "bpfel", "-mcpu=v3", "-std=gnu17", "-O2", "-g"]
            .map(str::to_owned)
            .into();
        argv.push(format!("-D__TARGET_ARCH_{}", platform.arch.target_define()));
        // `.comment` names the compiler's build.
        argv.extend(["-fno-ident", "-fdebug-compilation-dir=."].map(str::to_owned));
        argv.push(format!("-ffile-prefix-map={}=.", self.project.real().display()));
        let ours = [Some(libbpf_folder()), self.vmlinux(platform).map(|vmlinux| vmlinux.folder.clone())];
        for folder in ours.into_iter().flatten() {
            let path = self.project.name(&self.include.join(&folder));
            argv.push(format!("-ffile-prefix-map={path}=/bpfkit/{folder}"));
            argv.push(format!("-isystem{path}"));
        }
        argv.extend(cflags.iter().cloned());
        // `linux/*.h` of the system includes `asm/*.h`, which lie in a folder per architecture that clang
        // doesn't search for BPF. Last, so that they replace nothing.
        let triples = match platform.arch.oci() {
            "arm64" => ["aarch64-linux-gnu", "x86_64-linux-gnu"],
            _ => ["x86_64-linux-gnu", "aarch64-linux-gnu"],
        };
        let asm =
            triples.map(|triple| format!("/usr/include/{triple}")).into_iter().find(|path| Path::new(path).is_dir());
        argv.extend(asm.map(|path| format!("-idirafter{path}")));
        argv.extend(["-c".to_owned(), source.to_owned()]);
        argv
    }

    /// Everything that decides the result but the content of the files read.
    fn key(&self, work: &Work, toolchain: Option<&Toolchain>) -> Digest {
        let mut hasher = Hasher::new(DRIVER);
        match work {
            Work::Compile { argv, .. } => {
                if let Some(toolchain) = toolchain {
                    hasher.part(toolchain.identity().as_bytes());
                }
                // The same build in another place is the same build.
                let (root, include) = (self.project.real().display().to_string(), self.project.name(&self.include));
                for argument in argv {
                    hasher.part(argument.replace(&include, "<include>").replace(&root, "<root>").as_bytes());
                }
            }
            Work::Copy { object } => hasher.part(object.as_bytes()),
        }
        hasher.finish()
    }

    fn output(&self, program: &ProgramName, platform: Platform) -> PathBuf {
        self.request.target_dir.join("objects").join(platform.folder()).join(format!("{program}.bpf.o"))
    }

    pub(crate) fn vmlinux(&self, platform: Platform) -> Option<&Vmlinux> {
        self.headers.iter().find(|header| header.platform == platform)
    }
}
