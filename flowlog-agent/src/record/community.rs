//! Community ID version 1: the same short hash of a tuple that Zeek, Suricata and Wireshark write.
//! <https://github.com/corelight/community-id-spec>; seed 0, as everyone runs it.

use crate::model::Protocol;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::net::IpAddr;

/// The id of a connection, the same for both directions. Absent for ICMP, whose type and code flowlog does
/// not see, and where the two addresses are of different families.
pub(super) fn community_id(protocol: Protocol, a: (IpAddr, u16), b: (IpAddr, u16)) -> Option<String> {
    let number: u8 = match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
        Protocol::Icmp | Protocol::Icmpv6 => return None,
    };
    if a.0.is_ipv4() != b.0.is_ipv4() {
        return None;
    }
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    for ip in [low.0, high.0] {
        match ip {
            IpAddr::V4(ip) => hash.update(ip.octets()),
            IpAddr::V6(ip) => hash.update(ip.octets()),
        }
    }
    hash.update([number, 0]);
    hash.update(low.1.to_be_bytes());
    hash.update(high.1.to_be_bytes());
    let mut id = String::with_capacity(30);
    id.push_str("1:");
    STANDARD.encode_string(hash.finalize(), &mut id);
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(ip: &str, port: u16) -> (IpAddr, u16) {
        (ip.parse().unwrap(), port)
    }

    /// Vectors of the reference implementation (`pycommunityid`, baseline of the specification).
    #[test]
    fn ids_are_those_of_the_reference_implementation() {
        for (protocol, a, b, expected) in [
            (
                Protocol::Tcp,
                end("128.232.110.120", 34855),
                end("66.35.250.204", 80),
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (Protocol::Udp, end("192.168.1.52", 54585), end("8.8.8.8", 53), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (
                Protocol::Sctp,
                end("192.168.170.8", 7),
                end("192.168.170.56", 7),
                "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=",
            ),
        ] {
            assert_eq!(community_id(protocol, a, b).as_deref(), Some(expected));
            assert_eq!(community_id(protocol, b, a).as_deref(), Some(expected), "both directions are one");
        }
    }

    #[test]
    fn what_has_no_ports_or_mixes_families_has_no_id() {
        assert_eq!(community_id(Protocol::Icmp, end("10.0.0.1", 8), end("10.0.0.2", 0)), None);
        assert_eq!(community_id(Protocol::Tcp, end("10.0.0.1", 8), end("2001:db8::1", 80)), None);
    }
}
