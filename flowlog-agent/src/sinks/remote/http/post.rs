//! A batch that is posted, and what the answer says of it.

use super::client::{Answer, Client};
use super::receipts::Receipts;
use crate::sinks::output::{Batch, Framer, Output, WriteError};
use crate::sinks::remote::halving::{self, Said};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The least that a batch is brought down to where a destination finds it too large: a line and its frame.
const LEAST_BYTES: usize = 16_384;

/// So many posts go before their receipts are waited for.
const POSTS: usize = 16;

/// What a protocol makes of lines and answers.
pub(super) trait Protocol: Framer {
    /// What is posted of these places of a batch.
    fn body(&self, batch: Batch<'_>, places: &Range<usize>) -> Vec<u8> {
        batch.part(places).to_vec()
    }

    /// What the answer to so many lines says.
    fn judge(&self, answer: &Answer, lines: usize) -> Said;

    /// Under which number it will tell that it has them to keep, where it only has them yet.
    fn receipt(&self, _: &Answer) -> Option<u64> {
        None
    }
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
    /// What is taken and not kept yet.
    pub(super) receipts: Option<Receipts>,
}

impl Post {
    fn send(&mut self, batch: Batch<'_>, places: &Range<usize>) -> io::Result<Said> {
        let body = self.protocol.body(batch, places);
        let bytes = body.len();
        let answer = self.client.post(&self.path, body)?;
        self.asked = None;
        let said = self.protocol.judge(&answer, places.len());
        if let (Said::Taken, Some(receipts)) = (&said, &mut self.receipts) {
            self.protocol.receipt(&answer).into_iter().for_each(|number| receipts.expect(number));
        }
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

    /// Where receipts are waited for, several posts go meanwhile: what one takes to come does not hold the others up.
    fn batch_bytes(&self) -> usize {
        let posts = if self.receipts.as_ref().is_some_and(Receipts::are_given) { POSTS } else { 1 };
        self.batch_bytes.saturating_mul(posts)
    }

    fn write(&mut self, batch: Batch<'_>, _: Duration) -> Result<(), WriteError> {
        if self.receipts.as_ref().is_none_or(|receipts| !receipts.are_due()) {
            let limit = self.client.timeout();
            let parts = halving::parts(batch, self.batch_bytes);
            let sent = halving::send_all(batch, parts, limit, |places| self.send(batch, places));
            match &mut self.receipts {
                Some(receipts) if receipts.are_due() => receipts.hold(sent),
                _ => return sent,
            }
        }
        let Self { receipts: Some(receipts), client, .. } = self else { return Ok(()) };
        receipts.settle(client)
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
        if let Some(receipts) = &mut self.receipts {
            receipts.forget();
        }
        self.client.refresh()
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
