//! A policy as text: YAML whose comments say what each rule stands for.
//!
//! Names come from records and could be anything: what has a meaning in YAML is quoted, and a comment holds nothing but
//! printable ASCII, so that no name can end it.

use super::labels::{Chosen, Selectors};
use super::plan::{Peer, Ports, Seen, Subject, Wants};
use crate::model::{Direction, Labels, Place, Pod, Protocol};
use crate::policy::observed::Cast;
use crate::policy::peer::NAMESPACE_NAME;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

/// The longest name of an object that also serves as a label's value.
const LONGEST: usize = 63;
/// The longest line of a comment.
const LONGEST_COMMENT: usize = 240;
/// So many flows are told of one port of a rule; the others are counted.
const MOST_LINES: usize = 10;

/// What names of ports stand in for numbers.
pub(super) struct Naming<'w, 'a> {
    pub(super) cast: &'w Cast<'a>,
    pub(super) selectors: &'w Selectors,
}

/// What is written beside the rules.
#[derive(Default)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) namespace: Arc<str>,
    pub(super) comments: Vec<String>,
}

/// A name for the policy of a workload, of at most 63 characters, which no other one has.
pub(super) fn name(subject: &Subject) -> String {
    let Subject::Workload(Place::Workload { owner, name, .. }) = subject else {
        return "flowlog-namespace".to_owned();
    };
    let wanted = format!("flowlog-{name}-{}", owner.to_ascii_lowercase());
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if wanted.len() <= LONGEST && wanted.bytes().all(fits) && wanted.ends_with(|last: char| last != '-') {
        return wanted;
    }
    let tame =
        |byte: u8| if fits(byte.to_ascii_lowercase()) { byte.to_ascii_lowercase().into() } else { '-' };
    let kept: String = wanted.bytes().take(LONGEST - 9).map(tame).collect();
    format!("{}-{:08x}", kept.trim_end_matches('-'), fingerprint(wanted.as_bytes()))
}

/// FNV-1a, of 32 bits: names that were cut differ in it.
fn fingerprint(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// One line of a comment.
pub(super) fn comment(out: &mut String, indent: usize, text: &str) {
    let printable = |letter: char| if (' '..='~').contains(&letter) { letter } else { '?' };
    let mut line: String = text.replace('→', "->").chars().map(printable).take(LONGEST_COMMENT).collect();
    if text.chars().count() > LONGEST_COMMENT {
        line.push_str("...");
    }
    let _ = writeln!(out, "{:indent$}# {}", "", line.trim_end());
}

/// A word as a value: bare where YAML takes it for text, quoted where it might not.
fn scalar(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let is_word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    let starts = text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    if starts && text.bytes().all(is_plain) && !is_word {
        return text.to_owned();
    }
    let escaped = text.chars().fold(String::new(), |mut escaped, letter| {
        match letter {
            '"' | '\\' => escaped.extend(['\\', letter]),
            ' '..='~' => escaped.push(letter),
            _ => {
                let _ = write!(escaped, "\\U{:08x}", u32::from(letter));
            }
        }
        escaped
    });
    format!("\"{escaped}\"")
}

fn labels(out: &mut String, indent: usize, labels: &Labels, absent: &[String]) {
    if !labels.is_empty() {
        let _ = writeln!(out, "{:indent$}matchLabels:", "");
        for (key, value) in labels {
            let _ = writeln!(out, "{:indent$}  {}: {}", "", scalar(key), scalar(value));
        }
    }
    if !absent.is_empty() {
        let _ = writeln!(out, "{:indent$}matchExpressions:", "");
        for key in absent {
            let _ = writeln!(out, "{:indent$}- key: {}", "", scalar(key));
            let _ = writeln!(out, "{:indent$}  operator: DoesNotExist", "");
        }
    }
}

/// A policy that allows nothing in these directions of any pod of a namespace.
pub(super) fn default_deny(head: &Head, directions: &BTreeSet<Direction>) -> String {
    let mut out = start(head);
    out.push_str("spec:\n  podSelector: {}\n");
    types(&mut out, directions.iter().copied());
    out
}

fn start(head: &Head) -> String {
    let mut out = String::new();
    for line in &head.comments {
        comment(&mut out, 0, line);
    }
    out.push_str("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n");
    let _ = writeln!(out, "  name: {}\n  namespace: {}", scalar(&head.name), scalar(&head.namespace));
    out
}

fn types(out: &mut String, directions: impl Iterator<Item = Direction>) {
    let names = directions.map(|direction| match direction {
        Direction::Egress => "Egress",
        Direction::Ingress => "Ingress",
    });
    let names: BTreeSet<&str> = names.collect();
    let _ = writeln!(out, "  policyTypes: [{}]", names.into_iter().collect::<Vec<_>>().join(", "));
}

/// A rule: peers that have the same ports open.
struct Rule<'w> {
    peers: Vec<&'w Peer>,
    ports: Vec<(Protocol, String)>,
    /// Which flows, in words.
    lines: Vec<String>,
}

