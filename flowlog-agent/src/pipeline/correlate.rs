//! Attempt + outcome: holds together what the hooks saw of one socket, by its cookie, and what they saw of its
//! packets, by their addresses.
//!
//! An attempt is told once, as soon as its outcome is known, or a first answer to it: dropped, or none after the
//! first retransmission. Where the outcome turns out otherwise later, it is told again as an update. Packets
//! that belong to no attempt are told as flows of their own. Everything is bounded; what has to give way is told
//! with what is known of it.

mod connecting;
mod datagrams;
mod existing;
mod packets;
mod recent;
mod streams;
mod timers;

use super::conclude::{End, Facts};
use crate::capture::{Kind, Repeat};
use crate::model::{
    Direction, Fact, FlowId, Names, Observation, Outcome, Protocol, Receipts, RoundTrip, State, Task,
};
use connecting::Connecting;
use datagrams::{Arrivals, Peering, Peers};
use foldhash::{HashMap, HashMapExt};
use jiff::Timestamp;
use lru::LruCache;
use packets::{leads, take_packet};
use recent::Recent;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use timers::Timers;

const MILLISECOND: u64 = 1_000_000;
/// After the handshake: the listener's own event comes within microseconds, a short connection closes.
const AFTER_HANDSHAKE_NS: u64 = 50 * MILLISECOND;
/// After a drop: a filter that rejects sends its answer at once.
const AFTER_DROP_NS: u64 = 200 * MILLISECOND;
/// After a datagram: an ICMP error from near comes within this time.
const AFTER_SEND_NS: u64 = 250 * MILLISECOND;
/// A packet without an attempt: the event of a datagram's send follows that of its drop. An attempt that was given up: its
/// packet's drop follows.
const ORPHAN_NS: u64 = 100 * MILLISECOND;
/// Without any sign of a SYN: it would have been sent again after 1 s.
const NO_SYN_NS: u64 = 3_000 * MILLISECOND;
/// A handshake that takes longer had its SYN sent again (`TCP_TIMEOUT_INIT`, 1 s): then it is told, and not counted.
pub(super) const HANDSHAKE_NS: u64 = 1_100 * MILLISECOND;
/// What is remembered of a packet without an attempt, so that its repeats are not told again: Linux gives up a
/// SYN after 127 s.
const PACKET_KEPT_NS: u64 = 140_000 * MILLISECOND;
/// What is remembered of a datagram socket that was told, for errors that come late.
const DATAGRAM_KEPT_NS: u64 = 30_000 * MILLISECOND;
/// After an attempt was lost, what else is seen of it comes within this time: Linux gives up a SYN after 127 s.
const LOST_KEPT_NS: u64 = 140_000 * MILLISECOND;

/// Sockets held at a time: those that wait for their outcome, and those that wait for their close.
const MOST_SOCKETS: usize = 65_536;
/// Packets without an attempt that are remembered.
const MOST_PACKETS: usize = 16_384;

/// What the attempts' surroundings know: whose addresses are whose.
pub(super) trait Surroundings {
    /// Whether packets from `address` can come from this cgroup; `None` where that is not known.
    fn owns(&self, cgroup_id: u64, address: IpAddr) -> Option<bool>;
    /// Whether `backend` stands behind the service address `dialed`.
    fn leads_to(&self, dialed: SocketAddr, backend: SocketAddr, protocol: Protocol) -> bool;
    /// Whether connections from `opener` to `listener` are counted in the kernel, at the opener.
    fn is_counted(&self, opener: IpAddr, listener: SocketAddr) -> bool;
    /// Whether connections of this cgroup to `listener` are counted in the kernel, or were a moment ago.
    fn counts(&self, cgroup_id: u64, listener: SocketAddr, protocol: Protocol) -> bool;
    /// Whether `dialed` is the address of a service.
    fn is_service(&self, dialed: SocketAddr, protocol: Protocol) -> bool;
    /// What stands behind the service address `dialed`; empty where it is none.
    fn backends_of(&self, dialed: SocketAddr, protocol: Protocol) -> Vec<SocketAddr>;
    /// The addresses of this cgroup's pod; empty where it shares its node's, and where none is known.
    fn addresses_of(&self, cgroup_id: u64) -> Vec<IpAddr>;
    /// The names that an address outside the cluster had for this cgroup's pod, as far as it was told so.
    fn names_of(&self, cgroup_id: u64, address: IpAddr, at_ns: u64) -> Names;
    /// Whether a datagram from here is an answer: the port is one that its sender serves.
    fn serves(&self, address: SocketAddr, protocol: Protocol) -> bool;
}

