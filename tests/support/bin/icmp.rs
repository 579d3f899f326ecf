//! Packets that are no TCP and no UDP: echoes by ICMP, and whatever a raw socket is told to send.

use crate::steps::{Attempt, Failure, await_event, deadline};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// By this number a raw socket knows its own answers; the kernel gives other sockets one of theirs.
const NUMBER: u16 = 0x464c;

/// Ask for echoes, one after the other, and wait for each.
pub(crate) fn ping(to: IpAddr, raw: bool, count: u16, timeout_ms: u64) -> Result<Attempt> {
    let protocol = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = if raw {
        open_raw(to, protocol.into())?
    } else {
        let socket = Socket::new(domain_of(to), Type::DGRAM, Some(protocol)).context("open a ping socket")?;
        socket.set_nonblocking(true).context("set O_NONBLOCK")?;
        socket
    };
    let descriptor = OwnedFd::from(socket.try_clone().context("copy a descriptor")?);
    for sequence in 0..count {
        let answered = send(&socket, to, &question(to, sequence))
            .and_then(|()| await_answer(&socket, &descriptor, to, raw, deadline(timeout_ms)));
        if answered.is_err() {
            return Ok(answered);
        }
    }
    Ok(Ok(()))
}

/// A raw socket of this protocol and of the address's family.
pub(crate) fn open_raw(to: IpAddr, protocol: i32) -> Result<Socket> {
    let socket = Socket::new(domain_of(to), Type::RAW, Some(Protocol::from(protocol)));
    let socket = socket.context("open a raw socket")?;
    socket.set_nonblocking(true).context("set O_NONBLOCK")?;
    Ok(socket)
}

/// Send what follows the IP header; nothing where that is nothing.
pub(crate) fn send(socket: &Socket, to: IpAddr, packet: &[u8]) -> Attempt {
    if packet.is_empty() {
        return Ok(());
    }
    socket.send_to(packet, &SocketAddr::new(to, 0).into()).map(drop).map_err(|error| failure(&error))
}

fn domain_of(to: IpAddr) -> Domain {
    if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }
}

/// Type and code of the question, its number, a sequence number, and a checksum, which the kernel makes over IPv6.
fn question(to: IpAddr, sequence: u16) -> Vec<u8> {
    let words = [if to.is_ipv4() { 0x0800 } else { 0x8000 }, 0, NUMBER, sequence];
    let sum: u32 = words.iter().map(|word| u32::from(*word)).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = u16::try_from(folded & 0xffff).unwrap_or(0);
    let [kind, _, number, sequence] = words;
    [kind, !checksum, number, sequence].iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A raw socket has copies of whatever comes by its protocol.
fn await_answer(socket: &Socket, descriptor: &OwnedFd, to: IpAddr, raw: bool, deadline: Instant) -> Attempt {
    loop {
        await_event(descriptor, PollFlags::POLLIN, deadline)?;
        let mut bytes = [0_u8; 256];
        let count = io::Read::read(&mut &*socket, &mut bytes).map_err(|error| failure(&error))?;
        // Over IPv4 it has the header of IP as well.
        let start = if raw && to.is_ipv4() { usize::from(bytes[0] & 0xf) * 4 } else { 0 };
        let message = bytes.get(start..count).unwrap_or_default();
        let answer = if to.is_ipv4() { 0 } else { 129 };
        let is_own = message.get(4..6) == Some(&NUMBER.to_be_bytes()) || !raw;
        if message.first() == Some(&answer) && is_own {
            return Ok(());
        }
    }
}

fn failure(error: &io::Error) -> Failure {
    Failure::Errno(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
}
