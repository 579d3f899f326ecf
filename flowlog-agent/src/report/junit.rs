//! An assessment as JUnit XML: a suite for each kind of finding, a case for each finding.
//!
//! A finding at or over the threshold has failed; what is below it, or suppressed, was skipped, with its words. A kind that was
//! looked for and not found has passed; one that could not be looked for was skipped.

use super::{Options, ReportError, shown, words};
use crate::model::{Assessment, Finding, FindingId};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

/// The assessment as JUnit XML.
pub(super) fn render(assessment: &Assessment, options: &Options) -> Result<String, ReportError> {
    let mut report = Report::new("flowlog assess");
    for id in FindingId::ALL {
        report.add_test_suite(suite(*id, assessment, options));
    }
    report.to_string().map_err(|error| ReportError::Xml(error.to_string()))
}

fn suite(id: FindingId, assessment: &Assessment, options: &Options) -> TestSuite {
    let mut suite = TestSuite::new(format!("{id} {}", id.title()));
    suite.add_property(Property::new("made", words::moment(assessment.made)));
    if let Some(cluster) = &assessment.cluster {
        suite.add_property(Property::new("cluster", shown::line(cluster)));
    }
    let findings = assessment.findings.iter().chain(&assessment.suppressed);
    suite.add_test_cases(findings.filter(|one| one.id == id).map(|one| case(one, options)));
    if suite.test_cases.is_empty() {
        suite.add_test_case(none(id, assessment));
    }
    suite
}

/// Of a kind of which nothing was found.
fn none(id: FindingId, assessment: &Assessment) -> TestCase {
    let limit = assessment.limits.iter().find(|limit| limit.ids.contains(&id));
    let status = limit.map_or_else(TestCaseStatus::success, |limit| {
        let mut skipped = TestCaseStatus::skipped();
        skipped.set_message(shown::line(&limit.what));
        skipped
    });
    named("none", id, status)
}

fn named(name: &str, id: FindingId, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(shown::line(name), status);
    case.set_classname(format!("flowlog.{id}"));
    case
}

fn case(finding: &Finding, options: &Options) -> TestCase {
    let object = finding.object.as_ref().map_or_else(String::new, |object| format!(" → {object}"));
    let name = format!("{}{object}", finding.subject);
    let summary = shown::line(&finding.summary);
    let mut case = match &finding.suppressed {
        Some(suppression) => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message(format!("suppressed ({}): {summary}", shown::line(&suppression.reason)));
            named(&name, finding.id, skipped)
        }
        None if options.fails(finding.severity) => {
            let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
            failure
                .set_type(finding.severity.as_str())
                .set_message(summary)
                .set_description(details(finding));
            named(&name, finding.id, failure)
        }
        None => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_type(finding.severity.as_str());
            skipped.set_message(format!("{}: {summary}", finding.severity.as_str()));
            named(&name, finding.id, skipped)
        }
    };
    case.add_property(Property::new("fingerprint", shown::line(&finding.fingerprint)));
    case.add_property(Property::new("severity", finding.severity.as_str()));
    case
}

fn details(finding: &Finding) -> String {
    let mut lines = vec![shown::line(&finding.why).into_owned(), String::new()];
    lines.extend(finding.evidence.iter().map(|proof| format!("- {}", shown::line(&words::proof(proof)))));
    if finding.more_evidence > 0 {
        lines.push(format!("- and {} more", words::grouped(finding.more_evidence)));
    }
    lines.extend([String::new(), format!("Remedy: {}", shown::line(&finding.remedy.text))]);
    lines.extend(
        finding.remedy.policy.as_ref().map(|policy| format!("\n{}", shown::block(policy).trim_end())),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;
    use crate::report::small;

    fn read(assessment: &Assessment) -> Report {
        let options = Options { fail_on: Some(Severity::High), ..Options::default() };
        let xml = render(assessment, &options).unwrap();
        Report::deserialize_from_str(&xml).unwrap_or_else(|error| panic!("{error}\n{xml}"))
    }

    fn statuses(report: &Report, id: &str) -> Vec<&'static str> {
        let suites = report.test_suites.iter().filter(|suite| suite.name.as_str().starts_with(id));
        let cases = suites.flat_map(|suite| &suite.test_cases);
        let word = |case: &TestCase| match case.status {
            TestCaseStatus::Success { .. } => "passed",
            TestCaseStatus::NonSuccess { .. } => "failed",
            TestCaseStatus::Skipped { .. } => "skipped",
        };
        cases.map(word).collect()
    }

    #[test]
    fn it_is_read_back_with_what_failed_was_skipped_and_passed() {
        let report = read(&small());
        assert_eq!(report.test_suites.len(), FindingId::ALL.len());
        for (id, expected) in [
            ("FL201", &["failed"][..]),
            ("FL101", &["failed"]),
            ("FL405", &["skipped"]),
            ("FL207", &["skipped"]),
            ("FL402", &["skipped"]),
            ("FL102", &["passed"]),
        ] {
            assert_eq!(statuses(&report, id), expected, "{id}");
        }
    }

    #[test]
    fn a_name_stays_text() {
        let mut assessment = small();
        let hostile = "]]><x a=\"'\"/>&amp;\u{1b}[31m\u{0}\u{ffff}";
        assessment.findings[0].summary = hostile.to_owned();
        assessment.findings[0].object = Some(hostile.to_owned());
        assessment.findings[0].remedy.policy = Some(format!("a: 1\n{hostile}"));
        let report = read(&assessment);
        let suite = report.test_suites.iter().find(|suite| suite.name.as_str().starts_with("FL201")).unwrap();
        let TestCaseStatus::NonSuccess { message, description, .. } = &suite.test_cases[0].status else {
            panic!("{:?}", suite.test_cases[0]);
        };
        let shown = shown::line(hostile);
        assert_eq!(message.as_ref().unwrap().as_str(), shown);
        assert!(description.as_ref().unwrap().as_str().contains(&*shown), "{description:?}");
    }
}
