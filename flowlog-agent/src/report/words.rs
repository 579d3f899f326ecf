//! Words that several reports have for the same thing.

use super::shown;
use crate::model::{
    Drift, Finding, Inputs, ObjectsRead, Origin, PolicyRef, Proof, RecordRef, RecordsRead, Severity,
    VendorSummary,
};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// `1 file`, `2 files`, `1 policy`, `2 policies`.
pub(super) fn count(number: u64, one: &str) -> String {
    let digits = grouped(number);
    match number {
        1 => format!("1 {one}"),
        _ => match one.strip_suffix('y') {
            Some(stem) if !one.ends_with("ay") => format!("{digits} {stem}ies"),
            _ => format!("{digits} {one}s"),
        },
    }
}

/// `60,123`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `7.3 MB`.
pub(super) fn bytes(number: u64) -> String {
    for (unit, size) in [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)] {
        if number >= size {
            return format!("{}.{} {unit}", grouped(number / size), number % size * 10 / size);
        }
    }
    count(number, "byte")
}

/// Findings of a severity.
pub(super) fn counted(counts: &BTreeMap<Severity, u64>, severity: Severity) -> u64 {
    counts.get(&severity).copied().unwrap_or(0)
}

/// `1 critical, 2 high`; `none` where there is nothing.
pub(super) fn severities(counts: &BTreeMap<Severity, u64>) -> String {
    let told: Vec<_> = Severity::ALL
        .into_iter()
        .filter_map(|severity| match counted(counts, severity) {
            0 => None,
            number => Some(format!("{} {}", grouped(number), severity.as_str())),
        })
        .collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// Whose software it is.
pub(super) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::FirstParty => "first party",
        Origin::Platform => "platform",
        Origin::ThirdParty => "third party",
        Origin::Unknown => "unknown",
    }
}

/// The vendor's name, or that nothing tells it.
pub(super) fn vendor(vendor: &VendorSummary) -> Cow<'_, str> {
    match &vendor.name {
        Some(name) => shown::line(name),
        None => Cow::Borrowed(match vendor.origin {
            Origin::Unknown => "(origin unknown)",
            _ => "(no vendor known)",
        }),
    }
}

/// What a finding is against the baseline.
pub(super) fn drift(drift: Drift) -> &'static str {
    match drift {
        Drift::New => "new",
        Drift::Worse => "worse",
        Drift::Known => "known",
    }
}

/// `NetworkPolicy shop/default-deny, rule 0`.
pub(super) fn policy(policy: &PolicyRef) -> String {
    let namespace = policy.namespace.as_ref().map_or_else(String::new, |namespace| format!("{namespace}/"));
    let rule = policy.rule.map_or_else(String::new, |rule| format!(", rule {rule}"));
    format!("{:?} {namespace}{}{rule}", policy.kind, policy.name)
}

/// `logs/node-1.jsonl:12`.
pub(super) fn record(record: &RecordRef) -> String {
    record.line.map_or_else(|| record.file.to_string(), |line| format!("{}:{line}", record.file))
}

/// A proof in a line.
pub(super) fn proof(proof: &Proof) -> String {
    match proof {
        Proof::Records { what, count: number, first, last, example } => format!(
            "{what}: {}, {} to {}, such as {}",
            count(*number, "attempt"),
            moment(*first),
            moment(*last),
            record(example)
        ),
        Proof::Policy { policy: named, what } => format!("{}: {what}", policy(named)),
        Proof::Absence { what } => what.clone(),
        Proof::Clue { clue } => {
            let whose = clue.vendor.as_deref().unwrap_or_else(|| origin(clue.origin));
            format!("{} matches {}: {whose}", clue.value, clue.rule)
        }
        Proof::Scan { report, what } => format!("{report}: {what}"),
        Proof::Inventory { what } => what.clone(),
        Proof::Baseline { what } => format!("baseline: {what}"),
    }
}

/// To the second, in UTC.
pub(super) fn moment(moment: jiff::Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// What was read, one thing a line.
pub(super) fn inputs(inputs: &Inputs) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(inputs.records.as_ref().map(records));
    lines.extend(inputs.records.as_ref().and_then(missed));
    lines.extend(inputs.objects.as_ref().map(objects));
    lines.extend(inputs.objects.as_ref().and_then(|objects| objects.unread.clone()));
    for scan in &inputs.scans {
        lines.push(format!("{} ({}): {}", scan.from, scan.format, count(scan.images, "image")));
    }
    lines.extend(inputs.baseline.as_ref().map(|file| format!("baseline {file}")));
    lines
}

fn records(read: &RecordsRead) -> String {
    let total = read.lines.values().sum();
    let window = match (read.first, read.last) {
        (Some(first), Some(last)) => format!(", {} to {}", moment(first), moment(last)),
        _ => String::new(),
    };
    let nodes = match u64::try_from(read.nodes.len()) {
        Ok(0) | Err(_) => String::new(),
        Ok(nodes) => format!(", {}", count(nodes, "node")),
    };
    format!(
        "{} in {} ({}){window}{nodes}",
        count(total, "record"),
        count(read.files, "file"),
        bytes(read.bytes)
    )
}

/// What records do not tell since it was lost or could not be read.
fn missed(read: &RecordsRead) -> Option<String> {
    let mut missed = Vec::new();
    for (number, one) in [
        (read.unreadable, "line that cannot be read"),
        (read.missing, "line missing"),
        (read.lost, "attempt lost by the agents"),
    ] {
        if number > 0 {
            let (noun, rest) = one.split_once(' ').unwrap_or((one, ""));
            missed.push(format!("{} {rest}", count(number, noun)));
        }
    }
    (!missed.is_empty()).then(|| format!("not in them: {}", missed.join(", ")))
}

fn objects(read: &ObjectsRead) -> String {
    format!(
        "{}, {}, {}, {} from {}",
        count(read.namespaces, "namespace"),
        count(read.workloads, "workload"),
        count(read.pods, "pod"),
        count(read.policies, "policy"),
        read.from
    )
}

/// `(a new one, a worse one)`: what a finding is called beside its title.
pub(super) fn heading(finding: &Finding) -> String {
    let mark = match finding.drift {
        Some(one @ (Drift::New | Drift::Worse)) => format!(" ({})", drift(one)),
        Some(Drift::Known) | None => String::new(),
    };
    format!("{} {}{mark}", finding.id, finding.title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_in_words() {
        for (number, one, expected) in [
            (1, "policy", "1 policy"),
            (2, "policy", "2 policies"),
            (0, "file", "0 files"),
            (1_234, "record", "1,234 records"),
            (60_123_456, "day", "60,123,456 days"),
        ] {
            assert_eq!(count(number, one), expected);
        }
    }

    #[test]
    fn bytes_have_a_unit() {
        for (number, expected) in [
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (7_340_032, "7.3 MB"),
            (12_000_000_000, "12.0 GB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
    }
}
