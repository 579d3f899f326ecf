//! Doing single steps: sockets opened by hand, so that every error is seen as the kernel gave it.

use crate::bench::Connect;
use crate::{burst, dns, icmp, uring};
use anyhow::{Context, Result, bail};
use dns_lookup::{AddrInfoHints, getaddrinfo};
use flowlog_tests::traffic::step::DEFAULT_TIMEOUT_MS;
use flowlog_tests::traffic::{Answer, Outcome, Special, Step};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, getsockopt, recv, recvfrom, send,
    sendto, setsockopt, socket, sockopt,
};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io::{BufRead, Write, stdin, stdout};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How an attempt ended, before it is told.
pub(crate) type Attempt = Result<(), Failure>;

/// Why an attempt came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The kernel gave an error.
    Errno(Errno),
    /// Nothing came in time.
    Timeout,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Do steps from stdin until it ends.
pub(crate) fn script() -> Result<()> {
    let mut hands = Hands::default();
    let mut out = stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in stdin().lock().lines() {
        let line = line.context("read stdin")?;
        let said = serde_json::from_str::<Step>(&line)
            .with_context(|| format!("read the step `{line}`"))
            .and_then(|step| hands.act(&step))
            .and_then(|answer| serde_json::to_string(&answer).context("write an answer"))
            .unwrap_or_else(|error| json!({ "fault": format!("{error:#}") }).to_string());
        writeln!(out, "{said}")?;
        out.flush()?;
    }
    Ok(())
}

/// What stays between steps: sockets that are kept open.
#[derive(Default)]
pub(crate) struct Hands {
    kept: Vec<OwnedFd>,
    own_mounts: bool,
}

impl Hands {
    /// Do one step.
    pub(crate) fn act(&mut self, step: &Step) -> Result<Answer> {
        let began = Instant::now();
        let mut answer = match step {
            Step::Connect { .. } => self.connect(step)?,
            Step::Special { to, by } => special(*to, *by)?,
            Step::UdpConnected { to, timeout_ms, count } => udp_connected(*to, *timeout_ms, *count)?,
            Step::UdpSendto { to, timeout_ms } => udp_sendto(*to, *timeout_ms)?,
            Step::UdpBlind { to } => udp_blind(*to)?,
            Step::Ping { to, raw, count, timeout_ms } => {
                told(icmp::ping(*to, *raw, *count, *timeout_ms)?, Outcome::Answered, None)
            }
            Step::Raw { to, protocol, packet } => {
                let socket = icmp::open_raw(*to, (*protocol).into())?;
                let attempt = icmp::send(&socket, *to, packet);
                self.kept.push(socket.into());
                told(attempt, Outcome::Done, None)
            }
            Step::SctpListen { at } => {
                let socket = open_sctp(*at)?;
                let listening = socket.bind(&(*at).into()).and_then(|()| socket.listen(8));
                listening.with_context(|| format!("listen at {at} by SCTP"))?;
                self.kept.push(socket.into());
                told(Ok(()), Outcome::Done, None)
            }
            Step::SctpConnect { to } => {
                let socket = open_sctp(*to)?;
                socket.set_nonblocking(true).context("set O_NONBLOCK")?;
                told(begin(&socket.into(), *to, deadline(DEFAULT_TIMEOUT_MS)), Outcome::Established, None)
            }
            Step::UdpMany { to, count, ports } => udp_many(*to, *count, *ports)?,
            Step::UdpProbe { to } => udp_probe(*to)?,
            Step::UdpKeep { to } => {
                let socket = open(*to, SockType::Datagram)?;
                let attempt = begin(&socket, *to, deadline(0));
                self.kept.push(socket);
                told(attempt, Outcome::Done, None)
            }
            Step::Speak => {
                let attempt = self.kept.iter().try_for_each(|socket| send_all(socket, 1, deadline(2_000)));
                told(attempt, Outcome::Done, None)
            }
            Step::Resolve { host, port, addresses } => self.resolve(host, *port, addresses)?,
            Step::LookUp { host, server } => self.look_up(host, *server)?,
            Step::Ask { server, host, connected, by } => {
                told(dns::ask(*server, host, *connected, *by)?, Outcome::Answered, None)
            }
            Step::Forge { from, to, host, address } => {
                dns::forge(*from, *to, host, *address)?;
                told(Ok(()), Outcome::Done, None)
            }
            Step::Burst { to, count, threads, timeout_ms } => {
                let counts = burst::burst(*count, *threads, || burst::connect(*to, *timeout_ms))?;
                Answer { counts, ..told(Ok(()), Outcome::Done, None) }
            }
            Step::BurstToSelf { to, count } => {
                let own = Connect::prepare(*to)?;
                let once = || own.once().map(|()| "established".to_owned());
                Answer { counts: burst::burst(*count, 1, once)?, ..told(Ok(()), Outcome::Done, None) }
            }
            Step::UdpBurst { to, count, threads, send, timeout_ms } => {
                let counts = burst::burst(*count, *threads, || burst::exchange(*to, *send, *timeout_ms))?;
                Answer { counts, ..told(Ok(()), Outcome::Done, None) }
            }
            Step::Release => {
                self.kept.clear();
                told(Ok(()), Outcome::Done, None)
            }
        };
        answer.elapsed_us = u64::try_from(began.elapsed().as_micros()).context("elapsed time")?;
        Ok(answer)
    }

