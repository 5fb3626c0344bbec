//! Programs that come from somebody's image need that somebody's signature.

use super::*;

const LIMIT: &str = "registry.example/other/limit";

fn image_said(repository_name: &str, version: &str) -> Said {
    Said { repository: repository(repository_name), version: tag(version), role: None }
}

/// The edge set with `limit` from [`LIMIT`] 2.0 beside `guard`.
fn with_image(set: Vec<RawSignature>, image: Vec<RawSignature>) -> FetchedBundle {
    let mut fetched = edge(set);
    let origin = ProgramOrigin::Image { repository: repository(LIMIT), version: Some(tag("2.0")), digest: *IMAGE };
    fetched.config.programs.push(bundled("limit", origin));
    fetched.objects.push(Arc::from(&b"limit"[..]));
    fetched.images.push(CarriedImage {
        program: program("limit"),
        repository: repository(LIMIT),
        version: Some(tag("2.0")),
        digest: *IMAGE,
        signed: vec![*IMAGE],
        signatures: image,
    });
    fetched
}

/// ana for acme, bob for other.
fn both_orgs() -> TrustBlock {
    let mut block = block();
    block.org.insert("registry.example/other".to_owned(), demands(&[(Role::Author, quorum(1, &["bob"]))]));
    block
}

fn image_by(key: &PrivateKey) -> RawSignature {
    signature_of(key, *IMAGE, &image_said(LIMIT, "2.0"))
}

fn decided(block: &TrustBlock, fetched: FetchedBundle, word: Word) -> Result<VerifiedBundle, Denial> {
    decide(&policy(block), fetched, &asked(word), now())
}

#[test]
fn an_image_is_judged_by_its_own_repositorys_scope() {
    for word in [Word::Manifest, Word::Reference] {
        let good = with_image(vec![by(&PEOPLE.ana)], vec![image_by(&PEOPLE.bob)]);
        let verified = decided(&both_orgs(), good, word).unwrap();
        assert_eq!(verified.grounds().signers(&program("limit")), [name("bob")]);
        assert_eq!(verified.grounds().signers(&program("guard")), [name("ana")]);
        assert_eq!(verified.grounds().lines().len(), 2);

        for (what, image, want) in [
            ("stripped", vec![], vec!["T003"]),
            ("by the set's author", vec![image_by(&PEOPLE.ana)], vec!["T004", "T016"]),
            (
                "for the set's repository",
                vec![signature_of(&PEOPLE.bob, *IMAGE, &image_said(EDGE, "2.0"))],
                vec!["T004", "T005"],
            ),
            (
                "for another version",
                vec![signature_of(&PEOPLE.bob, *IMAGE, &image_said(LIMIT, "1.9"))],
                vec!["T004", "T006"],
            ),
            ("of the set", vec![by(&PEOPLE.bob)], vec!["T003"]),
        ] {
            let bad = with_image(vec![by(&PEOPLE.ana)], image);
            let denial = decided(&both_orgs(), bad, word).unwrap_err();
            assert_eq!(codes(&denial), want, "{what}");
            assert!(denial.findings.iter().all(|finding| finding.about == About::Program(program("limit"))), "{what}");
        }
        let uncovered = with_image(vec![by(&PEOPLE.ana)], vec![image_by(&PEOPLE.bob)]);
        assert_eq!(codes(&decided(&block(), uncovered, word).unwrap_err()), ["T002"]);
    }
}

#[test]
fn an_image_that_does_not_travel_along_or_is_another_one_proves_nothing() {
    type Change = fn(&mut FetchedBundle);
    let changes: [(&str, Change); 4] = [
        ("gone", |fetched| fetched.images.clear()),
        ("another program's", |fetched| fetched.images[0].program = program("guard")),
        ("another digest", |fetched| fetched.images[0].digest = *CHILD),
        ("signed somewhere else", |fetched| fetched.images[0].signed = vec![*CHILD]),
    ];
    for (what, change) in changes {
        for word in [Word::Manifest, Word::Reference] {
            let mut fetched = with_image(vec![by(&PEOPLE.ana)], vec![image_by(&PEOPLE.bob)]);
            change(&mut fetched);
            assert_eq!(codes(&decided(&both_orgs(), fetched, word).unwrap_err()), ["T019"], "{what}");
        }
    }
}

