//! Bytes from the ring to an [`Observation`]: length, version and kind are checked before anything is read,
//! values are copied out, and what is not known is an error, never a guess.

use super::clock::Clock;
use super::existing::Found;
use crate::model::{DnsAnswer, Fact, Observation, Protocol, Receipts, Task};
use flowlog_common::ABI_VERSION;
use flowlog_common::event::{
    ANSWERED, ARRIVED, ATTEMPT, AnswerEvent, CGROUP_MADE, CGROUP_REMOVED, CLOSED, COMM_BYTES, CgroupEvent,
    DROP, ERROR, ESTABLISHED, Event, FAILED, FLAG_ARRIVED, FLAG_ERROR_CONSUMED, FLAG_NO_SOCKET, FLAG_TASK,
    FLAG_UNTOLD, INBOUND, PATH_BYTES, RECEIVED, SENT, SENT_TO, SYN_RETRANSMIT,
};
use flowlog_common::existing::ExistingSocket;
use foldhash::fast::FixedState;
use jiff::Timestamp;
use std::hash::BuildHasher as _;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

const TCP_SYN_SENT: u8 = 2;
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ICMPV6: u8 = 58;
const IPPROTO_SCTP: u8 = 132;

/// Why an event is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another length than this build's events have.
    #[error("event of {found} bytes where {expected} are due")]
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes due.
        expected: usize,
    },
    /// Written by another build.
    #[error("event of layout {found}, this build reads layout {ABI_VERSION}")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// A kind that this build does not know.
    #[error("event of unknown kind {found}")]
    Kind {
        /// The kind byte.
        found: u8,
    },
    /// A protocol that no hook observes.
    #[error("event of unknown protocol {found}")]
    Protocol {
        /// The protocol number.
        found: u8,
    },
}

/// A cgroup that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupChange {
    /// Id (inode number).
    pub id: u64,
    /// False when it went.
    pub made: bool,
    /// Path from the root of the hierarchy; `None` where it was too long or no UTF-8, so that only a scan of
    /// the tree can tell.
    pub path: Option<String>,
}

/// What decoding needs to know of the running kernel.
#[derive(Debug)]
pub struct Decoder {
    clock: Clock,
    /// Name of each drop reason, by number.
    reasons: Vec<Option<Arc<str>>>,
    commands: Commands,
}

/// Names of commands that were seen lately: few run on a node, and each event of a connect has one.
#[derive(Debug)]
struct Commands {
    known: Vec<Option<([u8; COMM_BYTES], Arc<str>)>>,
}

impl Decoder {
    /// A decoder for this kernel's drop reasons.
    pub fn new(clock: Clock, reasons: Vec<Option<Arc<str>>>) -> Self {
        Self { clock, reasons, commands: Commands::new() }
    }

    /// Take a newer measurement of the wall clock.
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// The wall clock's time of a boot time.
    pub fn wall(&self, boot_ns: u64) -> Timestamp {
        self.clock.wall(boot_ns)
    }

