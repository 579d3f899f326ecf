//! `cgroup_skb/egress` and `cgroup_skb/ingress`: packets as they leave a socket or come to one. Off unless asked for, since
//! they run for every packet: TCP goes on at once.
//!
//! They tell what no call of a process shows: datagrams before somebody takes them, ICMP, SCTP, and what raw sockets send.
//! What the hooks on calls tell (`sendmsg.rs`, `send.rs`) is in the same table, and not told again.

use crate::{
    emit::{counters, emit, emit_again, fill_current, refuse},
    headers::{Bytes, Headers, IPPROTO_ICMP, IPPROTO_ICMPV6, Role, Unreadable},
    hooks::{connect::IPPROTO_TCP, send::IPPROTO_UDP},
    maps::SEND_HOOK,
    peers::{self, Begun, Now, Peer},
    shed,
};
use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_sk_fullsock, bpf_skb_cgroup_id, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use core::mem::{MaybeUninit, offset_of, size_of};
use flowlog_common::{
    event::{ANSWERED, ARRIVED, Address, ERROR, Event, FLAG_UNTOLD, SENT_TO},
    peer::{ANSWER_NS, QUIET_NS},
    repeat::RepeatKey,
};

const ECONNREFUSED: u16 = 111;
const SOCK_RAW: u32 = 3;
/// `TCP_ESTABLISHED`, also the state of a datagram socket that is connected.
const CONNECTED: u32 = 1;

/// A packet leaves a socket.
#[inline(always)]
pub(crate) fn observe_egress(ctx: &SkBuffContext) {
    let Some(headers) = read(ctx) else { return };
    match headers.role {
        Role::Opens if headers.protocol == IPPROTO_UDP && is_told_by_calls(ctx) => {}
        Role::Opens => leave(ctx, &headers),
        // The kernel answers it in the name of a pod, by a socket that is no pod's.
        Role::Answers if is_icmp(headers.protocol) => arrive(ctx, 0, &headers, &End::destination(&headers)),
        Role::Answers | Role::Refuses | Role::Other => {}
    }
}

/// A packet comes to a socket.
#[inline(always)]
pub(crate) fn observe_ingress(ctx: &SkBuffContext) {
    let Some(headers) = read(ctx) else { return };
    if headers.protocol == IPPROTO_UDP && SEND_HOOK.load() != 0 && is_connected(ctx) {
        return;
    }
    let cgroup_id = cgroup_of(ctx);
    let from = End::source(&headers);
    match headers.role {
        Role::Opens => {
            // Of datagrams the table alone tells questions from answers.
            if headers.protocol != IPPROTO_UDP || !come_back(ctx, cgroup_id, &headers, &from) {
                arrive(ctx, cgroup_id, &headers, &from);
            }
        }
        Role::Answers | Role::Refuses => {
            come_back(ctx, cgroup_id, &headers, &from);
        }
        Role::Other => {}
    }
}

/// The far end of a packet, and the near one.
struct End {
    address: Address,
    port: u16,
    near: Address,
    near_port: u16,
}

impl End {
    #[inline(always)]
    fn source(headers: &Headers) -> Self {
        Self {
            address: headers.source,
            port: headers.source_port,
            near: headers.destination,
            near_port: headers.destination_port,
        }
    }

    #[inline(always)]
    fn destination(headers: &Headers) -> Self {
        Self {
            address: headers.destination,
            port: headers.destination_port,
            near: headers.source,
            near_port: headers.source_port,
        }
    }

    #[inline(always)]
    fn fill(&self, event: &mut Event, headers: &Headers, cgroup_id: u64) {
        event.family = headers.family;
        event.protocol = headers.protocol;
        event.cgroup_id = cgroup_id;
        event.local = self.near;
        event.local_port = self.near_port;
        event.remote = self.address;
        event.remote_port = self.port;
    }
}

