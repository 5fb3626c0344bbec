//! `bpfkit sign`: a key's word on a set and its programs.

use std::collections::BTreeMap;

use bpfkit_bundler::{
    self as bundler, Listing,
    key::PrivateKey,
    signature,
    statement::{Claims, PREDICATE_TYPE},
};
use bpfkit_schemas::{
    code::Exit,
    reference::Pinned,
    report::{SignReport, VERSION},
    trust::Role,
};

use super::bundle::{last_pinned, network};
use crate::{
    args::{Global, Sign},
    failure::Result,
    passphrase::{self, Purpose},
    project::{self, Project},
    ui::Ui,
};

pub(super) fn run(args: &Sign, global: &Global, ui: &Ui) -> Result<Exit> {
    let asked = args.reference.as_ref().map(|text| project::reference(text, global)).transpose()?;
    let pinned = match &asked {
        Some(reference) => bundler::pin(&network(), reference)?,
        None => last_pinned(&Project::open(global, ui)?)?.1,
    };
    let listing = bundler::list(&network(), &pinned)?;
    if let Some(reference) = &asked {
        listing.fits(reference)?;
    }
    let passphrase = passphrase::find(&args.passphrase, Purpose::Open)?;
    let key = PrivateKey::read(&args.key, &passphrase)?;
    let report = sign(&key, args.role.into(), &listing)?;
    ui.show(&report, || {
        let programs =
            if report.programs == 1 { "1 program".to_owned() } else { format!("{} programs", report.programs) };
        format!(
            "signed {}:{} and its {programs} as {} with {}\n",
            report.repository,
            report.tag,
            report.role,
            args.key.display()
        )
    })?;
    Ok(Exit::Done)
}

/// Signs everything that belongs to a set: indexes, and every manifest in them.
pub(super) fn sign(key: &PrivateKey, role: Role, listing: &Listing) -> Result<SignReport> {
    let network = network();
    let pinned = &listing.pinned;
    let claims = Claims { repository: listing.repository.clone(), version: listing.version.clone(), role: Some(role) };
    let listed = std::iter::once(&listing.bundle).chain(listing.programs.iter().map(|(_, listed)| listed));
    let mut signed = Vec::new();
    for digest in listed.flat_map(bundler::Listed::digests) {
        let bundle = signature::sign(key, digest, &claims)?;
        bundler::add_signature(&network, &Pinned { place: pinned.place.clone(), digest }, &bundle, annotations())?;
        signed.push(digest.to_string());
    }
    Ok(SignReport {
        version: VERSION,
        reference: pinned.to_string(),
        repository: listing.repository.to_string(),
        tag: listing.version.to_string(),
        role: role.to_string(),
        key: key.public().spki_digest().to_string(),
        programs: listing.programs.len(),
        signed,
    })
}

/// What cosign 3 writes beside a signature. The time is no claim and would make the same signature two referrers.
fn annotations() -> BTreeMap<String, String> {
    [
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        ("dev.sigstore.bundle.predicateType", PREDICATE_TYPE),
        ("org.opencontainers.image.created", "1970-01-01T00:00:00Z"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}
