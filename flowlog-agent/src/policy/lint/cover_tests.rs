//! What is called covered is covered: held against every end and port of a world small enough to try all of it.

use super::cover::{self, View, by, is_covered};
use crate::model::{ContainerPort, Endpoint, External, Labels, Node, Party, Pod, Protocol};
use crate::policy::{Block, BlockScope, Match, Namespaces, Numbers, Peer, Port, Requirement, Selector};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::select;
use std::collections::BTreeMap;
use std::sync::Arc;

const VALUES: [&str; 2] = ["x", "z"];
const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];
const NAME: &str = "kubernetes.io/metadata.name";

fn requirement(keys: &'static [&'static str]) -> impl Strategy<Value = Requirement> {
    let key = move || select(keys).prop_map(str::to_owned);
    let values = || vec(select(&VALUES[..]).prop_map(str::to_owned), 1..3);
    prop_oneof![
        6 => (key(), values()).prop_map(|(key, values)| Requirement::In(key, values)),
        4 => (key(), values()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        3 => key().prop_map(Requirement::Exists),
        3 => key().prop_map(Requirement::DoesNotExist),
        1 => Just(Requirement::Undetermined("odd".into())),
    ]
}

fn selector(keys: &'static [&'static str]) -> impl Strategy<Value = Selector> {
    vec(requirement(keys), 0..3).prop_map(Selector)
}

/// Blocks of 10.0.0.0/29, and parts of it that they leave out.
fn block() -> impl Strategy<Value = Block> {
    let net = || {
        (29_u8..=32, 0_u8..8).prop_map(|(length, last)| {
            let net: IpNet = format!("10.0.0.{last}/{length}").parse().unwrap();
            net.trunc()
        })
    };
    let unread = prop_oneof![9 => Just(None), 1 => Just(Some("odd".into()))];
    (net(), vec(net(), 0..4), unread).prop_map(|(block, except, unread)| Block { block, except, unread })
}

fn peer() -> impl Strategy<Value = Peer> {
    let namespaces = prop_oneof![
        select(&VALUES[..]).prop_map(|name| Namespaces::Own(name.to_owned())),
        selector(&["a", NAME]).prop_map(Namespaces::Selected),
    ];
    prop_oneof![
        4 => (namespaces, selector(&["a"])).prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        4 => block().prop_map(Peer::Block),
        1 => selector(&["a"]).prop_map(Peer::Nodes),
        1 => Just(Peer::Names("odd".into())),
        1 => Just(Peer::Undetermined("odd".into())),
    ]
}

fn port() -> impl Strategy<Value = Port> {
    let numbers = prop_oneof![
        2 => Just(Numbers::Every),
        8 => (1_u16..5, 1_u16..5).prop_map(|(one, other)| Numbers::Range(one.min(other), one.max(other))),
        3 => select(&VALUES[..]).prop_map(|name| Numbers::Named(name.to_owned())),
    ];
    prop_oneof![
        9 => (select(&PROTOCOLS[..]), numbers).prop_map(|(protocol, numbers)| Port::Of { protocol, numbers }),
        2 => select(&VALUES[..]).prop_map(|name| Port::Named(name.to_owned())),
        1 => Just(Port::Undetermined("odd".into())),
    ]
}

type Rule = (Option<Vec<Peer>>, Option<Vec<Port>>);

fn rule() -> impl Strategy<Value = Rule> {
    (option::weighted(0.8, vec(peer(), 1..3)), option::weighted(0.6, vec(port(), 1..3)))
}

fn view(rule: &Rule) -> View<'_> {
    View { peers: rule.0.as_deref(), ports: rule.1.as_deref() }
}

fn labels(pairs: &[(&str, Option<&str>)]) -> Labels {
    let there = pairs.iter().filter_map(|(key, value)| Some(((*key).to_owned(), (*value)?.to_owned())));
    there.collect()
}

