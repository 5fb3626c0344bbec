//! Plans and statuses as the shapes of `--json` output.
//!
//! Pure. Everything that a plan depends on is in its report, so that a saved plan can be
//! compared with one that is made anew: if they differ, the saved one is stale.

use bpfkit_schemas::report::{
    GenerationReport, HookReport, HookStatusReport, LineReport, MapReport, MapStatusReport, PlanReport, ProgramReport,
    StatusReport, VERSION,
};

use crate::{
    generations::{Generation, State},
    live::{Hold, Interface, Record},
    plan::{Cleanup, HookPlan, MapBecause, MapPlan, MapSource, Mark, PinChange, Plan, Purpose, describe},
    record::RecordedSource,
    status::{Drift, HookStatus, MapStatus, Status},
};

impl From<&Plan> for PlanReport {
    fn from(plan: &Plan) -> Self {
        Self {
            version: VERSION,
            set: plan.set.to_string(),
            purpose: match plan.purpose {
                Purpose::Apply => "apply",
                Purpose::Remove => "remove",
            }
            .to_owned(),
            empty: plan.is_empty(),
            grounds: plan.grounds.clone(),
            maps: plan.maps.iter().map(map).collect(),
            hooks: plan.hooks.iter().map(hook).collect(),
            cleanup: plan
                .cleanup
                .iter()
                .map(|cleanup| match cleanup {
                    Cleanup::UnpinMap { key, map, .. } => format!("unpin map {key} (id {map})"),
                    Cleanup::Sweep(litter) => format!("remove {}", litter.path.display()),
                })
                .collect(),
            warnings: plan.warnings.iter().map(ToString::to_string).collect(),
            unchanged: plan.unchanged,
            generation: None,
        }
    }
}

fn map(plan: &MapPlan) -> MapReport {
    MapReport {
        map: plan.key.to_string(),
        shape: plan.shape.to_string(),
        reuses: match plan.source {
            MapSource::Reuse(id) => Some(id.0),
            MapSource::Create => None,
        },
        pins: plan.pin != PinChange::Keep,
        was: match plan.pin {
            PinChange::Replace { was } => Some(was.0),
            PinChange::Keep | PinChange::Pin => None,
        },
        loses_contents: matches!(plan.because, MapBecause::DataChanged { .. }),
    }
}

fn hook(plan: &HookPlan) -> HookReport {
    HookReport {
        hook: plan.point.hook.to_string(),
        interface: plan.interface.name.clone(),
        index: plan.interface.index,
        namespace: plan.interface.namespace.inode,
        netns: netns(&plan.interface),
        mode: plan.mode.to_string(),
        attach: plan.attach.map(|attach| attach.to_string()),
        engine: "fused".to_owned(),
        change: plan.verb().to_owned(),
        because: plan.because.iter().map(|because| because.words(&plan.lines)).collect(),
        seen_revision: plan.seen.revision.map(|revision| revision.0),
        seen_filters: plan.seen.filters.map(|revision| revision.0),
        seen_link: plan.seen.ours.and_then(|(hold, _)| hold.link()).map(|link| link.0),
        seen_filter: plan.seen.ours.and_then(|(hold, _)| filter(hold)),
        seen_program: plan.seen.ours.map(|(_, program)| program.0),
        programs: plan
            .lines
            .iter()
            .map(|line| LineReport {
                program: line.program.to_string(),
                change: match line.mark {
                    Mark::Same => "same",
                    Mark::Added => "added",
                    Mark::Removed => "removed",
                    Mark::Changed => "changed",
                }
                .to_owned(),
                notes: line.notes.iter().map(ToString::to_string).collect(),
                form: line.form.map(|form| form.to_string()),
            })
            .collect(),
        loads: plan.loads().map_or_else(Vec::new, programs),
        others: plan.others.iter().map(describe).collect(),
    }
}

fn programs(record: &Record) -> Vec<ProgramReport> {
    let report = |program: &crate::record::RecordedProgram| ProgramReport {
        program: program.name.to_string(),
        object: program.object.to_string(),
        entry: program.entry.clone(),
        globals: program.globals.to_string(),
        proceed_on: program.proceed_on.iter().collect(),
    };
    record.programs.iter().map(report).collect()
}

fn filter(hold: Hold) -> Option<String> {
    match hold {
        Hold::Filter(filter) => Some(filter.to_string()),
        Hold::Link(_) => None,
    }
}

fn netns(interface: &Interface) -> Option<String> {
    interface.namespace.path.as_ref().filter(|_| !interface.is_cgroup()).map(|path| path.display().to_string())
}

impl From<&Status> for StatusReport {
    fn from(status: &Status) -> Self {
        Self {
            version: VERSION,
            set: status.set.to_string(),
            drifted: status.has_drifted(),
            hooks: status.hooks.iter().map(hook_status).collect(),
            maps: status.maps.iter().map(map_status).collect(),
            leftovers: status.leftovers.clone(),
            warnings: status.waiting.iter().map(ToString::to_string).collect(),
            generations: Vec::new(),
        }
    }
}

impl Generation {
    /// The JSON form, where `live` is the number of the generation that is.
    pub fn report(&self, live: Option<u64>) -> GenerationReport {
        let (seconds_left, back_to) = match &self.state {
            State::Pending { until, back_to } => {
                let left = until.left().ok().flatten().map_or(0, |left| left.as_secs());
                (Some(left), *back_to)
            }
            State::Confirmed | State::PutBack => (None, None),
        };
        GenerationReport {
            number: self.number,
            live: live == Some(self.number),
            state: self.state_word().to_owned(),
            seconds_left,
            back_to,
            made: Some(self.made.to_string()),
            of: self.of,
            applied: Some(self.content.version.to_string()),
            reference: Some(self.reference.clone()),
        }
    }
}

fn hook_status(hook: &HookStatus) -> HookStatusReport {
    let version = |source: &Option<RecordedSource>| {
        source.as_ref().and_then(|source| source.version.as_ref()).map(ToString::to_string)
    };
    HookStatusReport {
        hook: hook.point.hook.to_string(),
        interface: hook.interface.name.clone(),
        netns: netns(&hook.interface),
        attach: hook.attach.map(|attach| attach.to_string()),
        link: hook.ours.and_then(|(hold, _)| hold.link()).map(|link| link.0),
        filter: hook.ours.and_then(|(hold, _)| filter(hold)),
        program: hook.ours.map(|(_, program)| program.0),
        programs: hook.programs.clone(),
        applied: version(&hook.applied),
        wanted: version(&hook.wanted),
        others: hook.others.iter().map(describe).collect(),
        drift: hook.drift.iter().map(Drift::to_string).collect(),
    }
}

fn map_status(map: &MapStatus) -> MapStatusReport {
    MapStatusReport {
        map: map.key.to_string(),
        id: map.live.as_ref().map(|(id, _)| id.0),
        shape: map.live.as_ref().map(|(_, shape)| shape.to_string()),
        drift: map.drift.iter().map(Drift::to_string).collect(),
    }
}