#[test]
fn an_image_by_digest_alone_may_be_of_any_version_that_its_signer_names() {
    let unversioned = |image: Vec<RawSignature>| {
        let mut fetched = with_image(vec![by(&PEOPLE.ana)], image);
        fetched.config.programs[1].origin =
            ProgramOrigin::Image { repository: repository(LIMIT), version: None, digest: *IMAGE };
        fetched
    };
    let any = vec![signature_of(&PEOPLE.bob, *IMAGE, &image_said(LIMIT, "0.1"))];
    assert!(decided(&both_orgs(), unversioned(any), Word::Reference).is_ok());
    let nowhere = vec![signature_of(&PEOPLE.bob, *IMAGE, &image_said("registry.example/other/x", "0.1"))];
    assert_eq!(codes(&decided(&both_orgs(), unversioned(nowhere), Word::Reference).unwrap_err()), ["T004", "T005"]);
}

#[test]
fn a_program_of_an_image_can_be_waived_in_a_manifest_and_nowhere_else() {
    let waiving = TrustBlock { unsigned: vec![waiver(Waived::Program(program("limit")))], ..block() };
    let unsigned = || with_image(vec![by(&PEOPLE.ana)], Vec::new());
    let verified = decided(&waiving, unsigned(), Word::Manifest).unwrap();
    assert_eq!(
        verified.grounds().programs[&program("limit")],
        Ground::Waived { because: "built on this host".to_owned() }
    );
    assert_eq!(codes(&decided(&waiving, unsigned(), Word::Reference).unwrap_err()), ["T002", "T018"]);
}

#[test]
fn an_unsigned_set_is_believed_by_its_programs_only_if_each_is_and_only_in_a_manifest() {
    let guard = |block: TrustBlock| TrustBlock { unsigned: vec![waiver(Waived::Program(program("guard")))], ..block };
    let fetched = |image: Vec<RawSignature>| with_image(Vec::new(), image);

    let verified = decided(&guard(both_orgs()), fetched(vec![image_by(&PEOPLE.bob)]), Word::Manifest).unwrap();
    assert_eq!(verified.grounds().set, Ground::ByItsPrograms);
    assert_eq!(verified.grounds().lines().len(), 2);

    // guard isn't waived; limit isn't signed; and a reference takes its chains from the set.
    assert_eq!(
        codes(&decided(&both_orgs(), fetched(vec![image_by(&PEOPLE.bob)]), Word::Manifest).unwrap_err()),
        ["T003"]
    );
    assert_eq!(
        codes(&decided(&guard(both_orgs()), fetched(Vec::new()), Word::Manifest).unwrap_err()),
        ["T003", "T003"]
    );
    assert_eq!(
        codes(&decided(&guard(both_orgs()), fetched(vec![image_by(&PEOPLE.bob)]), Word::Reference).unwrap_err()),
        ["T003"]
    );

    // A set without programs is not believed for want of anything to disbelieve.
    let mut empty = edge(Vec::new());
    empty.config.programs.clear();
    empty.objects.clear();
    assert_eq!(codes(&decided(&block(), empty, Word::Manifest).unwrap_err()), ["T003"]);
}

#[test]
fn a_waived_set_does_not_waive_the_images_in_it() {
    let set = TrustBlock { unsigned: vec![waiver(Waived::Set("edge".parse().unwrap()))], ..both_orgs() };
    assert!(decided(&set, with_image(Vec::new(), vec![image_by(&PEOPLE.bob)]), Word::Manifest).is_ok());
    assert_eq!(codes(&decided(&set, with_image(Vec::new(), Vec::new()), Word::Manifest).unwrap_err()), ["T003"]);
}

#[test]
fn a_single_case_is_weighed_by_the_same_rules() {
    let signatures = [image_by(&PEOPLE.bob)];
    let (limit, version) = (repository(LIMIT), tag("2.0"));
    let case = Case { repository: &limit, version: Some(&version), signed: &[*IMAGE], signatures: &signatures };
    assert!(weigh(&policy(&both_orgs()), &case, now()).is_ok());
    assert_eq!(weigh(&policy(&block()), &case, now()), Err(vec![Reason::NoScope { repository: limit.clone() }]));
}
