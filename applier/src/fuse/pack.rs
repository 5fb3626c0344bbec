//! Constants of several programs in one map, where a chain would use more maps than the kernel allows.
//!
//! Pure. The images lie one after the other, each at a multiple of eight, and the loads'
//! offsets move with them. Nobody can write the map, so that programs share nothing by it
//! but the number of the map.

use std::collections::BTreeMap;

use bpfkit_objects::insn::{Insn, PSEUDO_MAP_VALUE};

use super::{Component, Fused, FusedMap, MAX_MAPS};

/// Packs the constants of `fused`, made of `components`, if it would use too many maps.
pub(super) fn pack(fused: &mut Fused, components: &[&Component]) {
    if fused.maps().len() <= MAX_MAPS {
        return;
    }
    let mut places = BTreeMap::new();
    for component in components {
        for (name, constants) in component.constants() {
            let map = FusedMap::Constant(component.name().clone(), name.clone());
            if !packable(fused, &map) {
                continue;
            }
            let image = fused.packed.entry(constants.flags).or_default();
            image.resize(image.len().next_multiple_of(8), 0);
            places.insert(map, (constants.flags, image.len()));
            image.extend_from_slice(&constants.image);
        }
    }
    for load in &mut fused.loads {
        let Some((flags, start)) = places.get(&load.map) else { continue };
        load.map = FusedMap::Packed(*flags);
        let offset = i32::try_from(*start).ok();
        if let (Some(insn), Some(start)) = (fused.instructions.get_mut(load.at + 1), offset) {
            // Both are below the 16 MiB that a section may have, times the programs of a chain.
            insn.imm = insn.imm.saturating_add(start);
        }
    }
}

/// Whether all loads of the map are of places in its value, as those of constants are.
fn packable(fused: &Fused, map: &FusedMap) -> bool {
    let is_value = |insn: &Insn| insn.src == PSEUDO_MAP_VALUE;
    let mut loads = fused.loads.iter().filter(|load| load.map == *map).peekable();
    loads.peek().is_some() && loads.all(|load| fused.instructions.get(load.at).is_some_and(is_value))
}
