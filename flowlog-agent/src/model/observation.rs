//! What one hook saw, decoded: the capture room's only product.

use super::{Protocol, Receipts};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;

/// The process in whose context a hook ran, where that is the process concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id (thread group) in the initial PID namespace.
    pub pid: u32,
    /// Command name, lossy UTF-8.
    pub comm: Arc<str>,
}

/// One event of the kernel half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Wall-clock time.
    pub time: Timestamp,
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub boot_ns: u64,
    /// Protocol of the socket or packet.
    pub protocol: Protocol,
    /// Cgroup of the socket's owner; absent where the packet had no socket.
    pub cgroup_id: Option<u64>,
    /// The socket's cookie; absent where there was no socket, or it never got one.
    pub cookie: Option<u64>,
    /// Near address: of the socket, or a dropped packet's source. Absent before a port is bound.
    pub local: Option<SocketAddr>,
    /// Far address: the socket's peer, or a dropped packet's destination.
    pub remote: Option<SocketAddr>,
    /// The attempt that it belongs to was not handed over: it is among the losses.
    pub untold: bool,
    /// What was seen.
    pub fact: Fact,
    /// The duty to tell of it.
    pub receipts: Receipts,
}

/// A DNS answer that a process took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub boot_ns: u64,
    /// Cgroup of the process.
    pub cgroup_id: u64,
    /// The message, from its header on.
    pub message: Vec<u8>,
    /// `message` is known to be all of it.
    pub whole: bool,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A socket that was connected, or connecting, before the hooks were there. Looked at at this time.
    Existing {
        /// Who holds it.
        task: Task,
        /// It is the opener's; else a listener accepted it.
        opened: bool,
        /// Its handshake is over.
        connected: bool,
    },
    /// A process called connect on a stream socket; `remote` is what it asked for.
    Attempt {
        /// The caller.
        task: Task,
    },
    /// The opener's handshake completed.
    Established {
        /// SYN retransmissions before that.
        syn_retries: u32,
    },
    /// The opener's socket closed before it was established.
    Failed {
        /// `sk_err`, else `sk_err_soft`; absent where both were 0.
        errno: Option<u16>,
        /// An error ended it, and the process had taken its number already.
        error_consumed: bool,
        /// SYN retransmissions.
        syn_retries: u32,
    },
    /// An established connection closed; told for the opener's and the listener's socket alike.
    Closed {
        /// Payload bytes sent, retransmissions not counted twice.
        bytes_sent: u64,
        /// Payload bytes received.
        bytes_received: u64,
        /// Segments retransmitted in its life.
        retransmits: u32,
        /// Smoothed round trip, microseconds; absent where never measured.
        srtt_us: Option<u32>,
    },
    /// A listener's handshake completed: `local` is the listener, `remote` the opener.
    Inbound,
    /// The first retransmission of a SYN.
    SynRetransmitted,
    /// The kernel dropped a packet that opens a connection, or a datagram; `local` is its source.
    Dropped {
        /// Name of the reason without its prefix.
        reason: Arc<str>,
        /// The reason says that the far end had no socket for the packet.
        no_socket: bool,
    },
    /// An error was reported to a socket that is connecting, or to a datagram socket; or came by a packet, without a cookie.
    Error {
        /// The error; absent where its number could not be read.
        errno: Option<u16>,
    },
    /// A connected datagram socket sent its first datagram to this peer.
    Sent {
        /// The sender.
        task: Task,
        /// What the send call failed with (EPERM: a filter in the pod's own network namespace).
        errno: Option<u16>,
    },
    /// A process sent a datagram to a peer that it named in the call, for the first time in a while. Of `local` only the
    /// port is known.
    SentTo {
        /// The sender; absent where only its packet was seen, and not by whom it was sent.
        task: Option<Task>,
    },
    /// A process took a datagram from a peer to which it has not sent, for the first time in a while; `local` as above.
    Received {
        /// The receiver.
        task: Task,
        /// That it had come was told before.
        arrived: bool,
    },
    /// A datagram came to a socket from a peer to which it has not sent, for the first time in a while; or a question by
    /// ICMP to a stack that answers it, without a cgroup then.
    Arrived,
    /// A process took the first datagram from a peer to which it has sent; without a cookie, `local` is as above.
    Answered,
}
