//! One boot: the emulator, its serial lines, a time after which it is ended.

use super::archive::Kernel;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The emulator.
pub(super) const EMULATOR: &str = "qemu-system-x86_64";

/// The image lies in memory twice while the kernel unpacks it.
const MEMORY: &str = "2048M";

/// Boot and hand every line of the second serial line to `hear`, until the machine ends itself. The first one, the
/// kernel's console, is written to a file.
pub(super) fn boot(
    kernel: &Kernel,
    image: &Path,
    console: &Path,
    limit: Duration,
    mut hear: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut child = Running(command(kernel, image, console).spawn().context("start the emulator")?);
    let stdout = child.0.stdout.take().context("the emulator's output")?;
    let stderr = child.0.stderr.take().context("the emulator's errors")?;
    let (lines, heard) = channel();
    let reader = std::thread::spawn(move || listen(stdout, &lines));
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        // What was read before an error is still worth showing.
        let _ = BufReader::new(stderr).read_to_string(&mut text);
        text
    });
    let deadline = Instant::now() + limit;
    let in_time = loop {
        match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => hear(&line)?,
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    if !in_time {
        drop(child);
        bail!("not at its end after {} s; its console:\n{}", limit.as_secs(), end_of(console));
    }
    let status = child.0.wait().context("wait for the emulator")?;
    drop(reader.join());
    let complaints = complaints.join().unwrap_or_default();
    if !status.success() {
        bail!("{EMULATOR}: {status}: {}", complaints.trim());
    }
    Ok(())
}

/// The end of what the kernel said.
pub(super) fn end_of(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Software emulation, whatever the machine could do: hardware's is not to be had everywhere, and times differ.
fn command(kernel: &Kernel, image: &Path, console: &Path) -> Command {
    let mut command = Command::new(EMULATOR);
    command
        .args(["-accel", "tcg", "-machine", "pc", "-cpu", "max,la57=off", "-smp", "1", "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-kernel"])
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        // Mitigations guard against what an emulated processor does not do. A panic ends the machine.
        .args([
            "-append",
            "console=ttyS0 panic=-1 no_timer_check mitigations=off random.trust_cpu=on loglevel=5",
        ])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn listen(stdout: impl Read, lines: &Sender<String>) {
    for line in BufReader::new(stdout).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        if lines.send(line.trim_end_matches('\r').to_owned()).is_err() {
            break;
        }
    }
}

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
