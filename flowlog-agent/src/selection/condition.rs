//! What a record must be like: all that is said must hold, of several values one.

use super::end::{EitherEnd, OneEnd};
use super::{Answer, End, Facts, RecordKind, Said};
use crate::model::{Class, Decision, Direction, Protocol, Severity, State};

/// What a record must be like. There is always something that it asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    pub(super) kinds: Vec<RecordKind>,
    pub(super) classes: Vec<Class>,
    pub(super) severities: Vec<Severity>,
    pub(super) directions: Vec<Direction>,
    pub(super) protocols: Vec<Protocol>,
    pub(super) verdicts: Vec<Decision>,
    pub(super) outcomes: Vec<State>,
    pub(super) either: EitherEnd,
    pub(super) source: OneEnd,
    pub(super) destination: OneEnd,
}

impl Condition {
    /// Whether it holds of these facts.
    pub fn answer(&self, facts: &impl Facts) -> Answer {
        // What is cheap and tells most apart comes first.
        among(&self.classes, || facts.class())
            .and(|| among(&self.kinds, || Said::Is(facts.kind())))
            .and(|| among(&self.severities, || facts.severity()))
            .and(|| among(&self.directions, || facts.direction()))
            .and(|| among(&self.protocols, || facts.protocol()))
            .and(|| among(&self.verdicts, || facts.verdict()))
            .and(|| among(&self.outcomes, || facts.outcome()))
            .and(|| self.source.answer(facts, End::Source))
            .and(|| self.destination.answer(facts, End::Destination))
            .and(|| self.either.answer(facts))
    }
}

/// One of these, where there are any.
pub(super) fn among<T: PartialEq>(values: &[T], said: impl FnOnce() -> Said<T>) -> Answer {
    if values.is_empty() { Answer::Yes } else { said().answer(|value| values.contains(&value)) }
}
