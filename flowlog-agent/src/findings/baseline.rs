//! A baseline: what one look found, small enough to be kept beside the manifests, and what is different now.

use super::estate::Estate;
use crate::model::{
    Assessment, DriftSummary, Finding, FindingId, Gone, ImageChange, Origin, Place, Protocol, State,
};
use crate::model::{Decision, Drift};
use crate::vendor::Image;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Version of the form of baselines.
pub const BASELINE_VERSION: u32 = 1;

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Version of this form.
    pub flowlog_baseline: u32,
    /// When it was made.
    pub made: Timestamp,
    /// Workloads, and whose they are.
    pub workloads: Vec<KnownWorkload>,
    /// What was observed to get through; absent where no records were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<Vec<KnownFlow>>,
    /// What third parties could reach; absent where no objects were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reach: Option<Vec<KnownFlow>>,
    /// Findings, those that are suppressed included.
    pub findings: Vec<Gone>,
}

/// A workload as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KnownWorkload {
    /// Where.
    pub place: Place,
    /// Whose it was thought to be.
    pub origin: Origin,
    /// The vendor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Its containers.
    pub containers: Vec<KnownContainer>,
}

/// A container as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KnownContainer {
    /// Its name.
    pub name: String,
    /// Its image, as the spec named it.
    pub image: String,
    /// What ran under it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub digests: Vec<String>,
}

/// A pair, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KnownFlow {
    /// Opener.
    pub source: Place,
    /// Listener.
    pub destination: Place,
    /// Protocol.
    pub protocol: Protocol,
    /// Port; absent where it has none, or of what could be reached: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The last of a range that begins with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<u16>,
}

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// No JSON, or another shape.
    #[error("line {}: {source}; it must be a file that `flowlog assess --write-baseline` wrote", source.line())]
    Malformed {
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Of a later form.
    #[error(
        "it is of version {version}, and this flowlog knows up to {BASELINE_VERSION}: use a later flowlog, or write it anew"
    )]
    Version {
        /// Its version.
        version: u32,
    },
}

impl Baseline {
    /// Reads one.
    ///
    /// # Errors
    /// It is no baseline, or of a later form.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        #[derive(Deserialize)]
        struct Head {
            flowlog_baseline: u32,
        }
        let malformed = |source| BaselineError::Malformed { source };
        let head: Head = serde_json::from_str(text).map_err(malformed)?;
        if head.flowlog_baseline > BASELINE_VERSION {
            return Err(BaselineError::Version { version: head.flowlog_baseline });
        }
        serde_json::from_str(text).map_err(malformed)
    }

    /// What an assessment found.
    pub fn of(assessment: &Assessment) -> Self {
        let place = |index: usize| assessment.actors.get(index).map(|actor| actor.place.clone());
        let mut workloads: Vec<KnownWorkload> = assessment
            .actors
            .iter()
            .filter(|actor| matches!(actor.place, Place::Workload { .. }))
            .map(|actor| KnownWorkload {
                place: actor.place.clone(),
                origin: actor.origin,
                vendor: actor.vendor.clone(),
                containers: actor
                    .images
                    .iter()
                    .zip(&actor.containers)
                    .filter_map(|(image, name)| {
                        let image = assessment.images.get(*image)?;
                        let (digests, image) = (image.digests.clone(), image.image.clone());
                        Some(KnownContainer { name: name.clone(), image, digests })
                    })
                    .collect(),
            })
            .collect();
        workloads.sort();
        let through = |state| matches!(state, State::Established | State::Answered | State::Received);
        let flows = assessment.links.iter().filter(|link| through(link.state)).filter_map(|link| {
            let (source, destination) = place(link.source).zip(place(link.destination))?;
            Some(KnownFlow { source, destination, protocol: link.protocol, port: link.port, last: None })
        });
        let flows: BTreeSet<KnownFlow> = flows.collect();
        let allowed = assessment.reaches.iter().filter(|reach| reach.decision == Decision::Allow);
        let reach = allowed.filter_map(|reach| {
            let (source, destination) = place(reach.source).zip(place(reach.target))?;
            Some(reach.ports.iter().map(move |port| KnownFlow {
                source: source.clone(),
                destination: destination.clone(),
                protocol: port.protocol,
                port: port.port,
                last: port.last,
            }))
        });
        let reach: BTreeSet<KnownFlow> = reach.flatten().collect();
        let findings = assessment.findings.iter().chain(&assessment.suppressed);
        let mut findings: Vec<Gone> = findings.map(known).collect();
        findings.sort_by(|one, other| (one.id, &one.fingerprint).cmp(&(other.id, &other.fingerprint)));
        Self {
            flowlog_baseline: BASELINE_VERSION,
            made: assessment.made,
            workloads,
            flows: assessment.inputs.records.as_ref().map(|_| flows.into_iter().collect()),
            reach: assessment.inputs.objects.as_ref().map(|_| reach.into_iter().collect()),
            findings,
        }
    }

    pub(super) fn has_flow(
        &self,
        source: &Place,
        destination: &Place,
        protocol: Protocol,
        port: Option<u16>,
    ) -> bool {
        // A port that the opener's side chose is another one each time.
        self.flows.iter().flatten().any(|flow| {
            flow.source == *source
                && flow.destination == *destination
                && (flow.protocol, flow.port) == (protocol, port)
        })
    }

    pub(super) fn has_pair(&self, source: &Place, destination: &Place) -> bool {
        self.flows.iter().flatten().any(|flow| flow.source == *source && flow.destination == *destination)
    }

    pub(super) fn has_place(&self, place: &Place) -> bool {
        self.workloads.iter().any(|known| known.place == *place)
    }

    pub(super) fn find_workload(&self, place: &Place) -> Option<&KnownWorkload> {
        self.workloads.iter().find(|known| known.place == *place)
    }
}

