//! What a line holds, as far as an edge needs it; whatever else is there is passed over.

use crate::model::{
    Basis, Class, Decision, Direction, Labels, NOISE_LABELS, Origin, Place, PolicyRef, Protocol, State, Told,
    Traits, normalise,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny};
use std::net::IpAddr;
use std::sync::Arc;

/// What tells how the rest is to be read.
#[derive(Deserialize)]
pub(super) struct Envelope {
    pub(super) v: Option<u32>,
    pub(super) kind: Option<String>,
}

/// Whose line it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    pub(super) node: String,
    #[serde(default)]
    pub(super) cluster: Option<String>,
    pub(super) run: String,
}

/// What every line of a run has.
#[derive(Deserialize)]
pub(super) struct HeadFields {
    pub(super) seq: u64,
    node: String,
    #[serde(default)]
    cluster: Option<String>,
    run: String,
}

impl HeadFields {
    pub(super) fn whose(self) -> Whose {
        Whose { node: self.node, cluster: self.cluster, run: self.run }
    }
}

/// A `flow` line, or one of sums (`edge`).
#[derive(Deserialize)]
pub(super) struct FlowFields {
    pub(super) flow: Attempts,
    pub(super) source: EndFields,
    pub(super) destination: EndFields,
    #[serde(default)]
    pub(super) dialed: Option<DialedFields>,
    pub(super) verdict: VerdictFields,
    outcome: OutcomeFields,
    class: Class,
    #[serde(default)]
    truncated: Vec<String>,
    #[serde(default)]
    masked: bool,
}

impl FlowFields {
    pub(super) fn ending(&self) -> Ending {
        Ending::of(&self.outcome, self.class, &self.truncated, self.masked)
    }
}

/// The attempts that a line stands for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Attempts {
    /// Absent in sums.
    #[serde(default, deserialize_with = "hex_id")]
    pub(super) id: Option<u128>,
    pub(super) direction: Direction,
    pub(super) protocol: Protocol,
    #[serde(default)]
    pub(super) existing: bool,
    pub(super) count: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    #[serde(default)]
    pub(super) update: bool,
    #[serde(default)]
    pub(super) replayed: bool,
    #[serde(default)]
    pub(super) duration_ms: Option<u64>,
    #[serde(default)]
    pub(super) bytes_sent: Option<u64>,
    #[serde(default)]
    pub(super) bytes_received: Option<u64>,
    #[serde(default)]
    pub(super) datagrams_sent: Option<u64>,
    #[serde(default)]
    pub(super) datagrams_received: Option<u64>,
}

impl Attempts {
    /// It adds what was counted since, and does not say that the outcome is another.
    pub(super) fn adds_sums(&self) -> bool {
        [self.duration_ms, self.bytes_sent, self.bytes_received, self.datagrams_sent, self.datagrams_received]
            .iter()
            .any(Option::is_some)
    }
}

/// 32 hex digits.
pub(in crate::record) fn id_of(text: &[u8]) -> Option<u128> {
    let digits: &[u8; 32] = text.try_into().ok()?;
    let half = |digits: &[u8]| {
        digits.iter().try_fold(0_u64, |half, digit| {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            Some(half << 4 | u64::from(value))
        })
    };
    let (high, low) = digits.split_at(16);
    Some(u128::from(half(high)?) << 64 | u128::from(half(low)?))
}

fn hex_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
    let text = String::deserialize(deserializer)?;
    id_of(text.as_bytes()).map(Some).ok_or_else(|| D::Error::custom("`flow.id` is not 32 hex digits"))
}

/// An end.
#[derive(Deserialize)]
pub(super) struct EndFields {
    kind: EndKind,
    #[serde(default)]
    ip: Option<IpAddr>,
    #[serde(default)]
    pub(super) port: Option<u16>,
    #[serde(default)]
    namespace: Option<Arc<str>>,
    #[serde(default)]
    pod: Option<Arc<str>>,
    #[serde(default)]
    workload: Option<WorkloadFields>,
    #[serde(default)]
    service: Option<ServiceFields>,
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(default)]
    namespace_labels: Option<Labels>,
    #[serde(default)]
    container: Option<Arc<str>>,
    #[serde(default)]
    image: Option<Arc<str>>,
    #[serde(default)]
    image_digest: Option<Arc<str>>,
    #[serde(default)]
    service_account: Option<Arc<str>>,
    #[serde(default)]
    node: Option<Arc<str>>,
    #[serde(default)]
    host_network: bool,
    #[serde(default)]
    names: Vec<NameFields>,
    #[serde(default)]
    network: Option<Arc<str>>,
    #[serde(default)]
    origin: Option<Origin>,
    #[serde(default)]
    vendor: Option<Arc<str>>,
    #[serde(default)]
    sensitive: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndKind {
    Pod,
    Service,
    Node,
    External,
    Local,
    Unknown,
}

#[derive(Deserialize)]
struct WorkloadFields {
    kind: Arc<str>,
    name: Arc<str>,
}

