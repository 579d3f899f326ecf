//! An assessment on a terminal: what it was drawn from and what it comes to first, then finding by finding.

use super::{Options, shown, words, wrap};
use crate::model::{Assessment, DriftSummary, Finding, InputProblem, Severity, VendorSummary};
use anstyle::{AnsiColor, Style};

/// Narrower than this nothing can be read; wider, nobody follows a line.
const WIDTHS: (usize, usize) = (40, 120);

/// Findings beyond this of one severity are counted, not told: JSON and HTML have them all.
const MOST: usize = 500;

/// Policies that mend what is less than medium are told if they have no more lines than this: JSON and HTML have them all.
const SHORT_POLICY: usize = 12;

/// The assessment as text.
pub(super) fn render(assessment: &Assessment, options: &Options) -> String {
    let mut page = Page::new(options);
    head(&mut page, assessment);
    vendors(&mut page, &assessment.vendors);
    if let Some(drift) = &assessment.drift {
        changed(&mut page, drift);
    }
    for severity in Severity::ALL {
        let of_it: Vec<_> = assessment.findings.iter().filter(|one| one.severity == severity).collect();
        group(&mut page, severity, &of_it, options);
    }
    suppressed(&mut page, &assessment.suppressed);
    limits(&mut page, assessment);
    problems(&mut page, &assessment.inputs.problems, assessment.inputs.more_problems);
    page.out
}

/// The text so far, and how it is laid out.
struct Page {
    out: String,
    width: usize,
    colour: bool,
}

impl Page {
    fn new(options: &Options) -> Self {
        let width = options.width.clamp(WIDTHS.0, WIDTHS.1);
        Self { out: String::new(), width, colour: options.colour }
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A text below one another, the first line after `first`, the others as far in.
    fn put(&mut self, first: &str, text: &str, style: Style) {
        let indent = wrap::width(first);
        let text = shown::line(text);
        let lines = wrap::lines(&text, self.width.saturating_sub(indent));
        for (place, line) in lines.iter().enumerate() {
            let before = if place == 0 { first.to_owned() } else { " ".repeat(indent) };
            let line = self.styled(style, line);
            self.out.push_str(&format!("{before}{line}\n"));
        }
        if lines.is_empty() {
            self.out.push_str(&format!("{}\n", first.trim_end()));
        }
    }

    fn line(&mut self, first: &str, text: &str) {
        self.put(first, text, Style::new());
    }

    fn section(&mut self, title: &str, style: Style) {
        let title = self.styled(style.bold(), title);
        self.out.push_str(&format!("\n{title}\n"));
    }

    /// A text of many lines as it is, but for what would act: a policy is copied from here.
    fn block(&mut self, text: &str, indent: usize) {
        for line in shown::block(text).lines() {
            self.out.push_str(&format!("{}{line}\n", " ".repeat(indent)));
        }
    }
}

fn colour(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Critical => AnsiColor::BrightRed,
        Severity::High => AnsiColor::Red,
        Severity::Medium => AnsiColor::Yellow,
        Severity::Low => AnsiColor::Cyan,
        Severity::Info => AnsiColor::BrightBlack,
    };
    colour.on_default()
}

fn head(page: &mut Page, assessment: &Assessment) {
    let cluster = assessment.cluster.as_ref().map_or_else(String::new, |cluster| format!(" of {cluster}"));
    let made = words::moment(assessment.made);
    page.put("", &format!("Third-party risk assessment{cluster}, {made}"), Style::new().bold());
    page.out.push('\n');
    let read = words::inputs(&assessment.inputs);
    for (place, line) in read.iter().enumerate() {
        page.line(if place == 0 { "Read      " } else { "          " }, line);
    }
    if read.is_empty() {
        page.line("Read      ", "nothing");
    }
    let suppressed = match u64::try_from(assessment.suppressed.len()) {
        Ok(0) | Err(_) => String::new(),
        Ok(number) => format!("; {} suppressed", words::grouped(number)),
    };
    let worst = Severity::ALL.into_iter().find(|one| words::counted(&assessment.counts, *one) > 0);
    let style = worst.map_or_else(Style::new, colour);
    page.put("Findings  ", &format!("{}{suppressed}", words::severities(&assessment.counts)), style);
}

