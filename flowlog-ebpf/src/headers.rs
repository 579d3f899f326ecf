//! Headers of packets, read from wherever they lie: what a packet is to a flow, and whose ends it names.

use crate::{
    hooks::{connect::IPPROTO_TCP, send::IPPROTO_UDP},
    sockaddr::{AF_INET, AF_INET6, mapped},
};
use flowlog_common::event::Address;

pub(crate) const IPPROTO_ICMP: u8 = 1;
pub(crate) const IPPROTO_ICMPV6: u8 = 58;
pub(crate) const IPPROTO_SCTP: u8 = 132;

const FRAGMENT_OFFSET: u16 = 0x1fff;
const SYN_ACK_BITS: u8 = 0x12;
const SYN: u8 = 0x02;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_DESTINATION: u8 = 60;
/// Extension headers that are walked; packets with more are not seen in practice.
const EXTENSION_HEADERS: usize = 3;

// RFC 9260, section 3.2; the first chunk follows a header of 12 bytes.
const SCTP_CHUNK: usize = 12;
const SCTP_INIT: u8 = 1;
const SCTP_INIT_ACK: u8 = 2;
const SCTP_ABORT: u8 = 6;

/// A packet from its network header on.
pub(crate) trait Bytes {
    /// `None` where it ends before, or its memory cannot be read.
    fn get<T: Copy>(&self, offset: usize) -> Option<T>;
}

/// The packet's memory could not be read, or it holds no IP header.
pub(crate) struct Unreadable;

/// What a packet is to its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It opens one: a SYN, an INIT, a request by ICMP; any datagram may.
    Opens,
    /// It answers what opened one.
    Answers,
    /// It refuses what opened one.
    Refuses,
    /// None of these, or of a flow that is not its own: an error by ICMP.
    Other,
}

/// Where a packet goes, and what it is.
pub(crate) struct Headers {
    pub(crate) family: u8,
    pub(crate) protocol: u8,
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) role: Role,
    /// A request by ICMP goes from the number of who asks to a port of what is asked for: type and code, a byte each. Its
    /// answer goes from there to that number.
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

impl Headers {
    /// `None` for later fragments, and for protocols that are not observed.
    #[inline(always)]
    pub(crate) fn read4(bytes: &impl Bytes) -> Result<Option<Self>, Unreadable> {
        let words: [u32; 5] = bytes.get(0).ok_or(Unreadable)?;
        let first = u32::from_be(words[0]);
        let header_bytes = ((first >> 24) & 0xf) as usize * 4;
        if first >> 28 != 4 || header_bytes < 20 {
            return Err(Unreadable);
        }
        if u32::from_be(words[1]) as u16 & FRAGMENT_OFFSET != 0 {
            return Ok(None);
        }
        let protocol = (u32::from_be(words[2]) >> 16) as u8;
        if protocol == IPPROTO_ICMPV6 {
            return Ok(None);
        }
        let Some(transport) = Transport::read(bytes, header_bytes, protocol)? else { return Ok(None) };
        Ok(Some(transport.between(AF_INET, protocol, mapped(words[3]), mapped(words[4]))))
    }

    /// The same over IPv6.
    #[inline(always)]
    pub(crate) fn read6(bytes: &impl Bytes) -> Result<Option<Self>, Unreadable> {
        let words: [u32; 10] = bytes.get(0).ok_or(Unreadable)?;
        if u32::from_be(words[0]) >> 28 != 6 {
            return Err(Unreadable);
        }
        let mut protocol = (u32::from_be(words[1]) >> 8) as u8;
        let mut offset = 40;
        for _ in 0..EXTENSION_HEADERS {
            if protocol != IPV6_HOP_BY_HOP && protocol != IPV6_ROUTING && protocol != IPV6_DESTINATION {
                break;
            }
            let extension: [u8; 2] = bytes.get(offset).ok_or(Unreadable)?;
            protocol = extension[0];
            offset += (usize::from(extension[1]) + 1) * 8;
        }
        if protocol == IPPROTO_ICMP {
            return Ok(None);
        }
        let Some(transport) = Transport::read(bytes, offset, protocol)? else { return Ok(None) };
        let source = [words[2], words[3], words[4], words[5]];
        let destination = [words[6], words[7], words[8], words[9]];
        Ok(Some(transport.between(AF_INET6, protocol, source, destination)))
    }
}

