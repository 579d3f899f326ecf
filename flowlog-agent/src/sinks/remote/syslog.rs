//! Syslog over TCP and TLS: RFC 5424 messages in the frames of RFC 6587 and 5425 (their length before them).
//!
//! Syslog has no answers. What was handed to a connection lately is kept and sent again over the next one, since nobody
//! can tell how much of it was read when the connection broke: then lines come twice, under the same `run` and `seq`.

use super::dial::{Dialer, Reactor, Stream, within};
use super::place::Place;
use super::probe::{unusable, way};
use super::refuse_proxy;
use crate::record::{Content, Line};
use crate::sinks::output::{Batch, Framer, Output, WriteError};
use crate::sinks::probe::{Step, stopped};
use crate::sinks::{Opening, SinkError, SinkKind};
use jiff::fmt::temporal::DateTimePrinter;
use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(in crate::sinks) const KIND: SinkKind = SinkKind {
    name: "syslog",
    takes: |place| place.starts_with("syslog://") || place.starts_with("syslogs://"),
    open: |opening| Ok(Box::new(Syslog::open(opening)?)),
    probe,
    #[cfg(test)]
    fixture: tests::fixture,
    #[cfg(test)]
    consumer: false,
};

/// Facility `local0`: what is kept for the site's own.
const FACILITY: u8 = 16;
/// RFC 5424 has microseconds.
const MOMENT: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
/// With it no message is longer than 8 KiB, rsyslog's default limit.
const MAX_HOST_BYTES: usize = 180;
/// Most bytes that are kept to be sent again.
const MAX_RECENT_BYTES: usize = 4 << 20;
/// What one write hands over.
const BATCH_BYTES: usize = 65_536;
/// A connection that was just written to is not asked whether it still stands.
const FRESH: Duration = Duration::from_millis(20);
/// How long the far end has to take the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long is looked whether the far end has closed.
const LOOK: Duration = Duration::from_millis(1);

struct Syslog {
    dialer: Dialer,
    reactor: Reactor,
    header: Arc<Header>,
    stream: Option<Box<dyn Stream>>,
    /// What was sent, oldest first, and when.
    recent: VecDeque<(Instant, Vec<u8>)>,
    recent_bytes: usize,
}

/// What every message of a run begins with.
struct Header {
    host: String,
    run: String,
}

/// No further than to its door.
fn probe(opening: &Opening<'_>) -> Vec<Step> {
    if let Err(error) = Syslog::open(opening) {
        return vec![unusable(&error)];
    }
    let mut steps = way(opening);
    if !stopped(&steps) {
        let found = "syslog has no answers: what becomes of lines there cannot be told from here";
        steps.push(Step::fine("answer", found.to_owned()));
    }
    steps
}

impl Syslog {
    fn open(opening: &Opening<'_>) -> Result<Self, SinkError> {
        let place = Place::of(opening.place())?;
        refuse_proxy(opening.place(), opening.remote())?;
        let host = place.only_host(opening.place())?;
        let told = |source| SinkError::Remote { output: opening.place().to_owned(), source };
        Ok(Self {
            dialer: Dialer::new(&place, host, None, opening.remote()).map_err(told)?,
            reactor: Reactor::default(),
            header: Arc::new(Header {
                host: header_field(&opening.run.node, MAX_HOST_BYTES),
                run: header_field(&opening.run.id, 128),
            }),
            stream: None,
            recent: VecDeque::new(),
            recent_bytes: 0,
        })
    }

    /// Where there is no connection, make one, and send again what the last one may not have brought.
    fn connect(&mut self) -> io::Result<()> {
        if self.stream.is_some() {
            return Ok(());
        }
        let Self { dialer, reactor, recent, .. } = self;
        let stream = reactor.run(async {
            let mut stream = dialer.dial().await?;
            for (_, sent) in recent.iter() {
                within(dialer.timeout(), stream.write_all(sent)).await?;
            }
            within(dialer.timeout(), stream.flush()).await?;
            Ok(stream)
        })?;
        let now = Instant::now();
        self.recent.iter_mut().for_each(|(sent, _)| *sent = now);
        self.stream = Some(stream);
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.recent.back().is_none_or(|(sent, _)| sent.elapsed() >= FRESH) {
            self.look()?;
        }
        self.connect()?;
        let Self { dialer, reactor, stream: Some(stream), .. } = self else { return Ok(()) };
        let sent = reactor.run(async {
            within(dialer.timeout(), stream.write_all(bytes)).await?;
            within(dialer.timeout(), stream.flush()).await
        });
        if let Err(error) = sent {
            self.stream = None;
            return Err(error);
        }
        self.keep(bytes);
        Ok(())
    }

