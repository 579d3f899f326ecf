//! `flowlog vendors`: whose software runs in a cluster, and why it is thought to be.

use super::source::{self, Source, SourceArgs};
use super::{Called, answer};
use crate::cluster::{self, Settings, Store};
use crate::model::{Clue, Confidence, Origin, Pod, Provenance, Signal};
use crate::vendor::{Catalog, Image, Setting};
use anyhow::Context as _;
use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `flowlog vendors`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    told: ToldArgs,
    /// Exit with 1 where nothing tells whose an image is.
    #[arg(long)]
    fail_on_unknown: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Tell whose images are.
    #[command(after_help = "Exit code: 0 told, 2 no image, or a catalogue that cannot be read.\n\n\
        Example:\n  flowlog vendors test datadog/agent:7 registry.example.com/app")]
    Test {
        /// Images, as a pod names them.
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
        #[command(flatten)]
        told: ToldArgs,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct ToldArgs {
    /// A catalogue of yours, which adds to the one that ships: your own images, mirrors, vendors.
    #[arg(long, env = "FLOWLOG_VENDORS", value_name = "FILE")]
    vendors: Option<PathBuf>,
    /// How the answer is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: super::policy::Output,
}

impl ToldArgs {
    fn catalog(&self) -> anyhow::Result<Catalog> {
        read_catalog(self.vendors.as_deref())
    }
}

/// What ships, and what the user's file adds to it.
pub(super) fn read_catalog(users: Option<&Path>) -> anyhow::Result<Catalog> {
    let mut catalog = Catalog::built_in().context("the catalogue that ships")?;
    if let Some(path) = users {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        catalog.extend(&text).with_context(|| path.display().to_string())?;
    }
    Ok(catalog)
}

/// Whose an image is.
#[derive(Serialize)]
struct Tested {
    image: String,
    #[serde(flatten)]
    provenance: Provenance,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
}

/// What of a vendor runs.
#[derive(Serialize)]
struct Running {
    origin: Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    containers: Vec<Container>,
}

/// Containers of a workload that are alike.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Container {
    namespace: String,
    workload: String,
    container: String,
    image: String,
    pods: usize,
    #[serde(skip)]
    place: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clues: Vec<Told>,
}

/// A clue, in the order of its strength.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    signal: Signal,
    confidence: Confidence,
    value: String,
    rule: String,
}

/// Run the subcommand.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(Command::Test { images, told }) => test(images, told),
        None => list(args, called),
    }
}

fn test(images: &[String], told: &ToldArgs) -> anyhow::Result<ExitCode> {
    let catalog = told.catalog()?;
    let tested = images.iter().map(|written| {
        let provenance = catalog.classify(written, Setting::default());
        let vendor = provenance.vendor.as_deref().and_then(|name| catalog.find(name));
        let category = vendor.and_then(|vendor| vendor.category.clone());
        Ok(Tested { image: Image::parse(written)?.to_string(), provenance, category })
    });
    let tested: Vec<Tested> = tested.collect::<anyhow::Result<_>>()?;
    Ok(match told.output {
        super::policy::Output::Json => answer::print(&format!("{}\n", serde_json::to_string(&tested)?)),
        super::policy::Output::Text => {
            answer::print(&tested.iter().map(text_of).collect::<Vec<_>>().join("\n"))
        }
    })
}

fn list(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    let catalog = args.told.catalog()?;
    let snapshot = match args.source.source(called, None)? {
        Source::Folders(folders) => {
            let loaded = cluster::load_estate(&folders)?;
            Store::start(Settings::default(), loaded, Timestamp::UNIX_EPOCH)?.snapshot()
        }
        Source::Live(live) => {
            let read = live.read()?;
            if let Some(why) = read.unread.get("Pod") {
                anyhow::bail!("Pod could not be read: {why}");
            }
            source::tell_unread(&read, |kind| matches!(kind, "Pod" | "Namespace" | "Job"));
            read.snapshot
        }
    };
    let pods = snapshot.inventory.pods().filter(|pod| !pod.terminated);
    let running = group(&catalog, pods);
    let fails = args.fail_on_unknown && running.iter().any(|group| group.origin == Origin::Unknown);
    let printed = match args.told.output {
        super::policy::Output::Json => answer::print(&format!("{}\n", serde_json::to_string(&running)?)),
        super::policy::Output::Text => answer::print(&text(&running)),
    };
    Ok(if fails && printed == ExitCode::SUCCESS { ExitCode::FAILURE } else { printed })
}

/// The least trusted first.
type Group = (Reverse<Origin>, Option<Arc<str>>);

/// Namespace, workload, place in the pod, name, image: containers of one workload are alike in these.
type Alike = (String, String, usize, String, String);

