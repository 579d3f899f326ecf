//! The words between the harness and the traffic program: one JSON line a step, one an answer.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How long a step tries unless it says otherwise.
pub const DEFAULT_TIMEOUT_MS: u64 = 2_000;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Open a TCP connection, optionally exchange bytes, close it.
    Connect {
        /// Where to; an IPv4-mapped IPv6 address is dialed as such.
        to: SocketAddr,
        /// Give up after this.
        #[serde(default = "default_timeout")]
        timeout_ms: u64,
        /// Keep it open this long before closing.
        #[serde(default)]
        hold_ms: u64,
        /// Send that many bytes once connected.
        #[serde(default)]
        send: usize,
        /// Then wait for that many bytes.
        #[serde(default)]
        receive: usize,
        /// Keep it open until `release`.
        #[serde(default)]
        keep: bool,
        /// Close with RST.
        #[serde(default)]
        abort: bool,
    },
    /// Open a TCP connection by other means than a plain `connect`, send a byte, wait until it comes back, close.
    Special {
        /// Where to.
        to: SocketAddr,
        /// By which.
        by: Special,
    },
    /// Connect a UDP socket, send one datagram, wait for an answer.
    UdpConnected {
        /// Where to.
        to: SocketAddr,
        /// Wait for an answer this long.
        #[serde(default = "default_timeout")]
        timeout_ms: u64,
        /// Datagrams to send, one after the other.
        #[serde(default = "one")]
        count: usize,
    },
    /// Send one datagram from an unconnected UDP socket, wait for an answer and ask from whom it came.
    UdpSendto {
        /// Where to.
        to: SocketAddr,
        /// Wait for an answer this long.
        #[serde(default = "default_timeout")]
        timeout_ms: u64,
    },
    /// The same, and take the answer without asking from whom it came.
    UdpBlind {
        /// Where to.
        to: SocketAddr,
    },
    /// Ask for an echo by ICMP, wait for it.
    Ping {
        /// Where to.
        to: IpAddr,
        /// By a raw socket, not one that is made for this.
        #[serde(default)]
        raw: bool,
        /// How often.
        #[serde(default = "one")]
        count: u16,
        /// Wait for each answer this long.
        #[serde(default = "default_timeout")]
        timeout_ms: u64,
    },
    /// Open a raw socket, which is kept until `release`, and send this packet by it, if any; wait for nothing.
    Raw {
        /// Where to.
        to: IpAddr,
        /// Protocol number.
        protocol: u8,
        /// What follows the IP header.
        packet: Vec<u8>,
    },
    /// Listen by SCTP until `release`; the kernel takes whatever associations come.
    SctpListen {
        /// Where.
        at: SocketAddr,
    },
    /// Open an association by SCTP, then close it. Its kernel has to speak it.
    SctpConnect {
        /// Where to.
        to: SocketAddr,
    },
    /// Send datagrams from one unconnected UDP socket, to so many ports in turn; wait for nothing.
    UdpMany {
        /// Where to; the first port.
        to: SocketAddr,
        /// Datagrams in all.
        count: u64,
        /// How many ports, from that one on.
        #[serde(default = "one")]
        ports: u16,
    },
    /// Connect a UDP socket and send nothing, as a resolver does to learn its source address.
    UdpProbe {
        /// Where to.
        to: SocketAddr,
    },
    /// Connect a UDP socket, send nothing, and keep it until `release`.
    UdpKeep {
        /// Where to.
        to: SocketAddr,
    },
    /// Send a byte by everything that is kept.
    Speak,
    /// `getaddrinfo` of the C library, with /etc/hosts replaced (in a mount namespace of this process) by
    /// these addresses. glibc connects a UDP socket to each to sort them.
    Resolve {
        /// Name to ask for.
        host: String,
        /// Port of the service.
        port: u16,
        /// What the name stands for.
        addresses: Vec<IpAddr>,
    },
    /// `getaddrinfo` of the C library, for port 443, with /etc/resolv.conf replaced likewise by this name server.
    LookUp {
        /// Name to ask for.
        host: String,
        /// The name server; it is asked at port 53.
        server: IpAddr,
    },
    /// Ask a name server for the addresses that a name has of the server's own family, without a library.
    Ask {
        /// The name server.
        server: SocketAddr,
        /// Name to ask for.
        host: String,
        /// From a connected socket.
        connected: bool,
        /// How the answer is taken.
        by: Taking,
    },
    /// Send a DNS answer that nobody asked for.
    Forge {
        /// Where from.
        from: SocketAddr,
        /// Where to.
        to: SocketAddr,
        /// The name that it speaks of.
        host: String,
        /// The address that the name is said to have.
        address: IpAddr,
    },
    /// Many TCP connections as fast as the machine can, closed by RST so that ports do not run out.
    Burst {
        /// Where to.
        to: SocketAddr,
        /// How many in all.
        count: u64,
        /// By how many threads.
        #[serde(default = "one")]
        threads: usize,
        /// Give up on one after this.
        #[serde(default = "default_timeout")]
        timeout_ms: u64,
    },
    /// Many TCP connections of the process to itself, one after the other, closed by RST: nobody else has to run for them.
    BurstToSelf {
        /// Where to listen and connect to.
        to: SocketAddr,
        /// How many in all.
        count: u64,
    },
    /// Many connected UDP sockets, one after the other on each thread: each sends a datagram and waits for the answer, or
    /// sends nothing.
    UdpBurst {
        /// Where to.
        to: SocketAddr,
        /// How many in all.
        count: u64,
        /// By how many threads.
        #[serde(default = "one")]
        threads: usize,
        /// Send at all.
        send: bool,
        /// Wait for an answer this long.
        #[serde(default = "default_timeout")]
        timeout_ms: u64,
    },
    /// Close what `keep` kept.
    Release,
}

