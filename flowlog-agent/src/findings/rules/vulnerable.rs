//! FL403: an image with known vulnerabilities.

use super::super::draft::Draft;
use super::super::estate::Estate;
use crate::model::{FindingId, Proof, Severity, Subject};

const WHY: &str = "What is known to be weak is tried first. In a third party's image only its vendor can mend it; until then \
    what it can reach is what an attacker can reach.";

pub(super) fn find(estate: &Estate<'_>) -> Vec<Draft> {
    let threshold = estate.input.settings.vulnerabilities;
    let drafts = estate.images.iter().enumerate().filter_map(|(index, image)| {
        let found = image.vulnerabilities.as_ref()?;
        let by_severity = [
            (Severity::Critical, found.critical, "critical"),
            (Severity::High, found.high, "high"),
            (Severity::Medium, found.medium, "medium"),
            (Severity::Low, found.low, "low"),
        ];
        let told = by_severity.iter().filter(|(severity, count, _)| *count > 0 && *severity >= threshold);
        let told: Vec<_> = told.collect();
        let (worst, ..) = **told.first()?;
        let counts: Vec<String> = told.iter().map(|(_, count, name)| format!("{count} {name}")).collect();
        let fixable = match found.fixable {
            0 => "none has a fix yet".to_owned(),
            count => format!("{count} have a fix"),
        };
        let summary = format!("{} has {} known vulnerabilities; {fixable}.", image.image, counts.join(" and "));
        let what = format!("{}: {}", counts.join(", "), super::listed(&found.worst, 20));
        let reports = image.reports.iter().map(|report| Proof::Scan { report: report.clone(), what: what.clone() });
        let draft = Draft::new(FindingId::FL403, Subject::Image { image: image.image.clone() }, summary)
            .vendor(image.vendor.as_deref())
            .severity(worst)
            .why(WHY);
        let draft = reports.fold(draft, Draft::evidence);
        Some(draft.evidence(super::runs_in(estate, index)).remedy(
            "Raise the image to a version that mends them. Where there is none, restrict what it can reach and who can reach \
             it, and ask the vendor.",
        ))
    });
    drafts.collect()
}
