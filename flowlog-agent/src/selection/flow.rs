//! The facts of what the agent makes itself.

use super::{End, EndKind, Facts, LabelsOf, RecordKind, Said};
use crate::model::{
    Class, Decision, Direction, Endpoint, Flow, LiveFinding, Origin, Party, Protocol, Severity, State, Whose,
};
use std::borrow::Cow;
use std::net::IpAddr;

impl Facts for Flow {
    fn kind(&self) -> RecordKind {
        RecordKind::Flow
    }

    fn class(&self) -> Said<Class> {
        Said::Is(self.class)
    }

    fn severity(&self) -> Said<Severity> {
        Said::Is(self.class.severity())
    }

    fn direction(&self) -> Said<Direction> {
        Said::Is(self.direction)
    }

    fn protocol(&self) -> Said<Protocol> {
        Said::Is(self.protocol)
    }

    fn verdict(&self) -> Said<Decision> {
        Said::Is(self.verdict.decision)
    }

    fn outcome(&self) -> Said<State> {
        Said::Is(self.outcome.state)
    }

    fn end_kind(&self, end: End) -> Said<EndKind> {
        Said::Is(match party(self, end).endpoint {
            Endpoint::Pod(_) => EndKind::Pod,
            Endpoint::Service(_) => EndKind::Service,
            Endpoint::Node(_) => EndKind::Node,
            Endpoint::External(_) => EndKind::External,
            Endpoint::Local => EndKind::Local,
            Endpoint::Unknown { .. } => EndKind::Unknown,
        })
    }

    fn namespace(&self, end: End) -> Said<Cow<'_, str>> {
        match &party(self, end).endpoint {
            Endpoint::Pod(pod) => Said::Is(Cow::Borrowed(&*pod.namespace)),
            Endpoint::Service(service) => Said::Is(Cow::Borrowed(&service.namespace)),
            Endpoint::Node(_) | Endpoint::External(_) | Endpoint::Local => Said::Nothing,
            Endpoint::Unknown { .. } => Said::Unknown,
        }
    }

    fn pod(&self, end: End) -> Said<Cow<'_, str>> {
        of_pod(self, end, |pod| Said::Is(Cow::Borrowed(&*pod.name)))
    }

    fn workload(&self, end: End) -> Said<(Cow<'_, str>, Cow<'_, str>)> {
        of_pod(self, end, |pod| {
            let (kind, name) = match &pod.workload {
                Some(workload) => (&*workload.kind, &*workload.name),
                None => ("Pod", &*pod.name),
            };
            Said::Is((Cow::Borrowed(kind), Cow::Borrowed(name)))
        })
    }

    fn label(&self, end: End, of: LabelsOf, key: &str) -> Said<Cow<'_, str>> {
        of_pod(self, end, |pod| {
            let value = match of {
                LabelsOf::Pod => pod.labels.get(key),
                // Every namespace has its name as a label: one without was never seen.
                LabelsOf::Namespace if pod.namespace_labels.is_empty() => return Said::Unknown,
                LabelsOf::Namespace => pod.namespace_labels.get(key),
            };
            value.map(|value| Cow::Borrowed(&**value)).into()
        })
    }

    fn origin(&self, end: End) -> Said<Origin> {
        match (whose(self, end).origin, &party(self, end).endpoint) {
            (Some(origin), _) => Said::Is(origin),
            (None, Endpoint::External(_)) => Said::Is(Origin::Unknown),
            (None, Endpoint::Node(_) | Endpoint::Local) => Said::Nothing,
            (None, Endpoint::Pod(_) | Endpoint::Service(_) | Endpoint::Unknown { .. }) => Said::Unknown,
        }
    }

    fn vendor(&self, end: End) -> Said<Cow<'_, str>> {
        let Whose { vendor, origin, .. } = whose(self, end);
        match (vendor, origin, &party(self, end).endpoint) {
            (Some(vendor), ..) => Said::Is(Cow::Borrowed(&**vendor)),
            (None, None, Endpoint::Pod(_) | Endpoint::Service(_) | Endpoint::Unknown { .. }) => Said::Unknown,
            _ => Said::Nothing,
        }
    }

    fn addresses(&self, end: End) -> [Said<IpAddr>; 2] {
        let dialed = self.dialed.as_ref().filter(|_| end == End::Destination).map(|dialed| dialed.ip);
        // An opener whose address was never seen has one all the same.
        [party(self, end).ip.map_or(Said::Unknown, Said::Is), dialed.into()]
    }

    fn ports(&self, end: End) -> [Said<u16>; 2] {
        let Party { port, .. } = party(self, end);
        let dialed = self.dialed.as_ref().filter(|_| end == End::Destination).map(|dialed| dialed.port);
        let wire = match port {
            _ if self.protocol.is_icmp() => return [Said::Nothing; 2],
            // Of attempts that became one record it shows the first one's.
            _ if self.count > 1 && (end == End::Source || self.is_probe()) => Said::Unknown,
            Some(port) => Said::Is(*port),
            None => Said::Unknown,
        };
        [wire, dialed.into()]
    }
}

