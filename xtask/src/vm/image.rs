//! What is booted beside the kernel: one archive in memory with the programs, their libraries, the kernel's modules
//! and a script that runs the tests.

use super::archive::Kernel;
use super::cpio::Cpio;
use crate::command::run_quietly;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs of this machine that the script and the tests run.
const COMMANDS: [&str; 13] = [
    "sh", "mkdir", "mount", "cat", "ip", "nft", "modprobe", "setpriv", "sleep", "unshare", "sed", "mktemp",
    "rm",
];

/// Where commands are looked for; the paths of the image are the same.
const FOLDERS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];

/// Parts of the kernel's modules that a node of namespaces may ask for. The rest is hardware.
const MODULES: [&str; 8] = [
    "kernel/net",
    "kernel/lib",
    "kernel/crypto",
    "kernel/arch/x86/crypto",
    "kernel/drivers/net/veth",
    "kernel/drivers/net/dummy",
    "kernel/drivers/net/tun",
    "kernel/drivers/net/vxlan",
];

/// A program of ours: where it is in the image, and where it was built.
pub(super) struct Program<'a> {
    pub(super) name: &'static str,
    pub(super) built: &'a Path,
}

/// Write the image; `script` is its first process.
pub(super) fn write(to: &Path, kernel: &Kernel, programs: &[Program<'_>], script: &str) -> Result<()> {
    let work = to.with_extension("parts");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    }
    let mut image = Cpio::default();
    for folder in ["bin", "sbin", "dev", "proc", "sys", "tmp", "run", "etc", "root", "var"] {
        image.folder(folder)?;
    }
    image.device("dev/console", 5, 1)?;
    image.file("init", script.as_bytes(), true)?;
    image.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", false)?;
    // What a test mounts its own over, and where the C library looks.
    for (name, text) in
        [("resolv.conf", ""), ("hosts", "127.0.0.1 localhost\n"), ("nsswitch.conf", "hosts: files dns\n")]
    {
        image.file(&format!("etc/{name}"), text.as_bytes(), false)?;
    }
    let mut libraries = BTreeSet::new();
    for program in programs {
        let stripped = strip(program, &work)?;
        libraries.extend(libraries_of(&stripped)?);
        image.copy(program.name, &stripped)?;
    }
    for name in COMMANDS {
        let path = command(name)?;
        libraries.extend(libraries_of(&path)?);
        image.copy(&path.to_string_lossy(), &path)?;
    }
    for library in libraries {
        image.copy(&library.to_string_lossy(), &library)?;
    }
    for (name, path) in modules(kernel, &work)? {
        image.copy(&name, &path)?;
    }
    fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    fs::write(to, image.finish()?).with_context(|| format!("write {}", to.display()))
}

/// Debug information is most of a program, and the image is copied several times before the first test.
fn strip(program: &Program<'_>, work: &Path) -> Result<PathBuf> {
    fs::create_dir_all(work).with_context(|| format!("make {}", work.display()))?;
    let to = work.join(program.name.rsplit('/').next().unwrap_or(program.name));
    run_quietly(Command::new("strip").arg("--strip-debug").arg("-o").arg(&to).arg(program.built))?;
    Ok(to)
}

fn command(name: &str) -> Result<PathBuf> {
    let found = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.with_context(|| format!("no `{name}` in {}", FOLDERS.join(", ")))
}

/// The shared libraries of a program, the loader among them, as `ldd` lists them.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = run_quietly(Command::new("ldd").arg(program))?;
    let words = listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(words.map(PathBuf::from).collect())
}

/// The modules' paths in the image, with where they are now; `depmod` lists what they depend on and what they are
/// asked for by.
fn modules(kernel: &Kernel, work: &Path) -> Result<Vec<(String, PathBuf)>> {
    let below = format!("lib/modules/{}", kernel.release);
    let root = work.join("modules");
    let folder = root.join(&below);
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        copy(&kernel.modules.join(name), &folder.join(name))?;
    }
    for part in MODULES {
        for file in files(&kernel.modules.join(part))? {
            let name = file.strip_prefix(&kernel.modules).context("a module outside its folder")?;
            copy(&file, &folder.join(name))?;
        }
    }
    run_quietly(Command::new("depmod").arg("-b").arg(&root).arg(&kernel.release))?;
    let found = files(&folder)?.into_iter().map(|file| {
        let name = file.strip_prefix(&root).context("a module outside its folder")?;
        Ok((format!("usr/{}", name.display()), file.clone()))
    });
    found.collect()
}

/// Files of a folder and of those in it, or the modules of that name.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        let (folder, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or(OsStr::new("")));
        let module = format!("{}.ko", name.to_string_lossy());
        return Ok(entries(folder)?
            .into_iter()
            .filter(|entry| entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&module)))
            .collect());
    }
    let mut found = Vec::new();
    for entry in entries(path)? {
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else {
            found.push(entry);
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths =
        paths.collect::<Result<Vec<_>, _>>().with_context(|| format!("read {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("copy {}", from.display())).map(drop)
}
