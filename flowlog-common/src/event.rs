//! Wire records: what the kernel half writes into its ring buffers.
//!
//! Layout is part of the contract between the halves: every size and offset is asserted below.

use core::mem::{offset_of, size_of};

/// A process called connect on a stream socket.
pub const ATTEMPT: u8 = 1;
/// The opener's socket reached ESTABLISHED.
pub const ESTABLISHED: u8 = 2;
/// The opener's socket closed before that.
pub const FAILED: u8 = 3;
/// An established socket closed, opener's or listener's.
pub const CLOSED: u8 = 4;
/// A listener's new socket reached ESTABLISHED.
pub const INBOUND: u8 = 5;
/// The first retransmission of a SYN.
pub const SYN_RETRANSMIT: u8 = 6;
/// The kernel dropped a packet that opens a connection, or a datagram.
pub const DROP: u8 = 7;
/// An error was reported to a connecting or a datagram socket.
pub const ERROR: u8 = 8;
/// A connected datagram socket sent its first datagram to this peer.
pub const SENT: u8 = 9;
/// A process sent a datagram to a peer that it named in the call, for the first time in a while.
pub const SENT_TO: u8 = 10;
/// A process took a datagram from a peer to which it has not sent, for the first time in a while.
pub const RECEIVED: u8 = 11;
/// A process took the first datagram from a peer to which it has sent.
pub const ANSWERED: u8 = 12;
/// A datagram came to a socket from a peer to which it has not sent, for the first time in a while; or a request by ICMP to
/// a stack that answers it.
pub const ARRIVED: u8 = 13;
/// Kinds are 1 ≤ kind < `KINDS`.
pub const KINDS: usize = 14;

/// Flag of [`Event::flags`]: the drop's reason says that the far end had no socket for the packet.
pub const FLAG_NO_SOCKET: u32 = 1;
/// Flag of [`Event::flags`]: `pid` and `comm` are those of the process concerned.
pub const FLAG_TASK: u32 = 2;

/// Flag of [`Event::flags`]: the socket failed by an error, which the process had taken (`SO_ERROR`) before its
/// number could be read.
pub const FLAG_ERROR_CONSUMED: u32 = 4;

/// Flag of [`Event::flags`]: the attempt that this belongs to was not handed over, and is counted as lost.
pub const FLAG_UNTOLD: u32 = 8;

/// Flag of [`Event::flags`]: a datagram was taken, of which it was told before that it had come.
pub const FLAG_ARRIVED: u32 = 16;

/// Bytes of a command name, the terminating zero included (`TASK_COMM_LEN`).
pub const COMM_BYTES: usize = 16;

/// An address in network byte order, as four 32-bit words; IPv4 in its IPv4-mapped form (`::ffff:a.b.c.d`).
/// So a dual-stack socket and an IPv4 socket look alike from here on.
pub type Address = [u32; 4];

/// One event. What a kind does not have is zero.
///
/// 120 bytes, with the ring's own header of 8 two cache lines: writing them is most of what an event costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// [`crate::ABI_VERSION`].
    pub version: u8,
    /// One of the kinds above.
    pub kind: u8,
    /// Address family of the socket or packet: 2 (`AF_INET`) or 10 (`AF_INET6`).
    pub family: u8,
    /// IP protocol number; MPTCP (262) is told as TCP (6). ICMP has for ports, at who asks, the number that it asks by, and
    /// at who is asked, type and code of the question, a byte each.
    pub protocol: u8,
    /// `FLAG_…` bits.
    pub flags: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Id of the cgroup (its inode number) that owns the socket; 0 where there was no socket.
    pub cgroup_id: u64,
    /// The socket's cookie; 0 where there was no socket or it has none.
    pub cookie: u64,
    /// Payload bytes sent, retransmissions not counted twice.
    pub bytes_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Near address: the socket's, or a dropped packet's source.
    pub local: Address,
    /// Far address: the socket's peer, what an attempt asked for, or a dropped packet's destination.
    pub remote: Address,
    /// Near port, host byte order; 0 before one is bound.
    pub local_port: u16,
    /// Far port, host byte order.
    pub remote_port: u16,
    /// Linux errno, positive; 0 for none.
    pub errno: u16,
    /// `enum skb_drop_reason` of the running kernel.
    pub drop_reason: u16,
    /// Segments retransmitted in the socket's life.
    pub retransmits: u32,
    /// Smoothed round trip, microseconds.
    pub srtt_us: u32,
    /// Process id (thread group) in the initial PID namespace.
    pub pid: u32,
    /// Which generation of programs wrote it: where pinned ones are replaced, both see the same for a moment.
    pub generation: u32,
    /// Command name.
    pub comm: [u8; COMM_BYTES],
}

