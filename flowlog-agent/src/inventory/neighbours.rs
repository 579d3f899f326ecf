//! Blocks in which pods have addresses that no range of the cluster holds.
//!
//! Some clusters give pods addresses out of the network's own subnets (a cloud's VPC), and no object tells which. An
//! address there that nobody has may be that of a pod that is not told yet, or of a database: only time shows which.

use crate::model::normalise;
use foldhash::HashMap;
use ipnet::IpNet;
use std::net::IpAddr;

/// The largest subnet of a VPC (AWS: /16 and /56), which holds many of other clouds.
const V4_PREFIX: u8 = 16;
const V6_PREFIX: u8 = 56;

/// Block → how many addresses of pods lie in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Neighbours(HashMap<IpNet, usize>);

impl Neighbours {
    pub(super) fn add(&mut self, ip: IpAddr) {
        if let Some(block) = block_of(ip) {
            *self.0.entry(block).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, ip: IpAddr) {
        let Some(block) = block_of(ip) else { return };
        let Some(count) = self.0.get_mut(&block) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.0.remove(&block);
        }
    }

    /// Whether pods have addresses near this one.
    pub(super) fn are_near(&self, ip: IpAddr) -> bool {
        !self.0.is_empty() && block_of(ip).is_some_and(|block| self.0.contains_key(&block))
    }
}

fn block_of(ip: IpAddr) -> Option<IpNet> {
    let ip = normalise(ip);
    let prefix = if ip.is_ipv4() { V4_PREFIX } else { V6_PREFIX };
    Some(IpNet::new(ip, prefix).ok()?.trunc())
}
