//! An assessment as SARIF 2.1.0 (OASIS, 2020): a rule for each kind of finding, a result for each finding.
//!
//! A finding is about something in a cluster, which SARIF calls a logical location; where it can be looked up is a physical
//! one: the file and line of a record, else the objects' folder, else a path made of the subject's name.

use super::{Options, shown, words};
use crate::model::{
    Assessment, Drift, Finding, FindingId, InputProblem, Place, Proof, RecordRef, Severity, Subject,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
const HOME: &str = "https://github.com/flowlog/flowlog";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool,
    automation_details: AutomationDetails,
    invocations: [Invocation; 1],
    column_kind: &'static str,
    results: Vec<SarifResult<'a>>,
}

#[derive(Serialize)]
struct AutomationDetails {
    id: String,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    organization: &'static str,
    information_uri: &'static str,
    version: String,
    semantic_version: String,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    name: String,
    short_description: Message,
    full_description: Message,
    help: Message,
    help_uri: String,
    default_configuration: Configuration,
    properties: BTreeMap<&'static str, serde_json::Value>,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    end_time_utc: String,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
struct Notification {
    level: &'static str,
    message: Message,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locations: Vec<Location>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult<'a> {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    kind: &'static str,
    message: Message,
    locations: [Location; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    partial_fingerprints: BTreeMap<&'static str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_state: Option<&'static str>,
    suppressions: Vec<SarifSuppression>,
    properties: BTreeMap<&'static str, serde_json::Value>,
}

#[derive(Serialize)]
struct SarifSuppression {
    kind: &'static str,
    status: &'static str,
    justification: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    name: String,
    fully_qualified_name: String,
    kind: &'static str,
}

/// The assessment as a SARIF log of one run.
pub(super) fn log_of<'a>(assessment: &'a Assessment, options: &Options) -> impl Serialize + use<'a> {
    let findings = assessment.findings.iter().chain(&assessment.suppressed);
    let results = findings.map(|finding| result(finding, assessment, options)).collect();
    let cluster = assessment.cluster.as_deref().map_or_else(String::new, |name| uri(&format!("{name}/")));
    let version = assessment.flowlog.clone();
    let driver = Driver {
        name: "flowlog",
        organization: "flowlog",
        information_uri: HOME,
        semantic_version: version.clone(),
        version,
        rules: FindingId::ALL.iter().copied().map(rule).collect(),
    };
    let run = Run {
        tool: Tool { driver },
        automation_details: AutomationDetails { id: format!("flowlog/{cluster}") },
        invocations: [invocation(assessment)],
        column_kind: "unicodeCodePoints",
        results,
    };
    Log { schema: SCHEMA, version: "2.1.0", runs: [run] }
}

fn message(text: &str) -> Message {
    Message { text: shown::line(text).into_owned() }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// The middle of the CVSS range that a severity stands for; code scanning sorts by it.
fn security_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.5",
        Severity::Info => "0.5",
    }
}

fn rule(id: FindingId) -> Rule {
    let title = id.title();
    let anchor = id.as_str().to_lowercase();
    let severity = id.severity();
    Rule {
        id: id.as_str(),
        name: pascal(title),
        short_description: Message { text: format!("{title}.") },
        full_description: Message { text: format!("{title}. {}", about(id)) },
        help: Message { text: format!("{} What mends it is told with each finding.", about(id)) },
        help_uri: format!("{HOME}/blob/main/docs/findings.md#{anchor}"),
        default_configuration: Configuration { level: level(severity) },
        properties: BTreeMap::from([
            ("security-severity", security_severity(severity).into()),
            ("tags", vec!["security", "kubernetes", "network-policy"].into()),
        ]),
    }
}

/// What the findings of a hundred are about.
fn about(id: FindingId) -> &'static str {
    match id.as_str().as_bytes().get(2) {
        Some(b'1') => {
            "The declared policies and what was observed disagree, or denied connections were tried."
        }
        Some(b'2') => "A third party reaches further than it has to.",
        Some(b'3') => "The declared policies are wider than what is used, or do not take effect.",
        Some(b'4') => "Little is known of an image, or nothing good.",
        _ => "It is not as it was when the baseline was made.",
    }
}

