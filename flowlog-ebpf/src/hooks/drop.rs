//! `kfree_skb`: packets that the node dropped, filtered by reason before anything else is read.
//!
//! Told are packets that open something: a SYN without ACK, a datagram, SCTP's INIT, a request by ICMP where packets are
//! observed at all. On its way through the node a packet has lost its socket, so the addresses come from its headers.

use crate::{
    emit::{counters, emit},
    headers::{Bytes, Headers, IPPROTO_ICMP, IPPROTO_ICMPV6, Role, Unreadable},
    maps::{DROP_REASONS, PACKETS},
    offsets::{
        SKB_HEAD, SKB_NETWORK_HEADER, SKB_PROTOCOL, SKB_SK, SKC_COOKIE, SKC_NUM, load, probe,
        socket_cgroup_id,
    },
    shed,
};
use aya_ebpf::{cty::c_void, programs::BtfTracePointContext};
use flowlog_common::{
    event::{DROP, FLAG_NO_SOCKET, FLAG_UNTOLD},
    settings::{REASON_IGNORED, REASON_NO_SOCKET, REASONS},
};

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

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
    let memory = Memory((head as *const c_void).wrapping_byte_add(usize::from(network)));
    let headers = match ethertype {
        ETH_P_IP => Headers::read4(&memory),
        ETH_P_IPV6 => Headers::read6(&memory),
        _ => return None,
    };
    match headers {
        Ok(headers) => headers.filter(opens),
        Err(Unreadable) => {
            if let Some(counters) = counters() {
                counters.unreadable += 1;
            }
            None
        }
    }
}

/// Of ICMP nothing is told unless its packets are.
#[inline(always)]
fn opens(headers: &Headers) -> bool {
    let icmp = headers.protocol == IPPROTO_ICMP || headers.protocol == IPPROTO_ICMPV6;
    headers.role == Role::Opens && (!icmp || PACKETS.load() != 0)
}

/// A packet in the kernel's memory.
struct Memory(*const c_void);

impl Bytes for Memory {
    #[inline(always)]
    fn get<T: Copy>(&self, offset: usize) -> Option<T> {
        probe(self.0, offset)
    }
}
