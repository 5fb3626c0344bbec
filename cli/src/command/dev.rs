//! `bpfkit dev`: the laptop's loop. Build, bundle, sign with a local key, apply.

use bpfkit_bundler::{
    self as bundler,
    key::{self, Passphrase, PrivateKey},
};
use bpfkit_schemas::{code::Exit, trust::Role};

use super::{apply, bundle, sign};
use crate::{
    args::{self, Build, Global, Jobs},
    failure::{Failure, Result},
    project::Project,
    ui::Ui,
};

pub(super) fn run(args: &Jobs, global: &Global, ui: &Ui) -> Result<Exit> {
    apply::root()?;
    let project = Project::open(global, ui)?;
    let key = dev_key(&project, ui)?;
    let build = Build { jobs: Jobs { jobs: args.jobs }, locked: false };
    let network = bundle::network();
    let (_, bundled) = bundle::make(&project, &args::Bundle { build, tag: "dev".to_owned() }, &network, ui)?;
    sign::sign(&key, Role::Author, &bundler::list(&network, &bundled.pinned)?)?;
    let session = apply::by_manifest(&project, &network, ui)?;
    apply::apply(&session, ui)
}

/// The key of this folder, made on first use. It is for this machine alone: it has no passphrase,
/// lies beside the objects that it signs, and is believed only where a manifest names it.
fn dev_key(project: &Project, ui: &Ui) -> Result<PrivateKey> {
    let prefix = project.target.join("dev");
    let passphrase = Passphrase::new(Vec::new());
    let private = prefix.with_extension("key");
    if !private.exists() {
        std::fs::create_dir_all(&project.target).map_err(|e| Failure::unwritable(&project.target, &e))?;
        let made = key::keygen(&prefix, &passphrase)?;
        ui.say(&format!(
            "made {} for this folder; the manifest's trust block names {}",
            made.private.display(),
            made.public.display()
        ));
    }
    Ok(PrivateKey::read(&private, &passphrase)?)
}
