//! The image: a static binary on nothing, built without a daemon, and looked at as it will be run.

use crate::command::{cargo, is_installed, need_root, repository, run, run_quietly, say, target};
use crate::setup;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMMANDS: [(&str, &str); 4] =
    [("buildah", "buildah"), ("skopeo", "skopeo"), ("umoci", "umoci"), ("musl-gcc", "musl-tools")];
/// What building for the other machine takes beside.
const CROSS_COMMANDS: [(&str, &str); 2] =
    [("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"), ("qemu-aarch64", "qemu-user")];

/// Compressed, as a node pulls it.
const LIMIT_BYTES: u64 = 30 << 20;

/// Arguments of `cargo xtask image`.
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// For which machines.
    #[arg(long, value_enum, default_value = "amd64")]
    arch: Arch,
}

/// A machine, as images name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    fn is_ours(self) -> bool {
        self.triple().starts_with(env::consts::ARCH)
    }
}

/// Build it, and look at it.
pub(crate) fn image(args: &ImageArgs) -> Result<()> {
    need_root("`cargo xtask image`")?;
    setup::install_commands(&COMMANDS, "to build the image")?;
    if !args.arch.is_ours() {
        setup::install_commands(&CROSS_COMMANDS, "to build for another machine")?;
    }
    let binary = static_binary(args.arch)?;
    let folder = target()?.join("image").join(args.arch.name());
    let (archive, layout) = build(args.arch, &binary, &folder)?;
    check(args.arch, &layout, &folder)?;
    let bytes = fs::metadata(&archive).context("look at the image")?.len();
    if bytes > LIMIT_BYTES {
        bail!("the image has {bytes} bytes, more than {LIMIT_BYTES}");
    }
    say(&format!("{}: {:.1} MiB", archive.display(), mebibytes(bytes)));
    println!("{}", archive.display());
    Ok(())
}

fn mebibytes(bytes: u64) -> f64 {
    // Below the limit, and so well within a u32.
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / f64::from(1 << 20)
}

fn static_binary(arch: Arch) -> Result<PathBuf> {
    let triple = arch.triple();
    if !is_installed("rustup") {
        bail!("rustup is not installed: the standard library for {triple} comes from there");
    }
    run_quietly(Command::new("rustup").args(["target", "add", triple]))?;
    let mut command = cargo()?;
    command
        .args(["build", "--locked", "--release", "--package", "flowlog-agent", "--target", triple])
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    if !arch.is_ours() {
        command
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "aarch64-linux-gnu-gcc")
            .env("CC_aarch64_unknown_linux_musl", "aarch64-linux-gnu-gcc");
    }
    run(&mut command)?;
    Ok(target()?.join(triple).join("release/flowlog"))
}

/// The image as an archive and as a folder, both in the layout of OCI.
fn build(arch: Arch, binary: &Path, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let context = folder.join("context");
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&context).with_context(|| format!("make {}", context.display()))?;
    fs::copy(binary, context.join("flowlog")).context("copy the binary")?;
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("flowlog:{version}");
    let buildah = || {
        let mut command = Command::new("buildah");
        // Storage of its own, on any file system, without what only a container host has.
        command.args(["--storage-driver", "vfs", "--root"]).arg(folder.join("storage"));
        command.arg("--runroot").arg(folder.join("run"));
        command
    };
    let mut bud = buildah();
    bud.args(["bud", "--isolation", "chroot", "--quiet", "--timestamp", "0", "--arch", arch.name()]);
    bud.args(["--build-arg", &format!("VERSION={version}"), "--tag", &name, "--file"]);
    run_quietly(bud.arg(repository()?.join("deploy/Containerfile")).arg(&context))?;
    let archive = folder.join(format!("flowlog-{version}-{}.tar", arch.name()));
    let layout = folder.join("layout");
    for place in
        [format!("oci-archive:{}:{name}", archive.display()), format!("oci:{}:latest", layout.display())]
    {
        run_quietly(buildah().args(["push", "--quiet", &name, &place]))?;
    }
    Ok((archive, layout))
}

/// What a registry would say of it, and what a node would run.
fn check(arch: Arch, layout: &Path, folder: &Path) -> Result<()> {
    let place = format!("oci:{}:latest", layout.display());
    let told = run_quietly(Command::new("skopeo").args(["inspect", "--config", &place]))?;
    let config: Value = serde_json::from_str(&told).context("read what skopeo says")?;
    let expected = [
        ("/architecture", arch.name()),
        ("/config/Entrypoint/0", "/flowlog"),
        ("/config/User", "0:0"),
        ("/config/Labels/org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
    ];
    for (path, wanted) in expected {
        if config.pointer(path).and_then(Value::as_str) != Some(wanted) {
            bail!("the image's {path} is {:?}, not {wanted}", config.pointer(path));
        }
    }
    let bundle = folder.join("bundle");
    let image = format!("{}:latest", layout.display());
    run_quietly(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle))?;
    let root = bundle.join("rootfs");
    let version = match arch.is_ours() {
        true => run_quietly(Command::new("chroot").arg(&root).args(["/flowlog", "--version"]))?,
        false => run_quietly(Command::new("qemu-aarch64").arg(root.join("flowlog")).arg("--version"))?,
    };
    if !version.starts_with(concat!("flowlog ", env!("CARGO_PKG_VERSION"), " (kernel half ")) {
        bail!("the binary in the image says of itself: {version}");
    }
    if arch.is_ours() { check_host(&root) } else { Ok(()) }
}

/// `flowlog check` sees this host from within the image, in a mount namespace that goes with it.
fn check_host(root: &Path) -> Result<()> {
    let inside =
        "for at in proc sys; do mkdir \"$0/$at\" && mount --rbind \"/$at\" \"$0/$at\" || exit 9; done
        chroot \"$0\" /flowlog check --output json; test $? -le 1";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", inside]).arg(root);
    let told = run_quietly(&mut command)?;
    let answer: Value = serde_json::from_str(&told).context("read what `flowlog check` says")?;
    if answer.as_object().is_none_or(serde_json::Map::is_empty) {
        bail!("`flowlog check` in the image says nothing: {told}");
    }
    Ok(())
}
