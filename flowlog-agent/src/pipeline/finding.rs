//! Findings while the agent runs: what the flows that are written conclude to, and how it is told.

use super::Spine;
use crate::cluster::Snapshot;
use crate::config::{self, Settings};
use crate::findings::{Live, LiveSettings};
use crate::model::{Flow, LiveFinding, Protocol, Target};
use crate::record::Wanted;
use jiff::{SignedDuration, Timestamp};
use std::net::SocketAddr;

/// The port of the API server's service, wherever it listens itself.
const API_PORT: u16 = 443;

pub(super) fn start(settings: &Settings, snapshot: &Snapshot) -> Live {
    let config::Findings { enabled, probe_targets, probe_within, repeat } = settings.findings;
    let duration = |time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    let mut live = Live::new(LiveSettings {
        on: enabled,
        probe_targets: usize::try_from(probe_targets).unwrap_or(usize::MAX),
        probe_within: duration(probe_within),
        repeat: duration(repeat),
    });
    live.set_api(api_of(snapshot, snapshot.as_of));
    live
}

/// Where the API server answers itself.
pub(super) fn api_of(snapshot: &Snapshot, now: Timestamp) -> Vec<SocketAddr> {
    let inventory = &snapshot.inventory;
    let addresses = inventory.service_addresses("default", "kubernetes").into_iter();
    let behind = addresses.filter_map(|ip| match inventory.resolve(ip, API_PORT, Protocol::Tcp, now) {
        Target::Service { backends, .. } => Some(backends),
        Target::Endpoint(_) => None,
    });
    behind
        .flat_map(|all| all.iter().map(|one| SocketAddr::new(one.ip, one.port)).collect::<Vec<_>>())
        .collect()
}

impl Spine {
    /// An attempt, before its repeats are put together.
    pub(super) fn find_by_attempt(&mut self, flow: &Flow) {
        let mut found = Vec::new();
        self.live.see_attempt(flow, &mut found);
        self.tell_findings(found);
    }

    /// A flow that is written.
    pub(super) fn find_by_flow(&mut self, flow: &Flow) {
        let mut found = Vec::new();
        self.live.see_flow(flow, &mut found);
        self.tell_findings(found);
    }

    /// Repeats that are due.
    pub(super) fn find_again(&mut self, now: Timestamp) {
        let mut found = Vec::new();
        self.live.tick(now, &mut found);
        self.tell_findings(found);
    }

    /// Whatever is left at the end.
    pub(super) fn find_last(&mut self) {
        let mut found = Vec::new();
        self.live.finish(&mut found);
        self.tell_findings(found);
    }

    fn tell_findings(&mut self, found: Vec<LiveFinding>) {
        for finding in found {
            let wanted = self.sinks.wanted(&finding);
            if wanted == Wanted::BY_NONE {
                self.registry.findings_unselected.one();
                continue;
            }
            let formats = self.sinks.formats(wanted);
            match self.encoder.finding_for(&finding, formats) {
                Ok(line) => self.sink("finding", line.wanted(wanted)),
                Err(error) => tracing::error!(%error, "a finding cannot be recorded"),
            }
        }
    }
}
