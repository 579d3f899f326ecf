//! What conditions ask for, of a record that was read back.
//!
//! What the agent says of its own flows and findings (`selection/flow.rs`) is said here of their lines, but for what a line
//! does not tell: that is not known. A finding has no class, verdict, outcome, protocol or direction of its own: who asks for
//! one is shown flows alone, while an output, which would have nobody see the finding, keeps it.

use crate::model::{Class, Decision, Direction, Origin, Protocol, Severity, State};
use crate::record::row::{EndKindRow, EndRow, Row, Text};
use crate::selection::{End, EndKind, Facts, LabelsOf, RecordKind, Said};
use std::borrow::Cow;
use std::net::IpAddr;

/// A flow or a finding.
pub(in crate::commands) struct RowFacts<'a>(pub(in crate::commands) &'a Row<'a>);

fn text<'a>(text: &'a Text<'_>) -> Cow<'a, str> {
    Cow::Borrowed(text)
}

fn known<'a>(value: Option<&'a Text<'_>>) -> Said<Cow<'a, str>> {
    value.map_or(Said::Unknown, |value| Said::Is(text(value)))
}

impl<'a> RowFacts<'a> {
    fn end(&self, end: End) -> Option<&'a EndRow<'a>> {
        match end {
            End::Source => self.0.source.as_ref(),
            End::Destination => self.0.destination.as_ref(),
        }
    }

    /// What an end says; of a source that probes many nothing is said of these.
    fn of_end<T>(&self, end: End, get: impl FnOnce(&'a EndRow<'a>) -> Said<T>) -> Said<T> {
        let probes = self.0.finding.as_ref().is_some_and(|finding| finding.object.is_none());
        match self.end(end) {
            Some(of) if !(probes && end == End::Destination) => get(of),
            _ => Said::Unknown,
        }
    }

    /// What is said of one flow, and a finding may rest on several.
    fn of_one<T>(&self, end: End, get: impl FnOnce(&'a EndRow<'a>) -> Said<T>) -> Said<T> {
        match self.0.finding.as_ref().is_some_and(|finding| finding.count > 1 || finding.repeat) {
            true => Said::Unknown,
            false => self.of_end(end, get),
        }
    }

    /// Which pod is behind a service is not known.
    fn of_pod<T>(&self, end: End, get: impl FnOnce(&'a EndRow<'a>) -> Said<T>) -> Said<T> {
        self.of_end(end, |of| match of.kind {
            EndKindRow::Pod => get(of),
            EndKindRow::Service | EndKindRow::Unknown => Said::Unknown,
            EndKindRow::Node | EndKindRow::External | EndKindRow::Local => Said::Nothing,
        })
    }

    /// What is not there: an output that leaves parts out may have left it out.
    fn absent<T>(&self) -> Said<T> {
        if self.0.masked { Said::Unknown } else { Said::Nothing }
    }

    /// What an end may have and may not.
    fn of_some<T>(&self, value: Option<T>) -> Said<T> {
        value.map_or_else(|| self.absent(), Said::Is)
    }

    fn is_shortened(&self, part: &str) -> bool {
        self.0.truncated.iter().any(|left_out| &**left_out == part)
    }

    /// All ports that one opener probes of a pod are one record.
    fn is_probe(&self) -> bool {
        self.0.outcome.as_ref().is_some_and(|outcome| {
            outcome.state == State::Refused
                && outcome.evidence.iter().any(|fact| &**fact == "far_end_no_socket")
        })
    }
}

