//! Sockets that were there before the hooks: what the kernel half writes of each when the agent asks for them, once.

use crate::event::{Address, COMM_BYTES};
use core::mem::{offset_of, size_of};

/// The socket's own counts say that it opened its connection.
pub const FLAG_OPENED: u8 = 1;
/// The socket's own counts say that a listener accepted it.
pub const FLAG_ACCEPTED: u8 = 2;

/// It had no cookie: no hook has ever seen it.
pub const FLAG_UNSEEN: u8 = 4;

/// A stream socket that some process holds: connected, connecting, or listening.
///
/// A socket that several processes hold is written for each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ExistingSocket {
    /// [`crate::ABI_VERSION`].
    pub version: u8,
    /// `TCP_…` of include/net/tcp_states.h.
    pub state: u8,
    /// Address family of the socket: 2 (`AF_INET`) or 10 (`AF_INET6`).
    pub family: u8,
    /// IP protocol number; MPTCP (262) is told as TCP (6).
    pub protocol: u8,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds, when it was looked at.
    pub time_ns: u64,
    /// Id of the cgroup (its inode number) that owns the socket.
    pub cgroup_id: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// Near address.
    pub local: Address,
    /// Far address.
    pub remote: Address,
    /// Near port, host byte order.
    pub local_port: u16,
    /// Far port, host byte order.
    pub remote_port: u16,
    /// Process id (thread group) of one that holds it, in the initial PID namespace.
    pub pid: u32,
    /// [`FLAG_OPENED`] or [`FLAG_ACCEPTED`] where its counts tell; [`FLAG_UNSEEN`].
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// Command name of that process.
    pub comm: [u8; COMM_BYTES],
}

const _: () = {
    assert!(size_of::<ExistingSocket>() == 96);
    assert!(align_of::<ExistingSocket>() == 8);
    assert!(offset_of!(ExistingSocket, version) == 0);
    assert!(offset_of!(ExistingSocket, state) == 1);
    assert!(offset_of!(ExistingSocket, family) == 2);
    assert!(offset_of!(ExistingSocket, protocol) == 3);
    assert!(offset_of!(ExistingSocket, netns) == 4);
    assert!(offset_of!(ExistingSocket, time_ns) == 8);
    assert!(offset_of!(ExistingSocket, cgroup_id) == 16);
    assert!(offset_of!(ExistingSocket, cookie) == 24);
    assert!(offset_of!(ExistingSocket, local) == 32);
    assert!(offset_of!(ExistingSocket, remote) == 48);
    assert!(offset_of!(ExistingSocket, local_port) == 64);
    assert!(offset_of!(ExistingSocket, remote_port) == 66);
    assert!(offset_of!(ExistingSocket, pid) == 68);
    assert!(offset_of!(ExistingSocket, flags) == 72);
    assert!(offset_of!(ExistingSocket, reserved) == 73);
    assert!(offset_of!(ExistingSocket, comm) == 80);
};
