//! What the test programs said: who failed, and whether each came to its end.

/// Read line by line as `libtest` prints it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Names of tests that failed, in their order.
    pub(crate) failed: Vec<String>,
    /// By the closing lines of the programs.
    counted: usize,
    /// Programs that began, less those that came to their closing line.
    open: usize,
}

impl Report {
    /// Take note of one line.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("test ")
            && let Some(name) = test.strip_suffix(" ... FAILED")
        {
            self.failed.push(name.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.open = self.open.saturating_sub(1);
            self.counted += failures(result).unwrap_or_default();
        } else if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.open += 1;
        }
    }

    /// The names are all there is to the failure: every program came to its end, and counted as many.
    pub(crate) fn is_whole(&self) -> bool {
        self.open == 0 && !self.failed.is_empty() && self.counted == self.failed.len()
    }
}

/// `FAILED. 129 passed; 2 failed; …`.
fn failures(result: &str) -> Option<usize> {
    let part = result.split("; ").find_map(|part| part.strip_suffix(" failed"))?;
    part.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let mut report = Report::default();
        text.lines().for_each(|line| report.read(line));
        report
    }

    const TWO: &str = "\nrunning 3 tests\ntest a::one ... ok\ntest a::two ... FAILED\ntest b ... FAILED\n\nfailures:\n    \
                       a::two\n    b\n\ntest result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; \
                       finished in 0.00s\n";

    #[test]
    fn who_failed_is_known_by_name() {
        let report = report(TWO);
        assert_eq!(report.failed, ["a::two", "b"]);
        assert!(report.is_whole());
    }

    #[test]
    fn a_program_that_was_cut_short_is_no_failed_test() {
        let cut = format!("{TWO}\nrunning 2 tests\ntest c ... ok\n");
        assert!(!report(&cut).is_whole());
    }

    #[test]
    fn a_failure_without_a_name_is_none_of_a_test() {
        assert!(!report("error: could not compile `flowlog`").is_whole());
        let one = TWO.replace("test b ... FAILED\n", "test b ... as it wrote between, FAILED\n");
        assert!(!report(&one).is_whole(), "the programs count two");
    }
}
