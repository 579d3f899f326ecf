use super::{
    AddressOwner, Builder, Found, Inventory, Keep, ServicePort, ServiceSpec, Settings, Slice, SliceEndpoint,
    SlicePort,
};
use crate::model::{Endpoint, Protocol, ServiceNote, Target};
use crate::testkit::{at, ip, node, pod};
use Protocol::{Tcp, Udp};
use jiff::SignedDuration;
use std::sync::Arc;

/// Of two pods that claim one uid the last counts, and it alone once it is the only one.
#[test]
fn a_uid_leads_to_the_pod_that_told_it_last() {
    let [one, two] = ["shop/one", "shop/two"].map(|path| pod(path).uid("u").build());
    let mut inventory = builder().build(None, at(0));
    let found = |inventory: &Inventory| {
        inventory.find_pod_by_uid("u", at(1)).map(|found| found.pod().name.to_string())
    };
    inventory.put_pod(&one, at(0));
    inventory.put_pod(&two, at(0));
    assert_eq!(found(&inventory).as_deref(), Some("two"));
    inventory.remove_pod("shop", "one", at(1));
    assert_eq!(found(&inventory).as_deref(), Some("two"));
    let live = |inventory: &Inventory| matches!(inventory.find_pod_by_uid("u", at(1)), Some(Found::Live(_)));
    assert!(live(&inventory));
    inventory.remove_pod("shop", "two", at(1));
    assert!(!live(&inventory));
}

fn builder() -> Builder {
    Inventory::builder(&Settings::default())
}

/// What an address is, in a word and a name.
fn who(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Pod(pod) => format!("pod {}", pod.name),
        Endpoint::Node(node) => format!("node {}", node.name),
        Endpoint::Service(service) => format!("service {}", service.name),
        Endpoint::External(external) => format!("external {}", external.network.as_deref().unwrap_or("-")),
        Endpoint::Local => "local".to_owned(),
        Endpoint::Unknown { reason, .. } => format!("unknown: {reason}"),
    }
}

/// What was dialed, with its backends.
fn dialed(inventory: &Inventory, address: &str, port: u16, protocol: Protocol) -> String {
    match inventory.resolve(ip(address), port, protocol, at(0)) {
        Target::Endpoint(endpoint) => who(&endpoint),
        Target::Service { service, backends, note } => {
            let mut line = format!("{}:{}", service.name, service.port_name.as_deref().unwrap_or("-"));
            for backend in backends.iter() {
                line.push_str(&format!(" {}:{} {}", backend.ip, backend.port, who(&backend.endpoint)));
            }
            match note {
                Some(ServiceNote::NoEndpoints) => line + " no endpoints",
                Some(ServiceNote::NoSuchPort) => line + " no such port",
                None => line,
            }
        }
    }
}

