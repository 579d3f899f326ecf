//! What must stand in a line of which a choice can hold, as bytes: looking for these takes a tenth of reading the line.
//!
//! A value stands in a line as it is, in quotes, unless something in it is escaped: a line with a backslash is always read. So
//! is one of which something is not known, since that speaks for showing it. Names have no needles: an output may have left them
//! out, and what is not there cannot be looked for.

use super::ChoiceArgs;
use memchr::memmem::Finder;

/// Of each group one must be there.
#[derive(Clone, Debug, Default)]
pub(super) struct Needles(Vec<Vec<Finder<'static>>>);

/// Where an end is not known, its labels were left out, or the record tells of several flows.
const NOT_KNOWN: [&str; 3] = ["\"unknown\"", "\"truncated\"", "\"finding\""];

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
        ];
        groups.push(ports(&args.port));
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

fn news(word: &str) -> Vec<String> {
    match &*word.trim().to_ascii_lowercase() {
        "denials" => DENIALS.map(str::to_owned).to_vec(),
        "findings" => vec!["\"finding\"".to_owned()],
        // Every record has it.
        "all" => vec!["\"kind\"".to_owned()],
        _ => words(&[word.to_owned()]),
    }
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
