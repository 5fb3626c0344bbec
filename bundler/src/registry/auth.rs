//! A registry's challenge → what to show it.
//!
//! Docker's token protocol (distribution's `docs/spec/auth/{token,oauth}.md`) and
//! Basic. The registry names the token server, as it must; that server gets the
//! credentials over TLS alone (or on loopback, for a registry on loopback), and
//! the scope is ours, never the registry's wish.

use reqwest::{
    Method, Url,
    header::{HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;

use super::{Access, Registry};
use crate::{
    credentials::{Login, Secret},
    network::{Answer, Call, authority, may_visit},
    transfer::{Shown, TransferError},
};

/// The most bytes of a token server's answer.
const TOKEN_BYTES: u64 = 64 << 10;

/// A header to show, and what is in it.
#[derive(Clone)]
pub(crate) struct Shows {
    pub(crate) header: HeaderValue,
    pub(crate) shown: Shown,
}

/// `WWW-Authenticate`, as far as registries use it.
#[derive(Debug, Eq, PartialEq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// Works out what to show a registry that answered 401; `None` if we have nothing that it would take.
pub(super) async fn answer(registry: &Registry<'_>, refusal: &Answer) -> Result<Option<Shows>, TransferError> {
    let login = registry
        .network
        .credentials
        .of(&registry.host)
        .map_err(|source| TransferError::Credentials { host: registry.host.clone(), source })?;
    let challenges: Vec<_> = refusal
        .headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter_map(challenge)
        .collect();
    let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    match (bearer.or(challenges.first()), &login) {
        (Some(Challenge::Bearer { realm, service }), login) => {
            let token = token(registry, realm, service.as_deref(), login.as_ref()).await?;
            let shown = if login.is_some() { Shown::Credentials } else { Shown::Nothing };
            Ok(secret_header(&format!("Bearer {}", token.reveal())).map(|header| Shows { header, shown }))
        }
        (Some(Challenge::Basic), Some(Login::Password(user, password))) => {
            Ok(basic(user, password).map(|header| Shows { header, shown: Shown::Credentials }))
        }
        _ => Ok(None),
    }
}

async fn token(
    registry: &Registry<'_>,
    realm: &str,
    service: Option<&str>,
    login: Option<&Login>,
) -> Result<Secret, TransferError> {
    let realm_text = crate::json::printable(realm);
    let misled = |why| TransferError::Redirected { host: registry.host.clone(), to: realm_text.clone(), why };
    let mut url = Url::parse(realm).map_err(|_| misled("its token server is not a URL"))?;
    may_visit(&registry.base, &url).map_err(misled)?;
    let scope = match registry.access {
        Access::Read => format!("repository:{}:pull", registry.path),
        Access::Write => format!("repository:{}:pull,push", registry.path),
    };

    let origin = url.clone();
    let form;
    let mut header = None;
    let call = if let Some(Login::IdentityToken(secret)) = login {
        // oauth.md: a refresh token goes into the body of a POST.
        let mut pairs = url.clone();
        pairs.set_query(None);
        pairs
            .query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "bpfkit")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("scope", &scope)
            .append_pair("refresh_token", secret.reveal());
        form = pairs.query().unwrap_or_default().to_owned();
        let body = Some(("application/x-www-form-urlencoded", form.as_bytes()));
        Call { method: Method::POST, url, accept: None, body, max: TOKEN_BYTES }
    } else {
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(Login::Password(user, password)) = login {
            header = basic(user, password);
        }
        Call { method: Method::GET, url, accept: None, body: None, max: TOKEN_BYTES }
    };
    let answer = registry.network.send(&origin, &call, header.as_ref()).await?;
    if !answer.status.is_success() {
        let shown = if login.is_some() { Shown::Credentials } else { Shown::Nothing };
        return Err(registry.denied(&answer, shown));
    }
    let parsed: Option<Token> = serde_json::from_slice(&answer.body).ok();
    let token = parsed.and_then(|parsed| parsed.token.or(parsed.access_token)).filter(|token| !token.is_empty());
    token.map(Secret::new).ok_or_else(|| TransferError::Refused {
        place: registry.place(),
        doing: format!("get a token from `{}`", authority(&origin)),
        status: answer.status.as_u16(),
        said: "there is no token in the answer".to_owned(),
    })
}

fn basic(user: &str, password: &Secret) -> Option<HeaderValue> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    secret_header(&format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal()))))
}

fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Reads one challenge (RFC 9110, 11.6.1): a scheme, then `name="value"` with commas between.
fn challenge(text: &str) -> Option<Challenge> {
    let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    while let Some((name, after)) = rest.split_once('=') {
        let value;
        (value, rest) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_the_registries_in_the_field_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            challenge(hub),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into())
            })
        );
        assert_eq!(challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(
            challenge("bearer Realm=https://r/t , error=x"),
            Some(Challenge::Bearer { realm: "https://r/t ".into(), service: None })
        );
    }

    #[test]
    fn a_challenge_that_makes_no_sense_is_none() {
        for text in ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x", "=,=\"", "Bearer ==="] {
            assert_eq!(challenge(text), None, "{text}");
        }
    }

    #[test]
    fn a_header_with_a_secret_does_not_print_it() {
        let header = basic("ana", &Secret::new("hunter2".into())).unwrap();
        assert!(!format!("{header:?}").contains("aHVudGVyMg"));
        assert!(!format!("{:?}", Login::Password("ana".into(), Secret::new("hunter2".into()))).contains("hunter2"));
    }
}
