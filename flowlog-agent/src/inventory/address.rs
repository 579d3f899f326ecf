//! Addresses as keys: who holds them, since when, and who held them before.
//!
//! What is attributed happened a moment ago, or longer: whoever has an address now may not have had it then. A holder
//! answers for the time from which it is known to have it; before that only where nobody else is known to have had it,
//! since a new pod's address is told late. What lies between two holders is nobody's.

use super::departed::{Keep, identity};
use crate::model::shared::Sharded;
use crate::model::{Node, Pod, normalise};
use foldhash::HashSet;
use jiff::Timestamp;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

/// Who holds an address.
#[derive(Clone, Debug)]
pub(super) enum Holder {
    /// A pod with an address of its own.
    Pod(Arc<Pod>),
    /// A node.
    Node(Arc<Node>),
    /// More than one: naming either could be wrong.
    Ambiguous(Arc<str>),
}

/// A holder, and since when it is known to be one.
#[derive(Clone, Debug)]
struct Holding {
    holder: Holder,
    from: Timestamp,
    /// Somebody else held it before, who may be forgotten by now.
    follows: bool,
}

/// An address, and all who claim it.
#[derive(Clone, Debug)]
enum Held {
    One(Holding),
    /// In order; what is shown names them all.
    Several {
        claims: Vec<Holding>,
        shown: Holder,
    },
}

/// Somebody who held an address.
#[derive(Clone, Debug)]
struct Former {
    number: u64,
    holding: Holding,
    until: Timestamp,
}

/// Who had an address at a moment.
pub(super) enum Owner<'a> {
    /// This one has it.
    Now(&'a Holder),
    /// This one had it, until then.
    Then(&'a Holder, Timestamp),
    /// It cannot be told; the reason names those who come into question.
    Unsure(String),
    /// Nobody.
    Nobody,
}

/// Address → holder.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressIndex {
    keep: Keep,
    holders: Sharded<IpAddr, Held>,
    /// In the order in which they ended.
    former: Sharded<IpAddr, Arc<SmallVec<[Former; 1]>>>,
    /// The same by number, with their end: which is to be forgotten next.
    ended: Sharded<u64, (IpAddr, Timestamp)>,
    /// No lower number is there.
    oldest: u64,
    next: u64,
}

impl AddressIndex {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    /// The same one holds other addresses, or is known by other words, from `now` on.
    pub(super) fn change(
        &mut self,
        (before, held): (&Holder, &[IpAddr]),
        (after, holds): (&Holder, &[IpAddr]),
        now: Timestamp,
    ) {
        for ip in held.iter().filter(|ip| !holds.contains(ip)) {
            self.release(*ip, before, now);
        }
        for ip in holds {
            match held.contains(ip) {
                true => self.rename(*ip, before, after, now),
                false => self.claim(*ip, after, now),
            }
        }
    }

    pub(super) fn claim(&mut self, ip: IpAddr, holder: &Holder, now: Timestamp) {
        let ip = normalise(ip);
        let mut claims = self.claims(ip);
        if claims.iter().any(|other| same(&other.holder, holder)) {
            return;
        }
        let holder = holder.clone();
        let holding = match self.take_back(ip, &holder) {
            Some(before) => Holding { holder, ..before },
            None => {
                let follows = !claims.is_empty() || self.former.get(&ip).is_some();
                Holding { holder, from: now, follows }
            }
        };
        claims.push(holding);
        self.settle(ip, claims);
    }

    pub(super) fn release(&mut self, ip: IpAddr, holder: &Holder, now: Timestamp) {
        let ip = normalise(ip);
        let mut claims = self.claims(ip);
        let Some(place) = claims.iter().position(|other| same(&other.holder, holder)) else { return };
        let holding = claims.remove(place);
        self.settle(ip, claims);
        let number = self.next;
        self.next += 1;
        self.ended.insert(number, (ip, now));
        if let Some(former) = self.former.entry(ip, Arc::default) {
            Arc::make_mut(former).push(Former { number, holding, until: now });
        }
    }

    fn rename(&mut self, ip: IpAddr, before: &Holder, after: &Holder, now: Timestamp) {
        let ip = normalise(ip);
        let mut claims = self.claims(ip);
        match claims.iter_mut().find(|other| same(&other.holder, before)) {
            Some(holding) => holding.holder = after.clone(),
            None => return self.claim(ip, after, now),
        }
        self.settle(ip, claims);
    }

    /// Who had it last came back: it never went.
    fn take_back(&mut self, ip: IpAddr, holder: &Holder) -> Option<Holding> {
        let last = self.former.get(&ip)?.last().filter(|last| is_again(&last.holding.holder, holder))?;
        let (number, holding) = (last.number, last.holding.clone());
        self.forget(number);
        Some(holding)
    }

    /// Forgets what is beyond the bounds at `now`.
    pub(super) fn expire(&mut self, now: Timestamp, freed: &mut HashSet<IpAddr>) {
        // A pod has one address, or one of each family.
        let most = self.keep.count.saturating_mul(2);
        while self.oldest < self.next {
            if let Some((ip, until)) = self.ended.get(&self.oldest).copied() {
                if now.duration_since(until) <= self.keep.age && self.ended.len() <= most {
                    break;
                }
                freed.insert(ip);
                self.forget(self.oldest);
            }
            self.oldest += 1;
        }
    }

    fn forget(&mut self, number: u64) {
        let Some((ip, _)) = self.ended.remove(&number) else { return };
        let Some(former) = self.former.get_mut(&ip) else { return };
        Arc::make_mut(former).retain(|other| other.number != number);
        if former.is_empty() {
            self.former.remove(&ip);
        }
    }

