//! FL402: an image from a registry that is not trusted.

use super::super::draft::Draft;
use super::super::estate::Estate;
use crate::model::{FindingId, Proof, Subject};

const WHY: &str = "Images from elsewhere pass by whatever your own registry does: scans, signatures, the copy that stays when \
    the original is gone.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let theirs = estate.images.iter().enumerate().filter(|(_, image)| image.trusted == Some(false));
    let trusted = estate.input.settings.trusted_registries.join(", ");
    let drafts = theirs.map(|(index, image)| {
        let summary = format!("{} comes from a registry that is not among those that are trusted.", image.image);
        Draft::new(FindingId::FL402, Subject::Image { image: image.image.clone() }, summary)
            .vendor(image.vendor.as_deref())
            .why(WHY)
            .evidence(Proof::Absence { what: format!("trusted are {trusted}") })
            .evidence(super::runs_in(estate, index))
            .remedy("Mirror the image into a registry of yours and name it there, or name the registry as trusted.")
    });
    drafts.collect()
}
