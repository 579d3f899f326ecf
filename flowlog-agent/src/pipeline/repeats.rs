//! Connections that the kernel half counts: which they are, what flow they repeat, how many there were.
//!
//! Counted is what has been told several times already and went well each time: its flow was judged and
//! written, and the next of its kind would only be folded into it. It stays so while the flow would be judged
//! the same; whatever fails is told by an event of its own, and from then on everything of its kind is again.
//!
//! Where the kernel half outlives the agent, each flow that is made of counts has the duty to tell of them. What an agent
//! before has left is told by what is kept of its kind, judged by what is declared now; then it is an event again, as at
//! the beginning.

use super::correlate::{Origin, Totals, Tried};
use super::fold;
use crate::capture::{LeftBehind, Repeat, RepeatCounts, Slot, sums_of};
use crate::model::tally::Sums;
use crate::model::{Direction, Endpoint, Flow, FlowId, Ledger, Part, Protocol, Receipts, RoundTrip, State};
use foldhash::{HashMap, HashMapExt, HashSet};
use jiff::Timestamp;
use lru::LruCache;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

/// Flows of a kind that are folded one by one before the next are counted: a slot costs two system calls.
const TOLD_BEFORE: u64 = 3;
/// Without a connection for so long, a kind is told again and its slot is free for another.
const QUIET_NS: u64 = 120_000_000_000;
/// Kinds that were counted: what is still open of them closes later.
const MOST_GONE: usize = 16_384;

/// One kind of connection that is counted.
pub(super) struct Counted {
    /// What is judged anew when the cluster changes.
    pub(super) tried: Tried,
    /// What its repeats are told by; stands for nothing itself.
    pub(super) flow: Flow,
    /// What was seen of it outside of the slot's counts.
    base: RepeatCounts,
    /// What of all that was told, or had been told before counting began.
    told: RepeatCounts,
    /// Time for which its connections were open, as far as it was told, nanoseconds.
    open_told_ns: i64,
    slot: Option<Slot>,
    /// Taken away from the kernel half at this time; its slot is read once more.
    leaving_ns: Option<u64>,
    /// Its latest connection, or the start of counting.
    active_ns: u64,
    /// When it was last looked at.
    swept: Timestamp,
    /// What the slot had counted then.
    handed: Sums,
    /// The duty to tell of what was seen outside of it since then.
    receipts: Receipts,
    /// Since when its connections are open is known of all of them.
    timed: bool,
    /// An agent before has counted it.
    found: Option<Found>,
}

/// What is known of a kind that an agent before has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// An output may have some of what is not told.
    doubtful: bool,
    /// It is not left out by configuration.
    in_scope: bool,
    /// Connections that were told by events, and counted when they closed.
    carried: u64,
}

/// What a look at a kind brought.
struct Looked {
    /// And whether it is not left out by configuration.
    flow: Option<(Flow, bool)>,
    /// Nothing is counted in it any more.
    free: Option<Slot>,
}

/// While the kernel half counted a kind, boot time, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) repeat: Repeat,
    /// 0 where it is not known.
    pub(super) since_ns: u64,
    /// [`u64::MAX`] while it does.
    pub(super) until_ns: u64,
}

/// The stage.
pub(super) struct Repeats {
    on: bool,
    /// Where what was told is marked, where it outlives the agent.
    pub(super) ledger: Option<&'static Ledger>,
    counted: HashMap<Repeat, Counted>,
    /// Opener's address and listener → who is counted between them.
    between: HashMap<(IpAddr, SocketAddr), Vec<Repeat>>,
    gone: LruCache<Repeat, Counted>,
    wanted: Vec<(Repeat, Tried, Flow)>,
    unwanted: Vec<Repeat>,
    /// Kinds whose counting began a moment ago: what was told of them just before is yet to be looked through.
    begun: Vec<Begun>,
    /// Kinds that an agent before had counted in more than one slot.
    strays: Vec<Counted>,
    /// Connections that were counted at their opener.
    pub(super) egress: u64,
    /// Connections that were counted at their listener.
    pub(super) ingress: u64,
    /// Of those at their opener, such as are left out by configuration.
    pub(super) left_out: u64,
    /// Kinds that found no slot.
    pub(super) crowded: u64,
}

impl Repeats {
    pub(super) fn new(on: bool) -> Self {
        Self::of(on, MOST_GONE)
    }

    /// One in which nothing is counted, in the place of that which is being looked through.
    pub(super) fn stand_in() -> Self {
        Self::of(false, 1)
    }

