//! Carries a build plan out: makes what isn't there yet, in parallel, and checks everything.
//!
//! Spawns compilers and writes below the target folder. There is nothing to
//! decide here but whether a result still holds; a build with nothing to do
//! starts no process and writes no file.
//!
//! # What always holds
//!
//! 1. *Whole or not at all.* Every file is written aside and renamed; a build that
//!    is killed leaves the old object or the new one.
//! 2. *Unchanged bytes are not touched*, so `make` and `ninja` stop there.
//! 3. *Every failure is reported*, in the manifest's order, after all that could be built was.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bpfkit_objects::btf::Btf;
use bpfkit_schemas::{
    Code, Diagnostic, Digest, Platform, ProgramName,
    manifest::{Program, ProgramSource},
    object::{ObjectDescriptor, ProgramType},
};

use crate::{
    check,
    compile::{self, Failure},
    depfile,
    digest::digest_of,
    error::{BuildErrors, Place, build_of},
    files::{self, FileDigests},
    headers,
    jobs::Jobs,
    object,
    plan::{BuildPlan, Step, Work, libbpf_folder},
    state::{Record, State, content},
    strip, vmlinux,
};

/// An object that is there, checked against the manifest.
#[derive(Clone, Debug)]
pub struct Built {
    /// The program of the manifest.
    pub program: ProgramName,
    /// What it was built for.
    pub platform: Platform,
    /// Where the object is, as the user would spell it.
    pub path: PathBuf,
    /// What it holds; its digest is that of the file.
    pub descriptor: ObjectDescriptor,
    /// The function that the manifest's program means.
    pub entry: String,
    /// That function's type.
    pub kind: ProgramType,
    /// The files beside the manifest that the object was made from, by their path relative to it.
    pub files: BTreeMap<String, Digest>,
    /// Whether this run had anything to do for it.
    pub freshness: Freshness,
    /// What should be known about it.
    pub warnings: Vec<Diagnostic>,
    /// What the compiler said when it was compiled (its warnings), in this run or an earlier one.
    pub said: String,
}

impl Built {
    /// Reads the object, and makes sure that it is still the one that was checked.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let bytes = fs::read(&self.path)?;
        if digest_of(&bytes) == self.descriptor.digest {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it was changed after it was built"))
        }
    }
}

/// Whether an object had to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// It was there, from the same inputs.
    UpToDate,
    /// It was made in this run.
    Made,
}

/// What happens, while it happens. May come from several threads, one event at a time for each program.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Another build is at work in the same target folder; this one waits.
    Waiting,
    /// It is known what there is to do.
    Planned {
        /// All objects.
        objects: usize,
        /// Those that have to be made.
        stale: usize,
    },
    /// A `vmlinux.h` is being generated.
    Header {
        /// For that platform.
        platform: Platform,
    },
    /// An object is being made.
    Started {
        /// Its program.
        program: &'a ProgramName,
        /// Its platform.
        platform: Platform,
    },
    /// The compiler's own words, whole, coloured if that was asked for.
    Said {
        /// About that program.
        program: &'a ProgramName,
        /// For that platform.
        platform: Platform,
        /// The words.
        bytes: &'a [u8],
    },
    /// An object is done, or failed.
    Finished {
        /// Its program.
        program: &'a ProgramName,
        /// Its platform.
        platform: Platform,
        /// Whether it is there now.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
}

/// How making an object ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It has other bytes than before, or is new.
    Changed,
    /// It has the same bytes as before, and wasn't touched.
    Unchanged,
    /// There is no new object.
    Failed,
}

