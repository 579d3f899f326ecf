//! connect+accept+close, both ends in this process.

use super::{Took, timed};
use crate::steps::abort_on_close;
use anyhow::{Context, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};

pub(crate) struct Connect {
    listener: TcpListener,
    to: SocketAddr,
}

impl Connect {
    pub(crate) fn prepare(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(to).with_context(|| format!("listen on {to}"))?;
        let to = listener.local_addr().context("address of the listener")?;
        Ok(Self { listener, to })
    }

    pub(super) fn batch(&self) -> Result<[Took; 1]> {
        Ok([timed(|_| self.once())?])
    }

    /// Closed by RST: with TIME_WAIT the ports of one address would be used up within a round or two.
    pub(crate) fn once(&self) -> Result<()> {
        let client = TcpStream::connect(self.to).with_context(|| format!("connect to {}", self.to))?;
        let (server, _) = self.listener.accept().context("accept")?;
        abort_on_close(&client)?;
        drop(client);
        drop(server);
        Ok(())
    }
}
