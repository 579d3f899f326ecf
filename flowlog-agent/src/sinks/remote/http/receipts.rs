//! Receipts: what a destination has taken, and says later that it has it to keep. Until then a batch is not written; what is
//! not acknowledged in time is sent again.

use super::client::Client;
use crate::sinks::output::WriteError;
use crate::sinks::writer::TICK;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

/// It is asked after so long at first, twice as long each time, then every so often.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// What was taken of the batch in hand.
pub(super) struct Receipts {
    path: String,
    limit: Duration,
    /// Numbers that are not acknowledged.
    due: BTreeSet<u64>,
    /// Numbers were given: the destination has this.
    given: bool,
    /// What becomes of the batch once all are.
    held: Option<Result<(), WriteError>>,
    since: Instant,
    next: Instant,
    pause: Duration,
}

/// What it answers.
#[derive(Deserialize)]
struct Told {
    acks: BTreeMap<u64, bool>,
}

impl Receipts {
    /// Asked for there, as long as this.
    pub(super) fn new(path: String, limit: Duration) -> Self {
        let now = Instant::now();
        let pause = FIRST_PAUSE;
        Self { path, limit, due: BTreeSet::new(), given: false, held: None, since: now, next: now, pause }
    }

    /// What was posted last is acknowledged under this number.
    pub(super) fn expect(&mut self, number: u64) {
        self.given = true;
        self.due.insert(number);
    }

    /// Whether the destination has ever given one.
    pub(super) fn are_given(&self) -> bool {
        self.given
    }

    /// Whether some are waited for.
    pub(super) fn are_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// All is posted, with this result.
    pub(super) fn hold(&mut self, sent: Result<(), WriteError>) {
        self.held = Some(sent);
        self.since = Instant::now();
        self.pause = FIRST_PAUSE;
        self.next = later(FIRST_PAUSE);
    }

    /// The batch in hand begins anew.
    pub(super) fn forget(&mut self) {
        self.due.clear();
        self.held = None;
    }

    /// Ask until all are there, or for a moment: then it is called again with the same batch.
    pub(super) fn settle(&mut self, client: &mut Client) -> Result<(), WriteError> {
        let until = later(TICK);
        loop {
            let now = Instant::now();
            if self.next > until {
                client.pause(until.saturating_duration_since(now)).map_err(WriteError::nothing)?;
                return Err(WriteError::NotReady);
            }
            let asked = client.pause(self.next.saturating_duration_since(now));
            if let Err(why) = asked.and_then(|()| self.ask(client)) {
                self.forget();
                return Err(WriteError::nothing(why));
            }
            if self.due.is_empty() {
                return self.held.take().unwrap_or(Ok(()));
            }
            if self.since.elapsed() >= self.limit {
                let (count, limit) = (self.due.len(), self.limit);
                self.forget();
                let why = format!("{count} posts are not acknowledged after {limit:?}: they are sent again");
                return Err(WriteError::nothing(io::Error::other(why)));
            }
            self.pause = self.pause.saturating_mul(2).min(LAST_PAUSE);
            self.next = later(self.pause);
        }
    }

    /// An error where there is nothing to wait for. One that does not answer is asked again.
    fn ask(&mut self, client: &mut Client) -> io::Result<()> {
        let body = json!({"acks": self.due}).to_string().into_bytes();
        let answer = match client.ask(Method::POST, &self.path, "application/json", body) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "acknowledgements are not told");
                return Ok(());
            }
        };
        if answer.status.as_u16() == 400 {
            return Err(io::Error::other(format!("asked for acknowledgements, {}", answer.told())));
        }
        match serde_json::from_slice::<Told>(&answer.body) {
            Ok(Told { acks }) if answer.status.is_success() => {
                self.due.retain(|number| acks.get(number) != Some(&true));
            }
            _ => tracing::debug!(answer = answer.told(), "acknowledgements are not told"),
        }
        Ok(())
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now)
}