/// What follows the network header.
struct Transport {
    role: Role,
    source_port: u16,
    destination_port: u16,
}

impl Transport {
    #[inline(always)]
    fn read(bytes: &impl Bytes, offset: usize, protocol: u8) -> Result<Option<Self>, Unreadable> {
        let role = match protocol {
            IPPROTO_ICMP | IPPROTO_ICMPV6 => return Self::read_icmp(bytes, offset, protocol),
            IPPROTO_UDP => Role::Opens,
            IPPROTO_TCP => {
                let flags: u8 = bytes.get(offset + 13).ok_or(Unreadable)?;
                if flags & SYN_ACK_BITS == SYN { Role::Opens } else { Role::Other }
            }
            IPPROTO_SCTP => match bytes.get(offset + SCTP_CHUNK).ok_or(Unreadable)? {
                SCTP_INIT => Role::Opens,
                SCTP_INIT_ACK => Role::Answers,
                SCTP_ABORT => Role::Refuses,
                _ => Role::Other,
            },
            _ => return Ok(None),
        };
        let ports: [u16; 2] = bytes.get(offset).ok_or(Unreadable)?;
        let [source_port, destination_port] = [u16::from_be(ports[0]), u16::from_be(ports[1])];
        Ok(Some(Self { role, source_port, destination_port }))
    }

    #[inline(always)]
    fn read_icmp(bytes: &impl Bytes, offset: usize, protocol: u8) -> Result<Option<Self>, Unreadable> {
        let words: [u16; 4] = bytes.get(offset).ok_or(Unreadable)?;
        let message = u16::from_be(words[0]);
        let (kind, number) = ((message >> 8) as u8, u16::from_be(words[2]));
        let (asked, other) = if protocol == IPPROTO_ICMP {
            (asked4(kind), is_other4(kind))
        } else {
            (asked6(kind), is_other6(kind))
        };
        let (role, source_port, destination_port) = match asked {
            Some(asked) => (Role::Answers, u16::from(asked) << 8, number),
            None if other => (Role::Other, 0, 0),
            None => (Role::Opens, number, message),
        };
        Ok(Some(Self { role, source_port, destination_port }))
    }

    #[inline(always)]
    fn between(self, family: u8, protocol: u8, source: Address, destination: Address) -> Headers {
        let Self { role, source_port, destination_port } = self;
        Headers { family, protocol, source, destination, role, source_port, destination_port }
    }
}

/// What an answer was asked for by (https://www.iana.org/assignments/icmp-parameters): echo, timestamp, information,
/// address mask, extended echo.
#[inline(always)]
fn asked4(kind: u8) -> Option<u8> {
    match kind {
        0 => Some(8),
        14 => Some(13),
        16 => Some(15),
        18 => Some(17),
        43 => Some(42),
        _ => None,
    }
}

/// The same (https://www.iana.org/assignments/icmpv6-parameters): echo, node information, extended echo.
#[inline(always)]
fn asked6(kind: u8) -> Option<u8> {
    match kind {
        129 => Some(128),
        140 => Some(139),
        161 => Some(160),
        _ => None,
    }
}

/// Errors, which belong to other flows, and what routers and neighbours tell each other.
#[inline(always)]
fn is_other4(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 9 | 10 | 11 | 12)
}

/// The same; errors have the upper half of the numbers to themselves, from 0.
#[inline(always)]
fn is_other6(kind: u8) -> bool {
    kind < 128 || matches!(kind, 130..=138 | 141..=155)
}