    fn claims(&self, ip: IpAddr) -> Vec<Holding> {
        match self.holders.get(&ip) {
            None => Vec::new(),
            Some(Held::One(holding)) => vec![holding.clone()],
            Some(Held::Several { claims, .. }) => claims.clone(),
        }
    }

    fn settle(&mut self, ip: IpAddr, mut claims: Vec<Holding>) {
        match claims.len() {
            0 => drop(self.holders.remove(&ip)),
            1 => drop(claims.pop().and_then(|holding| self.holders.insert(ip, Held::One(holding)))),
            _ => {
                claims.sort_by_cached_key(|Holding { holder, .. }| {
                    (matches!(holder, Holder::Pod(_)), describe(holder))
                });
                let names: Vec<String> = claims.iter().map(|claim| describe(&claim.holder)).collect();
                let shown = Holder::Ambiguous(format!("{ip} is held by {}", names.join(" and ")).into());
                self.holders.insert(ip, Held::Several { claims, shown });
            }
        }
    }

    /// Who holds it now.
    pub(super) fn find(&self, ip: IpAddr) -> Option<&Holder> {
        match self.holders.get(&ip)? {
            Held::One(Holding { holder, .. }) | Held::Several { shown: holder, .. } => Some(holder),
        }
    }

    /// Who held it last, where nobody does now.
    pub(super) fn find_last(&self, ip: IpAddr, now: Timestamp) -> Option<(&Holder, Timestamp)> {
        let last = self.former(ip, now).last().filter(|_| self.holders.get(&ip).is_none())?;
        Some((&last.holding.holder, last.until))
    }

    /// Those who held it and are not too long gone at `at`.
    fn former(&self, ip: IpAddr, at: Timestamp) -> impl DoubleEndedIterator<Item = &Former> {
        let former = self.former.get(&ip).into_iter().flat_map(|former| former.iter());
        former.filter(move |former| at.duration_since(former.until) <= self.keep.age)
    }

    /// Who had it at `at`.
    pub(super) fn find_at(&self, ip: IpAddr, at: Timestamp) -> Owner<'_> {
        let now = match self.holders.get(&ip) {
            Some(Held::Several { shown, .. }) => return Owner::Now(shown),
            Some(Held::One(holding)) => Some(holding),
            None => None,
        };
        if self.former.get(&ip).is_none() {
            return match now {
                Some(holding) if at < holding.from && holding.follows => {
                    Owner::Unsure(format!("{}; whose it was before is not known", since(ip, holding)))
                }
                Some(holding) => Owner::Now(&holding.holder),
                None => Owner::Nobody,
            };
        }
        let mut then = self.former(ip, at).filter(|former| former.holding.from <= at && at < former.until);
        let now_too = now.filter(|holding| holding.from <= at);
        match (then.next(), then.next(), now_too) {
            (None, _, Some(holding)) => return Owner::Now(&holding.holder),
            (Some(one), None, None) => return Owner::Then(&one.holding.holder, one.until),
            (Some(one), Some(other), _) => return both(ip, &one.holding, &other.holding),
            (Some(one), None, Some(other)) => return both(ip, &one.holding, other),
            (None, _, None) => {}
        }
        let before = self.former(ip, at).rfind(|former| former.until <= at);
        let later = self.former(ip, at).filter(|former| former.holding.from > at);
        let first = later.min_by_key(|former| former.holding.from);
        let after = first.map(|former| &former.holding).or(now);
        match (before, after) {
            (None, None) => Owner::Nobody,
            (Some(before), None) => Owner::Unsure(format!(
                "{ip} was {}'s until {}",
                describe(&before.holding.holder),
                before.until
            )),
            (Some(before), Some(after)) => Owner::Unsure(format!(
                "{ip} was {}'s until {} and is known as {}'s since {}",
                describe(&before.holding.holder),
                before.until,
                describe(&after.holder),
                after.from
            )),
            (None, Some(after)) if after.follows => {
                Owner::Unsure(format!("{}; whose it was before is not known", since(ip, after)))
            }
            (None, Some(_)) => match (first, now) {
                (Some(former), _) => Owner::Then(&former.holding.holder, former.until),
                (None, Some(holding)) => Owner::Now(&holding.holder),
                (None, None) => Owner::Nobody,
            },
        }
    }
}

fn since(ip: IpAddr, holding: &Holding) -> String {
    format!("{ip} is known as {}'s since {}", describe(&holding.holder), holding.from)
}

fn both(ip: IpAddr, one: &Holding, other: &Holding) -> Owner<'static> {
    Owner::Unsure(format!("{ip} was held by {} and {}", describe(&one.holder), describe(&other.holder)))
}

fn same(one: &Holder, other: &Holder) -> bool {
    match (one, other) {
        (Holder::Pod(one), Holder::Pod(other)) => Arc::ptr_eq(one, other),
        (Holder::Node(one), Holder::Node(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

/// Whether it is the same one, whatever else is told of it.
fn is_again(one: &Holder, other: &Holder) -> bool {
    match (one, other) {
        (Holder::Pod(one), Holder::Pod(other)) => identity(one) == identity(other),
        (Holder::Node(one), Holder::Node(other)) => one.name == other.name,
        _ => false,
    }
}

fn describe(holder: &Holder) -> String {
    match holder {
        Holder::Pod(pod) => format!("pod {}/{}", pod.namespace, pod.name),
        Holder::Node(node) => format!("node {}", node.name),
        Holder::Ambiguous(reason) => reason.to_string(),
    }
}
