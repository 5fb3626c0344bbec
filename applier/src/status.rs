//! What is live of a set, and in what it has drifted: with its manifest, or from the records alone.
//!
//! Pure. Without a wish, drift is what somebody else did to what was applied: a link
//! detached or removed, a pin removed, a record damaged. With one, it is also every way in which what
//! is live isn't what is wanted.
//!
//! A record names the version that was applied, and the same bytes under another version are
//! no change to a hook, so nothing is applied for that alone. Both are shown:
//! [`HookStatus::applied`] is the record's, [`HookStatus::wanted`] the wish's.

use std::fmt::{self, Display};

use bpfkit_schemas::{hook::Attach, names::SetName};

use crate::{
    desired::Desired,
    live::{
        Attachment, Hold, HookPoint, Interface, LiveChain, LiveRecord, LiveState, MapId, MapKey, MapShape,
        OtherProgram, Pin, Presence, ProgramId,
    },
    plan::{Warning, describe, difference, long_label},
    record::RecordedSource,
};

/// What is live of a set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// The set.
    pub set: SetName,
    /// Its hooks: those where it is, and those where it should be.
    pub hooks: Vec<HookStatus>,
    /// Its maps.
    pub maps: Vec<MapStatus>,
    /// What lies in its directory and belongs to nothing.
    pub leftovers: Vec<String>,
    /// Chains that wait for an interface; no drift.
    pub waiting: Vec<Warning>,
}

/// One hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HookStatus {
    /// The hook.
    pub point: HookPoint,
    /// Its interface.
    pub interface: Interface,
    /// What holds the live chain, and its program.
    pub ours: Option<(Hold, ProgramId)>,
    /// How the chain is attached, at a tc hook.
    pub attach: Option<Attach>,
    /// The programs that the live chain runs, in order.
    pub programs: Vec<String>,
    /// Where what is live came from.
    pub applied: Option<RecordedSource>,
    /// Where what is wanted comes from, where the wish is known and wants this hook.
    pub wanted: Option<RecordedSource>,
    /// Everybody else at the hook.
    pub others: Vec<OtherProgram>,
    /// In what it has drifted. Empty where all is well.
    pub drift: Vec<Drift>,
    /// The hook, with how the chain is realised, for people.
    label: String,
}

/// One map.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MapStatus {
    /// Which.
    pub key: MapKey,
    /// Its id and shape, where it is live.
    pub live: Option<(MapId, MapShape)>,
    /// In what it has drifted.
    pub drift: Vec<Drift>,
}

/// One way in which what is live isn't what was applied or is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Drift {
    /// Somebody detached our link.
    Detached,
    /// Our link's or map's pin is gone.
    PinGone,
    /// Our link is gone: somebody removed it.
    LinkGone,
    /// Our filter is gone: somebody removed or replaced it.
    FilterGone,
    /// The chain is attached by tcx and by clsact: a run was killed between the two.
    AttachedTwice,
    /// The chain is attached in another way than the wanted one.
    AttachDiffers {
        /// How it should be.
        wanted: Attach,
    },
    /// The interface is gone.
    InterfaceGone,
    /// The cgroup is gone.
    CgroupGone,
    /// The chain's record can't be read; why.
    RecordUnreadable(String),
    /// Somebody else's program is where ours should be.
    TakenBy(Vec<OtherProgram>),
    /// Nothing is attached where the manifest wants a chain.
    NotAttached,
    /// A chain is attached where the manifest wants none.
    NotWanted,
    /// The chain isn't the wanted one; program by program, where they differ.
    ChainDiffers(Vec<String>),
    /// XDP runs in another mode than the wanted one.
    ModeDiffers,
    /// A chain uses another map than the one that is pinned.
    AnotherMapIsPinned,
    /// The map has another shape than the programs declare.
    ShapeDiffers {
        /// What they declare.
        wanted: MapShape,
    },
}

/// Says what is live of a set and in what it has drifted, from `wanted` if that is known.
pub fn status(live: &LiveState, wanted: Option<&Desired>) -> Status {
    let missing =
        wanted.into_iter().flat_map(|wanted| wanted.chains.keys()).filter(|point| !live.points.contains_key(point));
    let mut points: Vec<_> = live.points.keys().chain(missing).copied().collect();
    points.sort();
    Status {
        set: live.set.clone(),
        hooks: points.into_iter().filter_map(|point| hook(point, live, wanted)).collect(),
        maps: maps(live, wanted),
        leftovers: live.litter.iter().map(|litter| litter.path.display().to_string()).collect(),
        waiting: wanted.map_or_else(Vec::new, |wanted| wanted.waiting.iter().cloned().map(Warning::Waiting).collect()),
    }
}

