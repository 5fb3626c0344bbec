//! `bpfkit pull`: a set by reference into an OCI layout.

use bpfkit_bundler as bundler;
use bpfkit_schemas::{
    code::Exit,
    reference::{Place, Reference},
    report::{TransferReport, VERSION},
};

use super::{bundle::network, push::Counts};
use crate::{
    args::{Global, Pull},
    failure::Result,
    project,
    ui::Ui,
};

pub(super) fn run(args: &Pull, global: &Global, ui: &Ui) -> Result<Exit> {
    let wanted = project::reference(&args.reference, global)?;
    let network = network();
    let progress = ui.progress(&format!("fetching {wanted}"));
    let from = bundler::pin(&network, &wanted)?;
    let to = Place::Layout(args.to.clone());
    let mut counts = Counts::default();
    let pinned = bundler::copy(&network, &from, &to, &mut |event| {
        counts.add(&event);
        progress.say(format!("fetching {wanted}: {} new, {} there before", counts.sent, counts.before));
    })?;
    drop(progress);
    let reference = Reference { place: pinned.place, tag: None, digest: Some(pinned.digest) };
    let report = TransferReport {
        version: VERSION,
        reference: reference.to_string(),
        digest: pinned.digest.to_string(),
        sent: counts.sent,
        there_before: counts.before,
    };
    ui.show(&report, || format!("{reference}\n"))?;
    Ok(Exit::Done)
}
