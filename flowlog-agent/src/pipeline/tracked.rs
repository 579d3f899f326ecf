//! The backend of a service that no hook on this node has shown: asked of connection tracking, where that is wanted.

use super::correlate::{Origin, Tried};
use crate::capture::{Conntrack, Tracked};
use crate::model::Protocol;
use crate::telemetry::RateLimit;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The step before attribution.
pub(super) struct Backends {
    conntrack: Option<Conntrack>,
    /// Connections whose backend was found so.
    pub(super) found: u64,
    /// Such that connection tracking knows nothing of, or does not tell.
    pub(super) missed: u64,
    /// Such that were not asked for, since too many were.
    pub(super) spared: u64,
    warning: RateLimit,
}

impl Backends {
    pub(super) fn new(conntrack: Option<Conntrack>) -> Self {
        let warning = RateLimit::new(Duration::from_secs(60));
        Self { conntrack, found: 0, missed: 0, spared: 0, warning }
    }

    /// Where an opener's packets went, if it dialed a service and nothing else has told.
    pub(super) fn look_up(
        &mut self,
        tried: &mut Tried,
        is_service: impl FnOnce(SocketAddr, Protocol) -> bool,
    ) {
        let Some(conntrack) = &mut self.conntrack else { return };
        let (Origin::Opener, None, Some(opener)) = (tried.origin, tried.taken, tried.opener) else { return };
        if !is_service(tried.requested, tried.protocol) {
            return;
        }
        match conntrack.find(tried.protocol, opener, tried.requested) {
            // Its own address: nothing was translated.
            Ok(Tracked::Backend(backend)) if backend == tried.requested => self.missed += 1,
            Ok(Tracked::Backend(backend)) => {
                self.found += 1;
                tried.taken = Some(backend);
            }
            Ok(Tracked::Nothing) => self.missed += 1,
            Ok(Tracked::Spared) => self.spared += 1,
            Err(error) => {
                self.missed += 1;
                if let Some(held) = self.warning.pass(Instant::now()) {
                    tracing::warn!(%error, held, "connection tracking does not tell the backend of a service");
                }
            }
        }
    }
}
