//! `bpfkit pull`: a set by reference into an OCI layout.

use bpfkit_bundler as bundler;
use bpfkit_schemas::{
    code::Exit,
    reference::{Place, Reference},
};
use serde::Serialize;

use super::bundle::network;
use crate::{
    args::{Global, Pull},
    failure::Result,
    project,
    ui::Ui,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    reference: String,
    digest: String,
    fetched: usize,
}

pub(super) fn run(args: &Pull, global: &Global, ui: &Ui) -> Result<Exit> {
    let wanted = project::reference(&args.reference, global)?;
    let network = network();
    let progress = ui.progress(&format!("fetching {wanted}"));
    let from = bundler::pin(&network, &wanted)?;
    let to = Place::Layout(args.to.clone());
    let mut fetched = 0;
    let pinned = bundler::copy(&network, &from, &to, &mut |_| {
        fetched += 1;
        progress.say(format!("fetching {wanted}: {fetched} parts"));
    })?;
    drop(progress);
    let reference = Reference { place: pinned.place, tag: None, digest: Some(pinned.digest) };
    let report = Report { version: 1, reference: reference.to_string(), digest: pinned.digest.to_string(), fetched };
    ui.show(&report, || format!("{reference}\n"))?;
    Ok(Exit::Done)
}
