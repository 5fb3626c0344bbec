//! Somebody else's word: the host decides, and the set's own block can only narrow.

use super::*;

/// The edge set with a trust block of its own inside.
fn bringing(own: TrustBlock, signatures: Vec<RawSignature>) -> FetchedBundle {
    let mut fetched = edge(signatures);
    fetched.config.trust = Some(own);
    fetched
}

fn decided(host: &TrustBlock, fetched: FetchedBundle, word: Word) -> Result<VerifiedBundle, Denial> {
    decide(&policy(host), fetched, &asked(word), now())
}

#[test]
fn what_the_host_and_the_set_both_demand_is_said_once() {
    let anas = demanding(&[(Role::Author, quorum(1, &["ana"]))]);
    let denial = decided(&block(), bringing(anas, vec![by(&PEOPLE.bob)]), Word::Reference).unwrap_err();
    let said: Vec<_> = denial.findings.iter().map(|finding| (&finding.about, &finding.reason)).collect();
    let mut distinct = said.clone();
    distinct.dedup();
    assert_eq!(said, distinct);
    assert!(denial.findings.iter().any(|finding| finding.by == Whose::Policy));
}

#[test]
fn the_sets_own_demands_hold_as_well() {
    let bobs = demanding(&[(Role::Reviewer, quorum(1, &["bob"]))]);
    let verified =
        decided(&block(), bringing(bobs.clone(), vec![by(&PEOPLE.ana), by(&PEOPLE.bob)]), Word::Reference).unwrap();
    assert_eq!(verified.grounds().narrowed_by.len(), 1);
    assert!(verified.grounds().lines()[1].starts_with("and, as the set itself demands, "));

    let denial = decided(&block(), bringing(bobs.clone(), vec![by(&PEOPLE.ana)]), Word::Reference).unwrap_err();
    assert_eq!(codes(&denial), ["T004", "T016"]);
    assert!(denial.findings.iter().all(|finding| finding.by == Whose::SetsOwn));
    // In the operator's own manifest the operator's own block is the only one.
    assert!(decided(&block(), bringing(bobs, vec![by(&PEOPLE.ana)]), Word::Manifest).is_ok());
}

#[test]
fn the_sets_own_block_never_widens() {
    let eves = TrustBlock {
        keys: [(name("eve"), trusted(&PEOPLE.eve))].into(),
        org: [("registry.example".to_owned(), demands(&[(Role::Author, quorum(1, &["eve"]))]))].into(),
        ..TrustBlock::default()
    };
    assert_eq!(
        codes(&decided(&block(), bringing(eves, vec![by(&PEOPLE.eve)]), Word::Reference).unwrap_err()),
        ["T004", "T009"]
    );
    let waiving = TrustBlock {
        unsigned: vec![waiver(Waived::Set("edge".parse().unwrap())), waiver(Waived::Program(program("guard")))],
        ..TrustBlock::default()
    };
    assert_eq!(
        codes(&decided(&block(), bringing(waiving.clone(), Vec::new()), Word::Reference).unwrap_err()),
        ["T003"]
    );
    // And its waivers are no hindrance either.
    assert!(decided(&block(), bringing(waiving, vec![by(&PEOPLE.ana)]), Word::Reference).is_ok());
}

#[test]
fn a_block_of_the_sets_that_says_nothing_about_it_demands_nothing() {
    let elsewhere = TrustBlock {
        org: [("registry.example/other".to_owned(), demands(&[(Role::Author, quorum(1, &["bob"]))]))].into(),
        ..block()
    };
    let verified = decided(&block(), bringing(elsewhere, vec![by(&PEOPLE.ana)]), Word::Reference).unwrap();
    assert!(verified.grounds().narrowed_by.is_empty());
}

#[test]
fn a_block_of_the_sets_that_cannot_be_used_keeps_it_out() {
    let broken = demanding(&[(Role::Author, quorum(1, &[]))]);
    let denial = decided(&block(), bringing(broken, vec![by(&PEOPLE.ana)]), Word::Reference).unwrap_err();
    assert_eq!(codes(&denial), ["T020"]);
    let mut eclipsed = block();
    eclipsed.keys.insert(name("ana2"), trusted(&PEOPLE.ana));
    assert_eq!(
        codes(&decided(&block(), bringing(eclipsed, vec![by(&PEOPLE.ana)]), Word::Reference).unwrap_err()),
        ["T020"]
    );
}

#[test]
fn without_a_wish_the_bundles_own_word_is_taken_and_must_be_signed() {
    let ask = Asked { repository: None, version: None, ..asked(Word::Reference) };
    assert!(decide(&policy(&block()), edge(vec![by(&PEOPLE.ana)]), &ask, now()).is_ok());
    // A bundle that calls itself another is judged as that other.
    let mut renamed = edge(vec![by(&PEOPLE.ana)]);
    renamed.config.repository = repository("registry.example/acme/other/edge");
    renamed.config.version = tag("9");
    assert_eq!(codes(&decide(&policy(&block()), renamed.clone(), &ask, now()).unwrap_err()), ["T004", "T005", "T006"]);
    renamed.config.repository = repository("elsewhere.example/edge");
    assert_eq!(codes(&decide(&policy(&block()), renamed, &ask, now()).unwrap_err()), ["T002"]);
}

#[test]
fn a_set_cannot_take_the_name_of_another_from_its_own_repository() {
    let ask =
        |set: &str| Asked { set: set.parse().unwrap(), repository: None, version: None, ..asked(Word::Reference) };
    let mut tools = edge(vec![by(&PEOPLE.ana)]);
    tools.config.repository = repository("registry.example/acme/tools");
    // Whoever signs for `tools` says "this is the set `edge`", and would get its live chains.
    let denial = decide(&policy(&block()), tools, &ask("edge"), now()).unwrap_err();
    assert!(codes(&denial).contains(&"T017"), "{denial:?}");
    assert!(decide(&policy(&block()), edge(vec![by(&PEOPLE.ana)]), &ask("edge"), now()).is_ok());
}
