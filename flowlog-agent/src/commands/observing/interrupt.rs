//! Ctrl-C, or a request to end: what was read is summed up before.

use crate::commands::source;
use anyhow::Context as _;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tokio::signal::unix::{SignalKind, signal};

/// As a shell tells that a program was ended by SIGINT.
const ENDED: i32 = 130;

/// Whether it came.
#[derive(Clone, Debug, Default)]
pub(in crate::commands) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Have the first one end what is done in order; a second one ends it at once.
    /// With `hangup`, what the end of a terminal sends, too; `nohup` would have it ignored.
    /// `last` is what is to be done before that.
    pub(in crate::commands) fn hold(hangup: bool, last: fn()) -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let (came, runtime) = (Arc::clone(&interrupt.0), source::runtime()?);
        let (mut one, mut other, mut third) = {
            let _within = runtime.enter();
            let kind = if hangup { SignalKind::hangup() } else { SignalKind::terminate() };
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(kind)?)
        };
        thread::Builder::new()
            .name("flowlog-signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        tokio::select! {
                            _ = one.recv() => {}
                            _ = other.recv() => {}
                            _ = third.recv(), if hangup => {}
                        }
                        if came.swap(true, Ordering::Relaxed) {
                            last();
                            process::exit(ENDED);
                        }
                    }
                });
            })
            .context("start what waits for signals")?;
        Ok(interrupt)
    }

    pub(in crate::commands) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
