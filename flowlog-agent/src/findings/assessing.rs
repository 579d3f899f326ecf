//! From the estate to the assessment: every rule asked, the user's word applied, all of it put in order.

use super::baseline;
use super::draft::Draft;
use super::estate::{Estate, went_through};
use super::remedies::{Basis, Remedies};
use super::rules::{Needs, RULES};
use super::{Input, SuppressionRule};
use crate::model::{
    ASSESSMENT_VERSION, Actor, Assessment, Decision, Finding, FindingId, InputProblem, Inputs, Limit, Origin,
    Place, Severity, Suppression, VendorSummary, glob,
};
use foldhash::HashMap;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

/// Looks at everything, and says what is wrong.
pub fn assess(input: Input<'_>) -> Assessment {
    let estate = Estate::new(input);
    let (drafts, looked_for, mut limits) = ask(&estate);
    let mut problems = Vec::new();
    let Applied { mut findings, suppressed, restrict } = apply(&input, drafts, &mut problems);
    let drift =
        input.baseline.map(|(_, known)| baseline::compare(&estate, known, &mut findings, &looked_for));
    let key = |one: &Finding| {
        (
            std::cmp::Reverse(one.severity),
            one.id,
            one.subject.to_string(),
            one.object.clone(),
            one.fingerprint.clone(),
        )
    };
    findings.sort_by_cached_key(key);
    let basis = Basis::new(&input);
    let mut remedies = Remedies::new(&input, &basis);
    remedies.add(&mut findings, &restrict);
    let mut counts: BTreeMap<Severity, u64> = BTreeMap::new();
    for finding in &findings {
        *counts.entry(finding.severity).or_default() += 1;
    }
    let observed = input.observed;
    let bounds = observed.into_iter().flat_map(|observed| &observed.limits);
    limits.extend(bounds.map(|what| Limit { ids: Vec::new(), what: what.clone() }));
    limits.extend(input.cluster.and_then(|cluster| cluster.read.unread.as_ref()).map(|why| Limit {
        ids: Vec::new(),
        what: format!("what the declared policies say is not known: {why}"),
    }));
    let told = observed.into_iter().flat_map(|observed| &observed.problems);
    problems.extend(told.chain(input.problems).cloned());
    problems.sort();
    limits.extend(estate.limits.iter().chain(input.limits).cloned());
    let vendors = vendors(&estate, &mut remedies);
    limits.extend(remedies.into_limits());
    Assessment {
        v: ASSESSMENT_VERSION,
        flowlog: input.version.to_owned(),
        made: input.now,
        cluster: observed.and_then(|observed| observed.cluster.clone()),
        inputs: Inputs {
            records: observed.map(|observed| observed.read.clone()),
            objects: input.cluster.map(|cluster| cluster.read.clone()),
            scans: input.scans_read.to_vec(),
            baseline: input.baseline.map(|(file, _)| file.to_owned()),
            problems,
            more_problems: observed.map_or(0, |observed| observed.more_problems),
        },
        vendors,
        reaches: estate.reaches,
        links: estate.links,
        images: estate.images,
        actors: estate.members.into_iter().map(|member| member.actor).collect(),
        findings,
        suppressed,
        drift,
        counts,
        limits,
    }
}