/// How often what was done is written down during a long build.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// Carries out a plan. The results are in the plan's order.
pub fn run(plan: &BuildPlan, events: &(dyn Fn(Event) + Sync)) -> Result<Vec<Built>, BuildErrors> {
    let place = Folders::of(plan);
    let _lock = place.lock(events).map_err(|error| unwritable(&place.cache, &error))?;
    let mut state = State::read(&place.state);
    let before = serde_json::to_vec(&(&state.headers, &state.objects)).unwrap_or_default();
    let digests = FileDigests::new(std::mem::take(&mut state.seen));
    ensure_headers(plan, &mut state, &digests, events)?;

    let context = Context { plan, place: &place, digests: &digests, events };
    let outdated: Vec<&Step> = plan.steps.iter().filter(|step| !context.is_fresh(step, &state)).collect();
    events(Event::Planned { objects: plan.steps.len(), stale: outdated.len() });
    let mut failed = BTreeMap::new();
    if !outdated.is_empty() {
        // Left by a build that was killed; nobody else is here, we hold the lock.
        let _ = fs::remove_dir_all(&place.scratch);
        context.make_all(&outdated, &mut state, &mut failed);
        let _ = fs::remove_dir_all(&place.scratch);
    }
    if serde_json::to_vec(&(&state.headers, &state.objects)).unwrap_or_default() != before {
        context.save(&mut state).map_err(|error| unwritable(&place.state, &error))?;
    }
    let made: BTreeSet<String> = outdated.iter().map(|step| record_name(step)).collect();
    context.collect(&made, &state, failed)
}

/// The files of `files` (paths relative to `root`) whose content is another now, or that are gone. Sorted.
pub fn files_changed(root: &Path, files: &BTreeMap<String, Digest>) -> Vec<String> {
    let same = |name: &str, digest: &Digest| fs::read(root.join(name)).is_ok_and(|bytes| digest_of(&bytes) == *digest);
    files.iter().filter(|(name, digest)| !same(name, digest)).map(|(name, _)| name.clone()).collect()
}

/// Where things lie below the target folder.
struct Folders {
    cache: PathBuf,
    scratch: PathBuf,
    state: PathBuf,
}

impl Folders {
    fn of(plan: &BuildPlan) -> Self {
        let cache = plan.request.target_dir.join("cache");
        Self { scratch: cache.join("tmp"), state: cache.join("build.json"), cache }
    }