/// `Third party's egress` becomes `ThirdPartysEgress`.
fn pascal(title: &str) -> String {
    let words = title.split(|c: char| !c.is_alphanumeric() && c != '\'');
    words
        .flat_map(|word| {
            let mut letters = word.chars().filter(|c| *c != '\'');
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
        })
        .collect()
}

fn result<'a>(finding: &'a Finding, assessment: &Assessment, options: &Options) -> SarifResult<'a> {
    let mut properties = BTreeMap::from([
        ("severity", finding.severity.as_str().into()),
        ("security-severity", security_severity(finding.severity).into()),
        ("fails", (options.fails(finding.severity) && finding.suppressed.is_none()).into()),
        ("remedy", shown::line(&finding.remedy.text).into()),
    ]);
    if let Some(vendor) = &finding.vendor {
        properties.insert("vendor", shown::line(vendor).into());
    }
    if let Some(policy) = &finding.remedy.policy {
        properties.insert("policy", shown::block(policy).into());
    }
    let suppressions = finding.suppressed.iter().map(|one| SarifSuppression {
        kind: "external",
        status: "accepted",
        justification: shown::line(&one.reason).into_owned(),
    });
    SarifResult {
        rule_id: finding.id.as_str(),
        // All ids are in the list that the rules are made from.
        rule_index: FindingId::ALL.iter().position(|id| *id == finding.id).unwrap_or_default(),
        level: level(finding.severity),
        kind: "fail",
        message: message(&format!("{} {}", finding.summary, finding.remedy.text)),
        locations: [location(finding, assessment)],
        related_locations: related(finding),
        partial_fingerprints: BTreeMap::from([("flowlog/v1", finding.fingerprint.as_str())]),
        baseline_state: finding.drift.map(|drift| match drift {
            Drift::New => "new",
            Drift::Worse => "updated",
            Drift::Known => "unchanged",
        }),
        suppressions: suppressions.collect(),
        properties,
    }
}

/// Where a finding can be looked up first.
fn location(finding: &Finding, assessment: &Assessment) -> Location {
    let example = finding.evidence.iter().find_map(|proof| match proof {
        Proof::Records { example, .. } => Some(example),
        _ => None,
    });
    let folder =
        assessment.inputs.objects.as_ref().map(|read| read.from.as_str()).filter(|from| *from != "live");
    let physical_location = match (example, folder) {
        (Some(example), _) => at_record(example),
        (None, Some(folder)) => at(uri(folder), None),
        (None, None) => at(uri(&path(&finding.subject)), None),
    };
    Location {
        id: None,
        physical_location,
        logical_locations: vec![logical(&finding.subject)],
        message: None,
    }
}

/// The evidence that stands in files.
fn related(finding: &Finding) -> Vec<Location> {
    let mut locations = Vec::new();
    for proof in &finding.evidence {
        let physical_location = match proof {
            Proof::Records { example, .. } => at_record(example),
            Proof::Scan { report, .. } => at(uri(report), None),
            _ => continue,
        };
        locations.push(Location {
            id: Some(locations.len()),
            physical_location,
            logical_locations: Vec::new(),
            message: Some(message(&words::proof(proof))),
        });
    }
    locations
}

fn at(uri: String, line: Option<u64>) -> PhysicalLocation {
    let region = line.filter(|line| *line > 0).map(|start_line| Region { start_line });
    PhysicalLocation { artifact_location: ArtifactLocation { uri }, region }
}

fn at_record(record: &RecordRef) -> PhysicalLocation {
    let file = if &*record.file == "-" { "stdin" } else { &*record.file };
    at(uri(file), record.line)
}

fn path(subject: &Subject) -> String {
    match subject {
        Subject::Place { place: Place::Workload { namespace, owner, name } } => {
            format!("{namespace}/{owner}/{name}")
        }
        Subject::Place { place } => format!("places/{place}"),
        Subject::Namespace { name } => format!("namespaces/{name}"),
        Subject::Policy { policy, .. } => {
            let namespace = policy.namespace.as_deref().unwrap_or("cluster");
            format!("{namespace}/{:?}/{}", policy.kind, policy.name)
        }
        Subject::Image { image } => format!("images/{image}"),
    }
}

