//! The kernel half's build: finds a compiler and the linker, builds the object, proves that it is fresh.
//!
//! The agent's build script includes this file too, so it uses the standard library alone. It finds tools but
//! installs none: that is `setup`'s part.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The linker that turns LLVM bitcode into a BPF object, and the version that is known to work.
pub(crate) const LINKER: &str = "bpf-linker";
/// Pinned: another version makes other bytes.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "flowlog-ebpf";
/// Profile in the workspace's `Cargo.toml`; the folder of its results has the same name.
const PROFILE: &str = "bpf";
/// Section of the object that holds the hash of its sources, 32 hex digits.
const SOURCE_SECTION_BYTES: usize = 32;
/// Files and folders that the object is made from, beside the compiler, from the repository's root.
pub(crate) const SOURCES: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    "flowlog-ebpf/src",
    "flowlog-ebpf/Cargo.toml",
    "flowlog-common/src",
    "flowlog-common/Cargo.toml",
];

/// A Rust compiler that can build `core` for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// A rustup nightly with the component rust-src.
    Nightly,
    /// Debian's rustc-web, cargo-web and rust-web-src.
    Debian,
}

/// Why the object could not be built.
#[derive(Debug)]
pub(crate) enum Error {
    /// No compiler that can build `core` for BPF.
    NoToolchain,
    /// The linker is missing, or has another version.
    NoLinker {
        /// What `bpf-linker --version` said, if there is one.
        found: Option<String>,
    },
    /// A file or command could not be used.
    Io {
        /// What was tried.
        what: String,
        /// What happened.
        source: io::Error,
    },
    /// The compiler refused.
    Compiler {
        /// Its own words.
        stderr: String,
    },
    /// The object does not carry the hash of the sources that are on disk.
    Stale {
        /// The object.
        object: PathBuf,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToolchain => f.write_str(
                "no Rust compiler that can build for BPF: needs a rustup nightly with rust-src, or Debian's \
                 rustc-web, cargo-web and rust-web-src; `cargo xtask setup` installs one",
            ),
            Self::NoLinker { found: None } => {
                write!(f, "{LINKER} {LINKER_VERSION} is missing; `cargo xtask setup` installs it")
            }
            Self::NoLinker { found: Some(found) } => {
                write!(
                    f,
                    "found {found}, but {LINKER} {LINKER_VERSION} is needed; `cargo xtask setup` installs it"
                )
            }
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Compiler { stderr } => write!(f, "the kernel half does not build:\n{stderr}"),
            Self::Stale { object } => write!(
                f,
                "{} was not built from the sources on disk; remove its target folder and build again",
                object.display()
            ),
        }
    }
}

impl std::error::Error for Error {}

/// The compiler to build with: a nightly with rust-src before Debian's.
///
/// # Errors
/// [`Error::NoToolchain`] when there is neither.
pub(crate) fn find_toolchain() -> Result<Toolchain, Error> {
    let nightly = sysroot("rustup", &["run", "nightly", "rustc"]);
    if nightly.is_some_and(|root| has_source(&root)) {
        return Ok(Toolchain::Nightly);
    }
    let debian = sysroot("/usr/bin/rustc", &[]);
    if debian.is_some_and(|root| has_source(&root)) && Path::new("/usr/bin/cargo").exists() {
        return Ok(Toolchain::Debian);
    }
    Err(Error::NoToolchain)
}

/// Major version of the LLVM that a toolchain was built with, from `rustc -vV`: the linker must match it.
pub(crate) fn find_llvm_major(toolchain: &Toolchain) -> Option<u32> {
    let mut command = match toolchain {
        Toolchain::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "rustc"]);
            command
        }
        Toolchain::Debian => Command::new("/usr/bin/rustc"),
    };
    let output = command.arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// The pinned linker: in the repository's `target/tools/bin`, where set-up puts it, else on the path.
///
/// # Errors
/// [`Error::NoLinker`] when it is missing or another version.
pub(crate) fn find_linker(repository: &Path) -> Result<PathBuf, Error> {
    let own = repository.join("target/tools/bin").join(LINKER);
    let mut found = None;
    for candidate in [own, PathBuf::from(LINKER)] {
        let Ok(output) = Command::new(&candidate).arg("--version").output() else { continue };
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if version == format!("{LINKER} {LINKER_VERSION}") {
            return Ok(candidate);
        }
        found = Some(version);
    }
    Err(Error::NoLinker { found })
}

/// Build the object below `target_dir` and answer its path. What is fresh is not built again.
///
/// # Errors
/// A tool is missing, the compiler refuses, or the result does not carry the hash of the sources.
pub(crate) fn build(repository: &Path, target_dir: &Path) -> Result<PathBuf, Error> {
    let toolchain = find_toolchain()?;
    let linker = find_linker(repository)?;
    let hash = hash_sources(repository)?;
    let output = run_cargo(repository, target_dir, &toolchain, &linker, &hash)?;
    if !output.status.success() {
        return Err(Error::Compiler { stderr: String::from_utf8_lossy(&output.stderr).into_owned() });
    }
    let object = target_dir.join(TARGET).join(PROFILE).join(PACKAGE);
    verify(&object, &hash)?;
    Ok(object)
}

/// Hash of the sources, 32 hex digits (FNV-1a, 128 bits, over names and contents in name order). Tells builds
/// apart; it is no defence against someone who wants them confused.
///
/// # Errors
/// A source cannot be read.
pub(crate) fn hash_sources(repository: &Path) -> Result<String, Error> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect_files(&repository.join(source), &mut files)?;
    }
    files.sort();
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    };
    for file in files {
        let name = file.strip_prefix(repository).unwrap_or(&file);
        let contents =
            fs::read(&file).map_err(|source| io_error(format!("read {}", file.display()), source))?;
        feed(name.as_os_str().as_encoded_bytes());
        feed(&[0]);
        feed(&contents);
        feed(&[0]);
    }
    Ok(format!("{hash:032x}"))
}

