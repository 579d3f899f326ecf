//! How changed policies move what third parties could reach: what would be newly open to them, and what closed.
//!
//! Both sets are asked about the same: pods, blocks of addresses and ports that either tells apart are told apart, so that
//! each has one answer before and one after.

use super::super::Input;
use super::super::estate::{Estate, is_foreign};
use super::super::possible::API_UNKNOWN;
use super::super::reach::{self, Answer, Target};
use crate::model::{Actor, Decision, Origin, Place, PolicyRef, Protocol, ReachPort, Role, Traits};
use crate::policy::PolicySet;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What would become of how far third parties could reach, whether or not they did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReachChange {
    /// Counts.
    pub sums: ReachSums,
    /// Those that could reach more, or less, or of whom it cannot be told.
    pub workloads: Vec<Moved>,
    /// What could not be told.
    pub limits: Vec<String>,
}

/// How many there are; workloads that nobody knows whose they are count as third parties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReachSums {
    /// Workloads of third parties.
    pub workloads: u64,
    /// Of these, to whom something would be newly open.
    pub wider: u64,
    /// Of these, to whom something would be closed.
    pub narrower: u64,
    /// Of these, of whom something is known only before, or only after.
    pub unsure: u64,
    /// Destinations that would be newly open to one of them, each counted for each.
    pub opened: u64,
    /// Destinations that would be closed to one of them, likewise.
    pub closed: u64,
}

/// What would become of the reach of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Moved {
    /// The workload.
    pub workload: Place,
    /// Third party or unknown.
    pub origin: Origin,
    /// The vendor, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// What it could reach after, and cannot before.
    pub opened: Vec<Stretch>,
    /// What it can reach before, and could not after.
    pub closed: Vec<Stretch>,
    /// What is known only before, or only after.
    pub unsure: Vec<Stretch>,
}

/// A destination, and ports of it with one answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stretch {
    /// Where. A block stands for what of it is outside the cluster and in none of `except`.
    pub destination: Place,
    /// What it is beside that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Why it is sensitive, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<String>,
    /// Narrower blocks to which something else happens, or nothing.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub except: BTreeSet<String>,
    /// Ports.
    pub ports: Vec<Ports>,
    /// What is declared says so.
    pub before: Decision,
    /// What would be declared says so.
    pub after: Decision,
    /// No policy restricts either end: after, or before where it would be closed.
    pub unrestricted: bool,
    /// Policies that take part: after, or before where it would be closed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyRef>,
    /// Why it is not known, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A port, or several in a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Ports {
    /// Protocol.
    pub protocol: Protocol,
    /// Port; absent where it is every port of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The last port, where it is a range that begins with `port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u16>,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What is said before and after, and the answer that tells why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Turn {
    before: Decision,
    after: Decision,
    answer: Answer,
}

/// Ports in a row to which one thing happens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    turn: Turn,
    protocol: Protocol,
    first: u16,
    last: u16,
    name: Option<String>,
}

/// By source and target, what is not denied.
type Reached = BTreeMap<(usize, Target), Vec<(ReachPort, Answer)>>;

/// Holds what third parties could reach by the declared policies against what they could by these. Absent where the
/// cluster's objects do not tell.
pub fn reach_change(input: Input<'_>, after: &PolicySet) -> Option<ReachChange> {
    let cluster = input.cluster.filter(|cluster| cluster.read.unread.is_none())?;
    let mut estate = Estate::gathered(input);
    let ends = estate.reach_ends();
    let before = ends.asking(cluster, cluster.policies, Some(after), input.now);
    let then = ends.asking(cluster, after, Some(cluster.policies), input.now);
    let (was, will) = (by_target(reach::reaches(&before)), by_target(reach::reaches(&then)));
    let nothing = Vec::new();
    let mut steps: BTreeMap<usize, BTreeMap<Target, Vec<Step>>> = BTreeMap::new();
    for key in was.keys().chain(will.keys()).collect::<BTreeSet<_>>() {
        let found = between(was.get(key).unwrap_or(&nothing), will.get(key).unwrap_or(&nothing));
        if !found.is_empty() {
            steps.entry(key.0).or_default().insert(key.1.clone(), found);
        }
    }
    let mut workloads = Vec::new();
    for (source, steps) in steps {
        let Some(index) = ends.workloads.get(source) else { continue };
        let blocks = reach::blocks(&before, source);
        let mut told = Vec::new();
        for (target, steps, except) in without_repeats(steps, &blocks) {
            let target = match target {
                Target::Side(place) => ends.workloads.get(place).copied(),
                Target::Other(place, role) => Some(estate.member_of(&place, &Traits::default(), role)),
            };
            let Some(target) = target.and_then(|target| estate.actor(target)) else { continue };
            told.extend(stretches(target, &steps, &except));
        }
        let Some(actor) = estate.actor(*index) else { continue };
        workloads.push(moved(actor, told));
    }
    workloads.sort_by(|one, other| one.workload.cmp(&other.workload));
    let mut limits = Vec::new();
    if !ends.sources.is_empty() && !reach::knows_api(cluster.inventory, input.now) {
        limits.push(API_UNKNOWN.to_owned());
    }
    let is_undeclared = |actor: &Actor| is_foreign(actor) && actor.pods.is_none();
    match estate.workloads().filter(|(_, member)| is_undeclared(&member.actor)).count() {
        0 => (),
        count => limits.push(format!(
            "of {count} third parties that records tell of and the objects do not, possible reach is not known"
        )),
    }
    Some(ReachChange { sums: sums(ends.sources.len(), &workloads), workloads, limits })
}