    /// Decode one event.
    ///
    /// # Errors
    /// Another length, version, kind or protocol than this build knows.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Observation, DecodeError> {
        check_length(bytes, size_of::<Event>())?;
        check_version(bytes)?;
        let boot_ns = u64_at(bytes, offset_of!(Event, time_ns));
        Ok(Observation {
            time: self.clock.wall(boot_ns),
            boot_ns,
            protocol: protocol_of(bytes[offset_of!(Event, protocol)])?,
            cgroup_id: present(u64_at(bytes, offset_of!(Event, cgroup_id))),
            cookie: present(u64_at(bytes, offset_of!(Event, cookie))),
            local: end_at(bytes, offset_of!(Event, local), offset_of!(Event, local_port)),
            remote: end_at(bytes, offset_of!(Event, remote), offset_of!(Event, remote_port)),
            untold: u32_at(bytes, offset_of!(Event, flags)) & FLAG_UNTOLD != 0,
            fact: self.fact_of(bytes)?,
            receipts: Receipts::untracked(),
        })
    }

    /// Decode one socket that was there before the hooks. Which end it is of its connection is not settled yet.
    pub(super) fn decode_existing(&mut self, bytes: &[u8]) -> Result<Found, DecodeError> {
        check_length(bytes, size_of::<ExistingSocket>())?;
        check_version(bytes)?;
        let boot_ns = u64_at(bytes, offset_of!(ExistingSocket, time_ns));
        let state = bytes[offset_of!(ExistingSocket, state)];
        let pid = u32_at(bytes, offset_of!(ExistingSocket, pid));
        let task = self.commands.task(pid, array_at(bytes, offset_of!(ExistingSocket, comm)));
        let remote = offset_of!(ExistingSocket, remote);
        Ok(Found {
            state,
            flags: bytes[offset_of!(ExistingSocket, flags)],
            netns: u32_at(bytes, offset_of!(ExistingSocket, netns)),
            seen: Observation {
                time: self.clock.wall(boot_ns),
                boot_ns,
                protocol: protocol_of(bytes[offset_of!(ExistingSocket, protocol)])?,
                cgroup_id: present(u64_at(bytes, offset_of!(ExistingSocket, cgroup_id))),
                cookie: present(u64_at(bytes, offset_of!(ExistingSocket, cookie))),
                local: end_at(
                    bytes,
                    offset_of!(ExistingSocket, local),
                    offset_of!(ExistingSocket, local_port),
                ),
                remote: end_at(bytes, remote, offset_of!(ExistingSocket, remote_port)),
                untold: false,
                fact: Fact::Existing { task, opened: true, connected: state != TCP_SYN_SENT },
                receipts: Receipts::untracked(),
            },
        })
    }

    fn fact_of(&mut self, bytes: &[u8]) -> Result<Fact, DecodeError> {
        let errno = u16_at(bytes, offset_of!(Event, errno));
        let flags = u32_at(bytes, offset_of!(Event, flags));
        let retransmits = u32_at(bytes, offset_of!(Event, retransmits));
        Ok(match bytes[offset_of!(Event, kind)] {
            ATTEMPT => Fact::Attempt { task: self.task_at(bytes) },
            ESTABLISHED => Fact::Established { syn_retries: retransmits },
            FAILED => Fact::Failed {
                errno: (errno != 0).then_some(errno),
                error_consumed: flags & FLAG_ERROR_CONSUMED != 0,
                syn_retries: retransmits,
            },
            CLOSED => Fact::Closed {
                bytes_sent: u64_at(bytes, offset_of!(Event, bytes_sent)),
                bytes_received: u64_at(bytes, offset_of!(Event, bytes_received)),
                retransmits,
                srtt_us: Some(u32_at(bytes, offset_of!(Event, srtt_us))).filter(|srtt| *srtt != 0),
            },
            INBOUND => Fact::Inbound,
            SYN_RETRANSMIT => Fact::SynRetransmitted,
            DROP => Fact::Dropped {
                reason: self.reason_name(u16_at(bytes, offset_of!(Event, drop_reason))),
                no_socket: flags & FLAG_NO_SOCKET != 0,
            },
            ERROR => Fact::Error { errno: (errno != 0).then_some(errno) },
            SENT => Fact::Sent { task: self.task_at(bytes), errno: (errno != 0).then_some(errno) },
            SENT_TO => Fact::SentTo { task: (flags & FLAG_TASK != 0).then(|| self.task_at(bytes)) },
            RECEIVED => Fact::Received { task: self.task_at(bytes), arrived: flags & FLAG_ARRIVED != 0 },
            ARRIVED => Fact::Arrived,
            ANSWERED => Fact::Answered,
            found => return Err(DecodeError::Kind { found }),
        })
    }

    /// A reason that the kernel's BTF did not name is told by its number.
    fn reason_name(&self, reason: u16) -> Arc<str> {
        match self.reasons.get(usize::from(reason)) {
            Some(Some(name)) => Arc::clone(name),
            _ => format!("REASON_{reason}").into(),
        }
    }

    fn task_at(&mut self, bytes: &[u8]) -> Task {
        let comm = array_at(bytes, offset_of!(Event, comm));
        self.commands.task(u32_at(bytes, offset_of!(Event, pid)), comm)
    }
}

impl Commands {
    const KNOWN: u64 = 64;

    fn new() -> Self {
        Self { known: (0..Self::KNOWN).map(|_| None).collect() }
    }

    fn task(&mut self, pid: u32, comm: [u8; COMM_BYTES]) -> Task {
        let number = u128::from_ne_bytes(comm);
        // Where it is kept; two that share a place take turns in it.
        let place = FixedState::default().hash_one(number) % Self::KNOWN;
        let place = usize::try_from(place).ok().and_then(|place| self.known.get_mut(place));
        let name = match place {
            Some(Some((known, name))) if *known == comm => Arc::clone(name),
            place => {
                let name = name_of(comm);
                if let Some(place) = place {
                    *place = Some((comm, Arc::clone(&name)));
                }
                name
            }
        };
        Task { pid, comm: name }
    }
}

/// Decode a cgroup event.
///
/// # Errors
/// Another length, version or kind than this build knows.
pub fn decode_cgroup(bytes: &[u8]) -> Result<CgroupChange, DecodeError> {
    check_length(bytes, size_of::<CgroupEvent>())?;
    check_version(bytes)?;
    let made = match bytes[offset_of!(CgroupEvent, kind)] {
        CGROUP_MADE => true,
        CGROUP_REMOVED => false,
        found => return Err(DecodeError::Kind { found }),
    };
    let id = u64_at(bytes, offset_of!(CgroupEvent, cgroup_id));
    Ok(CgroupChange { id, made, path: path_at(bytes) })
}

