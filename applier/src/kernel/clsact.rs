//! The filters of tc hooks, by netlink: who is there, and ours put there, changed and taken away.
//!
//! A chain by clsact is one `cls_bpf` filter in direct-action mode, of a fixed priority and
//! a handle of its set's ([`FilterId::first_of`]). The kernel compares nothing when a filter
//! is changed, so whoever changes one looks before and after; [`Listing::revision`] stands
//! for what was seen. Each function works in the calling thread's network namespace.
//! Layouts are those of `linux/rtnetlink.h` and `linux/pkt_cls.h`.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use bpfkit_schemas::hook::Hook;
use netlink_packet_core::NlasIterator;

use super::{
    netlink::{Message, NLM_F_DUMP, exchange, number},
    sys::Program,
};
use crate::live::{FilterId, Filters, Qdisc, Revision};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
/// Bytes of `struct tcmsg`.
const TCMSG: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
/// `TC_H_CLSACT`, which is `TC_H_INGRESS` too: the parent of both qdiscs.
const PARENT: u32 = 0xffff_fff1;
/// `TC_H_MAKE(TC_H_CLSACT, 0)`: the handle of both.
const HANDLE: u32 = 0xffff_0000;
/// `htons(ETH_P_ALL)`: our filters see every protocol.
const ALL_PROTOCOLS: u16 = 3_u16.to_be();

/// What is at the tc hook of an interface, as filters go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Listing {
    /// The kind of the qdisc, `clsact` or `ingress`; none where filters have no place yet.
    pub(crate) qdisc: Option<String>,
    /// The filters, in the order in which they run.
    pub(crate) entries: Vec<Entry>,
}

/// One filter, or (with handle 0) all of one priority together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// Which.
    pub(crate) id: FilterId,
    /// `bpf`, `u32`, `flower`…
    pub(crate) kind: String,
    /// The chain of filters that it is in: chain 0 runs, others where an action jumps to them.
    pub(crate) chain: u32,
    /// The protocol, in network order.
    pub(crate) protocol: u16,
    /// The program, of one of kind `bpf`.
    pub(crate) program: Option<u32>,
}

impl Listing {
    /// The programs of filters that packets meet, in order.
    pub(crate) fn programs(&self) -> impl Iterator<Item = (FilterId, u32)> + '_ {
        self.entries.iter().filter(|entry| entry.chain == 0).filter_map(|entry| Some((entry.id, entry.program?)))
    }

    /// The program of one filter.
    pub(crate) fn program(&self, filter: FilterId) -> Option<u32> {
        self.programs().find(|(id, _)| *id == filter).map(|(_, program)| program)
    }

    /// Stands for the filters: FNV-1a over the entries. That there is no qdisc is no difference, since the first
    /// filter of the other direction may bring it.
    pub(crate) fn revision(&self) -> Revision {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for Entry { id, kind, chain, protocol, program } in &self.entries {
            add(&[0]);
            add(kind.as_bytes());
            for number in [id.priority.into(), id.handle, *chain, (*protocol).into(), program.unwrap_or_default()] {
                add(&number.to_le_bytes());
            }
        }
        Revision(hash)
    }

    /// As planning knows it.
    pub(crate) fn filters(&self, hook: Hook) -> Filters {
        Filters {
            revision: self.revision(),
            qdisc: if self.qdisc.is_some() { Qdisc::There } else { Qdisc::Missing },
            blocked: self.blocked(hook),
        }
    }

    /// Why a filter of ours can't be attached.
    fn blocked(&self, hook: Hook) -> Option<String> {
        if hook == Hook::TcEgress && self.qdisc.as_deref().is_some_and(|kind| kind != "clsact") {
            return Some("the old `ingress` qdisc is in the place of clsact".to_owned());
        }
        let first = self.entries.iter().find(|entry| entry.chain == 0 && entry.id.priority == FilterId::PRIORITY)?;
        if first.kind != "bpf" {
            return Some(format!("a `{}` filter has priority {}", first.kind, FilterId::PRIORITY));
        }
        (first.protocol != ALL_PROTOCOLS)
            .then(|| format!("a `bpf` filter for one protocol has priority {}", FilterId::PRIORITY))
    }
}

/// The interfaces that have a place for filters, with the kind of their qdisc.
pub(crate) fn qdiscs() -> io::Result<BTreeMap<u32, String>> {
    let mut found = BTreeMap::new();
    dump(RTM_GETQDISC, 0, 0, |head, kind, _| {
        if head.parent == PARENT {
            found.insert(head.ifindex, kind);
        }
    })?;
    Ok(found)
}

