//! `sock_send_length` and `sock_recv_length`: the first datagram of a connected socket, and the first that comes back,
//! in the context of the process that sends or takes it.

use crate::{
    emit::{emit, fill_task, refuse},
    hooks::answer,
    maps::{RECV_HOOK, UNANSWERED, UNSENT},
    offsets::{SK_PROTOCOL, SKC_COOKIE, SKC_DPORT, Sock, load},
    peers,
    shed::{self, Mark},
    sockaddr::{Ends, fill_socket},
};
use aya_ebpf::{helpers::generated::bpf_get_current_cgroup_id, programs::BtfTracePointContext};
use flowlog_common::event::{ANSWERED, SENT};

pub(crate) const IPPROTO_UDP: u8 = 17;
const EPERM: i32 = 1;
/// Asks for errors that were reported, and for no datagram.
const MSG_ERRQUEUE: i32 = 0x2000;
/// Leaves the datagram to be taken again.
const MSG_PEEK: i32 = 2;

/// `result` is what the send call returns: bytes, or a negative errno. A send that failed for other reasons
/// than a filter in the way (`EPERM`) sent nothing, and the next one is still the first.
#[inline(always)]
pub(crate) fn observe(ctx: &BtfTracePointContext, sock: Sock, result: i32) {
    if load::<u16>(sock, &SK_PROTOCOL) != u16::from(IPPROTO_UDP) || (result < 0 && result != -EPERM) {
        return;
    }
    let cookie: u64 = load(sock, &SKC_COOKIE);
    if cookie == 0 || UNSENT.remove(cookie).is_err() {
        return;
    }
    let ends = Ends::read(sock);
    // SAFETY: a helper without arguments, in process context.
    let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    let key = peers::key_of_opener(cgroup_id, ends.remote, ends.remote_port, IPPROTO_UDP);
    if result >= 0
        && let Some(step) = shed::find(&key)
    {
        shed::lose(step);
        shed::mark(cookie, Mark::Shed);
        return;
    }
    let told = emit(ctx, SENT, |event| {
        ends.fill(event);
        event.protocol = IPPROTO_UDP;
        event.cookie = cookie;
        event.cgroup_id = cgroup_id;
        event.errno = if result < 0 { EPERM as u16 } else { 0 };
        fill_task(event);
    });
    if !told {
        return shed::mark(cookie, Mark::Refused);
    }
    // It may have sent to another peer before.
    if shed::mark_of(cookie).is_some() {
        shed::unmark(cookie);
    }
    if RECV_HOOK.load() != 0 && UNANSWERED.insert(cookie, 1, 0).is_err() {
        refuse();
    }
}

/// Every receive on every socket comes by here: what is no datagram leaves at once.
#[inline(always)]
pub(crate) fn observe_answer(ctx: &BtfTracePointContext, sock: Sock, result: i32, flags: i32) {
    if load::<u16>(sock, &SK_PROTOCOL) != u16::from(IPPROTO_UDP) {
        return;
    }
    if result <= 0 || flags & MSG_ERRQUEUE != 0 {
        return;
    }
    if answer::comes_from(u16::from_be(load(sock, &SKC_DPORT))) && flags & MSG_PEEK == 0 {
        // SAFETY: a helper without arguments, in process context.
        let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
        answer::observe(cgroup_id, Some(result as u64));
    }
    let cookie: u64 = load(sock, &SKC_COOKIE);
    // Looked up first: a removal takes a lock, and most datagrams are not the first.
    // SAFETY: the value is not read.
    if cookie == 0 || unsafe { UNANSWERED.get(cookie) }.is_none() || UNANSWERED.remove(cookie).is_err() {
        return;
    }
    emit(ctx, ANSWERED, |event| {
        fill_socket(event, sock);
        event.protocol = IPPROTO_UDP;
        event.cookie = cookie;
        // SAFETY: a helper without arguments, in process context.
        event.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    });
}