    fn of(on: bool, most_gone: usize) -> Self {
        Self {
            on,
            ledger: None,
            counted: HashMap::new(),
            between: HashMap::new(),
            gone: LruCache::new(NonZeroUsize::new(most_gone).unwrap_or(NonZeroUsize::MIN)),
            wanted: Vec::new(),
            unwanted: Vec::new(),
            begun: Vec::new(),
            strays: Vec::new(),
            egress: 0,
            ingress: 0,
            left_out: 0,
            crowded: 0,
        }
    }

    /// Kinds that are counted.
    pub(super) fn len(&self) -> usize {
        self.counted.values().filter(|counted| counted.found.is_none()).count()
    }

    /// Whether connections between the two are counted at their opener.
    pub(super) fn is_counted(&self, opener: IpAddr, listener: SocketAddr) -> bool {
        let between = self.between.get(&(opener, listener));
        between.is_some_and(|repeats| repeats.iter().any(|repeat| repeat.direction == Direction::Egress))
    }

    /// Whether connections of this cgroup to `listener` are counted, or were a moment ago.
    pub(super) fn counts(&self, cgroup_id: u64, listener: SocketAddr, protocol: Protocol) -> bool {
        let kind = Repeat { cgroup_id, direction: Direction::Egress, protocol, far: listener };
        self.counted.contains_key(&kind) || self.gone.contains(&kind)
    }

    /// A flow was folded for the `times`th time: count the next of its kind, if that would change nothing that is told.
    pub(super) fn consider(&mut self, tried: &Tried, flow: &Flow, times: u64) {
        if times < TOLD_BEFORE || flow.existing {
            return;
        }
        let Some(repeat) = self.kind_of(tried, flow) else { return };
        if !self.counted.contains_key(&repeat) && !self.wanted.iter().any(|(wanted, ..)| *wanted == repeat) {
            self.wanted.push((repeat, tried.clone(), fold::template(flow)));
        }
    }

    /// A connection that was told by events though its kind is counted by now: its close is counted too.
    pub(super) fn adopt(&mut self, tried: &Tried, flow: &Flow) -> bool {
        if fold::totals_of(flow).is_some() || flow.outcome.state != State::Established {
            return false;
        }
        let Some(repeat) = self.kind_of(tried, flow) else { return false };
        // Of what an agent before has counted, nothing is counted any more.
        let counted = self.counted.get_mut(&repeat).filter(|counted| counted.found.is_none());
        let Some(counted) = counted else { return false };
        counted.opened(tried.id);
        if let (Some(tally), Some(slot)) = (self.ledger.and_then(Ledger::tally), counted.slot) {
            tally.carry(slot.number(), 1);
        }
        true
    }

    /// Connections of which every repeat would be told by the same flow but for its times and sums.
    fn kind_of(&self, tried: &Tried, flow: &Flow) -> Option<Repeat> {
        let plain = flow.outcome.state == State::Established
            && !tried.update
            && tried.taken.is_none()
            && flow.dialed.is_none()
            && flow.attribution.is_none()
            && !flow.verdict.settling;
        let far = match flow.direction {
            Direction::Egress => &flow.destination.endpoint,
            Direction::Ingress => &flow.source.endpoint,
        };
        // Behind a service, and behind a port of a node, stands now this backend and now that.
        let fixed = matches!(far, Endpoint::Pod(_) | Endpoint::External(_));
        if !self.on || !plain || !fixed || flow.protocol != Protocol::Tcp {
            return None;
        }
        place_of(tried, flow)
    }

    /// What the kernel half is to count from now on.
    pub(super) fn take_wanted(&mut self) -> Vec<(Repeat, Tried, Flow)> {
        std::mem::take(&mut self.wanted)
    }

    /// What it is to tell again.
    pub(super) fn take_unwanted(&mut self) -> Vec<Repeat> {
        std::mem::take(&mut self.unwanted)
    }

    /// Kinds of which every event from before their counting has been observed, by the time up to which all have been;
    /// `None` where all there are have been.
    pub(super) fn take_begun(&mut self, observed_ns: Option<u64>) -> Vec<Begun> {
        let Some(observed_ns) = observed_ns else { return std::mem::take(&mut self.begun) };
        let is_due = |begun: &mut Begun| begun.since_ns > 0 && begun.since_ns < observed_ns;
        self.begun.extract_if(.., is_due).collect()
    }