impl Naming<'_, '_> {
    /// The policy of a subject.
    pub(super) fn policy(&self, head: &Head, subject: &Subject, wants: &[(Direction, &Wants)]) -> String {
        let mut out = start(head);
        out.push_str("spec:\n");
        match subject {
            Subject::Workload(place) => match self.chosen(place) {
                Some(chosen) => {
                    out.push_str("  podSelector:\n");
                    labels(&mut out, 4, &chosen.labels, &chosen.absent);
                }
                None => out.push_str("  podSelector: {}\n"),
            },
            Subject::Namespace(_) => out.push_str("  podSelector: {}\n"),
        }
        types(&mut out, wants.iter().map(|(direction, _)| *direction));
        for (direction, wants) in wants {
            let (list, peers) = match direction {
                Direction::Egress => ("egress", "to"),
                Direction::Ingress => ("ingress", "from"),
            };
            let rules = self.rules(*direction, subject, wants);
            if rules.is_empty() {
                comment(&mut out, 2, "Nothing was observed that it would have to allow.");
                let _ = writeln!(out, "  {list}: []");
                continue;
            }
            let _ = writeln!(out, "  {list}:");
            for rule in rules {
                self.rule(&mut out, &head.namespace, peers, &rule);
            }
        }
        out
    }

    fn chosen(&self, place: &Place) -> Option<&Chosen> {
        self.selectors.chosen(place)
    }

    fn rules<'w>(&self, direction: Direction, subject: &Subject, wants: &'w Wants) -> Vec<Rule<'w>> {
        let mut rules: Vec<Rule<'w>> = Vec::new();
        for (peer, ports) in &wants.peers {
            let open = self.ports(direction, subject, peer, ports);
            let mut lines = lines(ports);
            if wants.dns.contains(peer) {
                lines.insert(0, dns_line(peer));
            }
            if let Peer::Workload(place) = peer {
                lines.extend(self.taken(place));
            }
            // Addresses that have the same ports open stand in one rule.
            let alike = rules.iter_mut().find(|rule| {
                let blocks = rule.peers.iter().all(|other| matches!(other, Peer::Block(..)));
                blocks && matches!(peer, Peer::Block(..)) && rule.ports == open
            });
            match alike {
                Some(rule) => {
                    rule.peers.push(peer);
                    rule.lines.extend(lines);
                }
                None => rules.push(Rule { peers: vec![peer], ports: open, lines }),
            }
        }
        rules
    }

    fn taken(&self, place: &Place) -> Option<String> {
        let also = &self.chosen(place)?.also;
        let names: Vec<String> = also.iter().map(ToString::to_string).collect();
        (!also.is_empty()).then(|| format!("No label tells it apart from {}.", names.join(", ")))
    }

    fn rule(&self, out: &mut String, namespace: &str, peers: &str, rule: &Rule<'_>) {
        let mut seen = BTreeSet::new();
        for line in rule.lines.iter().filter(|line| seen.insert(line.as_str())) {
            comment(out, 2, line);
        }
        let mut first = "-";
        if !rule.peers.contains(&&Peer::Everyone) {
            let _ = writeln!(out, "  {first} {peers}:");
            first = " ";
            for peer in &rule.peers {
                self.peer(out, namespace, peer);
            }
        }
        let _ = writeln!(out, "  {first} ports:");
        for (protocol, port) in &rule.ports {
            let _ = writeln!(out, "    - port: {port}\n      protocol: {}", protocol.as_kubernetes());
        }
    }

    fn peer(&self, out: &mut String, own: &str, peer: &Peer) {
        let namespace = |out: &mut String, name: &str| {
            out.push_str("    - namespaceSelector:\n        matchLabels:\n");
            let _ = writeln!(out, "          {NAMESPACE_NAME}: {}", scalar(name));
        };
        match peer {
            Peer::Workload(place) => {
                let Some(chosen) = self.chosen(place) else { return };
                let mut mark = "-";
                if let Some(other) = place.namespace().filter(|other| &***other != own) {
                    namespace(out, other);
                    mark = " ";
                }
                let _ = writeln!(out, "    {mark} podSelector:");
                labels(out, 8, &chosen.labels, &chosen.absent);
            }
            Peer::Namespace(name) if **name == *own => out.push_str("    - podSelector: {}\n"),
            Peer::Namespace(name) => namespace(out, name),
            Peer::Block(block, except) => {
                let _ = writeln!(out, "    - ipBlock:\n        cidr: {}", scalar(&block.to_string()));
                if !except.is_empty() {
                    out.push_str("        except:\n");
                    for part in except {
                        let _ = writeln!(out, "        - {}", scalar(&part.to_string()));
                    }
                }
            }
            Peer::Everyone => {}
        }
    }

    /// Ports by name where every pod that listens declares the name for this number alone.
    fn ports(
        &self,
        direction: Direction,
        subject: &Subject,
        peer: &Peer,
        ports: &Ports,
    ) -> Vec<(Protocol, String)> {
        let listeners = match (direction, subject, peer) {
            (Direction::Ingress, Subject::Workload(place), _)
            | (Direction::Egress, _, Peer::Workload(place)) => self.listeners(place),
            _ => Vec::new(),
        };
        let open = ports.keys().map(|(protocol, port)| {
            let name = named(&listeners, *protocol, *port);
            (*protocol, name.map_or_else(|| port.to_string(), |name| scalar(&name)))
        });
        open.collect()
    }

    /// Every pod that the selector of a workload selects.
    fn listeners(&self, place: &Place) -> Vec<&Arc<Pod>> {
        let Some(chosen) = self.chosen(place) else { return Vec::new() };
        let members = std::iter::once(place).chain(&chosen.also).filter_map(|place| self.cast.find(place));
        members.flat_map(|member| &member.pods).filter(|pod| chosen.selects(pod)).collect()
    }
}

