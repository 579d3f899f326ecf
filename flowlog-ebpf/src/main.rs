//! The kernel half: entry points, a line each. It observes, never decides, and answers "allow" on every path.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod emit;
mod headers;
mod hooks;
mod maps;
mod offsets;
mod peers;
mod repeats;
mod shed;
mod sockaddr;

use aya_ebpf::{
    cty::c_void,
    macros::{btf_tracepoint, cgroup_skb, cgroup_sock_addr},
    programs::{BtfTracePointContext, SkBuffContext, SockAddrContext},
};

/// The answer of a cgroup hook that lets the call go on.
const ALLOW: i32 = 1;

/// A process connects, IPv4.
#[cgroup_sock_addr(connect4)]
fn flowlog_connect4(ctx: SockAddrContext) -> i32 {
    hooks::connect::observe4(&ctx);
    ALLOW
}

/// A process connects, IPv6, IPv4-mapped addresses included.
#[cgroup_sock_addr(connect6)]
fn flowlog_connect6(ctx: SockAddrContext) -> i32 {
    hooks::connect::observe6(&ctx);
    ALLOW
}

/// A process sends a datagram to an address that it names, IPv4, also from an IPv6 socket.
#[cgroup_sock_addr(sendmsg4)]
fn flowlog_sendmsg4(ctx: SockAddrContext) -> i32 {
    hooks::sendmsg::observe_sent4(&ctx);
    ALLOW
}

/// The same, IPv6.
#[cgroup_sock_addr(sendmsg6)]
fn flowlog_sendmsg6(ctx: SockAddrContext) -> i32 {
    hooks::sendmsg::observe_sent6(&ctx);
    ALLOW
}

/// A process takes a datagram and asks from whom, IPv4 socket.
#[cgroup_sock_addr(recvmsg4)]
fn flowlog_recvmsg4(ctx: SockAddrContext) -> i32 {
    hooks::sendmsg::observe_received4(&ctx);
    ALLOW
}

/// The same, IPv6 socket; IPv4 comes as mapped addresses.
#[cgroup_sock_addr(recvmsg6)]
fn flowlog_recvmsg6(ctx: SockAddrContext) -> i32 {
    hooks::sendmsg::observe_received6(&ctx);
    ALLOW
}

/// A packet leaves a socket.
#[cgroup_skb(egress)]
fn flowlog_packets_out(ctx: SkBuffContext) -> i32 {
    hooks::packet::observe_egress(&ctx);
    ALLOW
}

/// A packet comes to a socket.
#[cgroup_skb(ingress)]
fn flowlog_packets_in(ctx: SkBuffContext) -> i32 {
    hooks::packet::observe_ingress(&ctx);
    ALLOW
}

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`
#[btf_tracepoint(function = "inet_sock_set_state")]
fn flowlog_set_state(ctx: BtfTracePointContext) -> i32 {
    hooks::outcome::observe_state(&ctx, ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb, …)`
#[btf_tracepoint(function = "tcp_retransmit_skb")]
fn flowlog_retransmit(ctx: BtfTracePointContext) -> i32 {
    hooks::outcome::observe_retransmit(&ctx, ctx.arg(0));
    0
}

/// `inet_sk_error_report(const struct sock *sk)`
#[btf_tracepoint(function = "inet_sk_error_report")]
fn flowlog_error_report(ctx: BtfTracePointContext) -> i32 {
    hooks::outcome::observe_error(&ctx, ctx.arg(0));
    0
}

/// `sock_send_length(struct sock *sk, int ret, int flags)`
#[btf_tracepoint(function = "sock_send_length")]
fn flowlog_send(ctx: BtfTracePointContext) -> i32 {
    hooks::send::observe(&ctx, ctx.arg(0), ctx.arg(1));
    0
}

/// `sock_recv_length(struct sock *sk, int ret, int flags)`
#[btf_tracepoint(function = "sock_recv_length")]
fn flowlog_recv(ctx: BtfTracePointContext) -> i32 {
    hooks::send::observe_answer(&ctx, ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// `kfree_skb(struct sk_buff *skb, void *location, enum skb_drop_reason reason, …)`
#[btf_tracepoint(function = "kfree_skb")]
fn flowlog_drop(ctx: BtfTracePointContext) -> i32 {
    hooks::drop::observe(&ctx, ctx.arg(0), ctx.arg(2));
    0
}

/// `cgroup_mkdir(struct cgroup *cgrp, const char *path)`
#[btf_tracepoint(function = "cgroup_mkdir")]
fn flowlog_cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    hooks::cgroup::observe_made(ctx.arg(0), ctx.arg(1));
    0
}

/// `cgroup_rmdir(struct cgroup *cgrp, const char *path)`
#[btf_tracepoint(function = "cgroup_rmdir")]
fn flowlog_cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    hooks::cgroup::observe_removed(ctx.arg(0), ctx.arg(1));
    0
}

/// `bpf_iter_task_file(struct bpf_iter_meta *meta, struct task_struct *task, u32 fd, struct file *file)`; its arguments
/// lie as a tracepoint's do.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
fn flowlog_existing(ctx: *mut c_void) -> i32 {
    hooks::existing::observe(&BtfTracePointContext::new(ctx));
    0
}

/// Hash of the sources that this object was built from; the agent's build compares it with what it finds on
/// disk, so that a stale object can never be embedded.
#[unsafe(link_section = "flowlog_source")]
#[unsafe(no_mangle)]
#[used]
static FLOWLOG_SOURCE: [u8; 32] = source_hash(env!("FLOWLOG_SOURCE"));

const fn source_hash(hex: &str) -> [u8; 32] {
    let bytes = hex.as_bytes();
    assert!(bytes.len() == 32, "FLOWLOG_SOURCE is set by xtask/src/bpf.rs: build with `cargo xtask bpf`");
    let mut hash = [0; 32];
    let mut index = 0;
    while index < 32 {
        hash[index] = bytes[index];
        index += 1;
    }
    hash
}

/// `Dual MIT/GPL` is one of the strings that the kernel takes for GPL-compatible (`license_is_gpl_compatible`).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The verifier would refuse a program that can panic; nothing here can.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