/// One hook; `None` where the set is not and need not be.
fn hook(point: HookPoint, live: &LiveState, wanted: Option<&Desired>) -> Option<HookStatus> {
    let at = live.points.get(&point);
    let ours = at.and_then(|at| at.ours.as_ref());
    let chain = wanted.and_then(|wanted| wanted.chains.get(&point));
    let interface = at.map(|at| &at.interface).or_else(|| chain.map(|chain| &chain.interface))?.clone();
    let lost = at.and_then(|at| at.lost.as_ref());
    if ours.is_none() && chain.is_none() && lost.is_none() {
        return None;
    }
    let mut drift = Vec::new();
    let others = at.map_or_else(Vec::new, |at| at.others.clone());
    if at.is_some_and(|at| at.presence == Presence::Gone) {
        drift.push(if point.hook.is_cgroup() { Drift::CgroupGone } else { Drift::InterfaceGone });
    } else if let Some(ours) = ours {
        drift.extend(of_link(ours));
    }
    drift.extend(lost.map(|lost| if lost.was_filter() { Drift::FilterGone } else { Drift::LinkGone }));
    if at.is_some_and(|at| at.twin.is_some()) {
        drift.push(Drift::AttachedTwice);
    }
    let attached = ours.is_some_and(|ours| ours.attachment == Attachment::Attached);
    if !attached && point.hook.is_exclusive() && !others.is_empty() {
        drift.push(Drift::TakenBy(others.clone()));
    }
    match (ours, chain) {
        (None, Some(_)) if lost.is_none() => drift.push(Drift::NotAttached),
        (Some(_), None) if wanted.is_some() => drift.push(Drift::NotWanted),
        (Some(ours), Some(chain)) => {
            if let LiveRecord::Read(record) = &ours.record
                && !record.runs_like(&chain.record)
            {
                drift.push(Drift::ChainDiffers(difference(record, &chain.record)));
            }
            if let Some(wanted) = chain.attach.filter(|wanted| ours.attach(point.hook) != Some(*wanted)) {
                drift.push(Drift::AttachDiffers { wanted });
            }
            if point.hook.is_exclusive() && ours.mode != chain.record.mode {
                drift.push(Drift::ModeDiffers);
            }
        }
        _ => {}
    }
    let record = ours.map(|ours| &ours.record).or_else(|| lost.map(|lost| &lost.record)).and_then(LiveRecord::read);
    let mode = ours.map(|ours| ours.mode).or_else(|| chain.map(|chain| chain.record.mode));
    let mode = mode.or_else(|| record.map(|record| record.mode)).unwrap_or_default();
    let attach = ours.and_then(|ours| ours.attach(point.hook)).or_else(|| match lost {
        Some(lost) => point.hook.is_tc().then_some(if lost.was_filter() { Attach::Clsact } else { Attach::Tcx }),
        None => chain.and_then(|chain| chain.attach),
    });
    Some(HookStatus {
        point,
        label: long_label(point.hook, &interface, mode, attach),
        interface,
        ours: ours.map(|ours| (ours.hold, ours.program)),
        attach,
        programs: record.map_or_else(Vec::new, |record| record.programs.iter().map(|p| p.name.to_string()).collect()),
        applied: record.map(|record| record.source.clone()),
        wanted: chain.map(|chain| chain.record.source.clone()),
        others,
        drift,
    })
}

fn of_link(ours: &LiveChain) -> impl Iterator<Item = Drift> {
    let detached = (ours.attachment == Attachment::Detached).then_some(Drift::Detached);
    let unpinned = (ours.pin == Pin::Gone).then_some(Drift::PinGone);
    let unreadable = match &ours.record {
        LiveRecord::Unreadable(why) => Some(Drift::RecordUnreadable(why.clone())),
        LiveRecord::Read(_) => None,
    };
    [detached, unpinned, unreadable].into_iter().flatten()
}

