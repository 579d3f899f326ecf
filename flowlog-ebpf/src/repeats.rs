//! Connections that the agent has told the kernel half to count: no event, a few additions.
//!
//! Only what goes well is counted. Whatever fails, is dropped or is not answered is an event as ever.

use crate::{
    hooks::{connect::IPPROTO_TCP, outcome::Sums},
    maps::{COUNT_REPEATS, LAST_COUNTED, REPEAT_COUNTS, REPEATS, Tuple},
    sockaddr::Ends,
};
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use core::mem::offset_of;
use flowlog_common::{
    event::Address,
    repeat::{EGRESS, INGRESS, RepeatCounts, RepeatKey},
};

/// Where connections of a key are counted: a value of the array of counts, which lives as long as the program.
#[derive(Clone, Copy)]
pub(crate) struct Slot(*mut RepeatCounts);

/// Where connections of this key are counted.
#[inline(always)]
pub(crate) fn find(key: &RepeatKey) -> Option<Slot> {
    if COUNT_REPEATS.load() == 0 {
        return None;
    }
    // SAFETY: the value is read at once; the agent replaces it whole.
    let slot = *unsafe { REPEATS.get(key) }?;
    REPEAT_COUNTS.get_ptr_mut(slot).map(Slot)
}

/// The key of a connection at its opener, by what it dials.
#[inline(always)]
pub(crate) fn key_of_opener(cgroup_id: u64, listener: Address, port: u16) -> RepeatKey {
    RepeatKey { cgroup_id, address: listener, port, direction: EGRESS, protocol: IPPROTO_TCP, reserved: 0 }
}

/// The key of a connection at its listener, by who opened it and the listener's port.
#[inline(always)]
pub(crate) fn key_of_listener(cgroup_id: u64, opener: Address, port: u16) -> RepeatKey {
    RepeatKey { cgroup_id, address: opener, port, direction: INGRESS, protocol: IPPROTO_TCP, reserved: 0 }
}

impl Slot {
    /// Count a handshake.
    #[inline(always)]
    pub(crate) fn add_established(self) {
        let now_ns = now_ns();
        self.add(offset_of!(RepeatCounts, established), 1);
        self.add(offset_of!(RepeatCounts, open_ns_sum), now_ns.wrapping_neg());
        let last = self.number(offset_of!(RepeatCounts, last_ns));
        // SAFETY: a live number; a store of the latest time may be overtaken by another CPU's by nanoseconds.
        unsafe { last.write_volatile(now_ns) };
    }

    /// Count a close, with the sums of its connection.
    #[inline(always)]
    pub(crate) fn add_closed(self, sums: &Sums) {
        self.add(offset_of!(RepeatCounts, closed), 1);
        self.add(offset_of!(RepeatCounts, open_ns_sum), now_ns());
        self.add(offset_of!(RepeatCounts, bytes_sent), sums.bytes_sent);
        self.add(offset_of!(RepeatCounts, bytes_received), sums.bytes_received);
        self.add(offset_of!(RepeatCounts, srtt_us_sum), u64::from(sums.srtt_us));
        if sums.retransmits > 0 {
            self.add(offset_of!(RepeatCounts, retransmits), u64::from(sums.retransmits));
        }
    }

    #[inline(always)]
    fn number(self, offset: usize) -> *mut u64 {
        self.0.wrapping_byte_add(offset).cast()
    }

    #[inline(always)]
    fn add(self, offset: usize, more: u64) {
        // SAFETY: a live number of the slot, 8-aligned.
        unsafe { increase(self.number(offset), more) };
    }
}

/// Add to a number in one instruction, since other CPUs add to the same; `core` has no `fetch_add` for this target.
///
/// # Safety
/// The number is alive and 8-aligned.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub(crate) unsafe fn increase(number: *mut u64, more: u64) {
    // SAFETY: what the caller promises.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) number, in(reg) more, options(nostack));
    }
}

/// As above, for lints, which run on the host's target.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "bpf"))]
pub(crate) unsafe fn increase(number: *mut u64, more: u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: what the caller promises.
    unsafe { AtomicU64::from_ptr(number) }.fetch_add(more, Ordering::Relaxed);
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// No connection leads to this port.
const ANY_PORT: u16 = 0;

/// Remember a connection that was counted at its opener.
#[inline(always)]
pub(crate) fn note_counted(ends: &Ends) {
    if let Some(last) = LAST_COUNTED.get_ptr_mut(0) {
        let tuple = Tuple {
            opener: ends.local,
            listener: ends.remote,
            opener_port: ends.local_port,
            listener_port: ends.remote_port,
        };
        // SAFETY: not null, and this CPU's own copy.
        unsafe { last.write(tuple) };
    }
}

/// Remember one that was shed there: its listener is left alone, whoever stands behind the address that was dialed.
#[inline(always)]
pub(crate) fn note_shed(ends: &Ends) {
    note_counted(&Ends { remote_port: ANY_PORT, ..*ends });
}

/// Whether this accepted connection was just counted at its opener, or shed. On one node the listener's handshake ends
/// in the wake of the opener's, mostly on the same CPU; where not, its event is told, and paired by the agent.
#[inline(always)]
pub(crate) fn was_counted(ends: &Ends) -> bool {
    let Some(last) = LAST_COUNTED.get_ptr(0) else { return false };
    // SAFETY: not null, and this CPU's own copy.
    let last = unsafe { last.read() };
    let same_listener = last.listener_port == ends.local_port && last.listener == ends.local;
    last.opener_port == ends.remote_port
        && last.opener == ends.remote
        && (same_listener || last.listener_port == ANY_PORT)
}