#[derive(Deserialize)]
struct ServiceFields {
    namespace: Arc<str>,
    name: Arc<str>,
}

#[derive(Deserialize)]
struct NameFields {
    name: Arc<str>,
}

/// Namespace and name of a service.
pub(super) type ServiceName = (Arc<str>, Arc<str>);

/// What was dialed.
#[derive(Deserialize)]
pub(super) struct DialedFields {
    #[serde(default)]
    service: Option<ServiceFields>,
}

impl DialedFields {
    pub(super) fn service(self) -> Option<ServiceName> {
        self.service.map(|service| (service.namespace, service.name))
    }
}

/// An end, as an edge has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) place: Place,
    pub(super) traits: Traits,
}

impl EndFields {
    /// As an edge has it; the error says what is missing.
    pub(super) fn end(self) -> Result<End, &'static str> {
        let ip = self.ip.map(normalise);
        let place = match self.kind {
            EndKind::Pod => {
                let namespace = self.namespace.ok_or("a pod without `namespace`")?;
                let (owner, name) = match self.workload {
                    Some(owner) => (owner.kind, owner.name),
                    None => ("Pod".into(), self.pod.ok_or("a pod without `pod` and without `workload`")?),
                };
                Place::Workload { namespace, owner, name }
            }
            EndKind::Service => {
                let service = self.service.ok_or("a service without `service`")?;
                Place::Service { namespace: service.namespace, name: service.name }
            }
            EndKind::Node => Place::Node { name: self.node },
            EndKind::External => {
                let name = self.names.into_iter().next().map(|name| name.name);
                Place::External { ip, name, network: self.network }
            }
            EndKind::Local => Place::Local,
            EndKind::Unknown => Place::Unknown { ip },
        };
        let traits = Traits {
            labels: Arc::new(without_noise(self.labels)),
            namespace_labels: Arc::new(without_noise(self.namespace_labels)),
            container: self.container,
            image: self.image,
            image_digest: self.image_digest,
            service_account: self.service_account,
            host_network: self.host_network,
            origin: self.origin,
            vendor: self.vendor,
            sensitive: self.sensitive,
        };
        Ok(End { place, traits })
    }
}

fn without_noise(labels: Option<Labels>) -> Labels {
    let mut labels = labels.unwrap_or_default();
    labels.retain(|key, _| !NOISE_LABELS.contains(&key.as_str()));
    labels
}

/// What the rules said.
#[derive(Deserialize)]
pub(super) struct VerdictFields {
    decision: Decision,
    egress: SideFields,
    ingress: SideFields,
}

#[derive(Deserialize)]
struct SideFields {
    decision: Decision,
    basis: Basis,
    #[serde(default)]
    policies: Vec<PolicyRef>,
}

/// The verdict, as an edge has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Said {
    pub(super) decision: Decision,
    pub(super) egress: Told,
    pub(super) ingress: Told,
}

impl From<VerdictFields> for Said {
    fn from(verdict: VerdictFields) -> Self {
        let VerdictFields { decision, egress, ingress } = verdict;
        Self { decision, egress: egress.into(), ingress: ingress.into() }
    }
}

impl From<SideFields> for Told {
    fn from(side: SideFields) -> Self {
        Self { decision: side.decision, basis: side.basis, policies: side.policies.into() }
    }
}

/// What a line ends with, and nothing else, which might be there twice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndingFields {
    outcome: OutcomeFields,
    class: Class,
    #[serde(rename = "severity")]
    _severity: IgnoredAny,
    #[serde(default, rename = "attribution")]
    _attribution: Option<IgnoredAny>,
    #[serde(default)]
    truncated: Vec<String>,
    #[serde(default)]
    masked: bool,
}

#[derive(Deserialize)]
struct OutcomeFields {
    state: State,
}

/// The same, as an edge needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) class: Class,
    pub(super) state: State,
    /// Labels of pods or namespaces were left out of the line, or may have been.
    pub(super) unlabelled: bool,
}

impl Ending {
    fn of(outcome: &OutcomeFields, class: Class, truncated: &[String], masked: bool) -> Self {
        let unlabelled =
            masked || truncated.iter().any(|part| matches!(&**part, "labels" | "namespace_labels"));
        Self { class, state: outcome.state, unlabelled }
    }
}

impl From<EndingFields> for Ending {
    fn from(ending: EndingFields) -> Self {
        Self::of(&ending.outcome, ending.class, &ending.truncated, ending.masked)
    }
}

/// A `loss` line.
#[derive(Deserialize)]
pub(super) struct LossFields {
    pub(super) loss: LossPart,
}

/// What was lost.
#[derive(Deserialize)]
pub(super) struct LossPart {
    what: String,
    count: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl LossPart {
    /// Attempts that it tells of; what else can be lost is no attempt.
    pub(super) fn attempts(&self) -> u64 {
        // `attempt`, `sent`, `sent_to`: the kernel half's events that are attempts; `flow`: records that did not fit.
        if matches!(&*self.what, "attempt" | "sent" | "sent_to" | "flow") { self.count } else { 0 }
    }
}
