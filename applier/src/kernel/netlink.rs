//! Netlink, and by it the interfaces of a network namespace and the XDP programs on them: one `RTM_GETLINK` dump.
//!
//! Only the three attributes that are needed are looked at, by hand: a reader of
//! whole messages fails on the first attribute that a newer kernel lengthens.
//! Layouts are those of `linux/rtnetlink.h` and `linux/if_link.h`.

use std::{collections::BTreeMap, io};

use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::error::KernelError;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_DUMP: u16 = 0x300;
/// What is listed changed while it was: entries may be missing, or there twice.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// How often a listing that was interrupted is asked for again.
const LISTINGS: usize = 16;
/// Bytes of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_XDP: u16 = 43;
/// Leaves the counters out (`RTEXT_FILTER_SKIP_STATS`).
const SKIP_STATS: u32 = 1 << 3;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;

/// An interface, and the ids of the XDP programs that run on it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Interface {
    /// Its name.
    pub(crate) name: String,
    /// In the driver.
    pub(crate) native: Option<u32>,
    /// In the stack.
    pub(crate) generic: Option<u32>,
    /// On the card.
    pub(crate) offloaded: Option<u32>,
}

/// Lists the interfaces of the calling thread's network namespace, by index.
pub(crate) fn interfaces() -> Result<BTreeMap<u32, Interface>, KernelError> {
    dump().map_err(|source| KernelError::call("listing the interfaces", source))
}

fn dump() -> io::Result<BTreeMap<u32, Interface>> {
    let mut found = BTreeMap::new();
    exchange(&request(), |kind, payload| {
        if let Some((index, interface)) = link(payload).filter(|_| kind == RTM_NEWLINK) {
            found.insert(index, interface);
        }
    })?;
    Ok(found)
}

fn request() -> Vec<u8> {
    let mut message = Message::new(RTM_GETLINK, NLM_F_DUMP, &[0; IFINFOMSG]);
    message.attribute(IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes());
    message.finish()
}

/// A request that is being written.
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A message of `kind` with its fixed part.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend([0; 8]); // sequence and port number
        bytes.extend(fixed);
        Self(bytes)
    }

    /// The value of a nested attribute, which is attributes alone.
    pub(super) fn nested() -> Self {
        Self(Vec::new())
    }

    /// The bytes of a value that began as [`Message::nested`].
    pub(super) fn into_value(self) -> Vec<u8> {
        self.0
    }

    /// Adds an attribute, whose value is some tens of bytes at most.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// The bytes, with their number in front.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        for (to, from) in self.0.iter_mut().zip(length.to_ne_bytes()) {
            *to = from;
        }
        self.0
    }
}

/// Sends a request in the calling thread's namespace and hands each message of the answer on, by type and payload,
/// once the kernel has said that it was the last.
///
/// A listing during which something changed is asked for again, so what is handed on is whole.
pub(super) fn exchange(request: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
    for _ in 0..LISTINGS {
        let answer = ask(request)?;
        if answer.is_whole {
            answer.messages.iter().for_each(|(kind, payload)| each(*kind, payload));
            return Ok(());
        }
    }
    Err(io::Error::other(format!("it changed during each of {LISTINGS} listings")))
}

fn ask(request: &[u8]) -> io::Result<Answer> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(request, 0)?;
    let mut answer = Answer::default();
    loop {
        let (datagram, from) = socket.recv_from_full()?;
        // Other processes can send to our port; only the kernel has number 0.
        if from.port_number() == 0 && answer.read(&datagram)? == Progress::Done {
            return Ok(answer);
        }
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Progress {
    More,
    Done,
}

/// What the kernel answered so far.
#[derive(Debug)]
struct Answer {
    /// Types and payloads.
    messages: Vec<(u16, Vec<u8>)>,
    /// Whether nothing changed meanwhile.
    is_whole: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self { messages: Vec::new(), is_whole: true }
    }
}

impl Answer {
    /// Takes one datagram's messages.
    fn read(&mut self, mut datagram: &[u8]) -> io::Result<Progress> {
        while !datagram.is_empty() {
            let message = NetlinkBuffer::new_checked(datagram).map_err(io::Error::other)?;
            let payload = message.payload();
            self.is_whole &= message.flags() & NLM_F_DUMP_INTR == 0;
            match message.message_type() {
                // A listing that breaks off says why in its last message (`netlink_dump_done`).
                NLMSG_DONE => {
                    return match number(payload).map(u32::cast_signed) {
                        Some(errno) if errno < 0 => Err(io::Error::from_raw_os_error(errno.wrapping_neg())),
                        _ => Ok(Progress::Done),
                    };
                }
                NLMSG_ERROR => {
                    return match number(payload) {
                        // What was asked for is done (`NLM_F_ACK`).
                        Some(0) => Ok(Progress::Done),
                        Some(errno) => Err(io::Error::from_raw_os_error(errno.cast_signed().wrapping_neg())),
                        None => Err(io::Error::other("a short netlink error")),
                    };
                }
                kind => self.messages.push((kind, payload.to_vec())),
            }
            // Messages are padded to four bytes; the last one of a datagram may lack the padding.
            let length = (message.length() as usize).next_multiple_of(4);
            datagram = datagram.get(length..).unwrap_or_default();
        }
        Ok(Progress::More)
    }
}

