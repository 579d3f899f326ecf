//! Datagrams whose peer is named in the call. One socket talks to many peers, so a flow is known by the cgroup and the far
//! end; the kernel half tells of the first datagram between the two, and of the first that comes back.

use super::{
    AFTER_HANDSHAKE_NS, AFTER_SEND_NS, Correlator, DATAGRAM_KEPT_NS, Entry, Origin, Surroundings, Told,
    entry, leads, take_packet, tell,
};
use crate::capture::Repeat;
use crate::model::{Direction, DropPlace, Observation, Protocol, Receipts, State};
use crate::pipeline::conclude::End;
use foldhash::{HashMap, HashMapExt};
use lru::LruCache;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

/// Backends of a service by which its packets are known.
const MOST_BACKENDS: usize = 64;

/// How a flow of a socket that is not connected is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peering {
    cgroup_id: u64,
    /// The port that it was sent from.
    near_port: u16,
    /// The far end, and what stands behind it.
    far: Vec<SocketAddr>,
}

/// Flows of sockets that are not connected, by their far ends.
#[derive(Default)]
pub(super) struct Peers {
    by_cgroup: HashMap<(u64, SocketAddr), u64>,
    by_far: HashMap<SocketAddr, Vec<(u64, u64)>>,
}

impl Peers {
    fn get(&self, cgroup_id: u64, far: SocketAddr) -> Option<u64> {
        self.by_cgroup.get(&(cgroup_id, far)).copied()
    }

    fn insert(&mut self, peering: &Peering, cookie: u64) {
        if let Some(far) = peering.far.first() {
            self.by_cgroup.insert((peering.cgroup_id, *far), cookie);
        }
        for far in &peering.far {
            self.by_far.entry(*far).or_default().push((peering.cgroup_id, cookie));
        }
    }

    pub(super) fn remove(&mut self, peering: &Peering, cookie: u64) {
        if let Some(far) = peering.far.first()
            && self.by_cgroup.get(&(peering.cgroup_id, *far)) == Some(&cookie)
        {
            self.by_cgroup.remove(&(peering.cgroup_id, *far));
        }
        for far in &peering.far {
            if let Some(flows) = self.by_far.get_mut(far) {
                flows.retain(|(_, other)| *other != cookie);
                if flows.is_empty() {
                    self.by_far.remove(far);
                }
            }
        }
    }

    fn among(&self, far: SocketAddr) -> &[(u64, u64)] {
        self.by_far.get(&far).map_or(&[], Vec::as_slice)
    }

    /// The flow of a packet from `source` to `far`: of the cgroup that has the address, else of one that may.
    pub(super) fn find(&self, far: SocketAddr, source: IpAddr, around: &impl Surroundings) -> Option<u64> {
        let owned_as = |wanted| {
            let flow = self.among(far).iter().find(|(cgroup, _)| around.owns(*cgroup, source) == wanted);
            flow.map(|(_, cookie)| *cookie)
        };
        owned_as(Some(true)).or_else(|| owned_as(None))
    }
}

/// Datagrams that were taken here.
pub(super) struct Arrivals {
    /// Such as may yet turn out to be of a socket of this node, by the opener's address.
    waiting: HashMap<SocketAddr, u64>,
    /// Opener's address and listener's port of those before.
    known: LruCache<(IpAddr, u16), ()>,
}

impl Arrivals {
    pub(super) fn new(most: NonZeroUsize) -> Self {
        Self { waiting: HashMap::new(), known: LruCache::new(most) }
    }

    pub(super) fn forget(&mut self, opener: SocketAddr, cookie: u64) {
        if self.waiting.get(&opener) == Some(&cookie) {
            self.waiting.remove(&opener);
        }
    }
}

