//! Where lines go. A sink is one writer thread with a bounded queue before it: capture is never held up, what
//! does not fit is shed by class, counted, and told in a `loss` record as soon as writing goes on.
//!
//! `queue.rs` holds what waits and what was lost, `writer.rs` the thread, `output.rs` what a destination must
//! offer. A new destination is a file of its own and a row in `KINDS`.

mod destination;
mod file;
mod output;
mod probe;
mod queue;
mod remote;
mod request;
mod spool;
mod stdout;
mod writer;

pub use destination::{Destination, split};
pub use file::Rotation;
pub use probe::{Probed, Standing, Step, probe};
pub use queue::{QueueLimits, SinkState};
pub use remote::{Needs, ProxyPlace, Remote, needs};
pub use request::Request;
pub use spool::{SpoolPlace, SpoolState};

use crate::model::Ledger;
use crate::record::{Encoder, Format, Formats, Line, Run, SinkCounters, Wanted};
use crate::selection::{Facts, Selection};
use output::Output;
use queue::Queue;
use spool::Delivery;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use writer::{Marks, Writer};

/// A kind of destination.
struct SinkKind {
    /// Name in the own log and in tests.
    name: &'static str,
    /// Whether a place, as the configuration writes it, is of this kind.
    takes: fn(&str) -> bool,
    /// Open it.
    open: fn(&Opening<'_>) -> Result<Box<dyn Output>, SinkError>,
    /// Look whether it would take lines, without one.
    probe: fn(&Opening<'_>) -> Vec<Step>,
    /// A fresh destination for the shared test, and what reads back all that was written to it.
    #[cfg(test)]
    fixture: fn() -> tests::Fixture,
    /// Whether that is a program that `cargo xtask test` installs.
    #[cfg(test)]
    consumer: bool,
}

/// What an output is opened with.
struct Opening<'a> {
    /// What is asked of it.
    request: &'a Request,
    /// Whose lines they are.
    run: &'a Run,
    /// Its place among all outputs: what tells lines apart that two of them bring to one destination.
    number: usize,
}

impl<'a> Opening<'a> {
    /// Where.
    fn place(&self) -> &'a str {
        self.request.destination().place
    }

    /// How, where that is over the network.
    fn remote(&self) -> &'a Remote {
        &self.request.remote
    }
}

/// Every kind; the first that takes an output opens it, so the one that takes any path stands last.
const KINDS: [SinkKind; 8] = [
    stdout::KIND,
    remote::syslog::KIND,
    remote::http::splunk::KIND,
    remote::http::elastic::KIND,
    remote::http::otlp::KIND,
    remote::http::ndjson::KIND,
    remote::kafka::KIND,
    file::KIND,
];

