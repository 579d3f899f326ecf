//! The cost of connect+accept+close, both ends in this process.

use crate::steps::abort_on_close;
use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_gettime};
use std::io::{BufRead, Write, stdin, stdout};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

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

fn round(listener: &TcpListener, to: SocketAddr, count: u32) -> Result<(u128, u128)> {
    if count == 0 {
        bail!("a round of no connections measures nothing");
    }
    let (wall, cpu) = (Instant::now(), cpu_time()?);
    for _ in 0..count {
        once(listener, to)?;
    }
    let (wall, cpu) = (wall.elapsed(), cpu_time()?.saturating_sub(cpu));
    Ok((wall.as_nanos() / u128::from(count), cpu.as_nanos() / u128::from(count)))
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