#[test]
fn an_address_is_who_has_it() {
    let settings = Settings {
        cluster_ranges: vec!["10.96.0.0/12".parse().unwrap()],
        networks: vec![
            ("198.51.100.0/24".parse().unwrap(), "partner".to_owned()),
            ("198.51.100.128/25".parse().unwrap(), "partner-b".to_owned()),
        ],
        node_addresses: vec![("n1".to_owned(), vec![ip("10.1.0.1"), ip("127.0.0.1")])],
        ..Settings::default()
    };
    let mut n1 = node("n1", "10.0.0.1");
    n1.pod_cidrs.push("10.1.0.0/24".parse().unwrap());
    let inventory = Inventory::builder(&settings)
        .node(n1)
        .pod(pod("a/web").ip("10.1.0.5").ip("fd00::5").build())
        .pod(pod("a/twin-1").ip("10.1.0.6").build())
        .pod(pod("a/twin-2").ip("10.1.0.6").build())
        .pod(pod("a/done").ip("10.1.0.7").terminated().build())
        .pod(pod("a/reused").ip("10.1.0.8").terminated().build())
        .pod(pod("a/reuser").ip("10.1.0.8").build())
        .pod(pod("a/agent").ip("10.0.0.1").node("n1").host_network().build())
        .pod(pod("a/agent-2").ip("10.0.0.2").node("n2").host_network().build())
        .build(None, at(0));
    let rows = [
        ("10.1.0.5", "pod web"),
        ("fd00::5", "pod web"),
        ("::ffff:10.1.0.5", "pod web"),
        ("10.1.0.6", "unknown: 10.1.0.6 is held by pod a/twin-1 and pod a/twin-2"),
        ("10.1.0.7", "unknown: 10.1.0.7 lies in 10.1.0.0/24, a range of the cluster, and nobody has it"),
        ("10.1.0.8", "pod reuser"),
        ("10.0.0.1", "node n1"),
        ("10.1.0.1", "node n1"),
        ("10.0.0.2", "node n2"),
        ("10.96.0.9", "unknown: 10.96.0.9 lies in 10.96.0.0/12, a range of the cluster, and nobody has it"),
        ("127.0.0.1", "local"),
        ("::1", "local"),
        ("0.0.0.0", "local"),
        ("198.51.100.9", "external partner"),
        ("198.51.100.200", "external partner-b"),
        ("2001:db8::1", "external -"),
        ("169.254.169.254", "external -"),
    ];
    for (address, expected) in rows {
        assert_eq!(who(&inventory.resolve_address(ip(address), at(0))), expected, "{address}");
    }
}

#[test]
fn three_pods_with_one_address_are_all_named() {
    let inventory = ["a/x", "a/y", "a/z"].into_iter();
    let inventory = inventory.fold(builder(), |builder, name| builder.pod(pod(name).ip("10.1.0.5").build()));
    let inventory = inventory.build(None, at(0));
    let AddressOwner::Ambiguous(reason) = inventory.find_owner(ip("10.1.0.5"), at(0)) else { panic!() };
    assert_eq!(reason, "10.1.0.5 is held by pod a/x and pod a/y and pod a/z");
    assert_eq!(inventory.find_pod_by_address(ip("10.1.0.5"), at(0)), None);
}

fn keep(count: usize, minutes: i64) -> Settings {
    Settings { keep: Keep { count, age: SignedDuration::from_mins(minutes) }, ..Settings::default() }
}

fn departed_at(found: Option<Found<'_>>) -> Option<i64> {
    match found? {
        Found::Live(_) => Some(-1),
        Found::Departed { since, .. } => Some(since.duration_since(at(0)).as_secs()),
    }
}

#[test]
fn a_pod_that_went_is_found_as_departed_until_it_is_too_old() {
    let settings = keep(10, 1);
    let first =
        Inventory::builder(&settings).pod(pod("a/web").ip("10.1.0.5").uid("u").build()).build(None, at(0));
    let second = Inventory::builder(&settings).build(Some(&first), at(10));
    let third = Inventory::builder(&settings).build(Some(&second), at(20));
    assert_eq!(departed_at(first.find_pod_by_uid("u", at(5))), Some(-1));
    assert_eq!(departed_at(second.find_pod_by_uid("u", at(10))), Some(10));
    assert_eq!(departed_at(third.find_pod_by_uid("u", at(70))), Some(10));
    assert_eq!(departed_at(third.find_pod_by_uid("u", at(71))), None);
    assert_eq!(departed_at(third.find_pod_by_address(ip("10.1.0.5"), at(9))), Some(10));
    assert_eq!(
        departed_at(third.find_pod_by_address(ip("10.1.0.5"), at(10))),
        None,
        "it may be another's by then"
    );
    assert_eq!(departed_at(third.find_last_pod(ip("10.1.0.5"), at(70))), Some(10));
    assert_eq!(departed_at(third.find_last_pod(ip("10.1.0.5"), at(71))), None);
    assert_eq!(Inventory::builder(&settings).build(Some(&third), at(71)).departed_count(), 0);
}