    fn connect(&mut self, step: &Step) -> Result<Answer> {
        let Step::Connect { to, timeout_ms, hold_ms, send, receive, keep, abort } = step else {
            bail!("not a TCP step");
        };
        let deadline = deadline(*timeout_ms);
        let socket = open(*to, SockType::Stream)?;
        let attempt = begin(&socket, *to, deadline)
            .and_then(|()| send_all(&socket, *send, deadline))
            .and_then(|()| receive_all(&socket, *receive, deadline));
        if attempt.is_ok() && *hold_ms > 0 {
            hold(&socket, Duration::from_millis(*hold_ms))?;
        }
        if *abort {
            abort_on_close(&socket)?;
        }
        let stream = TcpStream::from(socket);
        let answer = told(attempt, Outcome::Established, stream.local_addr().ok());
        if *keep && attempt.is_ok() {
            self.kept.push(stream.into());
        }
        Ok(answer)
    }

    fn resolve(&mut self, host: &str, port: u16, addresses: &[IpAddr]) -> Result<Answer> {
        let lines: String = addresses.iter().map(|address| format!("{address} {host}\n")).collect();
        self.replace("/etc/hosts", &lines)?;
        Self::find_addresses(host, port)
    }

    fn look_up(&mut self, host: &str, server: IpAddr) -> Result<Answer> {
        self.replace("/etc/resolv.conf", &format!("nameserver {server}\n"))?;
        Self::find_addresses(host, 443)
    }

    fn find_addresses(host: &str, port: u16) -> Result<Answer> {
        // The standard library asks without a service; with one, the probes go to its port.
        let hints =
            AddrInfoHints { socktype: dns_lookup::SockType::Stream.into(), ..AddrInfoHints::default() };
        let found =
            getaddrinfo(Some(host), Some(&port.to_string()), Some(hints)).map_err(std::io::Error::from);
        let found = found.with_context(|| format!("resolve {host}"))?;
        let sorted = found
            .map(|info| info.map(|info| info.sockaddr.ip()))
            .collect::<Result<_, _>>()
            .with_context(|| format!("resolve {host}"))?;
        Ok(Answer { addresses: sorted, ..told(Ok(()), Outcome::Done, None) })
    }

    /// In a mount namespace of our own, so that nobody else sees it.
    fn replace(&mut self, path: &str, text: &str) -> Result<()> {
        const NONE: Option<&str> = None;
        if !self.own_mounts {
            unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
            mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
                .context("make mounts private")?;
            self.own_mounts = true;
        }
        let mut file = tempfile::NamedTempFile::new().with_context(|| format!("make a file for {path}"))?;
        file.write_all(text.as_bytes()).with_context(|| format!("write a file for {path}"))?;
        // The mount keeps the file's inode; its name goes at the end of this function.
        mount(Some(file.path()), path, NONE, MsFlags::MS_BIND, NONE)
            .with_context(|| format!("mount over {path}"))
    }
}

/// A non-blocking socket of the address's family.
pub(crate) fn open(to: SocketAddr, kind: SockType) -> Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None).context("open a socket")
}

/// Connect, and wait until it came to something.
pub(crate) fn begin(socket: &OwnedFd, to: SocketAddr, deadline: Instant) -> Attempt {
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Err(Errno::EINPROGRESS) => {}
        other => return other.map_err(Failure::Errno),
    }
    await_event(socket, PollFlags::POLLOUT, deadline)?;
    match getsockopt(socket, sockopt::SocketError)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno).into()),
    }
}

/// Close by RST: no TIME_WAIT, so that ports do not run out.
pub(crate) fn abort_on_close(socket: &impl AsFd) -> Result<()> {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(socket, sockopt::Linger, &linger).context("set SO_LINGER")
}

