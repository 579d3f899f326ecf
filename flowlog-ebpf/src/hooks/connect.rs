//! `cgroup/connect4` and `connect6`: an attempt, in the context of the process that makes it.
//!
//! A connect on a datagram socket sends nothing and is no attempt: resolvers connect one to every address that
//! they have found, just to learn the route. It is noted, and the first send makes it an event (`send.rs`).
//!
//! An attempt whose key the agent has given us to count is no event: its handshake is counted (`outcome.rs`),
//! and whatever else becomes of it is an event that stands for itself. One that gives way while the ring fills up is
//! lost, and its socket marked (`shed.rs`).

use crate::{
    emit::{counters, emit, fill_task, refuse},
    maps::{SEND_HOOK, UNSENT},
    repeats,
    shed::{self, Mark},
    sockaddr::{Requested, context_word, requested4, requested6},
};
use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_current_cgroup_id, bpf_get_socket_cookie},
    programs::SockAddrContext,
};
use core::mem::offset_of;
use flowlog_common::event::ATTEMPT;

pub(crate) const SOCK_STREAM: u32 = 1;
pub(crate) const SOCK_DGRAM: u32 = 2;
pub(crate) const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_MPTCP: u32 = 262;

/// A connect to an IPv4 address.
#[inline(always)]
pub(crate) fn observe4(ctx: &SockAddrContext) {
    observe(ctx, requested4);
}

/// A connect to an IPv6 address.
#[inline(always)]
pub(crate) fn observe6(ctx: &SockAddrContext) {
    observe(ctx, requested6);
}

#[inline(always)]
fn observe(ctx: &SockAddrContext, requested: impl FnOnce(*const bpf_sock_addr) -> Requested) {
    let sock_addr = ctx.sock_addr;
    let socket_type = context_word(sock_addr, offset_of!(bpf_sock_addr, type_));
    let protocol = context_word(sock_addr, offset_of!(bpf_sock_addr, protocol));
    match socket_type {
        SOCK_STREAM if protocol == u32::from(IPPROTO_TCP) || protocol == IPPROTO_MPTCP => {
            attempt(ctx, requested(sock_addr));
        }
        SOCK_DGRAM if protocol == IPPROTO_UDP => note_unsent(ctx),
        _ => {}
    }
}

#[inline(always)]
fn attempt(ctx: &SockAddrContext, requested: Requested) {
    // SAFETY: a helper without arguments, in process context.
    let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    // SAFETY: the helper takes the program's own context. The cookie is made here: what becomes of the socket is
    // told, or counted, only where it has one.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let key = repeats::key_of_opener(cgroup_id, requested.address, requested.port);
    if repeats::find(&key).is_some() {
        if let Some(counters) = counters() {
            counters.passed_over += 1;
        }
        return;
    }
    if let Some(step) = shed::find(&key) {
        shed::lose(step);
        shed::mark(cookie, Mark::Shed);
        return;
    }
    let told = emit(ctx, ATTEMPT, |event| {
        event.family = requested.family;
        event.remote = requested.address;
        event.remote_port = requested.port;
        event.protocol = IPPROTO_TCP;
        event.cgroup_id = cgroup_id;
        event.cookie = cookie;
        fill_task(event);
    });
    if !told {
        shed::mark(cookie, Mark::Refused);
    }
}

/// A second connect of the same socket, to another peer, makes its next send a first one again.
#[inline(always)]
fn note_unsent(ctx: &SockAddrContext) {
    // SAFETY: the helper takes the program's own context. It makes the cookie, by which errors are told of the
    // socket even where no hook tells of its sends.
    note_unsent_socket(unsafe { bpf_get_socket_cookie(ctx.as_ptr()) });
}

/// The next send of this socket is the first that is told.
#[inline(always)]
pub(crate) fn note_unsent_socket(cookie: u64) {
    if SEND_HOOK.load() == 0 {
        return;
    }
    if UNSENT.insert(cookie, 1, 0).is_err() {
        refuse();
    }
}
