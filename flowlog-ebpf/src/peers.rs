//! What is remembered of each peer of a datagram socket: no event but the first, a few additions.

use crate::{hooks::send::IPPROTO_UDP, maps::PEERS};
use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_ktime_get_boot_ns};
use core::mem::offset_of;
use flowlog_common::{
    event::Address,
    peer::{ANSWERED, PeerCounts, TOLD, UNTOLD},
    repeat::{EGRESS, INGRESS, RepeatKey},
};

/// The key of datagrams to a listener at `address` and `port`.
#[inline(always)]
pub(crate) fn key_of_opener(cgroup_id: u64, address: Address, port: u16) -> RepeatKey {
    RepeatKey { cgroup_id, address, port, direction: EGRESS, protocol: IPPROTO_UDP, reserved: 0 }
}

/// The key of datagrams from an opener at `address` to the own `port`.
#[inline(always)]
pub(crate) fn key_of_listener(cgroup_id: u64, address: Address, port: u16) -> RepeatKey {
    RepeatKey { cgroup_id, address, port, direction: INGRESS, protocol: IPPROTO_UDP, reserved: 0 }
}

/// What is remembered under a key: a value of the table. It may be given to another key meanwhile; the count that then
/// goes astray is one of a peer that gave way.
#[derive(Clone, Copy)]
pub(crate) struct Peer(*mut PeerCounts);

/// What is remembered under a key.
#[inline(always)]
pub(crate) fn find(key: &RepeatKey) -> Option<Peer> {
    PEERS.get_ptr_mut(key).map(Peer)
}

/// What became of the wish to remember a peer.
pub(crate) enum Begun {
    /// It is remembered now.
    First,
    /// Another CPU was first.
    Known,
    /// The table did not take it.
    Refused,
}

/// Remember a peer; where it is remembered already (`stale`), begin anew: what was counted has been read meanwhile, since
/// the silence is longer than the time between two looks.
#[inline(always)]
pub(crate) fn begin(key: &RepeatKey, stale: Option<Peer>, now_ns: u64, sent: u64, received: u64) -> Begun {
    if let Some(peer) = stale {
        peer.set(offset_of!(PeerCounts, state), TOLD);
        peer.set(offset_of!(PeerCounts, sent), sent);
        peer.set(offset_of!(PeerCounts, received), received);
        peer.set(offset_of!(PeerCounts, last_ns), now_ns);
        return Begun::First;
    }
    let counts = PeerCounts { last_ns: now_ns, sent, received, state: TOLD };
    match PEERS.insert(key, counts, u64::from(BPF_NOEXIST)) {
        Ok(()) => Begun::First,
        Err(_) if find(key).is_some() => Begun::Known,
        Err(_) => Begun::Refused,
    }
}

impl Peer {
    /// Whether its latest datagram is no older than that.
    #[inline(always)]
    pub(crate) fn is_within(self, now_ns: u64, most_ns: u64) -> bool {
        // Another CPU's may be later than our look at the clock.
        self.get(offset_of!(PeerCounts, last_ns)).wrapping_add(most_ns) >= now_ns
    }

    /// Count datagrams.
    #[inline(always)]
    pub(crate) fn add(self, sent: u64, received: u64, now_ns: u64) {
        if sent > 0 {
            self.increase(offset_of!(PeerCounts, sent), sent);
        }
        if received > 0 {
            self.increase(offset_of!(PeerCounts, received), received);
        }
        self.set(offset_of!(PeerCounts, last_ns), now_ns);
    }

    /// True for the first datagram that comes back.
    #[inline(always)]
    pub(crate) fn take_first_answer(self) -> bool {
        if self.get(offset_of!(PeerCounts, state)) != TOLD {
            return false;
        }
        self.silence();
        true
    }

    /// Nothing is to be told of what comes back.
    #[inline(always)]
    pub(crate) fn silence(self) {
        self.set(offset_of!(PeerCounts, state), ANSWERED);
    }

    /// Whether its first datagram was told, or there is no need.
    #[inline(always)]
    pub(crate) fn is_told(self) -> bool {
        self.get(offset_of!(PeerCounts, state)) != UNTOLD
    }

    /// Whether its first datagram was handed over.
    #[inline(always)]
    pub(crate) fn set_told(self, told: bool) {
        self.set(offset_of!(PeerCounts, state), if told { TOLD } else { UNTOLD });
    }

    #[inline(always)]
    fn number(self, offset: usize) -> *mut u64 {
        self.0.wrapping_byte_add(offset).cast()
    }

    #[inline(always)]
    fn get(self, offset: usize) -> u64 {
        // SAFETY: a live number of the value, 8-aligned.
        unsafe { self.number(offset).read_volatile() }
    }

    #[inline(always)]
    fn set(self, offset: usize, value: u64) {
        // SAFETY: as above.
        unsafe { self.number(offset).write_volatile(value) };
    }

    #[inline(always)]
    fn increase(self, offset: usize, more: u64) {
        // SAFETY: as above.
        unsafe { crate::repeats::increase(self.number(offset), more) };
    }
}

/// Now, `CLOCK_BOOTTIME`.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}
