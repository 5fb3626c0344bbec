//! Each field of a trust block denies on its own; and a block that means nothing isn't a policy.

use super::*;

#[test]
fn default_rejects_what_no_scope_covers() {
    let nothing = TrustBlock { org: BTreeMap::new(), ..block() };
    assert_eq!(kept_out(&nothing, &[by(&PEOPLE.ana)]), ["T002"]);
    let_in(&block(), &[by(&PEOPLE.ana)]);
    let elsewhere = |scope: &str| TrustBlock {
        org: [(scope.to_owned(), demands(&[(Role::Author, quorum(1, &["ana"]))]))].into(),
        ..block()
    };
    for scope in [
        "registry.example/acm",
        "registry.example/acme-evil",
        "registry.example/acme/edge/x",
        "registry.exampl",
        "example/acme",
    ] {
        assert_eq!(kept_out(&elsewhere(scope), &[by(&PEOPLE.ana)]), ["T002"], "{scope}");
    }
    for scope in ["registry.example", "registry.example/acme", "registry.example/acme/edge"] {
        let_in(&elsewhere(scope), &[by(&PEOPLE.ana)]);
    }
}

#[test]
fn keys_pem_says_who_it_is() {
    let mut other = block();
    other.keys.insert(name("ana"), trusted(&PEOPLE.eve));
    assert_eq!(kept_out(&other, &[by(&PEOPLE.ana)]), ["T004", "T009"]);
    let_in(&other, &[by(&PEOPLE.eve)]);
}

#[test]
fn keys_not_after_is_the_last_day_in_utc() {
    let mut dated = block();
    let mut until = |day: &str| {
        dated.keys.get_mut(&name("ana")).unwrap().not_after = Some(day.parse().unwrap());
        dated.clone()
    };
    assert_eq!(kept_out(&until("2026-11-21"), &[by(&PEOPLE.ana)]), ["T004", "T008"]);
    let_in(&until("2026-11-22"), &[by(&PEOPLE.ana)]);
    let last_day = policy(&until("2026-11-22"));
    let at = |now: &str| decide(&last_day, edge(vec![by(&PEOPLE.ana)]), &asked(Word::Reference), now.parse().unwrap());
    assert!(at("2026-11-22T23:59:59Z").is_ok());
    assert!(at("2026-11-23T00:00:00Z").is_err());
    assert!(at("2026-11-23T00:30:00+01:00").is_ok(), "still the 22nd in UTC");
}

#[test]
fn org_and_image_do_not_merge_and_the_most_specific_one_holds() {
    let image = |keys: &[&str]| [(EDGE.to_owned(), demands(&[(Role::Author, quorum(1, keys))]))].into();
    // The image's own entry asks for bob; what the org says about ana no longer matters, and the reverse.
    let narrowed = TrustBlock { image: image(&["bob"]), ..block() };
    assert_eq!(kept_out(&narrowed, &[by(&PEOPLE.ana)]), ["T004", "T016"]);
    let_in(&narrowed, &[by(&PEOPLE.bob)]);
    // Of two prefixes the longer one.
    let mut nested = block();
    nested.org.insert("registry.example".to_owned(), demands(&[(Role::Author, quorum(1, &["bob"]))]));
    assert_eq!(kept_out(&nested, &[by(&PEOPLE.bob)]), ["T004", "T016"]);
    let_in(&nested, &[by(&PEOPLE.ana)]);
    assert_eq!(policy(&nested).scope_of(&repository(EDGE)), Some(ScopeName::Org("registry.example/acme".to_owned())));
    assert_eq!(policy(&narrowed).scope_of(&repository(EDGE)), Some(ScopeName::Image(EDGE.to_owned())));
    // An image's entry covers that repository alone.
    let only = TrustBlock {
        org: BTreeMap::new(),
        image: [("registry.example/acme".to_owned(), demands(&[(Role::Author, quorum(1, &["ana"]))]))].into(),
        ..block()
    };
    assert_eq!(kept_out(&only, &[by(&PEOPLE.ana)]), ["T002"]);
}

#[test]
fn every_role_that_is_named_must_be_satisfied() {
    let both = demanding(&[(Role::Author, quorum(1, &["ana"])), (Role::Repository, quorum(1, &["repo"]))]);
    assert_eq!(kept_out(&both, &[by(&PEOPLE.ana)]), ["T004"]);
    assert_eq!(kept_out(&both, &[by(&PEOPLE.repo)]), ["T004"]);
    assert_eq!(kept_out(&both, &[by(&PEOPLE.bob)]), ["T004", "T004", "T016"]);
    let_in(&both, &[by(&PEOPLE.ana), by(&PEOPLE.repo)]);
    let reviewed = demanding(&[(Role::Author, quorum(1, &["ana"])), (Role::Reviewer, quorum(1, &["bob"]))]);
    assert_eq!(kept_out(&reviewed, &[by(&PEOPLE.ana)]), ["T004"]);
    let_in(&reviewed, &[by(&PEOPLE.ana), by(&PEOPLE.bob)]);
}

