//! What scanners say of images: their reports, read.
//!
//! Pure: bytes in, `model::ImageScan` out. Trivy's JSON, CycloneDX and SPDX (JSON both) as files; the reports of the Trivy
//! operator as objects of the cluster. What a report does not tell stays absent: which image it is about above all.

mod cyclonedx;
mod operator;
mod spdx;
mod trivy;

pub use operator::{API_VERSION, RESOURCES, Resource, read_object};

use crate::model::{ImageScan, Severity, Vulnerabilities};
use serde::Deserialize;
use serde_json::Value;

/// Vulnerabilities whose ids are told of an image.
const WORST: usize = 20;

/// What a report is written in, and what it says of each image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `trivy`, `cyclonedx`, `spdx`, `vulnerability_report`, `sbom_report`.
    pub format: &'static str,
    /// Image by image.
    pub scans: Vec<ImageScan>,
}

/// Why a report cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// No JSON.
    #[error("line {line}: it is no JSON: {reason}")]
    Malformed {
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// None of the formats.
    #[error(
        "none of the formats that are read: Trivy's JSON (`trivy image --format json`), CycloneDX JSON, SPDX JSON, or VulnerabilityReport \
         and SbomReport objects as `kubectl get -o json` prints them"
    )]
    Format,
    /// One of them, of another shape than its own.
    #[error("{format}: {reason}")]
    Shape {
        /// Which.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a report. `name` is what reports call it: the file's name.
///
/// # Errors
/// It is no JSON, in none of the formats, or of another shape.
pub fn read(name: &str, bytes: &[u8]) -> Result<Report, ScanError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| ScanError::Malformed {
        line: u64::try_from(error.line()).unwrap_or(u64::MAX),
        reason: error.to_string(),
    })?;
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    if text("bomFormat") == Some("CycloneDX") {
        return Ok(Report { format: cyclonedx::FORMAT, scans: vec![cyclonedx::read(name, &value)?] });
    }
    if text("spdxVersion").is_some() {
        return Ok(Report { format: spdx::FORMAT, scans: vec![spdx::read(name, &value)?] });
    }
    if value.get("ArtifactName").is_some()
        || value.get("SchemaVersion").is_some() && value.get("Results").is_some()
    {
        return Ok(Report { format: trivy::FORMAT, scans: vec![trivy::read(name, value)?] });
    }
    if let Some(items) = value.get("items").and_then(Value::as_array) {
        let scans = items.iter().map(|item| read_object(item, Some(name))).collect::<Result<Vec<_>, _>>()?;
        let format = items.first().and_then(operator::format).unwrap_or("vulnerability_report");
        return Ok(Report { format, scans });
    }
    match operator::format(&value) {
        Some(format) => Ok(Report { format, scans: vec![read_object(&value, Some(name))?] }),
        None => Err(ScanError::Format),
    }
}

/// A value of this shape.
fn shaped<T: for<'de> Deserialize<'de>>(format: &'static str, value: Value) -> Result<T, ScanError> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| ScanError::Shape { format, reason: error.to_string() })
}

/// A vulnerability, as every format has it.
struct Found {
    id: String,
    severity: Option<Severity>,
    fixable: bool,
}

/// Severities as scanners write them.
fn severity(written: &str) -> Option<Severity> {
    match written.to_ascii_lowercase().as_str() {
        "critical" => Some(Severity::Critical),
        "high" => Some(Severity::High),
        "medium" | "moderate" => Some(Severity::Medium),
        "low" | "negligible" => Some(Severity::Low),
        "none" | "info" => Some(Severity::Info),
        _ => None,
    }
}

/// Counts by severity; each id once, as bad as it is anywhere.
fn counted(found: impl IntoIterator<Item = Found>) -> Vulnerabilities {
    let mut by_id: std::collections::BTreeMap<String, (Option<Severity>, bool)> =
        std::collections::BTreeMap::new();
    for Found { id, severity, fixable } in found {
        let known = by_id.entry(id).or_insert((severity, fixable));
        *known = (known.0.max(severity), known.1 || fixable);
    }
    let mut counts = Vulnerabilities::default();
    for (severity, fixable) in by_id.values() {
        let count = match severity {
            Some(Severity::Critical) => &mut counts.critical,
            Some(Severity::High) => &mut counts.high,
            Some(Severity::Medium) => &mut counts.medium,
            Some(Severity::Low | Severity::Info) => &mut counts.low,
            None => &mut counts.unknown,
        };
        *count += 1;
        counts.fixable += u64::from(*fixable);
    }
    let mut worst: Vec<_> = by_id.into_iter().collect();
    worst.sort_by(|(one, (by, _)), (other, (than, _))| (than, one).cmp(&(by, other)));
    counts.worst = worst.into_iter().take(WORST).map(|(id, _)| id).collect();
    counts
}

/// The digests in names such as `ghcr.io/a/b@sha256:…`.
fn digest_of(name: &str) -> Option<String> {
    name.rsplit_once('@')
        .map(|(_, digest)| digest)
        .filter(|digest| digest.starts_with("sha256:"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;