/// What made a flow known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A connect, or the first datagram to a peer.
    Opener,
    /// An accepted connection, or a datagram taken, whose opener is not on this node.
    Listener,
    /// A dropped packet whose socket was not seen.
    Packet,
}

/// Sums of a connection that has closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Absent where nobody knows since when it was open.
    pub(super) duration_ns: Option<u64>,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) retransmits: u64,
    pub(super) srtt: RoundTrip,
}

impl Totals {
    /// The sums as the opener's end counts them; a listener's socket counts the other way round.
    pub(super) fn as_opener(self, direction: Direction) -> Self {
        match direction {
            Direction::Egress => self,
            Direction::Ingress => {
                Self { bytes_sent: self.bytes_received, bytes_received: self.bytes_sent, ..self }
            }
        }
    }
}

/// One attempt with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tried {
    pub(super) id: FlowId,
    pub(super) origin: Origin,
    pub(super) time: Timestamp,
    /// When the latest of what is told was seen.
    pub(super) last: Timestamp,
    pub(super) protocol: Protocol,
    /// Cgroup of the local end.
    pub(super) cgroup_id: Option<u64>,
    pub(super) task: Option<Task>,
    /// The opener's address, once a packet or the socket showed it.
    pub(super) opener: Option<SocketAddr>,
    /// What the opener asked for.
    pub(super) requested: SocketAddr,
    /// What its packets reached, where a hook showed another address than the one asked for.
    pub(super) taken: Option<SocketAddr>,
    /// Under what the kernel half counts its datagrams, where their peer is named in each call.
    pub(super) peer: Option<Repeat>,
    /// Names that what was asked for had for the opener, at that moment.
    pub(super) names: Names,
    pub(super) outcome: Outcome,
    pub(super) connect_ns: Option<u64>,
    pub(super) closed: Option<Totals>,
    /// Told before; this is what became of it.
    pub(super) update: bool,
    /// No attempt: it was there before the agent.
    pub(super) existing: bool,
    /// The attempt itself was no event: the kernel half passed it over, since its kind is counted.
    pub(super) unannounced: bool,
    /// The attempt is among the losses: this stands for none.
    pub(super) untold: bool,
    /// The duty to tell of what was seen since it was told last.
    pub(super) receipts: Receipts,
}

impl Tried {
    /// One that stands for all connections of a kind that is counted, of none of which anything else is known.
    pub(super) fn of_kind(kind: &Kind, now_ns: u64, now: Timestamp) -> Self {
        let Kind { repeat, near, accepted } = *kind;
        let (origin, opener, requested) = match repeat.direction {
            Direction::Egress => (Origin::Opener, near, repeat.far),
            Direction::Ingress => (Origin::Listener, Some(repeat.far), near.unwrap_or(NOWHERE)),
        };
        let facts = Facts { end: End::Established, accepted, syn_sent: true, ..Facts::default() };
        Self {
            id: FlowId(u128::from(now_ns) << 64),
            origin,
            time: now,
            last: now,
            protocol: repeat.protocol,
            cgroup_id: Some(repeat.cgroup_id),
            task: None,
            opener,
            requested,
            taken: None,
            peer: None,
            names: Names::default(),
            outcome: facts.conclude(repeat.protocol),
            connect_ns: None,
            closed: None,
            update: false,
            existing: false,
            unannounced: false,
            untold: false,
            receipts: Receipts::untracked(),
        }
    }
}

