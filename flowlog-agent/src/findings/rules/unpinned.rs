//! FL401: an image that is not pinned by digest, or by a tag that moves.

use super::super::draft::Draft;
use super::super::estate::Estate;
use crate::model::{FindingId, Origin, Proof, Severity, Subject};
use crate::vendor::Image;

const WHY: &str = "A tag can be pushed anew: what was assessed yesterday is not what runs after the next restart. A digest \
    names one content for good.";

/// Tags that are meant to move.
const MOVING: [&str; 14] = [
    "latest", "stable", "edge", "nightly", "main", "master", "dev", "develop", "canary", "rolling",
    "unstable", "beta", "alpha", "release",
];

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let theirs =
        estate.images.iter().enumerate().filter(|(_, image)| {
            matches!(image.origin, Origin::ThirdParty | Origin::Unknown) && !image.pinned
        });
    let drafts = theirs.map(|(index, image)| {
        let tag = Image::parse(&image.image).ok().and_then(|parsed| parsed.tag);
        let moves = tag.as_deref().is_none_or(|tag| MOVING.contains(&tag.to_ascii_lowercase().as_str()));
        let written = tag.as_deref().unwrap_or("no tag");
        let summary = if moves {
            format!("{} runs by a tag that moves ({written}).", image.image)
        } else {
            format!("{} runs by tag, not by digest.", image.image)
        };
        let digest = match image.digests.as_slice() {
            [only] => format!(": what runs is {only}"),
            [] => String::new(),
            many => format!("; {} different contents run under it now", many.len()),
        };
        let differs = image.digests.len() > 1;
        Draft::new(FindingId::FL401, Subject::Image { image: image.image.clone() }, summary)
            .vendor(image.vendor.as_deref())
            .severity(if moves || differs { Severity::Medium } else { Severity::Low })
            .why(WHY)
            .evidence(Proof::Absence { what: format!("no digest in the reference that the pods name{digest}") })
            .evidence(super::runs_in(estate, index))
            .remedy("Name the image by its digest (`IMAGE:TAG@sha256:…`), and let a tool raise it in changes that are looked at.")
    });
    drafts.collect()
}
