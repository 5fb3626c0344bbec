//! Docker's and podman's credential files → the user and password for one registry.
//!
//! Reads one file and may run one helper program (`docker-credential-NAME`), both
//! named by the user's own configuration, never by a manifest or a bundle. The
//! file is bounded, a helper's name is `[a-z0-9-]+` (so that it can't be a path),
//! and a secret can't be printed.

use std::{
    env, fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use docker_credential::{CredentialRetrievalError as E, DockerCredential};

use crate::layout::capped;

/// The most bytes that a credential file may have.
const MOST: u64 = 1 << 20;

/// Where credentials come from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Credentials {
    /// Files, in the order in which they are asked.
    files: Vec<PathBuf>,
}

impl Credentials {
    /// No credentials.
    pub fn none() -> Self {
        Self::default()
    }

    /// From one file alone.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self { files: vec![path.into()] }
    }

    /// From where the other tools keep them.
    ///
    /// `REGISTRY_AUTH_FILE`, alone if it is set; else `$DOCKER_CONFIG/config.json` if that is set; else
    /// podman's `$XDG_RUNTIME_DIR/containers/auth.json` (containers-auth.json(5)) and `~/.docker/config.json`.
    pub fn from_env() -> Self {
        let var = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(file) = var("REGISTRY_AUTH_FILE") {
            return Self::from_file(file);
        }
        if let Some(dir) = var("DOCKER_CONFIG") {
            return Self::from_file(dir.join("config.json"));
        }
        let podman = var("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let docker = var("HOME").map(|dir| dir.join(".docker/config.json"));
        Self { files: [podman, docker].into_iter().flatten().collect() }
    }

    /// What the files hold for `host`, if anything.
    pub(crate) fn of(&self, host: &str) -> Result<Option<Login>, CredentialsError> {
        for file in &self.files {
            if let Some(login) = from_one(file, host)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

/// What a registry is shown.
#[derive(Debug)]
pub(crate) enum Login {
    /// A user and a password.
    Password(String, Secret),
    /// A refresh token (`OAuth2`).
    IdentityToken(Secret),
}

/// Text that does not print itself.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text; say so only where it is used.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Why credentials could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file can't be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what docker writes.
    #[error("`{}` is not a credential file: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A helper has a name that no helper has.
    #[error("`{}` names the credential helper `{helper}`; only `a-z`, `0-9` and `-` are allowed", path.display())]
    HelperName {
        /// The file.
        path: PathBuf,
        /// The name.
        helper: String,
    },
    /// The helper failed. What it printed is left out: it may be secret.
    #[error("the credential helper `docker-credential-{helper}` failed")]
    Helper {
        /// The name.
        helper: String,
    },
}

fn from_one(path: &Path, host: &str) -> Result<Option<Login>, CredentialsError> {
    let bytes = match File::open(path).and_then(|file| capped(file, MOST)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CredentialsError::Io { path: path.to_owned(), source }),
    };
    let malformed = |why: &str| CredentialsError::Malformed { path: path.to_owned(), why: why.to_owned() };
    // Parse errors of this file are not repeated: they may quote a secret.
    let config: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| malformed("it is not JSON"))?;
    let store = config.get("credsStore").and_then(|name| name.as_str()).filter(|name| !name.is_empty());
    let own = config.get("credHelpers").and_then(|helpers| helpers.get(host)).and_then(|name| name.as_str());
    for helper in [own, store].into_iter().flatten() {
        if helper.is_empty() || !helper.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(CredentialsError::HelperName { path: path.to_owned(), helper: crate::json::printable(helper) });
        }
    }
    match docker_credential::get_credential_from_reader(bytes.as_slice(), host) {
        Ok(DockerCredential::UsernamePassword(user, password)) if user.is_empty() && password.is_empty() => Ok(None),
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Some(Login::Password(user, Secret::new(password))))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Login::IdentityToken(Secret::new(token)))),
        Err(E::NoCredentialConfigured | E::ConfigNotFound) => Ok(None),
        // `docker-credential-*` says so on stdout, with a status of 1, when it knows nothing about the host.
        Err(E::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => Ok(None),
        Err(E::HelperFailure { .. } | E::HelperCommunicationError | E::MalformedHelperResponse) => {
            Err(CredentialsError::Helper { helper: own.or(store).unwrap_or_default().to_owned() })
        }
        Err(E::CredentialDecodingError) => Err(malformed("an `auth` in it is not base64 of `user:password`")),
        Err(E::CredentialMismatchError) => {
            Err(malformed("an `auth` in it contradicts the user and password beside it"))
        }
        Err(E::ConfigReadError) => Err(malformed("it has not the shape of docker's config.json")),
    }
}