const _: () = {
    assert!(size_of::<Event>() == 120);
    assert!(align_of::<Event>() == 8);
    assert!(offset_of!(Event, version) == 0);
    assert!(offset_of!(Event, kind) == 1);
    assert!(offset_of!(Event, family) == 2);
    assert!(offset_of!(Event, protocol) == 3);
    assert!(offset_of!(Event, flags) == 4);
    assert!(offset_of!(Event, time_ns) == 8);
    assert!(offset_of!(Event, cgroup_id) == 16);
    assert!(offset_of!(Event, cookie) == 24);
    assert!(offset_of!(Event, bytes_sent) == 32);
    assert!(offset_of!(Event, bytes_received) == 40);
    assert!(offset_of!(Event, local) == 48);
    assert!(offset_of!(Event, remote) == 64);
    assert!(offset_of!(Event, local_port) == 80);
    assert!(offset_of!(Event, remote_port) == 82);
    assert!(offset_of!(Event, errno) == 84);
    assert!(offset_of!(Event, drop_reason) == 86);
    assert!(offset_of!(Event, retransmits) == 88);
    assert!(offset_of!(Event, srtt_us) == 92);
    assert!(offset_of!(Event, pid) == 96);
    assert!(offset_of!(Event, generation) == 100);
    assert!(offset_of!(Event, comm) == 104);
};

/// Bytes of a DNS answer that an event carries at most: what a resolver without EDNS takes, enough for a chain of names
/// and a dozen addresses.
pub const ANSWER_BYTES: usize = 512;

/// A DNS answer that a process took: no error, one question, at least one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct AnswerEvent {
    /// [`crate::ABI_VERSION`].
    pub version: u8,
    /// 1 where `message` is known to be all of it; else it may go on, or end before its bytes do.
    pub whole: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Bytes of `message` that count.
    pub bytes: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Id of the cgroup of the process that took it.
    pub cgroup_id: u64,
    /// The message, from its header on.
    pub message: [u8; ANSWER_BYTES],
}

const _: () = {
    assert!(size_of::<AnswerEvent>() == 24 + ANSWER_BYTES);
    assert!(align_of::<AnswerEvent>() == 8);
    assert!(offset_of!(AnswerEvent, version) == 0);
    assert!(offset_of!(AnswerEvent, whole) == 1);
    assert!(offset_of!(AnswerEvent, reserved) == 2);
    assert!(offset_of!(AnswerEvent, bytes) == 4);
    assert!(offset_of!(AnswerEvent, time_ns) == 8);
    assert!(offset_of!(AnswerEvent, cgroup_id) == 16);
    assert!(offset_of!(AnswerEvent, message) == 24);
};

/// A cgroup was made.
pub const CGROUP_MADE: u8 = 1;
/// A cgroup was removed.
pub const CGROUP_REMOVED: u8 = 2;

/// Longest cgroup path that an event carries, the terminating zero included. A pod's path on a nested node
/// is about 350 bytes.
pub const PATH_BYTES: usize = 512;

/// A cgroup that came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CgroupEvent {
    /// [`crate::ABI_VERSION`].
    pub version: u8,
    /// [`CGROUP_MADE`] or [`CGROUP_REMOVED`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Bytes of `path` that count, the terminating zero included; [`PATH_BYTES`] where it was cut.
    pub path_bytes: u32,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Id of the cgroup (its inode number).
    pub cgroup_id: u64,
    /// Path from the root of the cgroup2 hierarchy.
    pub path: [u8; PATH_BYTES],
}

const _: () = {
    assert!(size_of::<CgroupEvent>() == 24 + PATH_BYTES);
    assert!(align_of::<CgroupEvent>() == 8);
    assert!(offset_of!(CgroupEvent, version) == 0);
    assert!(offset_of!(CgroupEvent, kind) == 1);
    assert!(offset_of!(CgroupEvent, reserved) == 2);
    assert!(offset_of!(CgroupEvent, path_bytes) == 4);
    assert!(offset_of!(CgroupEvent, time_ns) == 8);
    assert!(offset_of!(CgroupEvent, cgroup_id) == 16);
    assert!(offset_of!(CgroupEvent, path) == 24);
};
