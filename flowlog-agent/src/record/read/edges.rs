//! Edges in the making: everything that they name once, by number, and the sums.

use super::parts::{End, Said, ServiceName};
use super::wide::{self, FanKey, PortsKey, Side, Wide};
use crate::model::{
    Basis, Class, Decision, Direction, Edge, Origin, Place, PolicyRef, Protocol, RecordRef, State, Told,
    Traits,
};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use jiff::Timestamp;
use std::cmp::Ordering;
use std::hash::Hash;
use std::sync::Arc;

/// Edges at most, some 300 bytes each. There are as many as there are kinds of connection, not as many as records.
const MOST_EDGES: usize = 1_000_000;

/// Things by number, each once.
#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    numbers: HashMap<T, u32, RandomState>,
    things: Vec<T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { numbers: HashMap::default(), things: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    pub(super) fn number(&mut self, thing: &T) -> u32 {
        if let Some(number) = self.numbers.get(thing) {
            return *number;
        }
        let number = u32::try_from(self.things.len()).unwrap_or(u32::MAX);
        self.things.push(thing.clone());
        self.numbers.insert(thing.clone(), number);
        number
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.things.get(usize::try_from(number).ok()?)
    }

    fn all(&self) -> &[T] {
        &self.things
    }
}

/// Who stands at an end, as far as it tells edges apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) place: Place,
    pub(super) container: Option<Arc<str>>,
    pub(super) image: Option<Arc<str>>,
    pub(super) origin: Option<Origin>,
    pub(super) vendor: Option<Arc<str>>,
}

impl Identity {
    pub(super) fn of(place: &Place, traits: &Traits) -> Self {
        let Traits { container, image, origin, vendor, .. } = traits.clone();
        Self { place: place.clone(), container, image, origin, vendor }
    }
}

/// An end as a line names it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) identity: Arc<Identity>,
    pub(super) traits: Arc<Traits>,
    wide: bool,
    /// Its number, where it stands in an edge as it is.
    number: Option<u32>,
}

impl Known {
    pub(super) fn of(end: End) -> Self {
        let identity = Arc::new(Identity::of(&end.place, &end.traits));
        Self { wide: wide::is_wide(&end.place), identity, traits: Arc::new(end.traits), number: None }
    }

    /// The service, where the end is one.
    pub(super) fn service(&self) -> Option<ServiceName> {
        match &self.identity.place {
            Place::Service { namespace, name } => Some((Arc::clone(namespace), Arc::clone(name))),
            _ => None,
        }
    }
}

/// An end, and what its last record says of it.
#[derive(Clone, Debug)]
struct Party {
    identity: Arc<Identity>,
    traits: Arc<Traits>,
    /// Of that record: its labels were not left out, and when it was.
    told: (bool, Timestamp),
}

/// What tells connections of two ends apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) service: Option<u32>,
    pub(super) said: u32,
    pub(super) direction: Direction,
    pub(super) protocol: Protocol,
    pub(super) port: Option<u16>,
    pub(super) class: Class,
    pub(super) state: State,
}

/// What tells edges apart, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: u32,
    destination: u32,
    kind: Kind,
}

/// What is added up.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    pub(super) count: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// Lines beyond those of attempts that went to another edge, where it is known what became of them.
    pub(super) lines: u64,
    /// File, by number, and line.
    pub(super) example: (u32, u64),
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.bytes_sent = self.bytes_sent.saturating_add(other.bytes_sent);
        self.bytes_received = self.bytes_received.saturating_add(other.bytes_received);
        self.lines = self.lines.saturating_add(other.lines);
        self.example = self.example.min(other.example);
    }
}

/// The edges.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    numbers: HashMap<Arc<Identity>, u32, RandomState>,
    parties: Vec<Party>,
    services: Numbered<ServiceName>,
    said: Numbered<Said>,
    keys: HashMap<Key, u32, RandomState>,
    sums: Vec<(Key, Sums)>,
    wide: Wide,
    /// Attempts that would have begun more edges than there may be.
    left_out: u64,
}

