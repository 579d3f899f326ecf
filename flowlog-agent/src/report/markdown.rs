//! An assessment as Markdown, for a comment on a pull request or a job's summary: short, the details folded.
//!
//! Names are anybody's: what Markdown, HTML or the forge would take for its own (links, mentions, references) is
//! broken up, and shows as it was written.

use super::{Options, shown, words};
use crate::model::{Assessment, Finding, Severity};
use std::fmt::Write as _;

/// A comment on GitHub holds 65,536 characters.
const MOST_BYTES: usize = 60_000;

/// The assessment as Markdown; what does not fit is counted.
pub(super) fn render(assessment: &Assessment, options: &Options) -> String {
    let mut out = head(assessment, options);
    let tail = tail(assessment);
    let room = MOST_BYTES.saturating_sub(out.len() + tail.len());
    let (mut used, mut left) = (0, 0);
    // Policies are long: they are not to take the findings' place.
    let mut room_for_policies = room / 3;
    for severity in Severity::ALL {
        let of_it: Vec<_> = assessment.findings.iter().filter(|one| one.severity == severity).collect();
        if of_it.is_empty() {
            continue;
        }
        let fails = if options.fails(severity) { " — at or over the threshold" } else { "" };
        let mut group = format!("### {} {} ({}){fails}\n\n", mark(severity), severity.as_str(), of_it.len());
        for finding in of_it {
            let policy = policy(finding, room_for_policies);
            let text = one(finding, &policy);
            if used + group.len() + text.len() > room {
                left += 1;
                continue;
            }
            group.push_str(&text);
            room_for_policies = room_for_policies.saturating_sub(policy.len());
        }
        if used + group.len() <= room {
            used += group.len();
            out.push_str(&group);
        }
    }
    if left > 0 {
        let _ = writeln!(out, "{} more: the full report has them all.\n", words::grouped(left));
    }
    out.push_str(&tail);
    out
}

fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "◆",
        Severity::High => "▲",
        Severity::Medium => "●",
        Severity::Low => "▽",
        Severity::Info => "○",
    }
}

/// Text that shows as it is: a cell, a sentence, a summary.
fn escape(text: &str) -> String {
    let text = shown::line(text);
    let mut out = String::with_capacity(text.len() + 16);
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Inside HTML (a summary) a backslash would show: these are references, which mean the same in both.
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '+' | '!' | '|' | '~' | '$'
            | '"' | '\'' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            // What a forge makes of text after it was rendered (mentions, references, links) does not cross an element.
            '@' => out.push_str("@<!-- -->"),
            '#' => out.push_str("#<!-- -->"),
            ':' => out.push_str(":<!-- -->"),
            '.' if matches!(before, 'w' | 'W') => out.push_str("<!-- -->."),
            '-' | '=' | '/' if before == ' ' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            _ => out.push(c),
        }
        before = c;
    }
    out
}

/// A block of code with a fence that what is in it cannot close.
fn fenced(language: &str, text: &str) -> String {
    let text = shown::block(text);
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

fn head(assessment: &Assessment, options: &Options) -> String {
    let mut out = String::new();
    let cluster =
        assessment.cluster.as_deref().map_or_else(String::new, |name| format!(" of {}", escape(name)));
    let _ = writeln!(out, "## Third-party risk assessment{cluster}\n");
    let failing = assessment.findings.iter().filter(|one| options.fails(one.severity)).count();
    if let Some(least) = options.fail_on {
        let _ = match u64::try_from(failing) {
            Ok(0) | Err(_) => writeln!(out, "✅ No finding is {} or more severe.\n", least.as_str()),
            Ok(number) => {
                let verb = if number == 1 { "is" } else { "are" };
                writeln!(
                    out,
                    "❌ {} {verb} {} or more severe.\n",
                    words::count(number, "finding"),
                    least.as_str()
                )
            }
        };
    }
    let header: Vec<_> =
        Severity::ALL.into_iter().map(|one| format!("{} {}", mark(one), one.as_str())).collect();
    let row: Vec<_> = Severity::ALL
        .into_iter()
        .map(|one| words::grouped(words::counted(&assessment.counts, one)))
        .collect();
    let _ = writeln!(out, "| {} | suppressed |", header.join(" | "));
    let _ = writeln!(out, "|{}", "---:|".repeat(Severity::ALL.len() + 1));
    let _ = writeln!(out, "| {} | {} |\n", row.join(" | "), assessment.suppressed.len());
    out.push_str(&drift(assessment));
    out.push_str(&vendors(assessment));
    out
}

fn drift(assessment: &Assessment) -> String {
    let Some(drift) = &assessment.drift else { return String::new() };
    format!(
        "Against the baseline: **{} new**, {} worse, {} known, {} gone.\n\n",
        words::grouped(drift.new),
        words::grouped(drift.worse),
        words::grouped(drift.known),
        drift.gone.len()
    )
}

/// Vendors that the table has; the others are counted.
const MOST_VENDORS: usize = 20;

fn vendors(assessment: &Assessment) -> String {
    let mut out = String::new();
    if assessment.vendors.is_empty() {
        return out;
    }
    out.push_str("| third party | workloads | reached | could reach | never used | sensitive reached |\n|---|---:|---:|---:|---:|---:|\n");
    for vendor in assessment.vendors.iter().take(MOST_VENDORS) {
        let unknown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), words::grouped);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            escape(&short(&words::vendor(vendor), 80)),
            vendor.workloads.len(),
            words::grouped(vendor.reached),
            unknown(vendor.reachable),
            unknown(vendor.unused),
            vendor.sensitive_reached.len()
        );
    }
    if let Some(more) = assessment.vendors.len().checked_sub(MOST_VENDORS).filter(|more| *more > 0) {
        let _ = writeln!(out, "| and {more} more | | | | | |");
    }
    out.push('\n');
    out
}