    /// Keeps other builds out of the same target folder, for as long as the file is open.
    fn lock(&self, events: &(dyn Fn(Event) + Sync)) -> io::Result<File> {
        fs::create_dir_all(&self.cache)?;
        let file = File::options().create(true).truncate(false).write(true).open(self.cache.join("lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                events(Event::Waiting);
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(file)
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(Code::OUTPUT_UNWRITABLE, format!("`{}` can't be written", path.display())).caused_by(error)
}

/// Lays out the headers that steps include, where they aren't there as they should be.
fn ensure_headers(
    plan: &BuildPlan,
    state: &mut State,
    digests: &FileDigests,
    events: &(dyn Fn(Event) + Sync),
) -> Result<(), BuildErrors> {
    if plan.headers.is_empty() {
        return Ok(());
    }
    let is_there = |state: &State, name: &str, path: &Path| {
        let known = state.headers.get(name);
        known.is_some() && digests.digest(path) == known.copied()
    };
    let write = |state: &mut State, name: String, path: &Path, text: &str| {
        files::write_if_changed(path, text.as_bytes()).map_err(|error| unwritable(path, &error))?;
        let digest = digest_of(text.as_bytes());
        digests.wrote(path, digest);
        state.headers.insert(name, digest);
        Ok::<(), BuildErrors>(())
    };
    for (file, text) in headers::LIBBPF {
        let name = format!("{}/bpf/{file}", libbpf_folder());
        let path = plan.include.join(&name);
        if !is_there(state, &name, &path) {
            write(state, name, &path, text)?;
        }
    }
    for header in &plan.headers {
        let name = format!("{}/vmlinux.h", header.folder);
        let path = plan.include.join(&name);
        if !is_there(state, &name, &path) {
            events(Event::Header { platform: header.platform });
            let bytes = header.btf.bytes()?;
            let btf = Btf::parse(&bytes).map_err(|error| {
                let title = format!("the BTF for {} is damaged", header.platform);
                Diagnostic::error(Code::BTF_UNUSABLE, title).caused_by(&error).help("use `btf: default`")
            })?;
            let text = vmlinux::header(&btf).map_err(|error| {
                let title = format!("the BTF for {} can't be turned into `vmlinux.h`", header.platform);
                Diagnostic::error(Code::BTF_UNUSABLE, title).caused_by(&error).help("use `btf: default`")
            })?;
            write(state, name, &path, &text)?;
        }
    }
    Ok(())
}

/// What making objects needs to know.
struct Context<'a> {
    plan: &'a BuildPlan<'a>,
    place: &'a Folders,
    digests: &'a FileDigests,
    events: &'a (dyn Fn(Event) + Sync),
}

fn record_name(step: &Step) -> String {
    format!("{}/{}", step.platform.folder(), step.program)
}

impl Context<'_> {
    fn is_fresh(&self, step: &Step, state: &State) -> bool {
        state.objects.get(&record_name(step)).is_some_and(|record| {
            record.key == step.key
                && self.digests.digest(&real(&step.output)) == Some(record.descriptor.digest)
                && content(&record.inputs, |name| self.plan.project.locate(name), self.digests) == Some(record.content)
                && depfile_path(&step.output).exists()
        })
    }

    /// Makes the outdated objects, as many at once as there are tokens.
    fn make_all(&self, outdated: &[&Step], state: &mut State, failed: &mut BTreeMap<String, Vec<Diagnostic>>) {
        // The one environment variable that changes a build, and not its result.
        let jobs = Jobs::new(self.plan.request.jobs, std::env::var_os("MAKEFLAGS").as_deref());
        let mut saved = Instant::now();
        thread::scope(|scope| {
            let (send, receive) = mpsc::channel();
            let mut queue = outdated.iter().copied().peekable();
            let mut running = 0_usize;
            loop {
                while queue.peek().is_some()
                    && let Some(token) = jobs.take(running)
                    && let Some(step) = queue.next()
                {
                    running += 1;
                    let send = send.clone();
                    scope.spawn(move || {
                        let result = self.make_one(step);
                        drop(token);
                        // The receiver outlives every sender: it counts them.
                        let _ = send.send((step, result));
                    });
                }
                if running == 0 {
                    break;
                }
                // make's tokens come back when others are done, which no channel of ours tells.
                let wait =
                    if jobs.is_shared() && queue.peek().is_some() { Duration::from_millis(10) } else { SAVE_EVERY };
                let Ok((step, result)) = receive.recv_timeout(wait) else { continue };
                running -= 1;
                match result {
                    Ok(record) => drop(state.objects.insert(record_name(step), record)),
                    Err(problems) => {
                        state.objects.remove(&record_name(step));
                        failed.insert(record_name(step), problems);
                    }
                }
                if saved.elapsed() > SAVE_EVERY {
                    // Only so that a build that is killed hasn't lost everything; the last write is the one that counts.
                    let _ = self.save(state);
                    saved = Instant::now();
                }
            }
        });
    }

    fn save(&self, state: &mut State) -> io::Result<()> {
        state.seen = self.digests.seen();
        state.write(&self.place.state)
    }

    fn make_one(&self, step: &Step) -> Result<Record, Vec<Diagnostic>> {
        let (program, platform) = (&step.program, step.platform);
        (self.events)(Event::Started { program, platform });
        let start = Instant::now();
        let result = self.make(step);
        let outcome = match &result {
            Ok((_, files::Wrote::New)) => Outcome::Changed,
            Ok((_, files::Wrote::Nothing)) => Outcome::Unchanged,
            Err(_) => Outcome::Failed,
        };
        (self.events)(Event::Finished { program, platform, outcome, took: start.elapsed() });
        result.map(|(record, _)| record)
    }

    fn make(&self, step: &Step) -> Result<(Record, files::Wrote), Vec<Diagnostic>> {
        let place = self.place_of(step);
        let what = build_of(&step.program, step.platform);
        let (bytes, inputs, said) = match &step.work {
            Work::Copy { object } => {
                let bytes = fs::read(self.plan.project.locate(object)).map_err(|error| {
                    vec![place.error(Code::INPUT_UNREADABLE, format!("`{object}` can't be read"), "").caused_by(&error)]
                })?;
                (bytes, vec![object.clone()], Vec::new())
            }
            Work::Compile { argv, source } => {
                let compiled = self.compile(step, argv, source)?;
                let bytes = strip::without_dwarf(&compiled.object).map_err(|error| {
                    vec![
                        place
                            .error(Code::COMPILE_FAILED, format!("what clang made of {what} is no object"), "")
                            .caused_by(&error),
                    ]
                })?;
                let mut inputs: Vec<String> =
                    compiled.inputs.iter().map(|input| self.plan.project.name(input)).collect();
                inputs.sort();
                inputs.dedup();
                (bytes, inputs, compiled.said)
            }
        };
        let descriptor = object::describe(&bytes, &place, &what)?;
        let locate = |name: &str| self.plan.project.locate(name);
        let content = content(&inputs, locate, self.digests).ok_or_else(|| {
            vec![place.error(Code::SOURCE_CHANGED, format!("a source of {what} vanished while it was compiled"), "")]
        })?;
        let put = |path: &Path, bytes: &[u8]| {
            files::write_if_changed(path, bytes).map_err(|error| vec![unwritable(path, &error)])
        };
        let wrote = put(&step.output, &bytes)?;
        self.digests.wrote(&real(&step.output), descriptor.digest);
        put(&depfile_path(&step.output), self.depfile(step, &inputs).as_bytes())?;
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok((Record { key: step.key, inputs, content, descriptor, said }, wrote))
    }

    fn compile(&self, step: &Step, argv: &[String], source: &str) -> Result<compile::Compiled, Vec<Diagnostic>> {
        let place = self.place_of(step);
        let what = build_of(&step.program, step.platform);
        let clang = self.plan.clang.as_deref().unwrap_or(Path::new("clang"));
        let scratch = fs::create_dir_all(&self.place.scratch)
            .and_then(|()| tempfile::tempdir_in(&self.place.scratch))
            .and_then(|folder| Ok((fs::canonicalize(folder.path())?, folder)))
            .map_err(|error| vec![unwritable(&self.place.scratch, &error)])?;
        let result = compile::compile(clang, argv, self.plan.request.colour, self.plan.project.real(), &scratch.0);
        let said = match &result {
            Ok(compiled) => compiled.said.as_slice(),
            Err(Failure::Refused { said } | Failure::Stopped { said, .. }) => said.as_slice(),
            Err(Failure::Changing { .. } | Failure::Io(_)) => &[],
        };
        if !said.is_empty() {
            (self.events)(Event::Said { program: &step.program, platform: step.platform, bytes: said });
        }
        let compiled = result.map_err(|failure| {
            vec![match failure {
                Failure::Refused { .. } => {
                    place.error(Code::COMPILE_FAILED, format!("clang refused {what}"), "this source")
                }
                Failure::Stopped { status, .. } => place
                    .error(
                        Code::COMPILER_UNUSABLE,
                        format!("clang was stopped while it compiled {what}"),
                        "this source",
                    )
                    .cause(status.to_string()),
                Failure::Changing { input } => place
                    .error(Code::SOURCE_CHANGED, format!("`{}` changed while {what} was compiled", input.display()), "")
                    .help("build again"),
                Failure::Io(error) => {
                    Diagnostic::error(Code::COMPILER_UNUSABLE, format!("`{}` can't be run", clang.display()))
                        .caused_by(&error)
                }
            }]
        })?;
        self.refuse_strangers(&compiled.inputs, clang, &place, source).map(|()| compiled)
    }

    /// A source may include the project's headers, ours, the system's and the compiler's own, and no others:
    /// a path in an `#include` could otherwise pull any file of this machine into an object.
    fn refuse_strangers(
        &self,
        inputs: &[PathBuf],
        clang: &Path,
        place: &Place,
        source: &str,
    ) -> Result<(), Vec<Diagnostic>> {
        let clang_home = fs::canonicalize(clang).ok().and_then(|path| Some(path.parent()?.parent()?.to_owned()));
        let system = ["/usr/include", "/usr/local/include", "/usr/lib"].map(PathBuf::from);
        let homes: Vec<PathBuf> = system.into_iter().chain(clang_home).chain([self.plan.include.clone()]).collect();
        let outside = |name: &str| name.starts_with('/') && !homes.iter().any(|home| Path::new(name).starts_with(home));
        let strangers: Vec<String> =
            inputs.iter().map(|input| self.plan.project.name(input)).filter(|name| outside(name)).collect();
        let report = |name: &String| {
            place
                .error(
                    Code::PATH_LEAVES_PROJECT,
                    format!("`{source}` includes `{name}`"),
                    "includes a file from outside the project",
                )
                .help("copy the header into the manifest's folder")
        };
        if strangers.is_empty() { Ok(()) } else { Err(strangers.iter().map(report).collect()) }
    }

    /// The rule for make: the object depends on everything that was read, the manifest and the compiler.
    fn depfile(&self, step: &Step, inputs: &[String]) -> String {
        let project = &self.plan.project;
        let mut names: Vec<PathBuf> = inputs.iter().map(|name| project.spell(name)).collect();
        names.push(PathBuf::from(&self.plan.request.manifest.source.name));
        if matches!(step.work, Work::Compile { .. }) {
            names.extend(self.plan.clang.clone());
        }
        depfile::render(&step.output, &names)
    }

    /// Checks every object that is there and puts everything into the plan's order.
    fn collect(
        &self,
        made: &BTreeSet<String>,
        state: &State,
        mut failed: BTreeMap<String, Vec<Diagnostic>>,
    ) -> Result<Vec<Built>, BuildErrors> {
        let manifest = self.plan.request.manifest;
        let include = self.plan.project.name(&self.plan.include);
        let (mut built, mut problems) = (Vec::new(), Vec::new());
        for step in &self.plan.steps {
            let name = record_name(step);
            problems.extend(failed.remove(&name).unwrap_or_default());
            let (Some(record), Some(program)) = (state.objects.get(&name), self.program(step)) else { continue };
            match check::object(manifest, program, &record.descriptor) {
                // Two platforms of one source have the same problems; say them once.
                Err(found) => {
                    let new: Vec<_> = found.into_iter().filter(|problem| !problems.contains(problem)).collect();
                    problems.extend(new);
                }
                Ok(chosen) => {
                    let beside = |input: &&String| !input.starts_with('/') && !Path::new(input).starts_with(&include);
                    let digest =
                        |input: &String| Some((input.clone(), self.digests.digest(&self.plan.project.locate(input))?));
                    built.push(Built {
                        program: step.program.clone(),
                        platform: step.platform,
                        path: step.output.clone(),
                        descriptor: record.descriptor.clone(),
                        entry: chosen.entry,
                        kind: chosen.kind,
                        files: record.inputs.iter().filter(beside).filter_map(digest).collect(),
                        freshness: if made.contains(&name) { Freshness::Made } else { Freshness::UpToDate },
                        warnings: chosen.warnings,
                        said: record.said.clone(),
                    });
                }
            }
        }
        if problems.is_empty() {
            problems = check::maps(manifest, built.iter().map(|built| &built.descriptor));
        }
        BuildErrors::none_or(problems).map(|()| built)
    }

    fn program(&self, step: &Step) -> Option<&Program> {
        self.plan.request.manifest.program(&step.program)
    }

    /// The `source:` or `object:` of a step's program.
    fn place_of(&self, step: &Step) -> Place {
        let span = match self.program(step).map(|program| &program.from) {
            Some(ProgramSource::C(_, span) | ProgramSource::Object(_, span)) => *span,
            _ => bpfkit_schemas::Span::default(),
        };
        Place { source: self.plan.request.manifest.source.clone(), span }
    }
}

fn depfile_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".d");
    name.into()
}

/// An absolute name for an output, to remember it by.
fn real(output: &Path) -> PathBuf {
    std::path::absolute(output).unwrap_or_else(|_| output.to_owned())
}