/// Pods of all labels in namespaces of all labels, nodes, and every address of the blocks.
fn world() -> Vec<Party> {
    let each = || [None, Some("x"), Some("z")];
    let mut world = Vec::new();
    for (name, space, own) in VALUES
        .iter()
        .flat_map(|name| each().into_iter().flat_map(move |space| each().map(|own| (name, space, own))))
    {
        let declared = [("x", 1, Protocol::Tcp), ("x", 2, Protocol::Udp), ("z", 3, Protocol::Tcp)];
        let declared = declared.map(|(name, port, protocol)| ContainerPort {
            name: Some(name.to_owned()),
            port,
            protocol,
        });
        let pod = Pod {
            namespace: (*name).into(),
            labels: Arc::new(labels(&[("a", own)])),
            namespace_labels: Arc::new(labels(&[("a", space), (NAME, Some(name))])),
            ports: declared.into(),
            ..Pod::default()
        };
        world.push((Endpoint::Pod(Arc::new(pod)), "10.0.0.7"));
    }
    for value in each() {
        let node = Node { labels: labels(&[("a", value), ("os", Some("linux"))]), ..Node::default() };
        world.push((Endpoint::Node(Arc::new(node)), "192.168.0.1"));
    }
    let outside = [
        "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7",
        "fd00::1",
    ];
    world.extend(outside.map(|ip| (Endpoint::External(External::default()), ip)));
    let party =
        |(endpoint, ip): (Endpoint, &str)| Party { endpoint, ip: Some(ip.parse().unwrap()), port: None };
    world.into_iter().map(party).collect()
}

/// Whether a rule of egress to this end matches.
fn matches(rule: View<'_>, far: &Party, own: &Party, protocol: Protocol, port: u16) -> Match {
    let peers = rule.peers.map_or(Match::Yes, |peers| {
        Match::any(peers.iter().map(|peer| peer.matches(far, own, BlockScope::Everything)))
    });
    let ports = rule.ports.map_or(Match::Yes, |ports| {
        Match::any(ports.iter().map(|open| open.matches(far, protocol, Some(port))))
    });
    peers.and(|| ports)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, ..ProptestConfig::default() })]

    #[test]
    fn what_a_covered_rule_matches_others_match(narrow in rule(), others in vec(rule(), 1..4)) {
        let others: Vec<(usize, View<'_>)> = others.iter().map(view).enumerate().collect();
        let world = world();
        let own = &world[0];
        if let Some(covering) = by(view(&narrow), &others) {
            for far in &world {
                for (protocol, port) in PROTOCOLS.into_iter().flat_map(|protocol| (1..6).map(move |port| (protocol, port))) {
                    let narrow = matches(view(&narrow), far, own, protocol, port);
                    let mut covering = covering.iter().map(|place| matches(others[*place].1, far, own, protocol, port));
                    // What may match must be matched, or be in doubt as well.
                    prop_assert!(narrow == Match::No || covering.any(|wide| wide != Match::No && (narrow != Match::Yes || wide == Match::Yes)),
                        "{far:?} {port}/{protocol:?}");
                }
            }
        }
    }

    #[test]
    fn a_selector_that_covers_another_selects_all_that_it_does(wide in selector(&["a"]), narrow in selector(&["a"])) {
        if cover::selector(&wide, &narrow) {
            for value in [None, Some("x"), Some("z"), Some("other")] {
                let labels = labels(&[("a", value)]);
                prop_assert!(narrow.matches(&labels) != Match::Yes || wide.matches(&labels) == Match::Yes, "{labels:?}");
            }
        }
    }

    #[test]
    fn a_block_that_covers_another_holds_all_that_it_does(wide in block(), narrow in block()) {
        let (wide, narrow) = ([Peer::Block(wide)], [Peer::Block(narrow)]);
        let of = |peers| View { peers: Some(peers), ports: None };
        if by(of(&narrow), &[((), of(&wide))]).is_some() {
            let world = world();
            for far in &world {
                let [narrow, wide] = [&narrow, &wide].map(|peers| peers[0].matches(far, far, BlockScope::Everything));
                prop_assert!(narrow != Match::Yes || wide == Match::Yes, "{far:?}");
            }
        }
    }

    #[test]
    fn parts_make_up_a_block_where_they_hold_all_its_addresses(block in block(), length in any::<bool>()) {
        let all = (0..8).map(|last| format!("10.0.0.{last}").parse().unwrap());
        let all: BTreeMap<std::net::IpAddr, bool> =
            all.filter(|ip| block.block.contains(ip)).map(|ip| (ip, block.except.iter().any(|part| part.contains(&ip)))).collect();
        let parts = if length { block.except.iter().rev().copied().collect() } else { block.except.clone() };
        prop_assert_eq!(is_covered(block.block, &parts), all.values().all(|held| *held));
    }
}