impl Correlator {
    /// The first datagram to a peer, for a while at least.
    pub(super) fn sent_to(&mut self, seen: Observation, around: &impl Surroundings, out: &mut Vec<Told>) {
        let (Some(far), Some(cgroup_id)) = (seen.remote, seen.cgroup_id) else { return };
        self.unmatched.late += u64::from(seen.untold);
        if let Some(before) = self.peers.get(cgroup_id, far) {
            if let Some(entry) = self.sockets.peek_mut(&before).filter(|entry| entry.told.is_none()) {
                tell(entry, out);
            }
            self.forget(Some(before));
        }
        let near_port = seen.local.map_or(0, |local| local.port());
        let mut reached = vec![far];
        reached.extend(around.backends_of(far, seen.protocol).into_iter().take(MOST_BACKENDS));
        let peering = Peering { cgroup_id, near_port, far: reached };
        let cookie = self.synthetic_cookie(&seen);
        let due_ns = seen.boot_ns + AFTER_SEND_NS;
        let mut entry = entry(seen, Origin::Opener, far, cookie, due_ns);
        entry.name(around);
        let (direction, protocol) = (Direction::Egress, entry.tried.protocol);
        entry.tried.peer = Some(Repeat { cgroup_id, direction, protocol, far });
        entry.facts.end = End::Sent;
        entry.tried.opener = entry.tried.opener.or_else(|| near_end(cgroup_id, near_port, far.ip(), around));
        self.peers.insert(&peering, cookie);
        entry.peering = Some(peering);
        self.insert(cookie, entry, out);
    }

    /// The first datagram from a peer to which nothing was sent. Where the opener is known here it is one flow, told at
    /// the opener; the event of a connected socket's send may follow.
    pub(super) fn received(
        &mut self,
        mut seen: Observation,
        around: &impl Surroundings,
        out: &mut Vec<Told>,
    ) {
        let (Some(opener), Some(local), Some(cgroup_id)) = (seen.remote, seen.local, seen.cgroup_id) else {
            return;
        };
        self.arrivals.known.put((opener.ip(), local.port()), ());
        if let Some((cookie, listener)) = self.opener_of(opener, cgroup_id, local.port(), around) {
            self.arrive(cookie, listener, seen.receipts.take(), out);
            return;
        }
        let listener = near_end(cgroup_id, local.port(), opener.ip(), around).unwrap_or(local);
        let cookie = self.synthetic_cookie(&seen);
        let due_ns = seen.boot_ns + AFTER_HANDSHAKE_NS;
        let mut entry = entry(seen, Origin::Listener, listener, cookie, due_ns);
        entry.tried.opener = Some(opener);
        let (direction, protocol) = (Direction::Ingress, entry.tried.protocol);
        let far = SocketAddr::new(opener.ip(), local.port());
        entry.tried.peer = Some(Repeat { cgroup_id, direction, protocol, far });
        entry.facts.accepted = true;
        self.arrivals.waiting.insert(opener, cookie);
        self.insert(cookie, entry, out);
    }

    /// The flow of an opener on this node, and the listener's address.
    fn opener_of(
        &self,
        opener: SocketAddr,
        listener_cgroup: u64,
        port: u16,
        around: &impl Surroundings,
    ) -> Option<(u64, SocketAddr)> {
        let mut addresses = around.addresses_of(listener_cgroup);
        addresses.retain(|address| address.is_ipv4() == opener.is_ipv4());
        if opener.ip().is_loopback() {
            addresses = vec![opener.ip()];
        }
        let listeners: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if let Some(cookie) = self.by_opener.get(&(Protocol::Udp, opener)) {
            let tried = &self.sockets.peek(cookie)?.tried;
            let listener = listeners.iter().find(|listener| leads(tried, **listener, around))?;
            return (tried.origin == Origin::Opener).then_some((*cookie, *listener));
        }
        listeners.into_iter().find_map(|listener| {
            // Loopback addresses are the same in every network namespace, ports hardly.
            let mut flows = self.peers.among(listener).iter();
            let (_, cookie) = flows.find(|(cgroup, cookie)| match opener.ip().is_loopback() {
                true => self.near_port(*cookie) == Some(opener.port()),
                false => around.owns(*cgroup, opener.ip()) == Some(true),
            })?;
            Some((*cookie, listener))
        })
    }

    #[cfg(test)]
    pub(in crate::pipeline) fn peers_held(&self) -> usize {
        self.peers.by_cgroup.len().max(self.peers.by_far.len())
    }

    fn near_port(&self, cookie: u64) -> Option<u16> {
        self.sockets.peek(&cookie)?.peering.as_ref().map(|peering| peering.near_port)
    }

    /// A listener of this node took a datagram of this flow.
    fn arrive(&mut self, cookie: u64, listener: SocketAddr, receipts: Receipts, out: &mut Vec<Told>) {
        self.unmatched.accepts_paired += 1;
        let Some(entry) = self.sockets.get_mut(&cookie) else { return };
        take_accept(entry, listener);
        entry.hold(receipts);
        if entry.told.is_some() {
            tell(entry, out);
        }
    }

