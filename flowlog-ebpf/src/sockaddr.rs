//! Addresses and byte order, settled here once: words in network order, IPv4 in its IPv4-mapped form, ports
//! in host order.

use crate::offsets::{
    SKC_DADDR, SKC_DPORT, SKC_FAMILY, SKC_NUM, SKC_RCV_SADDR, SKC_V6_DADDR, SKC_V6_RCV_SADDR, Sock, load,
};
use aya_ebpf::{Global, bindings::bpf_sock_addr, cty::c_void};
use core::mem::offset_of;
use flowlog_common::event::{Address, Event};

/// `AF_INET`.
pub(crate) const AF_INET: u8 = 2;
/// `AF_INET6`.
pub(crate) const AF_INET6: u8 = 10;

/// The IPv4-mapped form of an IPv4 address in network order.
#[inline(always)]
pub(crate) fn mapped(address: u32) -> Address {
    [0, 0, 0xffff_u32.to_be(), address]
}

/// A word of a cgroup/connect program's context, as wide as the kernel allows its loads.
#[inline(always)]
pub(crate) fn context_word(sock_addr: *const bpf_sock_addr, offset: usize) -> u32 {
    let at = sock_addr.wrapping_byte_add(offset).cast::<u32>();
    // SAFETY: callers pass offsets of 32-bit members of the context; the verifier admits no others.
    unsafe { at.read_volatile() }
}

/// What an IPv4 socket is asked to connect to.
#[inline(always)]
pub(crate) fn fill_requested4(event: &mut Event, sock_addr: *const bpf_sock_addr) {
    event.family = AF_INET;
    event.remote = mapped(context_word(sock_addr, offset_of!(bpf_sock_addr, user_ip4)));
    event.remote_port = requested_port(sock_addr);
}

/// What an IPv6 socket is asked to connect to.
#[inline(always)]
pub(crate) fn fill_requested6(event: &mut Event, sock_addr: *const bpf_sock_addr) {
    let word = |index: usize| context_word(sock_addr, offset_of!(bpf_sock_addr, user_ip6) + index * 4);
    event.family = AF_INET6;
    event.remote = [word(0), word(1), word(2), word(3)];
    event.remote_port = requested_port(sock_addr);
}

/// The low half of the word holds the port, in network order.
#[inline(always)]
fn requested_port(sock_addr: *const bpf_sock_addr) -> u16 {
    u16::from_be(context_word(sock_addr, offset_of!(bpf_sock_addr, user_port)) as u16)
}

/// Both ends of a socket, as it stands now.
#[inline(always)]
pub(crate) fn fill_socket(event: &mut Event, sock: Sock) {
    let family: u16 = load(sock, &SKC_FAMILY);
    event.family = family as u8;
    if family == u16::from(AF_INET) {
        event.local = mapped(load(sock, &SKC_RCV_SADDR));
        event.remote = mapped(load(sock, &SKC_DADDR));
    } else {
        event.local = load6(sock, &SKC_V6_RCV_SADDR);
        event.remote = load6(sock, &SKC_V6_DADDR);
    }
    event.local_port = load(sock, &SKC_NUM);
    event.remote_port = u16::from_be(load(sock, &SKC_DPORT));
}

#[inline(always)]
fn load6(sock: Sock, offset: &Global<u32>) -> Address {
    let word = |index: usize| load::<u32>(sock.wrapping_byte_add(index * 4).cast::<c_void>(), offset);
    [word(0), word(1), word(2), word(3)]
}