#[test]
fn threshold_counts_keys() {
    let two = demanding(&[(Role::Author, quorum(2, &["ana", "bob", "repo"]))]);
    assert_eq!(kept_out(&two, &[by(&PEOPLE.ana)]), ["T004"]);
    let_in(&two, &[by(&PEOPLE.ana), by(&PEOPLE.bob)]);
    let_in(&two, &[by(&PEOPLE.repo), by(&PEOPLE.bob)]);
    let three = demanding(&[(Role::Author, quorum(3, &["ana", "bob", "repo"]))]);
    assert_eq!(kept_out(&three, &[by(&PEOPLE.ana), by(&PEOPLE.bob)]), ["T004"]);
    let_in(&three, &[by(&PEOPLE.ana), by(&PEOPLE.bob), by(&PEOPLE.repo)]);
}

#[test]
fn from_says_which_keys_count() {
    let bobs = demanding(&[(Role::Author, quorum(1, &["bob"]))]);
    assert_eq!(kept_out(&bobs, &[by(&PEOPLE.ana)]), ["T004", "T016"]);
    let_in(&bobs, &[by(&PEOPLE.bob)]);
}

#[test]
fn claims_bound_asks_for_repository_and_version_and_digest_only_excuses_silence_alone() {
    let payload = |annotations: &str| {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}},"annotations":{{{annotations}}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
            INDEX.hex()
        )
    };
    let signed = |annotations: &str| [hung_on(*INDEX, handmade(&PEOPLE.ana, PAYLOAD_TYPE, &payload(annotations)))];
    let mut lax = block();
    lax.org.values_mut().next().unwrap().claims = Claims::DigestOnly;

    let (here, there) = (
        r#""dev.bpfkit.repository":"registry.example/acme/edge""#,
        r#""dev.bpfkit.repository":"registry.example/evil/edge""#,
    );
    let (this, that) = (r#""dev.bpfkit.version":"1.4""#, r#""dev.bpfkit.version":"1.3""#);
    let_in(&block(), &signed(&format!("{here},{this}")));
    for (annotations, bound, digest_only) in [
        (String::new(), vec!["T004", "T007"], vec![]),
        (here.to_owned(), vec!["T004", "T007"], vec![]),
        (this.to_owned(), vec!["T004", "T007"], vec![]),
        (format!("{there},{this}"), vec!["T004", "T005"], vec!["T004", "T005"]),
        (format!("{here},{that}"), vec!["T004", "T006"], vec!["T004", "T006"]),
        (there.to_owned(), vec!["T004", "T005", "T007"], vec!["T004", "T005"]),
        (format!("{there},{that}"), vec!["T004", "T005", "T006"], vec!["T004", "T005", "T006"]),
    ] {
        assert_eq!(kept_out(&block(), &signed(&annotations)), bound, "{annotations}");
        if digest_only.is_empty() {
            let_in(&lax, &signed(&annotations));
        } else {
            assert_eq!(kept_out(&lax, &signed(&annotations)), digest_only, "{annotations}");
        }
    }
}

