//! `flowlog assess`: third-party risk, from flow records, the cluster's objects and scanners' reports.

mod scanned;

use super::configured::{self, ConfigArgs, Configured};
use super::observed::ObservedArgs;
use super::source::{self, Source};
use super::{Called, answer};
use crate::cluster::{self, Settings as ClusterSettings, Snapshot, Store};
use crate::findings::{self, Baseline, Cluster, Input, PolicyFault};
use crate::model::{Assessment, Drift, FindingId, InputProblem, Limit, ObjectsRead, Severity};
use crate::report::{self, Format, ReportError};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

/// Arguments of `flowlog assess`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    observed: ObservedArgs,
    /// Scanners' reports, or folders of them: Trivy JSON, CycloneDX, SPDX, the Trivy operator's objects. With --live those of
    /// the operator are read from the cluster, too.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    scans: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Compare with this baseline: what it knows does not make the exit code 1.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write a baseline of what is found now.
    #[arg(long, value_name = "FILE")]
    write_baseline: Option<PathBuf>,
    /// How the assessment is written: text, json, sarif, markdown, junit or html; with `=FILE` into a file. May be given several times.
    #[arg(long, value_name = "FORMAT[=FILE]", default_value = "text")]
    output: Vec<Output>,
    /// The least severity for which the exit code is 1, or `never`; default: what the configuration says, else high.
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<FailOn>,
    /// Exit with 2 where anything of the input cannot be read or used.
    #[arg(long)]
    strict: bool,
}

/// A format, and where to.
#[derive(Clone, Debug)]
struct Output {
    format: Format,
    file: Option<PathBuf>,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let (format, file) = match written.split_once('=') {
            Some((_, "")) => return Err("there is no file after the `=`".to_owned()),
            Some((format, file)) => (format, Some(PathBuf::from(file))),
            None => (written, None),
        };
        let format = format.parse().map_err(|error: ReportError| error.to_string())?;
        Ok(Self { format, file })
    }
}

/// From which severity on findings count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Never,
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl FailOn {
    fn severity(self) -> Option<Severity> {
        match self {
            Self::Never => None,
            Self::Info => Some(Severity::Info),
            Self::Low => Some(Severity::Low),
            Self::Medium => Some(Severity::Medium),
            Self::High => Some(Severity::High),
            Self::Critical => Some(Severity::Critical),
        }
    }
}

/// The cluster's objects, as far as they were given.
struct Objects {
    snapshot: Arc<Snapshot>,
    read: ObjectsRead,
    faults: Option<Vec<PolicyFault>>,
}

/// Run the subcommand.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    if args.output.iter().filter(|output| output.file.is_none()).count() > 1 {
        bail!("only one --output can go to standard output: give the others a file (`--output sarif=FILE`)");
    }
    let mut problems = Vec::new();
    let Configured { settings, catalog, fail_on } = configured::read(&args.config, &mut problems)?;
    let fail_on = args.fail_on.map_or(fail_on, FailOn::severity);
    let baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    let observed = super::logs::read(&args.observed.logs)?;
    let source = args.observed.source.find(called, None)?;
    let mut scans = scanned::Scanned::default();
    scans.files(&args.scans, &mut problems)?;
    if let Some(Source::Live(live)) = &source {
        scans.live(live, &mut problems);
    }
    let objects = source.map(|source| read_objects(source, &mut problems, &mut scans.limits)).transpose()?;
    if observed.is_none() && objects.is_none() {
        bail!(
            "nothing to assess: give flow records (--logs PATH), the cluster's objects (--manifests DIR, or --live), or both"
        );
    }
    let assessment = findings::assess(Input {
        observed: observed.as_ref(),
        cluster: objects.as_ref().map(|objects| Cluster {
            inventory: &objects.snapshot.inventory,
            policies: &objects.snapshot.policies,
            read: &objects.read,
            faults: objects.faults.as_deref(),
        }),
        scans: &scans.scans,
        scans_read: &scans.read,
        scans_unread: scans.is_partial,
        limits: &scans.limits,
        baseline: baseline.as_ref().map(|(file, baseline)| (&**file, baseline)),
        problems: &problems,
        ..Input::new(&catalog, &settings, Timestamp::now())
    });
    if let Some(file) = &args.write_baseline {
        write_baseline(file, &assessment)?;
    }
    let code = exit_code(&assessment, fail_on, args.strict);
    Ok(if put(&args.output, &assessment, fail_on)? == ExitCode::SUCCESS { code } else { ExitCode::from(2) })
}

fn read_baseline(path: &Path) -> anyhow::Result<(String, Baseline)> {
    let text = fs::read_to_string(path).with_context(|| format!("read the baseline {}", path.display()))?;
    let baseline = Baseline::parse(&text).with_context(|| format!("the baseline {}", path.display()))?;
    Ok((path.display().to_string(), baseline))
}

fn write_baseline(path: &Path, assessment: &Assessment) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(&Baseline::of(assessment)).context("write the baseline")?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("write the baseline {}", path.display()))
}