impl Facts for RowFacts<'_> {
    fn kind(&self) -> RecordKind {
        if self.0.finding.is_some() { RecordKind::Finding } else { RecordKind::Flow }
    }

    fn class(&self) -> Said<Class> {
        self.0.class.into()
    }

    fn severity(&self) -> Said<Severity> {
        self.0.severity.into()
    }

    fn direction(&self) -> Said<Direction> {
        self.0.flow.as_ref().map(|flow| flow.direction).into()
    }

    fn protocol(&self) -> Said<Protocol> {
        self.0.flow.as_ref().map(|flow| flow.protocol).into()
    }

    fn verdict(&self) -> Said<Decision> {
        self.0.verdict.as_ref().map(|verdict| verdict.decision).into()
    }

    fn outcome(&self) -> Said<State> {
        self.0.outcome.as_ref().map(|outcome| outcome.state).into()
    }

    fn end_kind(&self, end: End) -> Said<EndKind> {
        self.of_end(end, |of| {
            Said::Is(match of.kind {
                EndKindRow::Pod => EndKind::Pod,
                EndKindRow::Service => EndKind::Service,
                EndKindRow::Node => EndKind::Node,
                EndKindRow::External => EndKind::External,
                EndKindRow::Local => EndKind::Local,
                EndKindRow::Unknown => EndKind::Unknown,
            })
        })
    }

    fn namespace(&self, end: End) -> Said<Cow<'_, str>> {
        self.of_end(end, |of| match of.kind {
            EndKindRow::Pod => known(of.namespace.as_ref()),
            EndKindRow::Service => {
                known(of.service.as_ref().map(|service| &service.namespace).or(of.namespace.as_ref()))
            }
            EndKindRow::Unknown => Said::Unknown,
            EndKindRow::Node | EndKindRow::External | EndKindRow::Local => Said::Nothing,
        })
    }

    fn pod(&self, end: End) -> Said<Cow<'_, str>> {
        match self.of_one(end, |_| Said::Is(())) {
            Said::Is(()) => self.of_pod(end, |of| known(of.pod.as_ref())),
            Said::Nothing | Said::Unknown => Said::Unknown,
        }
    }

    fn workload(&self, end: End) -> Said<(Cow<'_, str>, Cow<'_, str>)> {
        self.of_pod(end, |of| match (&of.workload, &of.pod) {
            (Some(owner), _) => Said::Is((text(&owner.kind), text(&owner.name))),
            (None, Some(pod)) if !self.0.masked => Said::Is((Cow::Borrowed("Pod"), text(pod))),
            (None, _) => Said::Unknown,
        })
    }

    fn label(&self, end: End, of: LabelsOf, key: &str) -> Said<Cow<'_, str>> {
        self.of_pod(end, |at| {
            let (labels, part) = match of {
                LabelsOf::Pod => (&at.labels, "labels"),
                LabelsOf::Namespace => (&at.namespace_labels, "namespace_labels"),
            };
            match labels.0.iter().find(|(known, _)| &**known == key) {
                Some((_, value)) => Said::Is(text(value)),
                None if self.is_shortened(part) => Said::Unknown,
                None => self.absent(),
            }
        })
    }

    fn origin(&self, end: End) -> Said<Origin> {
        self.of_end(end, |of| match (of.origin, of.kind) {
            (Some(origin), _) => Said::Is(origin),
            (None, EndKindRow::External) if !self.0.masked => Said::Is(Origin::Unknown),
            (None, EndKindRow::External) => Said::Unknown,
            (None, EndKindRow::Node | EndKindRow::Local) => Said::Nothing,
            (None, EndKindRow::Pod | EndKindRow::Service | EndKindRow::Unknown) => Said::Unknown,
        })
    }

    fn vendor(&self, end: End) -> Said<Cow<'_, str>> {
        self.of_end(end, |of| match (&of.vendor, of.origin, of.kind) {
            (Some(vendor), ..) => Said::Is(text(vendor)),
            (None, None, EndKindRow::Pod | EndKindRow::Service | EndKindRow::Unknown) => Said::Unknown,
            _ => self.absent(),
        })
    }

    fn addresses(&self, end: End) -> [Said<IpAddr>; 2] {
        let dialed = self.0.dialed.as_ref().filter(|_| end == End::Destination).map(|dialed| dialed.ip);
        [self.of_one(end, |of| of.ip.map_or(Said::Unknown, Said::Is)), self.of_some(dialed)]
    }

    fn ports(&self, end: End) -> [Said<u16>; 2] {
        let flow = self.0.flow.as_ref();
        if flow.is_some_and(|flow| flow.protocol.is_icmp()) {
            return [Said::Nothing; 2];
        }
        let count = flow.map_or(1, |flow| flow.count);
        let dialed = self.0.dialed.as_ref().filter(|_| end == End::Destination).map(|dialed| dialed.port);
        let wire = match count > 1 && (end == End::Source || self.is_probe()) {
            true => Said::Unknown,
            // An opener's port may never have been seen; whom it dialed always has one.
            false => self.of_one(end, |of| match (of.port, end) {
                (None, End::Source) => Said::Unknown,
                (port, _) => self.of_some(port),
            }),
        };
        [wire, self.of_some(dialed)]
    }
}