fn by_target(reached: Vec<reach::Reached>) -> Reached {
    let mut found = Reached::new();
    for reach::Reached { source, target, ports, answer } in reached {
        let ports = ports.into_iter().map(|port| (port, answer.clone()));
        found.entry((source, target)).or_default().extend(ports);
    }
    found
}

/// The first port, and the last.
fn bounds(ports: &ReachPort) -> (u16, u16) {
    match ports.port {
        None => (1, u16::MAX),
        Some(first) => (first, ports.last.unwrap_or(first)),
    }
}

/// What happens between two answers to the same questions.
fn between(before: &[(ReachPort, Answer)], after: &[(ReachPort, Answer)]) -> Vec<Step> {
    let mut edges: BTreeSet<(Protocol, u32)> = BTreeSet::new();
    for (ports, _) in before.iter().chain(after) {
        let (first, last) = bounds(ports);
        edges.extend([(ports.protocol, u32::from(first)), (ports.protocol, u32::from(last) + 1)]);
    }
    let mut found: Vec<Step> = Vec::new();
    for (from, to) in edges.iter().zip(edges.iter().skip(1)).filter(|(from, to)| from.0 == to.0) {
        let (Ok(first), Ok(last)) = (u16::try_from(from.1), u16::try_from(to.1 - 1)) else { continue };
        let at = |answers: &'_ [(ReachPort, Answer)]| {
            let holds = |(ports, _): &&(ReachPort, Answer)| {
                let (start, end) = bounds(ports);
                ports.protocol == from.0 && (start..=end).contains(&first)
            };
            answers.iter().find(holds).cloned()
        };
        let (before, after) = (at(before), at(after));
        let name = before.iter().chain(&after).find_map(|(ports, _)| ports.name.clone());
        let answer = |of: Option<(ReachPort, Answer)>| of.map(|(_, answer)| answer);
        let Some(turn) = Turn::of(answer(before), answer(after)) else { continue };
        let goes_on = |step: &&mut Step| {
            (step.protocol, step.last.checked_add(1)) == (from.0, Some(first))
                && step.turn == turn
                && step.name.is_none()
                && name.is_none()
        };
        match found.last_mut().filter(goes_on) {
            Some(step) => step.last = last,
            None => found.push(Step { turn, protocol: from.0, first, last, name }),
        }
    }
    found
}

impl Turn {
    /// Nothing where it stays; an answer that is not there is a denial.
    fn of(before: Option<Answer>, after: Option<Answer>) -> Option<Self> {
        let decision = |answer: &Option<Answer>| answer.as_ref().map_or(Decision::Deny, |one| one.decision);
        let (was, will) = (decision(&before), decision(&after));
        if was == will {
            return None;
        }
        let is_sure = |decision| matches!(decision, Decision::Allow | Decision::Deny);
        let answer = match (before, after) {
            (Some(before), after) if !is_sure(was) => {
                Answer { reason: before.reason.clone(), ..after.unwrap_or(before) }
            }
            (_, Some(after)) => after,
            (Some(before), None) => before,
            (None, None) => return None,
        };
        Some(Self { before: was, after: will, answer })
    }
}

/// A block of addresses outside.
fn block(target: &Target) -> Option<IpNet> {
    match target {
        Target::Other(Place::External { ip: None, name: None, network: Some(network) }, None) => {
            network.parse().ok()
        }
        _ => None,
    }
}

