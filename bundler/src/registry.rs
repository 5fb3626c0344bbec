//! One repository in a registry: OCI distribution spec 1.1, the parts that bundles need.
//!
//! Everything is read whole into memory, bounded by what the caller allows, and
//! hashed here: neither a `Docker-Content-Digest` header nor a `HEAD` is believed
//! about what was read. A `HEAD` decides only whether an upload can be left out.

use bpfkit_schemas::{
    names::{Digest, RepositoryName, Tag},
    reference::Place,
};
use reqwest::{Method, StatusCode, Url};

use crate::{
    hash::sha256,
    json,
    limits::{MANIFEST_BYTES, REFERRERS},
    network::{Answer, Call, End, Network, Reach, is_loopback},
    oci::{INDEX_TYPE, Index},
    transfer::{Shown, TransferError},
};

pub(crate) mod auth;

/// The most pages of referrers that are read.
const PAGES: usize = 8;

/// What a token must allow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// `pull`
    Read,
    /// `pull,push`
    Write,
}

/// A repository, and what we want to do there.
pub(crate) struct Registry<'n> {
    network: &'n Network,
    name: RepositoryName,
    path: String,
    host: String,
    base: Url,
    access: Access,
}

impl<'n> Registry<'n> {
    /// Names a repository; nothing is sent.
    pub(crate) fn new(network: &'n Network, name: &RepositoryName, access: Access) -> Result<Self, TransferError> {
        if network.reach == Reach::Nowhere {
            return Err(TransferError::Offline { place: Place::Registry(name.clone()) });
        }
        let (host, path) = name.as_str().split_once('/').unwrap_or((name.as_str(), ""));
        let bare = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(host, |(bare, _)| bare);
        let scheme = if is_loopback(bare) { "http" } else { "https" };
        // Docker Hub's API has another name than its references.
        let api = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let root = Url::parse(&format!("{scheme}://{api}/v2/{path}/"))
            .map_err(|error| TransferError::Unreachable { host: host.to_owned(), causes: vec![error.to_string()] })?;
        Ok(Self { network, name: name.clone(), path: path.to_owned(), host: host.to_owned(), base: root, access })
    }

