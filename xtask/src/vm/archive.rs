//! Debian's archive: the kernels' packages, fetched by apt with lists and caches of its own, so that the machine's
//! settings stay as they are. Packages are unpacked, not installed.

use crate::command::{run_quietly, say};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a kernel comes from.
#[derive(Clone, Copy)]
pub(super) struct Suite {
    /// Label of the repository, as its release file has it.
    repository: &'static str,
    name: &'static str,
}

/// Debian 11, whose kernels come by way of its security archive alone.
pub(super) const BULLSEYE: Suite = Suite { repository: "Debian-Security", name: "bullseye-security" };
/// Debian 12.
pub(super) const BOOKWORM: Suite = Suite { repository: "Debian", name: "bookworm" };
/// Debian 13.
pub(super) const TRIXIE: Suite = Suite { repository: "Debian", name: "trixie" };

/// Depends on the newest kernel of its suite. The flavour for clouds: the same kernel with fewer drivers, a quarter of
/// the size.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel, unpacked.
pub(super) struct Kernel {
    /// As `uname -r` will say it.
    pub(super) release: String,
    /// What the boot loader loads.
    pub(super) image: PathBuf,
    /// Folder of its modules.
    pub(super) modules: PathBuf,
}

/// The kernel of this name, from the folder, or else from the archive.
pub(super) fn kernel(folder: &Path, name: &str, suite: Suite) -> Result<Kernel> {
    let unpacked = folder.join("kernels").join(name);
    if !unpacked.is_dir() {
        fetch(folder, name, suite, &unpacked).with_context(|| format!("fetch Debian's kernel {name}"))?;
    }
    let image = only_entry(&unpacked.join("boot"), "vmlinuz-")?;
    let release = image.strip_prefix("vmlinuz-").unwrap_or_default().to_owned();
    // Since trixie the files lie below /usr.
    let modules = ["usr/lib/modules", "lib/modules"].map(|path| unpacked.join(path).join(&release));
    let modules = modules.into_iter().find(|path| path.is_dir()).context("the kernel has no modules")?;
    Ok(Kernel { release, image: unpacked.join("boot").join(image), modules })
}

fn only_entry(folder: &Path, prefix: &str) -> Result<String> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(prefix))
        .min()
        .with_context(|| format!("no {prefix} in {}", folder.display()))
}

fn fetch(folder: &Path, name: &str, suite: Suite, unpacked: &Path) -> Result<()> {
    let apt = Apt::of(&folder.join("apt").join(suite.name))?;
    apt.write_source(suite)?;
    say(&format!("fetching Debian's kernel {name} ({}) into {}", suite.name, unpacked.display()));
    run_quietly(apt.command("apt-get").args(["update", "--quiet"]))?;
    let shown = run_quietly(apt.command("apt-cache").args(["show", META_PACKAGE]))?;
    let package = newest(&shown, name)
        .with_context(|| format!("{META_PACKAGE} of {} depends on no kernel {name}:\n{shown}", suite.name))?;
    let downloads = apt.folder.join("downloads");
    make_anew(&downloads)?;
    run_quietly(apt.command("apt-get").args(["download", "--quiet", &package]).current_dir(&downloads))?;
    let file = downloads.join(only_entry(&downloads, &package)?);
    // Unpacked beside and renamed, so that what is there is whole.
    let half = folder.join(format!("kernels/{name}-half"));
    make_anew(&half)?;
    run_quietly(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&half))?;
    fs::rename(&half, unpacked).context("move the unpacked kernel into its place")?;
    fs::remove_dir_all(&downloads).context("remove the package")
}

/// The kernel that a meta-package depends on: the first of this version, since apt shows the newest first.
fn newest(shown: &str, version: &str) -> Option<String> {
    let depends = shown.lines().filter_map(|line| line.strip_prefix("Depends: "));
    let packages = depends.filter_map(|line| line.split_whitespace().next());
    let prefix = format!("linux-image-{version}.");
    packages.map(str::to_owned).find(|package| package.starts_with(&prefix))
}

fn make_anew(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

/// apt with folders of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn of(folder: &Path) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("make {}", folder.display()))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    fn command(&self, program: &str) -> Command {
        let set = |key: &str, to: &str| format!("--option={key}={to}");
        let within = |key: &str, path: &str| set(key, &self.folder.join(path).to_string_lossy());
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").args([
            within("Dir::State::lists", "lists"),
            within("Dir::Cache", "cache"),
            within("Dir::Etc::sourcelist", "sources.list"),
            set("Dir::Etc::sourceparts", "/dev/null"),
            // The folder may be root's alone.
            set("APT::Sandbox::User", "root"),
            set("Acquire::Languages", "none"),
            set("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false"),
        ]);
        command
    }

    fn write_source(&self, suite: Suite) -> Result<()> {
        let text = format!("deb [signed-by={KEYRING}] {} {} main\n", mirror(suite.repository)?, suite.name);
        fs::write(self.folder.join("sources.list"), text).context("write the list of sources")
    }
}

/// The address from which this machine takes that repository of Debian's.
fn mirror(label: &str) -> Result<String> {
    let format = "$(LABEL) $(REPO_URI)";
    let list = || {
        run_quietly(Command::new("apt-get").args([
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
        ]))
    };
    let find = |listed: &str| {
        let lines = listed.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(found, _)| *found == label).map(|(_, uri)| uri.to_owned()).next()
    };
    if let Some(uri) = find(&list()?) {
        return Ok(uri);
    }
    // The label is known once the lists are there.
    run_quietly(Command::new("apt-get").args(["update", "--quiet"]))?;
    match find(&list()?) {
        Some(uri) => Ok(uri),
        None => {
            bail!("none of apt's sources on this machine is labelled {label}: kernels cannot be fetched here")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn the_newest_kernel_of_a_version_is_the_first_that_is_shown() {
        let shown = "Package: linux-image-cloud-amd64\nDepends: linux-image-6.12.9-cloud-amd64 (= 6.12.9-1)\n\n\
                     Package: linux-image-cloud-amd64\nDepends: linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)\n\n\
                     Package: linux-image-cloud-amd64\nDepends: linux-image-6.1.0-47-cloud-amd64 (= 6.1.170-1)\n";
        assert_eq!(newest(shown, "6.1").as_deref(), Some("linux-image-6.1.0-50-cloud-amd64"));
        assert_eq!(newest(shown, "6.12").as_deref(), Some("linux-image-6.12.9-cloud-amd64"));
        assert_eq!(newest(shown, "5.10"), None);
    }
}