    /// The kernel half counts it, in this slot; `open` are those that were told and are open.
    pub(super) fn begin(
        &mut self,
        (repeat, tried, flow): (Repeat, Tried, Flow),
        slot: Slot,
        open: &HashSet<FlowId>,
        now_ns: u64,
        now: Timestamp,
    ) {
        let between = (flow.source.ip, flow.destination.ip.zip(flow.destination.port));
        if let (Some(opener), Some((ip, port))) = between {
            self.between.entry((opener, SocketAddr::new(ip, port))).or_default().push(repeat);
        }
        let before = self.gone.pop(&repeat);
        let timed = before.as_ref().is_none_or(Counted::is_timed);
        let before = before.filter(|before| before.found.is_none());
        let mut counted = Counted {
            base: before.as_ref().map_or_else(RepeatCounts::default, |before| before.base),
            told: before.as_ref().map_or_else(RepeatCounts::default, |before| before.told),
            open_told_ns: before.map_or(0, |before| before.open_told_ns),
            timed,
            ..Counted::new(tried, flow, Some(slot), now_ns, now)
        };
        for id in open {
            counted.opened(*id);
        }
        if let Some(tally) = self.ledger.and_then(Ledger::tally) {
            tally.carry(slot.number(), u64::try_from(open.len()).unwrap_or(u64::MAX));
        }
        self.counted.insert(repeat, counted);
        self.begun.push(Begun { repeat, since_ns: now_ns, until_ns: u64::MAX });
    }

    /// An agent before had counted it. From now on each is told, and what it had counted and not told is told once more
    /// programs are known to be done counting.
    pub(super) fn take_over(
        &mut self,
        left: &LeftBehind,
        tried: Tried,
        flow: Flow,
        now_ns: u64,
        now: Timestamp,
    ) {
        let LeftBehind { kind, slot, told, doubtful, carried } = *left;
        self.begun.push(Begun { repeat: kind.repeat, since_ns: 0, until_ns: u64::MAX });
        let found = Found { doubtful, in_scope: true, carried };
        let counted = Counted {
            // Of what was told to its end no more than sums are known.
            base: if slot.is_none() { counts_of(&told) } else { RepeatCounts::default() },
            told: counts_of(&told),
            handed: told,
            timed: false,
            found: Some(found),
            leaving_ns: Some(now_ns),
            ..Counted::new(tried, flow, slot, now_ns, now)
        };
        match (slot, kind.repeat.direction, kind.near) {
            (None, ..) => {
                self.gone.put(kind.repeat, counted);
                return;
            }
            (Some(_), Direction::Egress, Some(opener)) => {
                self.between.entry((opener.ip(), kind.repeat.far)).or_default().push(kind.repeat);
            }
            (Some(_), ..) => {}
        }
        if let Some(before) = self.counted.insert(kind.repeat, counted) {
            self.strays.push(before);
        }
    }

    /// What an agent before has counted is told by the flow that `judge` makes of it, and by none where it makes none.
    pub(super) fn judge_found(&mut self, mut judge: impl FnMut(&Tried) -> Option<Flow>) {
        let gone = self.gone.iter_mut().map(|(_, counted)| counted);
        for counted in self.counted.values_mut().chain(&mut self.strays).chain(gone) {
            let Some(found) = &mut counted.found else { continue };
            let flow = judge(&counted.tried);
            found.in_scope = flow.is_some();
            if let Some(flow) = flow {
                counted.flow = fold::template(&flow);
            }
        }
    }

    /// Whether an agent before has counted something of which more may come.
    pub(super) fn has_found(&self) -> bool {
        self.counted.values().chain(&self.strays).any(|counted| counted.found.is_some())
    }

    /// Something between the two did not go well: tell each connection again.
    pub(super) fn doubt(&mut self, tried: &Tried) {
        let Some(opener) = tried.opener else { return };
        let listener = tried.taken.unwrap_or(tried.requested);
        for repeat in self.between.get(&(opener.ip(), listener)).cloned().unwrap_or_default() {
            self.leave(repeat);
        }
    }

    /// Judge every kind anew; one of which `judge` makes another flow is told again.
    pub(super) fn judge_anew(&mut self, mut judge: impl FnMut(&Tried) -> Option<Flow>) {
        let mut left = Vec::new();
        let keys: Vec<Repeat> = self.counted.keys().copied().collect();
        for repeat in keys {
            let Some(counted) = self.counted.get(&repeat) else { continue };
            let flow = judge(&counted.tried);
            let same = flow.filter(|flow| {
                self.kind_of(&counted.tried, flow) == Some(repeat) && fold::are_one(flow, &counted.flow)
            });
            match (same, self.counted.get_mut(&repeat)) {
                (Some(flow), Some(counted)) => counted.flow = fold::template(&flow),
                _ => left.push(repeat),
            }
        }
        for repeat in left {
            self.leave(repeat);
        }
    }

