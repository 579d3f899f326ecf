//! What the agent concludes while it runs, from one flow after the other: the same findings as an assessment's, at first
//! sight, each told once and its repeats summed up.
//!
//! Time is an argument. What is kept is bounded: [`MOST`] findings and as many sources that are watched for probing; of
//! either the one that was quiet longest gives way.

use super::draft::fingerprint;
use super::estate::{KUBELET, METADATA, target_of};
use crate::model::{
    Class, Endpoint, FindingId, Flow, FlowId, LiveFinding, Party, Place, Role, Severity, State, Whose,
};
use crate::policy::observed::place_of;
use foldhash::{HashMap, HashSet};
use jiff::{SignedDuration, Timestamp};
use lru::LruCache;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Findings, and sources, that are kept.
const MOST: usize = 4_096;
/// Ids of flows that a finding names.
const MOST_FLOWS: usize = 8;

/// What is told, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSettings {
    /// Nothing is, where false.
    pub on: bool,
    /// A source probes that is denied or refused at so many targets or ports within `probe_within`.
    pub probe_targets: usize,
    /// See `probe_targets`.
    pub probe_within: SignedDuration,
    /// How often repeats of a finding are told at most.
    pub repeat: SignedDuration,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            on: true,
            probe_targets: 10,
            probe_within: SignedDuration::from_mins(10),
            repeat: SignedDuration::from_mins(10),
        }
    }
}

/// The findings so far.
#[derive(Debug)]
pub struct Live {
    settings: LiveSettings,
    /// Addresses and ports at which the API server answers itself.
    api: HashSet<SocketAddr>,
    known: LruCache<String, Known>,
    sources: LruCache<Source, Probing>,
    /// Findings that were told, repeats not among them.
    pub told: u64,
}

/// A finding that was told.
#[derive(Debug)]
struct Known {
    told: Timestamp,
    /// What was seen of it since then.
    since: Option<LiveFinding>,
}

/// Who tries: a pod by its uid, anybody else by address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Source {
    Pod(Arc<str>),
    Address(IpAddr),
}

/// Whom and at which port a source tried in vain, and when last; so many as make a finding, at most.
#[derive(Debug, Default)]
struct Probing {
    tried: HashMap<(IpAddr, Option<u16>), Timestamp>,
    flows: Vec<FlowId>,
    /// The finding that was made of it.
    found: Option<String>,
}

impl Default for Live {
    fn default() -> Self {
        Self::new(LiveSettings::default())
    }
}

impl Live {
    /// Nothing was seen yet.
    pub fn new(settings: LiveSettings) -> Self {
        let most = NonZeroUsize::new(MOST).unwrap_or(NonZeroUsize::MIN);
        Self {
            settings,
            api: HashSet::default(),
            known: LruCache::new(most),
            sources: LruCache::new(most),
            told: 0,
        }
    }

    /// Where the API server answers itself, behind its service.
    pub fn set_api(&mut self, endpoints: impl IntoIterator<Item = SocketAddr>) {
        self.api = endpoints.into_iter().collect();
    }

