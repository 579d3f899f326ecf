//! What changed policies do to the possible reach of third parties, in words.

use super::super::policy::{self, put};
use crate::findings::simulate::{Moved, Ports, ReachChange, Stretch};
use crate::model::{Decision, Place, Role};

/// Destinations that are named of those that one thing happens to.
const NAMED: usize = 5;

/// What is told of each third party whose reach moves.
pub(super) fn text(out: &mut String, change: &ReachChange) {
    for moved in &change.workloads {
        put(out, 0, &format!("{} could reach something else:", title(moved)));
        for (what, stretches) in
            [("newly open", &moved.opened), ("closed", &moved.closed), ("not sure", &moved.unsure)]
        {
            for (is_outside, area) in [(false, "inside"), (true, "outside")] {
                let own: Vec<&Stretch> =
                    stretches.iter().filter(|one| self::is_outside(one) == is_outside).collect();
                for alike in alike(&own) {
                    put(out, 2, &format!("{what} {area}: {}", line(&alike)));
                }
            }
        }
        out.push('\n');
    }
    for limit in &change.limits {
        put(out, 0, limit);
    }
}

/// All of it in one line.
pub(super) fn sums(change: &ReachChange) -> String {
    let sums = &change.sums;
    let unsure =
        if sums.unsure > 0 { format!("; of {} it cannot be told", sums.unsure) } else { String::new() };
    format!(
        "possible reach of third parties ({}): {} could reach more ({} newly open), {} less ({} closed){unsure}",
        counted(sums.workloads, "workload"),
        sums.wider,
        counted(sums.opened, "destination"),
        sums.narrower,
        counted(sums.closed, "destination"),
    )
}

fn counted(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn title(moved: &Moved) -> String {
    match &moved.vendor {
        Some(vendor) => format!("{} ({vendor})", moved.workload),
        None => format!("{} (nobody knows whose)", moved.workload),
    }
}

fn is_outside(stretch: &Stretch) -> bool {
    matches!(stretch.destination, Place::External { .. })
}

/// Those of the same ports to which the same happens by the same policies, together.
fn alike<'s>(stretches: &[&'s Stretch]) -> Vec<Vec<&'s Stretch>> {
    let mut found: Vec<Vec<&Stretch>> = Vec::new();
    for stretch in stretches {
        let is_like = |other: &&Stretch| {
            let key = |one: &Stretch| (one.before, one.after, one.unrestricted);
            key(other) == key(stretch)
                && other.ports == stretch.ports
                && other.policies == stretch.policies
                && other.reason == stretch.reason
        };
        match found.iter_mut().find(|group| group.first().is_some_and(is_like)) {
            Some(group) => group.push(stretch),
            None => found.push(vec![stretch]),
        }
    }
    found
}

fn line(alike: &[&Stretch]) -> String {
    let Some(first) = alike.first() else { return String::new() };
    // What is sensitive is named first.
    let mut sorted = alike.to_vec();
    sorted.sort_by_key(|one| one.sensitive.is_none());
    let mut named = sorted.iter().take(NAMED).map(|one| whom(one)).collect::<Vec<_>>().join(", ");
    match alike.len().saturating_sub(NAMED) {
        0 => (),
        more => named.push_str(&format!(" and {more} more")),
    }
    let ports: Vec<String> = first.ports.iter().map(port).collect();
    format!("{named}: {}{}", ports.join(", "), why(first))
}

fn whom(stretch: &Stretch) -> String {
    let place = match stretch.role {
        Some(Role::KubernetesApi) => "the Kubernetes API".to_owned(),
        Some(Role::Metadata) => format!("{} (cloud metadata)", stretch.destination),
        _ => stretch.destination.to_string(),
    };
    let except: Vec<&str> = stretch.except.iter().map(String::as_str).collect();
    let except = if except.is_empty() { String::new() } else { format!(" (but for {})", except.join(", ")) };
    let sensitive = stretch.sensitive.as_ref().map_or_else(String::new, |why| format!(" (sensitive: {why})"));
    format!("{place}{except}{sensitive}")
}

/// `TCP/443`, `TCP/8000-8999`, `all TCP`.
fn port(ports: &Ports) -> String {
    let protocol = ports.protocol.as_kubernetes();
    let name = ports.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
    match (ports.port, ports.last) {
        (None, _) => format!("all {protocol}"),
        (Some(first), Some(last)) => format!("{protocol}/{first}-{last}"),
        (Some(port), None) => format!("{protocol}/{port}{name}"),
    }
}

fn why(stretch: &Stretch) -> String {
    let names: Vec<String> = stretch.policies.iter().map(policy::name).collect();
    let by = match names.is_empty() {
        true => String::new(),
        false => format!(" by {}", names.join(", ")),
    };
    match (stretch.before, stretch.after, stretch.unrestricted) {
        (Decision::Deny, Decision::Allow, true) => "; no policy would restrict it".to_owned(),
        (Decision::Allow, Decision::Deny, true) => "; no policy restricts it before".to_owned(),
        (Decision::Deny, Decision::Allow, false) => format!("; allowed{by}"),
        (Decision::Allow, Decision::Deny, false) => format!("; allowed before{by}"),
        (before, after, _) => {
            let reason = stretch.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("; {} before, {} after{reason}", before.as_str(), after.as_str())
        }
    }
}
