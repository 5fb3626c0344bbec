//! Types of several objects in one BTF, as the kernel wants a program's to be.

use bpfkit_objects::btf::{
    Btf, Kind, Linkage, Merger, TypeId,
    merge::{Added, Wanted},
};

use crate::building::{compile_text, object};

const SOURCE: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct far { long inside; };
struct near { int here; struct far *there; struct far (*many)[4]; int (*call)(struct far *); struct near *next; };
__attribute__((noinline)) int ask(struct xdp_md *ctx, struct near *near __attribute__((btf_decl_tag("arg:nonnull"))))
{
	return near ? near->here : (int)ctx->data;
}
SEC("xdp") int one(struct xdp_md *ctx) { struct near near = {.here = 3}; return ask(ctx, &near); }
char LICENSE[] SEC("license") = "GPL";
"#;

fn function(btf: &Btf, name: &str) -> TypeId {
    btf.by_name(name).find(|id| matches!(btf.kind(*id), Kind::Func { .. })).unwrap()
}

#[test]
fn functions_come_with_what_one_pointer_leads_to_and_the_names_of_the_rest() {
    let object = object(&compile_text("merged", SOURCE));
    let mut merger = Merger::new();
    let wanted = |name, linkage| Wanted { ty: function(object.btf(), name), linkage };
    let far = object.btf().by_name("far").next().unwrap();
    let functions = [wanted("ask", Linkage::Global), wanted("one", Linkage::Static)];
    let first = merger.add(object.btf(), &[], &functions);
    let second = merger.add(object.btf(), &[far], &functions[..1]);
    let plain = merger.function("made-up", Linkage::Static);
    let file = merger.text("src/a b.c");
    let bytes = merger.finish().unwrap();
    let merged = Btf::parse(&bytes).unwrap();

    let spelt = |id: TypeId| match merged.kind(id) {
        Kind::Func { linkage, .. } => format!("{linkage:?} {}", merged.name(id)),
        kind => kind.word().to_owned(),
    };
    assert_eq!(first.functions.iter().map(|id| spelt(*id)).collect::<Vec<_>>(), ["Global ask", "Static one"]);
    assert_ne!(first.functions[0], second.functions[0], "objects don't share");
    assert_eq!(spelt(plain), "Static made_up");
    assert_eq!(merged.str(bpfkit_objects::btf::NameOff(file)), "src/a b.c");

    // `near` is described, what it points to is declared, but for the object that asked for it by number.
    let near = merged.by_name("near").find(|id| merged.kind(*id).composite().is_some()).unwrap();
    let members = &merged.kind(near).composite().unwrap().members;
    let types: Vec<_> = members.iter().map(|member| merged.c_type(member.ty)).collect();
    assert_eq!(types, ["int", "struct far *", "void *", "void *", "struct near *"]);
    let described: Vec<_> = merged.by_name("far").map(|id| merged.kind(id).word()).collect();
    assert_eq!(described, ["fwd", "struct", "fwd"]);
    assert_eq!(merged.kind(second.types[0]).word(), "struct");
    let tags: Vec<_> = merged.iter().filter(|(_, ty)| matches!(ty.kind, Kind::DeclTag { .. })).collect();
    assert_eq!(tags.len(), 2, "a remark for each global function");
}

#[test]
fn what_is_no_function_is_none() {
    let object = object(&compile_text("merged_none", SOURCE));
    let wanted = Wanted { ty: TypeId(1), linkage: Linkage::Static };
    let added = Merger::new().add(object.btf(), &[TypeId::VOID, TypeId(999_999)], &[wanted]);
    let void = TypeId::VOID;
    assert_eq!(added, Added { types: vec![void, void], functions: vec![void] });
}

#[test]
fn too_many_names_make_no_types() {
    let mut merger = Merger::new();
    let line = "x".repeat(1 << 20);
    for number in 0..9 {
        merger.text(&format!("{line}{number}"));
    }
    assert_eq!(merger.finish(), None);
}
