//! Connections: from the connect call to the close, at the opener and at the listener.

use super::packets::take_packet;
use super::{
    AFTER_HANDSHAKE_NS, Correlator, Entry, NO_SYN_NS, NOWHERE, ORPHAN_NS, Origin, Surroundings, Told, Totals,
    entry, tell,
};
use crate::model::{Fact, Observation, Protocol, RoundTrip, State};
use crate::pipeline::conclude::End;
use std::net::SocketAddr;

impl Correlator {
    pub(super) fn attempt(&mut self, seen: Observation, around: &impl Surroundings, out: &mut Vec<Told>) {
        // Linux takes connect to port 0 of the unspecified address; it goes nowhere, but it is an attempt.
        let requested = seen.remote.unwrap_or(NOWHERE);
        let cookie = seen.cookie.unwrap_or_else(|| self.synthetic_cookie(&seen));
        let (boot_ns, protocol) = (seen.boot_ns, seen.protocol);
        self.forget_existing(cookie);
        let mut entry = entry(seen, Origin::Opener, requested, cookie, boot_ns + NO_SYN_NS);
        let service = around.is_service(requested, protocol);
        entry.name(around);
        self.connecting.insert(cookie, boot_ns, protocol, requested, service);
        self.insert(cookie, entry, out);
    }

    pub(super) fn established(
        &mut self,
        seen: &mut Observation,
        syn_retries: u32,
        around: &impl Surroundings,
        out: &mut Vec<Told>,
    ) {
        let Some(entry) = self.known_or_new(seen, around, out) else { return };
        entry.facts.end = End::Established;
        entry.facts.syn_retries = syn_retries;
        // When an existing one was begun is not known.
        entry.tried.connect_ns = (!entry.tried.existing).then(|| seen.boot_ns.saturating_sub(entry.boot_ns));
        entry.established_ns = Some(seen.boot_ns);
        let due_ns = seen.boot_ns + AFTER_HANDSHAKE_NS;
        self.postpone(seen.cookie, due_ns);
    }

    pub(super) fn failed(&mut self, seen: &mut Observation, around: &impl Surroundings, out: &mut Vec<Told>) {
        let Fact::Failed { errno, error_consumed, syn_retries } = seen.fact else { return };
        let Some(entry) = self.known_or_new(seen, around, out) else { return };
        entry.facts.end = End::Failed(errno);
        entry.facts.error_consumed |= error_consumed;
        entry.facts.syn_retries = entry.facts.syn_retries.max(syn_retries);
        let is_given_up = entry.facts.state(entry.tried.protocol) == State::Aborted;
        if is_given_up && entry.told.is_none() {
            // Its SYN may still be on its way: on a busy CPU the node's filter sees it after the process has closed.
            let due_ns = seen.boot_ns + ORPHAN_NS;
            self.postpone(seen.cookie, due_ns);
            return;
        }
        if let Some(cookie) = seen.cookie {
            self.conclude(cookie, out);
        }
    }

    pub(super) fn closed(&mut self, seen: &mut Observation, out: &mut Vec<Told>) {
        let Some(cookie) = seen.cookie else { return };
        if self.paired.remove(cookie) {
            return;
        }
        let Fact::Closed { bytes_sent, bytes_received, retransmits, srtt_us } = seen.fact else { return };
        let (retransmits, srtt) = (u64::from(retransmits), RoundTrip::of(srtt_us));
        let mut totals = Totals { duration_ns: None, bytes_sent, bytes_received, retransmits, srtt };
        if !self.sockets.contains(&cookie)
            && let (Some(cgroup_id), Some(local), Some(remote)) = (seen.cgroup_id, seen.local, seen.remote)
        {
            let (protocol, boot_ns) = (seen.protocol, seen.boot_ns);
            let receipts = seen.receipts.take();
            out.push(Told::ClosedUnannounced {
                cgroup_id,
                protocol,
                local,
                remote,
                boot_ns,
                totals,
                receipts,
            });
            return;
        }
        let receipts = seen.receipts.take();
        let Some(entry) = self.known(seen) else { return };
        let since_ns = entry.established_ns.or((!entry.tried.existing).then_some(entry.boot_ns));
        totals.duration_ns = since_ns.map(|since_ns| seen.boot_ns.saturating_sub(since_ns));
        // It may have been established, and closed, since something else was told of it.
        let told = entry.facts.state(entry.tried.protocol);
        if entry.told == Some(told) {
            out.push(Told::Closed { id: entry.tried.id, time: seen.time, totals, receipts });
            self.forget(Some(cookie));
        } else {
            entry.tried.closed = Some(totals);
            entry.tried.receipts.add(receipts);
            self.conclude(cookie, out);
        }
    }