fn named(listeners: &[&Arc<Pod>], protocol: Protocol, port: u16) -> Option<String> {
    let names = |pod: &Pod| -> BTreeSet<String> {
        let declared = pod.ports.iter().filter(|declared| declared.protocol == protocol);
        let mut numbers: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
        for declared in declared {
            if let Some(name) = &declared.name {
                numbers.entry(name).or_default().insert(declared.port);
            }
        }
        let alone = numbers
            .into_iter()
            .filter(|(name, numbers)| numbers.len() == 1 && numbers.contains(&port) && is_port_name(name));
        alone.map(|(name, _)| name.to_owned()).collect()
    };
    let mut common = listeners.iter().map(|pod| names(pod));
    let first = common.next()?;
    common.fold(first, |one, other| one.intersection(&other).cloned().collect()).into_iter().next()
}

/// As the API server takes names of ports (IANA_SVC_NAME).
fn is_port_name(name: &str) -> bool {
    name.len() <= 15
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

fn dns_line(peer: &Peer) -> String {
    match peer {
        Peer::Everyone => "DNS, to anyone: which pods answer it in this cluster is not known.".to_owned(),
        _ => "DNS: without it no name can be asked for.".to_owned(),
    }
}

fn lines(ports: &Ports) -> Vec<String> {
    let mut lines = Vec::new();
    for ((protocol, port), flows) in ports {
        for (words, seen) in flows.iter().take(MOST_LINES) {
            lines.push(line(*protocol, *port, words, seen));
        }
        if let Some(more) = flows.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
            let count: u64 = flows.values().skip(MOST_LINES).map(Seen::count).sum();
            lines.push(format!("{}/{port}: {count} more, of {more} others", protocol.as_kubernetes()));
        }
    }
    lines
}

fn line(protocol: Protocol, port: u16, words: &str, seen: &Seen) -> String {
    let classes: Vec<&str> = seen.classes.iter().map(|class| class.as_str()).collect();
    let when = if seen.first == seen.last {
        format!("{:.0}", seen.first)
    } else {
        format!("{:.0} to {:.0}", seen.first, seen.last)
    };
    let (protocol, count) = (protocol.as_kubernetes(), seen.count());
    format!("{protocol}/{port}: {count} {}, {when}, {words}", classes.join(", "))
}