fn short(text: &str, most: usize) -> String {
    super::wrap::cut(text, most)
}

/// The policy that mends a finding, or where it is to be found.
fn policy(finding: &Finding, room: usize) -> String {
    let Some(policy) = &finding.remedy.policy else { return String::new() };
    let block = format!("{}\n", fenced("yaml", policy));
    if block.len() <= room { block } else { "**Policy:** in the full report\n\n".to_owned() }
}

/// A finding, folded.
fn one(finding: &Finding, policy: &str) -> String {
    let mut out = format!(
        "<details><summary><b>{}</b> {}</summary>\n\n",
        escape(&words::heading(finding)),
        escape(&short(&finding.summary, 400))
    );
    let _ = writeln!(out, "{}\n", escape(&short(&finding.why, 600)));
    for proof in finding.evidence.iter().take(5) {
        let _ = writeln!(out, "- {}", escape(&short(&words::proof(proof), 400)));
    }
    let more = finding.evidence.len().saturating_sub(5);
    let more = finding.more_evidence.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
    if more > 0 {
        let _ = writeln!(out, "- and {} more", words::grouped(more));
    }
    let _ = writeln!(out, "\n**Remedy:** {}\n", escape(&short(&finding.remedy.text, 600)));
    out.push_str(policy);
    out.push_str("</details>\n\n");
    out
}

