//! What a map's entries are, as the kernel can keep it with the map: BTF of the key's and the value's types.
//!
//! Pure. With it `bpftool map dump` prints fields by name, and whoever opens the pin can read them.

use bpfkit_objects::{Object, link::special};

use super::{FuseProblem, Linker};
use crate::live::{MapKey, MapShape};

/// Map types to which libbpf gives no types, since the kernel refuses them (`bpf_object__create_map`, libbpf 1.5), and
/// ring buffers, which have no entries: perf event, cgroup, stack trace, maps of maps, device, CPU and socket maps,
/// queues, stacks, arenas (`enum bpf_map_type`).
const UNTYPED: [u32; 16] = [4, 7, 8, 12, 13, 14, 15, 16, 17, 18, 22, 23, 25, 27, 31, 33];

/// The types of a map's entries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entries {
    /// A BTF with these types and what they lead to.
    pub btf: Vec<u8>,
    /// The key's number in it; 0 where the map has no keys.
    pub key: u32,
    /// The value's.
    pub value: u32,
    /// Whether the kernel must know them, as the value holds a lock, a timer or the like.
    pub special: bool,
}

impl Linker {
    /// The types that the programs give to the entries of a map; `None` where none says, or the map takes none.
    ///
    /// Programs that share a map agree about its shape, and the first one's types are taken.
    pub fn entries(&self, key: &MapKey, shape: &MapShape) -> Result<Option<Entries>, Vec<FuseProblem>> {
        if key.is_data() || UNTYPED.contains(&shape.map_type) {
            return Ok(None);
        }
        for program in self.programs() {
            if matches!(key, MapKey::Private(owner, _) if owner != program) {
                continue;
            }
            if let Some(found) = of(&self.object(program)?, key, shape) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn of(object: &Object, key: &MapKey, shape: &MapShape) -> Option<Entries> {
    let map = object.maps().iter().find(|map| map.name == key.name() && map.initial.is_none())?;
    let value = map.value?;
    let size = |id| object.btf().size(id).unwrap_or_default();
    if (map.key.map_or(0, size), size(value)) != (u64::from(shape.key_size), u64::from(shape.value_size)) {
        return None;
    }
    // No type for a key is `void`, number 0.
    let subset = object.btf().subset(&[map.key.unwrap_or_default(), value])?;
    let &[key, value] = subset.roots.as_slice() else { return None };
    let roots = [map.key, map.value].into_iter().flatten();
    let special = !special(object.btf(), roots).is_empty();
    Some(Entries { btf: subset.bytes, key: key.0, value: value.0, special })
}
