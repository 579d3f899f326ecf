//! `cargo xtask bench connect`: what an attached agent costs a connection.
//!
//! One process connects to itself over a loopback interface of its own, on one CPU, the agent on another.

use super::rivals::{Rival, bpftrace};
use super::{RoundArgs, Work, measure};
use anyhow::Result;

/// Tools that tell each connection, and a script that counts them by peer, as flowlog does with repeats.
const RIVALS: [Rival; 3] = [
    Rival { name: "tcpstates", command: &["tcpstates"], package: "libbpf-tools" },
    Rival { name: "tcplife", command: &["tcplife"], package: "libbpf-tools" },
    bpftrace("bpftrace", &["bpftrace", "-B", "line", "-e", SCRIPT]),
];

const SCRIPT: &str = "tracepoint:sock:inet_sock_set_state
/args->protocol == 6 && (args->newstate == 1 || args->newstate == 7)/
{ @[args->newstate, ntop(args->daddr), args->dport] = count(); }
interval:s:1 { print(@); clear(@); }";

const WORK: Work = Work {
    name: "connect",
    figures: &["connect"],
    count: 6_000,
    seen: u64::from,
    filter: "",
    rivals: &RIVALS,
};

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn connect(args: &RoundArgs) -> Result<()> {
    measure(&WORK, args)
}