#[test]
fn a_live_pod_has_the_address_of_one_that_went() {
    let first = builder().pod(pod("a/old").ip("10.1.0.5").uid("old").build()).build(None, at(0));
    let second = builder().pod(pod("a/new").ip("10.1.0.5").uid("new").build()).build(Some(&first), at(1));
    assert_eq!(who(&second.resolve_address(ip("10.1.0.5"), at(1))), "pod new");
    assert_eq!(departed_at(second.find_pod_by_uid("old", at(1))), Some(1));
}

/// Who had an address at a moment, whatever it is by now.
#[test]
fn an_address_that_changed_hands_is_whose_it_was_then() {
    let mut inventory = builder().range("10.1.0.0/16".parse().unwrap()).build(None, at(0));
    let (old, new) =
        (pod("a/old").ip("10.1.0.7").uid("old").build(), pod("a/new").ip("10.1.0.7").uid("new").build());
    let who_at = |inventory: &Inventory, second| who(&inventory.resolve_address(ip("10.1.0.7"), at(second)));
    inventory.put_pod(&old, at(5));
    assert_eq!(who_at(&inventory, 3), "pod old", "a new pod's address is told late, and nobody else had it");
    inventory.remove_pod("a", "old", at(10));
    let gone = "unknown: 10.1.0.7 was pod a/old's until 2027-01-15T08:00:10Z";
    for (second, expected) in [(3, "pod old"), (9, "pod old"), (10, gone), (11, gone), (600, gone)] {
        assert_eq!(who_at(&inventory, second), expected, "nobody is known to have it yet, at {second}");
    }
    inventory.put_pod(&new, at(20));
    let between = format!("{gone} and is known as pod a/new's since 2027-01-15T08:00:20Z");
    for (second, expected) in
        [(9, "pod old"), (10, &between), (19, &between), (20, "pod new"), (600, "pod new")]
    {
        assert_eq!(who_at(&inventory, second), expected, "at {second}");
    }
    let labelled = pod("a/new").ip("10.1.0.7").uid("new").label("app", "x").build();
    inventory.put_pod(&labelled, at(30));
    assert_eq!(who_at(&inventory, 20), "pod new", "it is the same one, whatever else is told of it");
    inventory.put_pod(&pod("b/else").build(), at(2_000));
    let forgotten = "unknown: 10.1.0.7 is known as pod a/new's since 2027-01-15T08:00:20Z; whose it was before is not known";
    assert_eq!(who_at(&inventory, 9), forgotten, "that it had another holder is remembered");
    inventory.remove_pod("a", "new", at(2_010));
    assert_eq!(who_at(&inventory, 1_999), "pod new");
    assert_eq!(who_at(&inventory, 9), forgotten);
}

/// A pod that has ended has no address any more, before its object goes.
#[test]
fn what_reached_a_pod_before_it_ended_reached_that_pod() {
    let mut inventory = builder().build(None, at(0));
    inventory.put_pod(&pod("a/job").ip("10.1.0.7").uid("j").build(), at(0));
    inventory.put_pod(&pod("a/job").ip("10.1.0.7").uid("j").terminated().build(), at(10));
    inventory.remove_pod("a", "job", at(12));
    let who_at = |second| who(&inventory.resolve_address(ip("10.1.0.7"), at(second)));
    assert_eq!(who_at(9), "pod job");
    assert_eq!(who_at(11), "unknown: 10.1.0.7 was pod a/job's until 2027-01-15T08:00:10Z", "not external");
}

#[test]
fn an_address_that_two_had_at_once_is_neithers() {
    let mut inventory = builder().build(None, at(0));
    inventory.put_pod(&pod("a/old").ip("10.1.0.7").build(), at(0));
    inventory.put_pod(&pod("a/new").ip("10.1.0.7").build(), at(5));
    inventory.remove_pod("a", "old", at(10));
    let who_at = |second| who(&inventory.resolve_address(ip("10.1.0.7"), at(second)));
    assert_eq!(who_at(4), "pod old");
    assert_eq!(who_at(7), "unknown: 10.1.0.7 was held by pod a/old and pod a/new");
    assert_eq!(who_at(10), "pod new");
}

