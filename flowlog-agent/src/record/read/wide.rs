//! What there can be too many of: addresses outside the cluster, or not known, and ports. Up to a number each is told apart,
//! beyond it they are put together.
//!
//! Whether they are hangs on how many there are in all, not on the order in which they came: those that were told apart until
//! then are put together at the end, too.

use super::edges::{Identity, Numbered};
use crate::model::{Direction, Place, Protocol};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Far ends of one kind of connection that are told apart: addresses; then names, networks, blocks; likewise ports.
pub(super) const MOST: usize = 256;

/// Addresses of clouds' metadata: each is a finding of its own, and is never put together with others.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// How far the far ends of one kind are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Not at all.
    #[default]
    Each,
    /// By name, else by network, else by block.
    Grouped,
    /// All of them.
    All,
}

/// Which end is one of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    /// The opener.
    Source,
    /// The listener.
    Destination,
}

/// A kind of connection whose one end may be many. The near end is absent where that may be many, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FanKey {
    pub(super) side: Side,
    pub(super) near: Option<u32>,
    pub(super) direction: Direction,
    pub(super) protocol: Protocol,
    pub(super) port: Option<u16>,
}

/// A kind of connection that may be to many ports; an end is absent where it may be many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PortsKey {
    pub(super) source: Option<u32>,
    pub(super) destination: Option<u32>,
    pub(super) direction: Direction,
    pub(super) protocol: Protocol,
}

impl PortsKey {
    /// The same kind, by its near end.
    fn of(fan: &FanKey) -> Self {
        let FanKey { side, near, direction, protocol, .. } = *fan;
        let (source, destination) = match side {
            Side::Source => (None, near),
            Side::Destination => (near, None),
        };
        Self { source, destination, direction, protocol }
    }
}

#[derive(Clone, Debug, Default)]
struct Fan {
    level: Level,
    members: HashSet<u32, RandomState>,
}

#[derive(Clone, Debug, Default)]
struct Ports {
    together: bool,
    members: HashSet<u16, RandomState>,
}

/// How much there is of what there can be too much of.
#[derive(Clone, Debug, Default)]
pub(super) struct Wide {
    /// Far ends by number, as far as they are told apart.
    ends: Numbered<Arc<Identity>>,
    fans: HashMap<FanKey, Fan, RandomState>,
    ports: HashMap<PortsKey, Ports, RandomState>,
}

/// Whether there can be many of its kind.
pub(super) fn is_wide(place: &Place) -> bool {
    match place {
        Place::External { ip, .. } | Place::Unknown { ip } => !ip.is_some_and(|ip| METADATA.contains(&ip)),
        _ => false,
    }
}

/// The place as it stands at this level.
fn at_level(place: &Place, level: Level) -> Place {
    match (place, level) {
        (_, Level::Each) => place.clone(),
        (Place::External { .. }, Level::All) => Place::External { ip: None, name: None, network: None },
        (Place::External { ip, name, network }, Level::Grouped) => {
            let block = || ip.and_then(block_of).map(|block| Arc::from(block.to_string()));
            let network = network.clone().or_else(|| if name.is_some() { None } else { block() });
            Place::External { ip: None, name: name.clone(), network }
        }
        (Place::Unknown { .. }, _) => Place::Unknown { ip: None },
        (other, _) => other.clone(),
    }
}

fn block_of(ip: IpAddr) -> Option<IpNet> {
    IpNet::new(ip, if ip.is_ipv4() { 24 } else { 64 }).ok().map(|block| block.trunc())
}

impl Wide {
    /// The end as it is to stand in an edge of this kind.
    pub(super) fn end(&mut self, key: FanKey, identity: &Arc<Identity>) -> Arc<Identity> {
        let fan = self.fans.entry(key).or_default();
        loop {
            let level = fan.level;
            let end = lifted(identity, level);
            let number = self.ends.number(&end);
            if level == Level::All || fan.members.contains(&number) {
                return end;
            }
            if fan.members.len() < MOST {
                fan.members.insert(number);
                return end;
            }
            fan.level = if level == Level::Each { Level::Grouped } else { Level::All };
            fan.members = HashSet::default();
        }
    }

