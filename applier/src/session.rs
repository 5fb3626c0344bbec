//! One set on this host, from a trusted bundle to a plan and its outcome: the order of the steps, in one place.
//!
//! Everything that decides is elsewhere and pure ([`crate::trust`], [`crate::desired`],
//! [`crate::plan`]); everything that touches the kernel is in [`crate::kernel`].
//! `plan` and `apply` share all of it up to the last call.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use bpfkit_bundler::Parts;
use bpfkit_schemas::{
    Diagnostic, Source,
    bundle::ProgramOrigin,
    chain::{Chain, Globals, SharedMap},
    diagnostic::Diagnose,
    manifest::Manifest,
    names::{Digest, ProgramName, SetName},
    template::HostFacts,
    trust::TrustBlock,
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    desired::{Desired, DesiredError, Host, ProgramFacts, Waiting, Wanted, cgroups, expand, namespaces},
    execute::{Outcome, converge},
    facts::{self, FactsError},
    fuse::{FuseProblem, GLUE_VERSION, Linker},
    generations::{Content, KeptWord, OwnWord},
    kernel::{self, HostLock, KernelError, LinuxKernel, Places},
    live::{Interface, LiveState},
    plan::{Plan, PlanError, plan, remove},
    record::RecordedSource,
    trust::VerifiedBundle,
};

mod absent;

/// By whose word a set is applied; what it takes to ask the same again later.
#[derive(Clone, Debug)]
pub enum Authority {
    /// The operator's own manifest, with its trust block.
    Manifest {
        /// Whom it believes, keys inlined.
        trust: TrustBlock,
    },
    /// A reference; the host's policy decides, now and later.
    Reference,
}

/// What becomes of a chain whose interface is named and isn't there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// The whole set is refused: a chain that is silently left out would be a filter that doesn't filter.
    Refuse,
    /// The chain waits, as one with a pattern does, and the others are applied: early in a boot, an
    /// interface that comes later must not leave those that are there without their chains.
    Wait,
}

/// What is declared about a bundle's programs, and by whom.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The text that spans point into, where there is one.
    pub source: Option<Arc<Source>>,
    /// `vars:`, rendered.
    pub vars: BTreeMap<String, String>,
    /// The chains.
    pub chains: Vec<Chain>,
    /// `maps:`.
    pub maps: Vec<SharedMap>,
    /// Globals by program; text may still hold host templates.
    pub globals: BTreeMap<ProgramName, Globals>,
}

impl Declared {
    /// The operator's own word: a manifest on this disk.
    ///
    /// Globals that a program was picked with from somebody's set are its defaults; the manifest's come over them.
    pub fn by_manifest(manifest: &Manifest, bundle: &VerifiedBundle) -> Self {
        let mut globals: BTreeMap<ProgramName, Globals> = BTreeMap::new();
        for program in &bundle.config().programs {
            if matches!(program.origin, ProgramOrigin::Image { .. }) {
                globals.insert(program.name.clone(), program.globals.clone());
            }
        }
        for program in &manifest.programs {
            globals.entry(program.name.clone()).or_default().extend(program.globals.clone());
        }
        Self {
            source: Some(Arc::clone(&manifest.source)),
            vars: manifest.vars.clone(),
            chains: manifest.chains.clone(),
            maps: manifest.maps.clone(),
            globals,
        }
    }

    /// Somebody else's word: what a signed set bundle says of itself.
    pub fn by_bundle(bundle: &VerifiedBundle) -> Self {
        let config = bundle.config();
        Self {
            source: None,
            vars: config.vars.clone(),
            chains: config.chains.clone(),
            maps: config.maps.clone(),
            globals: config.programs.iter().map(|p| (p.name.clone(), p.globals.clone())).collect(),
        }
    }
}

/// Why a set can't be planned or applied.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The bundle's programs can't be planned with.
    #[error("the bundle's programs can't be used")]
    Facts(Vec<FactsError>),
    /// The chains can't be expanded to this host.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Chains can't be fused.
    #[error("a chain can't be made one program")]
    Fuse(Vec<FuseProblem>),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl Diagnose for SessionError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        match self {
            Self::Facts(problems) => problems.iter().flat_map(Diagnose::diagnose).collect(),
            Self::Desired(error) => error.diagnose(),
            Self::Plan(error) => error.diagnose(),
            Self::Fuse(problems) => problems.iter().flat_map(Diagnose::diagnose).collect(),
            Self::Kernel(error) => error.diagnose(),
        }
    }
}

