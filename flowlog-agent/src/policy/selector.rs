//! Label selectors.

use super::matching::{Match, Reason};
use super::peer::NAMESPACE_NAME;
use crate::model::Labels;

/// A label selector: all requirements must hold; none means that it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector(pub Vec<Requirement>);

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// The key exists and its value is one of these.
    In(String, Vec<String>),
    /// The key is missing, or its value is none of these.
    NotIn(String, Vec<String>),
    /// The key exists.
    Exists(String),
    /// The key is missing.
    DoesNotExist(String),
    /// Could not be read, and why.
    Undetermined(Reason),
}

impl Selector {
    /// Whether these labels are selected.
    pub fn matches(&self, labels: &Labels) -> Match {
        Match::all(self.0.iter().map(|requirement| requirement.matches(labels)))
    }

    /// Whether a namespace is selected of which only the name is known.
    pub(super) fn matches_unseen_namespace(&self, name: &str) -> Match {
        let labels = Labels::from([(NAMESPACE_NAME.to_owned(), name.to_owned())]);
        Match::all(self.0.iter().map(|requirement| match requirement.key() {
            Some(key) if key != NAMESPACE_NAME => {
                Match::Unknown(format!("the labels of namespace {name} are not known").into())
            }
            _ => requirement.matches(&labels),
        }))
    }
}

impl Requirement {
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => Some(key),
            Self::Undetermined(_) => None,
        }
    }

    fn matches(&self, labels: &Labels) -> Match {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)).into(),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)).into(),
            Self::Exists(key) => labels.contains_key(key).into(),
            Self::DoesNotExist(key) => (!labels.contains_key(key)).into(),
            Self::Undetermined(reason) => Match::Unknown(reason.clone()),
        }
    }
}
