//! The cost of connect+accept+close, both ends in this process.

use crate::steps::abort_on_close;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, Write, stdin, stdout};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

/// One round for each line on stdin; prints nanoseconds per connection.
pub(crate) fn rounds(to: SocketAddr, count: u32) -> Result<()> {
    let listener = TcpListener::bind(to).with_context(|| format!("listen on {to}"))?;
    let to = listener.local_addr().context("address of the listener")?;
    let mut out = stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in stdin().lock().lines() {
        line.context("read stdin")?;
        writeln!(out, "{}", round(&listener, to, count)?)?;
        out.flush()?;
    }
    Ok(())
}

fn round(listener: &TcpListener, to: SocketAddr, count: u32) -> Result<u128> {
    if count == 0 {
        bail!("a round of no connections measures nothing");
    }
    let began = Instant::now();
    for _ in 0..count {
        once(listener, to)?;
    }
    Ok(began.elapsed().as_nanos() / u128::from(count))
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
