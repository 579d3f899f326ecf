//! Links, addresses and routes of a world.
//!
//! Outside `eth0` —— `eth0` node `cbr0` —— one isolated port for each pod's `eth0`.

use crate::manifests::NodePlan;
use crate::netns::Netns;
use anyhow::{Context, Result, bail};
use std::net::IpAddr;
use std::path::Path;

/// The node's bridge.
pub(super) const BRIDGE: &str = "cbr0";

/// The node's link to the outside.
pub(super) const UPLINK: &str = "eth0";

/// Link addresses between node and outside, of either family.
const OUTSIDE_GATEWAY: [&str; 2] = ["169.254.254.1", "fe80::1"];
const NODE_LINK: [&str; 2] = ["169.254.254.2", "fe80::2"];

/// What stands for the internet; it swallows what no host of ours takes.
const INTERNET: [&str; 2] = ["198.51.100.0/24", "2001:db8::/32"];

/// Every namespace, before it has links: addresses are usable at once, and nothing is learned from
/// neighbours. A node redirects pods of one bridge to each other over IPv6 (there is no switch for
/// sending that); isolated ports make such a way a dead end, so pods must not take it.
const QUIET: [(&str, &str); 8] = [
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
];

/// A namespace that forwards, and never tells a pod of a shorter way past it.
const ROUTER: [(&str, &str); 4] = [
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

/// Hosts listen before they have their addresses: no SYN comes to one that does not listen yet.
const BINDS_AHEAD: [(&str, &str); 2] = [("ipv4/ip_nonlocal_bind", "1"), ("ipv6/ip_nonlocal_bind", "1")];

/// A namespace without links but loopback.
pub(super) fn namespace(name: &str) -> Result<Netns> {
    let netns = Netns::create(name)?;
    netns.sysctl(&QUIET)?;
    Ok(netns)
}

/// With br_netfilter the bridge itself would send what DNAT leads back to it from port to port, past the
/// node's forward chain. The switches are there only where the kernel has it.
const PLAIN_BRIDGE: [(&str, &str); 2] =
    [("bridge/bridge-nf-call-iptables", "0"), ("bridge/bridge-nf-call-ip6tables", "0")];

/// Addresses of a node that its manifest settles.
#[derive(Debug)]
pub(super) struct Layout {
    node_ips: Vec<IpAddr>,
    pod_networks: Vec<PodNetwork>,
}

#[derive(Debug)]
struct PodNetwork {
    gateway: IpAddr,
    prefix: u8,
}

impl Layout {
    pub(super) fn of(node: &NodePlan) -> Result<Self> {
        let pod_networks: Vec<_> =
            node.pod_cidrs.iter().map(|cidr| PodNetwork::of(cidr)).collect::<Result<_>>()?;
        for v4 in [true, false] {
            let routed = pod_networks.iter().any(|network| network.gateway.is_ipv4() == v4);
            if routed && !node.ips.iter().any(|ip| ip.is_ipv4() == v4) {
                bail!("node {} has podCIDRs of a family of which it has no InternalIP", node.name);
            }
        }
        Ok(Self { node_ips: node.ips.clone(), pod_networks })
    }

    pub(super) fn build_outside(&self, outside: &Netns) -> Result<()> {
        outside.sysctl(&ROUTER)?;
        outside.sysctl(&BINDS_AHEAD)?;
        // Both swallow packets without counting them as dropped: to the kernel they have left.
        if outside.ip(&["link add void0 type dummy"]).is_err() {
            outside
                .ip(&["link add void0 type ifb"])
                .context("neither `dummy` nor `ifb` links on this kernel")?;
        }
        outside.ip(&["link set void0 up"])?;
        outside.ip(&INTERNET.map(|network| format!("route add {network} dev void0")))
    }

    pub(super) fn build_node(&self, node: &Netns, outside: &Netns) -> Result<()> {
        node.sysctl(&ROUTER)?;
        if Path::new("/proc/sys/net/bridge").is_dir() {
            node.sysctl(&PLAIN_BRIDGE)?;
        }
        let mut lines = vec![
            format!("link add {BRIDGE} type bridge stp_state 0 mcast_snooping 0"),
            format!("link add {UPLINK} type veth peer name eth0 netns {}", outside.path().display()),
        ];
        lines.extend(self.node_ips.iter().map(|ip| add_address(ip, UPLINK)));
        lines.extend(link_addresses(NODE_LINK, UPLINK));
        lines.extend(self.pod_networks.iter().map(|network| {
            let nodad = if network.gateway.is_ipv6() { " nodad" } else { "" };
            format!("addr add {}/{} dev {BRIDGE}{nodad}", network.gateway, network.prefix)
        }));
        lines.extend([BRIDGE, UPLINK].map(|link| format!("link set {link} up")));
        node.ip(&lines)?;
        outside.ip(&link_addresses(OUTSIDE_GATEWAY, "eth0"))?;
        outside.ip(&["link set eth0 up"])?;
        outside.ip(&self.routes_back())?;
        node.ip(&self.routes_out())
    }

    fn routes_out(&self) -> Vec<String> {
        [true, false]
            .iter()
            .zip(OUTSIDE_GATEWAY)
            .filter_map(|(v4, gateway)| Some((gateway, self.node_ips.iter().find(|ip| ip.is_ipv4() == *v4)?)))
            .map(|(gateway, source)| format!("route add default via {gateway} dev {UPLINK} src {source}"))
            .collect()
    }

    fn routes_back(&self) -> Vec<String> {
        let nodes = self.node_ips.iter().map(|ip| (ip.is_ipv4(), host(ip)));
        let pods = self.pod_networks.iter().map(|net| (net.gateway.is_ipv4(), net.to_string()));
        nodes
            .chain(pods)
            .map(|(v4, to)| {
                format!("route add {to} via {} dev eth0", if v4 { NODE_LINK[0] } else { NODE_LINK[1] })
            })
            .collect()
    }

    pub(super) fn build_pod(&self, pod: &Netns, ips: &[IpAddr]) -> Result<()> {
        let mut lines: Vec<_> = ips.iter().map(|ip| add_address(ip, "eth0")).collect();
        lines.push("link set eth0 up".to_owned());
        for network in &self.pod_networks {
            if ips.iter().any(|ip| ip.is_ipv4() == network.gateway.is_ipv4()) {
                lines.push(format!("route add default via {} dev eth0 onlink", network.gateway));
            }
        }
        pod.ip(&lines)
    }
}

impl PodNetwork {
    /// The gateway is the network's first address, as host-local IPAM gives it.
    fn of(cidr: &str) -> Result<Self> {
        let (network, prefix) =
            cidr.split_once('/').with_context(|| format!("`{cidr}` has no prefix length"))?;
        let network: IpAddr = network.parse().with_context(|| format!("podCIDR `{cidr}`"))?;
        let gateway = match network {
            IpAddr::V4(ip) => IpAddr::from((u32::from(ip) | 1).to_be_bytes()),
            IpAddr::V6(ip) => IpAddr::from((u128::from(ip) | 1).to_be_bytes()),
        };
        Ok(Self { gateway, prefix: prefix.parse().with_context(|| format!("podCIDR `{cidr}`"))? })
    }
}

impl std::fmt::Display for PodNetwork {
    /// As a route: `ip` wants no host bits.
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.gateway {
            IpAddr::V4(ip) => write!(to, "{}/{}", std::net::Ipv4Addr::from(u32::from(ip) & !1), self.prefix),
            IpAddr::V6(ip) => write!(to, "{}/{}", std::net::Ipv6Addr::from(u128::from(ip) & !1), self.prefix),
        }
    }
}