/// What the stage hands on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    /// An attempt and its outcome.
    Tried(Box<Tried>),
    /// A connection that was told before has closed.
    Closed {
        /// Which.
        id: FlowId,
        /// When.
        time: Timestamp,
        /// Its sums.
        totals: Totals,
        /// The duty to tell of it.
        receipts: Receipts,
    },
    /// A connection has closed whose handshake was no event.
    ClosedUnannounced {
        /// Cgroup of its socket.
        cgroup_id: u64,
        /// Protocol.
        protocol: Protocol,
        /// Near end.
        local: SocketAddr,
        /// Far end.
        remote: SocketAddr,
        /// Boot time.
        boot_ns: u64,
        /// Its sums; the duration is not known.
        totals: Totals,
        /// The duty to tell of it.
        receipts: Receipts,
    },
}

/// What did not become a flow, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unmatched {
    /// Outcomes of sockets whose attempt was not seen: older than the agent, out of scope, or refused by a full ring.
    pub(super) outcomes: u64,
    /// Accepted connections that were told at their opener.
    pub(super) accepts_paired: u64,
    /// Datagrams dropped on their way back.
    pub(super) replies: u64,
    /// Repeats of a dropped packet.
    pub(super) repeats: u64,
    /// Not that, but the contrary: attempts that were passed over in the kernel, and made of their outcome.
    pub(super) unannounced: u64,
    /// Of these, such that a dropped packet had told of.
    pub(super) adopted: u64,
    /// Attempts that were told, and taken for passed over, since their kind is counted by now.
    pub(super) passed_over: u64,
    /// Existing connections whose other end is on this node, too: told at the opener.
    pub(super) existing_paired: u64,
    /// Sockets that were taken for older than the hooks, and whose attempt was seen after all.
    pub(super) existing_known: u64,
    /// Neither: datagrams that were told in the place of one that is among the losses.
    pub(super) late: u64,
}

/// When the kernel half could not hand over what it saw.
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    /// Attempts: from when, to when.
    attempts: Option<(u64, u64)>,
    /// Anything: the last time.
    last_ns: Option<u64>,
    /// What a full ring refused, whatever it was: the last time.
    refused_ns: Option<u64>,
}

struct Entry {
    /// Apart, since entries are moved about.
    tried: Box<Tried>,
    boot_ns: u64,
    established_ns: Option<u64>,
    facts: Facts,
    /// The state that was told, once one was.
    told: Option<State>,
    /// An agent before has told the attempt.
    known: bool,
    due_ns: u64,
    /// Under which address of its own it is found.
    found_by: Option<SocketAddr>,
    /// How it is found where its socket is not connected.
    peering: Option<Peering>,
}

impl Entry {
    /// With the names that the opener has for what it asks for.
    fn name(&mut self, around: &impl Surroundings) {
        if let Some(cgroup_id) = self.tried.cgroup_id {
            self.tried.names = around.names_of(cgroup_id, self.tried.requested.ip(), self.boot_ns);
        }
    }
}

struct Orphan {
    observation: Observation,
    due_ns: u64,
    told: bool,
    /// The flow that it became, if it was told and became one.
    flow: Option<(FlowId, State)>,
}

/// Address and port 0.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

type PacketKey = (Protocol, SocketAddr, SocketAddr);

/// The stage.
pub(super) struct Correlator {
    sockets: LruCache<u64, Entry>,
    /// Openers' own addresses → cookie.
    by_opener: HashMap<(Protocol, SocketAddr), u64>,
    /// Attempts whose own port is not known yet.
    connecting: Connecting,
    packets: LruCache<PacketKey, Orphan>,
    /// Flows of sockets that are not connected.
    peers: Peers,
    /// Datagrams that were taken here.
    arrivals: Arrivals,
    /// Listeners' sockets that were paired with their opener's: their close is told there.
    paired: Recent,
    due: Timers<u64>,
    packets_due: Timers<PacketKey>,
    /// Reasons for which no flow was made of what was seen.
    pub(super) unmatched: Unmatched,
    next_packet: u64,
    gaps: Gaps,
    /// The hooks would have shown a SYN: its outcome, or that it was sent again.
    sees_syns: bool,
}

impl Correlator {
    pub(super) fn new(sees_syns: bool) -> Self {
        Self {
            sees_syns,
            sockets: LruCache::new(bound(MOST_SOCKETS)),
            by_opener: HashMap::new(),
            connecting: Connecting::default(),
            packets: LruCache::new(bound(MOST_PACKETS)),
            peers: Peers::default(),
            arrivals: Arrivals::new(bound(MOST_PACKETS)),
            paired: Recent::new(MOST_SOCKETS),
            due: Timers::new(),
            packets_due: Timers::new(),
            unmatched: Unmatched::default(),
            next_packet: 0,
            gaps: Gaps::default(),
        }
    }