/// Decode a DNS answer.
///
/// # Errors
/// Another length or version than this build knows.
pub fn decode_answer(bytes: &[u8]) -> Result<DnsAnswer, DecodeError> {
    check_length(bytes, size_of::<AnswerEvent>())?;
    check_version(bytes)?;
    let told = usize::try_from(u32_at(bytes, offset_of!(AnswerEvent, bytes))).unwrap_or(usize::MAX);
    let message = &bytes[offset_of!(AnswerEvent, message)..];
    Ok(DnsAnswer {
        boot_ns: u64_at(bytes, offset_of!(AnswerEvent, time_ns)),
        cgroup_id: u64_at(bytes, offset_of!(AnswerEvent, cgroup_id)),
        message: message[..told.min(message.len())].to_vec(),
        whole: bytes[offset_of!(AnswerEvent, whole)] == 1,
    })
}

fn path_at(bytes: &[u8]) -> Option<String> {
    let length = usize::try_from(u32_at(bytes, offset_of!(CgroupEvent, path_bytes))).ok()?;
    if length == 0 || length >= PATH_BYTES {
        return None;
    }
    let start = offset_of!(CgroupEvent, path);
    String::from_utf8(bytes[start..start + length - 1].to_vec()).ok()
}

fn check_length(bytes: &[u8], expected: usize) -> Result<(), DecodeError> {
    if bytes.len() == expected { Ok(()) } else { Err(DecodeError::Length { found: bytes.len(), expected }) }
}

fn check_version(bytes: &[u8]) -> Result<(), DecodeError> {
    match bytes[0] {
        ABI_VERSION => Ok(()),
        found => Err(DecodeError::Version { found }),
    }
}

fn protocol_of(number: u8) -> Result<Protocol, DecodeError> {
    match number {
        IPPROTO_ICMP => Ok(Protocol::Icmp),
        IPPROTO_ICMPV6 => Ok(Protocol::Icmpv6),
        IPPROTO_TCP => Ok(Protocol::Tcp),
        IPPROTO_UDP => Ok(Protocol::Udp),
        IPPROTO_SCTP => Ok(Protocol::Sctp),
        found => Err(DecodeError::Protocol { found }),
    }
}

/// Address and port; `None` while neither is set. IPv4-mapped addresses become IPv4 here and nowhere else.
fn end_at(bytes: &[u8], address: usize, port: usize) -> Option<SocketAddr> {
    let octets: [u8; 16] = array_at(bytes, address);
    let port = u16_at(bytes, port);
    let ip = match octets {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(octets)),
    };
    (port != 0 || !ip.is_unspecified()).then_some(SocketAddr::new(ip, port))
}

fn name_of(comm: [u8; COMM_BYTES]) -> Arc<str> {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into()
}

fn present(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(array_at(bytes, at))
}