/// A pod's port of the bridge: isolated, so that the bridge itself carries nothing from pod to pod.
pub(super) fn pod_port(at: usize, pod: &Netns) -> [String; 3] {
    let port = format!("veth{at}");
    [
        format!("link add {port} type veth peer name eth0 netns {}", pod.path().display()),
        format!("link set {port} master {BRIDGE} up"),
        format!("link set {port} type bridge_slave isolated on"),
    ]
}

/// A single address on a link.
pub(super) fn add_address(ip: &IpAddr, link: &str) -> String {
    let nodad = if ip.is_ipv6() { " nodad" } else { "" };
    format!("addr add {} dev {link}{nodad}", host(ip))
}

fn link_addresses([v4, v6]: [&str; 2], link: &str) -> [String; 2] {
    [format!("addr add {v4}/30 dev {link} scope link"), format!("addr add {v6}/64 dev {link} nodad")]
}

fn host(ip: &IpAddr) -> String {
    format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_the_first_address_of_the_pod_network() {
        for (cidr, gateway, route) in [
            ("10.244.1.0/24", "10.244.1.1", "10.244.1.0/24"),
            ("fd00:10:244:1::/64", "fd00:10:244:1::1", "fd00:10:244:1::/64"),
        ] {
            let network = PodNetwork::of(cidr).unwrap();
            assert_eq!(
                (network.gateway.to_string().as_str(), network.to_string().as_str()),
                (gateway, route)
            );
        }
    }

    #[test]
    fn a_pod_network_without_an_address_of_the_node_is_refused() {
        let node = NodePlan {
            name: "n".into(),
            ips: vec!["172.18.0.2".parse().unwrap()],
            pod_cidrs: vec!["10.244.1.0/24".into(), "fd00::/64".into()],
        };
        assert!(Layout::of(&node).unwrap_err().to_string().contains("no InternalIP"));
    }
}
