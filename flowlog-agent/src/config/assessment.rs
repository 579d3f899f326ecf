//! The assessment's configuration, as it is written: one YAML file.
//!
//! Names of findings, severities and dates are checked where the words for them are known; here each keeps its line.

use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a person writes; absent where they say nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Assessment {
    /// Catalogues of the user's (`first_party`, `platform`, `vendors`, `mirrors`), relative to this file.
    pub vendors: Vec<PathBuf>,
    /// What is sensitive.
    pub sensitive: Sensitive,
    /// Registries, and folders in them, from which images may come.
    pub trusted_registries: Vec<String>,
    /// Vulnerabilities of this severity and above are told.
    pub vulnerabilities: Option<Spanned<String>>,
    /// When a source probes.
    pub probing: Probing,
    /// Severities other than what the rules give, by the findings' ids.
    pub severities: BTreeMap<String, Spanned<String>>,
    /// Findings that are not looked for, by their ids.
    pub off: Vec<Spanned<String>>,
    /// Findings of this severity and above make the exit code 1.
    pub fail_on: Option<Spanned<String>>,
    /// What is known and accepted.
    pub suppressions: Vec<Spanned<Suppression>>,
}

/// What is sensitive.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sensitive {
    /// Namespaces; `*` stands for any letters.
    pub namespaces: Vec<String>,
    /// Label selectors, as kubectl takes them (`app=db,tier in (a,b)`).
    pub selectors: Vec<String>,
    /// What ships counts, too: data stores, secret stores.
    pub shipped: bool,
}

impl Default for Sensitive {
    fn default() -> Self {
        Self { namespaces: Vec::new(), selectors: Vec::new(), shipped: true }
    }
}

/// When a source probes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probing {
    /// Denied or refused at so many targets or ports.
    pub targets: Option<usize>,
    /// Within so many minutes.
    pub within_minutes: Option<u32>,
}

/// Findings that are known and accepted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Suppression {
    /// Of this kind.
    pub id: Option<Spanned<String>>,
    /// About this subject, as reports show it; `*` stands for any part.
    pub subject: Option<String>,
    /// With this object, likewise.
    pub object: Option<String>,
    /// This one alone.
    pub fingerprint: Option<String>,
    /// Why it is accepted.
    pub reason: Option<String>,
    /// The last day on which it holds (`2027-01-31`).
    pub expires: Option<Spanned<String>>,
}

/// Reads the text of such a file.
///
/// # Errors
/// It is no YAML, a key is not known, or a value has the wrong type: named with file and line.
pub fn parse(path: &Path, text: &str) -> Result<Assessment, super::ConfigError> {
    let read: Option<Assessment> =
        serde_saphyr::from_str(text).map_err(|error| super::explain(path, error.without_snippet()))?;
    Ok(read.unwrap_or_default())
}

/// Reads such a file.
///
/// # Errors
/// It cannot be read, or as [`parse`] says.
pub fn load(path: &Path) -> Result<Assessment, super::ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| super::ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::path::Path;

    #[test]
    fn what_is_written_keeps_its_line() {
        let text =
            "off: [FL302]\nsuppressions:\n  - id: FL205\n    reason: known\n  - id: FL999\n    reason: x\n";
        let read = parse(Path::new("a.yaml"), text).unwrap();
        let lines: Vec<u64> = read.suppressions.iter().map(|one| one.referenced.line()).collect();
        assert_eq!(lines, [3, 5]);
        assert!(read.sensitive.shipped);
    }

    #[test]
    fn what_nobody_knows_is_named_with_its_line() {
        let rows = [
            (
                "off: []\nsupressions: []\n",
                "a.yaml:2: unknown key `supressions`; did you mean `suppressions`?",
            ),
            ("probing: {targets: many}\n", "a.yaml:1: "),
        ];
        for (text, expected) in rows {
            let error = parse(Path::new("a.yaml"), text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