#[test]
fn a_node_is_known_by_its_address_then() {
    let mut inventory = builder().build(None, at(0));
    inventory.put_node(node("n1", "10.0.0.1"), at(0));
    inventory.remove_node("n1", at(10));
    inventory.put_node(node("n2", "10.0.0.1"), at(20));
    let who_at = |second| who(&inventory.resolve_address(ip("10.0.0.1"), at(second)));
    assert_eq!((&*who_at(9), &*who_at(20)), ("node n1", "node n2"));
    assert!(who_at(15).starts_with("unknown: 10.0.0.1 was node n1's until"), "{}", who_at(15));
}

#[test]
fn a_slice_that_names_a_pod_that_went_leads_to_it_while_nobody_else_has_its_address() {
    let endpoint = SliceEndpoint { pod_uid: Some("old".into()), ..ready("10.1.0.7") };
    let mut inventory = builder()
        .pod(pod("a/old").ip("10.1.0.7").uid("old").build())
        .service(service("web", &["10.96.0.1"], vec![service_port("http", 80, Tcp)]))
        .slice(slice("web", &[("http", 8080, Tcp)], vec![endpoint]))
        .build(None, at(0));
    inventory.remove_pod("a", "old", at(10));
    assert_eq!(dialed(&inventory, "10.96.0.1", 80, Tcp), "web:http 10.1.0.7:8080 pod old");
    inventory.put_pod(&pod("a/new").ip("10.1.0.7").build(), at(20));
    assert_eq!(dialed(&inventory, "10.96.0.1", 80, Tcp), "web:http 10.1.0.7:8080 pod new");
}

#[test]
fn a_pod_that_comes_back_is_live_and_the_oldest_leave_first() {
    let settings = keep(2, 60);
    let with = |names: &[&str], before: Option<&Inventory>, now| {
        let pods = names.iter().fold(Inventory::builder(&settings), |builder, name| {
            builder.pod(pod(&format!("a/{name}")).uid(name).build())
        });
        pods.build(before, at(now))
    };
    let first = with(&["x", "y", "z"], None, 0);
    let second = with(&["y", "z"], Some(&first), 1);
    let third = with(&["x"], Some(&second), 2);
    let fourth = with(&[], Some(&third), 3);
    let found =
        |inventory: &Inventory| ["x", "y", "z"].map(|uid| departed_at(inventory.find_pod_by_uid(uid, at(3))));
    assert_eq!(found(&second), [Some(1), Some(-1), Some(-1)]);
    assert_eq!(found(&third), [Some(-1), Some(2), Some(2)]);
    assert_eq!(found(&fourth), [Some(3), None, Some(2)]);
}

fn service(name: &str, addresses: &[&str], ports: Vec<ServicePort>) -> ServiceSpec {
    let addresses = addresses.iter().map(|address| ip(address)).collect();
    ServiceSpec { namespace: "a".to_owned(), name: name.to_owned(), addresses, ports }
}

fn service_port(name: &str, port: u16, protocol: Protocol) -> ServicePort {
    ServicePort { name: Some(name.to_owned()), port, protocol, node_port: None }
}

fn slice(service: &str, ports: &[(&str, u16, Protocol)], endpoints: Vec<SliceEndpoint>) -> Slice {
    let port = |(name, port, protocol): &(&str, u16, Protocol)| SlicePort {
        name: Some((*name).to_owned()),
        port: *port,
        protocol: *protocol,
    };
    let ports = ports.iter().map(port).collect();
    Slice { namespace: "a".to_owned(), name: String::new(), service: service.to_owned(), ports, endpoints }
}

fn ready(address: &str) -> SliceEndpoint {
    SliceEndpoint { ip: ip(address), ready: true, serving: true, terminating: false, pod_uid: None }
}

