//! Datagrams whose peer is named in the call, and whatever else is known by its packets. One socket talks to many peers, so
//! a flow is known by the cgroup and the far end; the kernel half tells of the first datagram between the two, and of the
//! first that comes back. ICMP has type and code of its question for a port there.

use super::{
    AFTER_HANDSHAKE_NS, AFTER_SEND_NS, Correlator, DATAGRAM_KEPT_NS, Entry, Origin, Surroundings, Told,
    entry, leads, take_packet, tell,
};
use crate::capture::Repeat;
use crate::model::{Direction, DropPlace, Fact, Observation, Protocol, Receipts, State};
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
    protocol: Protocol,
    /// The port that it was sent from.
    near_port: u16,
    /// The far end, and what stands behind it.
    far: Vec<SocketAddr>,
}

/// Flows of sockets that are not connected, by their far ends.
#[derive(Default)]
pub(super) struct Peers {
    by_cgroup: HashMap<(u64, Protocol, SocketAddr), u64>,
    by_far: HashMap<(Protocol, SocketAddr), Vec<(u64, u64)>>,
}

impl Peers {
    /// The flow that this was seen of, by its far end.
    pub(super) fn of(&self, seen: &Observation) -> Option<u64> {
        self.by_cgroup.get(&(seen.cgroup_id?, seen.protocol, seen.remote?)).copied()
    }

    fn insert(&mut self, peering: &Peering, cookie: u64) {
        if let Some(far) = peering.far.first() {
            self.by_cgroup.insert((peering.cgroup_id, peering.protocol, *far), cookie);
        }
        for far in &peering.far {
            self.by_far.entry((peering.protocol, *far)).or_default().push((peering.cgroup_id, cookie));
        }
    }

    pub(super) fn remove(&mut self, peering: &Peering, cookie: u64) {
        if let Some(far) = peering.far.first()
            && let key = (peering.cgroup_id, peering.protocol, *far)
            && self.by_cgroup.get(&key) == Some(&cookie)
        {
            self.by_cgroup.remove(&key);
        }
        for far in &peering.far {
            let far = (peering.protocol, *far);
            if let Some(flows) = self.by_far.get_mut(&far) {
                flows.retain(|(_, other)| *other != cookie);
                if flows.is_empty() {
                    self.by_far.remove(&far);
                }
            }
        }
    }

    fn among(&self, protocol: Protocol, far: SocketAddr) -> &[(u64, u64)] {
        self.by_far.get(&(protocol, far)).map_or(&[], Vec::as_slice)
    }

