//! The assessment's configuration: from what is written to what the rules take.

use crate::config::assessment as written;
use crate::findings::{Settings, SuppressionRule};
use crate::model::{FindingId, InputProblem, Severity};
use crate::vendor::{Catalog, Sensitive};
use anyhow::{Context as _, bail};
use jiff::SignedDuration;
use jiff::civil::Date;
use std::fs;
use std::path::{Path, PathBuf};

/// The least severity that fails a run where nobody says another.
const FAIL_ON: Severity = Severity::High;

/// What the user says of software and findings.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// What is trusted, sensitive, accepted: see docs/assess.md.
    #[arg(long, env = "FLOWLOG_ASSESS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A catalogue of yours, which adds to the one that ships: your own images, mirrors, vendors.
    #[arg(long, env = "FLOWLOG_VENDORS", value_name = "FILE")]
    vendors: Vec<PathBuf>,
}

/// Ready to be used.
pub(super) struct Configured {
    pub(super) settings: Settings,
    pub(super) catalog: Catalog,
    /// Absent: nothing fails.
    pub(super) fail_on: Option<Severity>,
}

/// Reads it. A suppression that cannot be used is a problem and suppresses nothing; anything else that is wrong is an error.
pub(super) fn read(args: &ConfigArgs, problems: &mut Vec<InputProblem>) -> anyhow::Result<Configured> {
    let (file, vendors) = (args.config.as_deref(), &args.vendors);
    let written = match file {
        Some(path) => written::load(path)?,
        None => written::Assessment::default(),
    };
    let folder = file.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
    let own = written.vendors.iter().map(|path| folder.join(path));
    let mut catalog = Catalog::built_in().context("the catalogue that ships")?;
    for path in own.chain(vendors.iter().cloned()) {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        catalog.extend(&text).with_context(|| path.display().to_string())?;
    }
    let place = |line: u64| format!("{}:{line}", file.unwrap_or_else(|| Path::new("-")).display());
    let severity = |written: &serde_saphyr::Spanned<String>| {
        let line = written.referenced.line();
        find_severity(&written.value).with_context(|| {
            format!(
                "{}: `{}` is no severity: info, low, medium, high or critical",
                place(line),
                written.value
            )
        })
    };
    let id = |written: &str, line: u64| {
        written.parse::<FindingId>().map_err(|()| unknown_id(&place(line), written))
    };
    let sensitive = written.sensitive;
    let mut settings = Settings {
        sensitive: Sensitive::new(&sensitive.namespaces, &sensitive.selectors, sensitive.shipped)
            .with_context(|| file.map_or_else(String::new, |path| path.display().to_string()))?,
        trusted_registries: written.trusted_registries,
        ..Settings::default()
    };
    if let Some(least) = &written.vulnerabilities {
        settings.vulnerabilities = severity(least)?;
    }
    if let Some(targets) = written.probing.targets {
        if targets == 0 {
            bail!("{}: `probing.targets` is 0: it must be at least 1", place(1));
        }
        settings.probe_targets = targets;
    }
    if let Some(minutes) = written.probing.within_minutes {
        settings.probe_within = SignedDuration::from_mins(minutes.into());
    }
    for (written, other) in &written.severities {
        let id = id(written, other.referenced.line())?;
        settings.severities.insert(id, severity(other)?);
    }
    for written in &written.off {
        settings.off.insert(id(&written.value, written.referenced.line())?);
    }
    for one in written.suppressions {
        let line = one.referenced.line();
        let name = file.map_or_else(String::new, |path| path.display().to_string());
        match suppression(one.value, &name, line) {
            Ok(rule) => settings.suppressions.push(rule),
            Err((line, what)) => problems.push(InputProblem { file: name, line: Some(line), what }),
        }
    }
    let fail_on = match &written.fail_on {
        Some(written) if written.value == "never" => None,
        Some(written) => Some(severity(written)?),
        None => Some(FAIL_ON),
    };
    Ok(Configured { settings, catalog, fail_on })
}

fn find_severity(written: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|severity| severity.as_str() == written)
}

fn unknown_id(place: &str, written: &str) -> anyhow::Error {
    let known: Vec<String> = FindingId::ALL.iter().map(|id| id.as_str().to_lowercase()).collect();
    let near = crate::config::suggest(written, known.iter().map(String::as_str)).map(str::to_uppercase);
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    anyhow::anyhow!("{place}: there is no finding `{written}`{near}")
}

/// A suppression, or the line of what is wrong with it, and what.
fn suppression(
    written: written::Suppression,
    file: &str,
    line: u64,
) -> Result<SuppressionRule, (u64, String)> {
    let refuse = |what: String| (line, format!("the suppression is not used: {what}"));
    let id = match &written.id {
        Some(id) => Some(id.value.parse::<FindingId>().map_err(|()| {
            let told = unknown_id("", &id.value).to_string();
            (id.referenced.line(), format!("the suppression is not used{told}"))
        })?),
        None => None,
    };
    if id.is_none() && written.subject.is_none() && written.object.is_none() && written.fingerprint.is_none()
    {
        return Err(refuse("it names no finding (`id`, `subject`, `object`, `fingerprint`)".to_owned()));
    }
    let Some(reason) = written.reason.filter(|reason| !reason.trim().is_empty()) else {
        return Err(refuse("it gives no `reason`".to_owned()));
    };
    let expires = match &written.expires {
        Some(date) => Some(date.value.parse::<Date>().map_err(|_| {
            let what = format!("the suppression is not used: `{}` is no day such as 2027-01-31", date.value);
            (date.referenced.line(), what)
        })?),
        None => None,
    };
    Ok(SuppressionRule {
        id,
        subject: written.subject,
        object: written.object,
        fingerprint: written.fingerprint,
        reason,
        expires,
        file: file.to_owned(),
        line: Some(line),
    })
}
