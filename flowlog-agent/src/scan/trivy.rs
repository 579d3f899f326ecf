//! Trivy's JSON (`trivy image --format json`, schema version 2).

use super::{Found, ScanError, counted, digest_of, severity, shaped};
use crate::model::ImageScan;
use serde::Deserialize;
use serde_json::Value;

pub(super) const FORMAT: &str = "trivy";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    artifact_name: Option<String>,
    #[serde(default)]
    metadata: Metadata,
    // Absent where nothing was found.
    results: Option<Vec<Outcome>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Metadata {
    #[serde(rename = "ImageID")]
    image_id: Option<String>,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome {
    vulnerabilities: Option<Vec<Vulnerability>>,
    packages: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vulnerability {
    #[serde(rename = "VulnerabilityID")]
    vulnerability_id: String,
    severity: Option<String>,
    fixed_version: Option<String>,
}

pub(super) fn read(name: &str, value: Value) -> Result<ImageScan, ScanError> {
    let written: Written = shaped(FORMAT, value)?;
    let results = written.results.unwrap_or_default();
    // `--list-all-pkgs` puts in what the image is made of.
    let sbom = results.iter().any(|result| result.packages.as_ref().is_some_and(|all| !all.is_empty()));
    let found = results.into_iter().flat_map(|result| result.vulnerabilities.unwrap_or_default());
    let found = found.map(|one| Found {
        severity: one.severity.as_deref().and_then(severity),
        fixable: one.fixed_version.is_some_and(|version| !version.is_empty()),
        id: one.vulnerability_id,
    });
    let Metadata { image_id, repo_tags, repo_digests } = written.metadata;
    let digests = repo_digests.unwrap_or_default();
    let digests = digests.iter().filter_map(|name| digest_of(name)).chain(image_id);
    // An archive is called by its file: the tags in it tell what it holds.
    let tags = repo_tags.unwrap_or_default();
    let by_name = written.artifact_name.filter(|name| !name.ends_with(".tar") && !name.ends_with(".tar.gz"));
    Ok(ImageScan {
        image: by_name.or_else(|| tags.first().cloned()),
        digests: digests.collect(),
        report: name.to_owned(),
        vulnerabilities: Some(counted(found)),
        sbom,
        ..ImageScan::default()
    })
}
