//! DNS answers: what a process took from a resolver's port, for the name that an address had for it. A part of the hooks
//! on taken datagrams, not one of its own.
//!
//! No hook of these hands the datagram over, but the arguments of the system call that took it say where it lies now. A
//! hook that sees packets (`cgroup_skb`) costs every packet of every socket: +72 ns a datagram (×1.034) and ×1.008 on
//! bulk TCP before it does anything; `consume_skb` runs no longer in the taker's context (0 of 1,000 on 6.18, which
//! frees datagrams on the CPU that made them). This way only datagrams from the port cost anything.
//!
//! What the process writes there meanwhile, or says of its buffer, changes its own pod's names alone.

use crate::{
    emit::counters,
    maps::{COPY_ANSWERS, NAMES},
    offsets::load,
};
use aya_ebpf::{
    Global,
    bindings::BPF_RB_NO_WAKEUP,
    cty::c_void,
    helpers::generated::{
        bpf_get_current_task_btf, bpf_ktime_get_boot_ns, bpf_probe_read_user, bpf_task_pt_regs,
    },
};
use core::mem::{MaybeUninit, size_of};
use flowlog_common::{
    ABI_VERSION,
    event::{ANSWER_BYTES, AnswerEvent},
};

const PORT: u16 = 53;
/// A message's header, RFC 1035, section 4.1.1.
const HEADER_BYTES: u64 = 12;
/// QR, opcode and rcode, of the header's first word.
const KIND_BITS: u32 = 0xf80f;
/// A response to a query, without an error.
const ANSWER: u32 = 0x8000;

/// Where `struct pt_regs` has the number of the system call, and its second and third argument.
#[unsafe(no_mangle)]
pub(crate) static REGS_NUMBER: Global<u32> = Global::new(0);
/// As above.
#[unsafe(no_mangle)]
pub(crate) static REGS_SECOND: Global<u32> = Global::new(0);
/// As above.
#[unsafe(no_mangle)]
pub(crate) static REGS_THIRD: Global<u32> = Global::new(0);

/// Numbers of the system calls that take a datagram: `read`, `readv`, `recvfrom`, `recvmsg`.
#[unsafe(no_mangle)]
pub(crate) static CALL_READ: Global<u32> = Global::new(0);
/// As above.
#[unsafe(no_mangle)]
pub(crate) static CALL_READV: Global<u32> = Global::new(0);
/// As above.
#[unsafe(no_mangle)]
pub(crate) static CALL_RECVFROM: Global<u32> = Global::new(0);
/// As above.
#[unsafe(no_mangle)]
pub(crate) static CALL_RECVMSG: Global<u32> = Global::new(0);

/// Whether what comes from this port is to be observed.
#[inline(always)]
pub(crate) fn comes_from(port: u16) -> bool {
    COPY_ANSWERS.load() != 0 && port == PORT
}

/// A process took a datagram; `taken` is how many bytes, where that is known.
#[inline(always)]
pub(crate) fn observe(cgroup_id: u64, taken: Option<u64>) {
    let Some(counters) = counters() else { return };
    let Some(buffer) = Buffer::find() else {
        counters.answers_unreadable += 1;
        return;
    };
    let bytes = taken.map_or(buffer.bytes, |taken| taken.min(buffer.bytes));
    if bytes < HEADER_BYTES {
        return;
    }
    let Some(header) = read_user::<[u32; 3]>(buffer.at) else {
        counters.answers_unreadable += 1;
        return;
    };
    if !names_something(header) {
        return;
    }
    counters.answers_seen += 1;
    let Some(mut entry) = NAMES.reserve::<AnswerEvent>(0) else {
        counters.answers_lost += 1;
        return;
    };
    // SAFETY: the entry is reserved for us and as large as an `AnswerEvent`; every field is written below, of the
    // message as many bytes as are told.
    let event = unsafe { &mut *entry.as_mut_ptr() };
    event.version = ABI_VERSION;
    event.whole = u8::from(taken.is_some_and(|taken| taken <= bytes && bytes <= ANSWER_BYTES as u64));
    event.reserved = [0; 2];
    // SAFETY: a helper without arguments.
    event.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    event.cgroup_id = cgroup_id;
    let copied = bytes.min(ANSWER_BYTES as u64) as u32;
    event.bytes = copied;
    let message: *mut c_void = event.message.as_mut_ptr().cast();
    // SAFETY: the helper writes no more than `copied` bytes, which the message has room for.
    if unsafe { bpf_probe_read_user(message, copied, buffer.at as *const c_void) } == 0 {
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    } else {
        entry.discard(0);
        counters.answers_unreadable += 1;
    }
}

/// Queries, errors and answers without a record (a resolver with search domains gets four of five such) name nothing.
#[inline(always)]
fn names_something(header: [u32; 3]) -> bool {
    let counts = u32::from_be(header[1]);
    u32::from_be(header[0]) & KIND_BITS == ANSWER && counts >> 16 == 1 && counts & 0xffff != 0
}

/// Where a process has what it took.
struct Buffer {
    at: u64,
    bytes: u64,
}

impl Buffer {
    /// By the arguments of the system call that is under way. `None` for those that do not tell which buffer it was
    /// (`recvmmsg`, io_uring).
    #[inline(always)]
    fn find() -> Option<Self> {
        // SAFETY: a helper without arguments (kernel 5.11).
        let task = unsafe { bpf_get_current_task_btf() };
        // SAFETY: the helper takes the task that the other gave (kernel 5.15), and gives its registers.
        let registers = unsafe { bpf_task_pt_regs(task) } as *const c_void;
        let number: u32 = load(registers, &REGS_NUMBER);
        let second: u64 = load(registers, &REGS_SECOND);
        if number == CALL_RECVFROM.load() || number == CALL_READ.load() {
            return Some(Self { at: second, bytes: load(registers, &REGS_THIRD) });
        }
        let pieces = if number == CALL_RECVMSG.load() {
            // `struct user_msghdr`: the pieces follow the name and its length.
            read_user(second.wrapping_add(16))?
        } else if number == CALL_READV.load() {
            second
        } else {
            return None;
        };
        let [at, bytes]: [u64; 2] = read_user(pieces)?;
        Some(Self { at, bytes })
    }
}

/// Read memory of the current process.
#[inline(always)]
fn read_user<T: Copy>(at: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes exactly `size_of::<T>()` bytes to the destination, or zeroes it and fails.
    let failed =
        unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, at as *const c_void) };
    if failed != 0 {
        return None;
    }
    // SAFETY: the helper succeeded, so all bytes are written, and `T` is made of integers.
    Some(unsafe { value.assume_init() })
}