/// What is at a tc hook; nothing at an interface that is gone.
pub(crate) fn list(ifindex: u32, hook: Hook) -> io::Result<Listing> {
    match qdiscs()?.remove(&ifindex) {
        Some(kind) => filters(ifindex, hook, kind),
        None => Ok(Listing::default()),
    }
}

/// The filters of a tc hook of an interface whose qdisc is of this kind.
pub(crate) fn filters(ifindex: u32, hook: Hook, qdisc: String) -> io::Result<Listing> {
    let mut entries = Vec::new();
    let done = dump(RTM_GETTFILTER, ifindex, parent(hook), |head, kind, attributes| {
        let priority = u16::try_from(head.info >> 16).unwrap_or_default();
        let protocol = u16::try_from(head.info & 0xffff).unwrap_or_default();
        let mut entry =
            Entry { id: FilterId { priority, handle: head.handle }, kind, chain: 0, protocol, program: None };
        for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
            match attribute.kind() & NLA_TYPE {
                TCA_CHAIN => entry.chain = number(attribute.value()).unwrap_or_default(),
                TCA_OPTIONS if entry.kind == "bpf" => {
                    let mut options = NlasIterator::new(attribute.value()).map_while(Result::ok);
                    let id = options.find(|option| option.kind() == TCA_BPF_ID);
                    entry.program = id.and_then(|id| number(id.value()));
                }
                _ => {}
            }
        }
        entries.push(entry);
    });
    match done {
        Ok(()) => Ok(Listing { qdisc: Some(qdisc), entries }),
        // The interface, or its qdisc, went away since.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)) => Ok(Listing::default()),
        Err(error) => Err(error),
    }
}

/// Makes `clsact` on an interface that has no qdisc for filters: `EEXIST` where it has.
pub(crate) fn make_qdisc(ifindex: u32) -> io::Result<()> {
    let mut message =
        Message::new(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head(ifindex, HANDLE, PARENT, 0));
    message.attribute(TCA_KIND, b"clsact\0");
    exchange(&message.finish(), |_, _| {})
}

/// Takes `clsact` away if there is no filter left in either direction; whether it did.
///
/// The kernel has no way to say "if it is empty": a filter that somebody adds between the look and the removal
/// goes with it. That is why only a qdisc that we made is ever taken away.
pub(crate) fn remove_empty_qdisc(ifindex: u32) -> io::Result<()> {
    for hook in [Hook::TcIngress, Hook::TcEgress] {
        let listing = list(ifindex, hook)?;
        if listing.qdisc.as_deref() != Some("clsact") || !listing.entries.is_empty() {
            return Ok(());
        }
    }
    let message = Message::new(RTM_DELQDISC, NLM_F_ACK, &head(ifindex, HANDLE, PARENT, 0));
    match exchange(&message.finish(), |_, _| {}) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(()),
        result => result,
    }
}

/// What is done with a filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// It is made: `EEXIST` where it is there.
    New,
    /// It gets another program, in one step for the packets: `ENOENT` where it isn't there.
    Replace,
}

/// Makes or changes one filter.
pub(crate) fn put(
    ifindex: u32,
    hook: Hook,
    filter: FilterId,
    program: &Program,
    name: &str,
    change: Change,
) -> io::Result<()> {
    let flags = match change {
        Change::New => NLM_F_CREATE | NLM_F_EXCL,
        Change::Replace => NLM_F_REPLACE,
    };
    let mut message = filter_message(RTM_NEWTFILTER, flags, ifindex, hook, filter);
    let mut options = Message::nested();
    options.attribute(TCA_BPF_FD, &program.as_fd().as_raw_fd().to_ne_bytes());
    options.attribute(TCA_BPF_NAME, &[name.as_bytes(), b"\0"].concat());
    options.attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes());
    message.attribute(TCA_OPTIONS, &options.into_value());
    exchange(&message.finish(), |_, _| {})
}

/// Takes a filter away. That it is gone already is no error.
pub(crate) fn remove(ifindex: u32, hook: Hook, filter: FilterId) -> io::Result<()> {
    let message = filter_message(RTM_DELTFILTER, 0, ifindex, hook, filter);
    match exchange(&message.finish(), |_, _| {}) {
        // EINVAL: the qdisc is gone with all its filters.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(()),
        result => result,
    }
}