    /// Look at an attempt, before repeats are put together: a scan is many of them.
    pub fn see_attempt(&mut self, flow: &Flow, out: &mut Vec<LiveFinding>) {
        // Blocked without a policy's word, or given up, is no sign of a probe by itself.
        let is_sign = matches!(flow.class, Class::DeniedAttempt | Class::Refused) && !flow.update;
        if !self.settings.on || !is_sign {
            return;
        }
        let (Some(source), Some(ip)) = (Source::of(&flow.source), flow.destination.ip) else { return };
        let LiveSettings { probe_targets, probe_within, .. } = self.settings;
        let probing = self.sources.get_or_insert_mut(source, Probing::default);
        probing.tried.retain(|_, last| flow.last.duration_since(*last) <= probe_within);
        let target = (ip, flow.destination.port);
        if probing.tried.len() < probe_targets || probing.tried.contains_key(&target) {
            probing.tried.insert(target, flow.last);
        }
        if probing.flows.len() == MOST_FLOWS {
            probing.flows.remove(0);
        }
        probing.flows.push(flow.id);
        if probing.tried.len() < probe_targets.max(1) {
            return;
        }
        let known = probing.found.as_ref().and_then(|fingerprint| self.known.get_mut(fingerprint));
        if let Some(since) = known.and_then(|known| known.since.as_mut()) {
            // Of a scan of many thousands, one is as good as the other.
            since.count = since.count.saturating_add(flow.count);
            since.last = since.last.max(flow.last);
            return;
        }
        let mut found = finding(FindingId::FL104, FindingId::FL104.severity(), flow, None);
        probing.found = Some(found.fingerprint.clone());
        let first = probing.tried.values().min().copied();
        found.first = first.unwrap_or(found.first);
        found.flows = probing.flows.clone();
        self.take(found, out);
    }

    /// Look at a flow as it is written.
    pub fn see_flow(&mut self, flow: &Flow, out: &mut Vec<LiveFinding>) {
        if !self.settings.on {
            return;
        }
        // Enforcement takes time to follow a policy that has just changed.
        if flow.class == Class::PolicyNotEnforced && !flow.verdict.settling {
            let worse = flow.source_whose.is_third_party() && flow.destination_whose.sensitive;
            let severity = if worse { Severity::Critical } else { FindingId::FL101.severity() };
            self.take(finding(FindingId::FL101, severity, flow, Some(self.role(flow))), out);
        }
        let went_through =
            matches!(flow.outcome.state, State::Established | State::Answered | State::Received);
        if !went_through || !flow.source_whose.is_third_party() {
            return;
        }
        if flow.destination_whose.sensitive && !is_own(flow) {
            let by_policy = flow.class == Class::Allowed;
            let severity = if by_policy { Severity::Medium } else { Severity::High };
            self.take(finding(FindingId::FL201, severity, flow, Some(self.role(flow))), out);
        }
        if let Some(role) = self.role(flow) {
            let severity = match role {
                Role::Metadata => Severity::High,
                Role::Kubelet => Severity::Medium,
                Role::KubernetesApi | Role::Node => Severity::Low,
            };
            self.take(finding(FindingId::FL207, severity, flow, Some(Some(role))), out);
        }
    }

    /// Repeats that are due at `now`.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<LiveFinding>) {
        for (_, known) in &mut self.known {
            if known.since.is_some() && now.duration_since(known.told) >= self.settings.repeat {
                known.told = now;
                out.extend(known.since.take());
            }
        }
    }

    /// The end: whatever was seen and not told.
    pub fn finish(&mut self, out: &mut Vec<LiveFinding>) {
        while let Some((_, known)) = self.known.pop_lru() {
            out.extend(known.since);
        }
    }

    /// What the destination is beside who it is.
    fn role(&self, flow: &Flow) -> Option<Role> {
        let is_api = |namespace: &str, name: &str| namespace == "default" && name == "kubernetes";
        let Party { endpoint, ip, port } = &flow.destination;
        let dialed = flow.dialed.as_ref().and_then(|dialed| dialed.service.as_deref());
        let at = ip.zip(*port).map(|(ip, port)| SocketAddr::new(ip, port));
        match endpoint {
            _ if dialed.is_some_and(|service| is_api(&service.namespace, &service.name)) => {
                Some(Role::KubernetesApi)
            }
            Endpoint::Service(service) if is_api(&service.namespace, &service.name) => {
                Some(Role::KubernetesApi)
            }
            _ if at.is_some_and(|at| self.api.contains(&at)) => Some(Role::KubernetesApi),
            Endpoint::External(_) | Endpoint::Unknown { .. }
                if ip.is_some_and(|ip| METADATA.contains(&ip)) =>
            {
                Some(Role::Metadata)
            }
            Endpoint::Node(_) if port.is_some_and(|port| KUBELET.contains(&port)) => Some(Role::Kubelet),
            _ => None,
        }
    }

    /// Tell it, where it was not told before; else count it.
    fn take(&mut self, found: LiveFinding, out: &mut Vec<LiveFinding>) {
        if let Some(known) = self.known.get_mut(&found.fingerprint) {
            match &mut known.since {
                Some(since) => since.add(found),
                // What only adds an outcome or sums to what was told is no repeat.
                None if found.flow.count == 0 => {}
                None => known.since = Some(LiveFinding { repeat: true, ..found }),
            }
            return;
        }
        self.told += 1;
        let known = Known { told: found.last, since: None };
        if let Some((_, before)) = self.known.push(found.fingerprint.clone(), known) {
            out.extend(before.since);
        }
        out.push(found);
    }
}

