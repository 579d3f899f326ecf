//! Attempts whose own port is not known yet: a packet of theirs that has lost its socket is known by where it goes. Found
//! by what they dialed, since a storm of drops would else look at every attempt for each packet.

use crate::model::Protocol;
use foldhash::{HashMap, HashSet};
use std::collections::VecDeque;
use std::net::SocketAddr;

type Dialed = (Protocol, SocketAddr);

/// How much room is kept for the next that dial what nobody dials at present: so many times for so many attempts.
const SPARE: usize = 16;
const SPARE_ROOM: usize = 64;

#[derive(Default)]
pub(super) struct Connecting {
    attempts: HashMap<u64, (u64, Dialed)>,
    /// Boot time and cookie of each attempt, in order, by what it dialed. Nearly all come at the end and go from the
    /// beginning.
    by_dialed: HashMap<Dialed, VecDeque<(u64, u64)>>,
    /// Those of the above that are the address of a service.
    services: HashSet<Dialed>,
    /// Room of such as have none any more.
    spare: Vec<VecDeque<(u64, u64)>>,
}

impl Connecting {
    pub(super) fn insert(
        &mut self,
        cookie: u64,
        boot_ns: u64,
        protocol: Protocol,
        dialed: SocketAddr,
        service: bool,
    ) {
        self.remove(cookie);
        let dialed = (protocol, dialed);
        self.attempts.insert(cookie, (boot_ns, dialed));
        let spare = &mut self.spare;
        let alike = self.by_dialed.entry(dialed).or_insert_with(|| spare.pop().unwrap_or_default());
        let place = alike.binary_search(&(boot_ns, cookie)).unwrap_or_else(|place| place);
        alike.insert(place, (boot_ns, cookie));
        if service {
            self.services.insert(dialed);
        }
    }

    pub(super) fn remove(&mut self, cookie: u64) {
        let Some((boot_ns, dialed)) = self.attempts.remove(&cookie) else { return };
        let Some(alike) = self.by_dialed.get_mut(&dialed) else { return };
        if let Ok(place) = alike.binary_search(&(boot_ns, cookie)) {
            alike.remove(place);
        }
        if alike.is_empty() {
            let room = self.by_dialed.remove(&dialed);
            self.spare.extend(room.filter(|room| room.capacity() <= SPARE_ROOM && self.spare.len() < SPARE));
            self.services.remove(&dialed);
        }
    }

    pub(super) fn cookies(&self) -> impl Iterator<Item = &u64> {
        self.attempts.keys()
    }

    /// Those that may have sent a packet to `destination`, the oldest first: packets leave in the order of their connects.
    /// Of those to a service `leads` says whether the destination stands behind it.
    pub(super) fn find(
        &self,
        protocol: Protocol,
        destination: SocketAddr,
        leads: impl Fn(SocketAddr) -> bool,
        is_sender: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let behind = |dialed: &&Dialed| dialed.0 == protocol && dialed.1 != destination && leads(dialed.1);
        let services = self.services.iter().filter(behind);
        let direct = (protocol, destination);
        let alike = services.chain([&direct]).filter_map(|dialed| self.by_dialed.get(dialed));
        let oldest = |all: &VecDeque<(u64, u64)>| all.iter().copied().find(|(_, cookie)| is_sender(*cookie));
        alike.filter_map(oldest).min().map(|(_, cookie)| cookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn the_oldest_that_may_have_sent_it_is_found() {
        let (pod, service, other) = (at("10.0.0.1:80"), at("10.96.0.1:80"), at("10.0.0.2:80"));
        let mut all = Connecting::default();
        all.insert(1, 30, Protocol::Tcp, pod, false);
        all.insert(2, 20, Protocol::Tcp, pod, false);
        all.insert(3, 10, Protocol::Tcp, service, true);
        all.insert(4, 5, Protocol::Tcp, other, false);
        all.insert(5, 1, Protocol::Udp, pod, false);
        let find = |all: &Connecting, not: &[u64], behind: bool| {
            all.find(
                Protocol::Tcp,
                pod,
                |dialed| behind && dialed == service,
                |cookie| !not.contains(&cookie),
            )
        };
        assert_eq!(find(&all, &[], true), Some(3), "behind the service, and older");
        assert_eq!(find(&all, &[], false), Some(2));
        assert_eq!(find(&all, &[2, 3], true), Some(1), "those that are others' are passed over");
        assert_eq!(find(&all, &[1, 2, 3], true), None);
        all.remove(2);
        assert_eq!(find(&all, &[], false), Some(1));
    }

    #[test]
    fn nothing_is_left_of_what_was_removed() {
        let mut all = Connecting::default();
        all.insert(1, 10, Protocol::Tcp, at("10.96.0.1:80"), true);
        // The same socket dials again.
        all.insert(1, 20, Protocol::Tcp, at("10.96.0.2:80"), true);
        assert_eq!(all.cookies().collect::<Vec<_>>(), [&1]);
        all.remove(1);
        all.remove(1);
        assert!(all.attempts.is_empty() && all.by_dialed.is_empty() && all.services.is_empty());
    }
}
