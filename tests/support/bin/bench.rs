//! The cost of connect+accept+close, both ends in this process.

use crate::steps::abort_on_close;
use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use std::io::{BufRead, Write, stdin, stdout};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Connections a batch: 4 ms.
const BATCH: u32 = 100;

/// One round for each line on stdin; prints nanoseconds per connection: by the clock, and of CPU time.
pub(crate) fn rounds(to: SocketAddr, count: u32) -> Result<()> {
    let listener = TcpListener::bind(to).with_context(|| format!("listen on {to}"))?;
    let to = listener.local_addr().context("address of the listener")?;
    let mut out = stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in stdin().lock().lines() {
        line.context("read stdin")?;
        let (wall, cpu) = round(&listener, to, count)?;
        writeln!(out, "{wall} {cpu}")?;
        out.flush()?;
    }
    Ok(())
}

/// Medians over small batches, so that what takes the CPU away for a moment weighs as much as any other batch.
fn round(listener: &TcpListener, to: SocketAddr, count: u32) -> Result<(u128, u128)> {
    let batches = (count / BATCH).max(1);
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..batches {
        let (wall, cpu) = (Instant::now(), cpu_time()?);
        for _ in 0..BATCH {
            once(listener, to)?;
        }
        walls.push(wall.elapsed());
        cpus.push(cpu_time()?.saturating_sub(cpu));
    }
    Ok((median(walls)?, median(cpus)?))
}

/// Nanoseconds of one connection in the median batch.
fn median(mut batches: Vec<Duration>) -> Result<u128> {
    batches.sort_unstable();
    let middle = batches.get(batches.len() / 2).context("a round of no batch measures nothing")?;
    Ok(middle.as_nanos() / u128::from(BATCH))
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).context("read the CPU clock")?.into())
}

/// Closed by RST: with TIME_WAIT the ports of one address would be used up within a round or two.
fn once(listener: &TcpListener, to: SocketAddr) -> Result<()> {
    let client = TcpStream::connect(to).with_context(|| format!("connect to {to}"))?;
    let (server, _) = listener.accept().context("accept")?;
    abort_on_close(&client)?;
    drop(client);
    drop(server);
    Ok(())
}