/// A table: who runs here, what it reached and what it could reach.
fn vendors(page: &mut Page, vendors: &[VendorSummary]) {
    if vendors.is_empty() {
        return;
    }
    page.section("Third parties", Style::new());
    let name_width = page.width.saturating_sub(2 + 11 + 9 + 13 + 9 + 11);
    page.out.push_str(&format!(
        "  {:name_width$}{:>11}{:>9}{:>13}{:>9}{:>11}\n",
        "", "workloads", "reached", "could reach", "unused", "sensitive"
    ));
    for vendor in vendors {
        let unknown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), words::grouped);
        let name = wrap::cut(&words::vendor(vendor), name_width);
        let padding = " ".repeat(name_width.saturating_sub(wrap::width(&name)));
        page.out.push_str(&format!(
            "  {name}{padding}{:>11}{:>9}{:>13}{:>9}{:>11}\n",
            vendor.workloads.len(),
            words::grouped(vendor.reached),
            unknown(vendor.reachable),
            unknown(vendor.unused),
            vendor.sensitive_reached.len(),
        ));
    }
    page.line("  ", "Pairs of target and port; unused: could be reached and never was. Sensitive: such workloads reached.");
}

fn changed(page: &mut Page, drift: &DriftSummary) {
    let since = drift.since.map_or_else(String::new, |since| format!(" of {}", words::moment(since)));
    page.section(&format!("Since the baseline{since}"), Style::new());
    let gone = u64::try_from(drift.gone.len()).unwrap_or(u64::MAX);
    let numbers = [(drift.new, "new"), (drift.worse, "worse"), (drift.known, "known"), (gone, "gone")];
    let numbers: Vec<_> =
        numbers.iter().map(|(number, word)| format!("{} {word}", words::grouped(*number))).collect();
    page.line("  findings: ", &numbers.join(", "));
    for gone in &drift.gone {
        page.line("  gone: ", &format!("{} {}", gone.id, gone.summary));
    }
    for workload in &drift.workloads_new {
        page.line("  new workload: ", workload);
    }
    for workload in &drift.workloads_gone {
        page.line("  workload gone: ", workload);
    }
    for image in &drift.images_changed {
        let what = format!("{} {}: {} → {}", image.workload, image.container, image.before, image.after);
        page.line("  image changed: ", &what);
    }
}

fn group(page: &mut Page, severity: Severity, findings: &[&Finding], options: &Options) {
    if findings.is_empty() {
        return;
    }
    let fails = if options.fails(severity) { ", at or over the threshold" } else { "" };
    let title = format!("{} ({}{fails})", severity.as_str().to_uppercase(), findings.len());
    page.section(&title, colour(severity));
    for finding in findings.iter().take(MOST) {
        page.out.push('\n');
        one(page, finding);
    }
    if let Some(more) = findings.len().checked_sub(MOST).filter(|more| *more > 0) {
        page.line("\n", &format!("{more} more of this severity: the JSON and the HTML report have them all"));
    }
}

fn one(page: &mut Page, finding: &Finding) {
    page.put("", &words::heading(finding), Style::new().bold());
    page.line("  ", &finding.summary);
    page.line("  why:      ", &finding.why);
    for (place, proof) in finding.evidence.iter().enumerate() {
        page.line(if place == 0 { "  evidence: " } else { "            " }, &words::proof(proof));
    }
    if finding.more_evidence > 0 {
        page.line("            ", &format!("and {} more", words::grouped(finding.more_evidence)));
    }
    page.line("  remedy:   ", &finding.remedy.text);
    if let Some(policy) = &finding.remedy.policy {
        let is_long = finding.severity < Severity::Medium && policy.lines().count() > SHORT_POLICY;
        match is_long {
            true => page.line("  policy:   ", "in the JSON and the HTML report"),
            false => page.block(policy, 12),
        }
    }
}

fn suppressed(page: &mut Page, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    page.section(&format!("Suppressed ({})", findings.len()), Style::new());
    for finding in findings {
        page.line("  ", &format!("{} {}", finding.id, finding.summary));
        if let Some(suppression) = &finding.suppressed {
            let until = match &suppression.expires {
                Some(day) => format!(" (until {day})"),
                None => String::new(),
            };
            page.line("    reason: ", &format!("{}{until}", suppression.reason));
        }
    }
}

