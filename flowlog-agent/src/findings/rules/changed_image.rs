//! FL502: a third party's image changed since the baseline.

use super::super::draft::Draft;
use super::super::estate::{Estate, subject, with_vendor};
use crate::model::{FindingId, Proof};

const WHY: &str =
    "What was assessed is not what runs now: the assessment of this third party has to be made anew.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let Some((file, baseline)) = estate.input.baseline else { return Vec::new() };
    let changes = super::super::baseline::image_changes(estate, baseline);
    let drafts = changes.into_iter().filter_map(|(index, change)| {
        let actor = estate.actor(index)?;
        let summary = format!(
            "{} runs another image in {}: {}, where the baseline has {}.",
            with_vendor(actor),
            change.container,
            change.after,
            change.before
        );
        Some(
            Draft::new(FindingId::FL502, subject(actor), summary)
                .object(change.container.clone())
                .vendor(actor.vendor.as_deref())
                .why(WHY)
                .evidence(Proof::Baseline { what: format!("{file}: {} in {}", change.before, change.container) })
                .clue(actor)
                .remedy(
                    "Look at what the new version brings, at its scan report, and at what it reaches; then write a new baseline \
                     (`--write-baseline`).",
                ),
        )
    });
    drafts.collect()
}