fn open_sctp(address: SocketAddr) -> Result<Socket> {
    let protocol = Protocol::from(nix::libc::IPPROTO_SCTP);
    Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol)).context("open an SCTP socket")
}

fn special(to: SocketAddr, by: Special) -> Result<Answer> {
    let deadline = deadline(DEFAULT_TIMEOUT_MS);
    let socket: OwnedFd = match by {
        Special::Mptcp => Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::MPTCP))
            .context("open an MPTCP socket")?
            .into(),
        Special::FastOpen | Special::FastOpenConnect => open(to, SockType::Stream)?,
        // Waits in the kernel, not here.
        Special::IoUring | Special::IoUringWorker => {
            Socket::new(Domain::for_address(to), Type::STREAM, None).context("open a socket")?.into()
        }
    };
    let attempt = match by {
        Special::Mptcp => begin(&socket, to, deadline).and_then(|()| send_all(&socket, 1, deadline)),
        Special::FastOpenConnect => {
            setsockopt(&socket, sockopt::TcpFastOpenConnect, &true).context("set TCP_FASTOPEN_CONNECT")?;
            begin(&socket, to, deadline).and_then(|()| send_all(&socket, 1, deadline))
        }
        Special::IoUring | Special::IoUringWorker => {
            let by_worker = by == Special::IoUringWorker;
            uring::connect(&socket, to, by_worker)?.and_then(|()| send_all(&socket, 1, deadline))
        }
        Special::FastOpen => {
            let flags = MsgFlags::from_bits_retain(nix::libc::MSG_FASTOPEN);
            match sendto(socket.as_raw_fd(), b"x", &SockaddrStorage::from(to), flags) {
                // Without the server's cookie the SYN goes alone, and the bytes are to be sent again.
                Err(Errno::EINPROGRESS) => send_all(&socket, 1, deadline),
                other => other.map(|_| ()).map_err(Failure::Errno),
            }
        }
    };
    let attempt = attempt.and_then(|()| receive_all(&socket, 1, deadline));
    Ok(told(attempt, Outcome::Established, TcpStream::from(socket).local_addr().ok()))
}

fn udp_connected(to: SocketAddr, timeout_ms: u64, count: usize) -> Result<Answer> {
    let deadline = deadline(timeout_ms);
    let socket = open(to, SockType::Datagram)?;
    let attempt = begin(&socket, to, deadline).and_then(|()| {
        (0..count)
            .try_for_each(|_| send_all(&socket, 1, deadline))
            .and_then(|()| receive_all(&socket, 1, deadline))
    });
    Ok(told(attempt, Outcome::Answered, UdpSocket::from(socket).local_addr().ok()))
}

fn udp_sendto(to: SocketAddr, timeout_ms: u64) -> Result<Answer> {
    let socket = open(to, SockType::Datagram)?;
    let sent = sendto(socket.as_raw_fd(), b"flowlog", &SockaddrStorage::from(to), MsgFlags::empty());
    let deadline = deadline(timeout_ms);
    let attempt = sent
        .map_err(Failure::Errno)
        .and_then(|_| await_event(&socket, PollFlags::POLLIN, deadline))
        .and_then(|()| Ok(recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut [0; 64]).map(|_| ())?));
    Ok(told(attempt, Outcome::Answered, UdpSocket::from(socket).local_addr().ok()))
}

fn udp_blind(to: SocketAddr) -> Result<Answer> {
    let socket = open(to, SockType::Datagram)?;
    let sent = sendto(socket.as_raw_fd(), b"flowlog", &SockaddrStorage::from(to), MsgFlags::empty());
    let deadline = deadline(DEFAULT_TIMEOUT_MS);
    let attempt = sent.map_err(Failure::Errno).and_then(|_| receive_all(&socket, 1, deadline));
    Ok(told(attempt, Outcome::Answered, UdpSocket::from(socket).local_addr().ok()))
}

fn udp_many(to: SocketAddr, count: u64, ports: u16) -> Result<Answer> {
    let socket = open(to, SockType::Datagram)?;
    let mut port = 0;
    let mut sent = 0;
    while sent < count {
        let target = SocketAddr::new(to.ip(), to.port() + port);
        match sendto(socket.as_raw_fd(), b"flowlog", &SockaddrStorage::from(target), MsgFlags::empty()) {
            Ok(_) => (sent, port) = (sent + 1, (port + 1) % ports),
            Err(Errno::EAGAIN) => {
                let _ = await_event(&socket, PollFlags::POLLOUT, deadline(1_000));
            }
            Err(errno) => return Ok(told(Err(errno.into()), Outcome::Done, None)),
        }
    }
    Ok(told(Ok(()), Outcome::Done, UdpSocket::from(socket).local_addr().ok()))
}