fn limits(page: &mut Page, assessment: &Assessment) {
    if assessment.limits.is_empty() {
        return;
    }
    page.section("What this look could not tell", Style::new());
    for limit in &assessment.limits {
        let ids: Vec<_> = limit.ids.iter().map(|id| id.as_str()).collect();
        let about = if ids.is_empty() { String::new() } else { format!("{}: ", ids.join(", ")) };
        page.line("  - ", &format!("{about}{}", limit.what));
    }
}

fn problems(page: &mut Page, problems: &[InputProblem], more: u64) {
    if problems.is_empty() && more == 0 {
        return;
    }
    page.section("Problems of the input", AnsiColor::Yellow.on_default());
    for problem in problems {
        let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
        page.line("  ", &format!("{}{line}: {}", problem.file, problem.what));
    }
    if more > 0 {
        page.line("  ", &format!("and {} more", words::grouped(more)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Drift;
    use crate::report::small;

    /// Whether it is more than the baseline had.
    fn is_more(finding: &Finding) -> bool {
        matches!(finding.drift, Some(Drift::New | Drift::Worse))
    }

    fn text(assessment: &Assessment) -> String {
        render(assessment, &Options::default())
    }

    #[test]
    fn all_that_was_found_is_told_within_eighty_columns() {
        let assessment = small();
        let text = text(&assessment);
        for finding in assessment.findings.iter().chain(&assessment.suppressed) {
            assert!(text.contains(finding.id.as_str()), "{}\n{text}", finding.id);
        }
        let policy = |line: &str| line.starts_with(&" ".repeat(12));
        let long: Vec<_> = text.lines().filter(|line| wrap::width(line) > 80 && !policy(line)).collect();
        assert_eq!(long, Vec::<&str>::new(), "{text}");
    }

    #[test]
    fn the_sum_stands_before_the_findings_and_the_limits_after_them() {
        let text = text(&small());
        let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in\n{text}"));
        let order = [
            "60,131 records in 3 files (7.3 MB)",
            "1 critical, 2 high, 1 medium, 1 low, 1 info; 1 suppressed",
            "Third parties",
            "Since the baseline",
            "CRITICAL (1)",
            "FL201",
            "HIGH (2)",
            "Suppressed (1)",
            "(until 2027-01-31)",
            "What this look could not tell",
            "logs/node-2.jsonl:20011: torn line",
        ];
        let places: Vec<_> = order.into_iter().map(place).collect();
        assert!(places.is_sorted(), "{places:?}\n{text}");
    }

    #[test]
    fn a_name_cannot_reach_the_terminal() {
        let mut assessment = small();
        let hostile = "\u{1b}[2J\u{202e}\u{9b}31m\r\u{200b}x";
        assessment.cluster = Some(hostile.to_owned());
        for finding in &mut assessment.findings {
            finding.summary = hostile.to_owned();
            finding.remedy.policy = Some(format!("a:\n  {hostile}\n"));
        }
        assessment.vendors[0].name = Some(hostile.to_owned());
        assessment.inputs.problems[0].file = hostile.to_owned();
        assessment.limits[0].what = hostile.to_owned();
        let text = text(&assessment);
        assert!(text.chars().all(|c| c == '\n' || !shown::is_hidden(c)), "{text:?}");
        assert!(text.contains("\\u{1b}[2J\\u{202e}"), "{text}");
    }

    #[test]
    fn colours_are_only_where_they_are_asked_for() {
        let options = Options { colour: true, ..Options::default() };
        let coloured = render(&small(), &options);
        assert!(coloured.contains("\u{1b}["), "{coloured}");
        assert!(!text(&small()).contains('\u{1b}'));
    }

    #[test]
    fn what_is_over_the_threshold_and_what_is_new_is_marked() {
        let assessment = small();
        let options = Options { fail_on: Some(Severity::High), ..Options::default() };
        let text = render(&assessment, &options);
        assert_eq!(text.matches("at or over the threshold").count(), 2, "{text}");
        let marked = text.matches(" (new)\n").count() + text.matches(" (worse)\n").count();
        assert_eq!(marked, assessment.findings.iter().filter(|one| is_more(one)).count(), "{text}");
    }

    #[test]
    fn an_assessment_of_nothing_says_so() {
        let mut assessment = small();
        assessment.inputs = crate::model::Inputs::default();
        assessment.findings.clear();
        assessment.suppressed.clear();
        assessment.vendors.clear();
        assessment.counts.clear();
        let text = text(&assessment);
        assert!(text.contains("Read      nothing\n") && text.contains("Findings  none\n"), "{text}");
    }
}
