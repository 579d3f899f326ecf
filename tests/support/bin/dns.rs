//! A name server, and what asks one by hand: each of the system calls that take a datagram.

use crate::steps::{Attempt, await_event, begin, deadline, open};
use anyhow::{Context, Result};
use flowlog_tests::dns::{self, Record};
use flowlog_tests::traffic::step::Taking;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockType, SockaddrStorage, recvfrom, recvmmsg, recvmsg, send, sendto,
};
use nix::sys::uio::readv;
use nix::unistd::read;
use std::io::{IoSliceMut, Write, stdout};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

/// Larger than what is copied of an answer.
const BUFFER_BYTES: usize = 2 << 10;

/// Say `ready`, and answer until killed.
pub(crate) fn serve(at: SocketAddr, records: &[Record], ttl_s: u32) -> Result<()> {
    let socket = UdpSocket::bind(at).with_context(|| format!("bind udp {at}"))?;
    println!("ready");
    stdout().flush().context("write stdout")?;
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        // An error is one that an earlier answer met.
        let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
        if let Ok(answer) = dns::answer(&buffer[..count], records, ttl_s) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// Ask for the addresses of a name, and take the answer by one system call.
pub(crate) fn ask(server: SocketAddr, host: &str, connected: bool, by: Taking) -> Result<Attempt> {
    let socket = open(server, SockType::Datagram)?;
    let query = dns::query(1, host, server.is_ipv6());
    let deadline = deadline(2_000);
    let sent = if connected {
        begin(&socket, server, deadline)
            .and_then(|()| Ok(send(socket.as_raw_fd(), &query, MsgFlags::empty())?))
    } else {
        let to = SockaddrStorage::from(server);
        sendto(socket.as_raw_fd(), &query, &to, MsgFlags::empty()).map_err(Into::into)
    };
    let waited = sent.and_then(|_| await_event(&socket, PollFlags::POLLIN, deadline));
    Ok(waited.and_then(|()| Ok(take(&socket, by)?)))
}

fn take(socket: &OwnedFd, by: Taking) -> Result<(), Errno> {
    let mut buffer = [0; BUFFER_BYTES];
    let fd = socket.as_raw_fd();
    match by {
        Taking::Read => read(socket, &mut buffer).map(drop),
        Taking::Readv => readv(socket, &mut [IoSliceMut::new(&mut buffer)]).map(drop),
        Taking::Recvfrom => recvfrom::<SockaddrStorage>(fd, &mut buffer).map(drop),
        Taking::Recvmsg => {
            let mut pieces = [IoSliceMut::new(&mut buffer)];
            recvmsg::<SockaddrStorage>(fd, &mut pieces, None, MsgFlags::empty()).map(drop)
        }
        Taking::Recvmmsg => {
            let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(1, None);
            let mut pieces = [[IoSliceMut::new(&mut buffer)]];
            recvmmsg(fd, &mut headers, pieces.iter_mut(), MsgFlags::empty(), None).map(drop)
        }
    }
}

/// Send an answer that nobody asked for.
pub(crate) fn forge(from: SocketAddr, to: SocketAddr, host: &str, address: std::net::IpAddr) -> Result<()> {
    let socket = UdpSocket::bind(from).with_context(|| format!("bind udp {from}"))?;
    socket.send_to(&dns::forged(1, host, address)?, to).with_context(|| format!("send to {to}"))?;
    Ok(())
}
