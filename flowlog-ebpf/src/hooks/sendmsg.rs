//! `cgroup/sendmsg4`, `sendmsg6`, `recvmsg4` and `recvmsg6`: datagrams whose peer is named in the call, in the context
//! of the process that sends or takes them.
//!
//! Both directions share a table: what comes from a peer that was sent to is an answer, and what is sent to a peer
//! that came first is one. Neither is an attempt. So the four are attached together, or none.

use crate::{
    emit::{emit, emit_again, fill_task, refuse},
    hooks::{answer, send::IPPROTO_UDP},
    maps::{PACKETS_IN, RECV_HOOK, SEND_HOOK, UNSENT},
    peers::{self, Begun, Now, Peer},
    shed,
    sockaddr::{AF_INET, Requested, context_word, mapped, requested4, requested6},
};
use aya_ebpf::{
    EbpfContext,
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::generated::{bpf_get_current_cgroup_id, bpf_get_socket_cookie},
    programs::SockAddrContext,
};
use core::mem::offset_of;
use flowlog_common::{
    event::{ANSWERED, Address, Event, FLAG_ARRIVED, FLAG_UNTOLD, RECEIVED, SENT_TO},
    peer::{ANSWER_NS, QUIET_NS},
    repeat::RepeatKey,
};

/// `TCP_ESTABLISHED`, also the state of a datagram socket that is connected.
const CONNECTED: u32 = 1;

/// A datagram to an IPv4 address.
#[inline(always)]
pub(crate) fn observe_sent4(ctx: &SockAddrContext) {
    observe_sent(ctx, requested4);
}

/// A datagram to an IPv6 address.
#[inline(always)]
pub(crate) fn observe_sent6(ctx: &SockAddrContext) {
    observe_sent(ctx, requested6);
}

/// A datagram that an IPv4 socket received.
#[inline(always)]
pub(crate) fn observe_received4(ctx: &SockAddrContext) {
    observe_received(ctx, requested4);
}

/// A datagram that an IPv6 socket received.
#[inline(always)]
pub(crate) fn observe_received6(ctx: &SockAddrContext) {
    observe_received(ctx, requested6);
}

#[inline(always)]
fn observe_sent(ctx: &SockAddrContext, named: impl FnOnce(*const bpf_sock_addr) -> Requested) {
    let Some(Call { near, peer, cgroup_id }) = Call::read(ctx, named) else { return };
    if near.connected && SEND_HOOK.load() != 0 {
        // To its own peer: the hook on sends tells it. An IPv6 socket that is connected to a mapped address comes by here
        // though the process names nobody (`udpv6_sendmsg`).
        if near.is_connected_to(&peer) {
            return;
        }
        // To another: the hook on sends would tell it of the socket's own peer.
        // SAFETY: the helper takes the program's own context.
        let _ = UNSENT.remove(unsafe { bpf_get_socket_cookie(ctx.as_ptr()) });
    }
    let now = Now::read();
    let key = peers::key_of_opener(cgroup_id, peer.address, peer.port, IPPROTO_UDP);
    let known = peers::find(&key);
    if let Some(known) = known.filter(|known| known.is_within(now, QUIET_NS)) {
        known.add(1, 0, now);
        tell_late(SENT_TO, known, &near, &peer, cgroup_id);
        return;
    }
    let opener = peers::find(&peers::key_of_listener(cgroup_id, peer.address, near.port, IPPROTO_UDP));
    if let Some(opener) = opener.filter(|opener| opener.is_within(now, ANSWER_NS)) {
        opener.add(1, 0, now);
        return;
    }
    match peers::begin(&key, known, now, 1, 0) {
        Begun::First => tell_first(ctx, SENT_TO, &key, &near, &peer),
        Begun::Known => {}
        Begun::Refused => refuse(),
    }
}

#[inline(always)]
fn observe_received(ctx: &SockAddrContext, named: impl FnOnce(*const bpf_sock_addr) -> Requested) {
    let Some(Call { near, peer, cgroup_id }) = Call::read(ctx, named) else { return };
    // A connected socket takes from its peer alone, whom the process chose.
    if near.connected {
        if RECV_HOOK.load() == 0 && answer::comes_from(peer.port) {
            answer::observe(cgroup_id, None);
        }
        return;
    }
    let now = Now::read();
    let listener = peers::find(&peers::key_of_opener(cgroup_id, peer.address, peer.port, IPPROTO_UDP));
    if let Some(listener) = listener.filter(|listener| listener.is_within(now, ANSWER_NS)) {
        if PACKETS_IN.load() == 0 {
            listener.add(0, 1, now);
        }
        if listener.take_first_answer() {
            emit(ctx, ANSWERED, |event| fill(event, &near, &peer, cgroup_id));
        }
        // Of whom nothing was asked, nothing is believed.
        if answer::comes_from(peer.port) {
            answer::observe(cgroup_id, None);
        }
        return;
    }
    let key = peers::key_of_listener(cgroup_id, peer.address, near.port, IPPROTO_UDP);
    let known = peers::find(&key);
    // Counted when it came, however long ago.
    if PACKETS_IN.load() != 0
        && let Some(known) = known
    {
        take(ctx, known, &near, &peer, cgroup_id);
        return;
    }
    if let Some(known) = known.filter(|known| known.is_within(now, QUIET_NS)) {
        known.add(0, 1, now);
        tell_late(RECEIVED, known, &near, &peer, cgroup_id);
        return;
    }
    match peers::begin(&key, known, now, 0, 1) {
        Begun::First => tell_first(ctx, RECEIVED, &key, &near, &peer),
        Begun::Known => {}
        Begun::Refused => refuse(),
    }
}

