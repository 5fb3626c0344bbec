//! TEMP
use bpfkit_schemas::{Diagnostic, object::ObjectDescriptor};
use crate::error::Place;
pub(crate) fn describe(_bytes: &[u8], _place: &Place, _what: &str) -> Result<ObjectDescriptor, Vec<Diagnostic>> { Err(vec![]) }
