//! FL501: a flow that the baseline does not have.

use super::super::draft::Draft;
use super::super::estate::{Estate, Group, is_foreign, subject, went_through, with_vendor};
use crate::model::{FindingId, Proof, Severity};

const WHY: &str =
    "The baseline is what was looked at and accepted. What was not there then has not been looked at.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let Some((file, baseline)) = estate.input.baseline else { return Vec::new() };
    let found = estate.by_target(|link, source, destination| {
        went_through(link) && !baseline.has_flow(&source.place, &destination.place, link.protocol, link.port)
    });
    let drafts = found.into_iter().map(|Group { source, destination, target, links }| {
        let (knows_source, knows_both) = (
            baseline.has_place(&source.place),
            baseline.has_pair(&source.place, &destination.place),
        );
        let what = match (knows_source, knows_both) {
            (false, _) => format!("{} is not in it", source.place),
            (true, true) => "the two are in it, with other ports".to_owned(),
            (true, false) => format!("{} is in it, and did not reach {}", source.place, destination.place),
        };
        let summary = format!("{} reached {target}, which the baseline does not have.", with_vendor(source));
        Draft::new(FindingId::FL501, subject(source), summary)
            .object(target)
            .vendor(source.vendor.as_deref())
            .severity(if is_foreign(source) { Severity::Medium } else { Severity::Low })
            .why(WHY)
            .evidence(Proof::Baseline { what: format!("{file}: {what}") })
            .links(estate, &links)
            .remedy("Look at it. If it is meant to be, write a new baseline (`--write-baseline`); if not, deny it.")
    });
    drafts.collect()
}
