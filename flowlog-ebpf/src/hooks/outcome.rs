//! `inet_sock_set_state`, `tcp_retransmit_skb`, `inet_sk_error_report`: what became of an attempt, and inbound
//! accepts.
//!
//! Runs in whatever context the packet arrived in: the current process means nothing here, the socket's cookie
//! and cgroup do. A socket without a cookie never passed our connect hook and is left alone.

use crate::{
    emit::{emit, refuse},
    hooks::{connect::IPPROTO_TCP, send::IPPROTO_UDP},
    maps::CHILDREN,
    offsets::{
        INET_SPORT, MAKES_COOKIES, SK_ERR, SK_ERR_SOFT, SK_ERROR_QUEUE, SK_ERROR_QUEUE_LAST, SK_PROTOCOL,
        SK_SHUTDOWN, SKB_QUEUED_ERRNO, SKC_COOKIE, SKC_FLAGS, SKC_STATE, Sock, TCP_BYTES_RECEIVED,
        TCP_BYTES_RETRANS, TCP_BYTES_SENT, TCP_SRTT_US, TCP_TOTAL_RETRANS, cgroup_of, load, probe,
    },
    repeats,
    shed::{self, Mark},
    sockaddr::{Ends, fill_socket},
};
use aya_ebpf::{
    cty::c_void,
    helpers::generated::{bpf_get_socket_cookie, bpf_skc_to_tcp_sock},
    programs::BtfTracePointContext,
};
use flowlog_common::event::{
    CLOSED, ERROR, ESTABLISHED, Event, FAILED, FLAG_ERROR_CONSUMED, FLAG_UNTOLD, INBOUND, SYN_RETRANSMIT,
};

// include/net/tcp_states.h
pub(crate) const TCP_ESTABLISHED: i32 = 1;
pub(crate) const TCP_SYN_SENT: i32 = 2;
const TCP_SYN_RECV: i32 = 3;
pub(crate) const TCP_CLOSE: i32 = 7;
pub(crate) const TCP_LISTEN: i32 = 10;
const TCP_NEW_SYN_RECV: i32 = 12;

pub(crate) const IPPROTO_MPTCP: u16 = 262;
/// Bit 1 of `skc_flags` (`enum sock_flags` in include/net/sock.h), set when a FIN is received and only then.
const SOCK_DONE: u64 = 1 << 1;

// FNV-1a, 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// A TCP socket goes from one state to another.
#[inline(always)]
pub(crate) fn observe_state(ctx: &BtfTracePointContext, sock: Sock, old: i32, new: i32) {
    if new != TCP_ESTABLISHED && new != TCP_CLOSE {
        return;
    }
    let protocol: u16 = load(sock, &SK_PROTOCOL);
    if protocol != u16::from(IPPROTO_TCP) && protocol != IPPROTO_MPTCP {
        return;
    }
    match (old, new) {
        (TCP_SYN_RECV, TCP_ESTABLISHED) => inbound(ctx, sock),
        (TCP_SYN_SENT, TCP_ESTABLISHED) => established(ctx, sock),
        (TCP_SYN_SENT, TCP_CLOSE) => failed(ctx, sock),
        (TCP_SYN_RECV | TCP_NEW_SYN_RECV | TCP_LISTEN | TCP_CLOSE, TCP_CLOSE) => {}
        (_, TCP_CLOSE) => closed(ctx, sock),
        _ => {}
    }
}

/// A child of a listener; its cookie is made here, so that its close can be told as the same socket's. Where the
/// connection is counted at its opener on this node, that has its sums, and the child is left alone.
#[inline(always)]
fn inbound(ctx: &BtfTracePointContext, sock: Sock) {
    let ends = Ends::read(sock);
    if repeats::was_counted(&ends) {
        return;
    }
    let cgroup_id = cgroup_of(sock);
    let key = repeats::key_of_listener(cgroup_id, ends.remote, ends.local_port);
    let slot = repeats::find(&key);
    // Without a cookie its close is left alone, too.
    if slot.is_none()
        && let Some(step) = shed::find(&key)
    {
        shed::lose(step);
        return;
    }
    let cookie = cookie_of_child(sock, &ends, cgroup_id);
    if let Some(slot) = slot {
        slot.add_established();
        return;
    }
    let told = emit(ctx, INBOUND, |event| {
        event.cookie = cookie;
        event.cgroup_id = cgroup_id;
        fill_tcp(event, &ends, sock);
    });
    if !told {
        shed::mark(cookie, Mark::Refused);
    }
}

