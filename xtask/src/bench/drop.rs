//! `cargo xtask bench drop`: what an attached agent costs a datagram that a filter of the node drops.

use super::rivals::{Rival, bpftrace};
use super::{RoundArgs, Work, measure};
use anyhow::Result;

const RIVALS: [Rival; 1] = [bpftrace("bpftrace", &["bpftrace", "-B", "line", "-e", SCRIPT])];

/// Drops by reason and place.
const SCRIPT: &str = "tracepoint:skb:kfree_skb
{ @[args->reason, args->location] = count(); }
interval:s:1 { print(@); clear(@); }";

/// On loopback a datagram comes to the input chain without its socket, as one from a pod comes to the forward chain.
const FILTER: &str = "table inet bench {
  chain input {
    type filter hook input priority 0
    udp dport 8080 drop
  }
}
";

const WORK: Work =
    Work { name: "drop", figures: &["drop"], count: 20_000, seen: |_| 1, filter: FILTER, rivals: &RIVALS };

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn drop(args: &RoundArgs) -> Result<()> {
    measure(&WORK, args)
}