/// A set, trusted and described, on this host.
#[derive(Debug)]
pub struct Session {
    set: SetName,
    linker: Linker,
    declared: Declared,
    programs: Vec<ProgramFacts>,
    facts: HostFacts,
    kernel_btf: Digest,
    origin: RecordedSource,
    grounds: Vec<String>,
    places: Places,
    missing: Missing,
    content: Content,
    parts: Parts,
}

impl Session {
    /// Takes a trusted bundle and what is declared about it. Reads the kernel's BTF; changes nothing.
    pub fn new(
        bundle: VerifiedBundle,
        declared: Declared,
        authority: Authority,
        facts: HostFacts,
        places: Places,
    ) -> Result<Self, SessionError> {
        let globals = facts::render_globals(&declared.globals, &declared.vars, &facts).map_err(SessionError::Facts)?;
        let programs = facts::programs(&bundle, &globals).map_err(SessionError::Facts)?;
        let btf = kernel::kernel_btf()?;
        let kernel_btf = Digest::from_bytes(Sha256::digest(&btf).into());
        let grounds = bundle.grounds().lines();
        let set = bundle.config().set.clone();
        let origin = RecordedSource {
            reference: bundle.pinned().to_string(),
            version: Some(bundle.config().version.clone()),
            signers: grounds.clone(),
        };
        let content = content(&bundle, &declared, authority);
        let parts = bundle.parts().clone();
        Ok(Self {
            set,
            missing: Missing::Refuse,
            content,
            parts,
            linker: Linker::new(bundle, globals, btf),
            declared,
            programs,
            facts,
            kernel_btf,
            origin,
            grounds,
            places,
        })
    }

    /// Says what becomes of chains whose interfaces are named and aren't there; they are refused otherwise.
    #[must_use]
    pub fn when_missing(self, missing: Missing) -> Self {
        Self { missing, ..self }
    }

    /// Records another reference than the place where the bundle was read now: the one by which it first came.
    #[must_use]
    pub(crate) fn coming_from(mut self, reference: String) -> Self {
        self.origin.reference = reference;
        self
    }

    /// The set.
    pub fn set(&self) -> &SetName {
        &self.set
    }

    /// Where this host keeps things.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// What is applied, as a generation keeps it.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// The parts of the bundle, as they were verified.
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Where the bundle came from, and why it is believed.
    pub(crate) fn origin(&self) -> &RecordedSource {
        &self.origin
    }

    /// What apply would do. Looks at the host and changes nothing.
    pub fn plan(&self) -> Result<Plan, SessionError> {
        self.plan_with(&self.kernel())
    }

    /// Makes the host match, and says what was done; where there is nothing to do, nothing in the kernel is made or
    /// changed. `before` sees each plan before it is carried out.
    pub(crate) fn converge(
        &self,
        kernel: &mut LinuxKernel,
        _held: &HostLock,
        mut before: impl FnMut(&LinuxKernel, &Plan) -> Result<(), KernelError>,
    ) -> Result<(Plan, Outcome<KernelError>), SessionError> {
        converge(&self.linker, kernel, |kernel| {
            let plan = self.plan_with(kernel)?;
            before(kernel, &plan)?;
            Ok(plan)
        })
    }

    /// What this host should run, and what it does run.
    pub fn survey(&self) -> Result<(Desired, LiveState), SessionError> {
        let desired = self.desired()?;
        let live = self.kernel().observe(&asked(&desired))?;
        Ok((desired, live))
    }

    pub(crate) fn kernel(&self) -> LinuxKernel {
        LinuxKernel::new(self.places.clone(), self.set().clone())
    }

    pub(crate) fn plan_with(&self, kernel: &LinuxKernel) -> Result<Plan, SessionError> {
        let desired = self.desired()?;
        let live = kernel.observe(&asked(&desired))?;
        let mut plan = plan(&desired, &live)?;
        if self.missing == Missing::Wait && !self.absent()?.is_empty() {
            absent::spare(&mut plan, |point| desired.chains.contains_key(point));
        }
        self.fuse(&mut plan)?;
        Ok(plan)
    }

    fn desired(&self) -> Result<Desired, SessionError> {
        let host = self.host()?;
        if self.missing == Missing::Refuse {
            return Ok(expand(&self.wanted(&self.declared.chains), &host)?);
        }
        let (chains, absent) = absent::apart(&self.declared.chains, &self.declared.vars, &host);
        let mut desired = expand(&self.wanted(&chains), &host)?;
        desired.waiting.extend(absent);
        Ok(desired)
    }

