//! A question about names, put to a snapshot, and how its answer came about.

use super::Snapshot;
use crate::model::{Endpoint, Party, Protocol};
use crate::policy::{Query, Trace};

impl Snapshot {
    /// What the policies say of a connection between two ends that are known, with all that was tried.
    pub fn explain(&self, source: &Party, destination: &Party, protocol: Protocol) -> Trace {
        let range = |party: &Party| match (&party.endpoint, party.ip) {
            (Endpoint::Unknown { .. }, Some(ip)) => self.inventory.find_range(ip)?.node.as_deref(),
            _ => None,
        };
        let range_of = range(source).or_else(|| range(destination));
        self.policies.explain(&Query { source, destination, protocol, port: destination.port, range_of })
    }
}