impl Edges {
    fn party(&mut self, identity: &Arc<Identity>, traits: &Arc<Traits>) -> u32 {
        if let Some(number) = self.numbers.get(identity) {
            return *number;
        }
        let number = number_of(self.parties.len());
        let (identity, traits) = (Arc::clone(identity), Arc::clone(traits));
        self.numbers.insert(Arc::clone(&identity), number);
        self.parties.push(Party { identity, traits, told: (false, Timestamp::MIN) });
        number
    }

    pub(super) fn service(&mut self, service: &ServiceName) -> u32 {
        self.services.number(service)
    }

    pub(super) fn said(&mut self, said: &Said) -> u32 {
        self.said.number(said)
    }

    /// What a record says of an end counts until a later one says otherwise.
    fn describe(&mut self, party: u32, traits: &Arc<Traits>, told: (bool, Timestamp)) {
        let Some(party) = place_of(party).and_then(|place| self.parties.get_mut(place)) else { return };
        let later = match told.cmp(&party.told) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => described(traits) > described(&party.traits),
        };
        if later {
            party.told = told;
            if !Arc::ptr_eq(&party.traits, traits) {
                party.traits = Arc::clone(traits);
            }
        }
    }

    /// Add to an edge, and give its number; nothing where there are too many. `whole` are lines without labels left out.
    pub(super) fn add(
        &mut self,
        source: &mut Known,
        destination: &mut Known,
        kind: Kind,
        sums: Sums,
        whole: bool,
    ) -> Option<u32> {
        let known = source
            .number
            .zip(destination.number)
            .and_then(|(source, destination)| self.keys.get(&Key { source, destination, kind }).copied());
        let told = (whole, sums.last);
        let number = match known {
            Some(number) => {
                self.sums.get_mut(place_of(number)?)?.1.add(&sums);
                number
            }
            None => {
                let key = self.admit(source, destination, kind, &sums)?;
                self.begin(key, sums)
            }
        };
        for end in [source, destination] {
            if let Some(party) = end.number.filter(|_| !end.wide) {
                self.describe(party, &end.traits, told);
            }
        }
        Some(number)
    }

    /// The key of an edge that may be new; what there are too many of is put together.
    fn admit(&mut self, source: &mut Known, destination: &mut Known, kind: Kind, sums: &Sums) -> Option<Key> {
        if self.sums.len() >= MOST_EDGES {
            self.left_out = self.left_out.saturating_add(sums.count);
            return None;
        }
        for end in [&mut *source, &mut *destination] {
            if !end.wide && end.number.is_none() {
                end.number = Some(self.party(&end.identity, &end.traits));
            }
        }
        let Kind { direction, protocol, .. } = kind;
        let near = |end: &Known| end.number.filter(|_| !end.wide);
        let (near_source, near_destination) = (near(source), near(destination));
        let ports = PortsKey { source: near_source, destination: near_destination, direction, protocol };
        let port = self.wide.port(ports, kind.port);
        let far = |edges: &mut Self, end: &mut Known, side: Side, near: Option<u32>| {
            if let Some(number) = end.number.filter(|_| !end.wide) {
                return number;
            }
            let identity = edges.wide.end(FanKey { side, near, direction, protocol, port }, &end.identity);
            let number = edges.party(&identity, &end.traits);
            if Arc::ptr_eq(&identity, &end.identity) {
                end.number = Some(number);
            }
            number
        };
        let source = far(self, source, Side::Source, near_destination);
        let destination = far(self, destination, Side::Destination, near_source);
        Some(Key { source, destination, kind: Kind { port, ..kind } })
    }

    fn begin(&mut self, key: Key, sums: Sums) -> u32 {
        if let Some(number) = self.keys.get(&key) {
            let number = *number;
            if let Some((_, known)) = place_of(number).and_then(|place| self.sums.get_mut(place)) {
                known.add(&sums);
            }
            return number;
        }
        let number = number_of(self.sums.len());
        self.sums.push((key, sums));
        self.keys.insert(key, number);
        number
    }

    /// One attempt of this edge became what that edge tells.
    pub(super) fn move_one(&mut self, from: u32, to: u32) {
        match place_of(from).and_then(|from| self.sums.get_mut(from)) {
            Some((_, sums)) if sums.count > 0 => {
                sums.count -= 1;
                sums.lines = sums.lines.saturating_sub(1);
            }
            _ => return,
        }
        if let Some((_, sums)) = place_of(to).and_then(|to| self.sums.get_mut(to)) {
            sums.count = sums.count.saturating_add(1);
        }
    }

    /// Take over another's edges. `examples` gives what an example's file and line are here. Gives the edges' numbers here.
    pub(super) fn merge(
        &mut self,
        other: Self,
        examples: impl Fn((u32, u64)) -> (u32, u64),
    ) -> Vec<Option<u32>> {
        let mut ends: Vec<Known> = Vec::with_capacity(other.parties.len());
        for party in &other.parties {
            let (identity, traits) = (Arc::clone(&party.identity), Arc::clone(&party.traits));
            let wide = wide::is_wide(&identity.place);
            let number = (!wide).then(|| self.party(&identity, &traits));
            if let Some(number) = number {
                self.describe(number, &traits, party.told);
            }
            ends.push(Known { identity, traits, wide, number });
        }
        self.wide.raise(&other.wide, |near| ends.get(place_of(near)?)?.number);
        let services: Vec<u32> = other.services.all().iter().map(|one| self.services.number(one)).collect();
        let said: Vec<u32> = other.said.all().iter().map(|one| self.said.number(one)).collect();
        self.left_out = self.left_out.saturating_add(other.left_out);
        let mut numbers = Vec::with_capacity(other.sums.len());
        for (key, mut sums) in other.sums {
            let end = |number: u32| ends.get(place_of(number)?).cloned();
            let told = key.kind.service.map(|service| services.get(place_of(service)?).copied());
            let (Some(mut source), Some(mut destination), Some(said)) = (
                end(key.source),
                end(key.destination),
                place_of(key.kind.said).and_then(|place| said.get(place).copied()),
            ) else {
                numbers.push(None);
                continue;
            };
            sums.example = examples(sums.example);
            let kind = Kind { service: told.flatten(), said, ..key.kind };
            let admitted = self.admit(&mut source, &mut destination, kind, &sums);
            numbers.push(admitted.map(|key| self.begin(key, sums)));
        }
        numbers
    }

    /// The edges, what was put together in words.
    pub(super) fn finish(mut self, file: impl Fn(u32) -> Arc<str>) -> (Vec<Edge>, Vec<String>) {
        self.wide.settle();
        let mut settled: HashMap<Key, u32, RandomState> = HashMap::default();
        let mut sums: Vec<(Key, Sums)> = Vec::with_capacity(self.sums.len());
        for (key, more) in std::mem::take(&mut self.sums) {
            // What became of all its attempts is told by others.
            if more.count == 0 && more.lines == 0 {
                continue;
            }
            let Some(key) = self.settled(key) else { continue };
            match settled.get(&key).and_then(|number| sums.get_mut(place_of(*number)?)) {
                Some((_, known)) => known.add(&more),
                None => {
                    settled.insert(key, number_of(sums.len()));
                    sums.push((key, more));
                }
            }
        }
        drop((settled, std::mem::take(&mut self.keys)));
        let mut limits = self.wide.limits();
        if self.left_out > 0 {
            limits.push(format!(
                "there are more than {MOST_EDGES} edges: {} attempts of others are left out",
                self.left_out
            ));
        }
        let mut edges: Vec<Edge> =
            sums.into_iter().filter_map(|(key, sums)| self.edge(key, &sums, &file)).collect();
        edges.sort_by(order);
        (edges, limits)
    }

    fn settled(&mut self, key: Key) -> Option<Key> {
        let Kind { direction, protocol, .. } = key.kind;
        let party = |number: u32| {
            let party = self.parties.get(place_of(number)?)?;
            Some((party.clone(), wide::is_wide(&party.identity.place)))
        };
        let ((source, wide_source), (destination, wide_destination)) =
            (party(key.source)?, party(key.destination)?);
        let near_source = (!wide_source).then_some(key.source);
        let near_destination = (!wide_destination).then_some(key.destination);
        let ports = PortsKey { source: near_source, destination: near_destination, direction, protocol };
        let port = self.wide.settled_port(&ports, key.kind.port);
        let fan = |side: Side, near: Option<u32>| FanKey { side, near, direction, protocol, port };
        let mut number = |party: Party, known: u32, wide: bool, fan: FanKey| {
            if !wide {
                return known;
            }
            let identity = self.wide.settled_end(&fan, &party.identity);
            self.party(&identity, &party.traits)
        };
        let source = number(source, key.source, wide_source, fan(Side::Source, near_destination));
        let destination =
            number(destination, key.destination, wide_destination, fan(Side::Destination, near_source));
        Some(Key { source, destination, kind: Kind { port, ..key.kind } })
    }

    fn edge(&self, key: Key, sums: &Sums, file: &impl Fn(u32) -> Arc<str>) -> Option<Edge> {
        let party = |number: u32| self.parties.get(place_of(number)?);
        let (source, destination) = (party(key.source)?, party(key.destination)?);
        let said = self.said.get(key.kind.said)?.clone();
        let Kind { service, direction, protocol, port, class, state, .. } = key.kind;
        Some(Edge {
            source: source.identity.place.clone(),
            destination: destination.identity.place.clone(),
            source_traits: Arc::clone(&source.traits),
            destination_traits: Arc::clone(&destination.traits),
            service: service.and_then(|service| self.services.get(service).cloned()),
            direction,
            protocol,
            port,
            class,
            state,
            decision: said.decision,
            egress: said.egress,
            ingress: said.ingress,
            count: sums.count,
            first: sums.first,
            last: sums.last,
            bytes_sent: sums.bytes_sent,
            bytes_received: sums.bytes_received,
            example: RecordRef { file: file(sums.example.0), line: Some(sums.example.1) },
        })
    }
}

