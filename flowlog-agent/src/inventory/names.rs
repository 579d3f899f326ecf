//! Which names addresses had for whom: each pod's own answers, and nobody else's. Bounded for each pod and in all; what
//! was quiet longest gives way. A pod can fill its own part alone.

use super::answer::Answer;
use crate::model::{self, Name, NameSource};
use lru::LruCache;
use std::net::IpAddr;
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;
/// A name that was told longer ago says little of an address.
const KEPT_NS: u64 = 24 * 3_600 * SECOND_NS;
/// Names of one address that are kept, and told.
const MOST_NAMES: usize = 4;
/// Bytes for one pod: some 1,700 names of usual length.
const POD_BYTES: usize = 256 << 10;
/// Bytes in all.
const ALL_BYTES: usize = 4 << 20;
/// What an entry takes beside its texts, its share of the tables included; measured: 140.
const ENTRY_BYTES: usize = 144;

/// A name that an address has.
struct Known {
    name: Arc<str>,
    canonical: Option<Arc<str>>,
    ttl_s: u32,
    /// When it was told last, and the time before that.
    told_ns: u64,
    before_ns: Option<u64>,
}

impl Known {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.name.len() + self.canonical.as_ref().map_or(0, |name| name.len())
    }

    /// When it was told last before that time, if that is known.
    fn told_by(&self, at_ns: u64) -> Option<u64> {
        let told_ns =
            [Some(self.told_ns), self.before_ns].into_iter().flatten().find(|told| *told <= at_ns)?;
        (at_ns - told_ns <= KEPT_NS).then_some(told_ns)
    }
}

/// What one pod was told.
struct Told {
    /// The name told last first.
    addresses: LruCache<IpAddr, Vec<Known>>,
    bytes: usize,
}

/// The table.
pub struct Names {
    askers: LruCache<String, Told>,
    pod_bytes: usize,
    all_bytes: usize,
    bytes: usize,
    /// Addresses that had to give way.
    pub forgotten: u64,
}

impl Default for Names {
    fn default() -> Self {
        Self::new(POD_BYTES, ALL_BYTES)
    }
}

impl Names {
    fn new(pod_bytes: usize, all_bytes: usize) -> Self {
        Self { askers: LruCache::unbounded(), pod_bytes, all_bytes, bytes: 0, forgotten: 0 }
    }

    /// Take what an answer said to `asker` (a pod's uid, or whatever else tells askers apart) at `at_ns`, of the
    /// addresses for which `wanted` holds.
    pub fn learn(&mut self, asker: &str, answer: &Answer, at_ns: u64, wanted: impl Fn(IpAddr) -> bool) {
        let wanted: Vec<_> = answer.addresses.iter().filter(|(ip, _)| wanted(*ip)).copied().collect();
        if wanted.is_empty() {
            return;
        }
        let empty = || Told { addresses: LruCache::unbounded(), bytes: 0 };
        let told = self.askers.get_or_insert_mut_ref(asker, empty);
        let before = told.bytes;
        for (ip, ttl_s) in wanted {
            told.learn(ip, ttl_s, answer, at_ns);
        }
        while told.bytes > self.pod_bytes && told.forget_oldest() {
            self.forgotten += 1;
        }
        self.bytes = (self.bytes + told.bytes).saturating_sub(before);
        while self.bytes > self.all_bytes && self.forget_oldest() {
            self.forgotten += 1;
        }
    }

    /// The names that an address had for `asker` at `at_ns`, the one that was told last first.
    pub fn find(&self, asker: &str, ip: IpAddr, at_ns: u64) -> model::Names {
        let known = self.askers.peek(asker).and_then(|told| told.addresses.peek(&ip));
        let mut names: Vec<Name> = known
            .into_iter()
            .flatten()
            .filter_map(|known| {
                Some(Name {
                    name: Arc::clone(&known.name),
                    canonical: known.canonical.clone(),
                    source: NameSource::DnsAnswer,
                    age_ns: at_ns - known.told_by(at_ns)?,
                    ttl_s: known.ttl_s,
                })
            })
            .collect();
        names.sort_by_key(|name| name.age_ns);
        names.into()
    }

    /// How many bytes the names take, as they are counted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest address of the asker who was quiet longest.
    fn forget_oldest(&mut self) -> bool {
        let Some(asker) = self.askers.peek_lru().map(|(asker, _)| asker.clone()) else { return false };
        let Some(told) = self.askers.peek_mut(&asker) else { return false };
        let before = told.bytes;
        told.forget_oldest();
        self.bytes = (self.bytes + told.bytes).saturating_sub(before);
        if told.addresses.is_empty() {
            self.askers.pop(&asker);
        }
        true
    }
}

