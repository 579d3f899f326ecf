//! FL206: a third party talks to the internet.

use super::super::draft::Draft;
use super::super::estate::{Estate, is_foreign, subject, target, went_through, with_vendor};
use crate::model::{Class, FindingId, Link, Place, Severity};
use std::collections::BTreeMap;

const WHY: &str = "What a third party sees, it can send away, and what it fetches, it may run. Where it talks to should be \
    known, and allowed by name or network.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let mut found: BTreeMap<usize, Vec<&Link>> = BTreeMap::new();
    for link in &estate.links {
        let Some((source, destination)) = estate.ends(link) else { continue };
        let outside = matches!(destination.place, Place::External { .. }) && destination.role.is_none();
        if is_foreign(source) && outside && went_through(link) {
            found.entry(link.source).or_default().push(link);
        }
    }
    let drafts = found.into_iter().filter_map(|(source, links)| {
        let source = estate.actor(source)?;
        let mut targets: Vec<String> = links
            .iter()
            .filter_map(|link| Some(target(estate.actor(link.destination)?, link.protocol, link.port)))
            .collect();
        targets.sort();
        targets.dedup();
        let is_declared = links.iter().all(|link| link.class == Class::Allowed);
        let is_own = links.iter().all(|link| {
            let vendor = estate.actor(link.destination).and_then(|outside| outside.vendor.as_ref());
            vendor.is_some() && vendor == source.vendor.as_ref()
        });
        let told = match (is_declared, is_own) {
            (true, _) => "A policy allows it",
            (false, true) => "Its names are the vendor's own; no policy says that it may",
            (false, false) => "No policy says that it may",
        };
        let summary = format!("{} talks to {} outside: {}. {told}.", with_vendor(source), super::many(targets.len(), "place"), super::listed(&targets, 5));
        Some(
            Draft::new(FindingId::FL206, subject(source), summary)
                .vendor(source.vendor.as_deref())
                .severity(if is_declared { Severity::Info } else { Severity::Low })
                .why(WHY)
                .links(estate, &links)
                .clue(source)
                .restrict_loose(&source.place, &links)
                .remedy(
                    "Allow the networks that it needs and no others (`flowlog policy suggest` with external blocks); where its \
                     addresses change, put a proxy between.",
                ),
        )
    });
    drafts.collect()
}
