//! FL205: a third party crosses namespaces.

use super::super::draft::Draft;
use super::super::estate::{Estate, is_foreign, subject, went_through, with_vendor};
use crate::model::{Actor, FindingId, Link, Origin, Severity};
use std::collections::BTreeMap;

const WHY: &str = "Namespaces are where most clusters draw their lines. A third party that reaches beyond its own can be \
    used to cross them.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let mut found: BTreeMap<(usize, String), Vec<&Link>> = BTreeMap::new();
    for link in &estate.links {
        let Some((source, destination)) = estate.ends(link) else { continue };
        // The platform is there for everybody: names are asked for in its namespace.
        let crosses = is_foreign(source) && destination.origin != Origin::Platform && went_through(link);
        let (own, other) = (source.place.namespace(), destination.place.namespace());
        if let (true, Some(own), Some(other)) = (crosses && destination.role.is_none(), own, other)
            && own != other
        {
            found.entry((link.source, other.to_string())).or_default().push(link);
        }
    }
    let drafts = found.into_iter().filter_map(|((source, namespace), links)| {
        let source = estate.actor(source)?;
        let targets: Vec<String> = targets(estate, &links);
        let summary = format!("{} reaches into namespace {namespace}: {}.", with_vendor(source), super::listed(&targets, 5));
        Some(
            Draft::new(FindingId::FL205, subject(source), summary)
                .object(format!("namespace {namespace}"))
                .vendor(source.vendor.as_deref())
                .severity(Severity::Low)
                .why(WHY)
                .links(estate, &links)
                .clue(source)
                .restrict_loose(&source.place, &links)
                .remedy(
                    "Restrict its egress to what it needs (`flowlog policy suggest`), and the namespace's ingress to those who \
                     belong there.",
                ),
        )
    });
    drafts.collect()
}

fn targets(estate: &Estate<'_>, links: &[&Link]) -> Vec<String> {
    let mut targets: Vec<String> = links
        .iter()
        .filter_map(|link| {
            let destination: &Actor = estate.actor(link.destination)?;
            Some(super::super::estate::target(destination, link.protocol, link.port))
        })
        .collect();
    targets.sort();
    targets.dedup();
    targets
}