/// Those of the last flow that shows it, as far as others that do are alike.
impl Facts for LiveFinding {
    fn kind(&self) -> RecordKind {
        RecordKind::Finding
    }

    fn class(&self) -> Said<Class> {
        Said::Unknown
    }

    fn severity(&self) -> Said<Severity> {
        Said::Is(self.severity)
    }

    fn direction(&self) -> Said<Direction> {
        self.flow.direction()
    }

    fn protocol(&self) -> Said<Protocol> {
        of_end(self, End::Destination, || self.flow.protocol())
    }

    fn verdict(&self) -> Said<Decision> {
        Said::Unknown
    }

    fn outcome(&self) -> Said<State> {
        Said::Unknown
    }

    fn end_kind(&self, end: End) -> Said<EndKind> {
        of_end(self, end, || self.flow.end_kind(end))
    }

    fn namespace(&self, end: End) -> Said<Cow<'_, str>> {
        of_end(self, end, || self.flow.namespace(end))
    }

    fn pod(&self, end: End) -> Said<Cow<'_, str>> {
        of_one(self, end, || self.flow.pod(end))
    }

    fn workload(&self, end: End) -> Said<(Cow<'_, str>, Cow<'_, str>)> {
        of_end(self, end, || self.flow.workload(end))
    }

    fn label(&self, end: End, of: LabelsOf, key: &str) -> Said<Cow<'_, str>> {
        of_end(self, end, || self.flow.label(end, of, key))
    }

    fn origin(&self, end: End) -> Said<Origin> {
        of_end(self, end, || self.flow.origin(end))
    }

    fn vendor(&self, end: End) -> Said<Cow<'_, str>> {
        of_end(self, end, || self.flow.vendor(end))
    }

    fn addresses(&self, end: End) -> [Said<IpAddr>; 2] {
        if is_of_many(self, end) { [Said::Unknown; 2] } else { self.flow.addresses(end) }
    }

    fn ports(&self, end: End) -> [Said<u16>; 2] {
        if is_of_many(self, end) { [Said::Unknown; 2] } else { self.flow.ports(end) }
    }
}

fn party(flow: &Flow, end: End) -> &Party {
    match end {
        End::Source => &flow.source,
        End::Destination => &flow.destination,
    }
}

fn whose(flow: &Flow, end: End) -> &Whose {
    match end {
        End::Source => &flow.source_whose,
        End::Destination => &flow.destination_whose,
    }
}

/// Something of the pod at an end. Which pod is behind a service is not known.
fn of_pod<'a, T>(flow: &'a Flow, end: End, get: impl FnOnce(&'a crate::model::Pod) -> Said<T>) -> Said<T> {
    match &party(flow, end).endpoint {
        Endpoint::Pod(pod) => get(pod),
        Endpoint::Node(_) | Endpoint::External(_) | Endpoint::Local => Said::Nothing,
        Endpoint::Service(_) | Endpoint::Unknown { .. } => Said::Unknown,
    }
}

/// Something that all flows which show a finding have alike: of a source that probes many (no object) nothing of these.
fn of_end<T>(found: &LiveFinding, end: End, get: impl FnOnce() -> Said<T>) -> Said<T> {
    if end == End::Destination && found.object.is_none() { Said::Unknown } else { get() }
}

/// Something that only one flow has.
fn of_one<T>(found: &LiveFinding, end: End, get: impl FnOnce() -> Said<T>) -> Said<T> {
    if is_of_many(found, end) { Said::Unknown } else { get() }
}

fn is_of_many(found: &LiveFinding, end: End) -> bool {
    found.flows.len() > 1 || found.repeat || (end == End::Destination && found.object.is_none())
}
