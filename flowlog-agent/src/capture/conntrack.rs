//! Where a connection to a service was led: asked of the node's own connection tracking, which translated its address.
//!
//! One GET of ctnetlink by the tuple as it was before translation (include/uapi/linux/netfilter/nfnetlink_conntrack.h); the
//! reply's source is the backend. The kernel answers within the call, in some 10 µs; so a second has only so many of them.

use crate::model::Protocol;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol as Number, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::{Socket, SocketAddr as Address, protocols::NETLINK_NETFILTER};
use nix::libc;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Look-ups a second at most: with each 10 µs, 1 % of a CPU.
const MOST_A_SECOND: u32 = 1_000;

/// Room for one entry as ctnetlink writes it: a few hundred bytes.
const REPLY_BYTES: usize = 4_096;

/// Messages that are read for one answer: an answer to an earlier question may still lie there.
const MOST_REPLIES: usize = 4;

/// What a look-up came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// The connection is known, and this is who answers it.
    Backend(SocketAddr),
    /// Nothing is known of it.
    Nothing,
    /// Too many look-ups within a second.
    Spared,
}

/// A socket to ask by.
pub struct Conntrack {
    socket: Socket,
    sequence: u32,
    request: Vec<u8>,
    reply: Vec<u8>,
    second: Instant,
    left: u32,
}

impl Conntrack {
    /// To be opened before system calls are confined. Asks once, so that a kernel without it says so now, or loads it.
    ///
    /// # Errors
    /// No connection tracking (`nf_conntrack_netlink`), or no CAP_NET_ADMIN.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&Address::new(0, 0))?;
        let mut conntrack = Self {
            socket,
            sequence: 0,
            request: Vec::new(),
            reply: Vec::with_capacity(REPLY_BYTES),
            second: Instant::now(),
            left: MOST_A_SECOND,
        };
        let nobody = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1);
        conntrack.ask(Protocol::Tcp, nobody, nobody)?;
        Ok(conntrack)
    }

    /// Where what `opener` sent to `dialed` was led.
    ///
    /// # Errors
    /// The kernel refuses to answer.
    pub fn find(
        &mut self,
        protocol: Protocol,
        opener: SocketAddr,
        dialed: SocketAddr,
    ) -> io::Result<Tracked> {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.second = Instant::now();
            self.left = MOST_A_SECOND;
        }
        let Some(left) = self.left.checked_sub(1) else { return Ok(Tracked::Spared) };
        self.left = left;
        self.ask(protocol, opener, dialed)
    }

    fn ask(&mut self, protocol: Protocol, opener: SocketAddr, dialed: SocketAddr) -> io::Result<Tracked> {
        let Some(message) = question(protocol, opener, dialed) else { return Ok(Tracked::Nothing) };
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        self.request.resize(message.buffer_len(), 0);
        message.serialize(&mut self.request);
        self.socket.send(&self.request, 0)?;
        for _ in 0..MOST_REPLIES {
            self.reply.clear();
            // The answer is there when the call has come back.
            self.socket.recv(&mut self.reply, libc::MSG_DONTWAIT)?;
            let reply =
                NetlinkMessage::<NetfilterMessage>::deserialize(&self.reply).map_err(io::Error::other)?;
            if reply.header.sequence_number == self.sequence {
                return answer(reply.payload);
            }
        }
        Err(io::Error::other("connection tracking answers other questions than were asked"))
    }
}

/// Absent for what has no ports, or two families.
fn question(protocol: Protocol, opener: SocketAddr, dialed: SocketAddr) -> Option<NetfilterMessage> {
    let number = match protocol {
        Protocol::Tcp => Number::Tcp,
        Protocol::Udp => Number::Udp,
        Protocol::Sctp => Number::Sctp,
        Protocol::Icmp | Protocol::Icmpv6 => return None,
    };
    let family = match (opener.ip(), dialed.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => NetfilterProtoFamily::IPv4,
        (IpAddr::V6(_), IpAddr::V6(_)) => NetfilterProtoFamily::IPv6,
        _ => return None,
    };
    let addresses = vec![IPTuple::SourceAddress(opener.ip()), IPTuple::DestinationAddress(dialed.ip())];
    let ports = vec![
        ProtoTuple::Protocol(number),
        ProtoTuple::SourcePort(opener.port()),
        ProtoTuple::DestinationPort(dialed.port()),
    ];
    let tuple = ConntrackAttribute::CtaTupleOrig(vec![Tuple::Ip(addresses), Tuple::Proto(ports)]);
    Some(NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), ConntrackMessage::Get(vec![tuple])))
}

fn answer(payload: NetlinkPayload<NetfilterMessage>) -> io::Result<Tracked> {
    match payload {
        NetlinkPayload::Error(error) => match error.to_io() {
            absent if absent.raw_os_error() == Some(libc::ENOENT) => Ok(Tracked::Nothing),
            error => Err(error),
        },
        NetlinkPayload::InnerMessage(NetfilterMessage {
            inner: NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)),
            ..
        }) => Ok(backend_of(&attributes).map_or(Tracked::Nothing, Tracked::Backend)),
        _ => Ok(Tracked::Nothing),
    }
}

/// Who answers: the source of the tuple in the other direction.
fn backend_of(attributes: &[ConntrackAttribute]) -> Option<SocketAddr> {
    let reply = attributes.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleReply(reply) => Some(reply),
        _ => None,
    })?;
    let mut ip = None;
    let mut port = None;
    for part in reply {
        match part {
            Tuple::Ip(parts) => {
                ip = parts.iter().find_map(|part| match part {
                    IPTuple::SourceAddress(ip) => Some(*ip),
                    _ => None,
                });
            }
            Tuple::Proto(parts) => {
                port = parts.iter().find_map(|part| match part {
                    ProtoTuple::SourcePort(port) => Some(*port),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(SocketAddr::new(ip?, port?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The entry of a connection from a pod to a service, as the kernel wrote it (`conntrack -L -o xml` beside it):
    /// the reply comes from the backend, to the pod.
    #[test]
    fn the_backend_is_who_replies() {
        let tuple = |source: SocketAddr, destination: SocketAddr| {
            vec![
                Tuple::Ip(vec![
                    IPTuple::SourceAddress(source.ip()),
                    IPTuple::DestinationAddress(destination.ip()),
                ]),
                Tuple::Proto(vec![
                    ProtoTuple::Protocol(Number::Tcp),
                    ProtoTuple::SourcePort(source.port()),
                    ProtoTuple::DestinationPort(destination.port()),
                ]),
            ]
        };
        let (pod, service, backend) = (at("10.0.0.1:40000"), at("10.96.0.10:80"), at("10.0.1.7:8080"));
        let attributes = vec![
            ConntrackAttribute::CtaTupleOrig(tuple(pod, service)),
            ConntrackAttribute::CtaTupleReply(tuple(backend, pod)),
            ConntrackAttribute::CtaMark(0),
        ];
        assert_eq!(backend_of(&attributes), Some(backend));
        assert_eq!(backend_of(&attributes[..1]), None);
    }

    #[test]
    fn what_has_no_tuple_is_not_asked_for() {
        let (v4, v6) = (at("10.0.0.1:1"), at("[2001:db8::1]:1"));
        assert!(question(Protocol::Icmp, v4, v4).is_none());
        assert!(question(Protocol::Tcp, v4, v6).is_none());
        assert!(question(Protocol::Udp, v6, v6).is_some());
    }
}
