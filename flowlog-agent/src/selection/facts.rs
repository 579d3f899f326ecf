//! What conditions ask for.

use super::Answer;
use crate::model::{Class, Decision, Direction, Origin, Protocol, Severity, State};
use std::borrow::Cow;
use std::net::IpAddr;

/// What is said of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// It is this.
    Is(T),
    /// There is none: an address outside the cluster has no namespace.
    Nothing,
    /// Not known whether there is one, or which.
    Unknown,
}

impl<T> Said<T> {
    /// Whether this holds of it; of nothing it does not.
    pub(super) fn answer(self, holds: impl FnOnce(T) -> bool) -> Answer {
        match self {
            Self::Is(value) => holds(value).into(),
            Self::Nothing => Answer::No,
            Self::Unknown => Answer::Unknown,
        }
    }
}

impl<T> From<Option<T>> for Said<T> {
    /// Absent is nothing.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Self::Is)
    }
}

/// An end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The opener.
    Source,
    /// The listener.
    Destination,
}

impl End {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Source, Self::Destination];
}

/// Who stands at an end, as a record's `source.kind` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// A pod.
    Pod,
    /// A service whose backend is not known.
    Service,
    /// A node.
    Node,
    /// Outside the cluster.
    External,
    /// The opener's own loopback.
    Local,
    /// Not known.
    Unknown,
}

/// Kinds of records that can be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A connection attempt and what became of it.
    Flow,
    /// What follows from flows.
    Finding,
}

/// Whose labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelsOf {
    /// The pod's.
    Pod,
    /// Its namespace's.
    Namespace,
}

/// A record, as far as conditions ask for it. Each fact is asked for only where a condition needs it.
pub trait Facts {
    /// What kind of record it is.
    fn kind(&self) -> RecordKind;
    /// Class. A finding has none of its own: that is `Unknown`.
    fn class(&self) -> Said<Class>;
    /// Severity.
    fn severity(&self) -> Said<Severity>;
    /// Which end's node tells it.
    fn direction(&self) -> Said<Direction>;
    /// Protocol.
    fn protocol(&self) -> Said<Protocol>;
    /// The combined verdict; `Unknown` for a finding.
    fn verdict(&self) -> Said<Decision>;
    /// What became of it; `Unknown` for a finding.
    fn outcome(&self) -> Said<State>;
    /// Who stands at an end.
    fn end_kind(&self, end: End) -> Said<EndKind>;
    /// Namespace of a pod, or of a service.
    fn namespace(&self, end: End) -> Said<Cow<'_, str>>;
    /// Name of a pod.
    fn pod(&self, end: End) -> Said<Cow<'_, str>>;
    /// Kind and name of a pod's owner; a pod that nobody owns is one of kind `Pod`.
    fn workload(&self, end: End) -> Said<(Cow<'_, str>, Cow<'_, str>)>;
    /// The value of a label.
    fn label(&self, end: End, of: LabelsOf, key: &str) -> Said<Cow<'_, str>>;
    /// Whose software it is. That nothing tells is [`Origin::Unknown`], which can be asked for.
    fn origin(&self, end: End) -> Said<Origin>;
    /// The vendor; none where no vendor is known.
    fn vendor(&self, end: End) -> Said<Cow<'_, str>>;
    /// The address on the wire, and the one that was dialed, where that is another.
    fn addresses(&self, end: End) -> [Said<IpAddr>; 2];
    /// Likewise the ports.
    fn ports(&self, end: End) -> [Said<u16>; 2];
}