/// A system call that takes a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the calls")]
pub enum Taking {
    Read,
    Readv,
    Recvfrom,
    Recvmsg,
    Recvmmsg,
}

/// Ways to open a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Special {
    /// A Multipath TCP socket.
    Mptcp,
    /// `sendto` with MSG_FASTOPEN: nobody calls connect.
    FastOpen,
    /// TCP_FASTOPEN_CONNECT: connect only prepares, the SYN leaves with the first bytes.
    FastOpenConnect,
    /// IORING_OP_CONNECT.
    IoUring,
    /// The same, by a worker thread of the kernel's (IOSQE_ASYNC).
    IoUringWorker,
}

fn default_timeout() -> u64 {
    DEFAULT_TIMEOUT_MS
}

fn one<T: From<u8>>() -> T {
    T::from(1)
}

impl Step {
    /// A TCP connection with the defaults.
    pub fn connect(to: SocketAddr) -> Self {
        Self::Connect {
            to,
            timeout_ms: DEFAULT_TIMEOUT_MS,
            hold_ms: 0,
            send: 0,
            receive: 0,
            keep: false,
            abort: false,
        }
    }

    /// One datagram from a connected UDP socket.
    pub fn udp(to: SocketAddr) -> Self {
        Self::UdpConnected { to, timeout_ms: DEFAULT_TIMEOUT_MS, count: 1 }
    }

    /// The same step, giving up after another time; no change to one that does not wait.
    pub fn within(mut self, limit: Duration) -> Self {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        match &mut self {
            Self::Connect { timeout_ms, .. }
            | Self::UdpConnected { timeout_ms, .. }
            | Self::UdpSendto { timeout_ms, .. }
            | Self::Burst { timeout_ms, .. }
            | Self::UdpBurst { timeout_ms, .. } => *timeout_ms = limit_ms,
            Self::Ping { timeout_ms, .. } => *timeout_ms = limit_ms,
            Self::Special { .. }
            | Self::BurstToSelf { .. }
            | Self::UdpBlind { .. }
            | Self::Raw { .. }
            | Self::SctpListen { .. }
            | Self::SctpConnect { .. }
            | Self::UdpMany { .. }
            | Self::UdpProbe { .. }
            | Self::UdpKeep { .. }
            | Self::Speak
            | Self::Resolve { .. }
            | Self::LookUp { .. }
            | Self::Ask { .. }
            | Self::Forge { .. }
            | Self::Release => {}
        }
        self
    }

    /// Where it goes, where that has a port; a resolution goes nowhere.
    pub fn target(&self) -> Option<SocketAddr> {
        match self {
            Self::Connect { to, .. }
            | Self::Special { to, .. }
            | Self::UdpConnected { to, .. }
            | Self::UdpSendto { to, .. }
            | Self::UdpMany { to, .. }
            | Self::UdpBlind { to }
            | Self::SctpConnect { to }
            | Self::UdpProbe { to }
            | Self::UdpKeep { to }
            | Self::Forge { to, .. }
            | Self::Ask { server: to, .. }
            | Self::Burst { to, .. }
            | Self::BurstToSelf { to, .. }
            | Self::UdpBurst { to, .. } => Some(*to),
            Self::Ping { .. }
            | Self::Raw { .. }
            | Self::SctpListen { .. }
            | Self::Speak
            | Self::Resolve { .. }
            | Self::LookUp { .. }
            | Self::Release => None,
        }
    }

