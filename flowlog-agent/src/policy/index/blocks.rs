//! Address blocks: a rule's blocks as intervals, and the edges of all blocks, between which no address
//! differs from another.

use crate::policy::Block;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// The addresses of a rule's blocks, as intervals that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Blocks {
    pub(super) fn of<'a>(blocks: impl Iterator<Item = &'a Block>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for block in blocks {
            match block.block {
                IpNet::V4(_) => {
                    let except = block.except.iter().filter_map(|part| span_v4(*part)).collect();
                    v4.extend(span_v4(block.block).map(|whole| less(whole, except, next_v4, before_v4)));
                }
                IpNet::V6(_) => {
                    let except = block.except.iter().filter_map(|part| span_v6(*part)).collect();
                    v6.extend(span_v6(block.block).map(|whole| less(whole, except, next_v6, before_v6)));
                }
            }
        }
        Self {
            v4: merged(v4.into_iter().flatten().collect(), next_v4),
            v6: merged(v6.into_iter().flatten().collect(), next_v6),
        }
    }

    /// All of these.
    pub(super) fn join<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for part in parts {
            v4.extend_from_slice(&part.v4);
            v6.extend_from_slice(&part.v6);
        }
        Self { v4: merged(v4, next_v4), v6: merged(v6, next_v6) }
    }

    pub(super) fn hold(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => within(&self.v4, u32::from(ip)),
            IpAddr::V6(ip) => within(&self.v6, u128::from(ip)),
        }
    }
}

fn within<N: Copy + Ord>(spans: &[(N, N)], ip: N) -> bool {
    // Most rules have one or two, for which a search costs more than it saves.
    if let [(first, last)] = spans {
        return (*first..=*last).contains(&ip);
    }
    let after = spans.partition_point(|(first, _)| *first <= ip);
    after.checked_sub(1).and_then(|place| spans.get(place)).is_some_and(|(_, last)| ip <= *last)
}

fn span_v4(block: IpNet) -> Option<(u32, u32)> {
    match block {
        IpNet::V4(block) => Some((u32::from(block.network()), u32::from(block.broadcast()))),
        IpNet::V6(_) => None,
    }
}

fn span_v6(block: IpNet) -> Option<(u128, u128)> {
    match block {
        IpNet::V6(block) => Some((u128::from(block.network()), u128::from(block.broadcast()))),
        IpNet::V4(_) => None,
    }
}

fn next_v4(ip: u32) -> Option<u32> {
    ip.checked_add(1)
}

fn before_v4(ip: u32) -> Option<u32> {
    ip.checked_sub(1)
}

fn next_v6(ip: u128) -> Option<u128> {
    ip.checked_add(1)
}

fn before_v6(ip: u128) -> Option<u128> {
    ip.checked_sub(1)
}

/// A span without some parts.
fn less<N: Copy + Ord>(
    (first, last): (N, N),
    mut except: Vec<(N, N)>,
    next: fn(N) -> Option<N>,
    before: fn(N) -> Option<N>,
) -> Vec<(N, N)> {
    except.sort_unstable();
    let (mut left, mut start) = (Vec::new(), Some(first));
    for (from, to) in except {
        let Some(begin) = start else { break };
        if to < begin || from > last {
            continue;
        }
        if let Some(end) = before(from)
            && begin <= end
        {
            left.push((begin, end));
        }
        start = next(to).filter(|begin| *begin <= last);
    }
    left.extend(start.map(|begin| (begin, last)));
    left
}

fn merged<N: Copy + Ord>(mut spans: Vec<(N, N)>, next: fn(N) -> Option<N>) -> Box<[(N, N)]> {
    spans.sort_unstable();
    let mut done: Vec<(N, N)> = Vec::with_capacity(spans.len());
    for (first, last) in spans {
        match done.last_mut() {
            Some((_, end)) if next(*end).is_none_or(|after| first <= after) => *end = last.max(*end),
            _ => done.push((first, last)),
        }
    }
    done.into()
}

/// Where blocks begin and where they are over. The addresses from one edge to the next lie in the same
/// blocks; the edge stands for them, and goes on doing so when others come and go.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    v4: Arc<Vec<(u32, u32)>>,
    v6: Arc<Vec<(u128, u32)>>,
}

