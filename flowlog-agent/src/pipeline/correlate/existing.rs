//! Connections that are older than the agent. They come before anything that the hooks saw, and are told a moment later:
//! what the hooks saw of the same socket meanwhile is known by then.

use super::{AFTER_HANDSHAKE_NS, Correlator, NOWHERE, Origin, Told, entry};
use crate::model::Observation;
use crate::pipeline::conclude::End;

impl Correlator {
    /// A socket that was connected, or connecting. Openers' come first.
    pub(super) fn existing(&mut self, seen: Observation, opened: bool, connected: bool, out: &mut Vec<Told>) {
        let (near, far) = (seen.local.unwrap_or(NOWHERE), seen.remote.unwrap_or(NOWHERE));
        let cookie = seen.cookie.unwrap_or_else(|| self.synthetic_cookie(&seen));
        if self.sockets.contains(&cookie) || self.paired.contains(cookie) {
            self.unmatched.existing_known += 1;
            return;
        }
        let (protocol, due_ns) = (seen.protocol, seen.boot_ns + AFTER_HANDSHAKE_NS);
        let mut entry = if opened {
            self.by_opener.insert((protocol, near), cookie);
            entry(seen, Origin::Opener, far, cookie, due_ns)
        } else if let Some(opener) = self.opener_mut(protocol, far, near) {
            // One connection, both ends of which are on this node.
            if near != opener.tried.requested {
                opener.tried.taken = Some(near);
            }
            self.unmatched.existing_paired += 1;
            self.paired.insert(cookie);
            return;
        } else {
            let mut entry = entry(seen, Origin::Listener, near, cookie, due_ns);
            entry.tried.opener = Some(far);
            entry
        };
        entry.tried.existing = true;
        entry.facts.existing = true;
        entry.facts.syn_sent = true;
        if connected {
            entry.facts.end = End::Found;
        }
        self.insert(cookie, entry, out);
    }

    /// Its attempt, or its handshake, was seen after all: it came to be while the hooks were attached.
    pub(super) fn forget_existing(&mut self, cookie: u64) {
        let known = self.sockets.peek(&cookie);
        if known.is_some_and(|entry| entry.tried.existing && entry.told.is_none()) {
            self.unmatched.existing_known += 1;
            self.forget(Some(cookie));
        }
    }
}
