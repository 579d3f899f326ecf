//! Listening: one thread, any number of sockets, what comes is sent back.

use crate::ServeArgs;
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read, Write, stdout};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

#[derive(Default)]
struct Sockets {
    listeners: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
    blind: Vec<UdpSocket>,
    deaf: Vec<UdpSocket>,
    connections: Vec<TcpStream>,
}

/// Listen, say `ready`, serve until killed.
pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let mut sockets = Sockets::bind(args)?;
    println!("ready");
    stdout().flush().context("write stdout")?;
    loop {
        sockets.turn()?;
    }
}

impl Sockets {
    fn bind(args: &ServeArgs) -> Result<Self> {
        let mut sockets = Self::default();
        for address in &args.tcp {
            let listener = listen(*address, if args.mptcp { Protocol::MPTCP } else { Protocol::TCP });
            let listener = listener.with_context(|| format!("listen on tcp {address}"))?;
            listener.set_nonblocking(true).context("set O_NONBLOCK")?;
            sockets.listeners.push(listener);
        }
        let bind = |address: &SocketAddr| {
            let socket = UdpSocket::bind(address).with_context(|| format!("bind udp {address}"))?;
            socket.set_nonblocking(true).context("set O_NONBLOCK")?;
            anyhow::Ok(socket)
        };
        sockets.datagrams = args.udp.iter().map(bind).collect::<Result<_>>()?;
        sockets.blind = args.udp_blind.iter().map(bind).collect::<Result<_>>()?;
        sockets.deaf = args.udp_deaf.iter().map(bind).collect::<Result<_>>()?;
        Ok(sockets)
    }

    /// Wait for something to come, and answer it.
    fn turn(&mut self) -> Result<()> {
        let ready = self.wait()?;
        let (listening, rest) = ready.split_at(self.listeners.len());
        let (datagrams, rest) = rest.split_at(self.datagrams.len());
        let (blind, connections) = rest.split_at(self.blind.len());
        let mut came = connections.iter();
        // A connection stays as long as it has nothing to say, or was answered.
        self.connections.retain_mut(|connection| !came.next().is_some_and(|came| *came) || echo(connection));
        for (socket, _) in self.datagrams.iter().zip(datagrams).filter(|(_, came)| **came) {
            answer_datagram(socket);
        }
        for (socket, _) in self.blind.iter().zip(blind).filter(|(_, came)| **came) {
            // `recv`, unlike `recv_from` of the standard library, asks the kernel for no address.
            while nix::sys::socket::recv(socket.as_raw_fd(), &mut [0; 64], MsgFlags::empty()).is_ok() {}
        }
        for (listener, _) in self.listeners.iter().zip(listening).filter(|(_, came)| **came) {
            accept_all(listener, &mut self.connections)?;
        }
        Ok(())
    }

    fn wait(&self) -> Result<Vec<bool>> {
        let all: Vec<BorrowedFd<'_>> = (self.listeners.iter().map(AsFd::as_fd))
            .chain(self.datagrams.iter().map(AsFd::as_fd))
            .chain(self.blind.iter().map(AsFd::as_fd))
            .chain(self.connections.iter().map(AsFd::as_fd))
            .collect();
        let mut polled: Vec<PollFd<'_>> = all.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        poll(&mut polled, PollTimeout::NONE).context("poll")?;
        Ok(polled.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect())
    }
}

/// As many as come while this process does not run may wait: a SYN that finds no room costs its opener a second.
const WAITING: i32 = 4_096;

fn listen(address: SocketAddr, protocol: Protocol) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(WAITING)?;
    Ok(socket.into())
}

/// Accept until nobody waits; a client that reset before it was accepted is no fault of ours.
fn accept_all(listener: &TcpListener, connections: &mut Vec<TcpStream>) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((connection, _)) => {
                connection.set_nonblocking(true).context("set O_NONBLOCK")?;
                connections.push(connection);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error).context("accept"),
        }
    }
}

/// Send back what came; false when the connection is over.
fn echo(connection: &mut TcpStream) -> bool {
    let mut buffer = [0; 16 << 10];
    match connection.read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => connection.write_all(&buffer[..count]).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// A client that is gone makes the sending fail, or leaves an error for the next receiving: both are its own.
fn answer_datagram(socket: &UdpSocket) {
    let mut buffer = [0; 2 << 10];
    while let Ok((count, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..count], from);
    }
}
