//! What commands show, for people; machines get the shapes of `bpfkit_schemas::report`.

pub(crate) mod diagnostic;
