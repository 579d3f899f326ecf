//! `cargo xtask bench udp`: what an attached agent costs a datagram of a socket without a connection: to send one to
//! the same peer as before, to take one and ask from whom it came, and to send one to each of many peers in turn.

use super::rivals::{Rival, bpftrace};
use super::{RoundArgs, Work, measure};
use anyhow::Result;

/// No tool tells peers of datagrams without kprobes; a script counts datagrams and bytes by process.
const RIVALS: [Rival; 1] = [bpftrace("bpftrace", &["bpftrace", "-B", "line", "-e", SCRIPT])];

const SCRIPT: &str = "tracepoint:sock:sock_send_length,tracepoint:sock:sock_recv_length
/args->protocol == 17/
{ @[probe, comm, pid] = stats(args->ret); }
interval:s:1 { print(@); clear(@); }";

const WORK: Work = Work {
    name: "udp",
    figures: &["send", "receive", "send_many"],
    count: 20_000,
    seen: |_| 1,
    filter: "",
    rivals: &RIVALS,
};

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn udp(args: &RoundArgs) -> Result<()> {
    measure(&WORK, args)
}
