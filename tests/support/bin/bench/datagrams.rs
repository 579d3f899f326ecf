//! Datagrams of a socket without a connection, both ends in this process.

use super::{BATCH, Took, timed};
use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

const PAYLOAD: [u8; 64] = [0; 64];

/// Room for a batch, with what the kernel keeps beside each datagram.
const RECEIVE_BYTES: usize = 1 << 20;

/// Peers that are sent to in turn; each is a flow that the agent tells.
const PEERS: u32 = 1_000;

/// To a socket that listens.
pub(super) struct Datagrams {
    near: UdpSocket,
    far: UdpSocket,
    to: SocketAddr,
    turn: Cell<u32>,
}

impl Datagrams {
    /// Listens on every address, so that all of the many are this socket.
    pub(super) fn prepare(to: SocketAddr) -> Result<Self> {
        let near = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("make a socket")?;
        let far = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, to.port()))
            .with_context(|| format!("listen on port {}", to.port()))?;
        setsockopt(&far, sockopt::RcvBufForce, &RECEIVE_BYTES).context("enlarge the receive buffer")?;
        far.set_nonblocking(true).context("do not wait for what does not come")?;
        Ok(Self { near, far, to, turn: Cell::new(0) })
    }

    pub(super) fn batch(&self) -> Result<[Took; 3]> {
        let one = timed(|_| send(&self.near, self.to))?;
        let received = self.receive()?;
        let turn = self.turn.replace(self.turn.get().wrapping_add(BATCH) % PEERS);
        let many = timed(|number| send(&self.near, self.peer(turn + number)))?;
        self.receive()?;
        Ok([one, received, many])
    }

    /// Peers are told apart by the lower half of the address, from the first one on.
    fn peer(&self, number: u32) -> SocketAddr {
        match self.to.ip() {
            IpAddr::V4(first) => {
                let address = Ipv4Addr::from_bits(first.to_bits().wrapping_add(number));
                SocketAddr::new(address.into(), self.to.port())
            }
            IpAddr::V6(_) => self.to,
        }
    }

    fn receive(&self) -> Result<Took> {
        let mut bytes = PAYLOAD;
        timed(|_| self.far.recv_from(&mut bytes).map(drop).context("receive"))
    }
}

/// To an address that a filter shields.
pub(super) struct Shielded {
    near: UdpSocket,
    to: SocketAddr,
}

impl Shielded {
    pub(super) fn prepare(to: SocketAddr) -> Result<Self> {
        let near = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("make a socket")?;
        Ok(Self { near, to })
    }

    pub(super) fn batch(&self) -> Result<[Took; 1]> {
        Ok([timed(|_| send(&self.near, self.to))?])
    }
}

fn send(socket: &UdpSocket, to: SocketAddr) -> Result<()> {
    socket.send_to(&PAYLOAD, to).map(drop).with_context(|| format!("send to {to}"))
}