    /// Whether the far end has closed. It has nothing to say: whatever comes is passed over.
    fn look(&mut self) -> io::Result<()> {
        let Self { reactor, stream: Some(stream), .. } = self else { return Ok(()) };
        let closed = reactor.run(async {
            let mut said = [0; 1_024];
            Ok(loop {
                match tokio::time::timeout(LOOK, stream.read(&mut said)).await {
                    Err(_) => break None,
                    Ok(Ok(0)) => break Some(io::ErrorKind::ConnectionAborted.into()),
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => break Some(error),
                }
            })
        })?;
        let Some(error) = closed else { return Ok(()) };
        self.stream = None;
        Err(error)
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.recent.push_back((Instant::now(), bytes.to_vec()));
        self.recent_bytes = self.recent_bytes.saturating_add(bytes.len());
        self.forget();
    }

    /// What was sent longer ago than the far end may take is there, or the connection would have broken.
    fn forget(&mut self) {
        let limit = self.dialer.timeout();
        while let Some((sent, bytes)) = self.recent.front()
            && (sent.elapsed() > limit || self.recent_bytes > MAX_RECENT_BYTES)
        {
            self.recent_bytes = self.recent_bytes.saturating_sub(bytes.len());
            self.recent.pop_front();
        }
    }
}

impl Header {
    /// `<PRI>1 TIME HOST APP-NAME PROCID MSGID - MSG`
    fn append_message(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        let about = line.about();
        let priority = FACILITY * 8 + about.severity.syslog();
        let kind = match line.content() {
            Content::Flow { class, .. } => class.as_str(),
            Content::Finding | Content::Loss(_) | Content::Agent => about.kind,
        };
        let mut time = String::new();
        if MOMENT.print_timestamp(&about.time, &mut time).is_err() {
            "-".clone_into(&mut time);
        }
        // Writing to a Vec cannot fail.
        let _ = write!(out, "<{priority}>1 {time} {} flowlog {} {kind} - ", self.host, self.run);
        line.append_to(seq, out);
        if out.last() == Some(&b'\n') {
            out.pop();
        }
    }
}

/// Printable ASCII without spaces, or `-`.
fn header_field(text: &str, most: usize) -> String {
    let one = |letter: char| if letter.is_ascii_graphic() { letter } else { '_' };
    let field: String = text.chars().map(one).take(most).collect();
    if field.is_empty() { "-".to_owned() } else { field }
}

impl Framer for Header {
    fn frame(&self, line: &Line, seq: u64, out: &mut Vec<u8>) {
        let start = out.len();
        self.append_message(line, seq, out);
        let length = format!("{} ", out.len().saturating_sub(start));
        out.splice(start..start, length.into_bytes());
    }
}

impl Output for Syslog {
    fn framer(&self) -> Arc<dyn Framer> {
        Arc::<Header>::clone(&self.header)
    }

    fn batch_bytes(&self) -> usize {
        BATCH_BYTES
    }

    fn write(&mut self, batch: Batch<'_>, _: Duration) -> Result<(), WriteError> {
        self.send(batch.bytes).map_err(WriteError::nothing)
    }

    fn goes_together(&self) -> bool {
        true
    }

    fn tick(&mut self) -> Result<bool, WriteError> {
        self.look().map_err(WriteError::nothing)?;
        if self.stream.is_some() {
            self.forget();
        }
        Ok(false)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.stream = None;
        self.connect()
    }

    fn sync(&mut self) -> io::Result<()> {
        let Self { reactor, stream: Some(stream), dialer, .. } = self else { return Ok(()) };
        // What it said and was not read (tickets of TLS) would make the end a reset, and that takes from it what it has not
        // read.
        reactor.run(within(dialer.timeout().min(LAST_WORDS), async {
            stream.shutdown().await?;
            let mut said = [0; 1_024];
            while stream.read(&mut said).await? > 0 {}
            Ok(())
        }))
    }
}

#[cfg(test)]
pub(in crate::sinks) mod tests;

#[cfg(test)]
mod consumer;
