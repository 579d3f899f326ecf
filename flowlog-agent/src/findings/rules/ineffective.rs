//! FL303: a policy that cannot take effect, as the checks of policies found.

use super::super::draft::Draft;
use super::super::estate::Estate;
use crate::model::{FindingId, Proof, Subject};

const WHY: &str = "Whoever wrote it relies on it. A selector that meets nothing, or a port that nobody has, is most often a slip \
    of the pen, and nothing at run time tells of it.";

/// Checks of policies that say that one does nothing.
const CHECKS: [&str; 3] = ["selects-nothing", "peer-matches-nothing", "named-port-undeclared"];

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let faults = estate.input.cluster.and_then(|cluster| cluster.faults).into_iter().flatten();
    let told = faults.filter(|fault| CHECKS.contains(&&*fault.check)).map(|fault| {
        let name = super::policy_name(&fault.policy);
        let field = fault.field.as_deref().map_or_else(String::new, |field| format!(", {field}"));
        let place = match &fault.place {
            Some((file, Some(line))) => format!("{file}:{line}: "),
            Some((file, None)) => format!("{file}: "),
            None => String::new(),
        };
        let subject = Subject::Policy { policy: fault.policy.clone(), direction: None };
        Draft::new(
            FindingId::FL303,
            subject,
            format!("{name}{field}: {}.", fault.message.trim_end_matches('.')),
        )
        .object(format!(
            "{}{}",
            fault.check,
            fault.field.as_ref().map_or_else(String::new, |field| format!(" {field}"))
        ))
        .why(WHY)
        .evidence(Proof::Policy { policy: fault.policy.clone(), what: format!("{place}{}", fault.message) })
        .remedy(fault.help.clone())
    });
    told.collect()
}
