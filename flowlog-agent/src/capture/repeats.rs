//! Connections that the kernel half counts rather than tells: which, how many there were, and how many of these an agent
//! before has told.

use super::clock;
use super::load::LoadError;
use super::ring::{Maps, refused};
use crate::model::tally::{Context, Standing, Sums, words_of};
use crate::model::{Direction, Ledger, Protocol, Tally, normalise};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use flowlog_common::repeat::{EGRESS, INGRESS, MOST_REPEATS, RepeatKey};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

pub use flowlog_common::repeat::RepeatCounts;

/// What connections that are counted have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repeat {
    /// Cgroup of the socket of this end.
    pub cgroup_id: u64,
    /// Egress: counted at the opener; ingress: at the listener.
    pub direction: Direction,
    /// Protocol; the kernel half counts TCP.
    pub protocol: Protocol,
    /// Egress: the listener. Ingress: the opener's address, with the listener's port.
    pub far: SocketAddr,
}

/// Where connections of one kind are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    /// Its place, from 0.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A slot of a test.
#[cfg(test)]
impl From<u32> for Slot {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

/// [`RepeatKey`] under a type of ours, so that aya may write it to a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Key(RepeatKey);

/// [`RepeatCounts`], as above.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Counts(RepeatCounts);

// SAFETY: `repr(C)`, made of integers alone, without padding (asserted where it is declared).
#[expect(unsafe_code, reason = "aya asks for a promise about the layout")]
unsafe impl aya::Pod for Key {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "aya asks for a promise about the layout")]
unsafe impl aya::Pod for Counts {}

/// A kind that is counted, with what else is the same of all its connections: enough to tell them by, for an agent that
/// saw none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What they have in common in the kernel half.
    pub repeat: Repeat,
    /// This end, but for an opener's port; absent where it was not seen.
    pub near: Option<SocketAddr>,
    /// Its listener is on this node, and took them.
    pub accepted: bool,
}

/// A kind that an agent before had counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// The kind.
    pub kind: Kind,
    /// Where it was counted; absent where all is told, and only what is still open may be heard of.
    pub slot: Option<Slot>,
    /// What was told of it.
    pub told: Sums,
    /// An output may have more than that.
    pub doubtful: bool,
    /// Connections that were told by events and are counted when they close.
    pub carried: u64,
}

/// Accounts of the tally: the slots', and some for what else is told by what it adds up to.
pub(super) const ACCOUNTS: usize = MOST_REPEATS + MORE_ACCOUNTS;
/// Accounts beside those of slots.
const MORE_ACCOUNTS: usize = 128;

/// Number of the account of events that were lost with agents.
pub const KILLED: u32 = 100;

/// Account of one of what else is told by what it adds up to, from 0.
pub fn account_of(number: u32) -> u32 {
    u32::try_from(MOST_REPEATS).unwrap_or(u32::MAX).saturating_add(number)
}

/// Words of the tally.
pub(super) const TALLY_WORDS: usize = words_of(ACCOUNTS);

/// A kind that was left so long ago is not asked for any more: Linux gives up a SYN after 127 s.
const LEFT_KEPT_NS: u64 = 140_000_000_000;

/// The maps, and which slots are free.
pub(super) struct Repeats {
    keys: HashMap<MapData, Key, u32>,
    counts: Array<MapData, Counts>,
    /// The one that was given back longest ago first: what was counted in it is forgotten then.
    free: VecDeque<u32>,
    /// Slots in which nothing is counted any more, with what is to be told of each before it is free.
    left: Vec<(u32, Sums)>,
    ledger: Option<&'static Ledger>,
    behind: Vec<LeftBehind>,
}

impl Repeats {
    /// With what an agent before has left, where it outlives the agent: from now on nothing is counted of it.
    pub(super) fn take(maps: &mut Maps<'_>, ledger: Option<&'static Ledger>) -> Result<Self, LoadError> {
        let mut take = |name: &str| maps.take(name);
        let mut repeats = Self {
            keys: HashMap::try_from(take("REPEATS")?).map_err(|error| refused("REPEATS", &error))?,
            counts: Array::try_from(take("REPEAT_COUNTS")?)
                .map_err(|error| refused("REPEAT_COUNTS", &error))?,
            free: VecDeque::new(),
            left: Vec::new(),
            ledger,
            behind: Vec::new(),
        };
        repeats.stop_all().map_err(|error| refused("REPEATS", &error))?;
        let now_ns = clock::now_ns()?;
        for slot in 0..u32::try_from(MOST_REPEATS).unwrap_or(u32::MAX) {
            match repeats.find_left(slot, now_ns).map_err(|error| refused("REPEAT_COUNTS", &error))? {
                Some(behind) => {
                    if behind.slot.is_none() {
                        repeats.free.push_back(slot);
                    }
                    repeats.behind.push(behind);
                }
                None => repeats.free.push_back(slot),
            }
        }
        Ok(repeats)
    }

