//! A batch that is posted, and what the answer says of it.

use super::client::{Answer, Client};
use crate::sinks::output::{Batch, Framer, Output, WriteError};
use crate::sinks::remote::halving::{self, Said};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The least that a batch is brought down to where a destination finds it too large: a line and its frame.
const LEAST_BYTES: usize = 16_384;

/// What a protocol makes of lines and answers.
pub(super) trait Protocol: Framer {
    /// What is posted of these places of a batch.
    fn body(&self, batch: Batch<'_>, places: &Range<usize>) -> Vec<u8> {
        batch.part(places).to_vec()
    }

    /// What the answer to so many lines says.
    fn judge(&self, answer: &Answer, lines: usize) -> Said;
}

/// By its status alone. What asks for another address, another secret or another right is no line's fault: it is tried
/// again until somebody mends that.
pub(super) fn by_status(answer: &Answer) -> Said {
    match answer.status.as_u16() {
        200..=299 => Said::Taken,
        400 | 413 | 422 => Said::NotTogether(answer.told()),
        _ => Said::NotNow(answer.told()),
    }
}

/// An output that posts.
pub(super) struct Post {
    pub(super) client: Client,
    pub(super) path: String,
    pub(super) protocol: Arc<dyn Protocol>,
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) asked: Option<Duration>,
}

impl Post {
    fn send(&mut self, batch: Batch<'_>, places: &Range<usize>) -> io::Result<Said> {
        let body = self.protocol.body(batch, places);
        let bytes = body.len();
        let answer = self.client.post(&self.path, body)?;
        self.asked = None;
        let said = self.protocol.judge(&answer, places.len());
        match &said {
            Said::NotNow(_) => self.asked = answer.wait,
            Said::NotTogether(_) if answer.status.as_u16() == 413 => {
                self.batch_bytes = self.batch_bytes.min(bytes / 2).max(LEAST_BYTES);
            }
            _ => {}
        }
        Ok(said)
    }
}

impl Output for Post {
    fn framer(&self) -> Arc<dyn Framer> {
        Arc::<dyn Protocol>::clone(&self.protocol)
    }

    fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    fn write(&mut self, batch: Batch<'_>, _: Duration) -> Result<(), WriteError> {
        let limit = self.client.timeout();
        halving::send_all(batch, limit, |places| self.send(batch, places))
    }

    fn linger(&self) -> Duration {
        self.linger
    }

    fn goes_together(&self) -> bool {
        true
    }

    fn asked_to_wait(&self) -> Option<Duration> {
        self.asked
    }

    fn tick(&mut self) -> Result<bool, WriteError> {
        if let Err(error) = self.client.refresh() {
            tracing::debug!(%error, "the secret of before is used");
        }
        Ok(false)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.client.forget_connection();
        self.client.refresh()
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
