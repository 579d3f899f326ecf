//! FL405: nobody knows whose software it is.

use super::super::draft::Draft;
use super::super::estate::{Estate, subject};
use crate::model::{FindingId, Origin, Proof};

const WHY: &str = "A component that cannot be identified cannot be trusted: nobody answers for it, nobody mends it, and nobody \
    knows what it is meant to reach.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let theirs = estate.workloads().filter(|(_, member)| member.actor.origin == Origin::Unknown);
    let drafts = theirs.map(|(_, member)| {
        let actor = &member.actor;
        let images = actor.images.iter().filter_map(|image| estate.images.get(*image));
        let images: Vec<String> = images.map(|image| image.image.clone()).collect();
        let what = match images.as_slice() {
            [] => "no image of it was told".to_owned(),
            images => format!("no rule knows {}", super::listed(images, 5)),
        };
        let summary = format!("Nothing tells whose software {} is: {what}.", actor.place);
        Draft::new(FindingId::FL405, subject(actor), summary)
            .why(WHY)
            .evidence(Proof::Absence { what })
            .remedy(
                "Say whose it is in a catalogue of yours (`first_party`, `vendors`; `flowlog vendors test IMAGE` shows what tells), or \
                 find out who brought it here.",
            )
    });
    drafts.collect()
}
