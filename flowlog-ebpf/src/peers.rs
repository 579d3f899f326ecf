//! What is remembered of each peer of a datagram socket: no event but the first, a few additions.

use crate::maps::PEERS;
use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns},
};
use core::mem::offset_of;
use flowlog_common::{
    event::Address,
    peer::{ANSWERED, ARRIVED, PeerCounts, TOLD, UNTOLD},
    repeat::{EGRESS, INGRESS, RepeatKey},
};

/// The key of datagrams to a listener at `address` and `port`.
#[inline(always)]
pub(crate) fn key_of_opener(cgroup_id: u64, address: Address, port: u16, protocol: u8) -> RepeatKey {
    RepeatKey { cgroup_id, address, port, direction: EGRESS, protocol, reserved: 0 }
}

/// The key of datagrams from an opener at `address` to the own `port`.
#[inline(always)]
pub(crate) fn key_of_listener(cgroup_id: u64, address: Address, port: u16, protocol: u8) -> RepeatKey {
    RepeatKey { cgroup_id, address, port, direction: INGRESS, protocol, reserved: 0 }
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
pub(crate) fn begin(key: &RepeatKey, stale: Option<Peer>, now: Now, sent: u64, received: u64) -> Begun {
    if let Some(peer) = stale {
        peer.set_state(TOLD);
        peer.set(offset_of!(PeerCounts, sent), sent);
        peer.set(offset_of!(PeerCounts, received), received);
        peer.set_last(now, now.ns());
        return Begun::First;
    }
    let counts = PeerCounts { last_ns: now.ns(), sent, received, state: TOLD, tick: now.tick };
    match PEERS.insert(key, counts, u64::from(BPF_NOEXIST)) {
        Ok(()) => Begun::First,
        Err(_) if find(key).is_some() => Begun::Known,
        Err(_) => Begun::Refused,
    }
}

impl Peer {
    /// Whether its latest datagram is no older than that.
    #[inline(always)]
    pub(crate) fn is_within(self, now: Now, most_ns: u64) -> bool {
        // Another CPU's may be later than our look at the clock.
        self.is_of(now) || self.get(offset_of!(PeerCounts, last_ns)).wrapping_add(most_ns) >= now.ns()
    }

    /// Whether its latest datagram is of this very tick: then nothing need be asked of the clock.
    #[inline(always)]
    fn is_of(self, now: Now) -> bool {
        // SAFETY: a live number of the value, 4-aligned.
        let tick = unsafe { self.short(offset_of!(PeerCounts, tick)).read_volatile() };
        tick == now.tick
    }

    #[inline(always)]
    fn set_last(self, now: Now, now_ns: u64) {
        self.set(offset_of!(PeerCounts, last_ns), now_ns);
        // SAFETY: as above.
        unsafe { self.short(offset_of!(PeerCounts, tick)).write_volatile(now.tick) };
    }

    /// Count datagrams.
    #[inline(always)]
    pub(crate) fn add(self, sent: u64, received: u64, now: Now) {
        if sent > 0 {
            self.increase(offset_of!(PeerCounts, sent), sent);
        }
        if received > 0 {
            self.increase(offset_of!(PeerCounts, received), received);
        }
        if !self.is_of(now) {
            self.set_last(now, now.ns());
        }
    }

    /// True for the first datagram that comes back.
    #[inline(always)]
    pub(crate) fn take_first_answer(self) -> bool {
        if self.state() != TOLD {
            return false;
        }
        self.silence();
        true
    }

    /// Nothing is to be told of what comes back.
    #[inline(always)]
    pub(crate) fn silence(self) {
        self.set_state(ANSWERED);
    }

    /// Its first datagram is here, and not taken yet.
    #[inline(always)]
    pub(crate) fn set_arrived(self) {
        self.set_state(ARRIVED);
    }

    /// True for the first datagram that is taken of what is here.
    #[inline(always)]
    pub(crate) fn take_arrival(self) -> bool {
        if self.state() != ARRIVED {
            return false;
        }
        self.set_state(TOLD);
        true
    }

    /// Whether its first datagram was told, or there is no need.
    #[inline(always)]
    pub(crate) fn is_told(self) -> bool {
        self.state() != UNTOLD
    }

    /// Whether its first datagram was handed over.
    #[inline(always)]
    pub(crate) fn set_told(self, told: bool) {
        self.set_state(if told { TOLD } else { UNTOLD });
    }

    #[inline(always)]
    fn state(self) -> u32 {
        // SAFETY: a live number of the value, 4-aligned.
        unsafe { self.short(offset_of!(PeerCounts, state)).read_volatile() }
    }

    #[inline(always)]
    fn set_state(self, state: u32) {
        // SAFETY: as above.
        unsafe { self.short(offset_of!(PeerCounts, state)).write_volatile(state) };
    }

    #[inline(always)]
    fn short(self, offset: usize) -> *mut u32 {
        self.0.wrapping_byte_add(offset).cast()
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

/// Now, to a tick of some milliseconds; to the nanosecond where it has to be, since reading the clock takes longer than all
/// else that is done for a datagram.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    tick: u32,
}

impl Now {
    #[inline(always)]
    pub(crate) fn read() -> Self {
        // SAFETY: a helper without arguments (kernel 5.6), which the kernel makes a load.
        Self { tick: unsafe { bpf_jiffies64() } as u32 }
    }

    /// `CLOCK_BOOTTIME`.
    #[inline(always)]
    fn ns(self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_boot_ns() }
    }
}
