//! What must stand in a line of which a choice can hold, as bytes: looking for these takes a tenth of reading the line.
//!
//! A value stands in a line as it is, in quotes, unless something in it is escaped: a line with a backslash is always read. So
//! is one of which something is not known, or was left out by its output, since that speaks for showing it.

use super::{ChoiceArgs, who};
use crate::model::Selector;
use crate::model::selector::Requirement;
use memchr::memmem::Finder;

/// Of each group one must be there.
#[derive(Clone, Debug, Default)]
pub(super) struct Needles(Vec<Vec<Finder<'static>>>);

/// Where an end is not known, parts were left out, or the record tells of several flows.
const NOT_KNOWN: [&str; 4] = ["\"unknown\"", "\"truncated\"", "\"masked\"", "\"finding\""];

/// Where a service stands, of whose pods nothing is known.
const OF_SERVICES: &str = "\"service\"";

/// Where the port is that of the first of several attempts.
const OF_PROBES: &str = "\"far_end_no_socket\"";

/// What a word of `--only` stands for.
const DENIALS: [&str; 6] = [
    "\"policy_not_enforced\"",
    "\"denied_attempt\"",
    "\"blocked_though_allowed\"",
    "\"blocked_unexplained\"",
    "\"undetermined\"",
    "\"finding\"",
];

impl Needles {
    pub(super) fn of(args: &ChoiceArgs) -> Self {
        let ChoiceArgs { only, class, severity, verdict, outcome, protocol, direction, .. } = args;
        let mut groups: Vec<Vec<String>> = vec![
            words(class),
            words(severity),
            words(verdict),
            words(outcome),
            words(protocol),
            words(direction),
            only.iter().flat_map(|word| news(word)).collect(),
            args.kind.iter().map(|kind| format!("\"{}\"", kind.name())).collect(),
            exact(&args.namespace, &NOT_KNOWN),
        ];
        for (key, names) in [("pod", &args.pod), ("workload", &args.workload), ("labels", &args.labels)] {
            groups.push(any(names.iter().map(|name| of_end(key, name))));
        }
        groups.push(ports(&args.port));
        for names in [&args.from, &args.to] {
            let readings = names.iter().flat_map(|name| who::readings(name));
            groups.push(any(readings.map(|(key, value)| of_end(key, value))));
        }
        let finders = |group: Vec<String>| -> Vec<Finder<'static>> {
            group.iter().map(|needle| Finder::new(needle).into_owned()).collect()
        };
        Self(groups.into_iter().filter(|group| !group.is_empty()).map(finders).collect())
    }

    pub(super) fn may_be_in(&self, line: &[u8]) -> bool {
        let has_all = self.0.iter().all(|group| group.iter().any(|needle| needle.find(line).is_some()));
        has_all || memchr::memchr(b'\\', line).is_some()
    }
}

/// Words of the schema, as people may write them.
fn words(words: &[String]) -> Vec<String> {
    words.iter().map(|word| format!("\"{}\"", word.trim().replace('-', "_").to_ascii_lowercase())).collect()
}

/// What stands in a line of which one of these can hold; nothing where that is not known of one.
fn any(groups: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for group in groups {
        if group.is_empty() {
            return Vec::new();
        }
        all.extend(group.into_iter().filter(|needle| !all.contains(needle)).collect::<Vec<_>>());
    }
    all
}

/// What an end has of which this can hold. Vendors are told in any letters, addresses in several ways, and where an end has no
/// vendor, port or address nothing may stand in its place: of these nothing is looked for.
fn of_end(key: &str, value: &str) -> Vec<String> {
    let of_pods = [&NOT_KNOWN[..], &[OF_SERVICES]].concat();
    match key {
        "kind" => exact(&[value.trim().to_ascii_lowercase()], &NOT_KNOWN),
        "namespace" => exact(&[value.to_owned()], &NOT_KNOWN),
        "pod" | "workload" => exact(&[value.rsplit('/').next().unwrap_or_default().to_owned()], &of_pods),
        "labels" => match Selector::parse(value) {
            Ok(selector) => exact(&labels(&selector), &of_pods),
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Keys or values of which a pod that is selected has one.
fn labels(selector: &Selector) -> Vec<String> {
    let asked = selector.requirements().iter().find_map(|requirement| match requirement {
        Requirement::In(_, values) => Some(values.clone()),
        Requirement::Exists(key) => Some(vec![key.clone()]),
        Requirement::NotIn(..) | Requirement::DoesNotExist(_) => None,
    });
    asked.unwrap_or_default()
}

fn news(word: &str) -> Vec<String> {
    match &*word.trim().to_ascii_lowercase() {
        "denials" => DENIALS.map(str::to_owned).to_vec(),
        "findings" => vec!["\"finding\"".to_owned()],
        // Every record has it.
        "all" => vec!["\"kind\"".to_owned()],
        _ => words(&[word.to_owned()]),
    }
}

/// Names without patterns; nothing where one is a pattern.
fn exact(names: &[String], more: &[&str]) -> Vec<String> {
    if names.is_empty() || names.iter().any(|name| name.contains('*')) {
        return Vec::new();
    }
    let names = names.iter().map(|name| format!("\"{}\"", name.trim()));
    names.chain(more.iter().map(|word| (*word).to_owned())).collect()
}

/// Single ports: a number stands in JSON as it is.
fn ports(ports: &[String]) -> Vec<String> {
    let numbers: Option<Vec<u16>> = ports.iter().map(|port| port.trim().parse().ok()).collect();
    match numbers {
        Some(numbers) if !numbers.is_empty() => {
            let more = NOT_KNOWN.iter().chain([&OF_PROBES]).map(|word| (*word).to_owned());
            numbers.iter().map(u16::to_string).chain(more).collect()
        }
        _ => Vec::new(),
    }
}