/// Its cookie, made here, or what stands in for one.
#[inline(always)]
fn cookie_of_child(sock: Sock, ends: &Ends, cgroup_id: u64) -> u64 {
    if MAKES_COOKIES.load() == 0 {
        let number = stand_in(sock, ends, cgroup_id);
        if CHILDREN.insert(number, 1, 0).is_err() {
            refuse();
        }
        return number;
    }
    // SAFETY: the helper takes a socket that a BTF tracepoint handed in (kernel 5.12).
    unsafe { bpf_get_socket_cookie(sock.cast_mut()) }
}

/// In place of a cookie that cannot be made: what tells the sockets apart that are alive on a node at one time, mixed
/// into one number (FNV-1a over words), with the top bit set, which the kernel's own numbers never reach.
#[inline(always)]
fn stand_in(sock: Sock, ends: &Ends, cgroup_id: u64) -> u64 {
    let port = source_port(sock).unwrap_or(ends.local_port);
    let ports = u64::from(port) << 16 | u64::from(ends.remote_port);
    let local = u64::from(ends.local[2]) << 32 | u64::from(ends.local[3]);
    let remote = [
        u64::from(ends.remote[0]) << 32 | u64::from(ends.remote[1]),
        u64::from(ends.remote[2]) << 32 | u64::from(ends.remote[3]),
    ];
    let mixed = mix(mix(mix(FNV_BASIS, cgroup_id), ports), local);
    mix(mix(mixed, remote[0]), remote[1]) | 1 << 63
}

#[inline(always)]
fn mix(mixed: u64, word: u64) -> u64 {
    (mixed ^ word).wrapping_mul(FNV_PRIME)
}

/// Not counted where its SYN was sent again: that has been told by an event, and this belongs to it.
#[inline(always)]
fn established(ctx: &BtfTracePointContext, sock: Sock) {
    let Some(known) = Known::read(sock) else { return };
    let ends = &known.ends;
    match known.mark {
        // What is told of the listener's side would belong to nothing.
        Some(Mark::Shed) => return repeats::note_shed(ends),
        Some(Mark::Refused) => return known.emit(ctx, ESTABLISHED, sock, |_| {}),
        None => {}
    }
    let key = repeats::key_of_opener(known.cgroup_id, ends.remote, ends.remote_port);
    if let Some(slot) = repeats::find(&key)
        && retransmits(sock) == 0
    {
        slot.add_established();
        repeats::note_counted(ends);
        return;
    }
    known.emit(ctx, ESTABLISHED, sock, |_| {});
}

#[inline(always)]
fn failed(ctx: &BtfTracePointContext, sock: Sock) {
    let Some(known) = Known::read(sock) else { return };
    known.emit(ctx, FAILED, sock, |event| {
        event.errno = error_of(sock);
        // `SO_ERROR` gives the process an ICMP error that came while connect held the socket, and clears it; what
        // `inet_sk_error_report` would tell of it (kernel 5.15) lies in the queue still.
        if event.errno == 0 {
            event.errno = queued_error(sock).unwrap_or(0);
        }
        // `__tcp_close` shuts the socket down before its state changes, `tcp_done` after: without an errno and not
        // shut down, an error ended it that the process has polled away on another CPU. A connect that found no free
        // port looks the same, but for the port.
        if event.errno == 0 && event.local_port != 0 && load::<u8>(sock, &SK_SHUTDOWN) == 0 {
            event.flags |= FLAG_ERROR_CONSUMED;
        }
    });
    if known.mark.is_some() {
        shed::unmark(known.cookie);
    }
}