impl Told {
    fn learn(&mut self, ip: IpAddr, ttl_s: u32, answer: &Answer, at_ns: u64) {
        let names = self.addresses.get_or_insert_mut(ip, Vec::new);
        let same = names.iter().position(|known| known.name == answer.asked);
        let before = same.map(|at| names.remove(at));
        let new = Known {
            name: Arc::clone(&answer.asked),
            canonical: answer.canonical.clone(),
            ttl_s,
            told_ns: at_ns,
            before_ns: before.as_ref().map(|known| known.told_ns),
        };
        self.bytes += new.bytes();
        self.bytes = self.bytes.saturating_sub(before.as_ref().map_or(0, Known::bytes));
        names.insert(0, new);
        for old in names.drain(MOST_NAMES.min(names.len())..) {
            self.bytes = self.bytes.saturating_sub(old.bytes());
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, names)) = self.addresses.pop_lru() else { return false };
        let bytes: usize = names.iter().map(Known::bytes).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, ENTRY_BYTES, KEPT_NS, MOST_NAMES, Names, SECOND_NS};
    use crate::testkit::ip;

    const FIRST: &str = "198.51.100.7";

    fn answer(name: &str, addresses: &[&str]) -> Answer {
        let addresses = addresses.iter().map(|address| (ip(address), 60)).collect();
        Answer { asked: name.into(), canonical: None, addresses }
    }

    fn all(_: std::net::IpAddr) -> bool {
        true
    }

    fn found(names: &Names, asker: &str, address: &str, at_ns: u64) -> Vec<(String, u64)> {
        let found = names.find(asker, ip(address), at_ns);
        found.iter().map(|name| (name.name.to_string(), name.age_ns)).collect()
    }

    #[test]
    fn a_pods_names_are_its_own() {
        let mut names = Names::default();
        names.learn("web", &answer("api.example", &[FIRST]), 10, all);
        names.learn("liar", &answer("bank.example", &[FIRST]), 20, all);
        assert_eq!(found(&names, "web", FIRST, 30), [("api.example".to_owned(), 20)]);
        assert_eq!(found(&names, "liar", FIRST, 30), [("bank.example".to_owned(), 10)]);
        assert_eq!(found(&names, "other", FIRST, 30), []);
        assert_eq!(found(&names, "web", "198.51.100.8", 30), []);
    }

    #[test]
    fn a_name_is_as_old_as_when_it_was_told_last_before() {
        let mut names = Names::default();
        for at_ns in [10, 50] {
            names.learn("web", &answer("api.example", &[FIRST]), at_ns, all);
        }
        for (at_ns, age_ns) in [(60, 10), (50, 0), (49, 39), (10, 0)] {
            assert_eq!(found(&names, "web", FIRST, at_ns), [("api.example".to_owned(), age_ns)], "{at_ns}");
        }
        assert_eq!(found(&names, "web", FIRST, 9), [], "not yet told");
        assert_eq!(found(&names, "web", FIRST, 50 + KEPT_NS + 1), [], "too long ago");
    }

    #[test]
    fn of_an_addresses_names_the_latest_are_kept_the_latest_first() {
        let mut names = Names::default();
        for (at_ns, name) in ["a", "b", "c", "d", "a", "e"].iter().enumerate() {
            names.learn("web", &answer(name, &[FIRST]), u64::try_from(at_ns).unwrap(), all);
        }
        let found: Vec<_> = found(&names, "web", FIRST, 9).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, ["e", "a", "d", "c"]);
        assert_eq!(found.len(), MOST_NAMES);
        assert_eq!(names.bytes(), 4 * (ENTRY_BYTES + 1));
    }

    #[test]
    fn what_is_not_wanted_is_not_kept() {
        let mut names = Names::default();
        names.learn("web", &answer("db.shop.svc", &["10.96.0.7"]), 1, |_| false);
        assert_eq!((found(&names, "web", "10.96.0.7", 2), names.bytes()), (Vec::new(), 0));
    }

    #[test]
    fn a_pod_that_fills_its_part_displaces_its_own_names_alone() {
        let (pod, entries) = (10 * ENTRY_BYTES, 200);
        let mut names = Names::new(pod, 4 * pod);
        names.learn("quiet", &answer("api.example", &[FIRST]), 1, all);
        for number in 0..entries {
            let address = format!("198.51.100.{number}");
            names.learn("busy", &answer("x.example", &[&address]), SECOND_NS + number, all);
        }
        assert_eq!(found(&names, "quiet", FIRST, 2).len(), 1);
        assert_eq!(found(&names, "busy", "198.51.100.199", 2 * SECOND_NS).len(), 1);
        assert_eq!(found(&names, "busy", "198.51.100.0", 2 * SECOND_NS).len(), 0);
        assert_eq!(names.forgotten, entries - 9, "nine fit");
    }

    #[test]
    fn in_all_the_pod_that_was_quiet_longest_gives_way() {
        let pod = 10 * ENTRY_BYTES;
        let mut names = Names::new(pod, 2 * pod);
        for asker in ["first", "second", "third", "fourth"] {
            for number in 0..9 {
                let address = format!("198.51.100.{number}");
                names.learn(asker, &answer("x.example", &[&address]), 1, all);
            }
        }
        assert!(names.bytes() <= 2 * pod, "{}", names.bytes());
        let left = |asker| {
            (0..9).filter(|last| !names.find(asker, ip(&format!("198.51.100.{last}")), 2).is_empty()).count()
        };
        assert_eq!(["first", "second", "third", "fourth"].map(left), [0, 0, 9, 9]);
    }
}