    /// Long enough for it to have answered, or it never will.
    pub fn patience(&self) -> Duration {
        let own_ms = match self {
            Self::Connect { timeout_ms, hold_ms, .. } => {
                timeout_ms.saturating_mul(3).saturating_add(*hold_ms)
            }
            Self::UdpConnected { timeout_ms, .. } | Self::UdpSendto { timeout_ms, .. } => *timeout_ms,
            Self::Burst { .. } | Self::BurstToSelf { .. } | Self::UdpBurst { .. } | Self::UdpMany { .. } => {
                120_000
            }
            Self::LookUp { .. } | Self::Ask { .. } => 10_000,
            Self::UdpProbe { .. } | Self::UdpKeep { .. } | Self::Forge { .. } => 0,
            Self::Ping { timeout_ms, count, .. } => timeout_ms.saturating_mul((*count).into()),
            Self::Special { .. } | Self::SctpConnect { .. } | Self::UdpBlind { .. } => DEFAULT_TIMEOUT_MS,
            Self::Speak
            | Self::Raw { .. }
            | Self::SctpListen { .. }
            | Self::Resolve { .. }
            | Self::Release => 0,
        };
        Duration::from_millis(own_ms).saturating_add(Duration::from_secs(10))
    }
}

/// What a step came to, as the process saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// TCP: connected, and the bytes asked for were exchanged.
    Established,
    /// UDP: an answer came.
    Answered,
    /// The kernel gave an error.
    Error,
    /// Nothing came until the time was up.
    Timeout,
    /// Done; nothing more can be said of it.
    Done,
}

/// The answer to a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What it came to.
    pub outcome: Outcome,
    /// Name of the error (`ECONNREFUSED`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// Near address of the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<SocketAddr>,
    /// How long it took.
    pub elapsed_us: u64,
    /// What a name stands for, as the C library sorted it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Of a burst: how many ended how (`established`, `answered`, `connected`, an error's name, `timeout`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

/// Where a server listens, and in which file it tells so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// TCP addresses; `[::]:80` takes both families.
    #[serde(default)]
    pub tcp: Vec<SocketAddr>,
    /// The TCP sockets speak Multipath TCP, too.
    #[serde(default)]
    pub mptcp: bool,
    /// UDP addresses; datagrams are sent back.
    #[serde(default)]
    pub udp: Vec<SocketAddr>,
    /// UDP addresses; datagrams are taken without asking from whom they came.
    #[serde(default)]
    pub udp_blind: Vec<SocketAddr>,
    /// UDP addresses; datagrams are never taken.
    #[serde(default)]
    pub udp_deaf: Vec<SocketAddr>,
}

impl Listen {
    /// One TCP address.
    pub fn tcp(address: SocketAddr) -> Self {
        Self { tcp: vec![address], ..Self::default() }
    }

    /// One UDP address.
    pub fn udp(address: SocketAddr) -> Self {
        Self { udp: vec![address], ..Self::default() }
    }
}

/// Where a traffic process is to be, and under which name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    /// Cgroup to enter.
    pub cgroup: Option<PathBuf>,
    /// Network namespace to enter.
    pub netns: Option<PathBuf>,
    /// Command name to take.
    pub comm: Option<String>,
    /// CPU to stay on.
    pub cpu: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_with_its_defaults() {
        let step: Step = serde_json::from_str(r#"{"do":"connect","to":"[::1]:80"}"#).unwrap();
        assert_eq!(step, Step::connect("[::1]:80".parse().unwrap()));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<Step>(r#"{"do":"udp_probe","to":"1.2.3.4:5","timeout":1}"#).is_err());
    }

    #[test]
    fn an_answer_survives_the_way() {
        let answer = Answer {
            outcome: Outcome::Error,
            errno: Some("ECONNREFUSED".into()),
            local: None,
            elapsed_us: 3,
            addresses: Vec::new(),
            counts: BTreeMap::from([("timeout".to_owned(), 2)]),
        };
        let line = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
    }
}