fn known(finding: &Finding) -> Gone {
    Gone {
        id: finding.id,
        fingerprint: finding.fingerprint.clone(),
        severity: finding.severity,
        summary: finding.summary.clone(),
    }
}

/// Containers of third parties whose image is another one than it was, with the workload's place in the estate.
pub(super) fn image_changes(estate: &Estate<'_>, baseline: &Baseline) -> Vec<(usize, ImageChange)> {
    let mut changes = Vec::new();
    for (index, member) in estate.workloads() {
        let actor = &member.actor;
        let is_theirs = matches!(actor.origin, Origin::ThirdParty | Origin::Unknown);
        let Some(before) = baseline.find_workload(&actor.place).filter(|_| is_theirs) else { continue };
        for (image, container) in actor.images.iter().zip(&actor.containers) {
            let Some(now) = estate.images.get(*image) else { continue };
            let mut same_name = before.containers.iter().filter(|known| known.name == *container).peekable();
            if same_name.peek().is_none() {
                continue;
            }
            let is_same = |known: &KnownContainer| {
                // A digest that both have decides, whatever the tag is.
                let told = !known.digests.is_empty() && !now.digests.is_empty();
                let same_content = known.digests.iter().any(|digest| now.digests.contains(digest));
                if told {
                    same_content && same_name_of(&known.image, &now.image)
                } else {
                    known.image == now.image
                }
            };
            let all: Vec<&KnownContainer> = same_name.collect();
            if all.iter().any(|known| is_same(known)) {
                continue;
            }
            if let Some(known) = all.first() {
                let change = ImageChange {
                    workload: actor.place.to_string(),
                    container: container.clone(),
                    before: with_digest(&known.image, &known.digests),
                    after: with_digest(&now.image, &now.digests),
                };
                changes.push((index, change));
            }
        }
    }
    changes
}

fn same_name_of(one: &str, other: &str) -> bool {
    match (Image::parse(one), Image::parse(other)) {
        (Ok(one), Ok(other)) => one.name == other.name,
        _ => one == other,
    }
}

fn with_digest(image: &str, digests: &[String]) -> String {
    match digests {
        [digest] if !image.contains('@') => format!("{image}@{digest}"),
        _ => image.to_owned(),
    }
}

/// What is different from the baseline; marks each finding with what it is against it.
pub(super) fn compare(
    estate: &Estate<'_>,
    baseline: &Baseline,
    findings: &mut [Finding],
    looked_for: &BTreeSet<FindingId>,
) -> DriftSummary {
    let before: BTreeMap<&str, &Gone> =
        baseline.findings.iter().map(|one| (&*one.fingerprint, one)).collect();
    let mut drift = DriftSummary { since: Some(baseline.made), ..DriftSummary::default() };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for finding in findings.iter_mut() {
        seen.insert(finding.fingerprint.clone());
        let (mark, count) = match before.get(&*finding.fingerprint) {
            None => (Drift::New, &mut drift.new),
            Some(was) if was.severity < finding.severity => (Drift::Worse, &mut drift.worse),
            Some(_) => (Drift::Known, &mut drift.known),
        };
        finding.drift = Some(mark);
        *count += 1;
    }
    // What nobody looked for this time is not gone.
    let gone = baseline.findings.iter().filter(|one| !seen.contains(&one.fingerprint));
    drift.gone = gone.filter(|one| looked_for.contains(&one.id)).cloned().collect();
    let now: BTreeSet<&Place> = estate.workloads().map(|(_, member)| &member.actor.place).collect();
    let then: BTreeSet<&Place> = baseline.workloads.iter().map(|known| &known.place).collect();
    drift.workloads_new = now.difference(&then).map(ToString::to_string).collect();
    drift.workloads_gone = then.difference(&now).map(ToString::to_string).collect();
    drift.images_changed = image_changes(estate, baseline).into_iter().map(|(_, change)| change).collect();
    drift
}