/// Callers have checked the length, and pass offsets of the layout.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::{CgroupChange, DecodeError, Decoder, decode_cgroup};
    use crate::capture::clock::Clock;
    use crate::model::{Fact, Protocol, Task};
    use flowlog_common::ABI_VERSION;
    use std::net::SocketAddr;

    const LENGTH: usize = size_of::<flowlog_common::event::Event>();

    fn decoder() -> Decoder {
        Decoder::new(Clock::fixed(0), vec![None, None, Some("NETFILTER_DROP".into())])
    }

    fn event(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        bytes[0] = ABI_VERSION;
        bytes[1] = kind;
        bytes[3] = 6;
        bytes[8..16].copy_from_slice(&5_000_000_000_u64.to_ne_bytes());
        bytes[24..32].copy_from_slice(&77_u64.to_ne_bytes());
        bytes[64..80].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 9]);
        bytes[82..84].copy_from_slice(&443_u16.to_ne_bytes());
        bytes[96..100].copy_from_slice(&4242_u32.to_ne_bytes());
        bytes[104..109].copy_from_slice(b"curl\0");
        bytes
    }

    #[test]
    fn an_attempt_is_decoded_and_its_mapped_address_normalised() {
        let seen = decoder().decode(&event(1)).unwrap();
        assert_eq!(seen.protocol, Protocol::Tcp);
        assert_eq!(seen.cookie, Some(77));
        assert_eq!(seen.cgroup_id, None);
        assert_eq!(seen.local, None);
        assert_eq!(seen.remote, Some("10.0.0.9:443".parse::<SocketAddr>().unwrap()));
        assert_eq!(seen.fact, Fact::Attempt { task: Task { pid: 4242, comm: "curl".into() } });
    }

    #[test]
    fn each_kind_becomes_its_fact() {
        let mut drop = event(7);
        drop[86..88].copy_from_slice(&2_u16.to_ne_bytes());
        let flagged = |kind: u8, flag: u8| {
            let mut bytes = event(kind);
            bytes[4..8].copy_from_slice(&u32::from(flag).to_ne_bytes());
            bytes
        };
        type Holds = fn(&Fact) -> bool;
        let rows: [(&str, Vec<u8>, Holds); 12] = [
            ("established", event(2), |fact| matches!(fact, Fact::Established { syn_retries: 0 })),
            ("failed without errno", event(3), |fact| matches!(fact, Fact::Failed { errno: None, .. })),
            ("inbound", event(5), |fact| matches!(fact, Fact::Inbound)),
            ("retransmit", event(6), |fact| matches!(fact, Fact::SynRetransmitted)),
            (
                "drop",
                drop,
                |fact| matches!(fact, Fact::Dropped { reason, no_socket: false } if &**reason == "NETFILTER_DROP"),
            ),
            ("sent", event(9), |fact| matches!(fact, Fact::Sent { errno: None, .. })),
            (
                "sent to",
                flagged(10, 2),
                |fact| matches!(fact, Fact::SentTo { task: Some(task) } if task.pid == 4242),
            ),
            ("sent to by who knows whom", event(10), |fact| matches!(fact, Fact::SentTo { task: None })),
            (
                "received",
                event(11),
                |fact| matches!(fact, Fact::Received { task, arrived: false } if &*task.comm == "curl"),
            ),
            ("received of what was here", flagged(11, 16), |fact| {
                matches!(fact, Fact::Received { arrived: true, .. })
            }),
            ("answered", event(12), |fact| matches!(fact, Fact::Answered)),
            ("arrived", event(13), |fact| matches!(fact, Fact::Arrived)),
        ];
        for (name, bytes, holds) in rows {
            let fact = decoder().decode(&bytes).unwrap().fact;
            assert!(holds(&fact), "{name}: {fact:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_an_error_and_never_a_guess() {
        let mut other_build = event(1);
        other_build[0] = ABI_VERSION + 1;
        let mut igmp = event(1);
        igmp[3] = 2;
        let rows = [
            ("empty", Vec::new(), DecodeError::Length { found: 0, expected: LENGTH }),
            (
                "short",
                event(1)[..LENGTH - 1].to_vec(),
                DecodeError::Length { found: LENGTH - 1, expected: LENGTH },
            ),
            (
                "long",
                [event(1), vec![0]].concat(),
                DecodeError::Length { found: LENGTH + 1, expected: LENGTH },
            ),
            ("other build", other_build, DecodeError::Version { found: ABI_VERSION + 1 }),
            ("kind 0", event(0), DecodeError::Kind { found: 0 }),
            ("kind 200", event(200), DecodeError::Kind { found: 200 }),
            ("protocol", igmp, DecodeError::Protocol { found: 2 }),
        ];
        for (name, bytes, expected) in rows {
            assert_eq!(decoder().decode(&bytes), Err(expected), "{name}");
        }
    }

    #[test]
    fn a_reason_without_a_name_is_told_by_its_number() {
        let mut drop = event(7);
        drop[86..88].copy_from_slice(&200_u16.to_ne_bytes());
        assert_eq!(
            decoder().decode(&drop).unwrap().fact,
            Fact::Dropped { reason: "REASON_200".into(), no_socket: false }
        );
    }

    #[test]
    fn a_command_name_that_is_no_utf8_is_kept_as_far_as_it_is() {
        let mut bytes = event(1);
        bytes[104..120].copy_from_slice(b"a\xff\nbbbbbbbbbbbbb");
        let Fact::Attempt { task } = decoder().decode(&bytes).unwrap().fact else { panic!("no attempt") };
        assert_eq!(&*task.comm, "a\u{fffd}\nbbbbbbbbbbbbb");
    }

    #[test]
    fn cgroup_events_carry_their_path_unless_it_was_cut() {
        let mut bytes = vec![0; size_of::<flowlog_common::event::CgroupEvent>()];
        bytes[0] = ABI_VERSION;
        bytes[1] = 1;
        bytes[4..8].copy_from_slice(&6_u32.to_ne_bytes());
        bytes[16..24].copy_from_slice(&9_u64.to_ne_bytes());
        bytes[24..30].copy_from_slice(b"/pods\0");
        assert_eq!(
            decode_cgroup(&bytes),
            Ok(CgroupChange { id: 9, made: true, path: Some("/pods".to_owned()) })
        );
        bytes[4..8].copy_from_slice(&512_u32.to_ne_bytes());
        assert_eq!(decode_cgroup(&bytes), Ok(CgroupChange { id: 9, made: true, path: None }));
        bytes[1] = 3;
        assert_eq!(decode_cgroup(&bytes), Err(DecodeError::Kind { found: 3 }));
    }
}
