//! Where a passphrase comes from: a file descriptor, the environment, a systemd credential, the terminal.

use std::{fs::File, io::IsTerminal as _, path::PathBuf};

use bpfkit_bundler::key::Passphrase;

use crate::{
    args::PassphraseArg,
    failure::{Failure, Result},
};

/// The credential's name in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`).
const CREDENTIAL: &str = "bpfkit.password";

/// What the passphrase is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// A new key: asked for twice.
    Seal,
    /// A key that is there.
    Open,
}

/// Finds the passphrase; prompts only on a terminal, and only if nothing else gives it.
pub(crate) fn find(args: &PassphraseArg, purpose: Purpose) -> Result<Passphrase> {
    if let Some(number) = args.password_fd {
        let path = PathBuf::from(format!("/proc/self/fd/{number}"));
        let file = File::open(&path).map_err(|e| Failure::unreadable(&path, &e))?;
        return Ok(Passphrase::read_from(file)?);
    }
    if let Some(text) = std::env::var_os("BPFKIT_PASSWORD") {
        return Ok(Passphrase::new(text.into_encoded_bytes()));
    }
    if let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        let path = PathBuf::from(directory).join(CREDENTIAL);
        if path.exists() {
            let file = File::open(&path).map_err(|e| Failure::unreadable(&path, &e))?;
            return Ok(Passphrase::read_from(file)?);
        }
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "the key needs a passphrase, and there is no terminal to ask on",
            "set BPFKIT_PASSWORD (it may be empty), or use --password-fd N",
        ));
    }
    prompt(purpose)
}

fn prompt(purpose: Purpose) -> Result<Passphrase> {
    let ask = |what: &str| {
        rpassword::prompt_password(what)
            .map_err(|e| Failure::usage(format!("no passphrase could be read: {e}"), "set BPFKIT_PASSWORD"))
    };
    let text = ask("passphrase: ")?;
    if purpose == Purpose::Seal && ask("once more: ")? != text {
        return Err(Failure::usage("the two passphrases differ", "try again"));
    }
    Ok(Passphrase::from(text))
}
