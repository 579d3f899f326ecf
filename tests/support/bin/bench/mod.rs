//! Work that is timed, all of it in this process: a round for each line on stdin.

mod bulk;
mod connect;
mod datagrams;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
pub(crate) use connect::Connect;
use nix::time::{ClockId, clock_gettime};
use std::io::{BufRead, Write, stdin, stdout};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Operations a batch: a few milliseconds at most.
const BATCH: u32 = 100;

/// What is done.
#[derive(Clone, Copy, ValueEnum)]
enum Work {
    /// connect+accept+close.
    Connect,
    /// Send to one peer from a socket without a connection; take it, and ask from whom it came; send to many peers.
    Udp,
    /// Send 64 KiB over a connection, and take them.
    Bulk,
    /// Send to a peer that a filter shields.
    Drop,
}

#[derive(Args)]
pub(crate) struct BenchArgs {
    #[arg(value_enum)]
    work: Work,
    /// Where to listen and send to.
    #[arg(long)]
    to: SocketAddr,
    /// Operations a round.
    #[arg(long)]
    count: u32,
}

/// One round for each line on stdin; prints nanoseconds per operation, by the clock and of CPU time, of each figure.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    let batches = (args.count / BATCH).max(1);
    match args.work {
        Work::Connect => {
            let work = Connect::prepare(args.to)?;
            rounds(|| round(batches, || work.batch()))
        }
        Work::Udp => {
            let work = datagrams::Datagrams::prepare(args.to)?;
            rounds(|| round(batches, || work.batch()))
        }
        // A connection a round, since one that is older than the agent is none of its business.
        Work::Bulk => rounds(|| {
            let mut work = bulk::Bulk::prepare(args.to)?;
            round(batches, || work.batch())
        }),
        Work::Drop => {
            let work = datagrams::Shielded::prepare(args.to)?;
            rounds(|| round(batches, || work.batch()))
        }
    }
}

fn rounds(mut round: impl FnMut() -> Result<Vec<Took>>) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in stdin().lock().lines() {
        line.context("read stdin")?;
        let figures = round()?.into_iter().map(|took| took.to_string()).collect::<Vec<_>>();
        writeln!(out, "{}", figures.join(" "))?;
        out.flush()?;
    }
    Ok(())
}

/// Medians over small batches, so that what takes the CPU away for a moment weighs as much as any other batch.
fn round<const N: usize>(batches: u32, mut batch: impl FnMut() -> Result<[Took; N]>) -> Result<Vec<Took>> {
    let done = (0..batches).map(|_| batch()).collect::<Result<Vec<[Took; N]>>>()?;
    let figure = |index: usize| {
        let of =
            |part: fn(&Took) -> Duration| done.iter().filter_map(|took| took.get(index)).map(part).collect();
        Ok(Took { wall: median(of(|took| took.wall))?, cpu: median(of(|took| took.cpu))? })
    };
    (0..N).map(figure).collect()
}

fn median(mut batches: Vec<Duration>) -> Result<Duration> {
    batches.sort_unstable();
    batches.get(batches.len() / 2).copied().context("a round of no batch measures nothing")
}

/// How long a batch took.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

impl std::fmt::Display for Took {
    /// Nanoseconds of one operation.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = |batch: Duration| batch.as_nanos() / u128::from(BATCH);
        write!(out, "{} {}", each(self.wall), each(self.cpu))
    }
}

/// Time a batch of this operation; it is told how many went before it.
fn timed(mut once: impl FnMut(u32) -> Result<()>) -> Result<Took> {
    let (wall, cpu) = (Instant::now(), cpu_time()?);
    for number in 0..BATCH {
        once(number)?;
    }
    Ok(Took { wall: wall.elapsed(), cpu: cpu_time()?.saturating_sub(cpu) })
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).context("read the CPU clock")?.into())
}