    fn leave(&mut self, repeat: Repeat) {
        if let Some(counted) = self.counted.get_mut(&repeat)
            && counted.leaving_ns.is_none()
        {
            counted.leaving_ns = Some(u64::MAX);
            self.unwanted.push(repeat);
        }
    }

    /// The kernel half tells it again, from `now_ns` on.
    pub(super) fn left(&mut self, repeat: &Repeat, now_ns: u64) {
        if let Some(counted) = self.counted.get_mut(repeat) {
            counted.leaving_ns = Some(now_ns);
        }
        let begun = self.begun.iter_mut().filter(|begun| begun.repeat == *repeat);
        for begun in begun {
            begun.until_ns = begun.until_ns.min(now_ns);
        }
    }

    /// Take what was counted since the last time; slots that are free from now on are returned.
    pub(super) fn sweep(
        &mut self,
        (now_ns, now): (u64, Timestamp),
        read: impl Fn(Slot) -> Option<(RepeatCounts, Timestamp)>,
        out: &mut Vec<Flow>,
    ) -> Vec<Slot> {
        let mut free = Vec::new();
        let mut over = Vec::new();
        let mut quiet = Vec::new();
        let mut told = Vec::new();
        let ledger = self.ledger;
        for (repeat, counted) in &mut self.counted {
            let looked = counted.look((now_ns, now), &read, ledger);
            told.extend(looked.flow);
            if let Some(slot) = looked.free {
                free.push(slot);
                over.push(*repeat);
            } else if counted.leaving_ns.is_none() && now_ns.saturating_sub(counted.active_ns) > QUIET_NS {
                quiet.push(*repeat);
            }
        }
        self.strays.retain_mut(|counted| {
            let looked = counted.look((now_ns, now), &read, ledger);
            told.extend(looked.flow);
            free.extend(looked.free);
            looked.free.is_none()
        });
        for repeat in quiet {
            self.leave(repeat);
        }
        for repeat in over {
            self.bury(repeat);
        }
        out.extend(told.into_iter().filter_map(|(flow, in_scope)| self.count(flow, in_scope)));
        free
    }

    /// Count what is told, and leave out what is not to be.
    fn count(&mut self, flow: Flow, in_scope: bool) -> Option<Flow> {
        match (flow.direction, in_scope) {
            (Direction::Egress, _) => self.egress += flow.count,
            (Direction::Ingress, true) => self.ingress += flow.count,
            (Direction::Ingress, false) => {}
        }
        if flow.direction == Direction::Egress && !in_scope {
            self.left_out += flow.count;
        }
        in_scope.then_some(flow)
    }

    fn bury(&mut self, repeat: Repeat) {
        self.between.retain(|_, repeats| {
            repeats.retain(|other| *other != repeat);
            !repeats.is_empty()
        });
        if let Some(counted) = self.counted.remove(&repeat) {
            self.gone.put(repeat, counted);
        }
    }

    /// A connection closed that was counted when it was established, and is told since its kind no longer is.
    /// False where none such was counted.
    pub(super) fn close(
        &mut self,
        repeat: &Repeat,
        totals: &Totals,
        receipts: &mut Receipts,
        (at_ns, now): (u64, Timestamp),
        out: &mut Vec<Flow>,
    ) -> bool {
        if let Some(counted) = self.counted.get_mut(repeat) {
            counted.closed(totals, receipts, at_ns);
            return true;
        }
        let ledger = self.ledger;
        let Some(counted) = self.gone.get_mut(repeat) else { return false };
        counted.closed(totals, receipts, at_ns);
        let in_scope = counted.is_in_scope();
        let flow = counted.take(None, ledger, now, (at_ns, now));
        out.extend(flow.filter(|_| in_scope));
        true
    }
}

impl Counted {
    fn new(tried: Tried, flow: Flow, slot: Option<Slot>, now_ns: u64, now: Timestamp) -> Self {
        Self {
            tried,
            flow,
            base: RepeatCounts::default(),
            told: RepeatCounts::default(),
            open_told_ns: 0,
            slot,
            leaving_ns: None,
            active_ns: now_ns,
            swept: now,
            handed: Sums::default(),
            receipts: Receipts::default(),
            timed: true,
            found: None,
        }
    }

