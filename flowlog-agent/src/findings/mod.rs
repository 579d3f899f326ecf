//! What is wrong: the estate looked at by one rule after the other, and what comes of it as an assessment.
//!
//! Pure: what was observed, the cluster's objects, the vendors and the scanners' reports come in as values, time is an
//! argument. A rule says what is so; what the user accepts (`settings`) is shown as suppressed, never left out.

mod assessing;
mod baseline;
mod draft;
mod estate;
mod live;
mod possible;
mod reach;
mod remedies;
mod rules;
mod settings;
pub mod simulate;

pub use assessing::assess;
pub use baseline::{BASELINE_VERSION, Baseline, BaselineError};
pub use live::{Live, LiveSettings};
pub use rules::table;
pub use settings::{Settings, SuppressionRule};

use crate::inventory::Inventory;
use crate::model::{ImageScan, InputProblem, Limit, ObjectsRead, Observations, ScanRead};
use crate::policy::PolicySet;
use crate::vendor::Catalog;
use jiff::Timestamp;

/// All that an assessment is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What was observed, where records were given.
    pub observed: Option<&'a Observations>,
    /// The cluster, where objects were given.
    pub cluster: Option<Cluster<'a>>,
    /// Whose software is whose.
    pub catalog: &'a Catalog,
    /// What scanners say of images.
    pub scans: &'a [ImageScan],
    /// The reports that this was read from.
    pub scans_read: &'a [ScanRead],
    /// There are, or may be, reports beside these: what they do not tell is not told by nobody.
    pub scans_unread: bool,
    /// What could not be looked at of all these.
    pub limits: &'a [Limit],
    /// What was before.
    pub baseline: Option<(&'a str, &'a Baseline)>,
    /// What could not be read of all these, beside what `observed` tells of itself.
    pub problems: &'a [InputProblem],
    /// What the user says.
    pub settings: &'a Settings,
    /// When this is.
    pub now: Timestamp,
    /// The version that makes it.
    pub version: &'a str,
}

impl<'a> Input<'a> {
    /// Nothing yet, at this time.
    pub fn new(catalog: &'a Catalog, settings: &'a Settings, now: Timestamp) -> Self {
        Self {
            observed: None,
            cluster: None,
            catalog,
            scans: &[],
            scans_read: &[],
            scans_unread: false,
            limits: &[],
            baseline: None,
            problems: &[],
            settings,
            now,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// The cluster's objects.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// Who is who.
    pub inventory: &'a Inventory,
    /// What the rules say.
    pub policies: &'a PolicySet,
    /// What was read.
    pub read: &'a ObjectsRead,
    /// What is wrong with the policies as they are written; absent where that could not be looked at.
    pub faults: Option<&'a [PolicyFault]>,
}

/// Something wrong with a policy as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// The policy.
    pub policy: crate::model::PolicyRef,
    /// The check that found it (`selects-nothing`).
    pub check: String,
    /// Path of the field, as the API writes it.
    pub field: Option<String>,
    /// File and line, where it was read from a file.
    pub place: Option<(String, Option<u64>)>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

#[cfg(test)]
mod tests;