fn maps(live: &LiveState, wanted: Option<&Desired>) -> Vec<MapStatus> {
    let chains: Vec<_> = live
        .points
        .values()
        .filter_map(|at| at.ours.as_ref())
        .filter(|ours| ours.attachment == Attachment::Attached)
        .collect();
    let used = |key: &MapKey| chains.iter().filter_map(|ours| ours.maps.get(key)).collect::<Vec<_>>();
    let mut keys: Vec<_> = live.maps.keys().chain(chains.iter().flat_map(|ours| ours.maps.keys())).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(|key| {
            let (pinned, used) = (live.maps.get(key), used(key));
            let mut drift = Vec::new();
            match pinned {
                None => drift.push(Drift::PinGone),
                Some(pin) if used.iter().any(|map| map.id != pin.id) => drift.push(Drift::AnotherMapIsPinned),
                Some(_) => {}
            }
            let map = pinned.or_else(|| used.first().copied());
            match wanted.map(|wanted| wanted.maps.get(key)) {
                Some(None) => drift.push(Drift::NotWanted),
                Some(Some(declared)) if map.is_some_and(|map| !map.shape.serves(&declared.shape, key)) => {
                    drift.push(Drift::ShapeDiffers { wanted: declared.shape.clone() });
                }
                _ => {}
            }
            MapStatus { key: key.clone(), live: map.map(|map| (map.id, map.shape.clone())), drift }
        })
        .collect()
}

impl Status {
    /// Whether anything has drifted: `status` exits 3 then.
    pub fn has_drifted(&self) -> bool {
        !self.leftovers.is_empty()
            || self.hooks.iter().any(|hook| !hook.drift.is_empty())
            || self.maps.iter().any(|map| !map.drift.is_empty())
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hooks.is_empty() && self.maps.is_empty() && self.leftovers.is_empty() {
            writeln!(f, "set {}: not on this host", self.set)?;
        } else {
            writeln!(f, "set {}{}", self.set, if self.has_drifted() { ": drifted" } else { "" })?;
        }
        for hook in &self.hooks {
            write!(f, "{hook}")?;
        }
        if !self.maps.is_empty() {
            writeln!(f, "  maps")?;
        }
        for map in &self.maps {
            match &map.live {
                Some((_, shape)) => writeln!(f, "    {}: {shape}", map.key)?,
                None => writeln!(f, "    {}", map.key)?,
            }
            for drift in &map.drift {
                writeln!(f, "      ! {drift}")?;
            }
        }
        for path in &self.leftovers {
            writeln!(f, "  leftover: {}", path.escape_default())?;
        }
        for waiting in &self.waiting {
            writeln!(f, "  warning: {waiting}")?;
        }
        Ok(())
    }
}

impl Display for HookStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {}: {}",
            self.label,
            if self.programs.is_empty() { "-".to_owned() } else { self.programs.join(", ") }
        )?;
        let version = |source: &Option<RecordedSource>| source.as_ref().and_then(|source| source.version.clone());
        match (version(&self.applied), version(&self.wanted)) {
            (Some(applied), Some(wanted)) if applied != wanted => write!(f, " ({applied}; wanted {wanted})")?,
            (Some(applied), _) => write!(f, " ({applied})")?,
            _ => {}
        }
        writeln!(f)?;
        for drift in &self.drift {
            writeln!(f, "    ! {drift}")?;
        }
        let others: Vec<_> = self.others.iter().map(describe).collect();
        if !others.is_empty() {
            writeln!(f, "    beside {}", others.join(", "))?;
        }
        Ok(())
    }
}

impl Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => f.write_str("somebody detached it"),
            Self::PinGone => f.write_str("its pin is gone"),
            Self::LinkGone => f.write_str("its link is gone: somebody removed it"),
            Self::FilterGone => f.write_str("its filter is gone: somebody removed or replaced it"),
            Self::AttachedTwice => f.write_str("attached by both tcx and clsact"),
            Self::AttachDiffers { wanted } => write!(f, "not attached by {wanted}, as declared"),
            Self::CgroupGone => f.write_str("its cgroup is gone"),
            Self::InterfaceGone => f.write_str("its interface is gone"),
            Self::RecordUnreadable(why) => write!(f, "its record can't be read ({})", why.escape_default()),
            Self::TakenBy(others) => {
                let others: Vec<_> = others.iter().map(describe).collect();
                write!(f, "the hook is taken by {}", others.join(", "))
            }
            Self::NotAttached => f.write_str("not attached"),
            Self::NotWanted => f.write_str("not in the manifest"),
            Self::ChainDiffers(lines) => write!(f, "not the declared chain: {}", lines.join("; ")),
            Self::ModeDiffers => f.write_str("not the declared mode"),
            Self::AnotherMapIsPinned => f.write_str("a chain uses another map than the one that is pinned"),
            Self::ShapeDiffers { wanted } => write!(f, "the programs declare {wanted}"),
        }
    }
}
