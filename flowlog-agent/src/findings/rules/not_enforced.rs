//! FL101: a declared deny was not enforced.

use super::super::draft::Draft;
use super::super::estate::{Estate, Group, is_foreign, subject, with_vendor};
use crate::model::{Class, FindingId, Severity};

const WHY: &str = "The declared policies say that this connection must not be, and the network let it through: whoever \
    relies on the policy relies on nothing. No enforcement, a plugin that does not know the policy's kind, or a path \
    around it are the usual causes.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let found = estate.by_target(|link, _, _| link.class == Class::PolicyNotEnforced);
    let drafts = found.into_iter().map(|Group { source, destination, target, links }| {
        let is_worse = is_foreign(source) && destination.sensitive.is_some();
        let policies: Vec<String> = links.iter().flat_map(|link| &link.policies).map(super::policy_name).collect();
        let denying = policies.first().map_or_else(String::new, |first| format!(", although {first} denies it"));
        let summary = format!("{} reached {target}{denying}.", with_vendor(source));
        Draft::new(FindingId::FL101, subject(source), summary)
            .object(target)
            .vendor(source.vendor.as_deref())
            .severity(if is_worse { Severity::Critical } else { Severity::High })
            .why(WHY)
            .links(estate, &links)
            .remedy(
                "Find out why nothing enforces the policy: whether the network plugin enforces NetworkPolicies at all on the \
                 node that told it, knows this kind of policy, and had followed it by then (`flowlog policy explain` shows \
                 the rule that decides).",
            )
    });
    drafts.collect()
}