    /// Take one observation; what is known well enough by it goes to `out`.
    pub(super) fn observe(&mut self, mut seen: Observation, around: &impl Surroundings, out: &mut Vec<Told>) {
        // What an agent before has told was counted by it.
        let counted = (!seen.receipts.are_news()).then_some(self.unmatched);
        match seen.fact {
            Fact::Existing { opened, connected, .. } => self.existing(seen, opened, connected, out),
            Fact::Attempt { .. } => self.attempt(seen, around, out),
            Fact::Sent { .. } => self.sent(seen, around, out),
            Fact::SentTo { .. } => self.sent_to(seen, around, out),
            Fact::Received { arrived, .. } => self.received(seen, arrived, around, out),
            Fact::Arrived => self.arrived(seen, around, out),
            Fact::Answered => self.answered(&mut seen, out),
            Fact::Established { syn_retries } => self.established(&mut seen, syn_retries, around, out),
            Fact::Failed { .. } => self.failed(&mut seen, around, out),
            Fact::Closed { .. } => self.closed(&mut seen, out),
            Fact::Inbound => self.inbound(seen, around, out),
            Fact::SynRetransmitted => self.retransmitted(&mut seen, around, out),
            Fact::Error { errno } => self.error(seen, errno, out),
            Fact::Dropped { .. } => self.dropped(seen, around, out),
        }
        if let Some(counted) = counted {
            self.unmatched = counted;
        }
    }

    /// Hand on whatever has waited long enough at `now_ns` (boot time).
    pub(super) fn tick(&mut self, now_ns: u64, around: &impl Surroundings, out: &mut Vec<Told>) {
        self.compact();
        while let due_now = self.due.take_due(now_ns)
            && !due_now.is_empty()
        {
            for (due_ns, cookie) in due_now {
                if self.sockets.peek(&cookie).is_some_and(|entry| entry.due_ns == due_ns) {
                    self.overdue(cookie, out);
                }
            }
        }
        while let due_now = self.packets_due.take_due(now_ns)
            && !due_now.is_empty()
        {
            for (due_ns, key) in due_now {
                if self.packets.peek(&key).is_some_and(|orphan| orphan.due_ns == due_ns) {
                    self.orphan_due(key, around, out);
                }
            }
        }
    }

    /// Times that nobody waits for any more, in a storm, would outgrow the tables.
    fn compact(&mut self) {
        let Self { sockets, packets, due, packets_due, .. } = self;
        if due.len() > 4 * MOST_SOCKETS {
            due.retain(|due_ns, cookie| sockets.peek(cookie).is_some_and(|entry| entry.due_ns == due_ns));
        }
        if packets_due.len() > 4 * MOST_PACKETS {
            packets_due.retain(|due_ns, key| packets.peek(key).is_some_and(|orphan| orphan.due_ns == due_ns));
        }
    }

    #[cfg(test)]
    pub(super) fn times_held(&self) -> usize {
        self.due.len() + self.packets_due.len()
    }

    /// The end: everything that was not told yet, as far as it is known.
    pub(super) fn finish(&mut self, around: &impl Surroundings, out: &mut Vec<Told>) {
        while let Some((_, entry)) = self.sockets.pop_lru() {
            if entry.told.is_none() {
                tell_last(entry, out);
            }
        }
        let keys: Vec<PacketKey> = self.packets.iter().map(|(key, _)| *key).collect();
        for key in keys {
            self.orphan_due(key, around, out);
        }
    }

    /// Between the two times something was not handed over; attempts, or what else.
    pub(super) fn note_gap(&mut self, attempts: bool, since_ns: u64, until_ns: u64) {
        self.gaps.last_ns = Some(until_ns);
        if attempts {
            let over = |(_, last_ns): &(u64, u64)| since_ns > last_ns.saturating_add(LOST_KEPT_NS);
            let since_ns = match self.gaps.attempts.filter(|gap| !over(gap)) {
                Some((first_ns, _)) => first_ns,
                None => since_ns,
            };
            self.gaps.attempts = Some((since_ns, until_ns));
        }
    }

