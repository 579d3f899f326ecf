//! What all kinds read alike: selectors, blocks, numbers, and the reason where one of them cannot be read.

use crate::model::{PolicyKind, normalise_block};
use crate::policy::{Reason, Requirement, Selector, title};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// A key that is missing is read as an empty one: no label has it, and `NotIn` would select everything.
const NO_KEY: &str = "has no key";

/// Reads the parts of one policy, which it names where it cannot.
pub(super) struct Reader {
    title: String,
}

impl Reader {
    pub(super) fn new(kind: PolicyKind, namespace: Option<&str>, name: &str) -> Self {
        Self { title: title(kind, namespace, name) }
    }

    pub(super) fn reason(&self, field: &str, what: &str) -> Reason {
        format!("{}: spec.{field}: {what}", self.title).into()
    }

    pub(super) fn selector(&self, field: &str, selector: &LabelSelector) -> Selector {
        let labels = selector.match_labels.iter().flatten();
        let equal = labels.map(|(key, value)| match key.is_empty() {
            true => Requirement::Undetermined(self.reason(&format!("{field}.matchLabels"), NO_KEY)),
            false => Requirement::In(key.clone(), vec![value.clone()]),
        });
        let expressions = selector.match_expressions.iter().flatten().enumerate();
        let expressions = expressions.map(|(place, expression)| {
            self.requirement(&format!("{field}.matchExpressions[{place}]"), expression)
        });
        Selector(equal.chain(expressions).collect())
    }

    fn requirement(&self, field: &str, written: &LabelSelectorRequirement) -> Requirement {
        let key = written.key.clone();
        let values = written.values.clone().unwrap_or_default();
        if key.is_empty() {
            return Requirement::Undetermined(self.reason(field, NO_KEY));
        }
        match (written.operator.as_str(), values.is_empty()) {
            ("In", false) => Requirement::In(key, values),
            ("NotIn", false) => Requirement::NotIn(key, values),
            ("Exists", true) => Requirement::Exists(key),
            ("DoesNotExist", true) => Requirement::DoesNotExist(key),
            ("In" | "NotIn", true) => Requirement::Undetermined(self.reason(field, "has no values")),
            ("Exists" | "DoesNotExist", false) => {
                Requirement::Undetermined(self.reason(field, "has values that its operator does not take"))
            }
            (other, _) => {
                Requirement::Undetermined(self.reason(field, &format!("operator `{other}` is not known")))
            }
        }
    }

    /// The block that is written, or why it is none.
    pub(super) fn block(&self, field: &str, written: &str) -> Result<IpNet, Reason> {
        let read = written.parse().map(normalise_block);
        read.map_err(|_| self.reason(field, &format!("`{written}` is no CIDR")))
    }
}

/// A port that can be dialed.
pub(super) fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}
