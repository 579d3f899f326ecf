//! Dropped packets: joined to their attempt, or flows of their own.

use super::{
    AFTER_DROP_NS, Correlator, Entry, FIRST_EPHEMERAL, ORPHAN_NS, Origin, Orphan, PACKET_KEPT_NS, PacketKey,
    Surroundings, Told, Tried, entry, tell,
};
use crate::model::{Drop, DropPlace, Fact, FlowId, Observation, Protocol, State};
use crate::pipeline::conclude::End;
use std::net::SocketAddr;

impl Correlator {
    pub(super) fn dropped(&mut self, mut seen: Observation, around: &impl Surroundings, out: &mut Vec<Told>) {
        let (Some(source), Some(destination)) = (seen.local, seen.remote) else { return };
        let due_ns = seen.boot_ns + AFTER_DROP_NS;
        if let Some(cookie) = self.find_opener(&seen, source, destination, around) {
            let Some(entry) = self.sockets.get_mut(&cookie) else { return };
            if entry.peering.is_some() {
                self.drop_to_peer(cookie, &mut seen, out);
                return;
            }
            take_packet(entry, &seen);
            entry.hold(seen.receipts.take());
            let open = entry.told.is_none() && entry.facts.end == End::Open;
            self.connecting.remove(cookie);
            self.by_opener.insert((seen.protocol, source), cookie);
            if open {
                self.postpone(Some(cookie), due_ns);
            } else if seen.protocol != Protocol::Tcp {
                self.tell_again(cookie, out);
            }
            return;
        }
        if self.by_opener.contains_key(&(seen.protocol, destination))
            || (seen.protocol == Protocol::Udp && self.is_answer(source, destination, around))
        {
            self.unmatched.replies += 1;
            return;
        }
        let key = (seen.protocol, source, destination);
        if self.packets.get(&key).is_some() {
            self.unmatched.repeats += 1;
            return;
        }
        let due_ns = seen.boot_ns + ORPHAN_NS;
        self.packets_due.push(due_ns, key);
        let orphan = Orphan { observation: seen, due_ns, told: false, flow: None };
        if let Some((evicted, mut orphan)) = self.packets.push(key, orphan)
            && evicted != key
            && !orphan.told
        {
            self.tell_packet(&mut orphan, around, out);
        }
    }

    /// By the socket's cookie, else by the packet's own address, else by who dialed where it goes.
    pub(super) fn find_opener(
        &self,
        seen: &Observation,
        source: SocketAddr,
        destination: SocketAddr,
        around: &impl Surroundings,
    ) -> Option<u64> {
        if let Some(cookie) = seen.cookie.filter(|cookie| self.sockets.contains(cookie)) {
            return Some(cookie);
        }
        if let Some(cookie) = self.by_opener.get(&(seen.protocol, source)) {
            let entry = self.sockets.peek(cookie)?;
            return leads(&entry.tried, destination, around).then_some(*cookie);
        }
        if seen.protocol != Protocol::Tcp {
            return self.peers.find(seen.protocol, destination, source.ip(), around);
        }
        let leads = |dialed| around.leads_to(dialed, destination, seen.protocol);
        self.connecting.find(seen.protocol, destination, leads, |cookie| {
            let cgroup = self.sockets.peek(&cookie).and_then(|entry| entry.tried.cgroup_id);
            cgroup.and_then(|cgroup| around.owns(cgroup, source.ip())).unwrap_or(true)
        })
    }

    pub(super) fn orphan_due(&mut self, key: PacketKey, around: &impl Surroundings, out: &mut Vec<Told>) {
        let Some(mut orphan) = self.packets.pop(&key) else { return };
        if orphan.told {
            return;
        }
        orphan.told = true;
        orphan.flow = self.tell_packet(&mut orphan, around, out);
        orphan.due_ns += PACKET_KEPT_NS;
        self.packets_due.push(orphan.due_ns, key);
        self.packets.put(key, orphan);
    }

    /// A packet that belongs to no attempt is a flow of its own, unless it is an answer. One that found no socket is a
    /// probe of a closed port, from elsewhere.
    pub(super) fn tell_packet(
        &mut self,
        orphan: &mut Orphan,
        around: &impl Surroundings,
        out: &mut Vec<Told>,
    ) -> Option<(FlowId, State)> {
        let receipts = orphan.observation.receipts.take();
        let seen = &orphan.observation;
        let (source, destination) = (seen.local?, seen.remote?);
        let late = matches!(seen.fact, Fact::Dropped { no_socket: true, .. })
            && looks_like_an_answer(source, destination);
        if seen.protocol == Protocol::Udp && (late || around.serves(source, seen.protocol)) {
            self.unmatched.replies += 1;
            return None;
        }
        let cookie = self.synthetic_cookie_at(receipts.oldest());
        let mut entry =
            entry(Observation { receipts, ..seen.clone() }, Origin::Packet, destination, cookie, 0);
        take_packet(&mut entry, seen);
        tell(&mut entry, out);
        Some((entry.tried.id, entry.told?))
    }
}

/// A datagram to a port where nobody is any more: a resolver that was too slow answers a socket that was closed.
pub(super) fn looks_like_an_answer(source: SocketAddr, destination: SocketAddr) -> bool {
    source.port() < FIRST_EPHEMERAL && destination.port() >= FIRST_EPHEMERAL
}

/// What a dropped packet tells of its attempt. The first drop counts: what follows are repeats.
pub(super) fn take_packet(entry: &mut Entry, seen: &Observation) {
    let Fact::Dropped { reason, no_socket } = &seen.fact else { return };
    entry.facts.syn_sent = true;
    // A repeat of what was told is no news.
    if entry.told.is_none() {
        entry.tried.time = entry.tried.time.min(seen.time);
        entry.tried.last = entry.tried.last.max(seen.time);
    }
    entry.tried.opener = entry.tried.opener.or(seen.local);
    if let Some(destination) = seen.remote.filter(|remote| *remote != entry.tried.requested) {
        entry.tried.taken = entry.tried.taken.or(Some(destination));
    }
    if *no_socket {
        entry.facts.no_socket = true;
    } else if entry.facts.drop.is_none() {
        let own = seen.cookie.is_some() || seen.cgroup_id.is_some();
        let place = if own { DropPlace::Opener } else { DropPlace::Node };
        entry.facts.drop = Some(Drop { reason: reason.clone(), place });
    }
}

pub(super) fn leads(tried: &Tried, destination: SocketAddr, around: &impl Surroundings) -> bool {
    tried.requested == destination
        || tried.taken == Some(destination)
        || around.leads_to(tried.requested, destination, tried.protocol)
}
