//! Set-up: what building and testing need. Says what it installs; quiet and quick when all is there.
//!
//! Order of preference for the kernel half's compiler: what is there, Debian's `rustc-web` (one version, with
//! an LLVM to match in the same archive), a rustup nightly.

use crate::bpf;
use crate::command::{cargo, is_installed, repository, run, run_quietly, say};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's Rust for building web browsers: newer than the distribution's own, with its source.
const DEBIAN_RUST: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Majors of LLVM that the pinned bpf-linker can be built with.
const LINKER_LLVM: [u32; 3] = [21, 22, 23];

/// Commands that the tests and the demo run, with their packages.
const COMMANDS: [(&str, &str); 2] = [("nft", "nftables"), ("ip", "iproute2")];

/// Commands that booting other kernels takes, with their packages.
const EMULATOR_COMMANDS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("depmod", "kmod"),
    ("strip", "binutils"),
    ("setpriv", "util-linux"),
];

/// Install what is missing, for booting other kernels too.
pub(crate) fn setup_emulator() -> Result<()> {
    setup()?;
    install_commands(&EMULATOR_COMMANDS, "to boot other kernels")
}

/// Install what is missing.
pub(crate) fn setup() -> Result<()> {
    install_commands(&COMMANDS, "to make and filter the networks of tests and demo")?;
    // A compiler that is there may be older than any LLVM that the linker knows.
    let toolchain = match bpf::find_toolchain() {
        Ok(toolchain) if has_known_llvm(&toolchain) => toolchain,
        _ => install_toolchain()?,
    };
    let repository = repository()?;
    if bpf::find_linker(&repository).is_err() {
        install_linker(&repository, &toolchain)?;
    }
    Ok(())
}

pub(crate) fn install_commands(commands: &[(&str, &'static str)], purpose: &str) -> Result<()> {
    let missing: Vec<_> =
        commands.iter().filter(|(name, _)| !is_installed(name)).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { install_packages(&missing, purpose) }
}

fn has_known_llvm(toolchain: &bpf::Toolchain) -> bool {
    bpf::find_llvm_major(toolchain).is_some_and(|major| LINKER_LLVM.contains(&major))
}

fn install_toolchain() -> Result<bpf::Toolchain> {
    let purpose = "to compile the kernel half (a Rust compiler that takes -Zbuild-std, with its source)";
    let debian = if is_debian() {
        install_packages(&DEBIAN_RUST, purpose)
    } else {
        Err(anyhow::anyhow!("no apt-get"))
    };
    let rustup = match &debian {
        Ok(()) => Ok(()),
        Err(_) => install_nightly(purpose),
    };
    bpf::find_toolchain().with_context(|| {
        format!(
            "could not install a compiler for the kernel half.\n  Debian: {}\n  rustup: {}\n\
             Install one by hand: `rustup toolchain install nightly --component rust-src`, or the Debian packages {}",
            told(&debian),
            told(&rustup),
            DEBIAN_RUST.join(", ")
        )
    })
}

fn install_nightly(purpose: &str) -> Result<()> {
    if !is_installed("rustup") {
        bail!("rustup is not installed");
    }
    say(&format!("installing a rustup nightly with rust-src, {purpose}"));
    let args = ["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"];
    run_quietly(Command::new("rustup").args(args)).map(drop)
}

/// The linker is built against the LLVM major of the compiler whose bitcode it reads.
fn install_linker(repository: &Path, toolchain: &bpf::Toolchain) -> Result<()> {
    let major = bpf::find_llvm_major(toolchain).context("`rustc -vV` does not say which LLVM it has")?;
    if !LINKER_LLVM.contains(&major) {
        bail!(
            "the compiler for the kernel half has LLVM {major}, and {} {} knows {LINKER_LLVM:?}: \
             use another nightly (`rustup toolchain install nightly-DATE`)",
            bpf::LINKER,
            bpf::LINKER_VERSION
        );
    }
    let prefix = find_llvm(major)?;
    let root = repository.join("target/tools");
    say(&format!(
        "building {} {} against LLVM {major} into {}: about six minutes on two cores, once",
        bpf::LINKER,
        bpf::LINKER_VERSION,
        root.display()
    ));
    run(cargo()?
        .args(["install", bpf::LINKER, "--version", bpf::LINKER_VERSION, "--locked", "--quiet"])
        .args(["--no-default-features", "--features", &format!("llvm-{major}"), "--root"])
        .arg(&root)
        .env("LLVM_PREFIX", prefix))?;
    bpf::find_linker(repository).map(drop).context("after it was built")
}

/// Where LLVM's development files are: `LLVM_PREFIX`, else Debian's place, installed where missing.
fn find_llvm(major: u32) -> Result<PathBuf> {
    if let Some(prefix) = std::env::var_os("LLVM_PREFIX") {
        return Ok(PathBuf::from(prefix));
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    if !prefix.join("lib/libPolly.a").exists() || !prefix.join("include/llvm-c").exists() {
        let packages = [format!("llvm-{major}-dev"), format!("libpolly-{major}-dev")];
        let packages = packages.each_ref().map(String::as_str);
        install_packages(&packages, "to build the linker of the kernel half").with_context(|| {
            format!("elsewhere than on Debian: install LLVM {major} with headers and set LLVM_PREFIX")
        })?;
    }
    Ok(prefix)
}

/// Install Debian's packages, saying so; elsewhere an error names them.
pub(crate) fn install_packages(packages: &[&str], purpose: &str) -> Result<()> {
    let list = packages.join(" ");
    if !is_debian() {
        bail!(
            "missing {purpose}: {list} (names of the Debian packages); install them with your package manager"
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("missing {purpose}: run `apt-get install --no-install-recommends {list}` as root");
    }
    say(&format!("installing {list}, {purpose}"));
    // A list that is out of date names packages that the archive no longer has, or versions too old to serve. Without
    // the archive's own list, what is at hand may still do.
    if let Err(error) = run_quietly(Command::new("apt-get").args(["update", "--quiet"])) {
        say(&format!("the lists of packages cannot be refreshed: {error:#}"));
    }
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    let mut apt = Command::new("apt-get");
    run_quietly(apt.args(install).args(packages).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

fn is_debian() -> bool {
    is_installed("apt-get")
}

fn told(result: &Result<()>) -> String {
    result.as_ref().err().map_or_else(|| "done, but of no use".to_owned(), |error| format!("{error:#}"))
}