fn logical(subject: &Subject) -> LogicalLocation {
    let name = shown::line(&subject.to_string()).into_owned();
    let kind = match subject {
        Subject::Place { .. } | Subject::Policy { .. } => "resource",
        Subject::Namespace { .. } => "namespace",
        Subject::Image { .. } => "module",
    };
    LogicalLocation { fully_qualified_name: name.clone(), name, kind }
}

/// A path as a URI reference (RFC 3986): relative where it is relative, `file:` where it is absolute.
fn uri(path: &str) -> String {
    let (scheme, path) = if path.starts_with('/') { ("file://", path) } else { ("", path) };
    let mut out = scheme.to_owned();
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Problems of the input, and what could not be told.
fn invocation(assessment: &Assessment) -> Invocation {
    let problems = assessment.inputs.problems.iter().map(problem);
    let limits = assessment.limits.iter().map(|limit| {
        let ids: Vec<_> = limit.ids.iter().map(|id| id.as_str()).collect();
        let about = if ids.is_empty() { String::new() } else { format!("{}: ", ids.join(", ")) };
        Notification {
            level: "note",
            message: message(&format!("{about}{}", limit.what)),
            locations: Vec::new(),
        }
    });
    Invocation {
        execution_successful: true,
        end_time_utc: assessment.made.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        tool_execution_notifications: problems.chain(limits).collect(),
    }
}

fn problem(problem: &InputProblem) -> Notification {
    let physical_location = at(uri(&problem.file), problem.line);
    let location = Location { id: None, physical_location, logical_locations: Vec::new(), message: None };
    Notification { level: "warning", message: message(&problem.what), locations: vec![location] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::small;
    use serde_json::Value;

    fn sarif() -> Value {
        let options = Options { fail_on: Some(Severity::High), ..Options::default() };
        serde_json::to_value(log_of(&small(), &options)).unwrap()
    }

    #[test]
    fn each_finding_is_a_result_that_names_its_rule() {
        let (log, small) = (sarif(), small());
        let run = &log["runs"][0];
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), small.findings.len() + small.suppressed.len());
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        }
        assert_eq!(results[0]["partialFingerprints"]["flowlog/v1"], small.findings[0].fingerprint);
        assert_eq!(results[0]["level"], "error");
        assert_eq!(results[0]["baselineState"], "new");
    }

    #[test]
    fn a_record_is_a_place_in_a_file_and_a_suppressed_finding_says_why() {
        let log = sarif();
        let results = &log["runs"][0]["results"];
        let place = &results[0]["locations"][0];
        assert_eq!(place["physicalLocation"]["artifactLocation"]["uri"], "logs/node-1.jsonl");
        assert_eq!(place["physicalLocation"]["region"]["startLine"], 311);
        assert_eq!(place["logicalLocations"][0]["name"], "monitoring/DaemonSet/datadog-agent");
        let last = results.as_array().unwrap().last().unwrap();
        assert!(last["suppressions"][0]["justification"].as_str().unwrap().starts_with("the agent reads"));
        assert_eq!(last["properties"]["fails"], false);
    }

    #[test]
    fn a_path_becomes_a_uri_whatever_is_in_it() {
        for (path, expected) in [
            ("./logs/a.jsonl", "logs/a.jsonl"),
            ("/var/log/a b.jsonl", "file:///var/log/a%20b.jsonl"),
            ("c:d?#<\u{202e}", "c%3Ad%3F%23%3C%E2%80%AE"),
        ] {
            assert_eq!(uri(path), expected);
        }
    }

    #[test]
    fn rules_have_names_of_one_word() {
        assert_eq!(pascal("Third party's egress not restricted"), "ThirdPartysEgressNotRestricted");
        assert_eq!(pascal("Third-party image changed"), "ThirdPartyImageChanged");
    }
}
