//! `cargo xtask bench connect`: what an attached agent costs a connection.
//!
//! One process connects to itself over a loopback interface of its own, on one CPU, the agent on another.

use super::{Bench, Pair, release_traffic, summary};
use crate::command::{need_root, say};
use crate::interrupt::Interrupt;
use crate::{build, setup};
use anyhow::Result;
use clap::Args;

/// Arguments of `cargo xtask bench connect`.
#[derive(Args)]
pub(crate) struct ConnectArgs {
    /// Pairs of rounds, one with the agent, one without.
    #[arg(long, default_value_t = 61, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) pairs: u32,
    /// Connections a round.
    #[arg(long, default_value_t = 6_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) count: u32,
    /// Have every connection told on its own (`flowlog run --each`), so that none is counted in the kernel.
    #[arg(long)]
    pub(super) each: bool,
}

/// Measure, and print the result as the last line, in JSON.
pub(crate) fn connect(args: &ConnectArgs) -> Result<()> {
    need_root("the benchmark")?;
    setup::setup()?;
    let program = build::agent(true)?;
    build::traffic()?;
    let worker = release_traffic()?;
    let interrupt = Interrupt::hold()?;
    let bench = Bench::stage(args, program, &worker)?;
    let mut worker = bench.worker(&worker)?;
    // The first round pays for page faults and cold caches.
    worker.round()?;
    let mut pairs = Vec::new();
    for number in 0..args.pairs {
        interrupt.check()?;
        let pair = if number % 2 == 0 {
            let base = worker.round()?;
            Pair { base, with: bench.round_with_agent(&mut worker)? }
        } else {
            let with = bench.round_with_agent(&mut worker)?;
            Pair { base: worker.round()?, with }
        };
        let (base, with) = (pair.base.wall_ns, pair.with.wall_ns);
        say(&format!("pair {} of {}: {base} ns alone, {with} ns with the agent", number + 1, args.pairs));
        pairs.push(pair);
    }
    let mut summary = summary(&pairs);
    summary["each"] = args.each.into();
    println!("{summary}");
    Ok(())
}
