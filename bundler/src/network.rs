//! HTTP as registries need it: one transport, bounded in size and time, that leaks no credentials.
//!
//! The async runtime lives here and in `registry.rs` alone; whoever calls
//! from outside blocks. The rules, each with a test:
//!
//! 1. *TLS everywhere but on loopback*, where it is plain HTTP. There is no switch.
//! 2. *A redirect never goes to plain HTTP* (but from loopback to loopback), *and
//!    carries credentials only within the registry's own origin*.
//! 3. *Nothing is read without a limit* in bytes, and everything has a time limit.
//! 4. *Refused connections, 429 and 5xx are tried again*, twice, and then reported.

use std::{collections::HashMap, error::Error, net::IpAddr, sync::OnceLock, time::Duration};

use reqwest::{
    Client, Method, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION},
};
use tokio::{runtime::Runtime, sync::Mutex};

use crate::{credentials::Credentials, registry::auth::Shows, transfer::TransferError};

/// The most redirects that one request follows.
const REDIRECTS: usize = 5;
/// The most bytes of an error's body that are read.
const ERROR_BYTES: u64 = 8 << 10;

/// How long things may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub read: Duration,
    /// For one request, from the first byte to the last.
    pub total: Duration,
    /// Before the first retry; the second waits four times as long.
    pub pause: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            total: Duration::from_mins(5),
            pause: Duration::from_millis(200),
        }
    }
}

/// The way to registries. Making one costs nothing; connections are made when they are needed.
pub struct Network {
    pub(crate) credentials: Credentials,
    pub(crate) timeouts: Timeouts,
    /// What was shown to, and accepted by, which registry (`host path access`).
    pub(crate) accepted: Mutex<HashMap<String, Shows>>,
    runtime: OnceLock<Runtime>,
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
    pub(crate) reach: Reach,
}

/// Whether there is a way to registries at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// There may be.
    Registries,
    /// Nothing is tried.
    Nowhere,
}

impl Network {
    /// A network that shows these credentials, with the ordinary time limits.
    pub fn new(credentials: Credentials) -> Self {
        Self::with_timeouts(credentials, Timeouts::default())
    }

    /// A network with other time limits.
    pub fn with_timeouts(credentials: Credentials, timeouts: Timeouts) -> Self {
        Self {
            credentials,
            timeouts,
            accepted: Mutex::default(),
            runtime: OnceLock::new(),
            plain: OnceLock::new(),
            secure: OnceLock::new(),
            reach: Reach::Registries,
        }
    }

    /// No network: layouts can be read, and whoever asks for a registry is refused before a socket is made.
    pub fn offline() -> Self {
        Self { reach: Reach::Nowhere, ..Self::new(Credentials::none()) }
    }

    /// Runs `work` to its end on this thread.
    pub(crate) fn block_on<F: Future>(&self, work: F) -> Result<F::Output, TransferError> {
        let runtime = if let Some(runtime) = self.runtime.get() {
            runtime
        } else {
            let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let made = made.map_err(|error| TransferError::Client { causes: vec![error.to_string()] })?;
            self.runtime.get_or_init(|| made)
        };
        Ok(runtime.block_on(work))
    }

    /// Sends `call` and reads the answer, following redirects and trying again where that may help.
    ///
    /// `credentials` goes to URLs of `origin` alone.
    pub(crate) async fn send(
        &self,
        origin: &Url,
        call: &Call<'_>,
        credentials: Option<&HeaderValue>,
    ) -> Result<Answer, TransferError> {
        let mut pause = self.timeouts.pause;
        for _ in 0..2 {
            let wait = match self.within(origin, call, credentials).await {
                Ok(answer) if answer.is_worth_another_try() => answer.retry_after().unwrap_or(pause),
                Err(TransferError::Unreachable { .. }) => pause,
                done => return done,
            };
            tokio::time::sleep(wait).await;
            pause *= 4;
        }
        self.within(origin, call, credentials).await
    }

    /// One try, bounded in time.
    async fn within(
        &self,
        origin: &Url,
        call: &Call<'_>,
        credentials: Option<&HeaderValue>,
    ) -> Result<Answer, TransferError> {
        let after = self.timeouts.total;
        match tokio::time::timeout(after, self.follow(origin, call, credentials)).await {
            Ok(answer) => answer,
            Err(_) => Err(TransferError::TimedOut { host: authority(&call.url), after }),
        }
    }

    async fn follow(
        &self,
        origin: &Url,
        call: &Call<'_>,
        credentials: Option<&HeaderValue>,
    ) -> Result<Answer, TransferError> {
        let mut url = call.url.clone();
        for _ in 0..=REDIRECTS {
            let shown = credentials.filter(|_| same_origin(origin, &url));
            let answer = self.once(origin, &url, call, shown).await?;
            let followed = matches!(call.method, Method::GET | Method::HEAD)
                && matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !followed {
                return Ok(answer);
            }
            let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            let to = crate::json::printable(to);
            let Ok(next) = url.join(&to) else {
                return Err(TransferError::Redirected { host: authority(&url), to, why: "that is not a URL" });
            };
            may_visit(origin, &next).map_err(|why| TransferError::Redirected { host: authority(&url), to, why })?;
            url = next;
        }
        Err(TransferError::Redirected {
            host: authority(&call.url),
            to: url.to_string(),
            why: "that is one redirect too many",
        })
    }