    /// A full ring has refused what would have been told.
    pub(super) fn note_refused(&mut self, now_ns: u64) {
        self.gaps.refused_ns = Some(now_ns);
    }

    /// Whether an attempt of which nothing more was seen, and which is no older than a handshake takes, is still to hear of
    /// it: nothing was refused meanwhile that would have told.
    pub(super) fn is_calm(&self, now_ns: u64) -> bool {
        self.gaps.refused_ns.is_none_or(|refused_ns| now_ns.saturating_sub(refused_ns) > HANDSHAKE_NS)
    }

    /// Whether the attempt to which this belongs may have been lost.
    pub(super) fn may_be_lost(&self, id: FlowId) -> bool {
        let at_ns = id.0 >> 64;
        self.gaps.attempts.is_some_and(|(since_ns, until_ns)| {
            (u128::from(since_ns)..=u128::from(until_ns.saturating_add(LOST_KEPT_NS))).contains(&at_ns)
        })
    }

    fn sent(&mut self, seen: Observation, around: &impl Surroundings, out: &mut Vec<Told>) {
        let Fact::Sent { errno, .. } = seen.fact else { return };
        let requested = seen.remote.unwrap_or(NOWHERE);
        let cookie = seen.cookie.unwrap_or_else(|| self.synthetic_cookie(&seen));
        let due_ns = seen.boot_ns + AFTER_SEND_NS;
        let (protocol, opener) = (seen.protocol, seen.local);
        let mut entry = entry(seen, Origin::Opener, requested, cookie, due_ns);
        entry.name(around);
        entry.facts.end = End::Sent;
        entry.facts.error = errno;
        if let Some(mut before) = self.sockets.pop(&cookie).filter(|before| before.told.is_none()) {
            if before.tried.origin == Origin::Packet {
                // A near filter or the far end has spoken before the send call came back.
                entry.facts.error = entry.facts.error.or(before.facts.error);
                entry.facts.drop = before.facts.drop.take();
                entry.facts.no_socket = before.facts.no_socket;
                entry.tried.taken = before.tried.taken;
                entry.tried.time = entry.tried.time.min(before.tried.time);
                entry.hold(before.tried.receipts.take());
            } else {
                // The socket turned to another peer.
                tell(&mut before, out);
            }
        }
        if let Some(opener) = opener {
            self.by_opener.insert((protocol, opener), cookie);
            if let Some(mut orphan) = self.packets.pop(&(protocol, opener, requested)) {
                take_packet(&mut entry, &orphan.observation);
                entry.hold(orphan.observation.receipts.take());
            }
            self.take_arrival(&mut entry, opener, around);
        }
        self.insert(cookie, entry, out);
    }

    /// On a stream it is kept for the close that follows; elsewhere it is the outcome.
    fn error(&mut self, mut seen: Observation, errno: Option<u16>, out: &mut Vec<Told>) {
        let socket = seen.cookie.filter(|cookie| self.sockets.contains(cookie));
        let Some(cookie) = socket.or_else(|| self.peers.of(&seen)).or(seen.cookie) else {
            self.unmatched.outcomes += 1;
            return;
        };
        if let Some(entry) = self.sockets.get_mut(&cookie) {
            entry.facts.error = errno.or(entry.facts.error);
            entry.facts.error_consumed |= errno.is_none();
            entry.tried.last = seen.time;
            entry.hold(seen.receipts.take());
            if seen.protocol != Protocol::Tcp && entry.told.is_some() {
                tell(entry, out);
            }
            return;
        }
        let Some(requested) = seen.remote.filter(|_| seen.protocol == Protocol::Udp) else { return };
        // The send that it answers has not come back yet, or no hook tells of sends.
        let due_ns = seen.boot_ns + ORPHAN_NS;
        let (protocol, opener) = (seen.protocol, seen.local);
        let mut entry = entry(seen, Origin::Packet, requested, cookie, due_ns);
        entry.facts.error = errno;
        if let Some(opener) = opener {
            self.by_opener.insert((protocol, opener), cookie);
            if let Some(orphan) = self.packets.pop(&(protocol, opener, requested)) {
                take_packet(&mut entry, &orphan.observation);
            }
        }
        self.insert(cookie, entry, out);
    }

