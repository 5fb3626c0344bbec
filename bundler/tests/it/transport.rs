//! Registries that lie, break off, send us away or want our credentials, each beside one that behaves.

use std::{
    io::Read as _,
    net::TcpListener,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bpfkit_bundler::{Credentials, Layout, Limits, Network, PushEvent, copy, hash::sha256, pin, pull};
use bpfkit_schemas::{
    Code,
    names::Digest,
    reference::{Pinned, Place},
};

use crate::{
    fixture::{amd64, at, codes, edge, lay_out, network, network_with},
    server::{Asked, Say, Server},
};

/// Serves a layout as an honest registry would, without a referrers API.
fn honest(layout: &Layout, asked: &Asked) -> Say {
    let last = asked.path.rsplit('/').next().unwrap();
    let digest: Option<Digest> = last.parse().ok().or_else(|| layout.tag(&last.parse().ok()?).ok().flatten());
    match digest.and_then(|digest| layout.blob(&digest, 1 << 20).ok()) {
        Some(bytes) if !asked.path.contains("/referrers/") => Say::new(200, bytes),
        _ => Say::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}"#),
    }
}

/// A registry that is honest but for what `answer` gives.
fn but(answer: impl Fn(&Asked) -> Option<Say> + Send + Sync + 'static) -> (Server, Pinned) {
    let here = lay_out(&edge("1.0"));
    let digest = here.bundled.pinned.digest;
    let server = Server::start(move |asked| {
        // The whole of it, so that the directory lives as long as the server.
        let here = &here;
        answer(asked).unwrap_or_else(|| honest(&here.layout, asked))
    });
    let pinned = Pinned { place: server.place(), digest };
    (server, pinned)
}

fn refusal(network: &Network, pinned: &Pinned) -> Code {
    let error = pull(network, pinned, amd64(), &Limits::default()).unwrap_err();
    codes(&error)[0]
}

fn is_blob(asked: &Asked) -> bool {
    asked.path.contains("/blobs/")
}

#[test]
fn the_twin_of_all_these_is_pulled() {
    let (server, pinned) = but(|_| None);
    assert_eq!(pin(&network(), &at(&server.place(), "1.0")).unwrap(), pinned);
    pull(&network(), &pinned, amd64(), &Limits::default()).unwrap();
}

#[test]
fn other_bytes_than_the_digests_are_refused_wherever_they_come() {
    let (_server, pinned) = but(|asked| (asked.path.contains("/manifests/sha256:")).then(|| Say::new(200, "{}")));
    assert_eq!(refusal(&network(), &pinned), Code::WRONG_DIGEST);
    let (_server, pinned) = but(|asked| {
        is_blob(asked)
            .then(|| Say::new(200, "x").header("Docker-Content-Digest", asked.path.rsplit('/').next().unwrap()))
    });
    assert_eq!(refusal(&network(), &pinned), Code::TRUNCATED, "a blob that is too short");
    let here = lay_out(&edge("1.0"));
    let digest = here.bundled.pinned.digest;
    let server = Server::start(move |asked| {
        let here = &here;
        let mut say = honest(&here.layout, asked);
        if is_blob(asked) {
            say = say.flipped();
        }
        say
    });
    assert_eq!(refusal(&network(), &Pinned { place: server.place(), digest }), Code::WRONG_DIGEST);
}

#[test]
fn a_digest_header_is_not_believed_about_a_tag() {
    let lie = sha256(b"something else").to_string();
    let here = lay_out(&edge("1.0"));
    let truth = here.bundled.pinned.digest;
    let server = Server::start(move |asked| {
        let here = &here;
        honest(&here.layout, asked).header("Docker-Content-Digest", lie.clone())
    });
    assert_eq!(pin(&network(), &at(&server.place(), "1.0")).unwrap().digest, truth);
}

#[test]
fn an_answer_that_breaks_off_is_refused() {
    let (_server, pinned) = but(|asked| is_blob(asked).then(|| Say::new(200, "abc").claiming(100)));
    assert_eq!(refusal(&network(), &pinned), Code::TRUNCATED);
    let (_server, pinned) =
        but(|asked| asked.path.contains("/manifests/sha256:").then(|| Say::new(200, "{").claiming(100)));
    assert_eq!(refusal(&network(), &pinned), Code::TRUNCATED);
}

