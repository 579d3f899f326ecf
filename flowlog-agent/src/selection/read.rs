//! Conditions of what people write: keys with values, of which each may be one word or several.

use super::end::{Named, OneEnd, Whose};
use super::words;
use super::{Condition, words::nearest};
use crate::model::{Selector, normalise_block};
use ipnet::IpNet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Keys of a condition. Those of an end also stand behind `source.` and `destination.`.
const KEYS: [&str; 7] = ["kind", "class", "severity", "direction", "protocol", "verdict", "outcome"];

/// Keys of an end.
const END_KEYS: [&str; 8] =
    ["namespace", "pod", "workload", "labels", "namespace_labels", "vendor", "cidr", "port"];

/// Keys of one end, beside those of either.
const KIND: &str = "kind";

/// A condition that can mean nothing, or not what was meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// It would hold of everything.
    #[error(
        "`{key}` asks for nothing, and would hold of every record: give it a key, such as `class: denied_attempt`"
    )]
    Empty {
        /// The condition.
        key: String,
    },
    /// A key that there is not.
    #[error("`{key}` is no key of a condition: there are {known}{}", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// The key.
        key: String,
        /// The key most like it.
        near: Option<String>,
        /// All of them.
        known: String,
    },
    /// A key without a value.
    #[error("`{key}` has no value: leave it out, or give it one, such as `{such_as}`")]
    NoValue {
        /// The key.
        key: String,
        /// What would be right.
        such_as: &'static str,
    },
    /// A word that there is not.
    #[error("`{key}` has `{value}`, which is not {what}: there are {known}{}", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    NoSuch {
        /// The key.
        key: String,
        /// The word.
        value: String,
        /// What it would be.
        what: &'static str,
        /// The word most like it.
        near: Option<String>,
        /// All of them.
        known: String,
    },
    /// A value of another form.
    #[error("`{key}` has `{value}`, which is no {what}")]
    Form {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What would be right.
        what: &'static str,
    },
    /// A label selector that cannot be read.
    #[error("`{key}`: {why}")]
    Selector {
        /// The key.
        key: String,
        /// Why.
        why: String,
    },
    /// `all` and something else.
    #[error("`{key}` has `all` beside other words: `all` stands alone")]
    AllAndMore {
        /// The key.
        key: String,
    },
}

impl Condition {
    /// From keys (`class`, `source.namespace`) with their values; `place` is how the user calls the condition
    /// (`deny[0]`), put before its keys in errors, and may be empty.
    ///
    /// # Errors
    /// It asks for nothing, or for something that there cannot be.
    pub fn read<'a>(
        place: &str,
        written: impl IntoIterator<Item = (&'a str, &'a [String])>,
    ) -> Result<Self, SelectionError> {
        let mut condition = Self::default();
        for (key, values) in written {
            let shown = if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
            condition.take(&shown, key, values)?;
        }
        if condition == Self::default() {
            return Err(SelectionError::Empty { key: place.to_owned() });
        }
        Ok(condition)
    }

    fn take(&mut self, shown: &str, key: &str, values: &[String]) -> Result<(), SelectionError> {
        let (end, of_end) = match key.split_once('.') {
            Some(("source", rest)) => (&mut self.source, rest),
            Some(("destination", rest)) => (&mut self.destination, rest),
            _ if KEYS.contains(&key) => return self.take_own(shown, key, values),
            _ => (&mut self.either.0, key),
        };
        let is_of_one = key != of_end;
        let is_known = END_KEYS.contains(&of_end) || (is_of_one && of_end == KIND);
        if !is_known {
            return Err(unknown_key(shown, of_end, is_of_one));
        }
        let such_as = such_as(of_end);
        if values.is_empty() {
            return Err(SelectionError::NoValue { key: shown.to_owned(), such_as });
        }
        values.iter().try_for_each(|value| end.take(shown, of_end, value.trim()))
    }

    fn take_own(&mut self, shown: &str, key: &str, values: &[String]) -> Result<(), SelectionError> {
        if values.is_empty() {
            return Err(SelectionError::NoValue { key: shown.to_owned(), such_as: such_as(key) });
        }
        for value in values {
            match key {
                "kind" => self.kinds.push(words::read(shown, "a kind of record", &words::KINDS, value)?),
                "class" => self.classes.push(words::read(shown, "a class", &words::classes(), value)?),
                "severity" => {
                    self.severities.push(words::read(shown, "a severity", &words::severities(), value)?);
                }
                "direction" => {
                    self.directions.push(words::read(shown, "a direction", &words::DIRECTIONS, value)?);
                }
                "protocol" => {
                    self.protocols.push(words::read(shown, "a protocol", &words::PROTOCOLS, value)?);
                }
                "verdict" => self.verdicts.push(words::read(shown, "a verdict", &words::VERDICTS, value)?),
                _ => self.outcomes.push(words::read(shown, "an outcome", &words::OUTCOMES, value)?),
            }
        }
        Ok(())
    }
}

