//! The real agent under test: started, listened to, stopped.

use crate::matching;
use crate::program;
use crate::traffic::Held;
use crate::traffic::process;
use crate::traffic::step::Seat;
use crate::wait;
use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Loading and attaching takes well under a second; a loaded machine takes longer.
const START: Duration = Duration::from_secs(30);

/// The agent drains, writes and detaches.
const STOP: Duration = Duration::from_secs(20);

/// What an agent said to its end.
#[derive(Debug)]
pub struct Ended {
    /// Every line, in order.
    pub lines: Vec<Value>,
    /// Its own log.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Ended {
    /// Lines that contain this part.
    pub fn matching(&self, part: &Value) -> Vec<&Value> {
        self.lines.iter().filter(|line| matching::contains(line, part)).collect()
    }

    /// The `agent` record that tells of its stop, with its counters.
    pub fn stop_record(&self) -> Result<&Value> {
        let part = json!({"kind": "agent", "agent": {"event": "stop"}});
        self.matching(&part)
            .pop()
            .with_context(|| format!("no stop record; {}", matching::nearest(&self.lines, &part)))
    }
}

#[derive(Debug, Default)]
struct Heard {
    lines: Vec<Value>,
    /// A line that is no JSON: the product's promise is broken, told with the next question.
    broken: Option<String>,
    over: bool,
}

#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard());
        self.changed.notify_all();
    }

    fn listen(&self, stdout: impl Read, echo: &dyn Fn(&str)) {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            echo(&line);
            self.change(|heard| match serde_json::from_str(&line) {
                Ok(value) => heard.lines.push(value),
                Err(_) => heard.broken = Some(line),
            });
        }
        self.change(|heard| heard.over = true);
    }
}

/// How the agent is to be started.
pub struct Start {
    args: Vec<OsString>,
    seat: Seat,
    variables: Vec<(OsString, OsString)>,
    program: Option<PathBuf>,
    echo: Box<dyn Fn(&str) + Send>,
}

impl Start {
    /// With these arguments (`run`, `--manifests`, …), in the place where this process is.
    pub fn new<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Self {
        Self {
            args: args.into_iter().map(Into::into).collect(),
            seat: Seat::default(),
            variables: Vec::new(),
            program: None,
            echo: Box::new(|_| ()),
        }
    }

    /// Another program than `program::flowlog` finds.
    pub fn program(self, path: PathBuf) -> Self {
        Self { program: Some(path), ..self }
    }

    /// In another place.
    pub fn seat(self, seat: Seat) -> Self {
        Self { seat, ..self }
    }

    /// With an environment variable.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Have each line shown as it comes.
    pub fn echo(self, echo: impl Fn(&str) + Send + 'static) -> Self {
        Self { echo: Box::new(echo), ..self }
    }

    /// Start it, without waiting for it to say anything.
    pub fn spawn(self) -> Result<Agent> {
        let program = self.program.map_or_else(program::flowlog, Ok)?;
        let mut child = process::command(&self.seat)?
            .args(["exec", "--"])
            .arg(&program)
            .args(&self.args)
            .envs(self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let process = Held::new(child);
        let stdout = stdout.context("stdout of the agent")?;
        let mut stderr = stderr.context("stderr of the agent")?;
        let ear = Arc::new(Ear::default());
        let (listener, echo) = (Arc::clone(&ear), self.echo);
        let out = std::thread::spawn(move || listener.listen(stdout, &*echo));
        let err = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error is still worth showing.
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Agent { process, ear, out: Some(out), err: Some(err) })
    }

    /// Start it, and wait for its `agent` start record: from then on every attempt is seen.
    pub fn start(self) -> Result<Agent> {
        let agent = self.spawn()?;
        let part = json!({"kind": "agent", "agent": {"event": "start"}});
        match agent.wait_for(&part, START) {
            Ok(_) => Ok(agent),
            Err(error) => {
                let ended = agent.stop().map(|ended| ended.stderr).unwrap_or_default();
                Err(error.context(format!("the agent did not start; it said:\n{ended}")))
            }
        }
    }
}

/// A running agent; killed when dropped without `stop`.
#[derive(Debug)]
pub struct Agent {
    process: Held,
    ear: Arc<Ear>,
    out: Option<JoinHandle<()>>,
    err: Option<JoinHandle<String>>,
}