/// Check that the object carries this hash.
///
/// # Errors
/// [`Error::Stale`] when it does not.
pub(crate) fn verify(object: &Path, hash: &str) -> Result<(), Error> {
    let bytes = fs::read(object).map_err(|source| io_error(format!("read {}", object.display()), source))?;
    let found = bytes.windows(SOURCE_SECTION_BYTES).any(|window| window == hash.as_bytes());
    if found { Ok(()) } else { Err(Error::Stale { object: object.to_owned() }) }
}

fn run_cargo(
    repository: &Path,
    target_dir: &Path,
    toolchain: &Toolchain,
    linker: &Path,
    hash: &str,
) -> Result<Output, Error> {
    let mut command = match toolchain {
        Toolchain::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo"]);
            command
        }
        Toolchain::Debian => Command::new("/usr/bin/cargo"),
    };
    // An outer cargo's settings are for another compiler and another target.
    for (name, _) in env::vars_os() {
        if is_outer_setting(&name) {
            command.env_remove(name);
        }
    }
    if *toolchain == Toolchain::Debian {
        command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    }
    // Bytes must not depend on where the repository or cargo's home lie. (Cargo names crates by their flags, too,
    // but for these and for the linker where it comes by this variable.)
    let mut flags = vec![format!("--remap-path-prefix={}=flowlog", repository.display())];
    if let Some(home) = cargo_home() {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    command
        .current_dir(repository)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .env("FLOWLOG_SOURCE", hash)
        .args(["build", "--locked", "-Zbuild-std=core", "--package", PACKAGE])
        .args(["--profile", PROFILE, "--target", TARGET, "--target-dir"])
        .arg(target_dir);
    command.output().map_err(|source| io_error(format!("run {command:?}"), source))
}

fn is_outer_setting(name: &OsString) -> bool {
    let Some(name) = name.to_str() else { return false };
    let kept = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_HTTP_CAINFO", "CARGO_HTTP_PROXY"];
    let prefixes = ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTDOC", "CLIPPY", "RUSTUP_TOOLCHAIN"];
    let registry = name.starts_with("CARGO_REGISTRIES") || name.starts_with("CARGO_SOURCE");
    !kept.contains(&name) && !registry && prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
}

fn sysroot(program: &str, arguments: &[&str]) -> Option<PathBuf> {
    let output = Command::new(program).args(arguments).args(["--print", "sysroot"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists()
}

fn collect_files(path: &Path, into: &mut Vec<PathBuf>) -> Result<(), Error> {
    let read = |source| io_error(format!("read {}", path.display()), source);
    if !path.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(read)? {
        collect_files(&entry.map_err(read)?.path(), into)?;
    }
    Ok(())
}

fn io_error(what: String, source: io::Error) -> Error {
    Error::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::{Error, SOURCES, build, find_linker, hash_sources, verify};
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }

    /// A checkout elsewhere, with the kernel half's sources alone, and the linker where it is looked for.
    fn copy(to: &Path) {
        // Cargo wants to see every member of the workspace.
        for source in SOURCES.into_iter().chain(["flowlog-agent", "tests", "xtask"]) {
            let into = to.join(source);
            fs::create_dir_all(into.parent().unwrap()).unwrap();
            let copied = Command::new("cp").arg("-r").arg(repository().join(source)).arg(&into).status();
            assert!(copied.unwrap().success(), "{source}");
        }
        let linker = find_linker(&repository()).unwrap();
        if linker.is_absolute() {
            let into = to.join("target/tools/bin");
            fs::create_dir_all(&into).unwrap();
            fs::copy(linker, into.join(super::LINKER)).unwrap();
        }
    }

    #[test]
    fn a_change_of_any_source_changes_the_hash() {
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path());
        let before = hash_sources(folder.path()).unwrap();
        assert_eq!(before, hash_sources(&repository()).unwrap(), "the hash does not depend on the place");
        for source in ["flowlog-ebpf/src/emit.rs", "flowlog-common/src/event.rs", "Cargo.lock"] {
            let path = folder.path().join(source);
            let contents = fs::read_to_string(&path).unwrap();
            fs::write(&path, format!("{contents}\n")).unwrap();
            assert_ne!(hash_sources(folder.path()).unwrap(), before, "{source}");
            fs::write(&path, contents).unwrap();
        }
        assert_eq!(hash_sources(folder.path()).unwrap(), before);
    }

    #[test]
    fn an_object_of_other_sources_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let object = folder.path().join("object");
        fs::write(&object, [b"ELF".as_slice(), &[b'0'; 32], b"tail"].concat()).unwrap();
        assert!(verify(&object, &"0".repeat(32)).is_ok());
        assert!(matches!(verify(&object, &"1".repeat(32)), Err(Error::Stale { .. })));
    }

    #[test]
    #[ignore = "kernel half: builds it anew, a minute"]
    fn two_builds_in_two_places_are_the_same_bytes() {
        let here = build(&repository(), &repository().join("target/bpf")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path());
        let there = build(folder.path(), &folder.path().join("target/bpf")).unwrap();
        assert!(fs::read(&here).unwrap() == fs::read(&there).unwrap(), "{} differs", there.display());

        // What breaks the build can not leave yesterday's object to be taken for today's.
        let source = folder.path().join("flowlog-ebpf/src/emit.rs");
        fs::write(&source, "this is no Rust").unwrap();
        let broken = build(folder.path(), &folder.path().join("target/bpf"));
        assert!(matches!(broken, Err(Error::Compiler { .. })), "{broken:?}");
    }
}