/// Something opens a flow, and no call has told of it.
#[inline(always)]
fn leave(ctx: &SkBuffContext, headers: &Headers) {
    let cgroup_id = cgroup_of(ctx);
    let to = End::destination(headers);
    let now = Now::read();
    let key = peers::key_of_opener(cgroup_id, to.address, to.port, headers.protocol);
    let known = peers::find(&key);
    let fill = |event: &mut Event| {
        to.fill(event, headers, cgroup_id);
        fill_current(event, cgroup_id);
    };
    if let Some(known) = known.filter(|known| known.is_within(now, QUIET_NS)) {
        known.add(1, 0, now);
        tell_late(SENT_TO, known, fill);
        return;
    }
    if headers.protocol == IPPROTO_UDP {
        let opener = peers::find(&peers::key_of_listener(cgroup_id, to.address, to.near_port, IPPROTO_UDP));
        if opener.is_some_and(|opener| opener.is_within(now, ANSWER_NS)) {
            return;
        }
    }
    match peers::begin(&key, known, now, 1, 0) {
        Begun::First => tell_first(ctx, SENT_TO, &key, fill),
        Begun::Known => {}
        Begun::Refused => refuse(),
    }
}

/// Something comes from `from`, to which nothing was sent.
#[inline(always)]
fn arrive(ctx: &SkBuffContext, cgroup_id: u64, headers: &Headers, from: &End) {
    let now = Now::read();
    let mut key = peers::key_of_listener(cgroup_id, from.address, from.near_port, headers.protocol);
    if is_icmp(headers.protocol) {
        // Answered by one socket for all pods, which are told apart by their addresses.
        key.reserved = from.near[0] ^ from.near[1] ^ from.near[2] ^ from.near[3];
    }
    let known = peers::find(&key);
    let fill = |event: &mut Event| from.fill(event, headers, cgroup_id);
    if let Some(known) = known.filter(|known| known.is_within(now, QUIET_NS)) {
        known.add(0, 1, now);
        tell_late(ARRIVED, known, fill);
        return;
    }
    match peers::begin(&key, known, now, 0, 1) {
        Begun::First => {
            if let Some(known) = peers::find(&key) {
                known.set_arrived();
            }
            tell_first(ctx, ARRIVED, &key, fill);
        }
        Begun::Known => {}
        Begun::Refused => refuse(),
    }
}

/// Whether something was sent to `from` before, so that this is what comes back.
#[inline(always)]
fn come_back(ctx: &SkBuffContext, cgroup_id: u64, headers: &Headers, from: &End) -> bool {
    let now = Now::read();
    let key = peers::key_of_opener(cgroup_id, from.address, from.port, headers.protocol);
    let Some(known) = peers::find(&key).filter(|known| known.is_within(now, ANSWER_NS)) else {
        return false;
    };
    known.add(0, 1, now);
    if known.take_first_answer() {
        let refused = headers.role == Role::Refuses;
        emit(ctx, if refused { ERROR } else { ANSWERED }, |event| {
            from.fill(event, headers, cgroup_id);
            event.errno = if refused { ECONNREFUSED } else { 0 };
        });
    }
    true
}

#[inline(always)]
fn tell_first(ctx: &SkBuffContext, kind: u8, key: &RepeatKey, fill: impl FnOnce(&mut Event)) {
    if let Some(step) = shed::find(key) {
        shed::lose(step);
        if let Some(known) = peers::find(key) {
            known.silence();
        }
        return;
    }
    let told = emit(ctx, kind, fill);
    if !told && let Some(known) = peers::find(key) {
        known.set_told(false);
    }
}

#[inline(always)]
fn tell_late(kind: u8, known: Peer, fill: impl FnOnce(&mut Event)) {
    if known.is_told() {
        return;
    }
    let told = emit_again(kind, |event| {
        fill(event);
        event.flags |= FLAG_UNTOLD;
    });
    if told {
        known.set_told(true);
    }
}

#[inline(always)]
fn is_icmp(protocol: u8) -> bool {
    protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6
}