    /// The flow of a packet from `source` to `far`: of the cgroup that has the address, else of one that may.
    pub(super) fn find(
        &self,
        protocol: Protocol,
        far: SocketAddr,
        source: IpAddr,
        around: &impl Surroundings,
    ) -> Option<u64> {
        let owned_as = |wanted| {
            let mut flows = self.among(protocol, far).iter();
            let flow = flows.find(|(cgroup, _)| around.owns(*cgroup, source) == wanted);
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
    /// The flows of such as came and may not be taken yet, and when that was.
    came: LruCache<Came, (u64, u64)>,
}

/// By what is known what came: questions by ICMP by the address that is asked, which the kernel answers for all, the rest
/// by the cgroup, which is known when it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Came {
    protocol: Protocol,
    opener: IpAddr,
    listener: Option<IpAddr>,
    cgroup_id: Option<u64>,
    port: u16,
}

impl Came {
    fn of(seen: &Observation) -> Option<Self> {
        let (protocol, opener, local) = (seen.protocol, seen.remote?.ip(), seen.local?);
        let (listener, cgroup_id) = match protocol.is_icmp() {
            true => (Some(local.ip()), None),
            false => (None, seen.cgroup_id),
        };
        Some(Self { protocol, opener, listener, cgroup_id, port: local.port() })
    }
}

/// A raw socket has its copy of a question before the kernel answers it.
const COPY_NS: u64 = 1_000_000_000;

impl Arrivals {
    pub(super) fn new(most: NonZeroUsize) -> Self {
        Self { waiting: HashMap::new(), known: LruCache::new(most), came: LruCache::new(most) }
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
        if let Some(before) = self.peers.of(&seen) {
            if let Some(entry) = self.sockets.peek_mut(&before).filter(|entry| entry.told.is_none()) {
                tell(entry, out);
            }
            self.forget(Some(before));
        }
        let near_port = seen.local.map_or(0, |local| local.port());
        let mut reached = vec![far];
        reached.extend(around.backends_of(far, seen.protocol).into_iter().take(MOST_BACKENDS));
        let peering = Peering { cgroup_id, protocol: seen.protocol, near_port, far: reached };
        let cookie = self.synthetic_cookie(&seen);
        let due_ns = seen.boot_ns + AFTER_SEND_NS;
        let mut entry = entry(seen, Origin::Opener, far, cookie, due_ns);
        entry.name(around);
        let (direction, protocol) = (Direction::Egress, entry.tried.protocol);
        // Of SCTP what opens an association is counted, and tells nothing.
        let counted = protocol != Protocol::Sctp;
        entry.tried.peer = counted.then_some(Repeat { cgroup_id, direction, protocol, far });
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
        arrived: bool,
        around: &impl Surroundings,
        out: &mut Vec<Told>,
    ) {
        let (Some(opener), Some(local), Some(cgroup_id)) = (seen.remote, seen.local, seen.cgroup_id) else {
            return;
        };
        self.arrivals.known.put((opener.ip(), local.port()), ());
        let listeners = listeners_of(cgroup_id, local.port(), opener, around);
        if let Some((cookie, listener)) = self.opener_of(seen.protocol, opener, &listeners, around) {
            self.unmatched.accepts_paired += u64::from(!arrived);
            self.arrive(cookie, listener, true, seen.receipts.take(), out);
            return;
        }
        if arrived {
            self.take_what_came(&mut seen);
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

    /// It had come before, and that was, or will be, told.
    fn take_what_came(&mut self, seen: &mut Observation) {
        let came = Came::of(seen).and_then(|came| self.arrivals.came.get(&came)).map(|(cookie, _)| *cookie);
        let Some(entry) = came.and_then(|cookie| self.sockets.get_mut(&cookie)) else {
            self.unmatched.outcomes += 1;
            return;
        };
        entry.facts.accepted = true;
        if let Fact::Received { task, .. } = &seen.fact {
            entry.tried.task.get_or_insert_with(|| task.clone());
        }
        entry.hold(seen.receipts.take());
    }

    /// Something came to a socket, or a question by ICMP to a stack that answers it. Where the opener is known here it is
    /// one flow, told at the opener.
    pub(super) fn arrived(&mut self, mut seen: Observation, around: &impl Surroundings, out: &mut Vec<Told>) {
        let (Some(opener), Some(listener), Some(came)) = (seen.remote, seen.local, Came::of(&seen)) else {
            return;
        };
        let protocol = seen.protocol;
        if protocol == Protocol::Udp {
            self.arrivals.known.put((opener.ip(), listener.port()), ());
        }
        // A socket load balancer sends to a backend what was sent to a service, and this comes back from there.
        let asked = |(cgroup_id, _): &&(u64, u64)| Some(*cgroup_id) == seen.cgroup_id;
        if let Some((_, cookie)) = self.peers.among(protocol, opener).iter().find(asked) {
            let cookie = *cookie;
            self.answer(cookie, &mut seen, out);
            return;
        }
        if let Some((cookie, listener)) = self.opener_of(protocol, opener, &[listener], around) {
            self.unmatched.accepts_paired += 1;
            self.arrive(cookie, listener, false, seen.receipts.take(), out);
            return;
        }
        let copy = |(_, at_ns): &(u64, u64)| protocol.is_icmp() && seen.boot_ns < *at_ns + COPY_NS;
        if self.arrivals.came.get(&came).is_some_and(copy) {
            return;
        }
        let origin = if seen.cgroup_id.is_some() { Origin::Listener } else { Origin::Packet };
        let cookie = self.synthetic_cookie(&seen);
        self.arrivals.came.put(came, (cookie, seen.boot_ns));
        // A process that waits for it takes it within this time.
        let due_ns = seen.boot_ns + AFTER_SEND_NS;
        let mut entry = entry(seen, origin, listener, cookie, due_ns);
        entry.tried.opener = Some(opener);
        entry.facts.arrived = true;
        if protocol == Protocol::Udp {
            let far = SocketAddr::new(opener.ip(), listener.port());
            let peer = |cgroup_id| Repeat { cgroup_id, direction: Direction::Ingress, protocol, far };
            entry.tried.peer = entry.tried.cgroup_id.map(peer);
            self.arrivals.waiting.insert(opener, cookie);
        }
        self.insert(cookie, entry, out);
    }

    /// The flow of an opener on this node, and the listener's address, which is one of these.
    fn opener_of(
        &self,
        protocol: Protocol,
        opener: SocketAddr,
        listeners: &[SocketAddr],
        around: &impl Surroundings,
    ) -> Option<(u64, SocketAddr)> {
        if let Some(cookie) = self.by_opener.get(&(protocol, opener)) {
            let tried = &self.sockets.peek(cookie)?.tried;
            let listener = listeners.iter().find(|listener| leads(tried, **listener, around))?;
            return (tried.origin == Origin::Opener).then_some((*cookie, *listener));
        }
        listeners.iter().find_map(|listener| {
            // Loopback addresses are the same in every network namespace, ports hardly.
            let mut flows = self.peers.among(protocol, *listener).iter();
            let (_, cookie) = flows.find(|(cgroup, cookie)| match opener.ip().is_loopback() {
                true => self.near_port(*cookie) == Some(opener.port()),
                false => around.owns(*cgroup, opener.ip()) == Some(true),
            })?;
            Some((*cookie, *listener))
        })
    }

    #[cfg(test)]
    pub(in crate::pipeline) fn peers_held(&self) -> usize {
        self.peers.by_cgroup.len().max(self.peers.by_far.len())
    }

    fn near_port(&self, cookie: u64) -> Option<u16> {
        self.sockets.peek(&cookie)?.peering.as_ref().map(|peering| peering.near_port)
    }

    /// A datagram of this flow came to a listener of this node, or was taken there.
    fn arrive(
        &mut self,
        cookie: u64,
        listener: SocketAddr,
        taken: bool,
        receipts: Receipts,
        out: &mut Vec<Told>,
    ) {
        let Some(entry) = self.sockets.get_mut(&cookie) else { return };
        take_arrival_at(entry, listener);
        entry.facts.arrived |= !taken;
        entry.facts.accepted |= taken;
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
            take_arrival_at(entry, listener);
            if let Some(arrival) = self.sockets.peek_mut(&cookie) {
                entry.facts.arrived |= arrival.facts.arrived;
                entry.facts.accepted |= arrival.facts.accepted;
                entry.hold(arrival.tried.receipts.take());
            }
            self.forget(Some(cookie));
        }
    }

    /// Something came back from a peer: to a connected socket, known by its cookie, or to one that named the peer.
    pub(super) fn answered(&mut self, seen: &mut Observation, out: &mut Vec<Told>) {
        match seen.cookie.or_else(|| self.peers.of(seen)) {
            Some(cookie) => self.answer(cookie, seen, out),
            None => self.unmatched.outcomes += 1,
        }
    }

    fn answer(&mut self, cookie: u64, seen: &mut Observation, out: &mut Vec<Told>) {
        let Some(entry) = self.sockets.get_mut(&cookie) else {
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
        self.postpone(Some(cookie), kept_ns);
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
            entry.facts.arrived = false;
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
                .among(Protocol::Udp, source)
                .iter()
                .any(|(cgroup, _)| around.owns(*cgroup, destination.ip()) == Some(true))
    }
}

/// The addresses that a listener may have which was asked from `opener`.
fn listeners_of(
    cgroup_id: u64,
    port: u16,
    opener: SocketAddr,
    around: &impl Surroundings,
) -> Vec<SocketAddr> {
    let mut addresses = around.addresses_of(cgroup_id);
    addresses.retain(|address| address.is_ipv4() == opener.is_ipv4());
    if opener.ip().is_loopback() {
        addresses = vec![opener.ip()];
    }
    addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

fn take_arrival_at(entry: &mut Entry, listener: SocketAddr) {
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
