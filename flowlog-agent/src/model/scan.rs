//! What a scanner says of an image.

use super::Vulnerabilities;

/// What one report says of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageScan {
    /// The image, as the report names it; absent where it names none.
    pub image: Option<String>,
    /// `sha256:…` of what was looked at: the manifest's digest, or others by which runtimes know it.
    pub digests: Vec<String>,
    /// Namespace, and kind and name of the workload, and the container: where the report is about these.
    pub container: Option<ScannedContainer>,
    /// The report: a file, or an object of the cluster.
    pub report: String,
    /// Vulnerabilities, where the report is about them.
    pub vulnerabilities: Option<Vulnerabilities>,
    /// It is a bill of materials, or has one in it.
    pub sbom: bool,
}

/// The container that a report is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannedContainer {
    /// Namespace.
    pub namespace: String,
    /// Kind of the owner (`ReplicaSet`, as the operator that scans has it).
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// Name of the container.
    pub container: String,
}