impl Agent {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lines so far. Beside a storm of another test they take gigabytes: only to count them or to look at them, do that.
    pub fn lines(&self) -> Vec<Value> {
        self.ear.heard().lines.clone()
    }

    /// How many lines there are so far.
    pub fn count(&self) -> usize {
        self.ear.heard().lines.len()
    }

    /// Whether one of them is so.
    pub fn has(&self, is_so: impl Fn(&Value) -> bool) -> bool {
        self.ear.heard().lines.iter().any(is_so)
    }

    /// The last one.
    pub fn last(&self) -> Option<Value> {
        self.ear.heard().lines.last().cloned()
    }

    /// The first line that contains this part, now or before the time is up; an error shows the nearest.
    pub fn wait_for(&self, part: &Value, limit: Duration) -> Result<Value> {
        self.wait_from(0, part, limit)
    }

    /// The same, among the lines from the `first` on (a number that [`Self::count`] gave).
    pub fn wait_from(&self, first: usize, part: &Value, limit: Duration) -> Result<Value> {
        // None is looked at twice.
        let mut next = first;
        let (found, heard) = self.look(limit, |lines| {
            let new = lines.get(next..).unwrap_or_default();
            next = next.max(lines.len());
            new.iter().find(|line| matching::contains(line, part)).cloned()
        })?;
        found.ok_or_else(|| {
            let lines = heard.lines.get(first..).unwrap_or_default();
            anyhow!("no record with {part} within {limit:?}; nearest:\n{}", matching::nearest(lines, part))
        })
    }

    /// What `find` finds in the lines so far, looked at again with each new one; else all lines.
    pub fn wait_until<T>(
        &self,
        limit: Duration,
        find: impl FnMut(&[Value]) -> Option<T>,
    ) -> Result<Result<T, Vec<Value>>> {
        let (found, heard) = self.look(limit, find)?;
        Ok(found.ok_or_else(|| heard.lines.clone()))
    }

    /// What `find` finds until the time is up, with all lines.
    fn look<T>(
        &self,
        limit: Duration,
        mut find: impl FnMut(&[Value]) -> Option<T>,
    ) -> Result<(Option<T>, MutexGuard<'_, Heard>)> {
        let deadline = Instant::now() + wait::stretched(limit);
        let mut heard = self.ear.heard();
        loop {
            if let Some(line) = &heard.broken {
                bail!("a line that is no JSON: `{line}`");
            }
            let found = find(&heard.lines);
            if found.is_some() {
                return Ok((found, heard));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if heard.over || left.is_zero() {
                return Ok((None, heard));
            }
            (heard, _) = self.ear.changed.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Send a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).context("process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to the agent"))
    }

    /// End it as an operator would, and hand over all it said.
    pub fn stop(mut self) -> Result<Ended> {
        if self.process.child().try_wait().context("look at the agent")?.is_none() {
            self.signal(Signal::SIGTERM)?;
        }
        self.ended()
    }

    /// Wait for it to end by itself.
    pub fn ended(&mut self) -> Result<Ended> {
        let mut status = None;
        wait::until("the agent ends", STOP, || {
            status = self.process.child().try_wait().context("wait for the agent")?;
            Ok(status.is_some())
        })?;
        let joined = |_| anyhow!("a thread that reads from the agent panicked");
        self.out.take().map_or(Ok(()), JoinHandle::join).map_err(joined)?;
        let stderr = self.err.take().map_or(Ok(String::new()), JoinHandle::join).map_err(joined)?;
        if let Some(line) = &self.ear.heard().broken {
            bail!("a line that is no JSON: `{line}`");
        }
        Ok(Ended { lines: self.lines(), stderr, status: status.context("exit status of the agent")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ear(text: &str) -> Ear {
        let ear = Ear::default();
        ear.listen(text.as_bytes(), &|_| ());
        ear
    }

    #[test]
    fn lines_are_heard_in_order_to_the_end() {
        let ear = ear("{\"a\":1}\n{\"a\":2}\n");
        let heard = ear.heard();
        assert_eq!((heard.lines.as_slice(), heard.over), (&[json!({"a": 1}), json!({"a": 2})][..], true));
    }

    #[test]
    fn a_line_that_is_no_json_is_not_passed_over() {
        assert_eq!(ear("{\"a\":1}\n{\"a\"\n").heard().broken.as_deref(), Some("{\"a\""));
    }
}
