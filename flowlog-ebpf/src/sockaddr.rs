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

/// What a socket is asked to connect to.
#[derive(Clone, Copy)]
pub(crate) struct Requested {
    pub(crate) family: u8,
    pub(crate) address: Address,
    pub(crate) port: u16,
}

/// What an IPv4 socket is asked to connect to.
#[inline(always)]
pub(crate) fn requested4(sock_addr: *const bpf_sock_addr) -> Requested {
    Requested {
        family: AF_INET,
        address: mapped(context_word(sock_addr, offset_of!(bpf_sock_addr, user_ip4))),
        port: requested_port(sock_addr),
    }
}

/// What an IPv6 socket is asked to connect to.
#[inline(always)]
pub(crate) fn requested6(sock_addr: *const bpf_sock_addr) -> Requested {
    let word = |index: usize| context_word(sock_addr, offset_of!(bpf_sock_addr, user_ip6) + index * 4);
    Requested {
        family: AF_INET6,
        address: [word(0), word(1), word(2), word(3)],
        port: requested_port(sock_addr),
    }
}

/// The low half of the word holds the port, in network order.
#[inline(always)]
fn requested_port(sock_addr: *const bpf_sock_addr) -> u16 {
    u16::from_be(context_word(sock_addr, offset_of!(bpf_sock_addr, user_port)) as u16)
}

/// Both ends of a socket.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) family: u8,
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

impl Ends {
    /// As the socket stands now.
    #[inline(always)]
    pub(crate) fn read(sock: Sock) -> Self {
        let family: u16 = load(sock, &SKC_FAMILY);
        let (local, remote) = if family == u16::from(AF_INET) {
            (mapped(load(sock, &SKC_RCV_SADDR)), mapped(load(sock, &SKC_DADDR)))
        } else {
            (load6(sock, &SKC_V6_RCV_SADDR), load6(sock, &SKC_V6_DADDR))
        };
        Self {
            family: family as u8,
            local,
            remote,
            local_port: load(sock, &SKC_NUM),
            remote_port: u16::from_be(load(sock, &SKC_DPORT)),
        }
    }

    /// Put them into an event.
    #[inline(always)]
    pub(crate) fn fill(&self, event: &mut Event) {
        event.family = self.family;
        event.local = self.local;
        event.remote = self.remote;
        event.local_port = self.local_port;
        event.remote_port = self.remote_port;
    }
}

/// Both ends of a socket, as it stands now.
#[inline(always)]
pub(crate) fn fill_socket(event: &mut Event, sock: Sock) {
    Ends::read(sock).fill(event);
}

#[inline(always)]
fn load6(sock: Sock, offset: &Global<u32>) -> Address {
    let word = |index: usize| load::<u32>(sock.wrapping_byte_add(index * 4).cast::<c_void>(), offset);
    [word(0), word(1), word(2), word(3)]
}
