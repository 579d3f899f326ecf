//! SPDX 2.2 and 2.3 in JSON: a bill of materials.

use super::{ScanError, digest_of, shaped};
use crate::model::ImageScan;
use serde::Deserialize;
use serde_json::Value;

pub(super) const FORMAT: &str = "spdx";

#[derive(Deserialize)]
struct Written {
    name: Option<String>,
    #[serde(rename = "documentDescribes", default)]
    describes: Vec<String>,
    #[serde(default)]
    packages: Vec<Package>,
    #[serde(default)]
    relationships: Vec<Relationship>,
}

#[derive(Deserialize)]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: Option<String>,
    #[serde(rename = "versionInfo")]
    version: Option<String>,
    #[serde(rename = "externalRefs", default)]
    references: Vec<Reference>,
    #[serde(rename = "primaryPackagePurpose")]
    purpose: Option<String>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "referenceLocator")]
    locator: Option<String>,
}

#[derive(Deserialize)]
struct Relationship {
    #[serde(rename = "spdxElementId")]
    from: String,
    #[serde(rename = "relatedSpdxElement")]
    to: String,
    #[serde(rename = "relationshipType")]
    kind: String,
}

pub(super) fn read(name: &str, value: &Value) -> Result<ImageScan, ScanError> {
    let written: Written = shaped(FORMAT, value.clone())?;
    let described =
        written.relationships.iter().filter(|one| one.kind == "DESCRIBES" && one.from == "SPDXRef-DOCUMENT");
    let described: Vec<&String> = described.map(|one| &one.to).chain(&written.describes).collect();
    let root = written.packages.iter().find(|package| described.contains(&&package.id));
    let root = root
        .or_else(|| written.packages.iter().find(|package| package.purpose.as_deref() == Some("CONTAINER")));
    let mut digests: Vec<String> = Vec::new();
    if let Some(root) = root {
        digests.extend(root.name.as_deref().and_then(digest_of));
        digests.extend(root.version.clone().filter(|version| version.starts_with("sha256:")));
        let locators = root.references.iter().filter_map(|reference| reference.locator.as_deref());
        digests.extend(locators.filter_map(|locator| {
            let plain = locator.replace("%3A", ":").replace("%3a", ":");
            plain.split(['@', '?', '&']).find(|part| part.starts_with("sha256:")).map(str::to_owned)
        }));
    }
    digests.sort();
    digests.dedup();
    // A version that is a tag belongs to the name (syft: name and version apart).
    let named = root.and_then(|root| {
        let name = root.name.clone()?;
        let bare = !name.contains('@') && !name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        match root.version.as_deref().filter(|version| bare && !version.is_empty() && !version.contains(':'))
        {
            Some(tag) => Some(format!("{name}:{tag}")),
            None => Some(name),
        }
    });
    Ok(ImageScan {
        image: named.or(written.name),
        digests,
        report: name.to_owned(),
        vulnerabilities: None,
        sbom: !written.packages.is_empty(),
        ..ImageScan::default()
    })
}
