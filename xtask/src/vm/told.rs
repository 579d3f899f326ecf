//! What a machine said: what flowlog sees there, and what became of each test.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;

/// Stands in a line of its own before each part.
pub(super) fn mark(part: &str) -> String {
    format!("==== {part} ====")
}

/// What a machine said, in parts.
#[derive(Debug)]
pub(super) struct Told {
    /// The kernel, as in `KERNELS`.
    pub(super) kernel: &'static str,
    /// By hook, in order: attached or not, as the `agent` start record says.
    pub(super) hooks: Vec<(String, bool)>,
    /// Hooks that `flowlog check` says are missing.
    missing: Vec<String>,
    /// What became of each test.
    results: BTreeMap<String, String>,
    /// All that the tests said.
    said: String,
}

impl Told {
    pub(super) fn read(kernel: &'static str, said: &str) -> Result<Self> {
        let (check, start) = (part(said, "check", "start")?, part(said, "start", "tests")?);
        let said = part(said, "tests", "end")?.to_owned();
        let check: Value =
            serde_json::from_str(check).with_context(|| format!("`flowlog check` said:\n{check}"))?;
        let lines = start.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let record = lines
            .into_iter()
            .find(|line| line["agent"]["event"] == "start")
            .with_context(|| format!("`flowlog run` did not start; it said:\n{start}"))?;
        Ok(Self {
            kernel,
            hooks: named(&record["agent"]["hooks"])
                .map(|(name, state)| (name, state == "attached"))
                .collect(),
            missing: named(&check["hooks"])
                .filter(|(_, state)| state == "missing")
                .map(|(name, _)| name)
                .collect(),
            results: results(&said),
            said,
        })
    }

    /// Everything is as it should be; an error names all that is not.
    pub(super) fn check(&self, lacks: &[&str], tests: &[&str]) -> Result<()> {
        let absent: Vec<&str> =
            self.hooks.iter().filter(|(_, attached)| !attached).map(|(name, _)| name.as_str()).collect();
        let mut faults = Vec::new();
        let missing: Vec<&str> = self.missing.iter().map(String::as_str).collect();
        if !same(&absent, &missing) {
            faults.push(format!(
                "`flowlog check` says that {:?} are missing, `flowlog run` {absent:?}",
                self.missing
            ));
        }
        if !same(&absent, lacks) {
            faults.push(format!(
                "hooks not attached: {absent:?}; expected: {lacks:?} (KERNELS in xtask/src/vm)"
            ));
        }
        for name in tests {
            match self.results.get(*name).map(String::as_str) {
                Some("ok") => {}
                Some(other) => faults.push(format!("{name}: {other}")),
                None => faults.push(format!("{name}: not run to its end")),
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        eprintln!("{}", self.said);
        bail!("{}", faults.join("\n  "))
    }
}

fn same(some: &[&str], others: &[&str]) -> bool {
    some.len() == others.len() && some.iter().all(|one| others.contains(one))
}

fn part<'a>(said: &'a str, from: &str, to: &str) -> Result<&'a str> {
    let after = said.split_once(&mark(from)).map(|(_, after)| after);
    let part = after.and_then(|after| after.split_once(&mark(to))).map(|(part, _)| part);
    part.with_context(|| format!("it said nothing between {from} and {to}:\n{said}"))
}

fn named(hooks: &Value) -> impl Iterator<Item = (String, String)> + '_ {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    hooks.as_array().into_iter().flatten().map(move |hook| (text(&hook["name"]), text(&hook["state"])))
}

/// The lines in which libtest tells of a test that ended: `test NAME ... ok`.
fn results(said: &str) -> BTreeMap<String, String> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    lines.map(|(name, result)| (name.to_owned(), result.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::Told;

    fn said(start: &str, tests: &str) -> String {
        format!(
            "==== check ====\n{{\"hooks\": [{{\"name\": \"drop\", \"state\": \"missing\"}}, \
             {{\"name\": \"connect4\", \"state\": \"ok\"}}]}}\n==== start ====\n{start}\n==== tests ====\n{tests}\n\
             ==== end ====\n"
        )
    }

    const START: &str = "WARN words\n{\"agent\": {\"event\": \"start\", \"hooks\": [\
        {\"name\": \"drop\", \"state\": \"missing\"}, {\"name\": \"connect4\", \"state\": \"attached\"}]}}";

    #[test]
    fn what_is_not_as_it_should_be_is_named() {
        let told = Told::read("5.10", &said(START, "test a::b ... ok\ntest c ... FAILED\n")).unwrap();
        assert!(told.check(&["drop"], &["a::b"]).is_ok());
        for (lacks, tests, fault) in [
            (&["drop"][..], &["a::b", "c"][..], "c: FAILED"),
            (&["drop"], &["d"], "d: not run to its end"),
            (&[], &[], "hooks not attached: [\"drop\"]"),
            (&["drop", "connect4"], &[], "hooks not attached"),
        ] {
            let error = told.check(lacks, tests).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }

    #[test]
    fn an_agent_that_does_not_start_is_told_with_its_words() {
        let error = Told::read("5.10", &said("flowlog: no", "")).unwrap_err().to_string();
        assert!(error.contains("flowlog: no"), "{error}");
        let error = Told::read("5.10", "==== check ====\npanic").unwrap_err().to_string();
        assert!(error.contains("panic"), "{error}");
    }
}
