//! A question about names, put to a snapshot, and how its answer came about.

use super::Snapshot;
use crate::model::{Basis, Decision, Endpoint, Party, Protocol};
use crate::policy::{Query, Trace};

impl Snapshot {
    /// What the policies say of a connection between two ends that are known, with all that was tried.
    pub fn explain(&self, source: &Party, destination: &Party, protocol: Protocol) -> Trace {
        self.known(self.policies.explain(&self.query(source, destination, protocol)))
    }

    /// The same with the policies in trial among them, where any of those takes part.
    pub fn explain_trial(&self, source: &Party, destination: &Party, protocol: Protocol) -> Option<Trace> {
        let trial = self.trial.as_ref().filter(|trial| trial.takes_part(source, destination))?;
        Some(self.known(trial.explain(&self.query(source, destination, protocol))))
    }

    /// What was tried, but for an answer where policies may be missing, or what they select by.
    fn known(&self, mut trace: Trace) -> Trace {
        let Some(why) = &self.unread else { return trace };
        trace.decision = Decision::Unknown;
        for side in [&mut trace.egress, &mut trace.ingress] {
            (side.decision, side.basis, side.tier) = (Decision::Unknown, Basis::Unknown, None);
            side.policies.clear();
            side.reason = Some(why.to_string());
            side.tiers.iter_mut().for_each(|tier| tier.says = "unknown");
        }
        trace
    }

    fn query<'a>(&'a self, source: &'a Party, destination: &'a Party, protocol: Protocol) -> Query<'a> {
        let range = |party: &Party| match (&party.endpoint, party.ip) {
            (Endpoint::Unknown { .. }, Some(ip)) => self.inventory.find_range(ip)?.node.as_deref(),
            _ => None,
        };
        let range_of = range(source).or_else(|| range(destination));
        Query { source, destination, protocol, port: destination.port, range_of }
    }
}
