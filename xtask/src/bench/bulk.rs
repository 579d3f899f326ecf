//! `cargo xtask bench bulk`: what an attached agent costs bytes over one TCP connection, 64 KiB an operation.

use super::rivals::{Rival, bpftrace};
use super::{RoundArgs, Work, measure};
use anyhow::Result;

const RIVALS: [Rival; 1] = [bpftrace("bpftrace", &["bpftrace", "-B", "line", "-e", SCRIPT])];

/// Bytes by process, as tcptop shows them.
const SCRIPT: &str = "tracepoint:sock:sock_send_length,tracepoint:sock:sock_recv_length
/args->protocol == 6/
{ @[probe, comm, pid] = sum(args->ret); }
interval:s:1 { print(@); clear(@); }";

const WORK: Work =
    Work { name: "bulk", figures: &["bulk"], count: 20_000, seen: |_| 1, filter: "", rivals: &RIVALS };

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn bulk(args: &RoundArgs) -> Result<()> {
    measure(&WORK, args)
}
