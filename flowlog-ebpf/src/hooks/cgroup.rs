//! `cgroup_mkdir`, `cgroup_rmdir`: cgroups that come and go, with their path, before the first process can
//! enter and after the last has left.

use crate::{
    emit::counters,
    maps::CGROUPS,
    offsets::{CGROUP_ROOT, CGROUP_ROOT_HIERARCHY_ID, cgroup_id, probe},
};
use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    cty::c_void,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str},
};
use flowlog_common::{
    ABI_VERSION,
    event::{CGROUP_MADE, CGROUP_REMOVED, CgroupEvent, PATH_BYTES},
};

/// A cgroup was made.
#[inline(always)]
pub(crate) fn observe_made(cgroup: *const c_void, path: *const c_void) {
    observe(cgroup, path, CGROUP_MADE);
}

/// A cgroup was removed.
#[inline(always)]
pub(crate) fn observe_removed(cgroup: *const c_void, path: *const c_void) {
    observe(cgroup, path, CGROUP_REMOVED);
}

/// Only the cgroup2 hierarchy (number 0): sockets belong to no other.
#[inline(always)]
fn observe(cgroup: *const c_void, path: *const c_void, kind: u8) {
    let Some(counters) = counters() else { return };
    let Some((id, hierarchy)) = identity(cgroup) else {
        counters.unreadable += 1;
        return;
    };
    if hierarchy != 0 {
        return;
    }
    counters.cgroup_seen += 1;
    let Some(mut entry) = CGROUPS.reserve::<CgroupEvent>(0) else {
        counters.cgroup_lost += 1;
        return;
    };
    // SAFETY: the entry is reserved for us and as large as a `CgroupEvent`; every field is written below.
    let event = unsafe { &mut *entry.as_mut_ptr() };
    event.version = ABI_VERSION;
    event.kind = kind;
    event.reserved = [0; 2];
    event.cgroup_id = id;
    // SAFETY: a helper without arguments.
    event.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: the helper writes at most PATH_BYTES to the destination and ends it with a zero.
    let length =
        unsafe { bpf_probe_read_kernel_str(event.path.as_mut_ptr().cast(), PATH_BYTES as u32, path) };
    event.path_bytes = if length < 0 { 0 } else { length as u32 };
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

#[inline(always)]
fn identity(cgroup: *const c_void) -> Option<(u64, i32)> {
    let root: u64 = probe(cgroup, CGROUP_ROOT.load() as usize)?;
    let hierarchy: i32 = probe(root as *const c_void, CGROUP_ROOT_HIERARCHY_ID.load() as usize)?;
    Some((cgroup_id(cgroup)?, hierarchy))
}
