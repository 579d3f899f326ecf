//! The Trivy operator's report objects (`aquasecurity.github.io/v1alpha1`), and what its kinds are called.

use super::{Found, ScanError, counted, severity, shaped};
use crate::model::{ImageScan, ScannedContainer};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// API group and version of the reports.
pub const API_VERSION: &str = "aquasecurity.github.io/v1alpha1";

/// A kind of report, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Kind of the objects.
    pub kind: &'static str,
    /// Their name in requests.
    pub plural: &'static str,
    /// What reports call the format.
    pub format: &'static str,
}

/// The kinds that are read, all of [`API_VERSION`].
pub const RESOURCES: &[Resource] = &[
    Resource { kind: "VulnerabilityReport", plural: "vulnerabilityreports", format: "vulnerability_report" },
    Resource { kind: "SbomReport", plural: "sbomreports", format: "sbom_report" },
];

#[derive(Deserialize)]
struct Written {
    metadata: Metadata,
    report: Told,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    namespace: String,
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    registry: Registry,
    #[serde(default)]
    artifact: Artifact,
    #[serde(default)]
    vulnerabilities: Vec<Vulnerability>,
    components: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Registry {
    server: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Artifact {
    repository: String,
    tag: String,
    digest: String,
}

#[derive(Deserialize)]
struct Vulnerability {
    #[serde(rename = "vulnerabilityID")]
    id: String,
    #[serde(default)]
    severity: String,
    #[serde(rename = "fixedVersion", default)]
    fixed: String,
}

fn resource(object: &Value) -> Option<&'static Resource> {
    let kind = object.get("kind").and_then(Value::as_str)?;
    RESOURCES.iter().find(|resource| resource.kind == kind)
}

/// What it is written in, where it is one of these.
pub(super) fn format(object: &Value) -> Option<&'static str> {
    resource(object).map(|resource| resource.format)
}

/// What a report object says. It is called by its kind and name, in `file` where it was read from one.
///
/// # Errors
/// It is none of the kinds, or of another shape.
pub fn read_object(object: &Value, file: Option<&str>) -> Result<ImageScan, ScanError> {
    let Resource { kind, format, .. } = *resource(object).ok_or(ScanError::Format)?;
    let Written { metadata, report } = shaped(format, object.clone())?;
    let label = |key: &str| metadata.labels.get(&format!("trivy-operator.{key}")).cloned();
    let container =
        label("container.name").zip(label("resource.name")).map(|(container, name)| ScannedContainer {
            namespace: label("resource.namespace").unwrap_or_else(|| metadata.namespace.clone()),
            kind: label("resource.kind").unwrap_or_default(),
            name,
            container,
        });
    let Artifact { repository, tag, digest } = report.artifact;
    let server =
        if report.registry.server == "index.docker.io" { "docker.io" } else { &report.registry.server };
    let image = match (server, repository.as_str(), tag.as_str()) {
        (_, "", _) => None,
        ("", repository, "") => Some(repository.to_owned()),
        ("", repository, tag) => Some(format!("{repository}:{tag}")),
        (server, repository, "") => Some(format!("{server}/{repository}")),
        (server, repository, tag) => Some(format!("{server}/{repository}:{tag}")),
    };
    let called = format!("{kind} {}/{}", metadata.namespace, metadata.name);
    let has_parts = |components: &Value| {
        components.get("components").and_then(Value::as_array).is_some_and(|all| !all.is_empty())
    };
    let is_sbom = kind == "SbomReport";
    let found = report.vulnerabilities.into_iter().map(|one| Found {
        severity: severity(&one.severity),
        fixable: !one.fixed.is_empty(),
        id: one.id,
    });
    Ok(ImageScan {
        image,
        digests: Some(digest).filter(|digest| digest.starts_with("sha256:")).into_iter().collect(),
        container,
        report: file.map_or_else(|| called.clone(), |file| format!("{file}, {called}")),
        vulnerabilities: (!is_sbom).then(|| counted(found)),
        sbom: is_sbom && report.components.as_ref().is_some_and(has_parts),
    })
}
