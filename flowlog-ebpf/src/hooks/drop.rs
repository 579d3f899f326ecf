//! `kfree_skb`: packets that the node dropped, filtered by reason before anything else is read.
//!
//! Told are TCP packets that open a connection (SYN without ACK) and UDP datagrams. On its way through the
//! node a packet has lost its socket, so the addresses come from its headers.

use crate::{
    emit::{counters, emit},
    hooks::{connect::IPPROTO_TCP, send::IPPROTO_UDP},
    maps::DROP_REASONS,
    offsets::{
        SKB_HEAD, SKB_NETWORK_HEADER, SKB_PROTOCOL, SKB_SK, SKC_COOKIE, SKC_NUM, load, probe,
        socket_cgroup_id,
    },
    shed,
    sockaddr::{AF_INET, AF_INET6, mapped},
};
use aya_ebpf::{cty::c_void, programs::BtfTracePointContext};
use flowlog_common::{
    event::{Address, DROP, FLAG_NO_SOCKET, FLAG_UNTOLD},
    settings::{REASON_IGNORED, REASON_NO_SOCKET, REASONS},
};

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const FRAGMENT_OFFSET: u16 = 0x1fff;
const SYN_ACK_BITS: u8 = 0x12;
const SYN: u8 = 0x02;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_DESTINATION: u8 = 60;
/// Extension headers that are walked; packets with more are not seen in practice.
const EXTENSION_HEADERS: usize = 3;

/// Where a packet goes, from its headers.
struct Headers {
    family: u8,
    protocol: u8,
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
}

/// A packet is freed for a reason.
#[inline(always)]
pub(crate) fn observe(ctx: &BtfTracePointContext, packet: *const c_void, reason: u32) {
    let interest = interest_in(reason);
    if interest == REASON_IGNORED {
        return;
    }
    let Some(headers) = read_headers(packet) else { return };
    emit(ctx, DROP, |event| {
        event.family = headers.family;
        event.protocol = headers.protocol;
        event.local = headers.source;
        event.remote = headers.destination;
        event.local_port = headers.source_port;
        event.remote_port = headers.destination_port;
        event.drop_reason = reason as u16;
        if interest == REASON_NO_SOCKET {
            event.flags |= FLAG_NO_SOCKET;
        } else if let Some((cookie, cgroup)) = sender(packet, headers.source_port) {
            event.cookie = cookie;
            event.cgroup_id = cgroup;
            if shed::mark_of(cookie).is_some() {
                event.flags |= FLAG_UNTOLD;
            }
        }
    });
}

#[inline(always)]
fn interest_in(reason: u32) -> u8 {
    if reason as usize >= REASONS {
        return REASON_IGNORED;
    }
    let table = (&raw const DROP_REASONS).cast::<u8>();
    // SAFETY: inside the table, checked above; the agent's override is in place before the program is loaded.
    unsafe { table.wrapping_add(reason as usize).read_volatile() }
}

/// The packet's socket, where it is the sender's: on receive it may be the listener's.
#[inline(always)]
fn sender(packet: *const c_void, source_port: u16) -> Option<(u64, u64)> {
    let sock: u64 = probe(packet, SKB_SK.load() as usize)?;
    if sock == 0 {
        return None;
    }
    let sock = sock as *const c_void;
    if probe::<u16>(sock, SKC_NUM.load() as usize)? != source_port {
        return None;
    }
    Some((probe(sock, SKC_COOKIE.load() as usize)?, socket_cgroup_id(sock)))
}

/// `None` for what opens nothing, and, counted, for what cannot be read.
#[inline(always)]
fn read_headers(packet: *const c_void) -> Option<Headers> {
    let head: u64 = load(packet, &SKB_HEAD);
    let network: u16 = load(packet, &SKB_NETWORK_HEADER);
    let ethertype = u16::from_be(load(packet, &SKB_PROTOCOL));
    let start = (head as *const c_void).wrapping_byte_add(usize::from(network));
    let headers = match ethertype {
        ETH_P_IP => read_ipv4(start),
        ETH_P_IPV6 => read_ipv6(start),
        _ => return None,
    };
    match headers {
        Ok(headers) => headers,
        Err(Unreadable) => {
            if let Some(counters) = counters() {
                counters.unreadable += 1;
            }
            None
        }
    }
}

/// The kernel could not read the packet's memory, or it holds no IP header there.
struct Unreadable;

#[inline(always)]
fn read_ipv4(start: *const c_void) -> Result<Option<Headers>, Unreadable> {
    let words: [u32; 5] = probe(start, 0).ok_or(Unreadable)?;
    let first = u32::from_be(words[0]);
    let header_bytes = ((first >> 24) & 0xf) as usize * 4;
    if first >> 28 != 4 || header_bytes < 20 {
        return Err(Unreadable);
    }
    if u32::from_be(words[1]) as u16 & FRAGMENT_OFFSET != 0 {
        return Ok(None);
    }
    let protocol = (u32::from_be(words[2]) >> 16) as u8;
    let Some((source_port, destination_port)) = read_ports(start, header_bytes, protocol)? else {
        return Ok(None);
    };
    Ok(Some(Headers {
        family: AF_INET,
        protocol,
        source: mapped(words[3]),
        destination: mapped(words[4]),
        source_port,
        destination_port,
    }))
}

#[inline(always)]
fn read_ipv6(start: *const c_void) -> Result<Option<Headers>, Unreadable> {
    let words: [u32; 10] = probe(start, 0).ok_or(Unreadable)?;
    if u32::from_be(words[0]) >> 28 != 6 {
        return Err(Unreadable);
    }
    let mut protocol = (u32::from_be(words[1]) >> 8) as u8;
    let mut offset = 40;
    for _ in 0..EXTENSION_HEADERS {
        if protocol != IPV6_HOP_BY_HOP && protocol != IPV6_ROUTING && protocol != IPV6_DESTINATION {
            break;
        }
        let extension: [u8; 2] = probe(start, offset).ok_or(Unreadable)?;
        protocol = extension[0];
        offset += (usize::from(extension[1]) + 1) * 8;
    }
    let Some((source_port, destination_port)) = read_ports(start, offset, protocol)? else {
        return Ok(None);
    };
    Ok(Some(Headers {
        family: AF_INET6,
        protocol,
        source: [words[2], words[3], words[4], words[5]],
        destination: [words[6], words[7], words[8], words[9]],
        source_port,
        destination_port,
    }))
}

/// Ports of a datagram, or of a segment that opens a connection.
#[inline(always)]
fn read_ports(start: *const c_void, offset: usize, protocol: u8) -> Result<Option<(u16, u16)>, Unreadable> {
    if protocol != IPPROTO_TCP && protocol != IPPROTO_UDP {
        return Ok(None);
    }
    if protocol == IPPROTO_TCP {
        let flags: u8 = probe(start, offset + 13).ok_or(Unreadable)?;
        if flags & SYN_ACK_BITS != SYN {
            return Ok(None);
        }
    }
    let ports: [u16; 2] = probe(start, offset).ok_or(Unreadable)?;
    Ok(Some((u16::from_be(ports[0]), u16::from_be(ports[1]))))
}
