//! FL104: a source probes.

use super::super::draft::Draft;
use super::super::estate::{Estate, subject, with_vendor};
use crate::model::{Class, FindingId, Link, Protocol, Severity};
use std::collections::{BTreeMap, BTreeSet};

const WHY: &str = "Many targets or ports in a short time that are all denied or refused are what a scan looks like: \
    somebody looks for what can be reached, as is done before moving on from a first foothold.";

/// What was tried: whom, and which port.
type Target = (usize, Protocol, Option<u16>);

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let settings = estate.input.settings;
    let mut by_source: BTreeMap<usize, Vec<&Link>> = BTreeMap::new();
    // Blocked without a policy's word, or given up, is no sign of a probe by itself.
    let is_sign = |link: &&Link| matches!(link.class, Class::DeniedAttempt | Class::Refused);
    for link in estate.links.iter().filter(is_sign) {
        by_source.entry(link.source).or_default().push(link);
    }
    let drafts = by_source.into_iter().filter_map(|(source, mut links)| {
        links.sort_by_key(|link| link.first);
        let (most, span) = most_within(&links, settings.probe_within.as_secs());
        if most.len() < settings.probe_targets {
            return None;
        }
        let source = estate.actor(source)?;
        let hosts: BTreeSet<usize> = most.iter().map(|(host, ..)| *host).collect();
        let ports: BTreeSet<Option<u16>> = most.iter().map(|(_, _, port)| *port).collect();
        let summary = format!(
            "{} tried {} in {span} that were all denied or refused: {} and {}.",
            with_vendor(source),
            super::many(most.len(), "target"),
            super::many(hosts.len(), "place"),
            super::many(ports.len(), "port"),
        );
        let within: Vec<&Link> =
            links.into_iter().filter(|link| most.contains(&(link.destination, link.protocol, link.port))).collect();
        Some(
            Draft::new(FindingId::FL104, subject(source), summary)
                .vendor(source.vendor.as_deref())
                .severity(Severity::High)
                .why(WHY)
                .links(estate, &within)
                .remedy(
                    "Look at what runs there: the records name process and container. Isolate the workload until it is known \
                     why it does this; a scanner that is meant to be can be suppressed by name.",
                ),
        )
    });
    drafts.collect()
}

/// The most different targets that were first tried within so many seconds, and in words how long that took.
fn most_within(links: &[&Link], seconds: i64) -> (BTreeSet<Target>, String) {
    let mut most: (BTreeSet<Target>, i64) = (BTreeSet::new(), 0);
    let mut begin = 0;
    let mut counts: BTreeMap<Target, usize> = BTreeMap::new();
    for link in links {
        *counts.entry((link.destination, link.protocol, link.port)).or_default() += 1;
        while let Some(oldest) = links.get(begin) {
            if link.first.as_second() - oldest.first.as_second() <= seconds {
                break;
            }
            let key = (oldest.destination, oldest.protocol, oldest.port);
            if let Some(count) = counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&key);
                }
            }
            begin += 1;
        }
        if counts.len() > most.0.len() {
            let took = links.get(begin).map_or(0, |oldest| link.first.as_second() - oldest.first.as_second());
            most = (counts.keys().copied().collect(), took);
        }
    }
    let span = match most.1 {
        0 => "a second".to_owned(),
        seconds if seconds < 120 => super::many(usize::try_from(seconds).unwrap_or(0), "second"),
        seconds => super::many(usize::try_from(seconds / 60).unwrap_or(0), "minute"),
    };
    (most.0, span)
}