/// What was read, what could not be told, what could not be used.
fn tail(assessment: &Assessment) -> String {
    let mut out =
        String::from("<details><summary>What was read, and what this look could not tell</summary>\n\n");
    for line in words::inputs(&assessment.inputs).iter().take(20) {
        let _ = writeln!(out, "- {}", escape(&short(line, 300)));
    }
    for limit in assessment.limits.iter().take(30) {
        let ids: Vec<_> = limit.ids.iter().map(|id| id.as_str()).collect();
        let about = if ids.is_empty() { String::new() } else { format!("{}: ", ids.join(", ")) };
        let _ = writeln!(out, "- not told: {}", escape(&short(&format!("{about}{}", limit.what), 300)));
    }
    for problem in assessment.inputs.problems.iter().take(20) {
        let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
        let _ = writeln!(
            out,
            "- problem: {}",
            escape(&short(&format!("{}{line}: {}", problem.file, problem.what), 300))
        );
    }
    for finding in assessment.suppressed.iter().take(20) {
        let reason = finding.suppressed.as_ref().map_or("", |one| &one.reason);
        let what = format!("{} {} ({reason})", finding.id, finding.summary);
        let _ = writeln!(out, "- suppressed: {}", escape(&short(&what, 400)));
    }
    let _ = writeln!(
        out,
        "\n</details>\n\nMade {} by flowlog {}.",
        words::moment(assessment.made),
        escape(&assessment.flowlog)
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::small;
    use pulldown_cmark::{Event, Options as Markdown, Parser, Tag, TagEnd};

    /// What forges add to CommonMark.
    const FORGE: Markdown = Markdown::ENABLE_TABLES
        .union(Markdown::ENABLE_STRIKETHROUGH)
        .union(Markdown::ENABLE_FOOTNOTES)
        .union(Markdown::ENABLE_TASKLISTS)
        .union(Markdown::ENABLE_GFM)
        .union(Markdown::ENABLE_MATH);

    const HOSTILE: [&str; 12] = [
        "<script>alert(1)</script>",
        "**bold** _em_ ~~gone~~ `code`",
        "[link](http://evil.example) ![x](y)",
        "a | b | c",
        "@everyone #1 GH-1",
        "https://evil.example www.evil.example mail@evil.example",
        "# head\n- item\n1. one",
        "```\n</details>",
        "&lt;b&gt; &#64;",
        "\u{202e}desrever\u{1b}[31m",
        "\\*not\\*",
        "<!-- hidden",
    ];

    #[test]
    fn a_name_shows_as_it_is_and_becomes_nothing_else() {
        for name in HOSTILE {
            for text in
                [escape(name), format!("- {}", escape(name)), format!("| a |\n|---|\n| {} |", escape(name))]
            {
                let mut seen = String::new();
                for event in Parser::new_ext(&text, FORGE) {
                    match event {
                        Event::Text(text) => seen.push_str(&text),
                        Event::InlineHtml(html) => assert_eq!(&*html, "<!-- -->", "{name:?} in {text:?}"),
                        Event::Start(
                            Tag::Paragraph
                            | Tag::List(_)
                            | Tag::Item
                            | Tag::Table(_)
                            | Tag::TableHead
                            | Tag::TableRow
                            | Tag::TableCell,
                        )
                        | Event::End(
                            TagEnd::Paragraph
                            | TagEnd::List(_)
                            | TagEnd::Item
                            | TagEnd::Table
                            | TagEnd::TableHead
                            | TagEnd::TableRow
                            | TagEnd::TableCell,
                        ) => {}
                        other => panic!("{name:?} becomes {other:?} in {text:?}"),
                    }
                }
                let expected = shown::line(name);
                assert!(seen.ends_with(expected.trim()), "{name:?} shows as {seen:?}");
            }
        }
    }

    /// Forges make links of bare text after all else.
    #[test]
    fn bare_text_is_no_link_no_mention_and_no_reference() {
        for (name, bare) in [
            ("https://evil.example", "://"),
            ("www.evil.example", "www."),
            ("@everyone", "@e"),
            ("#12", "#1"),
        ] {
            assert!(!escape(name).contains(bare), "{}", escape(name));
        }
    }

    #[test]
    fn a_policy_cannot_close_its_fence() {
        let text = fenced("yaml", "a: |\n  ````\n  </details>\n");
        assert!(text.starts_with("`````yaml\n") && text.ends_with("\n`````\n"), "{text}");
    }

    #[test]
    fn a_long_policy_takes_no_findings_place() {
        let mut assessment = small();
        assessment.findings.truncate(3);
        let told = |assessment: &Assessment| {
            let text = render(assessment, &Options::default());
            let count = |part: &str| text.matches(part).count();
            (
                count("<details><summary><b>FL"),
                count("kind: NetworkPolicy"),
                count("**Policy:** in the full report"),
            )
        };
        for finding in &mut assessment.findings {
            finding.remedy.policy = Some("kind: NetworkPolicy\n".to_owned());
        }
        assert_eq!(told(&assessment), (3, 3, 0));
        for finding in &mut assessment.findings {
            finding.remedy.policy = Some(format!("kind: NetworkPolicy\n{}", "a: 1\n".repeat(3_000)));
        }
        assert_eq!(told(&assessment), (3, 1, 2));
    }

    #[test]
    fn the_sum_stands_first_and_what_fails_is_marked() {
        let options = Options { fail_on: Some(Severity::High), ..Options::default() };
        let text = render(&small(), &options);
        for part in [
            "❌ 3 findings are high or more severe.",
            "| 1 | 2 | 1 | 1 | 1 | 1 |",
            "**2 new**",
            "| Datadog | 1 | 5 | 4 | 3 | 1 |",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert_eq!(text.matches("at or over the threshold").count(), 2, "{text}");
        assert_eq!(text.matches("<details>").count(), text.matches("</details>").count(), "{text}");
    }

    #[test]
    fn it_fits_into_a_comment_and_counts_what_does_not() {
        let mut assessment = small();
        let many = assessment.findings[0].clone();
        assessment.findings = vec![many; 2_000];
        let text = render(&assessment, &Options::default());
        assert!(text.len() <= MOST_BYTES + 100, "{}", text.len());
        let told = text.matches("<b>FL201 ").count();
        assert!(text.contains(&format!(
            "{} more: the full report",
            words::grouped(2_000 - u64::try_from(told).unwrap())
        )));
    }

    #[test]
    fn hostile_names_everywhere_leave_its_structure_as_it_was() {
        let mut assessment = small();
        let count = |assessment: &Assessment| {
            let text = render(assessment, &Options::default());
            Parser::new_ext(&text, FORGE).filter(|event| matches!(event, Event::Start(_))).count()
        };
        let before = count(&assessment);
        for (finding, name) in assessment.findings.iter_mut().zip(HOSTILE) {
            finding.summary = name.to_owned();
            finding.why = name.to_owned();
            finding.remedy.text = name.to_owned();
        }
        assessment.cluster = Some("```\n</details>".to_owned());
        assessment.vendors[0].name = Some("|x|\n\n# head".to_owned());
        assert_eq!(count(&assessment), before);
    }
}