/// Why a sink could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Nobody said where to write.
    #[error("no output is configured: name `stdout` or the path of a file")]
    NoOutput,
    /// More than lines can be marked for.
    #[error("{count} outputs are configured: there may be {}", Wanted::MOST)]
    TooMany {
        /// So many.
        count: usize,
    },
    /// The same output twice would tear its own lines apart, in one format or in two.
    #[error("output `{output}` is configured twice")]
    Twice {
        /// The output as written.
        output: String,
    },
    /// Nobody encodes what it is to write.
    #[error("no records are made in the format of output `{output}`")]
    Format {
        /// The output as written.
        output: String,
    },
    /// A format that there is not.
    #[error(
        "output `{output}` names a format `{name}` that there is not: `flowlog`, `ecs` and `ocsf` are; a file of that name is \
         `./{output}`"
    )]
    UnknownFormat {
        /// The output as written.
        output: String,
        /// The format's name.
        name: String,
    },
    /// Parts of flowlog's own format, and another format.
    #[error(
        "output `{output}` leaves parts of records out (`fields`), which are those of flowlog's own format: write it in that, or \
         leave nothing out"
    )]
    Masked {
        /// The output as written.
        output: String,
    },
    /// A format alone.
    #[error("output `{output}` names a format and no place: write `{output}stdout` or `{output}FILE`")]
    NoPlace {
        /// The output as written.
        output: String,
    },
    /// The directory is not there; flowlog does not guess owner and mode of directories.
    #[error("cannot write to {}: the directory {} does not exist; create it first", path.display(), directory.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
    },
    /// The file cannot be opened.
    #[error("cannot open {} for appending: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What cannot be renamed.
    #[error(
        "output `{output}` is to be rotated (`rotate`) and is no file of its own: name a file, and no link to one"
    )]
    NotRotated {
        /// The output as written.
        output: String,
    },
    /// Standard output is closed.
    #[error("standard output cannot be used: {source}")]
    Stdout {
        /// What the system said.
        source: io::Error,
    },
    /// A place that is none.
    #[error("output `{output}` cannot be used: {why}")]
    Place {
        /// The output as written.
        output: String,
        /// What is wrong with it.
        why: String,
    },
    /// What a way over the network takes is not there.
    #[error("output `{output}` cannot be used: {source}")]
    Remote {
        /// The output as written.
        output: String,
        /// What happened.
        source: io::Error,
    },
    /// What is on disk already needs no place on disk to wait.
    #[error("output `{output}` has a `spool`, which is for outputs over the network alone: leave it out")]
    NotSpooled {
        /// The output as written.
        output: String,
    },
    /// The folder in which lines are to wait cannot be used.
    #[error("output `{output}` cannot have its lines wait in {}: {source}", folder.display())]
    Spool {
        /// The output as written.
        output: String,
        /// The folder.
        folder: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// No thread could be started.
    #[error("no writer thread for `{output}`: {source}")]
    Thread {
        /// The output as written.
        output: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Every sink of a run.
#[derive(Debug)]
pub struct Sinks {
    sinks: Vec<Sink>,
    /// One of them is not given everything.
    select: bool,
    closed: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Sink {
    name: String,
    format: Format,
    selection: Selection,
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
    /// What it has on disk is delivered by another thread.
    delivery: Option<Delivery>,
}

impl Sinks {
    /// Open every output and start its writer. `encoder` makes the sinks' own `loss`
    /// records, in formats that it has; in `ledger`, if there is one, writers mark what they are writing.
    pub fn start(
        outputs: &[Request],
        encoder: &Encoder,
        limits: QueueLimits,
        ledger: Option<&'static Ledger>,
    ) -> Result<Self, SinkError> {
        validate(outputs, encoder.formats())?;
        let opening = |(number, request)| Opening { request, run: encoder.run(), number };
        let opened = outputs.iter().enumerate().map(opening).map(|opening| opened(&opening, limits));
        // Nothing is written where one of them cannot be opened.
        let opened: Vec<Opened> = opened.collect::<Result<_, _>>()?;
        Self::write_to(opened, outputs, encoder, ledger)
    }

    /// Start the writers of outputs that are open.
    fn write_to(
        opened: Vec<Opened>,
        outputs: &[Request],
        encoder: &Encoder,
        ledger: Option<&'static Ledger>,
    ) -> Result<Self, SinkError> {
        let (tell_closed, closed) = watch::channel(false);
        // The agent ends with its only reader; one of several outputs ends alone.
        let tell_closed = (outputs.len() == 1).then_some(tell_closed);
        let sinks = opened.into_iter().zip(outputs).map(|(opened, request)| {
            let marks = match ledger {
                None => Marks::None,
                Some(ledger) if outputs.len() == 1 && !opened.output.goes_together() => Marks::Each(ledger),
                Some(ledger) => Marks::Spread(ledger),
            };
            let format = request.destination().format;
            let encoder = encoder.clone().in_formats(format);
            let Opened { queue, output, delivery } = opened;
            let writer = Writer::new(Arc::clone(&queue), output, encoder, tell_closed.clone(), marks);
            let writer = writer.masked(request.mask.clone());
            Ok(Sink { delivery, ..Sink::start(request, format, queue, writer)? })
        });
        let select = outputs.iter().any(|request| !request.selection.is_everything());
        Ok(Self { sinks: sinks.collect::<Result<_, _>>()?, select, closed })
    }

    /// Which outputs a record with these facts is for. Losses, and what tells of the agent, are for all of them.
    pub fn wanted(&self, facts: &impl Facts) -> Wanted {
        if !self.select {
            return Wanted::BY_ALL;
        }
        let wanting = self.sinks.iter().enumerate().filter(|(_, sink)| sink.selection.wants(facts));
        wanting.fold(Wanted::BY_NONE, |wanted, (output, _)| wanted.and_by(output))
    }

    /// The formats that the outputs among these have.
    pub fn formats(&self, wanted: Wanted) -> Formats {
        let wanting = self.sinks.iter().enumerate().filter(|(output, _)| wanted.is_by(*output));
        Formats::of(wanting.map(|(_, sink)| sink.format))
    }

    /// Hand lines to every sink that they are for. Returns at once, whatever the destinations do.
    ///
    /// No copy stays behind: the duty to tell ends with the last one, and that is to be a writer's.
    pub fn offer(&self, lines: impl IntoIterator<Item = Line, IntoIter: ExactSizeIterator>) {
        let lines = lines.into_iter();
        if lines.len() == 0 {
            return;
        }
        match &*self.sinks {
            [] => {}
            // What it does not want was not made.
            [sink] => sink.queue.offer(lines),
            _ if self.select => self.offer_selected(lines.collect()),
            [others @ .., last] => {
                let lines: Vec<Line> = lines.collect();
                for sink in others {
                    sink.queue.offer(lines.iter().map(|line| line.to_format(sink.format)));
                }
                last.queue.offer(lines.into_iter().map(|line| line.into_format(last.format)));
            }
        }
    }

    /// Each its share. Shares are made before any is offered: no copy is left here, and the last share that is offered has the
    /// duty to tell of what is in it.
    fn offer_selected(&self, lines: Vec<Line>) {
        let mut shares: Vec<(Vec<Line>, u64)> = self.sinks.iter().map(|_| Default::default()).collect();
        for line in lines {
            let Some(last) = (0..self.sinks.len()).rfind(|output| line.is_wanted_by(*output)) else {
                continue;
            };
            for (output, (sink, (share, unselected))) in self.sinks.iter().zip(&mut shares).enumerate() {
                if !line.is_wanted_by(output) {
                    *unselected = unselected.saturating_add(line.content().attempts());
                } else if output != last {
                    share.push(line.to_format(sink.format));
                }
            }
            if let (Some(sink), Some((share, _))) = (self.sinks.get(last), shares.get_mut(last)) {
                share.push(line.into_format(sink.format));
            }
        }
        for (sink, (share, unselected)) in self.sinks.iter().zip(shares) {
            sink.queue.pass_over(unselected);
            if !share.is_empty() {
                sink.queue.offer(share);
            }
        }
    }

    /// Open every file anew (after a log rotation).
    pub fn reopen(&self) {
        for sink in &self.sinks {
            sink.queue.ask_reopen();
        }
    }

    /// Ready when the reader of standard output is gone and that is the only output: the agent is to end, orderly and with exit
    /// code 0. Never ready where anything else is written.
    pub async fn closed(&self) {
        let mut closed = self.closed.clone();
        if closed.wait_for(|closed| *closed).await.is_err() {
            // Every writer has ended without telling: whoever ends them knows.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the only output was standard output, and its reader is gone.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Wait until all that was offered so far is written and every loss is told; false where that did not
    /// happen in time. Blocks the calling thread.
    pub fn flush(&self, within: Duration) -> bool {
        let deadline = deadline(within);
        self.sinks.iter().all(|sink| sink.queue.wait_idle(deadline))
    }

    /// What every sink wrote and lost so far.
    pub fn counters(&self) -> BTreeMap<String, SinkCounters> {
        self.sinks.iter().map(|sink| (sink.name.clone(), sink.counters())).collect()
    }

    /// How every sink stands.
    pub fn states(&self) -> BTreeMap<String, SinkState> {
        self.sinks.iter().map(|sink| (sink.name.clone(), sink.state())).collect()
    }

    /// Write what waits, sync files, end the writers; what could not be written in time is counted as lost.
    /// Blocks the calling thread.
    pub fn finish(self, within: Duration) -> BTreeMap<String, SinkCounters> {
        let deadline = deadline(within);
        for sink in &self.sinks {
            sink.queue.ask_end(deadline);
            if let Some(delivery) = &sink.delivery {
                delivery.ask_end(deadline);
            }
        }
        self.sinks.into_iter().map(|sink| sink.finish(deadline)).collect()
    }
}

impl Sink {
    fn start(
        request: &Request,
        format: Format,
        queue: Arc<Queue>,
        writer: Writer,
    ) -> Result<Self, SinkError> {
        let name = &request.to;
        let thread = std::thread::Builder::new()
            .name("flowlog-sink".into())
            .spawn(move || writer.run())
            .map_err(|source| SinkError::Thread { output: name.clone(), source })?;
        let selection = request.selection.clone();
        Ok(Self { name: name.clone(), format, selection, queue, thread, delivery: None })
    }

    fn state(&self) -> SinkState {
        let spool = self.delivery.as_ref().map(Delivery::state);
        SinkState { spool, counters: self.counters(), ..self.queue.state() }
    }

    fn counters(&self) -> SinkCounters {
        let spool = self.delivery.as_ref().map(|delivery| delivery.state().counters());
        SinkCounters { spool, ..self.queue.counters() }
    }

    fn finish(self, deadline: Instant) -> (String, SinkCounters) {
        // A writer that is stuck in the middle of a write to a full pipe is left behind, its lines counted.
        if self.queue.wait_ended(deadline) && self.thread.join().is_err() {
            tracing::error!(sink = self.name, "the writer thread ended by a panic");
        }
        let mut counters = self.queue.counters();
        counters.spool = self.delivery.map(|delivery| delivery.finish(deadline).counters());
        (self.name, counters)
    }
}

/// The formats that these outputs have.
pub fn formats(outputs: &[Request]) -> Formats {
    Formats::of(outputs.iter().map(|output| output.destination().format))
}

/// Whether lines of these formats can be written to all of these.
fn validate(outputs: &[Request], formats: Formats) -> Result<(), SinkError> {
    if outputs.is_empty() {
        return Err(SinkError::NoOutput);
    }
    if outputs.len() > Wanted::MOST {
        return Err(SinkError::TooMany { count: outputs.len() });
    }
    let mut places: Vec<Destination<'_>> = Vec::new();
    for request in outputs {
        let destination = request.destination();
        let output = || request.to.clone();
        if places.iter().any(|other| other.is_same_place(destination)) {
            return Err(SinkError::Twice { output: output() });
        }
        if let Some(name) = destination.unknown_format() {
            return Err(SinkError::UnknownFormat { output: output(), name: name.to_owned() });
        }
        if destination.place.is_empty() {
            return Err(SinkError::NoPlace { output: output() });
        }
        if destination.format != Format::Flowlog && !request.mask.is_nothing() {
            return Err(SinkError::Masked { output: output() });
        }
        if !formats.has(destination.format) {
            return Err(SinkError::Format { output: output() });
        }
        if request.spool.is_some() && !remote::is_remote(destination.place) {
            return Err(SinkError::NotSpooled { output: output() });
        }
        places.push(destination);
    }
    Ok(())
}

fn deadline(within: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(within).unwrap_or(now)
}

/// An output, opened.
struct Opened {
    queue: Arc<Queue>,
    output: Box<dyn Output>,
    delivery: Option<Delivery>,
}

fn opened(opening: &Opening<'_>, limits: QueueLimits) -> Result<Opened, SinkError> {
    let queue = Arc::new(Queue::new(limits));
    let (kind, output) = open(opening)?;
    let Some(place) = &opening.request.spool else { return Ok(Opened { queue, output, delivery: None }) };
    let (output, delivery) = spool::open(place, kind, output, Arc::clone(&queue), &opening.request.to)?;
    Ok(Opened { queue, output, delivery: Some(delivery) })
}

fn open(opening: &Opening<'_>) -> Result<(&'static str, Box<dyn Output>), SinkError> {
    let kind = kind_of(opening.place())?;
    tracing::debug!(kind = kind.name, output = opening.request.to, "open the output");
    Ok((kind.name, (kind.open)(opening)?))
}

fn kind_of(place: &str) -> Result<&'static SinkKind, SinkError> {
    KINDS.iter().find(|kind| (kind.takes)(place)).ok_or_else(|| remote::unknown(place))
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod selection_tests;
#[cfg(test)]
mod tests;