#[test]
fn more_bytes_than_promised_or_allowed_are_not_read() {
    let (_server, pinned) = but(|asked| is_blob(asked).then(|| Say::new(200, vec![0; 1 << 20])));
    assert_eq!(refusal(&network(), &pinned), Code::TOO_LARGE);
    let (_server, pinned) =
        but(|asked| asked.path.contains("/manifests/sha256:").then(|| Say::new(200, vec![b' '; (4 << 20) + 1])));
    assert_eq!(refusal(&network(), &pinned), Code::TOO_LARGE);
    // Announced only: refused before a byte of it.
    let (_server, pinned) =
        but(|asked| asked.path.contains("/manifests/sha256:").then(|| Say::new(200, "{").claiming(1 << 40)));
    assert_eq!(refusal(&network(), &pinned), Code::TOO_LARGE);
}

#[test]
fn nobody_there_and_nobody_answering_are_unreachable_and_take_no_time() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = |port: u16| Place::Registry(format!("127.0.0.1:{port}/edge").parse().unwrap());
    assert_eq!(codes(&pin(&network(), &at(&place(port), "1")).unwrap_err()), [Code::UNREACHABLE]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let since = Instant::now();
    let error = pin(&network(), &at(&place(silent.local_addr().unwrap().port()), "1")).unwrap_err();
    assert_eq!(codes(&error), [Code::UNREACHABLE]);
    assert!(since.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_hiccup_is_tried_again_and_a_lasting_failure_is_told() {
    let count = AtomicUsize::new(0);
    let (_server, pinned) = but(move |_| (count.fetch_add(1, Ordering::Relaxed) < 2).then(|| Say::new(503, "")));
    pull(&network(), &pinned, amd64(), &Limits::default()).unwrap();
    let (server, pinned) = but(|asked| is_blob(asked).then(|| Say::new(500, "<html>")));
    assert_eq!(refusal(&network(), &pinned), Code::REGISTRY_REFUSED);
    let config = server.asked().into_iter().find(is_blob).unwrap().path;
    assert_eq!(server.asked().iter().filter(|asked| asked.path == config).count(), 3);
}

#[test]
fn anywhere_but_on_loopback_tls_is_spoken() {
    // 0.0.0.0 reaches this machine, and is no loopback address.
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let first = std::thread::spawn(move || {
        let mut byte = [0; 1];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        byte[0]
    });
    let place = Place::Registry(format!("0.0.0.0:{port}/edge").parse().unwrap());
    assert_eq!(codes(&pin(&network(), &at(&place, "1")).unwrap_err()), [Code::UNREACHABLE]);
    assert_eq!(first.join().unwrap(), 0x16, "the first byte of a TLS handshake");
}

/// A credential file for a server.
fn login(server_port: u16, dir: &tempfile::TempDir) -> Network {
    let file = dir.path().join("config.json");
    let text =
        serde_json::json!({"auths": {format!("127.0.0.1:{server_port}"): {"username": "ana", "password": "hunter2"}}});
    std::fs::write(&file, text.to_string()).unwrap();
    network_with(Credentials::from_file(file))
}

#[test]
fn a_redirect_to_another_origin_carries_no_credentials() {
    let here = lay_out(&edge("1.0"));
    let digest = here.bundled.pinned.digest;
    let layout = here.layout.clone();
    let store = Server::start(move |asked| honest(&layout, asked));
    let port = store.port;
    let layout = here.layout.clone();
    let registry =
        Server::start(move |asked| match (&asked.authorization, is_blob(asked), asked.path.ends_with("/here")) {
            (None, ..) => Say::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
            // Half of the blobs are in this origin, and need the credentials still.
            (_, true, false) if asked.path.as_bytes().last().unwrap() % 2 == 0 => {
                Say::new(307, "").header("Location", format!("{}/here", asked.path))
            }
            (_, true, false) => Say::new(307, "").header("Location", format!("http://127.0.0.1:{port}{}", asked.path)),
            (_, true, true) => {
                honest(&layout, &Asked { path: asked.path.trim_end_matches("/here").to_owned(), ..asked.clone() })
            }
            _ => honest(&layout, asked),
        });
    let pinned = Pinned { place: registry.place(), digest };
    pull(&login(registry.port, &here.dir), &pinned, amd64(), &Limits::default()).unwrap();
    assert!(registry.asked().iter().filter(|asked| is_blob(asked)).all(|asked| asked.authorization.is_some()));
    assert!(store.asked().iter().all(|asked| asked.authorization.is_none()), "{:?}", store.asked());
    assert!(!store.asked().is_empty());
}

#[test]
fn a_redirect_to_plain_http_elsewhere_or_in_circles_is_not_followed() {
    for to in ["http://0.0.0.0:1/x", "ftp://127.0.0.1/x", "http://localhost.example/x", "file:///etc/passwd"] {
        let (_server, pinned) = but(move |asked| is_blob(asked).then(|| Say::new(302, "").header("Location", to)));
        assert_eq!(refusal(&network(), &pinned), Code::REDIRECTED, "{to}");
    }
    let (server, pinned) =
        but(|asked| is_blob(asked).then(|| Say::new(302, "").header("Location", asked.path.clone())));
    assert_eq!(refusal(&network(), &pinned), Code::REDIRECTED);
    let path = server.asked().into_iter().find(is_blob).unwrap().path;
    assert_eq!(server.asked().iter().filter(|asked| asked.path == path).count(), 6);
}

#[test]
fn a_token_server_gets_the_credentials_over_tls_or_loopback_alone() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Server::start(|asked| {
        assert!(
            asked.path.contains("service=s") && asked.path.contains("scope=repository%3Aedge%3Apull"),
            "{}",
            asked.path
        );
        Say::new(200, r#"{"token":"sesame"}"#)
    });
    let bearer = |port: u16, host: &'static str| {
        move |asked: &Asked| {
            (asked.authorization.as_deref() != Some("Bearer sesame")).then(|| {
                Say::new(401, "")
                    .header("WWW-Authenticate", format!("Bearer realm=\"http://{host}:{port}/t\",service=\"s\""))
            })
        }
    };
    let (registry, pinned) = but(bearer(tokens.port, "127.0.0.1"));
    pull(&login(registry.port, &dir), &pinned, amd64(), &Limits::default()).unwrap();
    assert_eq!(tokens.asked().len(), 1, "one token does for all of it");
    assert_eq!(tokens.asked()[0].authorization.as_deref(), Some("Basic YW5hOmh1bnRlcjI="));
    // Without credentials a token is asked for all the same: that is how public repositories work.
    pull(&network(), &pinned, amd64(), &Limits::default()).unwrap();
    assert_eq!(tokens.asked()[1].authorization, None);

    let (registry, pinned) = but(bearer(tokens.port, "0.0.0.0"));
    assert_eq!(refusal(&login(registry.port, &dir), &pinned), Code::REDIRECTED);
    assert_eq!(tokens.asked().len(), 2);
}

#[test]
fn a_credential_helper_has_a_name_and_not_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, pinned) = but(|_| Some(Say::new(401, "").header("WWW-Authenticate", "Basic realm=x")));
    for (text, code) in [
        (r#"{"credsStore":"../../tmp/evil"}"#.to_owned(), Code::BAD_CREDENTIALS),
        (format!(r#"{{"credHelpers":{{"127.0.0.1:{}":"a;b"}}}}"#, registry.port), Code::BAD_CREDENTIALS),
        (r#"{"credsStore":"there-is-no-such-helper"}"#.to_owned(), Code::BAD_CREDENTIALS),
        ("not json".to_owned(), Code::BAD_CREDENTIALS),
        (r#"{"auths":{}}"#.to_owned(), Code::DENIED),
    ] {
        let file = dir.path().join("config.json");
        std::fs::write(&file, &text).unwrap();
        assert_eq!(refusal(&network_with(Credentials::from_file(file)), &pinned), code, "{text}");
    }
    assert_eq!(refusal(&network_with(Credentials::from_file(dir.path().join("none"))), &pinned), Code::DENIED);
}

#[test]
fn referrers_come_by_the_api_page_by_page_where_there_is_one() {
    let here = lay_out(&edge("1.0"));
    let digest = here.bundled.pinned.digest;
    for text in ["{\"a\":1}", "{\"b\":2}"] {
        here.layout.add_signature(&digest, text.as_bytes(), std::collections::BTreeMap::default()).unwrap();
    }
    let entries = here.layout.referrers(&digest).unwrap();
    let server = Server::start(move |asked| {
        let here = &here;
        if !asked.path.contains("/referrers/") {
            return honest(&here.layout, asked);
        }
        let page = |entry| serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        let index = "application/vnd.oci.image.index.v1+json";
        if !asked.path.contains(&digest.to_string()) {
            Say::new(200, r#"{"schemaVersion":2,"manifests":[]}"#).header("Content-Type", index)
        } else if asked.path.ends_with("?page=2") {
            Say::new(200, page(&entries[1])).header("Content-Type", index)
        } else {
            let next = format!("<{}?page=2>; rel=\"next\"", asked.path);
            Say::new(200, page(&entries[0])).header("Content-Type", index).header("Link", next)
        }
    });
    let fetched = pull(&network(), &Pinned { place: server.place(), digest }, amd64(), &Limits::default()).unwrap();
    assert_eq!(fetched.signatures.len(), 2);
}

#[test]
fn a_web_page_in_the_place_of_referrers_is_no_list() {
    let (_server, pinned) = but(|asked| {
        asked.path.contains("/referrers/").then(|| Say::new(200, "<html>").header("Content-Type", "text/html"))
    });
    assert!(pull(&network(), &pinned, amd64(), &Limits::default()).unwrap().signatures.is_empty());
}

#[test]
fn manifests_count_as_they_come_and_nothing_is_asked_for_once_all_is_spent() {
    let (server, pinned) = but(|_| None);
    let with = |total_bytes| {
        let limits = Limits { total_bytes, ..Limits::default() };
        pull(&network(), &pinned, amd64(), &limits).map(|_| ()).map_err(|error| codes(&error))
    };
    assert_eq!(with(40_000), Ok(()));
    let whole = server.asked().len();
    assert_eq!(with(100), Err(vec![Code::TOO_LARGE]));
    assert!(server.asked().len() - whole <= 3, "the index, and its referrers: {:?}", server.asked());
}

#[test]
fn a_referrer_that_is_listed_and_not_there_stops_no_copy() {
    let lost = sha256(b"lost");
    let listed = move |asked: &Asked| {
        let entry = serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 4, "digest": lost.to_string()});
        let list = serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        let index = "application/vnd.oci.image.index.v1+json";
        asked.path.contains("/referrers/").then(|| Say::new(200, list).header("Content-Type", index))
    };
    let (_server, pinned) = but(listed);
    let dir = tempfile::tempdir().unwrap();
    let to = Place::Layout(dir.path().join("copy"));
    let mut skipped = 0;
    let on = &mut |event| skipped += usize::from(event == PushEvent::Skipped { digest: lost, subject: pinned.digest });
    let copied = copy(&network(), &pinned, &to, on).unwrap();
    assert_eq!(skipped, 1);
    assert_eq!(pull(&network(), &copied, amd64(), &Limits::default()).unwrap().ignored_referrers, 0);

    // A registry that fails is another matter: what it didn't show may be the signature that counts.
    let (_server, pinned) = but(move |asked| {
        asked.path.ends_with(&lost.to_string()).then(|| Say::new(500, "{}")).or_else(|| listed(asked))
    });
    let to = Place::Layout(dir.path().join("other"));
    assert_eq!(codes(&copy(&network(), &pinned, &to, &mut |_| ()).unwrap_err()), [Code::REGISTRY_REFUSED]);
}
