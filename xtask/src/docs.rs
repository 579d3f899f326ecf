//! Generated documents: written by the binary itself, checked in, and held against it here.

use crate::build;
use crate::command::{repository, run_quietly};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

/// A file, what the binary prints for it, and between which marks it stands there; without marks it is the file.
const GENERATED: [(&str, &[&str], Option<&str>); 14] = [
    ("deploy/schema/flowlog.v1.schema.json", &["schema"], None),
    ("deploy/schema/flowlog-lint.v1.schema.json", &["schema", "--lint"], None),
    ("deploy/schema/flowlog-assessment.v1.schema.json", &["schema", "--assessment"], None),
    ("deploy/schema/flowlog-simulation.v1.schema.json", &["schema", "--simulation"], None),
    ("deploy/siem/elastic/component-mappings.json", &["schema", "--mapping", "elastic"], None),
    ("deploy/siem/elastic/component-mappings.ecs.json", &["schema", "--mapping", "elastic-ecs"], None),
    ("deploy/siem/opensearch/component-mappings.json", &["schema", "--mapping", "opensearch"], None),
    ("deploy/siem/opensearch/component-mappings.ecs.json", &["schema", "--mapping", "opensearch-ecs"], None),
    ("deploy/clickhouse/records.sql", &["schema", "--mapping", "clickhouse"], None),
    (FINDINGS, &["schema", "--findings"], Some("<!-- findings -->\n")),
    ("docs/policy.md", &["schema", "--lint", "--markdown"], Some("<!-- lint rules -->\n")),
    ("docs/log-format.md", &["schema", "--markdown"], Some("<!-- fields -->\n")),
    ("docs/log-format.md", &["schema", "--formats"], Some("<!-- formats -->\n")),
    ("docs/operating.md", &["schema", "--metrics"], Some("<!-- metrics -->\n")),
];

/// Where each kind of finding has a paragraph.
const FINDINGS: &str = "docs/findings.md";

/// Check them, or write them.
pub(crate) fn docs(write: bool) -> Result<()> {
    let agent = build::agent(false)?;
    for (name, args, mark) in GENERATED {
        let path = repository()?.join(name);
        let printed = run_quietly(Command::new(&agent).args(args))?;
        let before = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
        let now = match mark {
            None => printed,
            Some(mark) => between(&before, mark, &printed).with_context(|| format!("look into {name}"))?,
        };
        if write {
            fs::write(&path, now).with_context(|| format!("write {name}"))?;
        } else if before != now {
            bail!("{name} is out of date: run `cargo xtask docs --write` and look at what changed");
        }
    }
    let missing = without_paragraph(&fs::read_to_string(repository()?.join(FINDINGS))?);
    if !missing.is_empty() {
        bail!("{FINDINGS} has no paragraph about {}: write a `### ID: Title` each", missing.join(", "));
    }
    Ok(())
}

/// Rows of the table of findings that no heading of the text below has, by id and title; an empty paragraph counts as none.
fn without_paragraph(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| FL")?.split(" | ");
        Some(format!("FL{}: {}", cells.next()?, cells.next()?))
    });
    let has = |row: &str| {
        let after = text.split(&format!("\n### {row}\n\n")).nth(1);
        after.is_some_and(|after| !after.trim_start().is_empty() && !after.trim_start().starts_with('#'))
    };
    rows.filter(|row| !has(row)).collect()
}

/// The text with what stands between its two marks replaced.
pub(crate) fn between(text: &str, mark: &str, new: &str) -> Result<String> {
    match text.split(mark).collect::<Vec<_>>()[..] {
        [head, _, tail] => Ok([head, new, tail].join(mark)),
        _ => bail!("the mark `{}` does not stand there twice", mark.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::{between, without_paragraph};

    #[test]
    fn each_finding_has_a_heading_and_words_below_it() {
        let text = "| FL101 | One | high |\n| FL102 | Two | low |\n| FL103 | Three | low |\n\n### FL101: One\n\nWords.\n\n\
                    ### FL102: Two\n\n### FL103: Other\n\nWords.\n";
        assert_eq!(without_paragraph(text), ["FL102: Two", "FL103: Three"]);
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        assert_eq!(
            between("a\n<!-->\nold\n<!-->\nz\n", "<!-->\n", "new\n").unwrap(),
            "a\n<!-->\nnew\n<!-->\nz\n"
        );
        assert!(between("a\n<!-->\nold\n", "<!-->\n", "new\n").is_err());
    }
}