    fn overdue(&mut self, cookie: u64, out: &mut Vec<Told>) {
        self.connecting.remove(cookie);
        let (sees_syns, gap_ns) = (self.sees_syns, self.gaps.last_ns);
        let Some(entry) = self.sockets.peek_mut(&cookie) else { return };
        let datagram = entry.tried.protocol != Protocol::Tcp;
        if datagram && entry.told.is_some() {
            // The time for late news is over.
            self.forget(Some(cookie));
            return;
        }
        // What would have shown a SYN may have been lost itself.
        entry.facts.overdue = sees_syns && gap_ns.is_none_or(|gap_ns| gap_ns < entry.boot_ns);
        if matches!(entry.facts.end, End::Failed(_)) {
            self.conclude(cookie, out);
            return;
        }
        tell(entry, out);
        // A stream's end is always seen; until then it is held for its close.
        if datagram {
            let due_ns = entry.due_ns + DATAGRAM_KEPT_NS;
            self.postpone(Some(cookie), due_ns);
        }
    }

    fn tell_again(&mut self, cookie: u64, out: &mut Vec<Told>) {
        if let Some(entry) = self.sockets.peek_mut(&cookie).filter(|entry| entry.told.is_some()) {
            tell(entry, out);
        }
    }

    /// An agent before was done with its attempt though nothing had come of it: it was counted, or is told by this.
    fn was_passed_over(&self, cookie: u64, seen: &Observation) -> bool {
        let silent = |entry: &Entry| entry.known && entry.told.is_none() && entry.facts == Facts::default();
        seen.receipts.are_news() && self.sockets.peek(&cookie).is_some_and(silent)
    }

    fn insert(&mut self, cookie: u64, entry: Entry, out: &mut Vec<Told>) {
        self.due.push(entry.due_ns, cookie);
        // An older attempt of the same socket, or the one that was touched longest ago, gives way.
        if let Some((evicted, entry)) = self.sockets.push(cookie, entry) {
            self.unlink(evicted, &entry, evicted != cookie);
            if entry.told.is_none() {
                tell_last(entry, out);
            }
        }
    }

    /// Their kind is counted by now: their handshake was, or will be, or they are told by what else becomes of them.
    /// To be called when every event from before the counting has been observed.
    /// `is_counted` tells of an attempt's cgroup, address and boot time whether it is taken for one of those.
    pub(super) fn pass_over(&mut self, is_counted: impl Fn(u64, SocketAddr, Protocol, u64) -> bool) {
        let silent = |cookie: &&u64| {
            let Some(Entry { tried, facts, told: None, boot_ns, .. }) = self.sockets.peek(*cookie) else {
                return false;
            };
            let is_counted = |cgroup_id| is_counted(cgroup_id, tried.requested, tried.protocol, *boot_ns);
            *facts == Facts::default() && tried.cgroup_id.is_some_and(is_counted)
        };
        let cookies: Vec<u64> = self.connecting.cookies().filter(silent).copied().collect();
        for cookie in cookies {
            // What an agent before was done with was counted by it.
            let news = self.sockets.peek(&cookie).is_some_and(|entry| !entry.known);
            self.unmatched.passed_over += u64::from(news);
            self.forget(Some(cookie));
        }
    }

    /// Its close is counted elsewhere.
    pub(super) fn release(&mut self, id: FlowId) {
        self.forget(u64::try_from(id.0 & u128::from(u64::MAX)).ok());
    }

    /// Nothing more will be seen of it.
    fn conclude(&mut self, cookie: u64, out: &mut Vec<Told>) {
        if let Some(entry) = self.sockets.pop(&cookie) {
            self.unlink(cookie, &entry, true);
            tell_last(entry, out);
        }
    }

    fn forget(&mut self, cookie: Option<u64>) {
        let Some(cookie) = cookie else { return };
        if let Some(entry) = self.sockets.pop(&cookie) {
            self.unlink(cookie, &entry, true);
        }
    }