fn read_objects(
    source: Source,
    problems: &mut Vec<InputProblem>,
    limits: &mut Vec<Limit>,
) -> anyhow::Result<Objects> {
    let (snapshot, from, faults) = match source {
        Source::Folders(folders) => {
            let from = folders.manifests.display().to_string();
            let loaded = cluster::load_estate(&folders)?;
            let settings = ClusterSettings { accept_problems: true, ..ClusterSettings::default() };
            let snapshot = Store::start(settings, loaded, Timestamp::now())?.snapshot();
            (snapshot, from, Some(faults(&cluster::lint(&folders)?)))
        }
        Source::Live(live) => {
            let reading = live.read()?;
            source::tell_unread(&reading, |_| true);
            let unread = reading.unread.iter().map(|(kind, why)| InputProblem {
                file: "live".to_owned(),
                line: None,
                what: format!("{kind} could not be read: {why}"),
            });
            problems.extend(unread);
            let faults = match live.lint() {
                // An object of an API server stands nowhere but under its name.
                Ok((linting, unread)) => {
                    let of_checks = |what| Limit { ids: vec![FindingId::FL303], what };
                    limits.extend(unread.into_iter().map(of_checks));
                    let found = faults(&linting).into_iter();
                    Some(found.map(|fault| PolicyFault { place: None, ..fault }).collect())
                }
                Err(error) => {
                    problems.push(InputProblem {
                        file: "live".to_owned(),
                        line: None,
                        what: format!(
                            "whether policies take effect as written could not be looked at: {error:#}"
                        ),
                    });
                    None
                }
            };
            (reading.snapshot, "live".to_owned(), faults)
        }
    };
    problems.extend(snapshot.problems.iter().map(|problem| InputProblem {
        file: problem.file.display().to_string(),
        line: problem.line,
        what: problem.to_string(),
    }));
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let pods = || snapshot.inventory.pods();
    let namespaces: BTreeSet<&str> = pods().map(|pod| &*pod.namespace).collect();
    let workloads: BTreeSet<_> = pods()
        .map(|pod| {
            let workload = pod.workload.as_ref().map(|workload| (&*workload.kind, &*workload.name));
            (&*pod.namespace, workload.unwrap_or(("Pod", &pod.name)))
        })
        .collect();
    let read = ObjectsRead {
        from,
        namespaces: count(namespaces.len()),
        pods: count(snapshot.inventory.pod_count()),
        workloads: count(workloads.len()),
        policies: count(snapshot.policies.policy_count()),
        unread: snapshot.unread.as_deref().map(str::to_owned),
    };
    Ok(Objects { snapshot, read, faults })
}

/// Of what `policy lint` finds, what keeps policies from taking effect.
fn faults(linting: &cluster::Linting) -> Vec<PolicyFault> {
    let found = linting.findings.iter().filter_map(|placed| {
        Some(PolicyFault {
            policy: placed.policy()?,
            check: placed.rule.to_owned(),
            field: placed.field.clone(),
            place: Some((placed.file.display().to_string(), placed.line)),
            message: placed.message.clone(),
            help: placed.help.clone(),
        })
    });
    found.collect()
}

/// Writes each output. Standard output comes last: what goes into files is there when a reader sees it end.
fn put(outputs: &[Output], assessment: &Assessment, fail_on: Option<Severity>) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let (files, stdout): (Vec<&Output>, Vec<&Output>) =
        outputs.iter().partition(|output| output.file.is_some());
    for output in files.into_iter().chain(stdout) {
        let is_terminal = output.file.is_none() && std::io::stdout().is_terminal();
        let options = report::Options { fail_on, colour: is_terminal, ..report::Options::default() };
        let write_to = |out: &mut dyn Write| report::write(out, assessment, output.format, &options);
        match &output.file {
            Some(file) => put_file(file, write_to)
                .with_context(|| format!("write the assessment as {}, {}", output.format, file.display()))?,
            None => code = answer::write(write_to),
        }
    }
    Ok(code)
}

fn put_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ReportError>,
) -> Result<(), ReportError> {
    let mut out = BufWriter::new(File::create(path)?);
    write(&mut out)?;
    Ok(out.flush()?)
}

fn exit_code(assessment: &Assessment, fail_on: Option<Severity>, strict: bool) -> ExitCode {
    let problems = assessment.inputs.problems.len();
    if strict && problems > 0 {
        let _ = writeln!(
            std::io::stderr(),
            "flowlog: {problems} of the input could not be read or used, and --strict asks for all of it"
        );
        for problem in assessment.inputs.problems.iter().take(20) {
            let InputProblem { file, line, what } = problem;
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            let told = format!("{file}{line}: {what}").replace(char::is_control, "\u{fffd}");
            let _ = writeln!(std::io::stderr(), "flowlog: {told}");
        }
        return ExitCode::from(2);
    }
    let counts = |severity: Severity| {
        let over = assessment.findings.iter().filter(|finding| finding.severity >= severity);
        over.filter(|finding| finding.drift != Some(Drift::Known)).count()
    };
    match fail_on.map(counts) {
        None | Some(0) => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(1),
    }
}