#[test]
fn unsigned_waives_with_a_reason_that_shows_and_only_what_it_names() {
    let decided = |block: &TrustBlock, word| decide(&policy(block), edge(Vec::new()), &asked(word), now());
    let waiving = |what| TrustBlock { unsigned: vec![waiver(what)], ..block() };

    assert_eq!(codes(&decided(&block(), Word::Manifest).unwrap_err()), ["T003"]);
    let set = waiving(Waived::Set("edge".parse().unwrap()));
    let lines = decided(&set, Word::Manifest).unwrap().grounds().lines();
    assert_eq!(lines, [r#"set `edge` waived: "built on this host""#]);
    let guard = waiving(Waived::Program(program("guard")));
    let lines = decided(&guard, Word::Manifest).unwrap().grounds().lines();
    assert_eq!(lines, [r#"program `guard` waived: "built on this host""#]);
    for what in [Waived::Set("other".parse().unwrap()), Waived::Program(program("other"))] {
        assert_eq!(codes(&decided(&waiving(what), Word::Manifest).unwrap_err()), ["T003"]);
    }
    // A name is not enough for somebody else's bundle.
    assert_eq!(codes(&decided(&set, Word::Reference).unwrap_err()), ["T003", "T018"]);
    assert_eq!(codes(&decided(&guard, Word::Reference).unwrap_err()), ["T003"]);
}

#[test]
fn a_waiver_of_the_set_excuses_no_other_set_or_version() {
    let set = TrustBlock { unsigned: vec![waiver(Waived::Set("edge".parse().unwrap()))], ..block() };
    let decided = |change: fn(&mut SetConfig)| {
        let mut fetched = edge(Vec::new());
        change(&mut fetched.config);
        decide(&policy(&set), fetched, &asked(Word::Manifest), now())
    };
    assert!(decided(|_| ()).is_ok());
    assert_eq!(codes(&decided(|config| config.set = "other".parse().unwrap()).unwrap_err()), ["T017"]);
    assert_eq!(codes(&decided(|config| config.version = tag("1.3")).unwrap_err()), ["T006"]);
    assert_eq!(
        codes(&decided(|config| config.repository = repository("registry.example/evil/edge")).unwrap_err()),
        ["T005"]
    );
}

#[test]
fn a_block_that_means_nothing_is_no_policy() {
    let problems = |block: TrustBlock| -> Vec<&'static str> {
        let error = Policy::new(&block).unwrap_err();
        error.diagnose().iter().map(|one| one.code.as_str()).collect()
    };
    let with_key = |text: &str, pem: String| {
        let mut block = block();
        block.keys.insert(name(text), TrustedKey { pem, not_after: None });
        block
    };
    assert!(Policy::new(&block()).is_ok());
    assert!(Policy::new(&TrustBlock::default()).is_ok(), "an empty block trusts nothing, and may");

    assert_eq!(problems(with_key("ana2", PEOPLE.ana.public().pem().to_owned())), ["T101"]);
    // The same key spelt otherwise is the same key.
    assert_eq!(problems(with_key("ana2", PEOPLE.ana.public().pem().replace('\n', "\r\n"))), ["T101"]);
    for pem in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "trust/ana.pub"] {
        assert_eq!(problems(with_key("ana", pem.to_owned())), ["T102"], "{pem}");
    }
    assert_eq!(problems(demanding(&[(Role::Author, quorum(1, &["ana", "carl"]))])), ["T103"]);
    assert_eq!(problems(demanding(&[(Role::Author, quorum(1, &[]))])), ["T104"]);
    assert_eq!(problems(demanding(&[])), ["T104"]);
    assert_eq!(problems(demanding(&[(Role::Author, quorum(3, &["ana", "bob"]))])), ["T105"]);
    assert_eq!(problems(demanding(&[(Role::Author, quorum(2, &["ana", "ana"]))])), ["T105"]);
    for scope in [
        "",
        "registry.example/acme/",
        "https://registry.example/acme",
        "registry.example/*",
        "registry.example/acme:1",
        "/acme",
    ] {
        let scopes: BTreeMap<_, _> = [(scope.to_owned(), demands(&[(Role::Author, quorum(1, &["ana"]))]))].into();
        assert_eq!(problems(TrustBlock { org: scopes.clone(), ..block() }), ["T106"], "{scope}");
        assert_eq!(problems(TrustBlock { image: scopes, ..block() }), ["T106"], "{scope}");
    }
    let silent = Waiver { what: Waived::Program(program("guard")), because: " ".to_owned() };
    assert_eq!(problems(TrustBlock { unsigned: vec![silent], ..block() }), ["T107"]);
    let twice = vec![waiver(Waived::Program(program("guard"))); 2];
    assert_eq!(problems(TrustBlock { unsigned: twice, ..block() }), ["T107"]);
}

#[test]
fn every_problem_of_a_block_is_told_at_once() {
    let mut block = demanding(&[(Role::Author, quorum(1, &[])), (Role::Reviewer, quorum(2, &["bob"]))]);
    block.keys.insert(name("ana2"), trusted(&PEOPLE.ana));
    block.keys.insert(name("zoe"), TrustedKey { pem: "junk".to_owned(), not_after: None });
    assert_eq!(Policy::new(&block).unwrap_err().problems.len(), 4);
}

#[test]
fn a_host_without_a_policy_gets_one_to_begin_with_that_works() {
    let none = NoPolicy { repository: repository(EDGE) };
    let said = &none.diagnose()[0];
    assert_eq!(said.code.as_str(), "T001");
    assert!(said.notes[0].contains("registry.example/acme/edge:"), "{said:?}");

    let text = starter_policy(&repository(EDGE), Some(PEOPLE.ana.public().pem()));
    let source = bpfkit_schemas::Source::new("/etc/bpfkit/trust.yml", text);
    let read = bpfkit_schemas::manifest::check_policy(&source, &[]).unwrap();
    assert!(read.files.is_empty());
    let_in(&read.block, &[by(&PEOPLE.ana)]);
    assert_eq!(kept_out(&read.block, &[by(&PEOPLE.bob)]), ["T004", "T009"]);

    let source = bpfkit_schemas::Source::new("/etc/bpfkit/trust.yml", starter_policy(&repository(EDGE), None));
    assert_eq!(bpfkit_schemas::manifest::check_policy(&source, &[]).unwrap().files.len(), 1);
}
