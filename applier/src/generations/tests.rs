//! Generations without a kernel: made by hand, kept in a folder.

use bpfkit_schemas::{
    chain::{GlobalValue, HostText, Link},
    diagnostic::Span,
    hook::{Foreign, Hook, Mode},
};

use super::*;

/// Generation `number` of a set that its operator's manifest declares; its chain counts with the number.
pub(super) fn generation(number: u64) -> Generation {
    let chain = Chain {
        hook: Hook::Xdp,
        interfaces: vec![HostText("{{ host.name }}0".to_owned())],
        netns: None,
        mode: Mode::Native,
        cgroup: None,
        attach: None,
        foreign: Foreign::Refuse,
        programs: vec![Link {
            program: "guard".parse().unwrap(),
            proceed_on: Hook::Xdp.default_proceed_on(),
            at: Span { start: 3, end: 9 },
        }],
        at: Span::default(),
    };
    let limit = i128::from(number);
    let globals = [("limit".to_owned(), GlobalValue::Int(limit)), ("low".to_owned(), GlobalValue::Int(-limit))];
    Generation {
        number,
        made: Timestamp::UNIX_EPOCH,
        state: State::Confirmed,
        of: None,
        reference: format!("oci:dist/edge@sha256:{}", "0".repeat(64)),
        grounds: vec!["set `edge` waived: \"made by a test\"".to_owned()],
        content: Content {
            bundle: Digest::from_bytes([1; 32]),
            repository: "local/edge".parse().unwrap(),
            version: "1.4".parse().unwrap(),
            platform: "linux/amd64".parse().unwrap(),
            word: KeptWord::Manifest(Box::new(OwnWord {
                vars: BTreeMap::new(),
                chains: vec![chain],
                maps: Vec::new(),
                globals: [("guard".parse().unwrap(), globals.into())].into(),
                trust: TrustBlock::default(),
            })),
        },
        parts: [sha256(&number.to_le_bytes()), sha256(b"in all of them")].into(),
    }
}

#[test]
fn what_was_applied_makes_the_mark_and_where_it_stood_does_not() {
    let (one, mut other) = (generation(1), generation(1));
    let KeptWord::Manifest(own) = &mut other.content.word else { panic!("a manifest's") };
    own.chains[0].programs[0].at = Span::default();
    assert_eq!(one.content.mark(), other.content.mark());
    let KeptWord::Manifest(own) = &mut other.content.word else { panic!("a manifest's") };
    own.chains[0].mode = Mode::Generic;
    assert_ne!(one.content.mark(), other.content.mark());
    assert_ne!(one.content.mark(), generation(2).content.mark());
}