fn udp_probe(to: SocketAddr) -> Result<Answer> {
    let socket = open(to, SockType::Datagram)?;
    let attempt = begin(&socket, to, deadline(0));
    Ok(told(attempt, Outcome::Done, UdpSocket::from(socket).local_addr().ok()))
}

pub(crate) fn send_all(socket: &OwnedFd, bytes: usize, deadline: Instant) -> Attempt {
    let block = vec![b'x'; bytes.min(64 << 10)];
    let mut left = bytes;
    while left > 0 {
        await_event(socket, PollFlags::POLLOUT, deadline)?;
        left -= send(socket.as_raw_fd(), &block[..left.min(block.len())], MsgFlags::MSG_NOSIGNAL)?;
    }
    Ok(())
}

/// The far end closing early is told as ECONNRESET: the bytes did not come.
pub(crate) fn receive_all(socket: &OwnedFd, bytes: usize, deadline: Instant) -> Attempt {
    let mut buffer = vec![0; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        await_event(socket, PollFlags::POLLIN, deadline)?;
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())? {
            0 => return Err(Errno::ECONNRESET.into()),
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

/// Keep it open for a while, or until the far end resets it.
fn hold(socket: &OwnedFd, length: Duration) -> Result<()> {
    match await_event(socket, PollFlags::empty(), Instant::now() + length) {
        Ok(()) | Err(Failure::Timeout) => Ok(()),
        Err(Failure::Errno(errno)) => Err(errno).context("hold the connection"),
    }
}

pub(crate) fn await_event(socket: &OwnedFd, event: PollFlags, deadline: Instant) -> Attempt {
    let left = deadline.saturating_duration_since(Instant::now());
    // Round up: a wait of 0.4 ms must not become a look without a wait.
    let timeout = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(socket.as_fd(), event)], timeout)? {
        0 => Err(Failure::Timeout),
        _ => Ok(()),
    }
}

pub(crate) fn deadline(timeout_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(timeout_ms)
}

/// Name of an error as a person knows it (`ECONNREFUSED`).
pub(crate) fn name_of(errno: Errno) -> String {
    format!("{errno:?}")
}

fn told(attempt: Attempt, success: Outcome, local: Option<SocketAddr>) -> Answer {
    let (outcome, errno) = match attempt {
        Ok(()) => (success, None),
        Err(Failure::Timeout) => (Outcome::Timeout, None),
        Err(Failure::Errno(errno)) => (Outcome::Error, Some(name_of(errno))),
    };
    Answer { outcome, errno, local, elapsed_us: 0, addresses: Vec::new(), counts: BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn act(step: &Step) -> Answer {
        Hands::default().act(step).unwrap()
    }

    #[test]
    fn a_listener_is_reached() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let answer = act(&Step::connect(listener.local_addr().unwrap()));
        assert_eq!((answer.outcome, answer.errno), (Outcome::Established, None));
        assert!(answer.local.is_some_and(|local| local.port() != 0));
    }

    #[test]
    fn a_closed_port_is_refused() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = socket.local_addr().unwrap();
        let tcp = act(&Step::connect(to));
        assert_eq!((tcp.outcome, tcp.errno.as_deref()), (Outcome::Error, Some("ECONNREFUSED")));
        drop(socket);
        let udp = act(&Step::udp(to));
        assert_eq!((udp.outcome, udp.errno.as_deref()), (Outcome::Error, Some("ECONNREFUSED")));
    }

    #[test]
    fn a_datagram_without_answer_times_out() {
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let step = Step::udp(silent.local_addr().unwrap()).within(Duration::from_millis(5));
        assert_eq!(act(&step).outcome, Outcome::Timeout);
        let probe = Step::UdpProbe { to: silent.local_addr().unwrap() };
        assert_eq!(act(&probe).outcome, Outcome::Done);
        silent.set_nonblocking(true).unwrap();
        let mut buffer = [0; 8];
        silent.recv(&mut buffer).unwrap();
        assert!(silent.recv(&mut buffer).is_err(), "the probe sent something");
    }

    #[test]
    fn a_kept_connection_stays_until_released() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut hands = Hands::default();
        let to = listener.local_addr().unwrap();
        let step: Step = serde_json::from_value(json!({"do": "connect", "to": to, "keep": true})).unwrap();
        hands.act(&step).unwrap();
        assert_eq!(hands.kept.len(), 1);
        hands.act(&Step::Release).unwrap();
        assert!(hands.kept.is_empty());
    }
}
