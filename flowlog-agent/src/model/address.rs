//! One spelling for every address and block.

use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;

/// Prefix length of `::ffff:0:0/96`, the IPv4-mapped part of IPv6.
const MAPPED_PREFIX: u8 = 96;

/// An IPv4-mapped IPv6 address is its IPv4 address.
pub fn normalise(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The same for a block, host bits masked.
pub fn normalise_block(block: IpNet) -> IpNet {
    if let IpNet::V6(v6) = block
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(MAPPED_PREFIX)
        && let Ok(mapped) = Ipv4Net::new(v4, length)
    {
        return IpNet::V4(mapped.trunc());
    }
    block.trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_block_is_its_ipv4_block_and_host_bits_are_masked() {
        let rows = [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("::/0", "::/0"),
            ("::ffff:0:0/90", "::ffc0:0:0/90"),
        ];
        for (written, read) in rows {
            let block: IpNet = written.parse().expect(written);
            assert_eq!(normalise_block(block).to_string(), read, "{written}");
        }
    }
}
