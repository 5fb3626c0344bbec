//! The license of a fused program. Pure.

use super::{FuseProblem, Hop};

/// The license to declare for a chain.
///
/// All compatible with the GPL: theirs if it is one and the same, else `GPL`, which is true of
/// what they become together. Otherwise that of the first program that isn't, provided that
/// nobody calls a helper that needs such a license.
pub(super) fn of(hops: &[Hop<'_>]) -> Result<String, FuseProblem> {
    let licenses = || hops.iter().map(|hop| hop.component.license());
    let Some(other) = hops.iter().find(|hop| !hop.component.license().compatible) else {
        let first = licenses().next().map(|license| license.text.as_str()).unwrap_or_default();
        return Ok(if licenses().all(|license| license.text == first) { first } else { "GPL" }.to_owned());
    };
    for hop in hops {
        if let Some(helper) = hop.component.license().needed_by {
            return Err(FuseProblem::Licenses {
                caller: hop.component.name().clone(),
                helper,
                other: other.component.name().clone(),
                license: other.component.license().text.clone(),
            });
        }
    }
    Ok(other.component.license().text.clone())
}
