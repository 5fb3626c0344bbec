//! `bpfkit trust keygen`: a key pair in two files.

use bpfkit_bundler::key;
use bpfkit_schemas::{
    code::Exit,
    report::{KeygenReport, VERSION},
};

use crate::{
    args::{Keygen, Trust},
    failure::Result,
    passphrase::{self, Purpose},
    ui::Ui,
};

pub(super) fn run(args: &Trust, ui: &Ui) -> Result<Exit> {
    let Trust::Keygen(args) = args;
    keygen(args, ui)
}

fn keygen(args: &Keygen, ui: &Ui) -> Result<Exit> {
    let passphrase = passphrase::find(&args.passphrase, Purpose::Seal)?;
    let made = key::keygen(&args.output, &passphrase)?;
    let json = KeygenReport {
        version: VERSION,
        private: made.private.display().to_string(),
        public: made.public.display().to_string(),
        spki: made.key.spki_digest().to_string(),
    };
    ui.show(&json, || {
        format!(
            "{}  private, encrypted: sign with it, keep it\n{}  public: name it in trust blocks\n",
            json.private, json.public
        )
    })?;
    Ok(Exit::Done)
}
