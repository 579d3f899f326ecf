//! Bytes over one connection, both ends in this process: what was sent is taken before more is sent, so that a round
//! is the same work each time.

use super::{Took, timed};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const CHUNK_BYTES: usize = 64 << 10;

pub(super) struct Bulk {
    near: TcpStream,
    far: TcpStream,
    bytes: Vec<u8>,
}

impl Bulk {
    pub(super) fn prepare(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(to).with_context(|| format!("listen on {to}"))?;
        let near = TcpStream::connect(to).with_context(|| format!("connect to {to}"))?;
        let (far, _) = listener.accept().context("accept")?;
        near.set_nodelay(true).context("have each chunk sent at once")?;
        Ok(Self { near, far, bytes: vec![0; CHUNK_BYTES] })
    }

    pub(super) fn batch(&mut self) -> Result<[Took; 1]> {
        let took = timed(|_| {
            self.near.write_all(&self.bytes).context("send")?;
            self.far.read_exact(&mut self.bytes).context("receive")
        });
        Ok([took?])
    }
}