    fn unlink(&mut self, cookie: u64, entry: &Entry, gone: bool) {
        if gone {
            self.connecting.remove(cookie);
        }
        if let Some(peering) = &entry.peering {
            self.peers.remove(peering, cookie);
        }
        let Some(opener) = entry.tried.opener else { return };
        self.arrivals.forget(opener, cookie);
        let key = (entry.tried.protocol, opener);
        if self.by_opener.get(&key) == Some(&cookie) {
            self.by_opener.remove(&key);
        }
    }

    fn postpone(&mut self, cookie: Option<u64>, due_ns: u64) {
        let Some(cookie) = cookie else { return };
        if let Some(entry) = self.sockets.peek_mut(&cookie) {
            entry.due_ns = due_ns;
            self.due.push(due_ns, cookie);
        }
    }

    /// Cookies of the kernel count from 1; these count down from the other end. By the event's place in the ring, where
    /// that is known: so the next agent makes the same of it.
    fn synthetic_cookie(&mut self, seen: &Observation) -> u64 {
        self.synthetic_cookie_at(seen.receipts.oldest())
    }

    fn synthetic_cookie_at(&mut self, sequence: Option<u64>) -> u64 {
        u64::MAX
            - sequence.unwrap_or_else(|| {
                self.next_packet += 1;
                self.next_packet
            })
    }
}

impl Entry {
    /// Something more was seen of it. Where its handshake was told, there is nothing more to tell but its close.
    fn hold(&mut self, receipts: Receipts) {
        if self.told != Some(State::Established) {
            self.tried.receipts.add(receipts);
        }
    }
}

/// Ports below are given to nobody who asks for any (`PROT_SOCK`).
const FIRST_EPHEMERAL: u16 = 1_024;

fn bound(most: usize) -> NonZeroUsize {
    NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN)
}

fn entry(seen: Observation, origin: Origin, requested: SocketAddr, cookie: u64, due_ns: u64) -> Entry {
    let task = match seen.fact {
        Fact::Existing { task, .. }
        | Fact::Attempt { task }
        | Fact::Sent { task, .. }
        | Fact::Received { task, .. } => Some(task),
        Fact::SentTo { task } => task,
        _ => None,
    };
    let numbered = |local: &SocketAddr| local.port() != 0 || seen.protocol.is_icmp();
    let known = |local: &SocketAddr| numbered(local) && !local.ip().is_unspecified();
    let opener = seen.local.filter(|local| origin != Origin::Listener && known(local));
    Entry {
        boot_ns: seen.boot_ns,
        established_ns: None,
        facts: Facts::default(),
        told: None,
        known: !seen.receipts.are_news(),
        due_ns,
        found_by: None,
        peering: None,
        tried: Box::new(Tried {
            id: FlowId((u128::from(seen.boot_ns) << 64) | u128::from(cookie)),
            origin,
            time: seen.time,
            last: seen.time,
            protocol: seen.protocol,
            cgroup_id: seen.cgroup_id,
            task,
            opener,
            requested,
            taken: None,
            peer: None,
            names: Names::default(),
            outcome: Outcome::unknown(),
            connect_ns: None,
            closed: None,
            update: false,
            existing: false,
            unannounced: false,
            untold: seen.untold,
            receipts: seen.receipts,
        }),
    }
}

/// Hand on what is known. Again only where the state is another than was told.
fn tell(entry: &mut Entry, out: &mut Vec<Told>) {
    if let Some(receipts) = news_of(entry) {
        out.push(Told::Tried(Box::new(Tried { receipts, ..Tried::clone(&entry.tried) })));
    }
}

/// The same of one that is known no longer.
fn tell_last(mut entry: Entry, out: &mut Vec<Told>) {
    if let Some(receipts) = news_of(&mut entry) {
        entry.tried.receipts = receipts;
        out.push(Told::Tried(entry.tried));
    }
}

/// The duty to tell of it, where there is anything to tell.
fn news_of(entry: &mut Entry) -> Option<Receipts> {
    let state = entry.facts.state(entry.tried.protocol);
    let receipts = entry.tried.receipts.take();
    if entry.told == Some(state) {
        return None;
    }
    entry.tried.update = entry.told.is_some() || entry.known || entry.tried.untold;
    entry.told = Some(state);
    entry.tried.outcome = entry.facts.conclude(entry.tried.protocol);
    Some(receipts)
}
