//! Manifests and chart, held against what they are deployed to; the metrics, against parsers that are not ours; detections,
//! against records that they must find.
//!
//! `deploy/ci/check.py` and `deploy/ci/detections/check.py` do the looking; here is what they need: kubectl, promtool,
//! rsyslog, a parser of LogQL, and for each a Python with a few packages of its own.

use crate::command::{is_installed, need_root, repository, run, run_quietly, say, target};
use crate::{build, lookers, setup};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands that are taken from Debian where they are missing, with their packages.
const COMMANDS: [(&str, &str); 5] =
    [("python3", "python3"), ("dpkg-deb", "dpkg"), ("curl", "curl"), ("npm", "npm"), ("node", "nodejs")];

/// Check all of it.
pub(crate) fn deploy() -> Result<()> {
    need_root("`cargo xtask deploy`")?;
    let agent = build::agent(false)?;
    let tools = repository()?.join("target/tools/deploy");
    setup::install_commands(&COMMANDS, "to check the manifests")?;
    if !is_installed("kubectl") {
        bail!("kubectl is not installed: any from 1.27 on renders the kustomizations");
    }
    let python = find_python(&tools, "deploy/ci/requirements.txt", "to check the manifests")?;
    let (promtool, rsyslog) = (find_promtool(&tools)?, find_rsyslog(&tools)?);
    let mut check = Command::new(python.join("python"));
    check
        .arg(repository()?.join("deploy/ci/check.py"))
        .arg("--out")
        .arg(target()?.join("deploy"))
        .arg("--agent")
        .arg(agent)
        .arg("--promtool")
        .arg(promtool)
        .arg("--rsyslog")
        .arg(rsyslog)
        .arg("--checkov")
        .arg(python.join("checkov"))
        .arg("--appinspect")
        .arg(find_appinspect()?)
        .arg("--packages")
        .arg(lookers::find_logql(&tools)?);
    run(&mut check)?;
    check_detections()
}

/// In a Python apart: pySigma needs a newer `packaging` than checkov bears.
fn check_detections() -> Result<()> {
    let tools = repository()?.join("target/tools/detections");
    let python = find_python(&tools, "deploy/ci/detections/requirements.txt", "to check the detections")?;
    let mut check = Command::new(python.join("python"));
    check.arg(repository()?.join("deploy/ci/detections/check.py")).arg("--out").arg(target()?.join("deploy"));
    run(&mut check)
}

/// The folder of programs of a Python environment that has what a `requirements.txt` says.
pub(crate) fn find_python(tools: &Path, requirements: &str, purpose: &'static str) -> Result<PathBuf> {
    let wanted = repository()?.join(requirements);
    let wanted_text = fs::read_to_string(&wanted).with_context(|| format!("read {}", wanted.display()))?;
    let (folder, stamp) = (tools.join("python"), tools.join("python/requirements.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted_text) {
        return Ok(folder.join("bin"));
    }
    say(&format!("making a Python environment in {}: a few minutes, once", folder.display()));
    let make = |folder: &Path| {
        run_quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder)).map(drop)
    };
    fs::create_dir_all(tools).with_context(|| format!("make {}", tools.display()))?;
    // Debian keeps what makes environments in a package of its own.
    if make(&folder).is_err() {
        setup::install_packages(&["python3-venv"], purpose)?;
        make(&folder)?;
    }
    let mut pip = Command::new(folder.join("bin/python"));
    run_quietly(pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&wanted))?;
    // Written last: what is there is whole.
    fs::write(&stamp, wanted_text).with_context(|| format!("write {}", stamp.display()))?;
    Ok(folder.join("bin"))
}

/// In a Python apart: it asks for older packages than the others do.
fn find_appinspect() -> Result<PathBuf> {
    let tools = repository()?.join("target/tools/splunk");
    let python = find_python(&tools, "deploy/ci/splunk-requirements.txt", "to look at the app for Splunk")?;
    Ok(python.join("splunk-appinspect"))
}

/// From Debian's package.
fn find_promtool(tools: &Path) -> Result<PathBuf> {
    if is_installed("promtool") {
        return Ok("promtool".into());
    }
    let promtool = tools.join("promtool");
    if promtool.is_file() {
        return Ok(promtool);
    }
    let root = unpack(tools, "promtool", &["prometheus"])?;
    fs::rename(root.path().join("usr/bin/promtool"), &promtool).context("keep promtool")?;
    Ok(promtool)
}

/// The folder of an rsyslog from Debian's packages, with what it needs beside what every Debian has.
pub(crate) fn find_rsyslog(tools: &Path) -> Result<PathBuf> {
    find_unpacked(tools, "rsyslog-tls", &["rsyslog", "rsyslog-openssl", "libestr0", "libfastjson4"])
}

/// The folder of what is in these packages of Debian.
pub(crate) fn find_unpacked(tools: &Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = tools.join(name);
    if !folder.is_dir() {
        let root = unpack(tools, name, packages)?;
        fs::rename(root.keep(), &folder).with_context(|| format!("keep {name}"))?;
    }
    Ok(folder)
}

/// What is in Debian's packages, unpacked and not installed: they would start a server.
fn unpack(tools: &Path, name: &str, packages: &[&str]) -> Result<tempfile::TempDir> {
    say(&format!("fetching {name} into {}", tools.display()));
    let folder =
        || tempfile::tempdir_in(tools).with_context(|| format!("make a folder for {name}'s packages"));
    let (downloads, root) = (folder()?, folder()?);
    // A list that is out of date names a package that has gone.
    run_quietly(Command::new("apt-get").args(["update", "--quiet"]))?;
    let mut fetch = Command::new("apt-get");
    run_quietly(fetch.args(["download", "--quiet"]).args(packages).current_dir(downloads.path()))?;
    for file in fs::read_dir(downloads.path()).with_context(|| format!("read {name}'s packages"))? {
        run_quietly(Command::new("dpkg-deb").arg("-x").arg(file?.path()).arg(root.path()))?;
    }
    Ok(root)
}
