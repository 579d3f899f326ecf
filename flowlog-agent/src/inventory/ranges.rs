//! Address blocks as keys: the narrowest that holds an address.

use crate::model::{normalise, normalise_block};
use foldhash::HashMap;
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Blocks with something about each; of two alike the later one counts.
#[derive(Clone, Debug)]
pub(super) struct Blocks<T> {
    by_block: HashMap<IpNet, T>,
    /// Whether IPv4, and the lengths of prefixes that there are, the longest first.
    lengths: BTreeSet<(bool, Reverse<u8>)>,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { by_block: HashMap::default(), lengths: BTreeSet::new() }
    }
}

impl<T> FromIterator<(IpNet, T)> for Blocks<T> {
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(blocks: I) -> Self {
        let mut found = Self::default();
        for (block, about) in blocks {
            let block = normalise_block(block);
            found.lengths.insert((block.addr().is_ipv4(), Reverse(block.prefix_len())));
            found.by_block.insert(block, about);
        }
        found
    }
}

impl<T> Blocks<T> {
    /// All blocks, in no order.
    pub(super) fn blocks(&self) -> impl Iterator<Item = IpNet> {
        self.by_block.keys().copied()
    }

    /// What is told of the narrowest block that holds this address.
    pub(super) fn find(&self, ip: IpAddr) -> Option<&T> {
        let ip = normalise(ip);
        let lengths = self.lengths.iter().filter(|(is_v4, _)| *is_v4 == ip.is_ipv4());
        lengths
            .into_iter()
            .find_map(|(_, Reverse(length))| self.by_block.get(&IpNet::new(ip, *length).ok()?.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::ip;

    #[test]
    fn the_narrowest_block_counts_in_each_family() {
        let rows =
            ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32", "2001:db8:1::/48", "10.1.9.9/16"];
        let blocks: Blocks<usize> =
            rows.iter().enumerate().map(|(place, row)| (row.parse().unwrap(), place)).collect();
        for (address, expected) in [
            ("10.9.9.9", Some(0)),
            ("10.1.2.4", Some(5)),
            ("10.1.2.3", Some(2)),
            ("::ffff:10.1.2.3", Some(2)),
            ("2001:db8:1::7", Some(4)),
            ("2001:db8:2::7", Some(3)),
            ("198.51.100.1", None),
            ("2001:db9::1", None),
        ] {
            assert_eq!(blocks.find(ip(address)).copied(), expected, "{address}");
        }
    }
}
