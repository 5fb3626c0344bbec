//! Decides for each map of the set where it comes from and what becomes of its pin.
//!
//! A map that a live chain uses comes before one that is only pinned: what is in it is
//! what the traffic put there. The two differ only after somebody removed or moved a
//! pin, or after a run was killed between moving pins and changing hooks.

use std::collections::{BTreeMap, BTreeSet};

use super::{MapBecause, MapPlan, MapSource, PinChange, PlanProblem};
use crate::{
    desired::{Desired, DesiredMap},
    live::{Attachment, HookPoint, LiveMap, LiveState, MapId, MapKey},
};

/// Decides for every map that an attached chain needs. A chain that waits keeps its maps as they are.
pub(super) fn decide(
    desired: &Desired,
    live: &LiveState,
    problems: &mut Vec<PlanProblem>,
) -> BTreeMap<MapKey, MapPlan> {
    let active: BTreeSet<MapKey> = desired.chains.values().flat_map(|chain| chain.record.map_keys()).collect();
    let used = users(live);
    let mut plans = BTreeMap::new();
    for key in active {
        let Some(wanted) = desired.maps.get(&key) else { continue };
        let used = used.get(&key).map_or(&[][..], Vec::as_slice);
        if let Some(plan) = one(&key, wanted, live.maps.get(&key), used, problems) {
            plans.insert(key, plan);
        }
    }
    plans
}

/// The maps that attached chains use, by key, those of lower id first.
fn users(live: &LiveState) -> BTreeMap<MapKey, Vec<(LiveMap, HookPoint)>> {
    let mut used: BTreeMap<MapKey, Vec<(LiveMap, HookPoint)>> = BTreeMap::new();
    for (point, at) in &live.points {
        let Some(ours) = at.ours.as_ref().filter(|ours| ours.attachment == Attachment::Attached) else { continue };
        for (key, map) in &ours.maps {
            used.entry(key.clone()).or_default().push((map.clone(), *point));
        }
    }
    for maps in used.values_mut() {
        maps.sort_by_key(|(map, point)| (map.id, *point));
    }
    used
}

/// What becomes of one map; `None` where that is a problem.
fn one(
    key: &MapKey,
    wanted: &DesiredMap,
    pinned: Option<&LiveMap>,
    used: &[(LiveMap, HookPoint)],
    problems: &mut Vec<PlanProblem>,
) -> Option<MapPlan> {
    let serves = |map: &LiveMap| map.shape.serves(&wanted.shape, key);
    let is_used = |id: MapId| used.iter().any(|(map, _)| map.id == id);

    let of_chain = used.iter().map(|(map, _)| map).find(|map| serves(map));
    let of_pin = pinned.filter(|map| serves(map));
    let chosen = match (of_pin, of_chain) {
        (Some(pin), Some(_)) if is_used(pin.id) => Some(pin),
        (_, Some(chain)) => Some(chain),
        (pin, None) => pin,
    };
    let shape = wanted.shape.clone();
    let Some(chosen) = chosen else {
        let misfit = pinned.or_else(|| used.first().map(|(map, _)| map));
        let because = match misfit {
            None => MapBecause::NotThereYet,
            Some(misfit) if key.is_data() => MapBecause::DataChanged { from: misfit.shape.clone() },
            Some(misfit) => {
                problems.push(PlanProblem::MapShape {
                    key: key.clone(),
                    programs: wanted.programs.clone(),
                    live: misfit.shape.clone(),
                    wanted: shape,
                });
                return None;
            }
        };
        let pin = pinned.map_or(PinChange::Pin, |map| PinChange::Replace { was: map.id });
        return Some(MapPlan { key: key.clone(), shape, source: MapSource::Create, pin, because });
    };
    let (pin, because) = match pinned {
        None => (PinChange::Pin, MapBecause::PinGone),
        Some(map) if map.id == chosen.id => (PinChange::Keep, MapBecause::InUse),
        Some(map) => (PinChange::Replace { was: map.id }, MapBecause::PinIsAnother),
    };
    Some(MapPlan { key: key.clone(), shape, source: MapSource::Reuse(chosen.id), pin, because })
}
