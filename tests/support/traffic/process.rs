//! Handles on traffic processes: started with a handshake, killed and reaped when dropped.
//!
//! A process asks the kernel to end it with the *thread* that started it: start it from a thread that
//! lives as long as the process is needed (a test's own, or main).

use super::step::{Answer, Listen, Seat, Step};
use crate::{program, wait};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long a process may take to enter its place and say so.
const START: Duration = Duration::from_secs(10);

/// A process that is killed and reaped when dropped.
#[derive(Debug)]
pub struct Held(Child);

impl Held {
    /// Take charge of a child.
    pub fn new(child: Child) -> Self {
        Self(child)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Both fail only where the process is reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The traffic program with its seat as arguments; a subcommand is still to be added.
pub fn command(seat: &Seat) -> Result<Command> {
    Ok(command_of(&program::traffic()?, seat))
}

/// The same, of another build of the program.
pub fn command_of(program: &Path, seat: &Seat) -> Command {
    let mut command = Command::new(program);
    command.arg("--parent").arg(std::process::id().to_string());
    let mut option = |name: &str, value: Option<OsString>| {
        value.into_iter().for_each(|value| {
            command.arg(name).arg(value);
        });
    };
    option("--cgroup", seat.cgroup.clone().map(Into::into));
    option("--netns", seat.netns.clone().map(Into::into));
    option("--comm", seat.comm.clone().map(Into::into));
    option("--cpu", seat.cpu.map(|cpu| cpu.to_string().into()));
    command
}

/// A process that does one step after the other when told.
#[derive(Debug)]
pub struct Actor {
    // The order is that of dropping: stdin closes first.
    stdin: ChildStdin,
    answers: Receiver<String>,
    process: Held,
    title: String,
}

impl Actor {
    /// Start one; `title` is for error messages.
    pub fn start(seat: &Seat, title: &str) -> Result<Self> {
        let mut child = command(seat)?
            .arg("script")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start traffic of {title}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let process = Held::new(child);
        let answers = lines_of(stdout.context("stdout of the traffic program")?);
        let stdin = stdin.context("stdin of the traffic program")?;
        let actor = Self { stdin, answers, process, title: title.to_owned() };
        expect_ready(&actor.answers).with_context(|| format!("start traffic of {title}"))?;
        Ok(actor)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Do one step and wait for its answer.
    pub fn act(&mut self, step: &Step) -> Result<Answer> {
        self.begin(step)?;
        self.finish(step)
    }

    /// Tell it a step without waiting.
    pub fn begin(&mut self, step: &Step) -> Result<()> {
        let line = serde_json::to_string(step).context("write a step")?;
        writeln!(self.stdin, "{line}").with_context(|| format!("tell {} to {line}", self.title))
    }

    /// Wait for the answer to the oldest step that has none yet.
    pub fn finish(&mut self, step: &Step) -> Result<Answer> {
        let line =
            next(&self.answers, step.patience()).with_context(|| format!("{}: {step:?}", self.title))?;
        let value: Value =
            serde_json::from_str(&line).with_context(|| format!("{}: `{line}`", self.title))?;
        if let Some(fault) = value["fault"].as_str() {
            bail!("{} could not do {step:?}: {fault}", self.title);
        }
        serde_json::from_value(value).with_context(|| format!("{}: `{line}`", self.title))
    }
}

/// A process that listens until it is dropped.
#[derive(Debug)]
pub struct Server {
    process: Held,
}

impl Server {
    /// Start one; when this returns it listens.
    pub fn start(seat: &Seat, listen: &Listen, title: &str) -> Result<Self> {
        let mut command = command(seat)?;
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::piped());
        listen.tcp.iter().for_each(|address| {
            command.arg("--tcp").arg(address.to_string());
        });
        listen.udp.iter().for_each(|address| {
            command.arg("--udp").arg(address.to_string());
        });
        for (name, addresses) in [("--udp-blind", &listen.udp_blind), ("--udp-deaf", &listen.udp_deaf)] {
            addresses.iter().for_each(|address| {
                command.arg(name).arg(address.to_string());
            });
        }
        if listen.mptcp {
            command.arg("--mptcp");
        }
        Self::of(command).with_context(|| format!("server of {title} on {listen:?}"))
    }

    /// A name server with these records, `name=address` or `name=alias`; when this returns it answers.
    pub fn start_dns(seat: &Seat, at: SocketAddr, ttl_s: u32, records: &[String]) -> Result<Self> {
        let mut command = command(seat)?;
        command.args(["dns", "--at", &at.to_string(), "--ttl", &ttl_s.to_string()]);
        records.iter().for_each(|record| {
            command.args(["--record", record]);
        });
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self::of(command).with_context(|| format!("name server at {at}"))
    }

    fn of(mut command: Command) -> Result<Self> {
        let mut child = command.spawn().context("start it")?;
        let stdout = child.stdout.take();
        let process = Held::new(child);
        let said = lines_of(stdout.context("stdout of the traffic program")?);
        expect_ready(&said)?;
        Ok(Self { process })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Send a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).context("process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to a server"))
    }
}

/// Run one step in a process of its own, to the end of the process.
pub fn run_once(seat: &Seat, step: &Step, title: &str) -> Result<Answer> {
    let line = serde_json::to_string(step).context("write a step")?;
    let output = command(seat)?
        .args(["step", &line])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start traffic of {title}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let last =
        said.lines().last().with_context(|| format!("{title}: {step:?} ended with {}", output.status))?;
    serde_json::from_str(last).with_context(|| format!("{title}: `{last}`"))
}

fn expect_ready(said: &Receiver<String>) -> Result<()> {
    match next(said, START)?.as_str() {
        "ready" => Ok(()),
        other => bail!("it says `{other}` instead of `ready`"),
    }
}

fn next(said: &Receiver<String>, limit: Duration) -> Result<String> {
    let limit = wait::stretched(limit);
    said.recv_timeout(limit).map_err(|error| match error {
        RecvTimeoutError::Timeout => anyhow::anyhow!("no answer within {limit:?}"),
        RecvTimeoutError::Disconnected => anyhow::anyhow!("it ended (its stderr tells why)"),
    })
}

/// Lines as they come, read by a thread that ends with the process. Unbounded: a process says one line
/// per step it was told.
fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