    /// The port as it is to stand in an edge of this kind.
    pub(super) fn port(&mut self, key: PortsKey, port: Option<u16>) -> Option<u16> {
        let port = port?;
        let ports = self.ports.entry(key).or_default();
        if !ports.together && !ports.members.contains(&port) {
            ports.members.insert(port);
            if ports.members.len() > MOST {
                *ports = Ports { together: true, members: HashSet::default() };
            }
        }
        (!ports.together).then_some(port)
    }

    /// Take over how far another's are put together; `near` gives its ends' numbers here.
    pub(super) fn raise(&mut self, other: &Self, near: impl Fn(u32) -> Option<u32>) {
        let translated = |end: Option<u32>| match end {
            Some(end) => near(end).map(Some),
            None => Some(None),
        };
        for (key, fan) in other.fans.iter().filter(|(_, fan)| fan.level > Level::Each) {
            let Some(near) = translated(key.near) else { continue };
            self.raise_to(FanKey { near, ..*key }, fan.level);
        }
        for (key, _) in other.ports.iter().filter(|(_, ports)| ports.together) {
            let ends = translated(key.source).zip(translated(key.destination));
            let Some((source, destination)) = ends else { continue };
            let together = Ports { together: true, members: HashSet::default() };
            self.ports.insert(PortsKey { source, destination, ..*key }, together);
        }
    }

    fn raise_to(&mut self, key: FanKey, level: Level) {
        let fan = self.fans.entry(key).or_default();
        if fan.level >= level {
            return;
        }
        let members = std::mem::take(&mut fan.members);
        fan.level = level;
        self.admit(key, members);
    }

    fn admit(&mut self, key: FanKey, members: impl IntoIterator<Item = u32>) {
        for member in members {
            if let Some(identity) = self.ends.get(member).cloned() {
                self.end(key, &identity);
            }
        }
    }

    /// Where ports are put together, the far ends of all of them are of one kind.
    pub(super) fn settle(&mut self) {
        let together = |key: &FanKey| {
            key.port.is_some() && self.ports.get(&PortsKey::of(key)).is_some_and(|ports| ports.together)
        };
        let found: Vec<_> = self.fans.iter().filter(|(key, _)| together(key)).collect();
        let found: Vec<(FanKey, Level, Vec<u32>)> = found
            .into_iter()
            .map(|(key, fan)| (*key, fan.level, fan.members.iter().copied().collect()))
            .collect();
        for (key, level, members) in found {
            let whole = FanKey { port: None, ..key };
            self.raise_to(whole, level);
            self.admit(whole, members);
            self.fans.remove(&key);
        }
    }

    /// The port as it stands at the end.
    pub(super) fn settled_port(&self, key: &PortsKey, port: Option<u16>) -> Option<u16> {
        port.filter(|_| !self.ports.get(key).is_some_and(|ports| ports.together))
    }

    /// The end as it stands at the end.
    pub(super) fn settled_end(&self, key: &FanKey, identity: &Arc<Identity>) -> Arc<Identity> {
        lifted(identity, self.fans.get(key).map_or(Level::Each, |fan| fan.level))
    }

    /// What was put together, in words.
    pub(super) fn limits(&self) -> Vec<String> {
        let at = |level: Level| self.fans.values().filter(|fan| fan.level >= level).count();
        let ports = self.ports.values().filter(|ports| ports.together).count();
        let mut limits = Vec::new();
        let mut say = |count: usize, what: &str| {
            if count > 0 {
                limits.push(format!("{count} kinds of connection (who, port, protocol) {what}"));
            }
        };
        say(
            at(Level::Grouped),
            &format!(
                "have more than {MOST} addresses outside the cluster, or unknown ones, at the other end: these are put \
                 together by name, by network, or by block (/24, /64)"
            ),
        );
        say(at(Level::All), &format!("have more than {MOST} of these, too: they are one"));
        say(ports, &format!("have more than {MOST} ports: they are one, without a port"));
        limits
    }
}

fn lifted(identity: &Arc<Identity>, level: Level) -> Arc<Identity> {
    match level {
        Level::Each => Arc::clone(identity),
        _ => Arc::new(Identity { place: at_level(&identity.place, level), ..Identity::clone(identity) }),
    }
}
