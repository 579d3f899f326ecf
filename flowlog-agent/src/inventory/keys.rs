//! Pods as keys of their own: what a pod is found by is not kept beside it once more.

use super::departed::identity;
use crate::model::Pod;
use hashbrown::Equivalent;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Two words to find a pod by.
#[derive(Hash)]
pub(super) struct Named<'a>(pub(super) (&'a str, &'a str));

/// A pod by its namespace and name.
#[derive(Clone, Debug)]
pub(super) struct ByName(pub(super) Arc<Pod>);

/// A pod by its uid.
#[derive(Clone, Debug)]
pub(super) struct ByUid(pub(super) Arc<Pod>);

/// A pod by its identity.
#[derive(Clone, Debug)]
pub(super) struct ByIdentity(pub(super) Arc<Pod>);

impl ByName {
    fn key(&self) -> Named<'_> {
        Named((&self.0.namespace, &self.0.name))
    }
}

impl ByIdentity {
    fn key(&self) -> Named<'_> {
        Named(identity(&self.0))
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.key().0 == other.key().0
    }
}

impl Eq for ByName {}

impl Equivalent<ByName> for Named<'_> {
    fn equivalent(&self, key: &ByName) -> bool {
        self.0 == key.key().0
    }
}

impl Hash for ByUid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid.hash(state);
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid == other.0.uid
    }
}

impl Eq for ByUid {}

impl std::borrow::Borrow<str> for ByUid {
    fn borrow(&self) -> &str {
        &self.0.uid
    }
}

impl Hash for ByIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq for ByIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.key().0 == other.key().0
    }
}

impl Eq for ByIdentity {}

impl Equivalent<ByIdentity> for Named<'_> {
    fn equivalent(&self, key: &ByIdentity) -> bool {
        self.0 == key.key().0
    }
}
