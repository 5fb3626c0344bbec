//! BTF that nobody's compiler wrote.

use std::fmt::Write as _;

use bpfkit_objects::btf::{Btf, BtfError, Kind, TypeId, essential_name};

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const TYPEDEF: u32 = 8;
const CONST: u32 = 10;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// BTF with these types; the strings are `\0a\0`.
fn btf(types: &[u32]) -> Vec<u8> {
    let types = words(types);
    let len = u32::try_from(types.len()).unwrap();
    let mut bytes = words(&[0x0001_eb9f, 24, 0, len, len, 3]);
    bytes.extend(types);
    bytes.extend(b"\0a\0");
    bytes
}

fn refused(types: &[u32]) -> BtfError {
    Btf::parse(&btf(types)).unwrap_err()
}

#[test]
fn a_small_btf_is_read() {
    // int a; int a[3]; struct a { int a; int a[3]; }
    let types = [
        &[1, INT << 24, 4, 32 | 1 << 24][..],
        &[0, ARRAY << 24, 0, 1, 1, 3],
        &[1, STRUCT << 24 | 2, 16, 1, 1, 0, 1, 2, 32],
    ];
    let btf = Btf::parse(&btf(&types.concat())).unwrap();
    assert_eq!(btf.by_name("a").collect::<Vec<_>>(), [TypeId(1), TypeId(3)]);
    assert_eq!((btf.size(TypeId(2)), btf.size(TypeId(3)), btf.align(TypeId(3))), (Some(12), Some(16), Some(4)));
    assert_eq!(btf.c_type(TypeId(2)), "a[3]");
    assert_eq!(btf.c_type(TypeId(3)), "struct a");
    assert_eq!(btf.size(TypeId(77)), None, "a number of nobody's is void");
}

#[test]
fn types_that_contain_themselves_are_refused() {
    assert!(matches!(refused(&[1, TYPEDEF << 24, 1]), BtfError::Nesting { .. }));
    assert!(matches!(refused(&[0, CONST << 24, 2, 0, CONST << 24, 1]), BtfError::Nesting { .. }));
    assert!(matches!(refused(&[0, ARRAY << 24, 0, 1, 0, 3]), BtfError::Nesting { .. }));
    assert!(matches!(refused(&[1, STRUCT << 24 | 1, 8, 1, 1, 0]), BtfError::Nesting { .. }));
    // Behind a pointer it is C's everyday list.
    let list = Btf::parse(&btf(&[1, STRUCT << 24 | 1, 8, 1, 2, 0, 0, PTR << 24, 1])).unwrap();
    assert_eq!(list.c_type(TypeId(2)), "struct a *");
    // A pointer to itself is no C, but no harm either.
    let odd = Btf::parse(&btf(&[0, PTR << 24, 1])).unwrap();
    assert_eq!(odd.c_type(TypeId(1)), "…");
}

#[test]
fn a_long_chain_of_typedefs_is_refused_and_not_followed() {
    let types: Vec<u32> = (2..100_000).flat_map(|next| [1, TYPEDEF << 24, next]).chain([1, INT << 24, 4, 32]).collect();
    assert!(matches!(refused(&types), BtfError::Nesting { .. }));
}

#[test]
fn wide_trees_of_structs_take_no_time() {
    // Each struct holds the one before twice: 2^60 ways down.
    let mut types = vec![1, INT << 24, 4, 32];
    for id in 1..60 {
        types.extend([1, STRUCT << 24 | 2, 4, 0, id, 0, 0, id, 0]);
    }
    let btf = Btf::parse(&btf(&types)).unwrap();
    assert_eq!(btf.align(TypeId(60)), Some(4));
}

#[test]
fn references_names_and_kinds_that_do_not_exist_are_refused() {
    assert!(matches!(refused(&[0, PTR << 24, 9]), BtfError::BadReference { .. }));
    assert!(matches!(refused(&[7, PTR << 24, 0]), BtfError::BadName { .. }));
    assert!(matches!(refused(&[0, 30 << 24, 0]), BtfError::UnknownKind { kind: 30, .. }));
    assert!(matches!(refused(&[1, INT << 24, 3, 32]), BtfError::BadField { .. }));
    assert!(matches!(refused(&[1, STRUCT << 24 | 0xffff, 8]), BtfError::Truncated { .. }));
    assert!(matches!(refused(&[1, STRUCT << 24 | 0xff_ffff, 8]), BtfError::Truncated { .. }));
}

