//! Whether one rule surely matches all that another matches, told from what is written alone.
//!
//! Sound, not complete: `true` holds for every cluster, `false` says only that it is not seen.

use crate::model::{Direction, Protocol};
use crate::policy::peer::NAMESPACE_NAME;
use crate::policy::{Block, Namespaces, Numbers, Peer, Policy, Port, Requirement, Selector};
use ipnet::IpNet;

/// What a rule of any kind matches: absent peers and ports are all of them.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) peers: Option<&'a [Peer]>,
    pub(super) ports: Option<&'a [Port]>,
}

/// The rules of a direction.
pub(super) fn views(policy: &Policy, direction: Direction) -> Vec<View<'_>> {
    match policy {
        Policy::NetworkPolicy(policy) => policy
            .rules(direction)
            .iter()
            .map(|rule| View { peers: rule.peers.as_deref(), ports: rule.ports.as_deref() })
            .collect(),
        Policy::Cluster(policy) => policy
            .rules(direction)
            .iter()
            .map(|rule| View { peers: Some(&rule.peers), ports: rule.ports.as_deref() })
            .collect(),
        Policy::NotUnderstood(_) => Vec::new(),
    }
}

/// Those of the others that together match all that this rule matches; each of its peers is covered by one.
pub(super) fn by<T: Clone + PartialEq>(narrow: View<'_>, others: &[(T, View<'_>)]) -> Option<Vec<T>> {
    let fitting = || others.iter().filter(|(_, wide)| ports(wide.ports, narrow.ports));
    let covers = |wide: &View<'_>, narrow: &Peer| {
        wide.peers.is_none_or(|wide| wide.iter().any(|wide| peer(wide, narrow)))
    };
    let peers = match narrow.peers {
        Some([]) => return None,
        Some(peers) => peers,
        None => return fitting().find(|(_, wide)| wide.peers.is_none()).map(|(name, _)| vec![name.clone()]),
    };
    if let Some((name, _)) = fitting().find(|(_, wide)| peers.iter().all(|narrow| covers(wide, narrow))) {
        return Some(vec![name.clone()]);
    }
    let mut found = Vec::new();
    for narrow in peers {
        let (name, _) = fitting().find(|(_, wide)| covers(wide, narrow))?;
        if !found.contains(name) {
            found.push(name.clone());
        }
    }
    Some(found)
}

fn peer(wide: &Peer, narrow: &Peer) -> bool {
    match (wide, narrow) {
        (
            Peer::Pods { namespaces: wide, pods: wide_pods },
            Peer::Pods { namespaces: narrow, pods: narrow_pods },
        ) => namespaces(wide, narrow) && selector(wide_pods, narrow_pods),
        (Peer::Block(wide), Peer::Block(narrow)) => block(wide, narrow),
        (Peer::Nodes(wide), Peer::Nodes(narrow)) => selector(wide, narrow),
        _ => false,
    }
}

fn namespaces(wide: &Namespaces, narrow: &Namespaces) -> bool {
    let named =
        |name: &String| Selector(vec![Requirement::In(NAMESPACE_NAME.to_owned(), vec![name.clone()])]);
    match (wide, narrow) {
        (Namespaces::Own(wide), Namespaces::Own(narrow)) => wide == narrow,
        (Namespaces::Selected(wide), Namespaces::Selected(narrow)) => selector(wide, narrow),
        (Namespaces::Own(wide), Namespaces::Selected(narrow)) => selector(&named(wide), narrow),
        (Namespaces::Selected(wide), Namespaces::Own(narrow)) => selector(wide, &named(narrow)),
    }
}

/// Whether a selector selects all that another one does.
pub(super) fn selector(wide: &Selector, narrow: &Selector) -> bool {
    let is_read = !narrow.0.iter().any(|given| matches!(given, Requirement::Undetermined(_)));
    is_read && wide.0.iter().all(|wanted| narrow.0.iter().any(|given| implies(given, wanted)))
}

fn implies(given: &Requirement, wanted: &Requirement) -> bool {
    use Requirement::{DoesNotExist, Exists, In, NotIn};
    match (given, wanted) {
        (In(key, values), In(wanted, allowed)) => {
            key == wanted && values.iter().all(|value| allowed.contains(value))
        }
        (In(key, values), NotIn(wanted, refused)) => {
            key == wanted && !values.iter().any(|value| refused.contains(value))
        }
        (NotIn(key, values), NotIn(wanted, refused)) => {
            key == wanted && refused.iter().all(|value| values.contains(value))
        }
        (In(key, _) | Exists(key), Exists(wanted))
        | (DoesNotExist(key), DoesNotExist(wanted) | NotIn(wanted, _)) => key == wanted,
        _ => false,
    }
}

fn block(wide: &Block, narrow: &Block) -> bool {
    let is_read = wide.unread.is_none() && narrow.unread.is_none();
    // What the wide one leaves out, the narrow one must not hold.
    let left_out = |except: &IpNet| match (except.contains(&narrow.block), narrow.block.contains(except)) {
        (true, _) => is_covered(narrow.block, &narrow.except),
        (false, true) => is_covered(*except, &narrow.except),
        (false, false) => true,
    };
    is_read && wide.block.contains(&narrow.block) && wide.except.iter().all(left_out)
}

/// Whether parts of a block make up the whole of it.
pub(super) fn is_covered(block: IpNet, parts: &[IpNet]) -> bool {
    if parts.iter().any(|part| part.contains(&block)) {
        return true;
    }
    let inside: Vec<IpNet> = parts.iter().copied().filter(|part| block.contains(part)).collect();
    if inside.is_empty() {
        return false;
    }
    let halves = block.subnets(block.prefix_len() + 1);
    halves.is_ok_and(|mut halves| halves.all(|half| is_covered(half, &inside)))
}

/// Whether ports open all that others open.
pub(super) fn ports(wide: Option<&[Port]>, narrow: Option<&[Port]>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => narrow.iter().all(|narrow| port(wide, narrow)),
    }
}

const NAMED: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

fn port(wide: &[Port], narrow: &Port) -> bool {
    match narrow {
        Port::Undetermined(_) => false,
        Port::Of { protocol, .. } if opens_every(wide, *protocol) => true,
        Port::Of { numbers: Numbers::Every, .. } => false,
        Port::Of { protocol, numbers: Numbers::Range(first, last) } => {
            is_spanned(wide, *protocol, *first, *last)
        }
        Port::Of { numbers: Numbers::Named(name), .. } => {
            wide.contains(narrow) || wide.contains(&Port::Named(name.clone()))
        }
        Port::Named(_) => wide.contains(narrow) || NAMED.iter().all(|protocol| opens_every(wide, *protocol)),
    }
}

fn opens_every(wide: &[Port], protocol: Protocol) -> bool {
    wide.contains(&Port::Of { protocol, numbers: Numbers::Every })
}

/// Whether ranges that may lie side by side hold every number of this one.
fn is_spanned(wide: &[Port], protocol: Protocol, first: u16, last: u16) -> bool {
    let mut ranges: Vec<(u16, u16)> = (wide.iter())
        .filter_map(|port| match port {
            Port::Of { protocol: of, numbers: Numbers::Range(first, last) } if *of == protocol => {
                Some((*first, *last))
            }
            _ => None,
        })
        .collect();
    ranges.sort_unstable();
    let mut next = u32::from(first);
    for (from, to) in ranges {
        if u32::from(from) <= next {
            next = next.max(u32::from(to) + 1);
        }
    }
    next > u32::from(last)
}