    /// A listener took it before its send came back.
    pub(super) fn take_arrival(&mut self, entry: &mut Entry, opener: SocketAddr, around: &impl Surroundings) {
        let Some(cookie) = self.arrivals.waiting.get(&opener).copied() else { return };
        let arrival = self.sockets.peek(&cookie).filter(|arrival| arrival.told.is_none());
        let Some(listener) = arrival.map(|arrival| arrival.tried.requested) else { return };
        if leads(&entry.tried, listener, around) {
            self.unmatched.accepts_paired += 1;
            take_accept(entry, listener);
            if let Some(arrival) = self.sockets.peek_mut(&cookie) {
                entry.hold(arrival.tried.receipts.take());
            }
            self.forget(Some(cookie));
        }
    }

    /// Something came back from a peer: to a connected socket, known by its cookie, or to one that named the peer.
    pub(super) fn answered(&mut self, seen: &mut Observation, out: &mut Vec<Told>) {
        let (Some(far), Some(cgroup_id)) = (seen.remote, seen.cgroup_id) else { return };
        let cookie = seen.cookie.or_else(|| self.peers.get(cgroup_id, far));
        let Some(entry) = cookie.and_then(|cookie| self.sockets.get_mut(&cookie)) else {
            self.unmatched.outcomes += 1;
            return;
        };
        // What went wrong before is over.
        entry.facts.answered = true;
        entry.facts.drop = None;
        entry.facts.no_socket = false;
        entry.facts.error = None;
        entry.tried.last = seen.time;
        entry.hold(seen.receipts.take());
        let kept_ns = seen.boot_ns + DATAGRAM_KEPT_NS;
        tell(entry, out);
        self.postpone(cookie, kept_ns);
    }

    /// A datagram of this flow was dropped: the first, or a later one, which may have another fate.
    pub(super) fn drop_to_peer(&mut self, cookie: u64, seen: &mut Observation, out: &mut Vec<Told>) {
        let Some(entry) = self.sockets.get_mut(&cookie) else { return };
        entry.hold(seen.receipts.take());
        let Some(told) = entry.told else {
            self.unmatched.repeats += u64::from(entry.facts.drop.is_some() || entry.facts.no_socket);
            take_packet(entry, seen);
            let drop = entry.facts.drop.as_ref();
            if drop.is_some_and(|drop| drop.place == DropPlace::Opener) {
                // It never left.
                entry.facts.end = End::Open;
            }
            return;
        };
        if matches!(told, State::Sent | State::Received | State::Answered) {
            entry.facts.answered = false;
            entry.facts.accepted = false;
            take_packet(entry, seen);
            entry.tried.last = seen.time;
            tell(entry, out);
        } else {
            self.unmatched.repeats += 1;
        }
        self.postpone(Some(cookie), seen.boot_ns + DATAGRAM_KEPT_NS);
    }

    /// Whether a dropped datagram is an answer to one that was sent from here, or taken here.
    pub(super) fn is_answer(
        &self,
        source: SocketAddr,
        destination: SocketAddr,
        around: &impl Surroundings,
    ) -> bool {
        self.arrivals.known.contains(&(destination.ip(), source.port()))
            || self
                .peers
                .among(source)
                .iter()
                .any(|(cgroup, _)| around.owns(*cgroup, destination.ip()) == Some(true))
    }
}

fn take_accept(entry: &mut Entry, listener: SocketAddr) {
    entry.facts.accepted = true;
    if listener != entry.tried.requested {
        entry.tried.taken = entry.tried.taken.or(Some(listener));
    }
}

/// The near end of a socket that has no address: a pod that has one of the peer's family has no other.
fn near_end(cgroup_id: u64, port: u16, peer: IpAddr, around: &impl Surroundings) -> Option<SocketAddr> {
    if port == 0 {
        return None;
    }
    if peer.is_loopback() {
        return Some(SocketAddr::new(peer, port));
    }
    let addresses = around.addresses_of(cgroup_id);
    let mut own = addresses.into_iter().filter(|own| own.is_ipv4() == peer.is_ipv4());
    let first = own.next()?;
    own.next().is_none().then_some(SocketAddr::new(first, port))
}
