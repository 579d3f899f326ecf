//! CycloneDX in JSON (specification 1.2 to 1.6): a bill of materials, and vulnerabilities where it has them.

use super::{Found, ScanError, counted, digest_of, severity, shaped};
use crate::model::ImageScan;
use serde::Deserialize;
use serde_json::Value;

pub(super) const FORMAT: &str = "cyclonedx";

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    metadata: Metadata,
    components: Option<Vec<serde::de::IgnoredAny>>,
    // Since 1.4.
    vulnerabilities: Option<Vec<Vulnerability>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    component: Option<Component>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Component {
    name: Option<String>,
    version: Option<String>,
    purl: Option<String>,
    #[serde(rename = "bom-ref")]
    reference: Option<String>,
    properties: Option<Vec<Property>>,
}

#[derive(Deserialize)]
struct Property {
    name: String,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Vulnerability {
    id: String,
    #[serde(default)]
    ratings: Vec<Rating>,
    recommendation: Option<String>,
}

#[derive(Deserialize)]
struct Rating {
    severity: Option<String>,
}

pub(super) fn read(name: &str, value: &Value) -> Result<ImageScan, ScanError> {
    let written: Written = shaped(FORMAT, value.clone())?;
    let component = written.metadata.component.unwrap_or_default();
    let (named, mut digests) = about(&component);
    digests.extend(component.name.as_deref().and_then(digest_of));
    digests.extend(component.version.filter(|version| version.starts_with("sha256:")));
    digests.sort();
    digests.dedup();
    let vulnerabilities = written.vulnerabilities.map(|all| {
        counted(all.into_iter().map(|one| Found {
            severity: one.ratings.iter().filter_map(|rating| severity(rating.severity.as_deref()?)).max(),
            // Writers that know of a fix say so in words (Trivy: `Upgrade … to version …`).
            fixable: one.recommendation.is_some_and(|text| !text.trim().is_empty()),
            id: one.id,
        }))
    });
    Ok(ImageScan {
        image: named.or(component.name),
        digests,
        report: name.to_owned(),
        vulnerabilities,
        sbom: written.components.is_some_and(|all| !all.is_empty()),
        ..ImageScan::default()
    })
}

/// The image and its digests by what writers put beside the name: a package URL of an image, and Trivy's properties.
fn about(component: &Component) -> (Option<String>, Vec<String>) {
    let mut digests = Vec::new();
    let mut named = None;
    for purl in component.purl.iter().chain(&component.reference) {
        // pkg:oci/NAME@sha256%3A…?repository_url=…
        let Some(rest) = purl.strip_prefix("pkg:oci/") else { continue };
        let plain = rest.replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/");
        digests
            .extend(plain.split(['@', '?', '&']).find(|part| part.starts_with("sha256:")).map(str::to_owned));
    }
    for property in component.properties.iter().flatten() {
        let Some(value) = &property.value else { continue };
        match property.name.as_str() {
            "aquasecurity:trivy:RepoDigest" => digests.extend(digest_of(value)),
            "aquasecurity:trivy:ImageID" => digests.push(value.clone()),
            "aquasecurity:trivy:RepoTag" => named = Some(value.clone()),
            _ => {}
        }
    }
    (named, digests)
}
