//! The agents' logs in a cluster: each pod's is a log among others.

use super::merge::{Lane, Source};
use super::sift::Sifting;
use crate::cluster::watch::{self, Access, AgentNews, Bell, Piece, PodLog, Reach, Timing, Wanted};
use crate::commands::logs::{Blocks, Step};
use crate::commands::source;
use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use jiff::Timestamp;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, unbounded_channel};

/// How often is looked for pods that came.
const LOOK: Duration = Duration::from_secs(5);

/// Which cluster, and where in it the agents are.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LiveArgs {
    /// Read the agents' logs in the cluster, as kubectl finds it: KUBECONFIG, ~/.kube/config, in a pod its service account.
    #[arg(long, conflicts_with_all = ["paths", "logs"])]
    live: bool,
    /// The same by this kubeconfig.
    #[arg(long, env = "FLOWLOG_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The same by this context of the kubeconfig; default: its current one.
    #[arg(long, env = "FLOWLOG_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// Namespace of the agents.
    #[arg(long, value_name = "NAMESPACE", default_value = "flowlog")]
    agent_namespace: String,
    /// Labels of their pods, as a selector.
    #[arg(long, value_name = "SELECTOR", default_value = "app.kubernetes.io/name=flowlog")]
    agent_selector: String,
}

/// A cluster whose agents' logs are read.
pub(super) struct Live {
    news: UnboundedReceiver<AgentNews>,
    bell: mpsc::Receiver<()>,
    /// Something could not be read.
    troubled: bool,
    is_over: bool,
}

impl LiveArgs {
    /// A cluster is named.
    pub(super) fn is_asked_for(&self) -> bool {
        self.live || self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Begin to read.
    pub(super) fn begin(&self, follow: bool, since: Option<Timestamp>) -> anyhow::Result<Live> {
        let runtime = source::runtime()?;
        let access = Access::User { file: self.kubeconfig.clone(), context: self.context.clone() };
        let reach = runtime.block_on(Reach::find(&access))?;
        let wanted = Wanted {
            namespace: self.agent_namespace.clone(),
            selector: self.agent_selector.clone(),
            container: "flowlog".to_owned(),
            follow,
            since,
            look: LOOK,
        };
        let ((tell, news), (ring, bell)) = (unbounded_channel(), mpsc::sync_channel(1));
        thread::Builder::new()
            .name("flowlog-observe".to_owned())
            .spawn(move || {
                let failed = tell.clone();
                let read = watch::read_agents(&reach, wanted, Timing::default(), tell, Bell(ring));
                if let Err(error) = runtime.block_on(read) {
                    // Who asked is told, where he still listens.
                    let _ = failed.send(AgentNews::Failed(error.to_string()));
                }
                runtime.shutdown_background();
            })
            .context("start what reads the agents' logs")?;
        Ok(Live { news, bell, troubled: false, is_over: false })
    }
}

impl Live {
    /// What came since; what could not be read is told.
    pub(super) fn look(&mut self, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Vec<Lane>> {
        let mut lanes = Vec::new();
        loop {
            match self.news.try_recv() {
                Ok(AgentNews::Pod(log)) => {
                    lanes.push(Lane::new(Box::new(Pod::new(log)), Timestamp::MIN));
                }
                Ok(AgentNews::Trouble(what)) => {
                    self.troubled = true;
                    tell(&what);
                }
                Ok(AgentNews::Failed(what)) => anyhow::bail!("the agents' logs cannot be read: {what}"),
                Err(TryRecvError::Empty) => return Ok(lanes),
                Err(TryRecvError::Disconnected) => {
                    self.is_over = true;
                    return Ok(lanes);
                }
            }
        }
    }

    /// Nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Something of it could not be read.
    pub(super) fn has_failed(&self) -> bool {
        self.troubled
    }

    /// Until something comes.
    pub(super) fn wait(&self, limit: Duration) {
        // Whoever rings may have ended: what he told is still to be taken, and then there is nothing to wait for.
        let _ = self.bell.recv_timeout(limit);
    }
}

/// A pod's log as it comes.
struct Pod {
    name: String,
    pieces: Pieces,
    read: Arc<AtomicI64>,
    blocks: Blocks,
    begun: bool,
}

struct Pieces {
    receiver: Receiver<Piece>,
    now: Bytes,
    /// It was taken up again.
    anew: bool,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.receiver.try_recv() {
                Ok(Piece::Bytes(bytes)) => self.now = bytes,
                Ok(Piece::Anew) => {
                    self.anew = true;
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Err(TryRecvError::Empty) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryRecvError::Disconnected) => return Ok(0),
            }
        }
        let count = into.len().min(self.now.len());
        self.now.copy_to_slice(into.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

impl Pod {
    fn new(log: PodLog) -> Self {
        let pieces = Pieces { receiver: log.pieces, now: Bytes::new(), anew: false };
        Self { name: log.pod, pieces, read: log.read, blocks: Blocks::default(), begun: false }
    }
}

impl Source for Pod {
    fn step(&mut self, into: &mut Sifting<'_>) -> Step {
        if !std::mem::replace(&mut self.begun, true) {
            into.trail.begin(&self.name);
            into.trail.is_mixed = true;
        }
        let step = self.blocks.step(&mut self.pieces, false, into);
        if std::mem::take(&mut self.pieces.anew) {
            self.blocks.forget();
            into.trail.begin(&self.name);
        }
        // That of the last line, and not the latest: a clock may have been set back.
        if let Some(time) = into.trail.last_time {
            self.read.store(time.as_second(), Ordering::Relaxed);
        }
        if step == Step::End {
            self.blocks.end(into);
        }
        step
    }
}