#[inline(always)]
fn closed(ctx: &BtfTracePointContext, sock: Sock) {
    let Some(known) = Known::read_last(sock) else { return };
    if known.mark.is_some() {
        return shed::unmark(known.cookie);
    }
    if let Some(slot) = counted(&known, sock) {
        slot.add_closed(&Sums::read(sock));
        return;
    }
    if shed::lose_close() {
        return;
    }
    known.emit(ctx, CLOSED, sock, |_| {});
}

/// Where the sums of a socket go that closes: it may be an opener's or a listener's.
#[inline(always)]
fn counted(known: &Known, sock: Sock) -> Option<repeats::Slot> {
    let Known { cgroup_id, ends, .. } = known;
    let as_opener = repeats::key_of_opener(*cgroup_id, ends.remote, ends.remote_port);
    if let Some(slot) = repeats::find(&as_opener) {
        return Some(slot);
    }
    repeats::find(&repeats::key_of_listener(*cgroup_id, ends.remote, source_port(sock)?))
}

/// A SYN is sent again. Only the first time is an event; the outcome tells how many there were.
#[inline(always)]
pub(crate) fn observe_retransmit(ctx: &BtfTracePointContext, sock: Sock) {
    if i32::from(load::<u8>(sock, &SKC_STATE)) != TCP_SYN_SENT {
        return;
    }
    if retransmits(sock) != 1 {
        return;
    }
    let Some(known) = Known::read(sock) else { return };
    known.emit(ctx, SYN_RETRANSMIT, sock, |_| {});
}

/// An error reaches a socket that is connecting, or a datagram socket.
#[inline(always)]
pub(crate) fn observe_error(ctx: &BtfTracePointContext, sock: Sock) {
    let protocol: u16 = load(sock, &SK_PROTOCOL);
    if protocol == u16::from(IPPROTO_UDP) {
        emit_error(ctx, sock, IPPROTO_UDP);
    } else if protocol == u16::from(IPPROTO_TCP) && i32::from(load::<u8>(sock, &SKC_STATE)) == TCP_SYN_SENT {
        emit_error(ctx, sock, IPPROTO_TCP);
    }
}

/// On a stream the error may not have its number in the socket yet: `tcp_v4_err` queues and reports it first
/// where a system call holds the socket. That it came is told all the same.
#[inline(always)]
fn emit_error(ctx: &BtfTracePointContext, sock: Sock, protocol: u8) {
    let mut errno = error_of(sock);
    if errno == 0 && protocol == IPPROTO_TCP {
        errno = queued_error(sock).unwrap_or(0);
    }
    if errno == 0 && protocol == IPPROTO_UDP {
        return;
    }
    let cookie: u64 = load(sock, &SKC_COOKIE);
    let mark = shed::mark_of(cookie);
    emit(ctx, ERROR, |event| {
        event.cookie = cookie;
        event.flags = flags_of(mark);
        event.cgroup_id = cgroup_of(sock);
        fill_socket(event, sock);
        event.protocol = protocol;
        event.errno = errno;
    });
}

/// The number of the newest error in the socket's error queue (`struct sock_extended_err`).
#[inline(always)]
fn queued_error(sock: Sock) -> Option<u16> {
    let head = sock.wrapping_byte_add(SK_ERROR_QUEUE.load() as usize) as u64;
    let newest: u64 = probe(sock, SK_ERROR_QUEUE_LAST.load() as usize)?;
    if newest == head || newest == 0 {
        return None;
    }
    let errno: u32 = probe(newest as *const c_void, SKB_QUEUED_ERRNO.load() as usize)?;
    Some(errno as u16)
}

/// A socket that passed our hook when it connected, or was accepted.
struct Known {
    cookie: u64,
    cgroup_id: u64,
    ends: Ends,
    mark: Option<Mark>,
}

impl Known {
    #[inline(always)]
    fn read(sock: Sock) -> Option<Self> {
        let cookie: u64 = load(sock, &SKC_COOKIE);
        if cookie == 0 {
            return None;
        }
        let mark = shed::mark_of(cookie);
        Some(Self { cookie, cgroup_id: cgroup_of(sock), ends: Ends::read(sock), mark })
    }

