//! Outputs over the network: each is a place by its scheme, a way to it (`dial.rs`), and a protocol of its own.
//!
//! A write goes out on the sink's own thread, under a time-out. What the far end confirms is written; what it refuses for
//! good is told as lost; all else is tried again, so that a line can come twice and none is missed in silence.

mod certificate;
mod dial;
mod halving;
pub(super) mod http;
pub(super) mod kafka;
mod needs;
mod place;
mod probe;
mod proxy;
mod secret;
pub(super) mod syslog;
mod tls;

pub use needs::{Needs, needs};
pub(super) use place::is_remote;
pub use proxy::ProxyPlace;

use super::SinkError;
use place::Place;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no such output.
pub(super) fn unknown(place: &str) -> SinkError {
    match Place::of(place) {
        Err(error) => error,
        Ok(_) => SinkError::NoOutput,
    }
}

/// What goes through no proxy.
fn refuse_proxy(place: &str, remote: &Remote) -> Result<(), SinkError> {
    let why = "a `proxy` is for outputs over HTTP alone: leave it out".to_owned();
    if remote.proxy.is_some() { Err(SinkError::Place { output: place.to_owned(), why }) } else { Ok(()) }
}

/// How an output over the network is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Certificates of the authorities that its certificate may be of, PEM; default: this host's.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, PEM, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A file with the token that lets us in.
    pub token_file: Option<PathBuf>,
    /// A user's name, and a file with the password.
    pub user: Option<(String, PathBuf)>,
    /// How long a connection, or an answer, may take.
    pub timeout: Duration,
    /// Most bytes of lines that go together.
    pub batch_bytes: usize,
    /// How long lines wait for others to go with them.
    pub linger: Duration,
    /// Whether what is sent is compressed, where the protocol knows how.
    pub compressed: bool,
    /// Over HTTP: the proxy that it goes through.
    pub proxy: Option<ProxyPlace>,
}

impl Default for Remote {
    fn default() -> Self {
        Self {
            ca_file: None,
            certificate: None,
            token_file: None,
            user: None,
            timeout: Duration::from_secs(10),
            batch_bytes: 1 << 20,
            linger: Duration::from_secs(1),
            compressed: false,
            proxy: None,
        }
    }
}
