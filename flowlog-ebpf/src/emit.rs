//! Reserve, fill, submit; when reserve fails, count it.

use crate::{
    maps::{COUNTERS, EVENTS, GENERATION},
    offsets::{CSS_SET_CGROUP, TASK_CGROUPS, TASK_COMM, TASK_TGID, cgroup_id, probe},
    shed,
};
use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    cty::c_void,
    helpers::generated::{bpf_get_current_comm, bpf_get_current_task, bpf_ktime_get_boot_ns},
};
use aya_log_ebpf::debug;
use core::mem::size_of;
use flowlog_common::{
    ABI_VERSION,
    counter::Counters,
    event::{COMM_BYTES, Event, KINDS},
};

/// This CPU's counters.
#[inline(always)]
pub(crate) fn counters() -> Option<&'static mut Counters> {
    let counters = COUNTERS.get_ptr_mut(0)?;
    // SAFETY: the map look-up is not null, the value lives as long as the map, and this CPU's copy is only
    // written here; a program that interrupts this one can at worst cost one count its increment.
    unsafe { counters.as_mut() }
}

/// Count a datagram whose socket or peer found its table unwilling.
#[inline(always)]
pub(crate) fn refuse() {
    if let Some(counters) = counters() {
        counters.table_full += 1;
    }
}

/// Emit one event of `kind`; `fill` sets what the kind has, all else is zero.
///
/// A full ring refuses the event: it is counted by kind, and the call that was observed goes on. True where it is
/// handed over.
#[inline(always)]
pub(crate) fn emit(ctx: &impl aya_ebpf::EbpfContext, kind: u8, fill: impl FnOnce(&mut Event)) -> bool {
    let Some(counters) = counters() else { return false };
    let index = kind as usize;
    if index >= KINDS {
        return false;
    }
    counters.seen[index] += 1;
    if submit(counters, kind, fill) {
        return true;
    }
    counters.lost[index] += 1;
    debug!(ctx, "ring full: event of kind {} refused", kind);
    false
}

/// Emit an event that was refused before and is counted as lost; counted anew only where it is handed over now.
#[inline(always)]
pub(crate) fn emit_again(kind: u8, fill: impl FnOnce(&mut Event)) -> bool {
    let Some(counters) = counters() else { return false };
    let index = kind as usize;
    if index >= KINDS || !submit(counters, kind, fill) {
        return false;
    }
    counters.seen[index] += 1;
    true
}

#[inline(always)]
fn submit(counters: &mut Counters, kind: u8, fill: impl FnOnce(&mut Event)) -> bool {
    counters.sequence += 1;
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        shed::fill_up();
        return false;
    };
    zero(entry.as_mut_ptr().cast());
    // SAFETY: the entry is reserved for us, as large as an `Event`, 8-aligned, and all zero, which is valid.
    let event = unsafe { &mut *entry.as_mut_ptr() };
    event.version = ABI_VERSION;
    event.kind = kind;
    event.generation = GENERATION.load();
    // SAFETY: a helper without arguments.
    event.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    fill(event);
    // No wake-up unless the ring is half full: the agent drains by a timer, a wake-up costs 2 µs a connect.
    let wake = if shed::look(counters.sequence) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    entry.submit(u64::from(wake));
    true
}

/// Zero an event with plain stores. Written out, since a memset loop is refused without CAP_PERFMON.
#[inline(always)]
fn zero(words: *mut u64) {
    let mut index = 0;
    while index < size_of::<Event>() / size_of::<u64>() {
        // SAFETY: inside the reserved entry, which is 8-aligned and as large as an `Event`.
        unsafe { words.wrapping_add(index).write_volatile(0) };
        index += 1;
    }
}

/// Put the current process into the event where it is of the cgroup that owns the socket: in an interrupt it is anybody.
#[inline(always)]
pub(crate) fn fill_current(event: &mut Event, cgroup_id: u64) {
    // SAFETY: a helper without arguments. Those that name the process are not there for packets.
    let task = unsafe { bpf_get_current_task() } as *const c_void;
    if cgroup_of_task(task) != Some(cgroup_id) {
        return;
    }
    let tgid: Option<u32> = probe(task, TASK_TGID.load() as usize);
    let comm: Option<[u8; COMM_BYTES]> = probe(task, TASK_COMM.load() as usize);
    if let (Some(tgid), Some(comm)) = (tgid, comm) {
        event.pid = tgid;
        event.comm = comm;
        event.flags |= flowlog_common::event::FLAG_TASK;
    }
}

#[inline(always)]
fn cgroup_of_task(task: *const c_void) -> Option<u64> {
    let set: u64 = probe(task, TASK_CGROUPS.load() as usize)?;
    let cgroup: u64 = probe(set as *const c_void, CSS_SET_CGROUP.load() as usize)?;
    cgroup_id(cgroup as *const c_void)
}

/// Put the current process into the event.
#[inline(always)]
pub(crate) fn fill_task(event: &mut Event) {
    event.pid = (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32;
    let comm: *mut c_void = event.comm.as_mut_ptr().cast();
    // SAFETY: the destination is COMM_BYTES long; the helper writes no more and ends it with a zero.
    unsafe { bpf_get_current_comm(comm, COMM_BYTES as u32) };
    event.flags |= flowlog_common::event::FLAG_TASK;
}
