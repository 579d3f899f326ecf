//! `iter/task_file`: every file that a process has open is handed in, once, when the agent asks for it. Of those that
//! are connected sockets the agent is told, whatever network namespace they are in.
//!
//! The socket gets its cookie here, as an attempt's does in `connect.rs`, so that what becomes of it is told. A socket
//! that no process holds (accepted by the kernel and not yet by the process, or held by io_uring alone) is not seen.

use crate::{
    hooks::{
        connect::{IPPROTO_TCP, SOCK_DGRAM, SOCK_STREAM, note_unsent_socket},
        outcome::{IPPROTO_MPTCP, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_SENT, as_tcp},
        send::IPPROTO_UDP,
    },
    offsets::{
        ITER_META_SEQ, NET_INUM, SK_PROTOCOL, SK_TYPE, SKC_COOKIE, SKC_NET, SKC_STATE, SOCKET_SK, Sock,
        TASK_COMM, TASK_TGID, TCP_BYTES_ACKED, TCP_BYTES_RETRANS, TCP_BYTES_SENT, TCP_SND_NXT, TCP_SND_UNA,
        cgroup_of, load, probe,
    },
    sockaddr::{AF_INET, AF_INET6, Ends},
};
use aya_ebpf::{
    cty::c_void,
    helpers::generated::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_seq_write, bpf_sock_from_file},
    programs::BtfTracePointContext,
};
use core::mem::size_of;
use flowlog_common::{
    ABI_VERSION,
    event::COMM_BYTES,
    existing::{ExistingSocket, FLAG_ACCEPTED, FLAG_OPENED, FLAG_UNSEEN},
};

/// The arguments of `bpf_iter_task_file`: `struct bpf_iter_meta *meta, struct task_struct *task, u32 fd, struct file *file`.
#[inline(always)]
pub(crate) fn observe(ctx: &BtfTracePointContext) {
    let (meta, task, file): (*const c_void, *const c_void, *const c_void) =
        (ctx.arg(0), ctx.arg(1), ctx.arg(3));
    // Both are null when the walk is over.
    if task.is_null() || file.is_null() {
        return;
    }
    // SAFETY: the helper (kernel 5.11) takes the file that the iterator handed in, and answers null where it is none of
    // a socket.
    let socket: *const c_void = unsafe { bpf_sock_from_file(file.cast_mut().cast()) }.cast();
    if socket.is_null() {
        return;
    }
    let sock: Sock = load(socket, &SOCKET_SK);
    if sock.is_null() {
        return;
    }
    let ends = Ends::read(sock);
    if ends.family != AF_INET && ends.family != AF_INET6 {
        return;
    }
    let (kind, protocol) = (load::<u16>(sock, &SK_TYPE), load::<u16>(sock, &SK_PROTOCOL));
    if u32::from(kind) == SOCK_DGRAM && protocol == u16::from(IPPROTO_UDP) {
        if i32::from(load::<u8>(sock, &SKC_STATE)) == TCP_ESTABLISHED {
            note_unsent_socket(cookie_of(sock));
        }
        return;
    }
    if u32::from(kind) != SOCK_STREAM || (protocol != u16::from(IPPROTO_TCP) && protocol != IPPROTO_MPTCP) {
        return;
    }
    write_stream(meta, task, sock, &ends);
}

#[inline(always)]
fn write_stream(meta: *const c_void, task: *const c_void, sock: Sock, ends: &Ends) {
    if !is_open(load(sock, &SKC_STATE)) {
        return;
    }
    let unseen = if load::<u64>(sock, &SKC_COOKIE) == 0 { FLAG_UNSEEN } else { 0 };
    // What is still open once the cookie was made tells its end.
    let cookie = cookie_of(sock);
    let state: u8 = load(sock, &SKC_STATE);
    if !is_open(state) || cookie == 0 {
        return;
    }
    let netns: *const c_void = load(sock, &SKC_NET);
    let found = ExistingSocket {
        version: ABI_VERSION,
        state,
        family: ends.family,
        protocol: IPPROTO_TCP,
        netns: load(netns, &NET_INUM),
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        cgroup_id: cgroup_of(sock),
        cookie,
        local: ends.local,
        remote: ends.remote,
        local_port: ends.local_port,
        remote_port: ends.remote_port,
        pid: load(task, &TASK_TGID),
        flags: role_of(sock, state) | unseen,
        reserved: [0; 7],
        comm: probe(task, TASK_COMM.load() as usize).unwrap_or([0; COMM_BYTES]),
    };
    let bytes = (&raw const found).cast_mut().cast();
    // SAFETY: the helper takes the iterator's own file and reads as many bytes as the record has, all of them set. Where
    // the file's buffer is full it fails, and the kernel hands this socket in again after the next read.
    unsafe { bpf_seq_write(load(meta, &ITER_META_SEQ), bytes, size_of::<ExistingSocket>() as u32) };
}

/// A connection that one side has closed is left alone. Listeners are told so that accepted sockets can be known by their
/// port.
#[inline(always)]
fn is_open(state: u8) -> bool {
    matches!(i32::from(state), TCP_ESTABLISHED | TCP_SYN_SENT | TCP_LISTEN)
}

#[inline(always)]
fn cookie_of(sock: Sock) -> u64 {
    // SAFETY: the helper takes a socket by its BTF type (kernel 5.12), and answers 0 for null.
    unsafe { bpf_get_socket_cookie(sock.cast_mut()) }
}

/// Whether it opened its connection. The kernel counts an opener's SYN as a byte that was acknowledged, a listener's
/// SYN-ACK it does not; all else that was acknowledged, or is on its way, was sent. While bytes are being sent the
/// numbers may not fit together: then they tell nothing.
#[inline(always)]
fn role_of(sock: Sock, state: u8) -> u8 {
    if i32::from(state) == TCP_SYN_SENT {
        return FLAG_OPENED;
    }
    let tcp = as_tcp(sock);
    if tcp.is_null() || i32::from(state) != TCP_ESTABLISHED {
        return 0;
    }
    let sent = load::<u64>(tcp, &TCP_BYTES_SENT).wrapping_sub(load(tcp, &TCP_BYTES_RETRANS));
    let on_its_way = load::<u32>(tcp, &TCP_SND_NXT).wrapping_sub(load(tcp, &TCP_SND_UNA));
    let acknowledged = load::<u64>(tcp, &TCP_BYTES_ACKED).wrapping_add(u64::from(on_its_way));
    match acknowledged.wrapping_sub(sent) {
        0 => FLAG_ACCEPTED,
        1 => FLAG_OPENED,
        _ => 0,
    }
}