    fn is_in_scope(&self) -> bool {
        self.found.is_none_or(|found| found.in_scope)
    }

    /// Since when its connections are open is known of all that may still close.
    fn is_timed(&self) -> bool {
        let Some(found) = &self.found else { return self.timed };
        let opened = self.base.established.wrapping_add(found.carried);
        self.timed || opened == self.base.closed
    }

    /// What came since the last look.
    fn look(
        &mut self,
        (now_ns, now): (u64, Timestamp),
        read: impl Fn(Slot) -> Option<(RepeatCounts, Timestamp)>,
        ledger: Option<&'static Ledger>,
    ) -> Looked {
        let nothing = Looked { flow: None, free: None };
        let Some(slot) = self.slot else { return nothing };
        let Some((counts, last)) = read(slot) else { return nothing };
        let in_scope = self.is_in_scope();
        let flow = self.take(Some((slot, &counts)), ledger, last, (now_ns, now));
        // A program that had found the key just before counts a moment longer.
        let is_over =
            self.leaving_ns.is_some_and(|left_ns| left_ns.saturating_add(fold::SECOND_NS) <= now_ns);
        if is_over {
            self.base = plus(&self.base, &counts);
            self.slot = None;
        }
        Looked { flow: flow.map(|flow| (flow, in_scope)), free: is_over.then_some(slot) }
    }

    /// One of its kind that was told is open; of an existing one the time counts from when it was found.
    fn opened(&mut self, id: FlowId) {
        let at_ns = u64::try_from(id.0 >> 64).unwrap_or(u64::MAX);
        for counts in [&mut self.base, &mut self.told] {
            counts.established = counts.established.wrapping_add(1);
        }
        self.base.open_ns_sum = self.base.open_ns_sum.wrapping_sub(at_ns);
    }

    fn closed(&mut self, totals: &Totals, receipts: &mut Receipts, at_ns: u64) {
        self.receipts.add(receipts.take());
        let base = &mut self.base;
        base.closed = base.closed.wrapping_add(1);
        base.open_ns_sum = base.open_ns_sum.wrapping_add(at_ns);
        base.bytes_sent = base.bytes_sent.wrapping_add(totals.bytes_sent);
        base.bytes_received = base.bytes_received.wrapping_add(totals.bytes_received);
        base.retransmits = base.retransmits.wrapping_add(totals.retransmits);
        base.srtt_us_sum = base.srtt_us_sum.wrapping_add(totals.srtt.sum_us);
    }

    /// What came since it was last told, in its slot and outside of it.
    fn take(
        &mut self,
        counted: Option<(Slot, &RepeatCounts)>,
        ledger: Option<&'static Ledger>,
        last: Timestamp,
        (now_ns, now): (u64, Timestamp),
    ) -> Option<Flow> {
        let since = std::mem::replace(&mut self.swept, now);
        let total = counted.map_or(self.base, |(_, counts)| plus(&self.base, counts));
        let new = minus(&total, &self.told);
        if new.established == 0 && new.closed == 0 {
            return None;
        }
        self.told = total;
        let mut flow = self.flow.clone();
        flow.receipts = self.take_receipts(counted, ledger);
        flow.count = new.established;
        flow.update = new.established == 0;
        flow.last = if new.established > 0 { last } else { now };
        // Of one, its time; of more, that they came after the last look.
        flow.first = if new.established > 1 { since.min(last) } else { flow.last };
        let slot = self.slot.map_or(u32::MAX, Slot::number);
        flow.id = FlowId((u128::from(now_ns) << 64) | (1 << 63) | u128::from(slot));
        if new.established > 0 {
            self.active_ns = now_ns;
        }
        if new.closed > 0 {
            let totals = Totals {
                duration_ns: self.timed.then(|| self.take_open_time(&total, now_ns)),
                bytes_sent: new.bytes_sent,
                bytes_received: new.bytes_received,
                retransmits: new.retransmits,
                srtt: measured(&new),
            };
            let totals = totals.as_opener(flow.direction);
            flow.duration_ns = totals.duration_ns;
            flow.bytes_sent = Some(totals.bytes_sent);
            flow.bytes_received = Some(totals.bytes_received);
            flow.retransmits = Some(totals.retransmits);
            flow.srtt = totals.srtt;
        }
        Some(flow)
    }