fn filter_message(kind: u16, flags: u16, ifindex: u32, hook: Hook, filter: FilterId) -> Message {
    let info = u32::from(filter.priority) << 16 | u32::from(ALL_PROTOCOLS);
    let mut message = Message::new(kind, NLM_F_ACK | flags, &head(ifindex, filter.handle, parent(hook), info));
    message.attribute(TCA_KIND, b"bpf\0");
    message
}

/// `NLA_TYPE_MASK`: without the flags for nested attributes and network order.
const NLA_TYPE: u16 = 0x3fff;

/// What is read of `struct tcmsg`.
struct Head {
    ifindex: u32,
    handle: u32,
    parent: u32,
    info: u32,
}

/// Lists qdiscs or filters: hands on each one's head, kind and attributes.
fn dump(kind: u16, ifindex: u32, parent: u32, mut each: impl FnMut(Head, String, &[u8])) -> io::Result<()> {
    let request = Message::new(kind, NLM_F_DUMP, &head(ifindex, 0, parent, 0)).finish();
    exchange(&request, |answer, payload| {
        // The answers' types are those of the messages that make things.
        let word = |at: usize| payload.get(at..).and_then(number);
        if let (true, Some(ifindex), Some(handle), Some(parent), Some(info), Some(attributes)) =
            (answer == kind - 2, word(4), word(8), word(12), word(16), payload.get(TCMSG..))
        {
            let name =
                NlasIterator::new(attributes).map_while(Result::ok).find(|attribute| attribute.kind() == TCA_KIND);
            let name = name.map(|name| {
                let name = name.value();
                String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned()
            });
            each(Head { ifindex, handle, parent, info }, name.unwrap_or_default(), attributes);
        }
    })
}

/// `struct tcmsg`.
fn head(ifindex: u32, handle: u32, parent: u32, info: u32) -> [u8; TCMSG] {
    let mut bytes = [0; TCMSG];
    let words = [0, ifindex, handle, parent, info];
    for (to, from) in bytes.iter_mut().zip(words.into_iter().flat_map(u32::to_ne_bytes)) {
        *to = from;
    }
    bytes
}

/// `TC_H_MAKE(TC_H_CLSACT, …)`: where the filters of a direction are attached.
fn parent(hook: Hook) -> u32 {
    match hook {
        Hook::TcEgress => 0xffff_fff3,
        Hook::TcIngress | Hook::Xdp | Hook::Cgroup(_) => 0xffff_fff2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(priority: u16, handle: u32, kind: &str, program: Option<u32>) -> Entry {
        let id = FilterId { priority, handle };
        Entry { id, kind: kind.to_owned(), chain: 0, protocol: ALL_PROTOCOLS, program }
    }

    fn listing(entries: Vec<Entry>) -> Listing {
        Listing { qdisc: Some("clsact".to_owned()), entries }
    }

    #[test]
    fn whatever_changes_about_the_filters_changes_what_stands_for_them() {
        let one = listing(vec![entry(1, 7, "bpf", Some(3))]);
        let others = [
            listing(vec![]),
            listing(vec![entry(1, 7, "bpf", Some(4))]),
            listing(vec![entry(1, 8, "bpf", Some(3))]),
            listing(vec![entry(2, 7, "bpf", Some(3))]),
            listing(vec![entry(1, 7, "bpf", Some(3)), entry(9, 1, "u32", None)]),
        ];
        assert_eq!(one.revision(), one.clone().revision());
        for other in others {
            assert_ne!(one.revision(), other.revision(), "{other:?}");
        }
        assert_eq!(Listing::default().revision(), listing(vec![]).revision());
    }

    #[test]
    fn a_filter_of_another_kind_in_front_blocks_ours_and_one_behind_does_not() {
        assert_eq!(listing(vec![entry(1, 0, "bpf", None), entry(2, 0, "u32", None)]).blocked(Hook::TcIngress), None);
        let blocked = listing(vec![entry(1, 0, "u32", None)]).blocked(Hook::TcIngress);
        assert_eq!(blocked.unwrap(), "a `u32` filter has priority 1");
        let old = Listing { qdisc: Some("ingress".to_owned()), entries: vec![] };
        assert_eq!(old.blocked(Hook::TcIngress), None);
        assert!(old.blocked(Hook::TcEgress).is_some());
    }

    #[test]
    fn filters_of_other_chains_are_not_met_by_packets() {
        let mut aside = entry(1, 7, "bpf", Some(3));
        aside.chain = 4;
        let all = listing(vec![aside, entry(1, 8, "bpf", Some(5))]);
        assert_eq!(all.programs().collect::<Vec<_>>(), [(FilterId { priority: 1, handle: 8 }, 5)]);
    }
}