    fn tally(&self) -> Option<&'static Tally> {
        self.ledger.and_then(Ledger::tally)
    }

    fn stop_all(&mut self) -> Result<(), MapError> {
        let keys: Vec<Key> = self.keys.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| self.keys.remove(key))
    }

    /// What an agent before has counted in a slot.
    fn find_left(&self, slot: u32, now_ns: u64) -> Result<Option<LeftBehind>, MapError> {
        let Some(tally) = self.tally() else { return Ok(None) };
        let standing = tally.standing(slot);
        let counting = match standing {
            Standing::Free => return Ok(None),
            Standing::Left(at_ns) if now_ns.saturating_sub(at_ns) > LEFT_KEPT_NS => return Ok(None),
            Standing::Left(_) => false,
            Standing::Open => true,
        };
        let Some(kind) = kind_of(&tally.context(slot)) else { return Ok(None) };
        let told = tally.told(slot);
        let counted = sums_of(&self.read(Slot(slot))?);
        if counting && told.iter().zip(counted).any(|(told, counted)| *told > counted) {
            tracing::warn!(slot, "more was told of a kind than was counted: it is begun anew");
            return Ok(None);
        }
        Ok(Some(LeftBehind {
            kind,
            slot: counting.then_some(Slot(slot)),
            told,
            doubtful: counting && tally.is_doubtful(slot),
            carried: if counting { tally.carried(slot) } else { 0 },
        }))
    }

    /// What an agent before has left.
    pub(super) fn take_left(&mut self) -> Vec<LeftBehind> {
        std::mem::take(&mut self.behind)
    }

    /// Count such connections from now on; `None` where no slot is free.
    pub(super) fn start(&mut self, kind: &Kind) -> Result<Option<Slot>, MapError> {
        self.find_free();
        let Some(slot) = self.free.pop_front() else { return Ok(None) };
        match self.start_in(slot, kind) {
            Ok(()) => Ok(Some(Slot(slot))),
            Err(error) => {
                if let Some(tally) = self.tally() {
                    tally.leave(slot, 0);
                }
                self.free.push_back(slot);
                Err(error)
            }
        }
    }

    /// What the slot had counted goes before it is another's, and it is another's before anything is counted.
    fn start_in(&mut self, slot: u32, kind: &Kind) -> Result<(), MapError> {
        self.counts.set(slot, Counts(RepeatCounts::default()), 0)?;
        if let Some(tally) = self.tally() {
            tally.open(slot, &context_of(kind));
        }
        self.keys.insert(key_of(&kind.repeat), slot, 0)
    }

    /// Slots of which all is told by now.
    fn find_free(&mut self) {
        let (Some(tally), Ok(now_ns)) = (self.tally(), clock::now_ns()) else { return };
        let Self { left, free, .. } = self;
        left.retain(|(slot, counted)| {
            let told = tally.told(*slot) == *counted;
            if told {
                tally.leave(*slot, now_ns);
                free.push_back(*slot);
            }
            !told
        });
    }

    pub(super) fn stop(&mut self, repeat: &Repeat) -> Result<(), MapError> {
        match self.keys.remove(&key_of(repeat)) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Nothing more is counted in it.
    pub(super) fn release(&mut self, slot: Slot) -> Result<(), MapError> {
        if self.tally().is_none() {
            self.free.push_back(slot.0);
            return Ok(());
        }
        let counted = sums_of(&self.read(slot)?);
        self.left.push((slot.0, counted));
        self.find_free();
        Ok(())
    }

    pub(super) fn read(&self, slot: Slot) -> Result<RepeatCounts, MapError> {
        Ok(self.counts.get(&slot.0, 0)?.0)
    }
}

pub(super) fn key_of(repeat: &Repeat) -> Key {
    let octets = match repeat.far.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let word = |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
    Key(RepeatKey {
        cgroup_id: repeat.cgroup_id,
        address: [word(0), word(4), word(8), word(12)],
        port: repeat.far.port(),
        direction: match repeat.direction {
            Direction::Egress => EGRESS,
            Direction::Ingress => INGRESS,
        },
        protocol: number_of(repeat.protocol),
        reserved: 0,
    })
}

