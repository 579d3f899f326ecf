//! The cluster as known at one moment: objects in, a `Snapshot` out.
//!
//! A snapshot never changes and is replaced whole. Objects are read from a folder of manifests or watched at the
//! API server here; who is who is the inventory's part, and what the rules say the policy room's.

mod case;
pub(crate) mod defaults;
mod documents;
mod explain;
mod judge;
mod lint;
pub mod manifests;
mod objects;
mod places;
mod pods;
mod services;
mod store;
mod templates;
mod validate;
mod validate_cluster;
pub mod watch;

#[cfg(test)]
mod cases_tests;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial_tests;

pub use case::{Case, CaseAnswer, CaseError, CaseQuery, Expectation, Word};
pub use lint::{Checked, Linting, Placed, lint, lint_listed};
pub use manifests::{Fingerprint, Folders, Loaded, fingerprint, load};
pub use objects::Objects;
pub use services::NoAddress;
pub use store::{Change, Standing, Store};
pub use templates::load_estate;

use crate::inventory::{self, Inventory};
use crate::model::PolicyRef;
use crate::policy::{BlockScope, Policy, PolicySet, Trial};
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What the objects do not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For the inventory.
    pub inventory: inventory::Settings,
    /// Which endpoints an address block can match.
    pub block_scope: BlockScope,
    /// How long a change of policy takes to be followed: verdicts within it are marked `settling`.
    pub settle: SignedDuration,
    /// Take what could be read although something could not: what a broken policy could decide is unknown.
    pub accept_problems: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            inventory: inventory::Settings::default(),
            block_scope: BlockScope::default(),
            settle: SignedDuration::from_secs(10),
            accept_problems: false,
        }
    }
}

/// The cluster as known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts the snapshots of this run, from 1.
    pub revision: u64,
    /// When it was taken.
    pub as_of: Timestamp,
    /// Since when it is known to lag behind its source, if it does.
    pub stale_since: Option<Timestamp>,
    /// Who is who.
    pub inventory: Arc<Inventory>,
    /// What the rules say.
    pub policies: Arc<PolicySet>,
    /// What they would say with the policies in trial among them, where there are any.
    pub trial: Option<Arc<Trial>>,
    /// Policies that changed lately, oldest first.
    pub changes: Arc<[PolicyChange]>,
    /// What could not be read of its source, where that was accepted.
    pub problems: Arc<[Problem]>,
    /// Why every verdict is unknown, where policies or what they select by could not be read yet.
    pub unread: Option<Arc<str>>,
    settle: SignedDuration,
}

/// A policy that appeared, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// Which.
    pub policy: PolicyRef,
    /// When it was noticed, or when it was created where the object tells.
    pub at: Timestamp,
    /// As it was; absent where it is new.
    pub before: Option<Arc<Policy>>,
    /// As it is; absent where it went.
    pub after: Option<Arc<Policy>>,
}

/// Something in a folder that could not be read, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Number of the document in it, from 1; absent where it is about the file.
    pub document: Option<usize>,
    /// Line in the file, from 1, where the parser tells.
    pub line: Option<u64>,
    /// Kind, namespace and name, as far as they can be read.
    pub object: Option<String>,
    /// Path of the field, as the API writes it.
    pub field: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        if let Some(document) = self.document {
            write!(out, ", document {document}")?;
        }
        if let Some(object) = &self.object {
            write!(out, ", {object}")?;
        }
        if let Some(field) = &self.field {
            write!(out, ", {field}")?;
        }
        write!(out, ": {}", self.what)
    }
}

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The folder or a folder in it cannot be listed.
    #[error("cannot read the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("no manifests (*.yaml, *.yml, *.json) in {}", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of policies in trial is that of the manifests, or holds it.
    #[error("the manifests in {} would all be in trial: {} holds them", manifests.display(), trial.display())]
    AllInTrial {
        /// The manifests.
        manifests: PathBuf,
        /// The policies in trial.
        trial: PathBuf,
    },
    /// Something in it cannot be read.
    #[error("{} cannot be read of {}:\n  {}", count(problems), path.display(), lines(problems))]
    Problems {
        /// The folder.
        path: PathBuf,
        /// What, and where.
        problems: Vec<Problem>,
    },
}

fn count(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "one thing".to_owned(),
        count => format!("{count} things"),
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n  ")
}
