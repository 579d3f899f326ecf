//! An assessment, shown: as text, JSON, SARIF, Markdown, JUnit and HTML.
//!
//! All that is shown is in the assessment; nothing is judged here. What names could do to a terminal, a page or a parser is
//! made harmless here, since names are anybody's.

mod html;
mod json;
mod junit;
mod markdown;
mod sarif;
pub mod shown;
mod text;
mod words;
mod wrap;

use crate::model::{Assessment, Severity};
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

/// How an assessment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// For a terminal.
    Text,
    /// All of it (`deploy/schema/flowlog-assessment.v1.schema.json`).
    Json,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
    /// For a comment on a pull request, or a job's summary.
    Markdown,
    /// For CI's list of tests.
    Junit,
    /// A page that works offline.
    Html,
}

impl Format {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Text, Self::Json, Self::Sarif, Self::Markdown, Self::Junit, Self::Html];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Sarif => "sarif",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Html => "html",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = ReportError;

    fn from_str(name: &str) -> Result<Self, ReportError> {
        let found = Self::ALL.iter().copied().find(|format| format.as_str() == name);
        found.ok_or_else(|| ReportError::Format(name.to_owned()))
    }
}

/// What a report takes beside the assessment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Columns of the terminal, for text.
    pub width: usize,
    /// Text has colours.
    pub colour: bool,
    /// Findings of this severity or above are failures; none are where there is none.
    pub fail_on: Option<Severity>,
}

impl Default for Options {
    fn default() -> Self {
        Self { width: 80, colour: false, fail_on: None }
    }
}

impl Options {
    /// Whether a finding of this severity is a failure.
    fn fails(&self, severity: Severity) -> bool {
        self.fail_on.is_some_and(|least| severity >= least)
    }
}

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is no such format.
    #[error("no report is called `{0}`: there are {names}", names = names())]
    Format(String),
    /// The assessment cannot be written as JSON.
    #[error("the assessment cannot be written as JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// Where the report goes does not take it.
    #[error(transparent)]
    Write(#[from] io::Error),
    /// The assessment cannot be written as XML.
    #[error("the assessment cannot be written as XML: {0}")]
    Xml(String),
    /// A part of the page that ships in the binary cannot be unpacked.
    #[error("the report's page in this binary is damaged: {0}")]
    Asset(#[source] io::Error),
}

impl From<serde_json::Error> for ReportError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { Self::Write(error.into()) } else { Self::Json(error) }
    }
}

impl From<ReportError> for io::Error {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Write(error) => error,
            other => Self::other(other),
        }
    }
}

fn names() -> String {
    Format::ALL.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(", ")
}

/// Show an assessment. What may be long, JSON and the page, is written as it is made, in small pieces: `out` is better
/// buffered.
///
/// # Errors
/// `out` does not take it, or the assessment cannot be written in this format.
pub fn write(
    out: &mut (impl Write + ?Sized),
    assessment: &Assessment,
    format: Format,
    options: &Options,
) -> Result<(), ReportError> {
    match format {
        Format::Text => out.write_all(text::render(assessment, options).as_bytes())?,
        Format::Json => json::write_line(out, assessment)?,
        Format::Sarif => json::write_line(out, &sarif::log_of(assessment, options))?,
        Format::Markdown => out.write_all(markdown::render(assessment, options).as_bytes())?,
        Format::Junit => out.write_all(junit::render(assessment, options)?.as_bytes())?,
        Format::Html => html::write(out, assessment, options)?,
    }
    Ok(())
}

/// The JSON Schema of an assessment.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Assessment>();
    schema.insert("title".to_owned(), "An assessment of flowlog".into());
    schema.to_value()
}

/// The assessment that tests of this room show.
#[cfg(test)]
fn small() -> Assessment {
    let text = include_str!("../../../tests/fixtures/assessments/small.json");
    serde_json::from_str(text).expect("the fixture is an assessment")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_goes_by_its_name_and_another_is_refused_with_those_that_are_there() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse::<Format>().unwrap(), *format);
        }
        let error = "yaml".parse::<Format>().unwrap_err().to_string();
        assert!(error.contains("`yaml`") && error.contains("text, json"), "{error}");
    }

    #[test]
    fn what_is_at_or_over_the_threshold_fails() {
        let options = Options { fail_on: Some(Severity::Medium), ..Options::default() };
        let fails: Vec<_> = Severity::ALL.into_iter().filter(|severity| options.fails(*severity)).collect();
        assert_eq!(fails, [Severity::Critical, Severity::High, Severity::Medium]);
        assert!(!Options::default().fails(Severity::Critical));
    }
}
