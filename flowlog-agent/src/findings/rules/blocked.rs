//! FL102: an allowed connection was blocked.

use super::super::draft::Draft;
use super::super::estate::{Estate, Group, subject, with_vendor};
use crate::model::{Class, FindingId, Severity};

const WHY: &str = "A policy allows the connection and something blocked it all the same: a firewall or another layer that \
    nobody holds beside the policies, a stale rule of the network plugin, or a misconfiguration that breaks what is meant \
    to work.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let is_blocked = |class| matches!(class, Class::BlockedThoughAllowed | Class::BlockedUnexplained);
    let found = estate.by_target(|link, _, _| is_blocked(link.class));
    let drafts = found.into_iter().map(|Group { source, destination, target, links }| {
        let allowed = links.iter().any(|link| link.class == Class::BlockedThoughAllowed);
        let told = if allowed { "the policies allow it" } else { "no policy selects either end" };
        let summary = format!("{} was blocked on the way to {target}, and {told}.", with_vendor(source));
        let is_own = destination.place.namespace().is_some();
        Draft::new(FindingId::FL102, subject(source), summary)
            .object(target)
            .vendor(source.vendor.as_deref())
            .severity(if allowed && is_own { Severity::Medium } else { Severity::Low })
            .why(WHY)
            .links(estate, &links)
            .remedy(
                "Find out who dropped it: the records tell the reason and the place of the drop. Then mend that layer, or, if \
                 the connection is not meant to be, deny it in the policies, too.",
            )
    });
    drafts.collect()
}