/// What is compared where two records of the same moment describe an end.
fn described(traits: &Traits) -> impl PartialOrd {
    (
        &*traits.labels,
        &*traits.namespace_labels,
        &traits.image_digest,
        &traits.service_account,
        traits.host_network,
        traits.sensitive,
    )
}

/// An order that hangs on nothing but what edges are.
fn order(one: &Edge, other: &Edge) -> Ordering {
    let ends =
        |edge: &Edge| (edge.direction, edge.protocol, edge.port, edge.class, edge.state, edge.decision);
    (&one.source, &one.destination, &one.service)
        .cmp(&(&other.source, &other.destination, &other.service))
        .then_with(|| ends(one).cmp(&ends(other)))
        .then_with(|| told(&one.egress).cmp(&told(&other.egress)))
        .then_with(|| told(&one.ingress).cmp(&told(&other.ingress)))
        .then_with(|| told_apart(&one.source_traits).cmp(&told_apart(&other.source_traits)))
        .then_with(|| told_apart(&one.destination_traits).cmp(&told_apart(&other.destination_traits)))
}

fn told(told: &Told) -> (Decision, Basis, &[PolicyRef]) {
    (told.decision, told.basis, &told.policies)
}

fn told_apart(traits: &Traits) -> impl Ord {
    (&traits.container, &traits.image, traits.origin, &traits.vendor)
}

fn number_of(place: usize) -> u32 {
    // There are at most a few million of anything.
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn place_of(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}
