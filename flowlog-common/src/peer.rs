//! Peers of datagram sockets that name one in each call, and of whatever else is known by its packets: what the kernel half
//! remembers of each, so that only the first datagram between the two is an event.
//!
//! The key is a [`crate::repeat::RepeatKey`]: at the opener the peer's address and port, at the listener the peer's
//! address and the listener's own port, so that a peer's many ports are one. ICMP has type and code for a port; at the
//! listener `reserved` tells near addresses apart.

use core::mem::{offset_of, size_of};

/// Peers at a time; the one that was quiet longest gives way.
pub const MOST_PEERS: usize = 65_536;
/// Silence after which the next datagram is a first one again: `nf_conntrack_udp_timeout`.
pub const QUIET_NS: u64 = 30_000_000_000;
/// Silence until which a datagram the other way is an answer: `nf_conntrack_udp_timeout_stream`.
pub const ANSWER_NS: u64 = 120_000_000_000;

/// What passed between a cgroup's sockets and one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PeerCounts {
    /// The latest datagram, `CLOCK_BOOTTIME`, nanoseconds; of those of one tick the first.
    pub last_ns: u64,
    /// Datagrams that the process handed over to be sent.
    pub sent: u64,
    /// Datagrams that it took.
    pub received: u64,
    /// What was told of it: `TOLD`, `ANSWERED`, `UNTOLD` or `ARRIVED`.
    pub state: u32,
    /// The kernel's tick (`jiffies64`, its lower half) in which that was.
    pub tick: u32,
}

/// State of a peer: its first datagram was told, and what comes back first will be.
pub const TOLD: u32 = 0;
/// State of a peer: something came back, or nothing is to be told of it.
pub const ANSWERED: u32 = 1;
/// State of a peer: the ring was full when its first datagram was to be told; a later one is told in its place.
pub const UNTOLD: u32 = 2;
/// State of a peer: that its first datagram is here was told, and that it is taken will be.
pub const ARRIVED: u32 = 3;

const _: () = {
    assert!(size_of::<PeerCounts>() == 32);
    assert!(align_of::<PeerCounts>() == 8);
    assert!(offset_of!(PeerCounts, last_ns) == 0);
    assert!(offset_of!(PeerCounts, sent) == 8);
    assert!(offset_of!(PeerCounts, received) == 16);
    assert!(offset_of!(PeerCounts, state) == 24);
    assert!(offset_of!(PeerCounts, tick) == 28);
};
