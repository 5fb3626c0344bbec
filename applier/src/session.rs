//! One set on this host, from a trusted bundle to a plan and its outcome: the order of the steps, in one place.
//!
//! Everything that decides is elsewhere and pure ([`crate::trust`], [`crate::desired`],
//! [`crate::plan`]); everything that touches the kernel is in [`crate::kernel`].
//! `plan` and `apply` share all of it up to the last call.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use bpfkit_schemas::{
    Diagnostic, Source,
    bundle::ProgramOrigin,
    chain::{Chain, Globals, SharedMap},
    diagnostic::Diagnose,
    manifest::Manifest,
    names::{Digest, ProgramName, SetName},
    template::HostFacts,
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    desired::{Desired, DesiredError, Host, ProgramFacts, Wanted, cgroups, expand, namespaces},
    execute::{Outcome, converge},
    facts::{self, FactsError},
    fuse::{FuseProblem, GLUE_VERSION, Linker},
    kernel::{self, KernelError, LinuxKernel, Places},
    live::{Interface, LiveState},
    plan::{Plan, PlanError, plan, remove},
    record::RecordedSource,
    trust::VerifiedBundle,
};

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
}

impl Session {
    /// Takes a trusted bundle and what is declared about it. Reads the kernel's BTF; changes nothing.
    pub fn new(
        bundle: VerifiedBundle,
        declared: Declared,
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
        Ok(Self {
            set,
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

    /// The set.
    pub fn set(&self) -> &SetName {
        &self.set
    }

    /// What apply would do. Looks at the host and changes nothing.
    pub fn plan(&self) -> Result<Plan, SessionError> {
        self.plan_with(&self.kernel())
    }

    /// Makes the host match, and says what was done. Takes the host's lock; where there is nothing to do,
    /// nothing in the kernel is made or changed.
    pub fn apply(&self) -> Result<(Plan, Outcome<KernelError>), SessionError> {
        let mut kernel = self.kernel();
        let _lock = kernel.lock()?;
        converge(&self.linker, &mut kernel, |kernel| self.plan_with(kernel))
    }

    /// What this host should run, and what it does run.
    pub fn survey(&self) -> Result<(Desired, LiveState), SessionError> {
        let desired = self.desired()?;
        let live = self.kernel().observe(&asked(&desired))?;
        Ok((desired, live))
    }

    fn kernel(&self) -> LinuxKernel {
        LinuxKernel::new(self.places.clone(), self.set().clone())
    }

    fn plan_with(&self, kernel: &LinuxKernel) -> Result<Plan, SessionError> {
        let desired = self.desired()?;
        let live = kernel.observe(&asked(&desired))?;
        let plan = plan(&desired, &live)?;
        self.fusible(&plan)?;
        Ok(plan)
    }

    fn desired(&self) -> Result<Desired, SessionError> {
        let wanted = Wanted {
            set: self.set(),
            source: self.declared.source.as_ref(),
            vars: &self.declared.vars,
            chains: &self.declared.chains,
            maps: &self.declared.maps,
            programs: &self.programs,
            origin: &self.origin,
            kernel_btf: self.kernel_btf,
            glue: GLUE_VERSION,
            grounds: &self.grounds,
        };
        let mut host = Host { facts: self.facts.clone(), processors: processors(), ..Host::default() };
        if self.declared.chains.iter().any(|chain| chain.hook.is_tc()) {
            host.attach = kernel::attach()?;
        }
        for path in namespaces(&wanted, &self.facts) {
            // A path that leads to no namespace is left out: the expansion says so, with the chain's place.
            if path.as_ref().is_none_or(|path| path.exists()) {
                host.namespaces.insert(path.clone(), kernel::namespace(path.as_deref())?);
            }
        }
        for path in cgroups(&wanted, &self.facts) {
            if let Some(id) = kernel::cgroup(&path)? {
                host.cgroups.insert(path, id);
            }
        }
        Ok(expand(&wanted, &host)?)
    }

    /// Whatever a plan will load can be fused: found out before anything is touched.
    fn fusible(&self, plan: &Plan) -> Result<(), SessionError> {
        let mut problems: Vec<FuseProblem> = Vec::new();
        for record in plan.hooks.iter().filter_map(|hook| hook.loads()) {
            if let Err(found) = self.linker.fuse(record) {
                // One chain on many interfaces has its problems once.
                for problem in found {
                    if !problems.contains(&problem) {
                        problems.push(problem);
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

/// Takes a set off this host. Takes the host's lock.
pub fn take_off(set: &SetName, places: Places) -> Result<(Plan, Outcome<KernelError>), KernelError> {
    let mut kernel = LinuxKernel::new(places, set.clone());
    let _lock = kernel.lock()?;
    let taken = converge(&Linker::nothing(), &mut kernel, |kernel| Ok(remove(&kernel.observe(&[])?)));
    kernel.tidy();
    taken
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
