//! Clusters of one make: 20 apps in 3 tiers, pods that all differ in one label that nobody selects by, and
//! policies of two rules a direction that name pods, namespaces, both, or a block with a hole.

use serde_json::{Value, json};

/// How large a cluster is.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) pods: u32,
    pub(crate) policies: u32,
    pub(crate) namespaces: u32,
}

/// Questions of a case.
const QUERIES: u32 = 10_000;

/// Out of the cluster.
const OUTSIDE: &str = "203.0.113.9";

/// The same numbers for the same seed, on every machine (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        u32::try_from(high % u64::from(sides.max(1))).unwrap_or_default()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let place = usize::try_from(self.below(u32::try_from(of.len()).unwrap_or_default()));
        place.ok().and_then(|place| of.get(place)).copied().unwrap_or_default()
    }
}

/// A case of this size.
pub(crate) fn case(size: Size, seed: u64) -> Value {
    let mut dice = Dice(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15));
    let nodes: Vec<Value> = (0..nodes(size)).map(node).collect();
    let namespaces: Vec<Value> = (0..size.namespaces).map(|number| namespace(number, &mut dice)).collect();
    let pods: Vec<Value> = (0..size.pods).map(|number| pod(number, size, &mut dice)).collect();
    let policies: Vec<Value> = (0..size.policies).map(|number| policy(number, size, &mut dice)).collect();
    let queries: Vec<Value> = (0..QUERIES).map(|number| query(number, size, &mut dice)).collect();
    json!({
        "id": format!("made-{}-{}", size.pods, size.policies), "nodes": nodes, "namespaces": namespaces,
        "pods": pods, "networkPolicies": policies, "queries": queries,
    })
}

fn nodes(size: Size) -> u32 {
    (size.pods / 100).max(2)
}

fn node(number: u32) -> Value {
    let address = format!("192.168.{}.{}", number / 250, number % 250 + 1);
    json!({"metadata": {"name": format!("n{number}")}, "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
}

fn namespace(number: u32, dice: &mut Dice) -> Value {
    let (name, env) = (format!("ns{number}"), dice.one(&["prod", "dev"]));
    let labels =
        json!({"kubernetes.io/metadata.name": name, "team": format!("t{}", number % 10), "env": env});
    json!({"metadata": {"name": name, "labels": labels}})
}

fn address(number: u32) -> String {
    let number = number + 1;
    format!("10.{}.{}.{}", 128 + number / 65_536, number / 256 % 256, number % 256)
}

fn pod(number: u32, size: Size, dice: &mut Dice) -> Value {
    let labels = json!({
        "app": format!("app{}", dice.below(20)), "tier": dice.one(&["fe", "be", "db"]),
        "version": dice.one(&["v1", "v2", "v3"]), "pod-template-hash": number.to_string(),
    });
    let namespace = format!("ns{}", number % size.namespaces);
    let name = format!("p{number}");
    let ports = json!([{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}]);
    json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{number}"), "labels": labels},
        "spec": {
            "nodeName": format!("n{}", number % nodes(size)),
            "containers": [{"name": "c", "image": "x", "ports": ports}],
        },
        "status": {"phase": "Running", "podIP": address(number), "podIPs": [{"ip": address(number)}]},
    })
}

fn policy(number: u32, size: Size, dice: &mut Dice) -> Value {
    let selector = match dice.below(6) {
        0 => json!({}),
        _ => json!({"matchLabels": {"app": format!("app{}", dice.below(20))}}),
    };
    let peers = |dice: &mut Dice| json!([peer(size, dice), peer(size, dice)]);
    let named = json!([{"protocol": "TCP", "port": "http"}, {"protocol": "TCP", "port": 9090}]);
    let ingress = json!([{"ports": named, "from": peers(dice)}, {"ports": named, "from": peers(dice)}]);
    let egress = json!([
        {"ports": [{"protocol": "TCP", "port": 8080, "endPort": 8090}], "to": peers(dice)},
        {"ports": [{"protocol": "UDP", "port": 53}], "to": [{"namespaceSelector": {}}]},
    ]);
    let namespace = format!("ns{}", number % size.namespaces);
    json!({
        "metadata": {"name": format!("np{number}"), "namespace": namespace},
        "spec": {"podSelector": selector, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress},
    })
}

fn peer(size: Size, dice: &mut Dice) -> Value {
    match dice.below(20) {
        0..8 => json!({"podSelector": {"matchLabels": {"app": format!("app{}", dice.below(20))}}}),
        8..14 => json!({
            "namespaceSelector": {"matchLabels": {"team": format!("t{}", dice.below(10))}},
            "podSelector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["fe", "be"]}]},
        }),
        14..17 => {
            let name = format!("ns{}", dice.below(size.namespaces));
            json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}})
        }
        _ => json!({"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.128/25"]}}),
    }
}

fn query(number: u32, size: Size, dice: &mut Dice) -> Value {
    let end = |dice: &mut Dice| match dice.below(7) {
        0 => OUTSIDE.to_owned(),
        _ => address(dice.below(size.pods)),
    };
    let (source, destination) = (end(dice), end(dice));
    let port = [53, 443, 8080, 9090].get(usize::try_from(dice.below(4)).unwrap_or_default()).copied();
    let protocol = dice.one(&["TCP", "TCP", "UDP"]);
    json!({"id": number, "srcIP": source, "dstIP": destination, "port": port.unwrap_or(80), "protocol": protocol})
}