fn link(payload: &[u8]) -> Option<(u32, Interface)> {
    let index = number(payload.get(4..)?)?;
    let mut interface = Interface::default();
    for attribute in NlasIterator::new(payload.get(IFINFOMSG..)?).map_while(Result::ok) {
        match attribute.kind() {
            IFLA_IFNAME => {
                let name = attribute.value();
                interface.name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned();
            }
            IFLA_XDP => xdp(attribute.value(), &mut interface),
            _ => {}
        }
    }
    Some((index, interface))
}

fn xdp(nested: &[u8], interface: &mut Interface) {
    for attribute in NlasIterator::new(nested).map_while(Result::ok) {
        let slot = match attribute.kind() {
            IFLA_XDP_DRV_PROG_ID => &mut interface.native,
            IFLA_XDP_SKB_PROG_ID => &mut interface.generic,
            IFLA_XDP_HW_PROG_ID => &mut interface.offloaded,
            _ => continue,
        };
        *slot = number(attribute.value()).filter(|id| *id != 0);
    }
}

/// The number at the front of a value.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One attribute: length, type, value, padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(u32::try_from(payload.len() + 16).unwrap().to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend([0; 10]);
        out.extend(payload);
        out
    }

    /// Reads one datagram into `found`, as a dump does.
    fn read_links(datagram: &[u8], found: &mut BTreeMap<u32, Interface>) -> io::Result<Progress> {
        let mut answer = Answer::default();
        let progress = answer.read(datagram)?;
        found.extend(answer.messages.iter().filter(|(kind, _)| *kind == RTM_NEWLINK).filter_map(|(_, at)| link(at)));
        Ok(progress)
    }

    fn new_link(index: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = vec![0; 4];
        payload.extend(index.to_ne_bytes());
        payload.extend([0; 8]);
        payload.extend(attributes.concat());
        message(RTM_NEWLINK, &payload)
    }

    #[test]
    fn names_and_both_modes_are_read() {
        let ids = [
            attribute(IFLA_XDP_DRV_PROG_ID, &7_u32.to_ne_bytes()),
            attribute(IFLA_XDP_SKB_PROG_ID, &9_u32.to_ne_bytes()),
        ];
        let mut datagram = new_link(3, &[attribute(IFLA_IFNAME, b"eth0\0"), attribute(IFLA_XDP, &ids.concat())]);
        datagram.extend(new_link(4, &[attribute(IFLA_IFNAME, b"eth1\0")]));
        let mut found = BTreeMap::new();
        assert_eq!(read_links(&datagram, &mut found).unwrap(), Progress::More);
        assert_eq!(found[&3], Interface { name: "eth0".into(), native: Some(7), generic: Some(9), offloaded: None });
        assert_eq!(found[&4].name, "eth1");
        assert_eq!(read_links(&message(NLMSG_DONE, &[0; 4]), &mut found).unwrap(), Progress::Done);
    }

    #[test]
    fn an_error_and_a_torn_datagram_are_errors() {
        let mut found = BTreeMap::new();
        let error = read_links(&message(NLMSG_ERROR, &(-1_i32).to_ne_bytes()), &mut found).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        let whole = new_link(3, &[attribute(IFLA_IFNAME, b"eth0\0")]);
        for end in 1..whole.len() {
            assert!(read_links(&whole[..end], &mut found).is_err(), "{end}");
        }
        assert_eq!(read_links(&message(NLMSG_ERROR, &[0; 4]), &mut found).unwrap(), Progress::Done, "no error: done");
    }

    #[test]
    fn a_listing_that_breaks_off_is_an_error_and_not_the_whole() {
        let mut answer = Answer::default();
        let error = answer.read(&message(NLMSG_DONE, &(-libc::ENOBUFS).to_ne_bytes())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
        assert_eq!(answer.read(&message(NLMSG_DONE, &0_i32.to_ne_bytes())).unwrap(), Progress::Done);
        assert!(answer.is_whole);
    }

    #[test]
    fn a_listing_during_which_something_changed_is_not_whole() {
        let whole = new_link(3, &[attribute(IFLA_IFNAME, b"eth0\0")]);
        let done = message(NLMSG_DONE, &[0; 4]);
        for at in [6, whole.len() + 6] {
            let mut datagram = [whole.clone(), done.clone()].concat();
            datagram[at..at + 2].copy_from_slice(&NLM_F_DUMP_INTR.to_ne_bytes());
            let mut answer = Answer::default();
            assert_eq!(answer.read(&datagram).unwrap(), Progress::Done);
            assert!(!answer.is_whole, "{at}");
        }
    }

    #[test]
    fn this_machine_has_a_loopback() {
        assert!(interfaces().unwrap().values().any(|interface| interface.name == "lo"));
    }
}
