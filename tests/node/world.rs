//! The world itself, without an agent: pods reach each other through the node alone, services lead to
//! backends, enforcement enforces, and nothing stays behind.

use flowlog_tests::cgroup::Naming;
use flowlog_tests::manifests::Cluster;
use flowlog_tests::world::Plan;
use flowlog_tests::{Actor, Answer, Listen, Outcome, Place, Scenario, Server, Step, World, cgroup};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(300);

fn pod(name: &str, last: u8) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "uid": format!("00000000-0000-4000-8000-0000000000{last:02x}")},
        "spec": {"nodeName": "one"},
        "status": {
            "podIPs": [{"ip": format!("10.244.1.{last}")}, {"ip": format!("fd00:10:244:1::{last:x}")}],
            "qosClass": "Burstable",
            "containerStatuses": [{"name": "main", "containerID": format!("containerd://{:064x}", last)}],
        },
    })
}

fn cluster() -> Cluster {
    let slice = |family: &str, ips: [&str; 2]| {
        json!({
            "kind": "EndpointSlice",
            "metadata": {"namespace": "shop", "name": family, "labels": {"kubernetes.io/service-name": "api"}},
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": [ips[0]]}, {"addresses": [ips[1]]}],
        })
    };
    Cluster::from_objects([
        json!({
            "kind": "Node",
            "metadata": {"name": "one"},
            "spec": {"podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "172.18.0.2"},
                {"type": "InternalIP", "address": "fd00:172:18::2"},
            ]},
        }),
        pod("client", 10),
        pod("api-a", 11),
        pod("api-b", 12),
        json!({
            "kind": "Service",
            "metadata": {"namespace": "shop", "name": "api"},
            "spec": {"clusterIPs": ["10.96.0.10", "fd00:10:96::10"], "ports": [{"name": "http", "port": 80}]},
        }),
        json!({
            "kind": "Service",
            "metadata": {"namespace": "shop", "name": "nobody"},
            "spec": {"clusterIPs": ["10.96.0.11"], "ports": [{"port": 80}]},
        }),
        slice("v4", ["10.244.1.11", "10.244.1.12"]),
        slice("v6", ["fd00:10:244:1::b", "fd00:10:244:1::c"]),
    ])
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Both backends, TCP and UDP, both families.
fn servers(world: &mut World) -> Vec<Server> {
    let listen =
        Listen { tcp: vec![address("[::]:8080")], udp: vec![address("[::]:8080")], ..Listen::default() };
    ["shop/api-a", "shop/api-b"]
        .iter()
        .map(|name| world.serve(&Place::Pod((*name).to_owned()), Some("api"), &listen).unwrap())
        .collect()
}

fn client(world: &World) -> Actor {
    world.actor(&Place::Pod("shop/client".to_owned()), Some("curl")).unwrap()
}

