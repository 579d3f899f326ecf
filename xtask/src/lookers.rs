//! What the tests of reports, formats, outputs and screens need: a browser and something to drive it, validators of SARIF,
//! ECS and OCSF, what takes the log over the network, a terminal.

use crate::command::{repository, run_quietly, say};
use crate::{deploy, setup};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Programs that are taken from Debian where they are missing, with their packages.
const COMMANDS: [(&str, &str); 5] =
    [("python3", "python3"), ("chromium", "chromium"), ("npm", "npm"), ("node", "nodejs"), ("tmux", "tmux")];

const MULTITOOL: &str = "@microsoft/sarif-multitool";
const MULTITOOL_VERSION: &str = "5.7.0";

/// The definitions of every field.
const ECS: &str = "@elastic/ecs";
const ECS_VERSION: &str = "9.4.0";

/// Grafana's parser of LogQL, and what it runs on.
const LOGQL: [&str; 2] = ["@grafana/lezer-logql@0.4.2", "@lezer/lr@1.4.10"];

/// Programs for the tests.
pub(crate) struct Lookers {
    /// A Python that drives the browser.
    pub(crate) python: PathBuf,
    /// The validator of SARIF.
    pub(crate) multitool: PathBuf,
    /// The package with ECS's fields.
    pub(crate) ecs: PathBuf,
    /// A Python that has OCSF's schema.
    pub(crate) ocsf_python: PathBuf,
    /// The folder of an rsyslog.
    pub(crate) rsyslog: PathBuf,
    /// A Python that has stores: OpenSearch's, ClickHouse's and DuckDB's engines.
    pub(crate) stores_python: PathBuf,
    /// The folder of a logrotate.
    pub(crate) logrotate: PathBuf,
    /// The folder of a kcat.
    pub(crate) kcat: PathBuf,
    /// A Python that has a mock cluster of Kafka, and a broker.
    pub(crate) consumers_python: PathBuf,
    /// An OTLP collector.
    pub(crate) rotel: PathBuf,
}

/// Install what is missing.
pub(crate) fn install() -> Result<Lookers> {
    setup::install_commands(&COMMANDS, "to look at reports, records and screens as their readers do")?;
    let target = repository()?.join("target/tools");
    let tools = target.join("report");
    let python = deploy::find_python(&tools, "tests/report/requirements.txt", "to drive the browser")?;
    let multitool = find_multitool(&tools)?;
    let tools = target.join("formats");
    let ocsf = deploy::find_python(&tools, "tests/formats/requirements.txt", "to check records")?;
    let ecs = find_ecs(&tools)?;
    let tools = target.join("deploy");
    fs::create_dir_all(&tools).with_context(|| format!("make {}", tools.display()))?;
    let rsyslog = deploy::find_rsyslog(&tools)?;
    let stores = deploy::find_python(&tools, "deploy/ci/requirements.txt", "to store records")?;
    let tools = target.join("consumers");
    let consumers = deploy::find_python(&tools, "tests/consumers/requirements.txt", "to take what is sent")?;
    let rotel = find_rotel(&tools.join("python/lib"))?;
    let logrotate = deploy::find_unpacked(&tools, "logrotate", &["logrotate", "libpopt0"])?;
    let kcat = deploy::find_unpacked(&tools, "kcat", &["kcat", "librdkafka1", "libyajl2", "libsasl2-2"])?;
    let [python, ocsf_python, consumers_python, stores_python] =
        [python, ocsf, consumers, stores].map(|folder| folder.join("python"));
    Ok(Lookers {
        python,
        multitool,
        ecs,
        ocsf_python,
        rsyslog,
        stores_python,
        logrotate,
        kcat,
        consumers_python,
        rotel,
    })
}

/// Its npm package brings a program that runs by itself.
fn find_multitool(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join(format!("sarif-{MULTITOOL_VERSION}"));
    let program = folder.join(format!("node_modules/{MULTITOOL}-linux/Sarif.Multitool"));
    if program.is_file() {
        return Ok(program);
    }
    let packages = [MULTITOOL.to_owned(), format!("{MULTITOOL}-linux")];
    let fresh = npm_install(tools, &packages.map(|package| format!("{package}@{MULTITOOL_VERSION}")))?;
    // All that its script would do.
    let installed = fresh.path().join(format!("node_modules/{MULTITOOL}-linux/Sarif.Multitool"));
    fs::set_permissions(&installed, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} a program", installed.display()))?;
    fs::rename(fresh.keep(), &folder).with_context(|| format!("keep {}", folder.display()))?;
    Ok(program)
}

/// The program in its Python package.
fn find_rotel(libraries: &Path) -> Result<PathBuf> {
    let versions = fs::read_dir(libraries).with_context(|| format!("look into {}", libraries.display()))?;
    let programs =
        versions.filter_map(|version| Some(version.ok()?.path().join("site-packages/rotel/rotel-agent")));
    let program =
        programs.into_iter().find(|program| program.is_file()).context("rotel's package has no program")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} a program", program.display()))?;
    Ok(program)
}

fn find_ecs(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join(format!("ecs-{ECS_VERSION}"));
    let package = folder.join(format!("node_modules/{ECS}"));
    if !package.is_dir() {
        let fresh = npm_install(tools, &[format!("{ECS}@{ECS_VERSION}")])?;
        fs::rename(fresh.keep(), &folder).with_context(|| format!("keep {}", folder.display()))?;
    }
    Ok(package)
}

/// The folder of packages with the parser of LogQL.
pub(crate) fn find_logql(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join("logql");
    if !folder.is_dir() {
        let fresh = npm_install(tools, &LOGQL.map(str::to_owned))?;
        fs::rename(fresh.keep(), &folder).with_context(|| format!("keep {}", folder.display()))?;
    }
    Ok(folder)
}

/// Packages in a fresh folder, which is to be renamed last: what is there is whole then.
fn npm_install(tools: &Path, packages: &[String]) -> Result<TempDir> {
    say(&format!("installing {} into {}", packages.join(" "), tools.display()));
    let fresh = tempfile::tempdir_in(tools).context("make a folder for packages of npm")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error", "--prefix"])
        .arg(fresh.path())
        .args(packages);
    run_quietly(&mut npm)?;
    Ok(fresh)
}