#[test]
fn headers_that_lie_are_refused() {
    let good = btf(&[1, INT << 24, 4, 32]);
    assert!(Btf::parse(&good).is_ok());
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Btf::parse(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 0), BtfError::NotBtf);
    assert_eq!(with(2, 2), BtfError::Version { version: 2 });
    assert!(matches!(with(7, 0xff), BtfError::Truncated { .. }));
    assert!(matches!(with(15, 0xff), BtfError::Truncated { .. }));
    assert!(matches!(with(20, 2), BtfError::Strings));
    let mut swapped = good.clone();
    swapped.swap(0, 1);
    assert_eq!(Btf::parse(&swapped).unwrap_err(), BtfError::BigEndian);
    for end in 0..good.len() {
        assert!(Btf::parse(&good[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn flavours_are_told_as_libbpf_tells_them() {
    for (name, essential) in [
        ("task_struct", "task_struct"),
        ("task_struct___old", "task_struct"),
        ("a___b___c", "a___b"),
        ("___x", "___x"),
        ("a___", "a___"),
        ("a____b", "a____b"),
        ("", ""),
    ] {
        assert_eq!(essential_name(name), essential, "{name}");
    }
}

/// Both types as C, with what is inside, so that two BTFs can be compared by what they mean.
fn meaning(btf: &Btf, id: TypeId, depth: u32) -> String {
    let mut text = format!("{} {:?} {:?}", btf.c_type(id), btf.size(id), btf.align(id));
    let resolved = btf.resolved(id);
    if depth > 0 {
        for member in resolved.composite().iter().flat_map(|composite| &composite.members) {
            let inner = meaning(btf, member.ty, depth - 1);
            let _ = write!(text, "; {} {}:{} {{{inner}}}", btf.str(member.name), member.bit_offset, member.bits);
        }
        for value in resolved.any_enum().iter().flat_map(|any| &any.values) {
            let _ = write!(text, "; {} = {}", btf.str(value.name), value.value);
        }
        if let Kind::Ptr(to) = resolved {
            let _ = write!(text, "; -> {{{}}}", meaning(btf, *to, depth - 1));
        }
    }
    text
}

#[test]
fn a_subset_means_what_the_whole_means_and_holds_nothing_else() {
    let path = crate::building::compile_text(
        "subset",
        r#"
        #include <linux/bpf.h>
        #include <bpf/bpf_helpers.h>
        enum wide { LOW = -1, HIGH = 1ULL << 40 };
        enum small { NONE, SOME = 7 };
        struct list { struct list *next; int (*call)(struct list *, const char *name); };
        typedef struct {
            enum wide wide; enum small small; unsigned flags : 3, rest : 29; _Bool on; char text[12];
            union { __u64 number; __u8 bytes[8]; }; const volatile struct list *list; struct undeclared *far; double d;
        } entry;
        struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, entry); } map SEC(".maps");
        int counter;
        SEC("xdp") int run(void *ctx) { __u32 k = 0; counter++; return bpf_map_lookup_elem(&map, &k) ? 1 : 2; }
        char LICENSE[] SEC("license") = "GPL";
        "#,
    );
    let object = crate::building::object(&path);
    let map = object.maps().iter().find(|map| map.name == "map").unwrap();
    let roots = [map.key.unwrap(), map.value.unwrap()];
    let subset = object.btf().subset(&roots).unwrap();
    let small = Btf::parse(&subset.bytes).unwrap();
    for (old, new) in roots.into_iter().zip(&subset.roots) {
        assert_eq!(meaning(&small, *new, 4), meaning(object.btf(), old, 4));
    }
    assert!(small.types().len() < object.btf().types().len());
    assert!(small.iter().all(|(_, ty)| !matches!(ty.kind.word(), "func" | "var" | "datasec" | "decl_tag")));
    assert_eq!(object.btf().subset(&roots), Some(subset), "the same types give the same bytes");
}

#[test]
fn a_subset_of_void_is_empty_and_of_a_stranger_void() {
    let whole = Btf::parse(&btf(&[1, INT << 24, 4, 32])).unwrap();
    let subset = whole.subset(&[TypeId::VOID, TypeId(77), TypeId(1), TypeId(1)]).unwrap();
    assert_eq!(subset.roots, [TypeId(0), TypeId(0), TypeId(1), TypeId(1)]);
    assert_eq!(Btf::parse(&subset.bytes).unwrap().name(TypeId(1)), "a");
}

#[test]
fn names_that_share_their_bytes_do_not_make_a_subset_explode() {
    // One string of 64 KiB, and an enum with a name at each of its bytes: 2 GiB, if each were written out.
    let count = 0x1_0000;
    let mut types = vec![0, 6 << 24 | (count - 1), 4];
    types.extend((1..count).flat_map(|at| [at, at]));
    let types = words(&types);
    let len = u32::try_from(types.len()).unwrap();
    let mut bytes = words(&[0x0001_eb9f, 24, 0, len, len, count + 1]);
    bytes.extend(types);
    bytes.push(0);
    bytes.extend(vec![b'a'; usize::try_from(count).unwrap() - 1]);
    bytes.push(0);
    assert_eq!(Btf::parse(&bytes).unwrap().subset(&[TypeId(1)]), None);
}