/// By origin and vendor.
fn group<'a>(catalog: &Catalog, pods: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<Running> {
    let mut found: BTreeMap<Group, BTreeMap<Alike, (usize, Vec<Clue>)>> = BTreeMap::new();
    for pod in pods {
        let workload = pod.workload.as_ref();
        let workload = workload.map_or_else(
            || format!("Pod/{}", pod.name),
            |workload| format!("{}/{}", workload.kind, workload.name),
        );
        let classified = catalog.classify_pod(pod).containers;
        for (place, (container, provenance)) in pod.containers.iter().zip(classified).enumerate() {
            let image = Image::parse(&container.image)
                .map_or_else(|_| container.image.clone(), |image| image.to_string());
            let key = (Reverse(provenance.origin), provenance.vendor);
            let alike =
                (pod.namespace.to_string(), workload.clone(), place, container.name.to_string(), image);
            let (count, clues) = found.entry(key).or_default().entry(alike).or_default();
            *count += 1;
            *clues = provenance.clues;
        }
    }
    let running = found.into_iter().map(|((origin, vendor), containers)| {
        let known = vendor.as_deref().and_then(|name| catalog.find(name));
        let containers =
            containers.into_iter().map(|((namespace, workload, place, container, image), (pods, clues))| {
                let clues = clues.into_iter().map(|Clue { signal, confidence, value, rule, .. }| Told {
                    signal,
                    confidence,
                    value,
                    rule,
                });
                Container { namespace, workload, container, image, pods, place, clues: clues.collect() }
            });
        Running {
            origin: origin.0,
            category: known.and_then(|vendor| vendor.category.clone()),
            containers: containers.collect(),
            vendor,
        }
    });
    running.collect()
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::FirstParty => "first party",
        Origin::Platform => "platform",
        Origin::ThirdParty => "third party",
        Origin::Unknown => "unknown",
    }
}

fn signal(signal: Signal) -> &'static str {
    match signal {
        Signal::Image => "image",
        Signal::Ownership => "label",
        Signal::Namespace => "namespace",
        Signal::Group => "owner's group",
        Signal::Chart => "chart",
        Signal::MirroredPath => "image's path",
        Signal::Name => "name",
        Signal::Organisation => "account",
    }
}

fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Certain => "certain",
        Confidence::High => "high",
        Confidence::Medium => "medium",
        Confidence::Low => "low",
    }
}

/// What a terminal would take for a command is made visible.
fn shown(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn because(told: Signal, sure: Confidence, value: &str, rule: &str) -> String {
    shown(&format!("{} {value} matches {rule} ({})", signal(told), confidence(sure)))
}

fn text_of(tested: &Tested) -> String {
    let Tested { image, provenance, category } = tested;
    let mut text = format!("{image}\n  {}", origin(provenance.origin));
    if let Some(vendor) = &provenance.vendor {
        let category = category.as_ref().map_or_else(String::new, |category| format!(" ({category})"));
        text.push_str(&format!(": {vendor}{category}"));
    }
    text.push('\n');
    for clue in &provenance.clues {
        text.push_str(&format!("  {}\n", because(clue.signal, clue.confidence, &clue.value, &clue.rule)));
    }
    if provenance.clues.is_empty() {
        text.push_str("  nothing tells whose it is: say it in a catalogue of yours (--vendors FILE)\n");
    }
    text
}

fn text(running: &[Running]) -> String {
    let mut text = String::new();
    for group in running {
        let name = group.vendor.as_deref().map_or_else(
            || origin(group.origin).to_owned(),
            |vendor| {
                let category =
                    group.category.as_ref().map_or_else(String::new, |category| format!(", {category}"));
                format!("{vendor} ({}{category})", origin(group.origin))
            },
        );
        let workloads: BTreeSet<(&str, &str)> =
            group.containers.iter().map(|one| (&*one.namespace, &*one.workload)).collect();
        let pods: usize = group.containers.iter().map(|one| one.pods).sum();
        let plural =
            |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let counts = (plural(workloads.len(), "workload"), plural(pods, "container"));
        text.push_str(&shown(&format!("{name}: {}, {}", counts.0, counts.1)));
        text.push('\n');
        for one in &group.containers {
            text.push_str(&shown(&format!(
                "  {}/{} {}  {}",
                one.namespace, one.workload, one.container, one.image
            )));
            text.push('\n');
            if let Some(clue) = one.clues.first() {
                text.push_str(&format!(
                    "    {}\n",
                    because(clue.signal, clue.confidence, &clue.value, &clue.rule)
                ));
            }
        }
    }
    if running.iter().any(|group| group.origin == Origin::Unknown) {
        text.push_str("\nOf what is unknown nothing tells whose it is: say it in a catalogue of yours (--vendors FILE).\n");
    }
    text
}