fn leaving(address: &str, serving: bool) -> SliceEndpoint {
    SliceEndpoint { ready: false, serving, terminating: true, ..ready(address) }
}

#[test]
fn a_service_address_leads_to_what_kube_proxy_would_choose_from() {
    let web = || slice("web", &[("http", 8080, Tcp)], vec![ready("10.1.0.5")]);
    let mut node_port = service_port("http", 80, Tcp);
    node_port.node_port = Some(30080);
    let inventory = builder()
        .node(node("n1", "10.0.0.1"))
        .pod(pod("a/web-1").ip("10.1.0.5").build())
        .pod(pod("a/web-2").ip("10.1.0.6").build())
        .pod(pod("a/agent").ip("10.0.0.1").node("n1").host_network().build())
        .service(service(
            "web",
            &["10.96.0.1", "fd00:96::1", "198.51.100.3"],
            vec![node_port, service_port("http", 80, Udp), service_port("admin", 81, Tcp)],
        ))
        .slice(web())
        .slice(web())
        .slice(slice("web", &[("http", 8081, Tcp)], vec![ready("10.1.0.6"), leaving("10.1.0.9", true)]))
        .slice(slice("web", &[("http", 8080, Tcp)], vec![ready("fd00:1::5")]))
        .slice(slice("other", &[("http", 8080, Tcp)], vec![ready("10.1.0.7")]))
        .service(service("draining", &["10.96.0.2"], vec![service_port("x", 1, Tcp)]))
        .slice(slice(
            "draining",
            &[("x", 1, Tcp)],
            vec![leaving("10.1.0.5", true), leaving("10.1.0.6", false)],
        ))
        .service(service("hosted", &["10.96.0.3"], vec![service_port("x", 1, Tcp)]))
        .slice(slice("hosted", &[("x", 9, Tcp)], vec![ready("10.0.0.1")]))
        .service(service("one", &["198.51.100.4"], vec![service_port("x", 1, Tcp)]))
        .service(service(
            "two",
            &["198.51.100.4"],
            vec![service_port("x", 1, Tcp), service_port("y", 2, Tcp)],
        ))
        .build(None, at(0));
    let two = "web:http 10.1.0.5:8080 pod web-1 10.1.0.6:8081 pod web-2";
    let rows = [
        ("several slices, each endpoint once, ready ones only", "10.96.0.1", 80, Tcp, two),
        ("an IPv4-mapped address", "::ffff:10.96.0.1", 80, Tcp, two),
        ("the dialed family only", "fd00:96::1", 80, Tcp, "web:http fd00:1::5:8080 external -"),
        ("an external address", "198.51.100.3", 80, Tcp, two),
        ("a node port", "10.0.0.1", 30080, Tcp, two),
        ("a node port of another protocol", "10.0.0.1", 30080, Udp, "node n1"),
        ("a service port of another protocol", "10.96.0.1", 80, Udp, "web:http no endpoints"),
        ("a port that no slice serves", "10.96.0.1", 81, Tcp, "web:admin no endpoints"),
        ("a port that the service does not have", "10.96.0.1", 82, Tcp, "web:- no such port"),
        (
            "none ready: those that terminate and serve",
            "10.96.0.2",
            1,
            Tcp,
            "draining:x 10.1.0.5:1 pod web-1",
        ),
        ("an endpoint in the node's network", "10.96.0.3", 1, Tcp, "hosted:x 10.0.0.1:9 node n1"),
        (
            "two services with one external address and port",
            "198.51.100.4",
            1,
            Tcp,
            "unknown: 198.51.100.4 port 1 is claimed by service a/one and service a/two",
        ),
        ("two services with one external address", "198.51.100.4", 2, Tcp, "two:y no endpoints"),
        ("no service", "10.1.0.6", 80, Tcp, "pod web-2"),
    ];
    for (name, address, port, protocol, expected) in rows {
        assert_eq!(dialed(&inventory, address, port, protocol), expected, "{name}");
    }
}

