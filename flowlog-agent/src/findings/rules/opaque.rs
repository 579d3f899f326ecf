//! FL404: nothing tells what is in a third party's image.

use super::super::draft::Draft;
use super::super::estate::Estate;
use crate::model::{FindingId, Origin, Proof, Subject};

const WHY: &str = "Without a bill of materials or a scan nobody here knows what is in the image: not now, and not on the day \
    when one of its parts makes the news.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let theirs = estate.images.iter().enumerate().filter(|(_, image)| {
        matches!(image.origin, Origin::ThirdParty | Origin::Unknown) && image.reports.is_empty()
    });
    let drafts = theirs.map(|(index, image)| {
        let summary = format!("No scan report and no bill of materials tells what is in {}.", image.image);
        Draft::new(FindingId::FL404, Subject::Image { image: image.image.clone() }, summary)
            .vendor(image.vendor.as_deref())
            .why(WHY)
            .evidence(Proof::Absence { what: format!("none of {} that were read is about it", super::many(estate.input.scans_read.len(), "report")) })
            .evidence(super::runs_in(estate, index))
            .remedy("Scan the image (`trivy image --format json`), or ask its vendor for a bill of materials (CycloneDX, SPDX).")
    });
    drafts.collect()
}