/// Without the blocks to which the same happens as to the one that they lie in; with each what of it is to be left out.
fn without_repeats(
    steps: BTreeMap<Target, Vec<Step>>,
    blocks: &[IpNet],
) -> Vec<(Target, Vec<Step>, BTreeSet<IpNet>)> {
    let own: BTreeMap<IpNet, &Vec<Step>> =
        steps.iter().filter_map(|(target, steps)| Some((block(target)?, steps))).collect();
    let around = |of: &IpNet| {
        let wider = blocks.iter().filter(|wider| *wider != of && wider.contains(of));
        wider.max_by_key(|wider| wider.prefix_len()).copied()
    };
    let mut by_width = blocks.to_vec();
    by_width.sort_by_key(IpNet::prefix_len);
    // Each block, and the widest one around it all the way to which the same happens.
    let mut heads: BTreeMap<IpNet, IpNet> = BTreeMap::new();
    let mut except: BTreeMap<IpNet, BTreeSet<IpNet>> = BTreeMap::new();
    for one in by_width {
        let outer = around(&one).and_then(|outer| Some((outer, *heads.get(&outer)?)));
        match outer {
            Some((outer, head)) if own.get(&outer) == own.get(&one) => heads.insert(one, head),
            Some((_, head)) => {
                except.entry(head).or_default().insert(one);
                heads.insert(one, one)
            }
            None => heads.insert(one, one),
        };
    }
    let is_head = |target: &Target| block(target).is_none_or(|block| heads.get(&block) == Some(&block));
    let kept: Vec<Target> = steps.keys().filter(|target| is_head(target)).cloned().collect();
    let mut steps = steps;
    kept.into_iter()
        .filter_map(|target| {
            let except = block(&target).and_then(|block| except.remove(&block)).unwrap_or_default();
            let steps = steps.remove(&target)?;
            Some((target, steps, except))
        })
        .collect()
}

/// Steps to which one thing happens, together.
fn stretches(target: &Actor, steps: &[Step], except: &BTreeSet<IpNet>) -> Vec<Stretch> {
    let mut found: Vec<(&Turn, Vec<Ports>)> = Vec::new();
    for step in steps {
        let is_all = (step.first, step.last) == (1, u16::MAX);
        let ports = Ports {
            protocol: step.protocol,
            port: (!is_all).then_some(step.first),
            last: (!is_all && step.first != step.last).then_some(step.last),
            name: step.name.clone(),
        };
        match found.iter_mut().find(|(turn, _)| *turn == &step.turn) {
            Some((_, all)) => all.push(ports),
            None => found.push((&step.turn, vec![ports])),
        }
    }
    let told = found.into_iter().map(|(Turn { before, after, answer }, ports)| Stretch {
        destination: target.place.clone(),
        role: target.role,
        sensitive: target.sensitive.clone(),
        except: except.iter().map(ToString::to_string).collect(),
        ports,
        before: *before,
        after: *after,
        unrestricted: answer.unrestricted,
        policies: answer.policies.iter().map(|policy| PolicyRef::clone(policy)).collect(),
        reason: answer.reason.clone(),
    });
    told.collect()
}

fn moved(actor: &Actor, mut told: Vec<Stretch>) -> Moved {
    told.sort_by(|one, other| {
        (&one.destination, one.role, &one.ports).cmp(&(&other.destination, other.role, &other.ports))
    });
    let (mut opened, mut closed, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
    for stretch in told {
        match (stretch.before, stretch.after) {
            (Decision::Deny, Decision::Allow) => opened.push(stretch),
            (Decision::Allow, Decision::Deny) => closed.push(stretch),
            _ => unsure.push(stretch),
        }
    }
    Moved {
        workload: actor.place.clone(),
        origin: actor.origin,
        vendor: actor.vendor.clone(),
        opened,
        closed,
        unsure,
    }
}

fn sums(sources: usize, workloads: &[Moved]) -> ReachSums {
    let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
    let having =
        |of: fn(&Moved) -> &Vec<Stretch>| number(workloads.iter().filter(|one| !of(one).is_empty()).count());
    let targets = |of: fn(&Moved) -> &Vec<Stretch>| {
        let own = workloads.iter().map(|one| {
            let places = of(one).iter().map(|stretch| (&stretch.destination, stretch.role));
            places.collect::<BTreeSet<_>>().len()
        });
        number(own.sum::<usize>())
    };
    ReachSums {
        workloads: number(sources),
        wider: having(|one| &one.opened),
        narrower: having(|one| &one.closed),
        unsure: having(|one| &one.unsure),
        opened: targets(|one| &one.opened),
        closed: targets(|one| &one.closed),
    }
}

#[cfg(test)]
mod tests;