/// Connections that were counted and that nobody has told.
pub(super) fn count_untold(tally: &Tally, counts: Map) -> Result<u64, MapError> {
    let counts: Array<MapData, Counts> = Array::try_from(counts)?;
    let mut untold = 0;
    for slot in 0..u32::try_from(MOST_REPEATS).unwrap_or(u32::MAX) {
        if tally.standing(slot) == Standing::Open {
            let Counts(counted) = counts.get(&slot, 0)?;
            untold += counted.established.saturating_sub(tally.told(slot)[0]);
        }
    }
    Ok(untold)
}

/// What is told of counts by what it adds up to; the rest is derived.
pub fn sums_of(counts: &RepeatCounts) -> Sums {
    [
        counts.established,
        counts.closed,
        counts.bytes_sent,
        counts.bytes_received,
        counts.retransmits,
        counts.srtt_us_sum,
    ]
}

const HAS_NEAR: u64 = 1;
const ACCEPTED: u64 = 2;

fn context_of(kind: &Kind) -> Context {
    let Kind { repeat, near, accepted } = kind;
    let [far_high, far_low] = words_of_ip(repeat.far.ip());
    let [near_high, near_low] = near.map_or([0; 2], |near| words_of_ip(near.ip()));
    let Key(key) = key_of(repeat);
    let what = u64::from(key.direction) << 32 | u64::from(key.protocol) << 16 | u64::from(key.port);
    let flags = if near.is_some() { HAS_NEAR } else { 0 } | if *accepted { ACCEPTED } else { 0 };
    let near_port = u64::from(near.map_or(0, |near| near.port()));
    [repeat.cgroup_id, far_high, far_low, what, near_high, near_low, near_port << 16 | flags]
}

/// `None` where it was written by who knows what.
fn kind_of(context: &Context) -> Option<Kind> {
    let [cgroup_id, far_high, far_low, what, near_high, near_low, more] = *context;
    // Sixteen bits fit.
    let port = |word: u64| u16::try_from(word & 0xffff).unwrap_or(0);
    let direction = match u8::try_from(what >> 32).ok()? {
        EGRESS => Direction::Egress,
        INGRESS => Direction::Ingress,
        _ => return None,
    };
    let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Icmp];
    let protocol = known.into_iter().find(|one| u64::from(number_of(*one)) == (what >> 16) & 0xff)?;
    let far = SocketAddr::new(ip_of(far_high, far_low), port(what));
    let near = SocketAddr::new(ip_of(near_high, near_low), port(more >> 16));
    Some(Kind {
        repeat: Repeat { cgroup_id, direction, protocol, far },
        near: (more & HAS_NEAR != 0).then_some(near),
        accepted: more & ACCEPTED != 0,
    })
}

fn words_of_ip(ip: IpAddr) -> [u64; 2] {
    let bits = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    // Each half fits.
    [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0))
}

fn ip_of(high: u64, low: u64) -> IpAddr {
    normalise(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into())
}

fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => 1,
        Protocol::Icmpv6 => 58,
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_laid_out_as_the_kernel_half_makes_it() {
        let repeat = Repeat {
            cgroup_id: 7,
            direction: Direction::Ingress,
            protocol: Protocol::Tcp,
            far: "10.0.0.9:5432".parse().unwrap(),
        };
        let Key(key) = key_of(&repeat);
        assert_eq!((key.cgroup_id, key.port, key.direction, key.protocol), (7, 5432, INGRESS, 6));
        assert_eq!(key.address, [0, 0, 0xffff_u32.to_be(), u32::from_be_bytes([10, 0, 0, 9]).to_be()]);
    }

    #[test]
    fn a_kind_is_read_as_it_was_kept() {
        let kind = |direction, far: &str, near: Option<&str>, accepted| Kind {
            repeat: Repeat {
                cgroup_id: u64::MAX,
                direction,
                protocol: Protocol::Tcp,
                far: far.parse().unwrap(),
            },
            near: near.map(|near| near.parse().unwrap()),
            accepted,
        };
        let kinds = [
            kind(Direction::Egress, "10.0.0.9:5432", Some("10.0.0.1:0"), true),
            kind(Direction::Ingress, "[fd00::9]:65535", Some("[fd00:1::1]:65535"), true),
            kind(Direction::Egress, "[2001:db8:1:2:3:4:5:6]:1", None, false),
        ];
        for kind in kinds {
            assert_eq!(kind_of(&context_of(&kind)), Some(kind));
        }
        assert_eq!(kind_of(&[7; 7]), None);
    }
}