    async fn once(
        &self,
        origin: &Url,
        url: &Url,
        call: &Call<'_>,
        shown: Option<&HeaderValue>,
    ) -> Result<Answer, TransferError> {
        may_visit(origin, url).map_err(|why| TransferError::Redirected {
            host: authority(origin),
            to: url.to_string(),
            why,
        })?;
        let client = if url.scheme() == "https" { self.secure()? } else { self.plain()? };
        let mut request = client.request(call.method.clone(), url.clone());
        if let Some(accept) = call.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(shown) = shown {
            request = request.header(AUTHORIZATION, shown.clone());
        }
        if let Some((media_type, body)) = call.body {
            request = request.header(CONTENT_TYPE, media_type).body(body.to_vec());
        }
        let mut response = request.send().await.map_err(|error| self.failed(url, &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let (max, strict) = if status.is_success() { (call.max, true) } else { (ERROR_BYTES.min(call.max), false) };
        let mut body = Vec::new();
        if call.method == Method::HEAD {
            return Ok(Answer { status, headers, body, end: End::Whole });
        }
        if strict && response.content_length().is_some_and(|length| length > max) {
            return Ok(Answer { status, headers, body, end: End::TooLarge });
        }
        let end = loop {
            match response.chunk().await {
                Ok(None) => break End::Whole,
                Ok(Some(chunk)) => {
                    body.extend_from_slice(&chunk);
                    if body.len() as u64 > max {
                        body.truncate(usize::try_from(max).unwrap_or(usize::MAX));
                        break End::TooLarge;
                    }
                }
                Err(error) if error.is_timeout() => return Err(self.failed(url, &error)),
                Err(_) => break End::BrokenOff,
            }
        };
        Ok(Answer { status, headers, body, end })
    }

    fn failed(&self, url: &Url, error: &reqwest::Error) -> TransferError {
        let host = authority(url);
        if error.is_timeout() {
            let after = if error.is_connect() { self.timeouts.connect } else { self.timeouts.read };
            return TransferError::TimedOut { host, after };
        }
        // The outermost error names the URL again; what is behind it says why.
        TransferError::Unreachable { host, causes: causes(error.source()) }
    }

    fn plain(&self) -> Result<&Client, TransferError> {
        if let Some(client) = self.plain.get() {
            return Ok(client);
        }
        // Loopback alone: no proxy is asked, and no certificate is needed.
        let made = self.builder().no_proxy().tls_certs_only([]).build();
        let made = made.map_err(|error| TransferError::Client { causes: causes(Some(&error)) })?;
        Ok(self.plain.get_or_init(|| made))
    }

    fn secure(&self) -> Result<&Client, TransferError> {
        if let Some(client) = self.secure.get() {
            return Ok(client);
        }
        let made = self.builder().https_only(true).build();
        let made = made.map_err(|error| TransferError::Client { causes: causes(Some(&error)) })?;
        Ok(self.secure.get_or_init(|| made))
    }

    fn builder(&self) -> reqwest::ClientBuilder {
        Client::builder()
            .user_agent(concat!("bpfkit/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(self.timeouts.connect)
            .read_timeout(self.timeouts.read)
    }
}

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) accept: Option<&'a str>,
    /// Media type and bytes.
    pub(crate) body: Option<(&'a str, &'a [u8])>,
    /// The most bytes of the answer that are taken.
    pub(crate) max: u64,
}

/// One answer, its body bounded.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

/// How an answer's body ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// As it should.
    Whole,
    /// At the limit.
    TooLarge,
    /// The connection closed first.
    BrokenOff,
}

impl Answer {
    /// One header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What a registry says in an error (distribution spec 1.1, "Error Codes"), for a message.
    pub(crate) fn said(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Errors {
            errors: Vec<One>,
        }
        #[derive(serde::Deserialize)]
        struct One {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let errors = serde_json::from_slice::<Errors>(&self.body).map(|parsed| parsed.errors).unwrap_or_default();
        let said: Vec<_> = errors.iter().take(3).map(|one| format!("{} ({})", one.message, one.code)).collect();
        crate::json::printable(&said.join("; "))
    }

    fn is_worth_another_try(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 500 | 502 | 503 | 504)
    }

    /// `Retry-After` in seconds, at most ten.
    fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.header("retry-after")?.parse().ok()?;
        Some(Duration::from_secs(seconds.min(10)))
    }
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether two URLs have scheme, host and port in common.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

/// Whether a registry at `origin` may send us to `url`.
pub(crate) fn may_visit(origin: &Url, url: &Url) -> Result<(), &'static str> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if origin.scheme() == "http" && url.host_str().is_some_and(is_loopback) => Ok(()),
        "http" => Err("plain http is for registries on loopback alone"),
        _ => Err("registries speak https"),
    }
}

/// `host:port`, for messages.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn causes(mut error: Option<&(dyn Error + 'static)>) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    while let Some(next) = error {
        let text = crate::json::printable(&next.to_string());
        if !text.is_empty() && causes.last() != Some(&text) {
            causes.push(text);
        }
        error = next.source();
    }
    causes
}
