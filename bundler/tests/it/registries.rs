//! Debian's docker-registry, which has no referrers API: push, pull, signatures under the fallback tag.

use bpfkit_bundler::{Credentials, Limits, PushEvent, add_signature, bundle, copy, list, pin, pull, push, push::Sent};
use bpfkit_schemas::{Code, reference::Pinned};

use crate::fixture::{Registry, amd64, arm64, at, codes, edge, lay_out, network, network_with};

fn sent(events: &[PushEvent]) -> usize {
    events
        .iter()
        .filter(|event| match event {
            PushEvent::Blob { sent, .. }
            | PushEvent::Manifest { sent, .. }
            | PushEvent::Referrer { sent, .. }
            | PushEvent::Tagged { sent, .. } => *sent == Sent::Now,
            PushEvent::Skipped { .. } => false,
        })
        .count()
}

#[test]
fn a_set_goes_to_a_registry_and_comes_back() {
    let registry = Registry::start();
    let here = lay_out(&edge("1.0"));
    let to = registry.place("bpf/edge");
    let network = network();
    let mut events = Vec::new();
    let pushed = push(&network, &here.layout, &"1.0".parse().unwrap(), &to, &mut |event| events.push(event)).unwrap();
    assert_eq!(pushed, Pinned { place: to.clone(), digest: here.bundled.pinned.digest });
    assert!(
        matches!(events.last(), Some(PushEvent::Tagged { tag, .. }) if tag.as_str() == "1.0"),
        "the version's tag comes last"
    );
    assert_eq!(pin(&network, &at(&to, "1.0")).unwrap(), pushed);
    let local = pull(&network, &here.bundled.pinned, amd64(), &Limits::default()).unwrap();
    let remote = pull(&network, &pushed, amd64(), &Limits::default()).unwrap();
    assert_eq!((&remote.config, &remote.objects, &remote.manifest), (&local.config, &local.objects, &local.manifest));
    let (mut a, b) = (list(&network, &pushed).unwrap(), list(&network, &here.bundled.pinned).unwrap());
    a.pinned = b.pinned.clone();
    assert_eq!(a, b);
}

#[test]
fn pushing_twice_sends_nothing() {
    let registry = Registry::start();
    let here = lay_out(&edge("1.0"));
    here.layout.add_signature(&here.bundled.pinned.digest, b"{}", std::collections::BTreeMap::default()).unwrap();
    let mut events = Vec::new();
    for _ in 0..2 {
        events.clear();
        push(&network(), &here.layout, &"1.0".parse().unwrap(), &registry.place("edge"), &mut |event| {
            events.push(event);
        })
        .unwrap();
    }
    assert!(!events.is_empty());
    assert_eq!(sent(&events), 0, "{events:?}");
}

#[test]
fn a_second_signature_joins_the_first_under_the_fallback_tag() {
    let registry = Registry::start();
    let here = lay_out(&edge("1.0"));
    let (network, to) = (network(), registry.place("edge"));
    let digest = here.bundled.pinned.digest;
    here.layout.add_signature(&digest, b"{\"first\":1}", std::collections::BTreeMap::default()).unwrap();
    let pushed = push(&network, &here.layout, &"1.0".parse().unwrap(), &to, &mut |_| ()).unwrap();
    // One more where it lies, one more from here.
    add_signature(&network, &pushed, b"{\"second\":2}", std::collections::BTreeMap::default()).unwrap();
    here.layout.add_signature(&digest, b"{\"third\":3}", std::collections::BTreeMap::default()).unwrap();
    push(&network, &here.layout, &"1.0".parse().unwrap(), &to, &mut |_| ()).unwrap();
    let signatures = pull(&network, &pushed, arm64(), &Limits::default()).unwrap().signatures;
    let mut texts: Vec<_> = signatures.iter().map(|s| String::from_utf8_lossy(&s.bytes).into_owned()).collect();
    texts.sort();
    assert_eq!(texts, ["{\"first\":1}", "{\"second\":2}", "{\"third\":3}"]);
}

#[test]
fn a_tag_that_moved_is_said_to_have_moved() {
    let registry = Registry::start();
    let here = lay_out(&edge("1.0"));
    let to = registry.place("edge");
    push(&network(), &here.layout, &"1.0".parse().unwrap(), &to, &mut |_| ()).unwrap();
    let mut other = edge("1.0");
    other.manifest_yaml.push(b'\n');
    bundle(&here.layout, &other).unwrap();
    let mut moved = None;
    push(&network(), &here.layout, &"1.0".parse().unwrap(), &to, &mut |event| {
        if let PushEvent::Tagged { tag, before: Some(before), .. } = event
            && tag.as_str() == "1.0"
        {
            moved = Some(before);
        }
    })
    .unwrap();
    assert_eq!(moved, Some(here.bundled.pinned.digest));
}

#[test]
fn what_is_not_there_is_not_found() {
    let registry = Registry::start();
    let reference = at(&registry.place("nobody/nothing"), "1");
    assert_eq!(codes(&pin(&network(), &reference).unwrap_err()), [Code::BUNDLE_NOT_FOUND]);
}

#[test]
fn a_registry_with_a_password_takes_the_right_one_alone() {
    let registry = Registry::with_password();
    let here = lay_out(&edge("1.0"));
    let to = registry.place("edge");
    let version = "1.0".parse().unwrap();
    let config = here.dir.path().join("config.json");
    let login = |user_and_password: &str| {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(user_and_password);
        let text = serde_json::json!({"auths": {format!("127.0.0.1:{}", registry.port): {"auth": auth}}});
        std::fs::write(&config, text.to_string()).unwrap();
        network_with(Credentials::from_file(&config))
    };
    let denied = push(&network(), &here.layout, &version, &to, &mut |_| ()).unwrap_err();
    assert_eq!(codes(&denied), [Code::DENIED]);
    let denied = push(&login("ana:wrong"), &here.layout, &version, &to, &mut |_| ()).unwrap_err();
    assert_eq!(codes(&denied), [Code::DENIED]);
    let right = login("ana:hunter2");
    let pushed = push(&right, &here.layout, &version, &to, &mut |_| ()).unwrap();
    pull(&right, &pushed, amd64(), &Limits::default()).unwrap();
    assert_eq!(codes(&pull(&network(), &pushed, amd64(), &Limits::default()).unwrap_err()), [Code::DENIED]);
}

#[test]
fn a_copy_from_one_registry_to_another_carries_the_signatures() {
    let (a, b) = (Registry::start(), Registry::start());
    let here = lay_out(&edge("1.0"));
    here.layout.add_signature(&here.bundled.pinned.digest, b"{}", std::collections::BTreeMap::default()).unwrap();
    let pushed = push(&network(), &here.layout, &"1.0".parse().unwrap(), &a.place("edge"), &mut |_| ()).unwrap();
    let copied = copy(&network(), &pushed, &b.place("mirror/edge"), &mut |_| ()).unwrap();
    assert_eq!(copied.digest, pushed.digest);
    assert_eq!(pin(&network(), &at(&b.place("mirror/edge"), "1.0")).unwrap(), copied);
    assert_eq!(pull(&network(), &copied, amd64(), &Limits::default()).unwrap().signatures.len(), 1);
}