/// None is written so, and nothing could be named as covering it.
#[test]
fn a_list_of_no_peers_is_covered_by_nobody() {
    let of = |peers| View { peers, ports: None };
    assert_eq!(by(of(Some(&[])), &[((), of(None))]), None);
    assert_eq!(by(of(None), &[((), of(None))]), Some(vec![()]));
}

/// The properties hold what is covered against the truth; that enough is seen is told here.
#[test]
fn a_selector_covers_one_that_asks_for_more() {
    use Requirement::{DoesNotExist, Exists, In, NotIn};
    let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let of = |key: &str, list: &[&str]| In(key.to_owned(), values(list));
    let but = |key: &str, list: &[&str]| NotIn(key.to_owned(), values(list));
    let (there, missing) = (|key: &str| Exists(key.to_owned()), |key: &str| DoesNotExist(key.to_owned()));
    let rows = [
        ("values among values", of("a", &["x", "z"]), of("a", &["x"]), true),
        ("values of another key", of("a", &["x"]), of("b", &["x"]), false),
        ("values that are not refused", but("a", &["x"]), of("a", &["z"]), true),
        ("values, one of which is refused", but("a", &["x"]), of("a", &["x", "z"]), false),
        ("values of another key than is refused", but("a", &["x"]), of("b", &["z"]), false),
        ("more that is refused", but("a", &["x"]), but("a", &["x", "z"]), true),
        ("less that is refused", but("a", &["x", "z"]), but("a", &["x"]), false),
        ("refused of another key", but("a", &["x"]), but("b", &["x"]), false),
        ("a value, and any", there("a"), of("a", &["x"]), true),
        ("any, and a value", of("a", &["x"]), there("a"), false),
        ("any twice", there("a"), there("a"), true),
        ("any of another key", there("a"), there("b"), false),
        ("none twice", missing("a"), missing("a"), true),
        ("none, and one not refused", but("a", &["x"]), missing("a"), true),
        ("none of another key", but("a", &["x"]), missing("b"), false),
    ];
    for (name, wide, narrow, expected) in rows {
        let (wide, narrow) = (Selector(vec![wide]), Selector(vec![narrow]));
        assert_eq!(cover::selector(&wide, &narrow), expected, "{name}");
        let (wide, narrow) = ([Peer::Nodes(wide)], [Peer::Nodes(narrow)]);
        let of = |peers| View { peers: Some(peers), ports: None };
        assert_eq!(by(of(&narrow), &[((), of(&wide))]).is_some(), expected, "{name}, of nodes");
    }
}

#[test]
fn ports_cover_those_that_they_open_by_number_and_by_name() {
    let every = |protocol| Port::Of { protocol, numbers: Numbers::Every };
    let range = |first, last| Port::Of { protocol: Protocol::Tcp, numbers: Numbers::Range(first, last) };
    let of_tcp = |name: &str| Port::Of { protocol: Protocol::Tcp, numbers: Numbers::Named(name.to_owned()) };
    let named = |name: &str| Port::Named(name.to_owned());
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(every);
    let rows = [
        ("a number, by every", vec![every(Protocol::Tcp)], range(80, 80), true),
        ("a name, by every", vec![every(Protocol::Tcp)], of_tcp("http"), true),
        ("every, by every", vec![every(Protocol::Tcp)], every(Protocol::Tcp), true),
        ("a number, by every of another protocol", vec![every(Protocol::Udp)], range(80, 80), false),
        ("every, by all numbers", vec![range(1, 65535)], every(Protocol::Tcp), false),
        ("a name, by itself", vec![of_tcp("http")], of_tcp("http"), true),
        ("a name, by itself of any protocol", vec![named("http")], of_tcp("http"), true),
        ("a name, by another", vec![of_tcp("web"), named("web")], of_tcp("http"), false),
        ("a name of any protocol, by itself", vec![named("http")], named("http"), true),
        ("a name of any protocol, by itself of one", vec![of_tcp("http")], named("http"), false),
        ("a name of any protocol, by every of each", all.to_vec(), named("http"), true),
        ("a name of any protocol, by every of two", all[..2].to_vec(), named("http"), false),
    ];
    for (name, wide, narrow, expected) in rows {
        assert_eq!(cover::ports(Some(&wide), Some(&[narrow])), expected, "{name}");
    }
}