    /// The listener's side. Where the opener is known here it is one flow, told at the opener.
    pub(super) fn inbound(&mut self, mut seen: Observation, around: &impl Surroundings, out: &mut Vec<Told>) {
        let (Some(cookie), Some(listener), Some(opener)) = (seen.cookie, seen.local, seen.remote) else {
            return;
        };
        self.forget_existing(cookie);
        if let Some(entry) = self.opener_mut(seen.protocol, opener, listener) {
            entry.facts.accepted = true;
            if listener != entry.tried.requested {
                entry.tried.taken = Some(listener);
            }
            entry.hold(seen.receipts.take());
            self.unmatched.accepts_paired += 1;
            self.paired.insert(cookie);
            return;
        }
        if around.is_counted(opener.ip(), listener) {
            self.unmatched.accepts_paired += 1;
            self.paired.insert(cookie);
            return;
        }
        let boot_ns = seen.boot_ns;
        let mut entry = entry(seen, Origin::Listener, listener, cookie, boot_ns + AFTER_HANDSHAKE_NS);
        entry.tried.opener = Some(opener);
        entry.facts.accepted = true;
        entry.established_ns = Some(boot_ns);
        self.insert(cookie, entry, out);
    }

    pub(super) fn retransmitted(
        &mut self,
        seen: &mut Observation,
        around: &impl Surroundings,
        out: &mut Vec<Told>,
    ) {
        let Some(entry) = self.known_or_new(seen, around, out) else { return };
        entry.facts.syn_retries = entry.facts.syn_retries.max(1);
        entry.facts.syn_sent = true;
        if entry.told.is_none() {
            tell(entry, out);
        }
    }

    /// The socket that this was seen of, its addresses brought up to date.
    pub(super) fn known(&mut self, seen: &mut Observation) -> Option<&mut Entry> {
        let cookie = seen.cookie?;
        let Some(entry) = self.sockets.get_mut(&cookie) else {
            self.unmatched.outcomes += 1;
            return None;
        };
        self.connecting.remove(cookie);
        entry.tried.last = entry.tried.last.max(seen.time);
        entry.hold(seen.receipts.take());
        if entry.tried.origin == Origin::Opener {
            if let Some(local) = seen.local.filter(|local| local.port() != 0) {
                entry.facts.syn_sent = true;
                entry.tried.opener = Some(local);
                if entry.found_by != Some(local) {
                    entry.found_by = Some(local);
                    self.by_opener.insert((seen.protocol, local), cookie);
                }
            }
            // A socket load balancer between our hook and the socket shows its backend here.
            if let Some(remote) = seen.remote.filter(|remote| *remote != entry.tried.requested) {
                entry.tried.taken = entry.tried.taken.or(Some(remote));
            }
        }
        Some(entry)
    }

    /// The same; where its attempt was no event, since its kind is counted, this stands for it. Where it was lost, this
    /// tells of it all the same.
    pub(super) fn known_or_new(
        &mut self,
        seen: &mut Observation,
        around: &impl Surroundings,
        out: &mut Vec<Told>,
    ) -> Option<&mut Entry> {
        if let (Some(cookie), Some(cgroup_id), Some(remote)) = (seen.cookie, seen.cgroup_id, seen.remote)
            && (!self.sockets.contains(&cookie) || self.was_passed_over(cookie, seen))
            && (seen.untold || around.counts(cgroup_id, remote, seen.protocol))
        {
            self.forget(Some(cookie));
            let due_ns = seen.boot_ns + NO_SYN_NS;
            let mut entry = entry(seen.clone(), Origin::Opener, remote, cookie, due_ns);
            entry.known = !seen.receipts.are_news();
            entry.tried.unannounced = !seen.untold;
            self.unmatched.unannounced += u64::from(!seen.untold);
            entry.name(around);
            let packet = seen.local.and_then(|local| self.packets.pop(&(seen.protocol, local, remote)));
            if let Some(mut orphan) = packet {
                take_packet(&mut entry, &orphan.observation);
                entry.hold(orphan.observation.receipts.take());
                if let Some((id, state)) = orphan.flow {
                    self.unmatched.adopted += u64::from(!seen.untold);
                    entry.tried.id = id;
                    entry.told = Some(state);
                }
            }
            self.insert(cookie, entry, out);
        }
        self.known(seen)
    }

    /// The opener's side of an accepted connection. Loopback addresses are the same in every network namespace,
    /// so there the listener's must be the one that was asked for.
    pub(super) fn opener_mut(
        &mut self,
        protocol: Protocol,
        opener: SocketAddr,
        listener: SocketAddr,
    ) -> Option<&mut Entry> {
        let cookie = self.by_opener.get(&(protocol, opener))?;
        let entry = self.sockets.get_mut(cookie)?;
        let same = !opener.ip().is_loopback() || entry.tried.requested == listener;
        (entry.tried.origin == Origin::Opener && same).then_some(entry)
    }
}