impl Source {
    fn of(party: &Party) -> Option<Self> {
        match &party.endpoint {
            Endpoint::Pod(pod) => Some(Self::Pod(Arc::clone(&pod.uid))),
            _ => party.ip.map(Self::Address),
        }
    }
}

impl LiveFinding {
    fn add(&mut self, more: Self) {
        self.count = self.count.saturating_add(more.flow.count);
        self.first = self.first.min(more.first);
        self.last = self.last.max(more.last);
        self.severity = self.severity.max(more.severity);
        for id in more.flows {
            if self.flows.len() < MOST_FLOWS && !self.flows.contains(&id) {
                self.flows.push(id);
            }
        }
        self.flow = more.flow;
    }
}

/// One's own database is no risk of reach: both are of one vendor's, and of one installation.
fn is_own(flow: &Flow) -> bool {
    let (Whose { vendor: source, .. }, Whose { vendor: destination, .. }) =
        (&flow.source_whose, &flow.destination_whose);
    let namespace = |party: &Party| party.endpoint.as_pod().map(|pod| Arc::clone(&pod.namespace));
    source.is_some() && source == destination && namespace(&flow.source) == namespace(&flow.destination)
}

/// With `role` the object is what was reached; without, the finding is about the source alone.
fn finding(id: FindingId, severity: Severity, flow: &Flow, role: Option<Option<Role>>) -> LiveFinding {
    let subject = place(&flow.source, None).to_string();
    let object = role.map(|role| {
        let names = flow.names.first().map(|name| Arc::clone(&name.name));
        target_of(&place(&flow.destination, names), role, flow.protocol, flow.destination.port)
    });
    LiveFinding {
        id,
        severity,
        fingerprint: fingerprint(id, &subject, object.as_deref().unwrap_or_default()),
        subject,
        object,
        // An update may be the first that shows it.
        count: flow.count.max(1),
        first: flow.first,
        last: flow.last,
        flows: vec![flow.id],
        repeat: false,
        flow: Box::new(Flow { receipts: crate::model::Receipts::untracked(), ..flow.clone() }),
    }
}

/// An end as assessments call it; outside, what was asked for by one name, or lies in one network, is one place.
fn place(party: &Party, name: Option<Arc<str>>) -> Place {
    match &party.endpoint {
        Endpoint::Pod(pod) => place_of(pod),
        Endpoint::Service(service) => {
            Place::Service { namespace: (&*service.namespace).into(), name: (&*service.name).into() }
        }
        Endpoint::Node(node) => Place::Node { name: Some((&*node.name).into()) },
        Endpoint::External(external) => {
            let network = external.network.clone();
            let ip = party.ip.filter(|ip| METADATA.contains(ip) || (name.is_none() && network.is_none()));
            Place::External { ip, name, network }
        }
        Endpoint::Local => Place::Local,
        Endpoint::Unknown { .. } => Place::Unknown { ip: party.ip },
    }
}

#[cfg(test)]
mod tests;
