//! Service addresses as kube-proxy's nftables mode makes them: DNAT to a backend taken at random.
//!
//! Left out: session affinity, node ports, and a pod that reaches itself through its own service.

use crate::manifests::ServicePort;
use std::net::{IpAddr, SocketAddr};

/// The ruleset for a node: services in both hooks where traffic to them starts, and the masquerade of
/// traffic that leaves by `uplink`.
pub fn ruleset(ports: &[ServicePort], uplink: &str) -> String {
    let (mut endpoints, mut rules) = (String::new(), String::new());
    for (at, service) in ports.iter().enumerate() {
        for address in &service.addresses {
            let (chains, rule) = address_rules(service, address, at);
            endpoints.push_str(&chains);
            rules.push_str(&rule);
        }
    }
    let refusals: String = ports.iter().flat_map(refusal_rules).collect();
    format!(
        "table inet services {{\n{endpoints}\
         chain dial {{\n{rules}}}\n\
         chain no_endpoints {{\n{refusals}}}\n\
         chain from_pods {{\ntype nat hook prerouting priority dstnat; policy accept;\njump dial\n}}\n\
         chain from_node {{\ntype nat hook output priority -100; policy accept;\njump dial\n}}\n\
         chain refuse {{\ntype filter hook forward priority filter - 5; policy accept;\njump no_endpoints\n}}\n\
         chain leave {{\ntype nat hook postrouting priority srcnat; policy accept;\noifname \"{uplink}\" masquerade\n}}\n\
         }}\n"
    )
}

/// A chain for each backend, and the rule that chooses one.
fn address_rules(service: &ServicePort, address: &IpAddr, at: usize) -> (String, String) {
    let family = family(address);
    let backends = backends_of_family(service, address.is_ipv4());
    if backends.is_empty() {
        return (String::new(), String::new());
    }
    let chain = |number: usize| format!("endpoint_{at}_{family}_{number}");
    let chains = backends.iter().enumerate().map(|(number, (ip, port))| {
        let to = SocketAddr::new(*ip, *port);
        format!("chain {} {{\nmeta l4proto {} dnat {family} to {to}\n}}\n", chain(number), service.protocol)
    });
    let choice: Vec<_> =
        (0..backends.len()).map(|number| format!("{number} : goto {}", chain(number))).collect();
    let rule = format!(
        "{} numgen random mod {} vmap {{ {} }} comment \"{}\"\n",
        matches(service, address),
        backends.len(),
        choice.join(", "),
        service.title
    );
    (chains.collect(), rule)
}

/// kube-proxy rejects what is sent to a service without endpoints.
fn refusal_rules(service: &ServicePort) -> Vec<String> {
    let empty = |address: &&IpAddr| backends_of_family(service, address.is_ipv4()).is_empty();
    service
        .addresses
        .iter()
        .filter(empty)
        .map(|address| format!("{} reject\n", matches(service, address)))
        .collect()
}

fn matches(service: &ServicePort, address: &IpAddr) -> String {
    format!("{} daddr {address} {} dport {}", family(address), service.protocol, service.port)
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

fn backends_of_family(service: &ServicePort, v4: bool) -> Vec<(IpAddr, u16)> {
    service.backends.iter().copied().filter(|(ip, _)| ip.is_ipv4() == v4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(backends: &[(&str, u16)]) -> ServicePort {
        ServicePort {
            title: "shop/api:http".into(),
            addresses: vec!["10.96.0.10".parse().unwrap(), "fd00::10".parse().unwrap()],
            port: 80,
            protocol: "tcp".into(),
            backends: backends.iter().map(|(ip, port)| (ip.parse().unwrap(), *port)).collect(),
        }
    }

    #[test]
    fn each_family_leads_to_backends_of_its_own() {
        let text = ruleset(&[service(&[("10.1.1.1", 8080), ("10.1.1.2", 8080), ("fd00::5", 8080)])], "eth0");
        for line in [
            "ip daddr 10.96.0.10 tcp dport 80 numgen random mod 2 vmap { 0 : goto endpoint_0_ip_0, 1 : goto endpoint_0_ip_1 }",
            "ip6 daddr fd00::10 tcp dport 80 numgen random mod 1 vmap { 0 : goto endpoint_0_ip6_0 }",
            "dnat ip to 10.1.1.2:8080",
            "dnat ip6 to [fd00::5]:8080",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("reject"), "{text}");
    }

    #[test]
    fn a_family_without_endpoints_is_rejected() {
        let text = ruleset(&[service(&[("10.1.1.1", 8080)])], "eth0");
        assert!(text.contains("ip6 daddr fd00::10 tcp dport 80 reject"), "{text}");
    }
}