    /// The same of a socket that closes, also where a number stands in for its cookie.
    #[inline(always)]
    fn read_last(sock: Sock) -> Option<Self> {
        if MAKES_COOKIES.load() != 0 || load::<u64>(sock, &SKC_COOKIE) != 0 {
            return Self::read(sock);
        }
        let (cgroup_id, ends) = (cgroup_of(sock), Ends::read(sock));
        let cookie = stand_in(sock, &ends, cgroup_id);
        CHILDREN.remove(cookie).ok()?;
        Some(Self { cookie, cgroup_id, ends, mark: shed::mark_of(cookie) })
    }

    #[inline(always)]
    fn emit(&self, ctx: &BtfTracePointContext, kind: u8, sock: Sock, fill: impl FnOnce(&mut Event)) {
        emit(ctx, kind, |event| {
            event.cookie = self.cookie;
            event.cgroup_id = self.cgroup_id;
            event.flags = flags_of(self.mark);
            fill_tcp(event, &self.ends, sock);
            fill(event);
        });
    }
}

#[inline(always)]
fn flags_of(mark: Option<Mark>) -> u32 {
    if mark.is_some() { FLAG_UNTOLD } else { 0 }
}

#[inline(always)]
fn fill_tcp(event: &mut Event, ends: &Ends, sock: Sock) {
    ends.fill(event);
    event.protocol = IPPROTO_TCP;
    // A closing socket has given its port back to the table; what it used stands elsewhere.
    if let Some(port) = source_port(sock) {
        event.local_port = port;
    }
    let sums = Sums::read(sock);
    event.bytes_sent = sums.bytes_sent;
    event.bytes_received = sums.bytes_received;
    event.srtt_us = sums.srtt_us;
    event.retransmits = sums.retransmits;
}

/// The port that a TCP socket sends from, or sent from; `None` for MPTCP's outer socket.
#[inline(always)]
fn source_port(sock: Sock) -> Option<u16> {
    let tcp = as_tcp(sock);
    if tcp.is_null() { None } else { Some(u16::from_be(load(tcp, &INET_SPORT))) }
}

/// Segments that a TCP socket has sent again; 0 for MPTCP's outer socket.
#[inline(always)]
fn retransmits(sock: Sock) -> u32 {
    let tcp = as_tcp(sock);
    if tcp.is_null() { 0 } else { load(tcp, &TCP_TOTAL_RETRANS) }
}

/// What a TCP socket has counted.
pub(crate) struct Sums {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) retransmits: u32,
    pub(crate) srtt_us: u32,
}

impl Sums {
    /// All zero for MPTCP's outer socket.
    #[inline(always)]
    fn read(sock: Sock) -> Self {
        let tcp = as_tcp(sock);
        if tcp.is_null() {
            return Self { bytes_sent: 0, bytes_received: 0, retransmits: 0, srtt_us: 0 };
        }
        let received: u64 = load(tcp, &TCP_BYTES_RECEIVED);
        // The kernel counts the peer's FIN as a byte, and marks the socket when it comes.
        let fin = received > 0 && load::<u64>(sock, &SKC_FLAGS) & SOCK_DONE != 0;
        Self {
            bytes_sent: load::<u64>(tcp, &TCP_BYTES_SENT).wrapping_sub(load(tcp, &TCP_BYTES_RETRANS)),
            bytes_received: received - u64::from(fin),
            retransmits: load(tcp, &TCP_TOTAL_RETRANS),
            // The kernel keeps eight times the smoothed round trip.
            srtt_us: load::<u32>(tcp, &TCP_SRTT_US) >> 3,
        }
    }
}

/// The socket as `struct tcp_sock`, null for MPTCP's outer socket.
#[inline(always)]
pub(crate) fn as_tcp(sock: Sock) -> *const c_void {
    // SAFETY: the helper takes a socket that a BTF tracepoint handed in and answers null where it is not TCP.
    unsafe { bpf_skc_to_tcp_sock(sock.cast_mut()) }.cast()
}

/// `sk_err`, else `sk_err_soft`, as a positive errno; 0 for none.
#[inline(always)]
fn error_of(sock: Sock) -> u16 {
    let hard: i32 = load(sock, &SK_ERR);
    let error = if hard == 0 { load(sock, &SK_ERR_SOFT) } else { hard };
    error as u16
}