impl Edges {
    /// The edge before an address.
    pub(super) fn before(&self, ip: IpAddr) -> u128 {
        match ip {
            IpAddr::V4(ip) => at_or_before(&self.v4, u32::from(ip)).unwrap_or_default().into(),
            IpAddr::V6(ip) => at_or_before(&self.v6, u128::from(ip)).unwrap_or_default(),
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(super) fn add(&mut self, block: &Block) {
        for part in std::iter::once(&block.block).chain(&block.except) {
            if let Some((first, last)) = span_v4(*part) {
                let edges = Arc::make_mut(&mut self.v4);
                [Some(first), next_v4(last)].into_iter().flatten().for_each(|edge| gain(edges, edge));
            }
            if let Some((first, last)) = span_v6(*part) {
                let edges = Arc::make_mut(&mut self.v6);
                [Some(first), next_v6(last)].into_iter().flatten().for_each(|edge| gain(edges, edge));
            }
        }
    }

    pub(super) fn remove(&mut self, block: &Block) {
        for part in std::iter::once(&block.block).chain(&block.except) {
            if let Some((first, last)) = span_v4(*part) {
                let edges = Arc::make_mut(&mut self.v4);
                [Some(first), next_v4(last)].into_iter().flatten().for_each(|edge| lose(edges, edge));
            }
            if let Some((first, last)) = span_v6(*part) {
                let edges = Arc::make_mut(&mut self.v6);
                [Some(first), next_v6(last)].into_iter().flatten().for_each(|edge| lose(edges, edge));
            }
        }
    }
}

fn at_or_before<N: Copy + Ord>(edges: &[(N, u32)], ip: N) -> Option<N> {
    let after = edges.partition_point(|(edge, _)| *edge <= ip);
    edges.get(after.checked_sub(1)?).map(|(edge, _)| *edge)
}

fn gain<N: Copy + Ord>(edges: &mut Vec<(N, u32)>, edge: N) {
    match edges.binary_search_by_key(&edge, |(edge, _)| *edge) {
        Ok(place) => edges.iter_mut().skip(place).take(1).for_each(|(_, users)| *users += 1),
        Err(place) => edges.insert(place, (edge, 1)),
    }
}

fn lose<N: Copy + Ord>(edges: &mut Vec<(N, u32)>, edge: N) {
    let Ok(place) = edges.binary_search_by_key(&edge, |(edge, _)| *edge) else { return };
    let Some((_, users)) = edges.get_mut(place) else { return };
    *users -= 1;
    if *users == 0 {
        edges.remove(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::ip;

    fn block(block: &str, except: &[&str]) -> Block {
        let net = |written: &str| written.parse().unwrap();
        Block { block: net(block), except: except.iter().map(|part| net(part)).collect(), unread: None }
    }

    #[test]
    fn intervals_hold_what_their_blocks_hold() {
        let rows = [
            vec![block("10.0.0.0/8", &["10.1.0.0/16", "10.1.2.0/24", "10.255.0.0/16"])],
            vec![block("0.0.0.0/0", &["255.0.0.0/8", "0.0.0.0/8"]), block("10.0.0.0/8", &[])],
            vec![block("10.0.0.0/25", &[]), block("10.0.0.128/25", &[]), block("::/0", &["fd00::/8"])],
            vec![block("10.1.0.0/16", &["10.1.0.0/17", "10.1.128.0/17"])],
            vec![block("10.0.0.0/24", &["10.0.0.0/32", "10.0.0.255/32"])],
        ];
        let probes = [
            "0.0.0.0",
            "0.255.255.255",
            "1.0.0.0",
            "9.255.255.255",
            "10.0.0.0",
            "10.0.0.127",
            "10.0.0.128",
            "10.0.0.255",
            "10.0.1.0",
            "10.1.0.0",
            "10.1.2.3",
            "10.1.128.1",
            "10.2.0.0",
            "10.254.255.255",
            "10.255.0.0",
            "11.0.0.0",
            "254.255.255.255",
            "255.255.255.255",
            "::",
            "fd00::1",
            "fcff::",
            "ffff::",
        ];
        for blocks in rows {
            let compiled = Blocks::of(blocks.iter());
            for probe in probes.map(ip) {
                let holds = blocks.iter().any(|one| {
                    one.block.contains(&probe) && !one.except.iter().any(|part| part.contains(&probe))
                });
                assert_eq!(compiled.hold(probe), holds, "{probe} in {blocks:?}");
            }
        }
    }

    #[test]
    fn addresses_of_one_edge_lie_in_the_same_blocks() {
        let (wide, narrow) = (block("10.0.0.0/8", &["10.1.0.0/16"]), block("10.2.0.0/16", &[]));
        let mut edges = Edges::default();
        edges.add(&wide);
        edges.add(&narrow);
        edges.add(&narrow);
        assert_eq!(edges.before(ip("10.0.0.1")), edges.before(ip("10.0.255.1")));
        assert_ne!(edges.before(ip("10.0.0.1")), edges.before(ip("10.1.0.1")));
        assert_ne!(edges.before(ip("10.2.0.1")), edges.before(ip("10.3.0.1")));
        edges.remove(&narrow);
        assert_ne!(edges.before(ip("10.2.0.1")), edges.before(ip("10.3.0.1")));
        edges.remove(&narrow);
        assert_eq!(edges.before(ip("10.2.0.1")), edges.before(ip("10.3.0.1")));
        assert_eq!(edges.before(ip("9.0.0.1")), edges.before(ip("0.0.0.0")));
    }
}