impl OneEnd {
    fn take(&mut self, shown: &str, key: &str, value: &str) -> Result<(), SelectionError> {
        let form = |what| SelectionError::Form { key: shown.to_owned(), value: value.to_owned(), what };
        let selector = || {
            let refuse = |why| SelectionError::Selector { key: shown.to_owned(), why };
            Selector::parse(value).map_err(refuse)
        };
        match key {
            "namespace" if is_pattern(value, "-") => self.who.namespaces.push(value.to_owned()),
            "namespace" => {
                return Err(form("name of a namespace, nor a pattern of such (`*` for any letters)"));
            }
            "pod" => self.who.pods.push(named(value, false).ok_or_else(|| form(POD))?),
            "workload" => self.who.workloads.push(named(value, true).ok_or_else(|| form(WORKLOAD))?),
            "labels" => self.who.labels.push(selector()?),
            "namespace_labels" => self.who.namespace_labels.push(selector()?),
            "vendor" if value.is_empty() => return Err(form("vendor")),
            "vendor" => self.vendors.push(match words::find(&words::ORIGINS, value) {
                Some(origin) => Whose::Origin(origin),
                None => Whose::Vendor(value.to_ascii_lowercase()),
            }),
            "cidr" => self.cidrs.push(block(value).ok_or_else(|| form(CIDR))?),
            "port" => self.ports.push(ports(value).ok_or_else(|| form(PORT))?),
            _ => self.kinds.push(words::read(shown, "a kind of end", &words::END_KINDS, value)?),
        }
        Ok(())
    }
}

const POD: &str = "name of a pod: write `[NAMESPACE/]NAME`, `*` for any letters";
const WORKLOAD: &str =
    "name of a workload: write `[NAMESPACE/][KIND/]NAME` (`shop/Deployment/web`), `*` for any letters";
const CIDR: &str = "address, nor a block of such (10.244.0.0/16, fd00::/48)";
const PORT: &str = "port (1 to 65535), nor a range of such (8000-8999)";

fn unknown_key(shown: &str, key: &str, is_of_one: bool) -> SelectionError {
    let known: Vec<&str> = match is_of_one {
        true => std::iter::once(KIND).chain(END_KEYS).collect(),
        false => KEYS.into_iter().chain(END_KEYS).chain(["source", "destination"]).collect(),
    };
    let near = nearest(key, known.iter().copied());
    SelectionError::UnknownKey { key: shown.to_owned(), near, known: known.join(", ") }
}

fn such_as(key: &str) -> &'static str {
    match key {
        "kind" => "flow",
        "class" => "denied_attempt",
        "severity" => "high",
        "direction" => "egress",
        "protocol" => "tcp",
        "verdict" => "deny",
        "outcome" => "dropped",
        "namespace" => "kube-*",
        "pod" => "web-*",
        "workload" => "Deployment/web",
        "labels" => "app=web",
        "namespace_labels" => "team=shop",
        "vendor" => "third_party",
        "cidr" => "10.0.0.0/8",
        _ => "443",
    }
}

/// Names as the API takes them, with `*` for any letters.
fn is_pattern(text: &str, more: &str) -> bool {
    let is_of_names = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '*' || more.contains(letter)
    };
    !text.is_empty() && text.chars().all(is_of_names)
}

/// A kind begins with a capital, and so is told from a namespace.
fn named(value: &str, has_kind: bool) -> Option<Named> {
    let mut parts: Vec<&str> = value.split('/').collect();
    let name = parts.pop().filter(|name| is_pattern(name, "-."))?.to_owned();
    let is_kind = |part: &&str| {
        part.starts_with(|first: char| first.is_ascii_uppercase())
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '*')
    };
    let kind = parts.last().filter(|part| has_kind && is_kind(part)).map(|kind| (*kind).to_owned());
    if kind.is_some() {
        parts.pop();
    }
    let namespace = parts.pop();
    let right = parts.is_empty() && namespace.is_none_or(|namespace| is_pattern(namespace, "-"));
    right.then(|| Named { namespace: namespace.map(str::to_owned), kind, name })
}

fn block(value: &str) -> Option<IpNet> {
    let block = value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from)).ok()?;
    Some(normalise_block(block).trunc())
}

fn ports(value: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match value.split_once('-') {
        None => port(value).map(|port| port..=port),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            (first <= last).then_some(first..=last)
        }
    }
}
