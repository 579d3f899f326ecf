//! Repeats that the kernel half counts instead of telling: the agent names connections by [`RepeatKey`] whose
//! first flows it has judged and written, and reads how many more of them there were.

use crate::event::Address;
use core::mem::{offset_of, size_of};

/// Counted at the opener: `address` and `port` are the listener's.
pub const EGRESS: u8 = 0;
/// Counted at the listener: `address` is the opener's, `port` the listener's own.
pub const INGRESS: u8 = 1;

/// Keys at a time; an attempt whose key is not among them is an event.
pub const MOST_REPEATS: usize = 16_384;

/// What connections must have in common to be counted as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RepeatKey {
    /// Id of the cgroup that owns the socket.
    pub cgroup_id: u64,
    /// The far end's address, as in [`crate::event::Event`].
    pub address: Address,
    /// Port of the listener, host byte order.
    pub port: u16,
    /// [`EGRESS`] or [`INGRESS`].
    pub direction: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<RepeatKey>() == 32);
    assert!(align_of::<RepeatKey>() == 8);
    assert!(offset_of!(RepeatKey, cgroup_id) == 0);
    assert!(offset_of!(RepeatKey, address) == 8);
    assert!(offset_of!(RepeatKey, port) == 24);
    assert!(offset_of!(RepeatKey, direction) == 26);
    assert!(offset_of!(RepeatKey, protocol) == 27);
    assert!(offset_of!(RepeatKey, reserved) == 28);
};

/// What was counted under a key. All numbers only grow (and wrap around); a slot is set to zero by the agent
/// before it is given to a key, one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RepeatCounts {
    /// Handshakes.
    pub established: u64,
    /// Closes.
    pub closed: u64,
    /// Sum of the times at which they were, `CLOCK_BOOTTIME`, nanoseconds, less those of the handshakes: it gives how long
    /// the connections were open, without anything kept for each of them.
    pub open_ns_sum: u64,
    /// Payload bytes sent by the socket of this end, retransmissions not counted twice.
    pub bytes_sent: u64,
    /// Payload bytes that it received.
    pub bytes_received: u64,
    /// Segments retransmitted.
    pub retransmits: u64,
    /// Smoothed round trips as they were at the closes, microseconds.
    pub srtt_us_sum: u64,
    /// The latest handshake, `CLOCK_BOOTTIME`, nanoseconds.
    pub last_ns: u64,
}

const _: () = {
    assert!(size_of::<RepeatCounts>() == 64);
    assert!(align_of::<RepeatCounts>() == 8);
    assert!(offset_of!(RepeatCounts, established) == 0);
    assert!(offset_of!(RepeatCounts, closed) == 8);
    assert!(offset_of!(RepeatCounts, open_ns_sum) == 16);
    assert!(offset_of!(RepeatCounts, bytes_sent) == 24);
    assert!(offset_of!(RepeatCounts, bytes_received) == 32);
    assert!(offset_of!(RepeatCounts, retransmits) == 40);
    assert!(offset_of!(RepeatCounts, srtt_us_sum) == 48);
    assert!(offset_of!(RepeatCounts, last_ns) == 56);
};