/// What the rules find, for which kinds was looked, and for which it could not be.
fn ask(estate: &Estate<'_>) -> (Vec<Draft>, BTreeSet<FindingId>, Vec<Limit>) {
    let (mut drafts, mut looked_for) = (Vec::new(), BTreeSet::new());
    let mut lacking: BTreeMap<(&'static str, Needs), Vec<FindingId>> = BTreeMap::new();
    for rule in RULES {
        if estate.input.settings.off.contains(&rule.id) {
            continue;
        }
        match rule.needs.lacking(estate) {
            Some(why) => lacking.entry((why, rule.needs)).or_default().push(rule.id),
            None => {
                // What only a report tells that could not be read may be there all the same.
                if rule.needs != Needs::Scans || !estate.input.scans_unread {
                    looked_for.insert(rule.id);
                }
                drafts.extend((rule.find)(estate));
            }
        }
    }
    let limits =
        lacking.into_iter().map(|((why, _), ids)| Limit { ids, what: format!("not looked for: {why}") });
    (drafts, looked_for, limits.collect())
}

/// What is found, by the user's word.
#[derive(Default)]
struct Applied {
    findings: Vec<Finding>,
    suppressed: Vec<Finding>,
    /// By fingerprint the workload that a policy is to restrict.
    restrict: HashMap<String, Place>,
}

/// The user's severities and suppressions.
fn apply(input: &Input<'_>, drafts: Vec<Draft>, problems: &mut Vec<InputProblem>) -> Applied {
    let settings = input.settings;
    let today = input.now.to_zoned(TimeZone::UTC).date();
    let (expired, valid): (Vec<_>, Vec<_>) =
        settings.suppressions.iter().partition(|rule| rule.expires.is_some_and(|last| last < today));
    problems.extend(expired.into_iter().map(|rule| InputProblem {
        file: rule.file.clone(),
        line: rule.line,
        what: format!(
            "the suppression ({}) expired on {}: what it was for counts again; renew it or take it out",
            rule.reason,
            rule.expires.map_or_else(String::new, |last| last.to_string()),
        ),
    }));
    let mut applied = Applied::default();
    for draft in drafts {
        let (mut finding, place) = draft.finish(settings.evidence);
        if let Some(severity) = settings.severities.get(&finding.id) {
            finding.severity = *severity;
        }
        match valid.iter().find(|rule| rule.is_about(&finding)) {
            Some(rule) => {
                let expires = rule.expires.map(|last| last.to_string());
                finding.suppressed = Some(Suppression { reason: rule.reason.clone(), expires });
                applied.suppressed.push(finding);
            }
            None => {
                applied.restrict.extend(place.map(|place| (finding.fingerprint.clone(), place)));
                applied.findings.push(finding);
            }
        }
    }
    applied
}

impl SuppressionRule {
    /// All that it names must fit.
    fn is_about(&self, finding: &Finding) -> bool {
        let fits =
            |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|pattern| glob(pattern, text));
        self.id.is_none_or(|id| id == finding.id)
            && fits(&self.subject, &finding.subject.to_string())
            && fits(&self.object, finding.object.as_deref().unwrap_or_default())
            && self.fingerprint.as_ref().is_none_or(|print| *print == finding.fingerprint)
    }
}

/// Each vendor of a third party, and what nothing tells of: who runs for it, and how far that reaches.
fn vendors(estate: &Estate<'_>, remedies: &mut Remedies<'_>) -> Vec<VendorSummary> {
    let mut found: BTreeMap<(std::cmp::Reverse<Origin>, Option<String>), Vec<usize>> = BTreeMap::new();
    for (index, member) in estate.workloads() {
        if matches!(member.actor.origin, Origin::ThirdParty | Origin::Unknown) {
            let key = (std::cmp::Reverse(member.actor.origin), member.actor.vendor.clone());
            found.entry(key).or_default().push(index);
        }
    }
    let told = found.into_iter().map(|((origin, name), workloads)| {
        let is_its = |index: usize| workloads.contains(&index);
        let reached: BTreeSet<_> = estate
            .links
            .iter()
            .filter(|link| is_its(link.source) && went_through(link))
            .map(|link| (link.destination, link.protocol, link.port))
            .collect();
        let is_sensitive =
            |index: &usize| estate.actor(*index).is_some_and(|actor| actor.sensitive.is_some());
        let sensitive: BTreeSet<usize> =
            reached.iter().map(|(index, ..)| *index).filter(is_sensitive).collect();
        let gap = estate.gap(is_its);
        let reachable: BTreeSet<usize> = (estate.reaches.iter())
            .filter(|reach| is_its(reach.source) && reach.decision == Decision::Allow)
            .map(|reach| reach.target)
            .collect();
        let outside = estate
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| is_outside(&member.actor, name.as_deref()));
        let places = workloads.iter().filter_map(|index| Some(&estate.actor(*index)?.place));
        VendorSummary {
            category: workloads.first().and_then(|index| estate.member(*index)?.category.clone()),
            origin: origin.0,
            outside: outside.map(|(index, _)| index).collect(),
            reached: u64::try_from(reached.len()).unwrap_or(u64::MAX),
            reachable: gap.map(|(reachable, _)| reachable),
            unused: gap.map(|(_, unused)| unused).filter(|_| estate.input.observed.is_some()),
            sensitive_reached: sensitive.into_iter().collect(),
            sensitive_reachable: reachable.into_iter().filter(is_sensitive).collect(),
            policy: remedies.of_all(places),
            name,
            workloads,
        }
    });
    told.collect()
}

fn is_outside(actor: &Actor, vendor: Option<&str>) -> bool {
    vendor.is_some() && matches!(actor.place, Place::External { .. }) && actor.vendor.as_deref() == vendor
}