/// `None` for TCP, which is most packets, and for what is not observed.
#[inline(always)]
fn read(ctx: &SkBuffContext) -> Option<Headers> {
    let skb = ctx.skb.skb;
    let start = word(skb, offset_of!(__sk_buff, data)) as usize;
    let end = word(skb, offset_of!(__sk_buff, data_end)) as usize;
    if start + 20 > end {
        return count_unreadable();
    }
    let headers = match byte(start, 0) >> 4 {
        4 if byte(start, 9) == IPPROTO_TCP => return None,
        6 if byte(start, 6) == IPPROTO_TCP => return None,
        4 => Headers::read4(&Packet(skb)),
        6 => Headers::read6(&Packet(skb)),
        _ => return None,
    };
    match headers {
        Ok(headers) => headers,
        Err(Unreadable) => count_unreadable(),
    }
}

#[inline(always)]
fn count_unreadable() -> Option<Headers> {
    if let Some(counters) = counters() {
        counters.unreadable += 1;
    }
    None
}

/// A byte of the packet.
#[inline(always)]
fn byte(start: usize, offset: usize) -> u8 {
    let at = (start + offset) as *const u8;
    // SAFETY: callers ask for one of the first 20 bytes, which were compared with the packet's end.
    unsafe { at.read() }
}

/// A 32-bit member of the context.
#[inline(always)]
fn word(skb: *const __sk_buff, offset: usize) -> u32 {
    let at = skb.wrapping_byte_add(offset).cast::<u32>();
    // SAFETY: callers pass offsets of 32-bit members of the context; the verifier admits no others.
    unsafe { at.read_volatile() }
}

/// The packet by the kernel's helper, wherever its bytes are.
struct Packet(*mut __sk_buff);

impl Bytes for Packet {
    #[inline(always)]
    fn get<T: Copy>(&self, offset: usize) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let to = value.as_mut_ptr().cast();
        // SAFETY: the helper writes exactly `size_of::<T>()` bytes to the destination, or zeroes it and fails.
        let failed = unsafe { bpf_skb_load_bytes(self.0.cast(), offset as u32, to, size_of::<T>() as u32) };
        if failed != 0 {
            return None;
        }
        // SAFETY: the helper succeeded, so all bytes are written, and `T` is made of integers.
        Some(unsafe { value.assume_init() })
    }
}

/// Id of the cgroup that owns the socket.
#[inline(always)]
fn cgroup_of(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_skb_cgroup_id(ctx.skb.skb) }
}

/// The socket that it leaves, or comes to.
#[inline(always)]
fn socket_of(ctx: &SkBuffContext) -> Option<*mut bpf_sock> {
    let at = ctx.as_ptr().wrapping_byte_add(offset_of!(__sk_buff, __bindgen_anon_2)).cast::<*mut bpf_sock>();
    // SAFETY: the context's member `sk` (kernel 5.1), loaded as wide as it is.
    let sock = unsafe { at.read_volatile() };
    (!sock.is_null()).then_some(sock)
}

#[inline(always)]
fn is_connected(ctx: &SkBuffContext) -> bool {
    socket_of(ctx).is_some_and(|sock| state_of(sock) == CONNECTED)
}

#[inline(always)]
fn state_of(sock: *mut bpf_sock) -> u32 {
    let state = sock.wrapping_byte_add(offset_of!(bpf_sock, state)).cast::<u32>();
    // SAFETY: a 32-bit member of a socket that is not null.
    unsafe { state.read_volatile() }
}

/// Whether a hook on calls has told of it, or will. A service's address is told by the call, and its backend may show here
/// already: so what calls tell is not told by its packet. Raw sockets call in vain.
#[inline(always)]
fn is_told_by_calls(ctx: &SkBuffContext) -> bool {
    let Some(sock) = socket_of(ctx) else { return true };
    if state_of(sock) == CONNECTED && SEND_HOOK.load() == 0 {
        return false;
    }
    // SAFETY: the helper takes a socket of the context that is not null (kernel 5.1).
    let full = unsafe { bpf_sk_fullsock(sock) };
    if full.is_null() {
        return true;
    }
    let kind = full.wrapping_byte_add(offset_of!(bpf_sock, type_)).cast::<u32>();
    // SAFETY: a 32-bit member of a socket that is not null.
    unsafe { kind.read_volatile() != SOCK_RAW }
}