/// What came before is taken: told once, with who takes it.
#[inline(always)]
fn take(ctx: &SockAddrContext, known: Peer, near: &Near, peer: &Requested, cgroup_id: u64) {
    if known.take_arrival() {
        emit(ctx, RECEIVED, |event| {
            fill(event, near, peer, cgroup_id);
            event.flags |= FLAG_ARRIVED;
        });
    } else {
        tell_late(RECEIVED, known, near, peer, cgroup_id);
    }
}

/// A call that sends or takes a datagram.
struct Call {
    near: Near,
    peer: Requested,
    cgroup_id: u64,
}

impl Call {
    /// `None` for UDP-Lite, which is not observed.
    #[inline(always)]
    fn read(ctx: &SockAddrContext, named: impl FnOnce(*const bpf_sock_addr) -> Requested) -> Option<Self> {
        let sock_addr = ctx.sock_addr;
        let protocol = context_word(sock_addr, offset_of!(bpf_sock_addr, protocol));
        if protocol != u32::from(IPPROTO_UDP) {
            return None;
        }
        // SAFETY: a helper without arguments, in process context.
        let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
        Some(Self { near: Near::read(sock_addr), peer: named(sock_addr), cgroup_id })
    }
}

/// The near end: a port alone, since a socket that is not connected has no address until a datagram is on its way. The
/// port is bound before the hook runs (`inet_send_prepare`).
struct Near {
    sock: *const bpf_sock,
    port: u16,
    connected: bool,
}

impl Near {
    #[inline(always)]
    fn read(sock_addr: *const bpf_sock_addr) -> Self {
        let at = sock_addr.wrapping_byte_add(offset_of!(bpf_sock_addr, __bindgen_anon_1));
        // SAFETY: the context's member `sk` (kernel 5.3), a socket that is never null, loaded as wide as it is.
        let sock = unsafe { at.cast::<*const bpf_sock>().read_volatile() };
        Self {
            sock,
            port: socket_word(sock, offset_of!(bpf_sock, src_port)) as u16,
            connected: socket_word(sock, offset_of!(bpf_sock, state)) == CONNECTED,
        }
    }

    #[inline(always)]
    fn is_connected_to(&self, peer: &Requested) -> bool {
        let at = self.sock.wrapping_byte_add(offset_of!(bpf_sock, dst_port)).cast::<u16>();
        // SAFETY: a 16-bit member of the socket, in network order; the low half of a word before kernel 5.18.
        let port = u16::from_be(unsafe { at.read_volatile() });
        let word = |index: usize| socket_word(self.sock, offset_of!(bpf_sock, dst_ip6) + index * 4);
        let family = socket_word(self.sock, offset_of!(bpf_sock, family));
        // Both are loaded before one is chosen: a load at a chosen offset is refused.
        let v4 = mapped(socket_word(self.sock, offset_of!(bpf_sock, dst_ip4)));
        let v6 = [word(0), word(1), word(2), word(3)];
        let address = if family == u32::from(AF_INET) { v4 } else { v6 };
        port == peer.port && address == peer.address
    }
}

/// A 32-bit member of a socket.
#[inline(always)]
fn socket_word(sock: *const bpf_sock, offset: usize) -> u32 {
    let at = sock.wrapping_byte_add(offset).cast::<u32>();
    // SAFETY: callers pass offsets of 32-bit members of the socket; the verifier admits no others.
    unsafe { at.read_volatile() }
}

/// The first datagram of a peer. Where it gives way while the ring fills up, nothing is told of the peer until both are
/// silent for a while; where the ring is full, a later datagram is told in its place.
#[inline(always)]
fn tell_first(ctx: &SockAddrContext, kind: u8, key: &RepeatKey, near: &Near, peer: &Requested) {
    if let Some(step) = shed::find(key) {
        shed::lose(step);
        if let Some(known) = peers::find(key) {
            known.silence();
        }
        return;
    }
    let told = emit(ctx, kind, |event| fill(event, near, peer, key.cgroup_id));
    if !told && let Some(known) = peers::find(key) {
        known.set_told(false);
    }
}

/// A later datagram, where the first was refused and is counted as lost.
#[inline(always)]
fn tell_late(kind: u8, known: Peer, near: &Near, peer: &Requested, cgroup_id: u64) {
    if known.is_told() {
        return;
    }
    let told = emit_again(kind, |event| {
        fill(event, near, peer, cgroup_id);
        event.flags |= FLAG_UNTOLD;
    });
    if told {
        known.set_told(true);
    }
}

#[inline(always)]
fn fill(event: &mut Event, near: &Near, peer: &Requested, cgroup_id: u64) {
    event.family = peer.family;
    event.protocol = IPPROTO_UDP;
    event.local = UNBOUND;
    event.local_port = near.port;
    event.remote = peer.address;
    event.remote_port = peer.port;
    event.cgroup_id = cgroup_id;
    fill_task(event);
}

/// The near address, which is not known.
const UNBOUND: Address = [0; 4];