#[track_caller]
fn saw(answer: &Answer, outcome: Outcome, errno: Option<&str>) {
    assert_eq!((answer.outcome, answer.errno.as_deref()), (outcome, errno), "{answer:?}");
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn pods_services_and_the_outside_are_reached_in_both_families() {
    let mut world = Plan::new(cluster(), "one").build().unwrap();
    let _servers = servers(&mut world);
    let internet = Listen {
        tcp: vec![address("198.51.100.20:8443"), address("[2001:db8::20]:8443")],
        udp: vec![address("198.51.100.20:53")],
        ..Listen::default()
    };
    let _internet = world.serve(&Place::Outside, None, &internet).unwrap();
    let mut client = client(&world);
    for to in [
        "10.244.1.11:8080",
        "[fd00:10:244:1::b]:8080",
        "[::ffff:10.244.1.11]:8080",
        "10.96.0.10:80",
        "[fd00:10:96::10]:80",
        "198.51.100.20:8443",
        "[2001:db8::20]:8443",
    ] {
        let step = json!({"do": "connect", "to": to, "send": 3000, "receive": 3000});
        let answer = client.act(&serde_json::from_value(step).unwrap()).unwrap();
        saw(&answer, Outcome::Established, None);
    }
    for to in ["10.244.1.12:8080", "[fd00:10:244:1::c]:8080", "198.51.100.20:53"] {
        saw(&client.act(&Step::udp(address(to))).unwrap(), Outcome::Answered, None);
        let step = Step::UdpSendto { to: address(to), timeout_ms: 2_000 };
        saw(&client.act(&step).unwrap(), Outcome::Answered, None);
    }
    let mut node = world.actor(&Place::Node, Some("kubelet")).unwrap();
    saw(&node.act(&Step::connect(address("10.96.0.10:80"))).unwrap(), Outcome::Established, None);
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn each_way_to_fail_looks_as_it_does_on_a_node() {
    let mut world = Plan::new(cluster(), "one").build().unwrap();
    world.add_outside(["198.51.100.10".parse().unwrap()]).unwrap();
    let mut client = client(&world);
    let table = [
        ("nobody listens", Step::connect(address("10.244.1.11:8080")), Outcome::Error, Some("ECONNREFUSED")),
        ("nobody listens, udp", Step::udp(address("10.244.1.11:8080")), Outcome::Error, Some("ECONNREFUSED")),
        (
            "a host without listener",
            Step::connect(address("198.51.100.10:1")),
            Outcome::Error,
            Some("ECONNREFUSED"),
        ),
        (
            "a service without endpoints",
            Step::connect(address("10.96.0.11:80")),
            Outcome::Error,
            Some("ECONNREFUSED"),
        ),
        ("no host there", Step::connect(address("198.51.100.99:1")).within(SHORT), Outcome::Timeout, None),
        (
            "no host there, v6",
            Step::connect(address("[2001:db8::99]:1")).within(SHORT),
            Outcome::Timeout,
            None,
        ),
        (
            "no such pod",
            Step::connect(address("10.244.1.77:1")).within(8 * SHORT * 2),
            Outcome::Error,
            Some("EHOSTUNREACH"),
        ),
    ];
    for (name, step, outcome, errno) in table {
        let answer = client.act(&step).unwrap();
        assert_eq!((answer.outcome, answer.errno.as_deref()), (outcome, errno), "{name}: {answer:?}");
    }
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn enforcement_stands_between_pods_of_one_bridge() {
    let mut world = Plan::new(cluster(), "one").build().unwrap();
    let _servers = servers(&mut world);
    world
        .enforce(
            "table inet plugin {
               chain forward {
                 type filter hook forward priority filter; policy accept;
                 ct state established,related accept
                 ip daddr 10.244.1.11 tcp dport 8080 drop
                 ip daddr 10.244.1.12 meta l4proto tcp reject with tcp reset
                 ip daddr 10.244.1.12 reject with icmp type admin-prohibited
                 ip6 daddr fd00:10:244:1::c reject with icmpv6 type admin-prohibited
               }
             }",
        )
        .unwrap();
    let mut client = client(&world);
    let table = [
        ("drop", Step::connect(address("10.244.1.11:8080")).within(SHORT), Outcome::Timeout, None),
        ("reset", Step::connect(address("10.244.1.12:8080")), Outcome::Error, Some("ECONNREFUSED")),
        ("prohibited", Step::udp(address("10.244.1.12:8080")), Outcome::Error, Some("EHOSTUNREACH")),
        ("prohibited, v6", Step::connect(address("[fd00:10:244:1::c]:8080")), Outcome::Error, Some("EACCES")),
        ("not named", Step::connect(address("[fd00:10:244:1::b]:8080")), Outcome::Established, None),
    ];
    for (name, step, outcome, errno) in table {
        let answer = client.act(&step).unwrap();
        assert_eq!((answer.outcome, answer.errno.as_deref()), (outcome, errno), "{name}: {answer:?}");
    }
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn a_service_leads_to_each_of_its_backends() {
    let mut world = Plan::new(cluster(), "one").build().unwrap();
    let a =
        world.serve(&Place::Pod("shop/api-a".to_owned()), None, &Listen::tcp(address("[::]:8080"))).unwrap();
    let mut client = client(&world);
    // One backend listens, the other refuses: both are met in 40 tries, but for one chance in 2^39.
    let outcomes: BTreeSet<_> =
        (0..40).map(|_| client.act(&Step::connect(address("10.96.0.10:80"))).unwrap().outcome).collect();
    assert_eq!(outcomes, BTreeSet::from([Outcome::Established, Outcome::Error]));
    drop(a);
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn processes_are_in_the_cgroups_that_kubelet_would_use() {
    let table = [
        (Naming::Cgroupfs, "kubepods/burstable/pod00000000-0000-4000-8000-00000000000a"),
        (
            Naming::Systemd,
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod00000000_0000_4000_8000_00000000000a.slice",
        ),
    ];
    for (naming, expected) in table {
        let world = Plan::new(cluster(), "one").naming(naming).build().unwrap();
        let actor = client(&world);
        let pod = world.cgroup_root().join(expected);
        let entered = std::fs::read_to_string(format!("/proc/{}/cgroup", actor.pid())).unwrap();
        let id = format!("{:064x}", 10);
        assert!(
            entered
                .lines()
                .any(|line| line.starts_with("0::") && line.contains(expected) && line.contains(&id)),
            "{entered}"
        );
        let inside =
            std::fs::read_dir(&pod).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
        assert_eq!(inside, 2, "the container and its pause container");
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", actor.pid())).unwrap();
        assert_eq!(comm, "curl\n");
    }
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn the_c_library_sorts_addresses_it_can_reach() {
    let world = Plan::new(cluster(), "one").build().unwrap();
    let addresses: Vec<IpAddr> = ["10.244.1.11", "fd00:10:244:1::b"].map(|ip| ip.parse().unwrap()).to_vec();
    let step = Step::Resolve { host: "api.shop.svc".to_owned(), port: 5432, addresses: addresses.clone() };
    let answer = client(&world).act(&step).unwrap();
    assert_eq!(answer.addresses.iter().collect::<BTreeSet<_>>(), addresses.iter().collect::<BTreeSet<_>>());
    assert!(
        !std::fs::read_to_string("/etc/hosts").unwrap().contains("api.shop.svc"),
        "only that process sees it"
    );
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn a_burst_does_not_run_out_of_ports() {
    let mut world = Plan::new(cluster(), "one").build().unwrap();
    let _servers = servers(&mut world);
    let step = Step::Burst { to: address("10.244.1.11:8080"), count: 40_000, threads: 2, timeout_ms: 5_000 };
    let answer = client(&world).act(&step).unwrap();
    assert_eq!(answer.counts.get("established"), Some(&40_000), "{:?}", answer.counts);
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn pods_come_and_go() {
    let mut world = Plan::new(cluster(), "one").pods_not_started().build().unwrap();
    world.start_pod("shop/api-a").unwrap();
    let _server =
        world.serve(&Place::Pod("shop/api-a".to_owned()), None, &Listen::tcp(address("0.0.0.0:80"))).unwrap();
    let before = cgroups_below(&world.cgroup_root());
    for _ in 0..3 {
        let answer = world.live_once("shop/client", &Step::connect(address("10.244.1.11:80"))).unwrap();
        saw(&answer, Outcome::Established, None);
        assert_eq!(cgroups_below(&world.cgroup_root()), before);
    }
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn the_demo_comes_to_what_its_script_says() {
    let scenario = Scenario::demo().unwrap();
    let (world, _servers) = scenario.stage().unwrap();
    for act in scenario.acts() {
        let answer = act.perform(&world).unwrap();
        let saw = (answer.outcome, answer.errno.clone());
        assert_eq!(saw, (act.sees.outcome, act.sees.errno.clone()), "{}: {answer:?}", act.about);
    }
}

fn cgroups_below(path: &Path) -> usize {
    let below =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    // `kubepods/burstable` stays when its last pod goes, as it does on a node.
    below.map(|path| 1 + cgroups_below(&path)).sum::<usize>()
}

#[test]
#[ignore = "kernel: root, netns, nftables"]
fn nothing_stays_behind() {
    let world = Plan::new(cluster(), "one").build().unwrap();
    let actor = client(&world);
    let (pid, top) = (actor.pid(), world.cgroup_root().parent().unwrap().to_owned());
    drop(actor);
    drop(world);
    assert!(!top.exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let mine = format!("flowlog-world.{}.", std::process::id());
    assert!(top.file_name().unwrap().to_str().unwrap().starts_with(&mine));
    assert!(cgroup::find_mount().unwrap().exists());
}