    /// The chains whose interfaces are named and aren't there.
    pub(crate) fn absent(&self) -> Result<Vec<Waiting>, SessionError> {
        Ok(absent::apart(&self.declared.chains, &self.declared.vars, &self.host()?).1)
    }

    fn host(&self) -> Result<Host, SessionError> {
        let mut host = Host { facts: self.facts.clone(), processors: processors(), ..Host::default() };
        if self.declared.chains.iter().any(|chain| chain.hook.is_tc()) {
            host.attach = kernel::attach()?;
        }
        for path in namespaces(&self.wanted(&self.declared.chains), &self.facts) {
            // A path that leads to no namespace is left out: the expansion says so, with the chain's place.
            if path.as_ref().is_none_or(|path| path.exists()) {
                host.namespaces.insert(path.clone(), kernel::namespace(path.as_deref())?);
            }
        }
        for path in cgroups(&self.wanted(&self.declared.chains), &self.facts) {
            if let Some(id) = kernel::cgroup(&path)? {
                host.cgroups.insert(path, id);
            }
        }
        Ok(host)
    }

    fn wanted<'a>(&'a self, chains: &'a [Chain]) -> Wanted<'a> {
        Wanted {
            set: self.set(),
            source: self.declared.source.as_ref(),
            vars: &self.declared.vars,
            chains,
            maps: &self.declared.maps,
            programs: &self.programs,
            origin: &self.origin,
            kernel_btf: self.kernel_btf,
            glue: GLUE_VERSION,
            grounds: &self.grounds,
        }
    }

    /// Whatever a plan will load can be fused: found out before anything is touched, and how, noted in the plan.
    fn fuse(&self, plan: &mut Plan) -> Result<(), SessionError> {
        let mut problems: Vec<FuseProblem> = Vec::new();
        for hook in &mut plan.hooks {
            let Some(record) = hook.loads() else { continue };
            match self.linker.fuse(record) {
                Ok(chain) => hook.tell(chain.forms()),
                // One chain on many interfaces has its problems once.
                Err(found) => {
                    for problem in found {
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(SessionError::Fuse(problems)) }
    }
}

fn asked(desired: &Desired) -> Vec<(Interface, bpfkit_schemas::hook::Hook)> {
    desired.chains.iter().map(|(point, chain)| (chain.interface.clone(), point.hook)).collect()
}

/// What a set has on this host, without its manifest. Changes nothing.
pub fn observe(set: &SetName, places: Places) -> Result<LiveState, KernelError> {
    LinuxKernel::new(places, set.clone()).observe(&[])
}

/// Takes a set off this host. `before` sees each plan before it is carried out.
pub(crate) fn take_off(
    kernel: &mut LinuxKernel,
    _held: &HostLock,
    mut before: impl FnMut(&LinuxKernel, &Plan) -> Result<(), KernelError>,
) -> Result<(Plan, Outcome<KernelError>), KernelError> {
    converge(&Linker::nothing(), kernel, |kernel| {
        let plan = remove(&kernel.observe(&[])?);
        before(kernel, &plan)?;
        Ok(plan)
    })
}

/// What a generation keeps of a set that is applied.
fn content(bundle: &VerifiedBundle, declared: &Declared, authority: Authority) -> Content {
    let config = bundle.config();
    let word = match authority {
        Authority::Reference => KeptWord::Reference,
        Authority::Manifest { trust } => KeptWord::Manifest(Box::new(OwnWord {
            vars: declared.vars.clone(),
            chains: declared.chains.clone(),
            maps: declared.maps.clone(),
            globals: declared.globals.clone(),
            trust,
        })),
    };
    Content {
        bundle: bundle.pinned().digest,
        repository: config.repository.clone(),
        version: config.version.clone(),
        platform: bundle.platform(),
        word,
    }
}

/// One more than the highest processor of `/sys/devices/system/cpu/possible`; 1 where that can't be read.
///
/// An array by processor needs a place for each number up to the highest, also where numbers are left out.
fn processors() -> u32 {
    let text = fs::read_to_string(PathBuf::from("/sys/devices/system/cpu/possible")).unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|n| n.parse::<u32>().ok());
    last.map_or(1, |last| last.saturating_add(1))
}

#[cfg(test)]
mod tests;
