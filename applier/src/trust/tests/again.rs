//! A manifest that was applied earlier is applied again: what held then decides, and what the host says today binds.

use super::*;

fn again(then: &TrustBlock, today: Option<&TrustBlock>, fetched: FetchedBundle) -> Result<VerifiedBundle, Denial> {
    let today = today.map(policy);
    decide_within(&policy(then), today.as_ref(), fetched, &asked(Word::Manifest), now())
}

#[test]
fn without_a_policy_of_the_host_the_old_block_decides_alone() {
    let verified = again(&block(), None, edge(vec![by(&PEOPLE.ana)])).unwrap();
    assert!(verified.grounds().bounded_by.is_empty());
    assert_eq!(codes(&again(&block(), None, edge(vec![by(&PEOPLE.eve)])).unwrap_err()), ["T004", "T009"]);
}

#[test]
fn a_host_that_demands_more_today_is_obeyed() {
    let bobs = demanding(&[(Role::Reviewer, quorum(1, &["bob"]))]);
    let denial = again(&block(), Some(&bobs), edge(vec![by(&PEOPLE.ana)])).unwrap_err();
    assert_eq!(codes(&denial), ["T004", "T016"]);
    assert!(denial.findings.iter().all(|finding| finding.by == Whose::Host));
    let verified = again(&block(), Some(&bobs), edge(vec![by(&PEOPLE.ana), by(&PEOPLE.bob)])).unwrap();
    assert!(verified.grounds().lines().iter().any(|line| line.starts_with("and, as this host's policy demands, ")));
}

#[test]
fn a_host_that_demands_less_today_widens_nothing() {
    let then = demanding(&[(Role::Author, quorum(1, &["ana"])), (Role::Reviewer, quorum(1, &["bob"]))]);
    assert_eq!(codes(&again(&then, Some(&block()), edge(vec![by(&PEOPLE.ana)])).unwrap_err()), ["T004"]);
}

#[test]
fn no_waiver_of_then_excuses_what_the_host_demands_today() {
    let then = TrustBlock { unsigned: vec![waiver(Waived::Set("edge".parse().unwrap()))], ..TrustBlock::default() };
    assert!(again(&then, None, edge(Vec::new())).is_ok());
    assert_eq!(codes(&again(&then, Some(&block()), edge(Vec::new())).unwrap_err()), ["T003"]);
}

#[test]
fn a_policy_that_says_nothing_of_the_repository_binds_nothing() {
    let elsewhere = TrustBlock {
        org: [("registry.example/other".to_owned(), demands(&[(Role::Author, quorum(1, &["bob"]))]))].into(),
        ..block()
    };
    let elsewhere = TrustBlock { image: BTreeMap::new(), ..elsewhere };
    assert!(again(&block(), Some(&elsewhere), edge(vec![by(&PEOPLE.ana)])).is_ok());
}
