//! Attacks that are the decision's to stop, each beside the honest case that it imitates.
//!
//! The numbers are those of the project's threat list.

use bpfkit_bundler::statement::Statement;

use super::*;

/// One attack: what hangs on the bundle, under which block, and the codes of the refusal.
struct Attack {
    number: u8,
    name: &'static str,
    block: TrustBlock,
    honest: Vec<RawSignature>,
    hostile: Vec<RawSignature>,
    codes: &'static [&'static str],
}

fn statement(said: &Said) -> String {
    String::from_utf8(Statement::new(*INDEX, said).to_bytes().unwrap()).unwrap()
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to)
}

#[expect(clippy::too_many_lines, reason = "a table, one attack after another")]
fn attacks() -> Vec<Attack> {
    let People { ana, bob, repo, .. } = &*PEOPLE;
    let two = || demanding(&[(Role::Author, quorum(2, &["ana", "bob"]))]);
    let layered = || demanding(&[(Role::Author, quorum(1, &["ana"])), (Role::Repository, quorum(1, &["repo"]))]);
    let claiming = |key, role| signature_of(key, *INDEX, &said(Some(role)));
    let elsewhere = |repository_name: &str, version: &str| {
        signature_of(ana, *INDEX, &Said { repository: repository(repository_name), version: tag(version), role: None })
    };
    let good = statement(&said(None));
    let one = format!(r#"{{"digest":{{"sha256":"{}"}}"#, INDEX.hex());
    let other_first =
        replaced(&good, r#""subject":["#, &format!(r#""subject":[{{"digest":{{"sha256":"{}"}}}},"#, IMAGE.hex()));
    let two_digests = replaced(&good, &one, &format!(r#"{{"digest":{{"sha256":"{}","sha512":"00"}}"#, INDEX.hex()));
    let made = |payload: &str| vec![hung_on(*INDEX, handmade(ana, PAYLOAD_TYPE, payload))];
    let doubled = {
        let text = String::from_utf8(by(ana).bytes).unwrap();
        let signature = text.split_once(r#""signatures":["#).unwrap().1.strip_suffix("]}}").unwrap().to_owned();
        replaced(&text, &signature, &format!("{signature},{signature}")).into_bytes()
    };
    let respaced = |signature: &RawSignature| {
        let text = String::from_utf8(signature.bytes.clone()).unwrap();
        hung_on(*INDEX, text.replace("\"verificationMaterial\":", "\"verificationMaterial\": ").into_bytes())
    };

    vec![
        Attack {
            number: 8,
            name: "one author's key of two is stolen",
            block: two(),
            honest: vec![by(ana), by(bob)],
            hostile: vec![by(ana)],
            codes: &["T004"],
        },
        Attack {
            number: 12,
            name: "one signature hangs there twice",
            block: two(),
            honest: vec![by(ana), by(bob)],
            hostile: vec![by(ana), by(ana)],
            codes: &["T004"],
        },
        Attack {
            number: 12,
            name: "one signature under two referrers, spelt otherwise",
            block: two(),
            honest: vec![by(ana), by(bob)],
            hostile: vec![by(ana), respaced(&by(ana))],
            codes: &["T004"],
        },
        Attack {
            number: 12,
            name: "one key signs the index and the manifest",
            block: two(),
            honest: vec![by(ana), signature_of(bob, *CHILD, &said(None))],
            hostile: vec![by(ana), signature_of(ana, *CHILD, &said(None))],
            codes: &["T004"],
        },
        Attack {
            number: 13,
            name: "an author's key signs as the repository",
            block: layered(),
            honest: vec![claiming(ana, Role::Author), claiming(repo, Role::Repository)],
            hostile: vec![claiming(ana, Role::Author), claiming(ana, Role::Repository)],
            codes: &["T004", "T016"],
        },
        Attack {
            number: 13,
            name: "a key that may do both signs once, for one role",
            block: demanding(&[(Role::Author, quorum(1, &["ana"])), (Role::Repository, quorum(1, &["ana"]))]),
            honest: vec![claiming(ana, Role::Author), claiming(ana, Role::Repository)],
            hostile: vec![claiming(ana, Role::Author)],
            codes: &["T004"],
        },
        Attack {
            number: 13,
            name: "a role that doesn't exist",
            block: block(),
            honest: vec![claiming(ana, Role::Author)],
            hostile: made(&replaced(&statement(&said(Some(Role::Author))), r#""author""#, r#""Author""#)),
            codes: &["T004", "T016"],
        },
        Attack {
            number: 14,
            name: "signatures stripped",
            block: block(),
            honest: vec![by(ana)],
            hostile: vec![],
            codes: &["T003"],
        },
        Attack {
            number: 14,
            name: "a signature that hangs on something else",
            block: block(),
            honest: vec![by(ana)],
            hostile: vec![hung_on(*IMAGE, by(ana).bytes)],
            codes: &["T003"],
        },
        Attack {
            number: 16,
            name: "signed for another repository",
            block: block(),
            honest: vec![elsewhere(EDGE, "1.4")],
            hostile: vec![elsewhere("registry.example/evil/edge", "1.4")],
            codes: &["T004", "T005"],
        },
        Attack {
            number: 16,
            name: "signed for a repository whose name only begins alike",
            block: block(),
            honest: vec![elsewhere(EDGE, "1.4")],
            hostile: vec![
                elsewhere("registry.example/acme/edge2", "1.4"),
                elsewhere("registry.example/acme/edge/1.4", "1.4"),
            ],
            codes: &["T004", "T005", "T005"],
        },
        Attack {
            number: 17,
            name: "signed as another version",
            block: block(),
            honest: vec![elsewhere(EDGE, "1.4")],
            hostile: vec![elsewhere(EDGE, "1.3")],
            codes: &["T004", "T006"],
        },
        Attack {
            number: 18,
            name: "a second subject is ours",
            block: block(),
            honest: made(&good),
            hostile: made(&other_first),
            codes: &["T004", "T014"],
        },
        Attack {
            number: 18,
            name: "one subject with two digests",
            block: block(),
            honest: made(&good),
            hostile: made(&two_digests),
            codes: &["T004", "T012"],
        },
        Attack {
            number: 18,
            name: "a signature of something else, hung on this",
            block: block(),
            honest: vec![by(ana)],
            hostile: vec![hung_on(*INDEX, signature_of(ana, *IMAGE, &said(None)).bytes)],
            codes: &["T004", "T011"],
        },
        Attack {
            number: 19,
            name: "an SBOM attestation by a trusted key",
            block: block(),
            honest: made(&good),
            hostile: made(&replaced(&good, "https://sigstore.dev/cosign/sign/v1", "https://spdx.dev/Document")),
            codes: &["T004", "T013"],
        },
        Attack {
            number: 20,
            name: "an envelope with two signatures",
            block: block(),
            honest: vec![by(ana)],
            hostile: vec![hung_on(*INDEX, doubled)],
            codes: &["T004", "T012"],
        },
        Attack {
            number: 20,
            name: "an unknown payload type",
            block: block(),
            honest: made(&good),
            hostile: vec![hung_on(*INDEX, handmade(ana, "application/json", &good))],
            codes: &["T004", "T012"],
        },
        Attack {
            number: 33,
            name: "an annotation that is there twice",
            block: block(),
            honest: made(&good),
            hostile: made(&replaced(&good, r#""annotations":{"#, r#""annotations":{"dev.bpfkit.version":"1.3","#)),
            codes: &["T004", "T012"],
        },
        Attack {
            number: 53,
            name: "a signature without claims cannot satisfy a scope that wants them",
            block: block(),
            honest: made(&good),
            hostile: made(&replaced(&good, r#""dev.bpfkit.repository""#, r#""dev.bpfkit.x""#)),
            codes: &["T004", "T007"],
        },
    ]
}

#[test]
fn every_attack_is_refused_by_its_own_code_and_its_honest_twin_is_let_in() {
    for attack in attacks() {
        let what = format!("attack {}: {}", attack.number, attack.name);
        let decided = |signatures: &[RawSignature], word| {
            decide(&policy(&attack.block), edge(signatures.to_vec()), &asked(word), now())
        };
        for word in [Word::Manifest, Word::Reference] {
            if let Err(denial) = decided(&attack.honest, word) {
                panic!("{what}: the honest twin is refused: {denial:?}");
            }
            match decided(&attack.hostile, word) {
                Ok(verified) => panic!("{what}: let in, {:?}", verified.grounds()),
                Err(denial) => assert_eq!(codes(&denial), attack.codes, "{what}"),
            }
        }
    }
}

#[test]
fn attack_11_one_key_under_two_names_is_no_policy() {
    let mut two = demanding(&[(Role::Author, quorum(2, &["ana", "bob"]))]);
    assert!(Policy::new(&two).is_ok());
    two.keys.insert(name("bob"), trusted(&PEOPLE.ana));
    let problems = Policy::new(&two).unwrap_err().problems;
    assert!(
        matches!(problems.as_slice(), [PolicyProblem::DuplicateKey { .. }, PolicyProblem::Unreachable { have: 1, .. }]),
        "{problems:?}"
    );
}

#[test]
fn attack_15_an_empty_list_satisfies_nobody() {
    assert!(matches!(
        Policy::new(&demanding(&[(Role::Author, quorum(1, &[]))])).unwrap_err().problems.as_slice(),
        [PolicyProblem::EmptyQuorum { role: Some(Role::Author), .. }]
    ));
    assert!(matches!(
        Policy::new(&demanding(&[])).unwrap_err().problems.as_slice(),
        [PolicyProblem::EmptyQuorum { role: None, .. }]
    ));
    // A threshold of zero has no value to be written as.
    assert!(serde_json::from_str::<Quorum>(r#"{"threshold":0,"from":["ana"]}"#).is_err());
    assert!(serde_json::from_str::<Quorum>(r#"{"threshold":1,"from":["ana"]}"#).is_ok());
}

#[test]
fn attack_17_an_old_bundle_under_a_new_tag_is_refused_although_all_its_signatures_are_good() {
    let old = signature_of(&PEOPLE.ana, *INDEX, &Said { version: tag("1.3"), ..said(None) });
    let mut fetched = edge(vec![old]);
    fetched.config.version = tag("1.3");
    let ask = |version: &str| Asked { version: Some(tag(version)), ..asked(Word::Reference) };
    assert!(decide(&policy(&block()), fetched.clone(), &ask("1.3"), now()).is_ok());
    assert_eq!(codes(&decide(&policy(&block()), fetched, &ask("1.4"), now()).unwrap_err()), ["T004", "T006", "T006"]);
}

#[test]
fn attack_28_a_key_past_its_last_day_counts_for_nothing_old_signatures_included() {
    let mut dated = demanding(&[(Role::Author, quorum(2, &["ana", "bob"]))]);
    let both = [by(&PEOPLE.ana), by(&PEOPLE.bob)];
    dated.keys.get_mut(&name("bob")).unwrap().not_after = Some("2026-12-01".parse().unwrap());
    let_in(&dated, &both);
    dated.keys.get_mut(&name("bob")).unwrap().not_after = Some("2026-11-01".parse().unwrap());
    assert_eq!(kept_out(&dated, &both), ["T004", "T008"]);
}

#[test]
fn no_changed_byte_makes_a_bundle_more_trusted() {
    let signature = signature_of(&PEOPLE.ana, *INDEX, &said(Some(Role::Author)));
    let two = demanding(&[(Role::Author, quorum(2, &["ana", "bob"]))]);
    let_in(&block(), std::slice::from_ref(&signature));
    let mut state = 0x0bb_f817_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % limit
    };
    let (alone, together) = (policy(&block()), policy(&two));
    for _ in 0..2_000 {
        let mut bytes = signature.bytes.clone();
        let (at, flip) = (below(bytes.len()), u8::try_from(1 + below(255)).unwrap());
        bytes[at] ^= flip;
        let changed = hung_on(*INDEX, bytes);
        // By itself it isn't a signature any more; beside the original it adds nobody.
        let by_itself = decide(&alone, edge(vec![changed.clone()]), &asked(Word::Reference), now());
        assert!(by_itself.is_err(), "byte {at} ^ {flip:#x}");
        let beside = decide(&together, edge(vec![signature.clone(), changed]), &asked(Word::Reference), now());
        assert!(beside.is_err(), "byte {at} ^ {flip:#x}");
    }
}
