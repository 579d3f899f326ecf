//! Kernel struct offsets, set by the agent from the running kernel's BTF before load, and reads at them.

use aya_ebpf::{Global, cty::c_void, helpers::generated::bpf_probe_read_kernel};
use core::mem::{MaybeUninit, size_of};
use flowlog_common::for_each_offset;

macro_rules! declare {
    ($($symbol:ident: $($of:literal $member:literal),+;)*) => {
        $(
            #[doc = concat!($("`", $of, ".", $member, "` "),+)]
            #[unsafe(no_mangle)]
            pub(crate) static $symbol: Global<u32> = Global::new(0);
        )*
    };
}

for_each_offset!(declare);

/// 1 where a socket's `sk_cgrp_data` is a pointer to its cgroup by type (kernel 5.16), so that the verifier follows
/// it; before, it was a word with flags in it, and is read as memory.
#[unsafe(no_mangle)]
pub(crate) static TYPED_CGROUP: Global<u8> = Global::new(0);

/// 1 where programs at tracepoints may ask for a socket's cookie (kernel 5.12), and so make it.
#[unsafe(no_mangle)]
pub(crate) static MAKES_COOKIES: Global<u8> = Global::new(0);

/// A `struct sock *` that a BTF tracepoint handed in: the verifier checks every load through it.
pub(crate) type Sock = *const c_void;

/// Load a member of an object that a BTF tracepoint handed in.
#[inline(always)]
pub(crate) fn load<T: Copy>(object: *const c_void, offset: &Global<u32>) -> T {
    let at = object.wrapping_byte_add(offset.load() as usize).cast::<T>();
    // SAFETY: the object comes from a BTF tracepoint (or a helper that returns a BTF pointer), so the kernel's
    // verifier admits the load only inside the object, and a fault yields zero.
    unsafe { at.read_volatile() }
}

/// Read memory that the verifier knows nothing about.
#[inline(always)]
pub(crate) fn probe<T: Copy>(object: *const c_void, offset: usize) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let from = object.wrapping_byte_add(offset);
    // SAFETY: the helper writes exactly `size_of::<T>()` bytes to the destination, or zeroes it and fails.
    let failed = unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from) };
    if failed != 0 {
        return None;
    }
    // SAFETY: the helper succeeded, so all bytes are written, and `T` is made of integers.
    Some(unsafe { value.assume_init() })
}

/// Id (inode number) of a `struct cgroup`.
#[inline(always)]
pub(crate) fn cgroup_id(cgroup: *const c_void) -> Option<u64> {
    let node: u64 = probe(cgroup, CGROUP_KN.load() as usize)?;
    probe(node as *const c_void, KERNFS_NODE_ID.load() as usize)
}

/// Id of the cgroup that owns a socket of a BTF tracepoint; 0 where it cannot be read.
#[inline(always)]
pub(crate) fn cgroup_of(sock: Sock) -> u64 {
    if TYPED_CGROUP.load() == 0 {
        return socket_cgroup_id(sock);
    }
    let cgroup: *const c_void = load(sock, &SK_CGRP_DATA);
    let node: *const c_void = load(cgroup, &CGROUP_KN);
    load(node, &KERNFS_NODE_ID)
}

/// Flags in the word that `sk_cgrp_data` was before kernel 5.16 (`struct sock_cgroup_data`): something else than a
/// cgroup where the lowest is set, in a hybrid layout with net_cls or net_prio in use, and then nothing is found there.
const CGROUP_FLAGS: u64 = 3;

/// The same of a socket that the verifier knows nothing about.
#[inline(always)]
pub(crate) fn socket_cgroup_id(sock: Sock) -> u64 {
    let word: Option<u64> = probe(sock, SK_CGRP_DATA.load() as usize);
    let cgroup = word.map_or(0, |word| word & !CGROUP_FLAGS);
    cgroup_id(cgroup as *const c_void).unwrap_or(0)
}