    /// The duty to tell of what was seen outside of the slot, and of what was counted in it since the last time.
    fn take_receipts(
        &mut self,
        counted: Option<(Slot, &RepeatCounts)>,
        ledger: Option<&'static Ledger>,
    ) -> Receipts {
        let mut receipts = Receipts::untracked();
        receipts.add(self.receipts.take());
        let Some((slot, counts)) = counted else { return receipts };
        let sums = sums_of(counts);
        let before = std::mem::replace(&mut self.handed, sums);
        if let Some((ledger, tally)) = ledger.and_then(|ledger| Some((ledger, ledger.tally()?)))
            && before != sums
        {
            let part =
                Part::new(slot.number(), std::array::from_fn(|sum| sums[sum].wrapping_sub(before[sum])));
            let doubtful = self.found.as_mut().is_some_and(|found| std::mem::take(&mut found.doubtful));
            let part = if doubtful { part.with_doubts_of(tally) } else { part };
            receipts.add(Receipts::of_part(ledger, part, doubtful));
        }
        receipts
    }

    /// Sum of the closes' times − sum of the handshakes' times + now for each that is open: how long they were
    /// open, all together. In wrapping numbers, since the sums themselves overflow.
    fn take_open_time(&mut self, total: &RepeatCounts, now_ns: u64) -> u64 {
        let open = total.established.wrapping_sub(total.closed);
        let open_ns = total.open_ns_sum.wrapping_add(open.wrapping_mul(now_ns)).cast_signed();
        // A close whose event is still on its way makes the time too long until it comes.
        let new = open_ns.saturating_sub(self.open_told_ns).max(0);
        self.open_told_ns = self.open_told_ns.max(open_ns);
        new.cast_unsigned()
    }
}

/// MPTCP's outer sockets have none of it.
fn measured(counts: &RepeatCounts) -> RoundTrip {
    let connections = if counts.srtt_us_sum > 0 { counts.closed } else { 0 };
    RoundTrip { sum_us: counts.srtt_us_sum, connections }
}

/// How the kernel half knows connections like this one, where it saw the socket.
pub(super) fn place_of(tried: &Tried, flow: &Flow) -> Option<Repeat> {
    let (direction, far) = match tried.origin {
        Origin::Opener => (Direction::Egress, tried.requested),
        Origin::Listener => (Direction::Ingress, listener_key(tried)?),
        Origin::Packet => return None,
    };
    Some(Repeat { cgroup_id: tried.cgroup_id?, direction, protocol: flow.protocol, far })
}

/// At the listener: who opened, and the listener's port.
fn listener_key(tried: &Tried) -> Option<SocketAddr> {
    Some(SocketAddr::new(tried.opener?.ip(), tried.requested.port()))
}

/// The kinds that a socket of this cgroup with these ends may belong to: it may be an opener's or a listener's.
pub(super) fn kinds_of(
    cgroup_id: u64,
    protocol: Protocol,
    local: SocketAddr,
    remote: SocketAddr,
) -> [Repeat; 2] {
    let kind = |direction, far| Repeat { cgroup_id, direction, protocol, far };
    [kind(Direction::Egress, remote), kind(Direction::Ingress, SocketAddr::new(remote.ip(), local.port()))]
}

fn counts_of(sums: &Sums) -> RepeatCounts {
    let [established, closed, bytes_sent, bytes_received, retransmits, srtt_us_sum] = *sums;
    RepeatCounts {
        established,
        closed,
        bytes_sent,
        bytes_received,
        retransmits,
        srtt_us_sum,
        ..RepeatCounts::default()
    }
}

fn plus(one: &RepeatCounts, other: &RepeatCounts) -> RepeatCounts {
    each(one, other, u64::wrapping_add)
}

fn minus(one: &RepeatCounts, other: &RepeatCounts) -> RepeatCounts {
    each(one, other, u64::wrapping_sub)
}

fn each(one: &RepeatCounts, other: &RepeatCounts, of: impl Fn(u64, u64) -> u64) -> RepeatCounts {
    RepeatCounts {
        established: of(one.established, other.established),
        closed: of(one.closed, other.closed),
        open_ns_sum: of(one.open_ns_sum, other.open_ns_sum),
        bytes_sent: of(one.bytes_sent, other.bytes_sent),
        bytes_received: of(one.bytes_received, other.bytes_received),
        retransmits: of(one.retransmits, other.retransmits),
        srtt_us_sum: of(one.srtt_us_sum, other.srtt_us_sum),
        last_ns: one.last_ns.max(other.last_ns),
    }
}
