//! What commands show, for people and for machines.

pub(crate) mod diagnostic;
pub(crate) mod json;