#[test]
fn a_backend_is_the_pod_that_its_slice_refers_to() {
    let twins = |uid: Option<&str>| {
        let endpoint = SliceEndpoint { pod_uid: uid.map(Arc::from), ..ready("10.1.0.5") };
        let inventory = builder()
            .pod(pod("a/one").ip("10.1.0.5").uid("one").build())
            .pod(pod("a/two").ip("10.1.0.5").uid("two").build())
            .pod(pod("a/far").ip("10.1.0.6").uid("far").build())
            .service(service("web", &["10.96.0.1"], vec![service_port("x", 1, Tcp)]))
            .slice(slice("web", &[("x", 1, Tcp)], vec![endpoint]))
            .build(None, at(0));
        dialed(&inventory, "10.96.0.1", 1, Tcp)
    };
    assert_eq!(twins(Some("two")), "web:x 10.1.0.5:1 pod two");
    let ambiguous = "web:x 10.1.0.5:1 unknown: 10.1.0.5 is held by pod a/one and pod a/two";
    assert_eq!(twins(None), ambiguous);
    assert_eq!(twins(Some("far")), ambiguous, "a reference to a pod with another address names nobody");
}

#[test]
fn a_static_pod_is_found_by_the_uid_that_its_cgroup_names() {
    let mut mirror = (*pod("kube-system/etcd-n1").uid("mirror").build()).clone();
    mirror.static_uid = Some("0123456789abcdef0123456789abcdef".into());
    let inventory = builder().pod(mirror).build(None, at(0));
    for uid in ["mirror", "0123456789abcdef0123456789abcdef"] {
        let found = inventory.find_pod_by_uid(uid, at(0)).map(|found| found.pod().name.clone());
        assert_eq!(found.as_deref(), Some("etcd-n1"), "{uid}");
    }
}

#[test]
fn that_a_service_has_no_endpoint_is_not_said_while_some_may_not_be_read() {
    let mut inventory = builder()
        .service(service("web", &["10.96.0.1"], vec![service_port("http", 80, Tcp)]))
        .build(None, at(0));
    assert_eq!(dialed(&inventory, "10.96.0.1", 80, Tcp), "web:http no endpoints");
    inventory.set_incomplete(Some("endpointslices were not read".into()), at(1));
    assert_eq!(dialed(&inventory, "10.96.0.1", 80, Tcp), "web:http");
    assert_eq!(dialed(&inventory, "10.96.0.1", 81, Tcp), "web:- no such port");
    inventory.set_incomplete(None, at(2));
    assert_eq!(dialed(&inventory, "10.96.0.1", 80, Tcp), "web:http no endpoints");
}

/// Who can write an annotation can write anybody's uid.
#[test]
fn a_static_uid_never_stands_in_the_place_of_another_pods_own() {
    let with = |path: &str, uid: &str, told: &str| {
        let mut pod = (*pod(path).uid(uid).build()).clone();
        pod.static_uid = Some(told.into());
        Arc::new(pod)
    };
    let (forged, mirror) = (with("z/forged", "f", "victim"), with("kube-system/etcd-n1", "mirror", "hash"));
    let mut inventory = builder().pod(pod("a/victim").uid("victim").build()).pod(mirror).build(None, at(0));
    let found = |inventory: &Inventory, uid| {
        inventory.find_pod_by_uid(uid, at(20)).map(|found| found.pod().name.clone())
    };
    inventory.put_pod(&forged, at(1));
    assert_eq!(found(&inventory, "victim").as_deref(), Some("victim"), "while it lives");
    inventory.remove_pod("a", "victim", at(10));
    assert_eq!(found(&inventory, "victim").as_deref(), Some("victim"), "and when it went");
    inventory.put_pod(&with("z/forged", "f", "hash"), at(11));
    assert_eq!(found(&inventory, "hash"), None, "of two mirrors neither is believed");
    inventory.remove_pod("z", "forged", at(12));
    assert_eq!(found(&inventory, "hash").as_deref(), Some("etcd-n1"));
}
