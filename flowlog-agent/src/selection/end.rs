//! What an end of a flow must be like.

use super::condition::among;
use super::{Answer, End, EndKind, Facts, LabelsOf, Said};
use crate::model::selector::Requirement;
use crate::model::{Origin, Selector, glob};
use ipnet::IpNet;
use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Which pod, service or workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) namespaces: Vec<String>,
    pub(super) pods: Vec<Named>,
    pub(super) workloads: Vec<Named>,
    pub(super) labels: Vec<Selector>,
    pub(super) namespace_labels: Vec<Selector>,
}

/// `[NAMESPACE/][KIND/]NAME`; `*` for any letters in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) namespace: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) name: String,
}

/// Whose software.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Origin(Origin),
    /// A vendor, in small letters; `*` for any letters.
    Vendor(String),
}

/// One end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OneEnd {
    pub(super) kinds: Vec<EndKind>,
    pub(super) who: Identity,
    pub(super) vendors: Vec<Whose>,
    pub(super) cidrs: Vec<IpNet>,
    pub(super) ports: Vec<RangeInclusive<u16>>,
}

/// Either end: who it is, of one and the same; whose software and which address, of either; the port is the listener's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EitherEnd(pub(super) OneEnd);

impl OneEnd {
    pub(super) fn answer(&self, facts: &impl Facts, end: End) -> Answer {
        among(&self.kinds, || facts.end_kind(end))
            .and(|| self.ports(facts, end))
            .and(|| self.who.answer(facts, end))
            .and(|| self.vendors(facts, end))
            .and(|| self.cidrs(facts, end))
    }

    fn vendors(&self, facts: &impl Facts, end: End) -> Answer {
        of_any(&self.vendors, |whose| match whose {
            Whose::Origin(origin) => facts.origin(end).answer(|is| is == *origin),
            Whose::Vendor(pattern) => {
                facts.vendor(end).answer(|vendor| glob(pattern, &vendor.to_ascii_lowercase()))
            }
        })
    }

    fn cidrs(&self, facts: &impl Facts, end: End) -> Answer {
        let is_in = |address: IpAddr| self.cidrs.iter().any(|block| block.contains(&address));
        if self.cidrs.is_empty() {
            return Answer::Yes;
        }
        Answer::any(facts.addresses(end).into_iter().map(|address| address.answer(is_in)))
    }

    fn ports(&self, facts: &impl Facts, end: End) -> Answer {
        let is_among = |port: u16| self.ports.iter().any(|range| range.contains(&port));
        if self.ports.is_empty() {
            return Answer::Yes;
        }
        Answer::any(facts.ports(end).into_iter().map(|port| port.answer(is_among)))
    }
}

impl EitherEnd {
    pub(super) fn answer(&self, facts: &impl Facts) -> Answer {
        let Self(one) = self;
        one.ports(facts, End::Destination)
            .and(|| Answer::any(End::BOTH.map(|end| one.who.answer(facts, end))))
            .and(|| Answer::any(End::BOTH.map(|end| one.vendors(facts, end))))
            .and(|| Answer::any(End::BOTH.map(|end| one.cidrs(facts, end))))
    }
}

impl Identity {
    fn answer(&self, facts: &impl Facts, end: End) -> Answer {
        let in_namespace = |pattern: &str| facts.namespace(end).answer(|namespace| glob(pattern, &namespace));
        let named = |one: &Named, name: Answer| {
            name.and(|| one.namespace.as_deref().map_or(Answer::Yes, in_namespace))
        };
        let pod = |one: &Named| named(one, facts.pod(end).answer(|name| glob(&one.name, &name)));
        let workload = |one: &Named| {
            named(one, facts.workload(end).answer(|(kind, name)| one.is_workload(&kind, &name)))
        };
        of_any(&self.namespaces, |pattern| in_namespace(pattern))
            .and(|| of_any(&self.pods, pod))
            .and(|| of_any(&self.workloads, workload))
            .and(|| of_any(&self.labels, |one| selected(facts, end, LabelsOf::Pod, one)))
            .and(|| of_any(&self.namespace_labels, |one| selected(facts, end, LabelsOf::Namespace, one)))
    }
}

impl Named {
    fn is_workload(&self, kind: &str, name: &str) -> bool {
        self.kind.as_ref().is_none_or(|pattern| glob(pattern, kind)) && glob(&self.name, name)
    }
}

/// One of several, where there are any.
fn of_any<T>(values: &[T], ask: impl Fn(&T) -> Answer) -> Answer {
    if values.is_empty() { Answer::Yes } else { Answer::any(values.iter().map(ask)) }
}

fn selected(facts: &impl Facts, end: End, of: LabelsOf, selector: &Selector) -> Answer {
    // What has no labels at all, since it is no pod, is not selected by what it lacks.
    if let Said::Is(kind) = facts.end_kind(end)
        && !matches!(kind, EndKind::Pod | EndKind::Service | EndKind::Unknown)
    {
        return Answer::No;
    }
    let of_key = |key: &str, holds: &dyn Fn(Option<Cow<'_, str>>) -> bool| match facts.label(end, of, key) {
        Said::Is(value) => holds(Some(value)).into(),
        Said::Nothing => holds(None).into(),
        Said::Unknown => Answer::Unknown,
    };
    Answer::all(selector.requirements().iter().map(|requirement| match requirement {
        Requirement::In(key, values) => {
            of_key(key, &|value| value.is_some_and(|value| values.iter().any(|one| *one == value)))
        }
        Requirement::NotIn(key, values) => {
            of_key(key, &|value| value.is_none_or(|value| values.iter().all(|one| *one != value)))
        }
        Requirement::Exists(key) => of_key(key, &|value| value.is_some()),
        Requirement::DoesNotExist(key) => of_key(key, &|value| value.is_none()),
    }))
}
