//! The names of values, as records write them.

use super::{EndKind, RecordKind, SelectionError};
use crate::model::{Class, Decision, Direction, Origin, Protocol, Severity, State};

/// A name and what it means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<T> {
    pub(super) name: &'static str,
    pub(super) means: T,
}

const fn word<T>(name: &'static str, means: T) -> Word<T> {
    Word { name, means }
}

pub(super) const KINDS: [Word<RecordKind>; 2] =
    [word("flow", RecordKind::Flow), word("finding", RecordKind::Finding)];

pub(super) const DIRECTIONS: [Word<Direction>; 2] =
    [word("egress", Direction::Egress), word("ingress", Direction::Ingress)];

pub(super) const PROTOCOLS: [Word<Protocol>; 5] = [
    word("tcp", Protocol::Tcp),
    word("udp", Protocol::Udp),
    word("sctp", Protocol::Sctp),
    word("icmp", Protocol::Icmp),
    word("icmpv6", Protocol::Icmpv6),
];

pub(super) const VERDICTS: [Word<Decision>; 4] = [
    word("allow", Decision::Allow),
    word("deny", Decision::Deny),
    word("mixed", Decision::Mixed),
    word("unknown", Decision::Unknown),
];

pub(super) const OUTCOMES: [Word<State>; 11] = [
    word("established", State::Established),
    word("refused", State::Refused),
    word("unreachable", State::Unreachable),
    word("rejected", State::Rejected),
    word("dropped", State::Dropped),
    word("pending", State::Pending),
    word("sent", State::Sent),
    word("answered", State::Answered),
    word("received", State::Received),
    word("aborted", State::Aborted),
    word("unknown", State::Unknown),
];

pub(super) const END_KINDS: [Word<EndKind>; 6] = [
    word("pod", EndKind::Pod),
    word("service", EndKind::Service),
    word("node", EndKind::Node),
    word("external", EndKind::External),
    word("local", EndKind::Local),
    word("unknown", EndKind::Unknown),
];

pub(super) const ORIGINS: [Word<Origin>; 4] = [
    word("first_party", Origin::FirstParty),
    word("platform", Origin::Platform),
    word("third_party", Origin::ThirdParty),
    word("unknown", Origin::Unknown),
];

pub(super) fn classes() -> [Word<Class>; 9] {
    Class::ALL.map(|class| word(class.as_str(), class))
}

pub(super) fn severities() -> [Word<Severity>; 5] {
    Severity::ALL.map(|severity| word(severity.as_str(), severity))
}

/// What a word means among these; `-` is as good as `_`, and capitals as small letters.
pub(super) fn find<T: Copy>(words: &[Word<T>], written: &str) -> Option<T> {
    let name = written.trim().replace('-', "_").to_ascii_lowercase();
    words.iter().find(|word| word.name == name).map(|word| word.means)
}

/// The same, where it must be one of them; `what` says what it would be.
pub(super) fn read<T: Copy>(
    key: &str,
    what: &'static str,
    words: &[Word<T>],
    written: &str,
) -> Result<T, SelectionError> {
    find(words, written).ok_or_else(|| SelectionError::NoSuch {
        key: key.to_owned(),
        value: written.to_owned(),
        what,
        near: nearest(written, words.iter().map(|word| word.name)),
        known: words.iter().map(|word| word.name).collect::<Vec<_>>().join(", "),
    })
}

/// The word most like this one, where one is like it.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let written = written.replace('-', "_").to_ascii_lowercase();
    known
        .map(|known| (strsim::jaro_winkler(&written, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known.to_owned())
}
