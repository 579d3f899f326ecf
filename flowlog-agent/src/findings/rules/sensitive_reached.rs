//! FL201: a third party reached a sensitive workload.

use super::super::draft::Draft;
use super::super::estate::{Estate, Group, is_foreign, subject, went_through, with_vendor};
use crate::model::{Class, FindingId, Place, Severity};

const WHY: &str = "Somebody else's software talks to what is sensitive here. Whatever its vendor ships next runs with that \
    reach: a compromised release is one connection away from the data.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let found = estate.by_target(|link, source, destination| {
        // One's own database is no risk of reach: what counts is whose the two are.
        let is_own = source.vendor.is_some()
            && source.vendor == destination.vendor
            && same_namespace(source, destination);
        went_through(link) && is_foreign(source) && destination.sensitive.is_some() && !is_own
    });
    let drafts = found.into_iter().map(|Group { source, destination, target, links }| {
        let by_policy = links.iter().all(|link| link.class == Class::Allowed);
        let sensitive = destination.sensitive.as_deref().unwrap_or_default();
        let told = if by_policy { "a policy allows it" } else { "no policy says that it may" };
        let summary = format!("{} reached {target}, which is sensitive ({sensitive}); {told}.", with_vendor(source));
        Draft::new(FindingId::FL201, subject(source), summary)
            .object(target)
            .vendor(source.vendor.as_deref())
            .severity(if by_policy { Severity::Medium } else { Severity::High })
            .why(WHY)
            .links(estate, &links)
            .clue(source)
            .restrict_loose(&source.place, &links)
            .remedy(
                "If it must, say so by a policy that allows this one port to this one workload (`flowlog policy suggest`), and \
                 suppress the finding with the reason. If not, deny it.",
            )
    });
    drafts.collect()
}

fn same_namespace(one: &crate::model::Actor, other: &crate::model::Actor) -> bool {
    match (&one.place, &other.place) {
        (Place::Workload { namespace: one, .. }, Place::Workload { namespace: other, .. }) => one == other,
        _ => false,
    }
}