    /// The network.
    pub(crate) fn network(&self) -> &'n Network {
        self.network
    }

    /// The place, for messages.
    pub(crate) fn place(&self) -> Place {
        Place::Registry(self.name.clone())
    }

    /// A manifest or index by digest.
    pub(crate) async fn manifest(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, TransferError> {
        let what = digest.to_string();
        let bytes = self.manifest_by(&what, max, &what).await?;
        self.matches(digest, bytes)
    }

    /// A manifest or index by tag. What it hashes to is for the caller to find out.
    pub(crate) async fn tagged(&self, tag: &str, max: u64) -> Result<Vec<u8>, TransferError> {
        self.manifest_by(tag, max, &format!("tag `{tag}`")).await
    }

    /// A blob of known size.
    pub(crate) async fn blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, TransferError> {
        let what = digest.to_string();
        let answer = self.call(&self.read(&format!("blobs/{digest}"), None, size)?).await?;
        let bytes = self.whole(answer, &what, size)?;
        if (bytes.len() as u64) < size {
            return Err(TransferError::Truncated { place: self.place(), what });
        }
        self.matches(digest, bytes)
    }

    /// The referrers of `subject`, by the API, or by the fallback tag where there is none
    /// (distribution spec 1.1, "Listing Referrers", "Unavailable Referrers API").
    pub(crate) async fn referrers(&self, subject: &Digest) -> Result<Index, TransferError> {
        match self.referrers_api(subject).await? {
            Some(index) => Ok(index),
            None => Ok(self.fallback(subject).await?.unwrap_or_else(|| Index::of(Vec::new()))),
        }
    }

    /// The referrers by the API alone; `None` where the registry has none.
    pub(crate) async fn referrers_api(&self, subject: &Digest) -> Result<Option<Index>, TransferError> {
        let mut all: Option<Index> = None;
        let mut call = self.read(&format!("referrers/{subject}"), Some(INDEX_TYPE), MANIFEST_BYTES)?;
        for _ in 0..PAGES {
            let answer = match self.call(&call).await {
                Ok(answer) => answer,
                // A registry without the API may send us to a web page.
                Err(TransferError::Redirected { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            if matches!(answer.status.as_u16(), 400 | 404 | 405 | 406 | 501) {
                return Ok(None);
            }
            let kind = answer.header("content-type").unwrap_or_default();
            if answer.status == StatusCode::OK && !kind.split(';').any(|part| part.trim() == INDEX_TYPE) {
                return Ok(None);
            }
            let next = next_page(&answer).and_then(|next| call.url.join(next).ok());
            let bytes = self.whole(answer, "the list of referrers", MANIFEST_BYTES)?;
            let page: Index = json::read(&bytes).map_err(|error| self.nonsense("list referrers", &error))?;
            let index = all.get_or_insert_with(|| Index::of(Vec::new()));
            index.manifests.extend(page.manifests);
            match next {
                Some(next) if crate::network::same_origin(&next, &self.base) && index.manifests.len() <= REFERRERS => {
                    call.url = next;
                }
                _ => break,
            }
        }
        Ok(all)
    }

    /// The index under the fallback tag of `subject`; `None` where there is none.
    pub(crate) async fn fallback(&self, subject: &Digest) -> Result<Option<Index>, TransferError> {
        match self.tagged(&fallback_tag(subject), MANIFEST_BYTES).await {
            Ok(bytes) => json::read(&bytes).map(Some).map_err(|error| self.nonsense("list referrers", &error)),
            Err(TransferError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the registry says that it has a manifest.
    pub(crate) async fn has_manifest(&self, digest: &Digest) -> Result<bool, TransferError> {
        let call = Call { method: Method::HEAD, ..self.read(&format!("manifests/{digest}"), Some(MANIFESTS), 0)? };
        self.has(&call).await
    }

    /// Whether the registry says that it has a blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, TransferError> {
        let call = Call { method: Method::HEAD, ..self.read(&format!("blobs/{digest}"), None, 0)? };
        self.has(&call).await
    }

    /// Uploads a blob in one piece ("Pushing a blob monolithically", POST then PUT).
    pub(crate) async fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), TransferError> {
        let start = Call {
            method: Method::POST,
            url: self.url("blobs/uploads/")?,
            accept: None,
            body: Some(("application/octet-stream", &[])),
            max: MANIFEST_BYTES,
        };
        let answer = self.accepted(self.call(&start).await?, "start an upload")?;
        let session = answer.header("location").unwrap_or_default();
        let mut url = start.url.join(session).map_err(|error| self.nonsense("start an upload", &error))?;
        if !crate::network::same_origin(&url, &self.base) {
            crate::network::may_visit(&self.base, &url).map_err(|why| TransferError::Redirected {
                host: self.host.clone(),
                to: url.to_string(),
                why,
            })?;
        }
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let finish = Call {
            method: Method::PUT,
            url,
            accept: None,
            body: Some(("application/octet-stream", bytes)),
            max: MANIFEST_BYTES,
        };
        self.accepted(self.call(&finish).await?, "take a blob")?;
        Ok(())
    }

    /// Stores a manifest or an index under its digest, or under a tag. Says whether the registry
    /// minds its subject by itself (`OCI-Subject`, "Pushing Manifests with Subject").
    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<SubjectMinded, TransferError> {
        let call = Call {
            method: Method::PUT,
            url: self.url(&format!("manifests/{name}"))?,
            accept: None,
            body: Some((media_type, bytes)),
            max: MANIFEST_BYTES,
        };
        let answer = self.accepted(self.call(&call).await?, &format!("take manifest `{name}`"))?;
        if let Some(found) = answer.header("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok()) {
            let want = sha256(bytes);
            if found != want {
                return Err(TransferError::WrongDigest { place: self.place(), want, found });
            }
        }
        Ok(if answer.headers.contains_key("oci-subject") { SubjectMinded::ByRegistry } else { SubjectMinded::ByNobody })
    }

    async fn manifest_by(&self, name: &str, max: u64, what: &str) -> Result<Vec<u8>, TransferError> {
        let answer = self.call(&self.read(&format!("manifests/{name}"), Some(MANIFESTS), max)?).await?;
        self.whole(answer, what, max)
    }

    async fn has(&self, call: &Call<'_>) -> Result<bool, TransferError> {
        let answer = self.call(call).await?;
        match answer.status.as_u16() {
            404 => Ok(false),
            _ => self.accepted(answer, "say what it holds").map(|_| true),
        }
    }

    /// Sends a request, logging in when the registry asks for it.
    async fn call(&self, call: &Call<'_>) -> Result<Answer, TransferError> {
        let key = format!("{} {} {:?}", self.host, self.path, self.access);
        let known = self.network.accepted.lock().await.get(&key).cloned();
        let answer = self.network.send(&self.base, call, known.as_ref().map(|shows| &shows.header)).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        // Under the lock, so that requests that are refused together log in once.
        let shows = {
            let mut accepted = self.network.accepted.lock().await;
            match accepted.get(&key) {
                Some(shows) if known.as_ref().is_none_or(|known| known.header != shows.header) => shows.clone(),
                _ => {
                    let Some(shows) = auth::answer(self, &answer).await? else {
                        return Err(self.denied(&answer, Shown::Nothing));
                    };
                    accepted.insert(key.clone(), shows.clone());
                    shows
                }
            }
        };
        let answer = self.network.send(&self.base, call, Some(&shows.header)).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.network.accepted.lock().await.remove(&key);
            return Err(self.denied(&answer, shows.shown));
        }
        Ok(answer)
    }

    fn read<'a>(&self, path: &str, accept: Option<&'a str>, max: u64) -> Result<Call<'a>, TransferError> {
        Ok(Call { method: Method::GET, url: self.url(path)?, accept, body: None, max })
    }

    fn url(&self, path: &str) -> Result<Url, TransferError> {
        self.base.join(path).map_err(|error| self.nonsense("be named", &error))
    }

    /// The body of a successful answer.
    fn whole(&self, answer: Answer, what: &str, max: u64) -> Result<Vec<u8>, TransferError> {
        let what = || what.to_owned();
        if answer.status == StatusCode::NOT_FOUND {
            return Err(TransferError::NotFound { place: self.place(), what: what() });
        }
        let answer = self.accepted(answer, "serve it")?;
        match answer.end {
            End::Whole => Ok(answer.body),
            End::TooLarge => Err(TransferError::TooLarge { place: self.place(), what: what(), max }),
            End::BrokenOff => Err(TransferError::Truncated { place: self.place(), what: what() }),
        }
    }

    fn accepted(&self, answer: Answer, doing: &str) -> Result<Answer, TransferError> {
        match answer.status.as_u16() {
            200..=299 => Ok(answer),
            401 | 403 => Err(self.denied(&answer, Shown::Credentials)),
            status => Err(TransferError::Refused {
                place: self.place(),
                doing: doing.to_owned(),
                status,
                said: answer.said(),
            }),
        }
    }

    fn denied(&self, answer: &Answer, credentials: Shown) -> TransferError {
        let doing = match self.access {
            Access::Read => "read",
            Access::Write => "write",
        };
        TransferError::Denied { place: self.place(), doing, said: answer.said(), credentials }
    }

    fn nonsense(&self, doing: &str, error: &dyn std::error::Error) -> TransferError {
        let said = json::printable(&error.to_string());
        TransferError::Refused { place: self.place(), doing: doing.to_owned(), status: 200, said }
    }

    fn matches(&self, want: &Digest, bytes: Vec<u8>) -> Result<Vec<u8>, TransferError> {
        let found = sha256(&bytes);
        if found == *want {
            Ok(bytes)
        } else {
            Err(TransferError::WrongDigest { place: self.place(), want: *want, found })
        }
    }
}

/// Who lists a manifest among the referrers of its subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SubjectMinded {
    /// The registry does.
    ByRegistry,
    /// We must, under the fallback tag.
    ByNobody,
}

/// The tag under which referrers are listed where there is no API ("Referrers Tag Schema").
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// Whether `tag` is a fallback tag, or one of the older signature tags beside it.
pub(crate) fn is_reserved(tag: &Tag) -> bool {
    tag.as_str().starts_with("sha256-")
}

/// [`crate::oci`]'s four types of manifest, for `Accept`.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// The target of `Link: <…>; rel="next"` (RFC 8288).
fn next_page(answer: &Answer) -> Option<&str> {
    let link = answer.header("link")?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then_some(target)
}
