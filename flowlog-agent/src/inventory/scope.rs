//! Who is read of the cluster: everybody, or one node and its pods. In the latter case an address that nobody here has may be
//! anybody's elsewhere: it is unknown, unless the settings tell all blocks that pods and nodes have addresses of.

use super::{AddressOwner, Inventory};
use ipnet::IpNet;
use jiff::Timestamp;
use std::net::IpAddr;

/// Who is read of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All pods and nodes.
    #[default]
    Cluster,
    /// One node and its pods; of the families for which all blocks are told, nobody of the cluster lies outside of these.
    Node {
        /// All IPv4 blocks of pods and nodes are told.
        v4_told: bool,
        /// All IPv6 blocks are.
        v6_told: bool,
    },
}

/// What begins the reason of an address that may be somebody's who is not read.
const OUT_OF_SCOPE: &str = "out_of_scope: nobody of this node has it (cluster_scope: node)";

impl Scope {
    /// That of one node, in a cluster whose pods and nodes have addresses of these blocks.
    pub fn of_node(pods: &[IpNet], nodes: &[IpNet]) -> Self {
        let of = |blocks: &[IpNet], v4: bool| blocks.iter().any(|block| matches!(block, IpNet::V4(_)) == v4);
        let told = |v4| of(pods, v4) && of(nodes, v4);
        Self::Node { v4_told: told(true), v6_told: told(false) }
    }
}

impl Inventory {
    /// Whether this address, which nobody here has, may be that of a pod or node that is not read. What lies in a range of a
    /// node that is read is no other's.
    pub(super) fn may_be_elsewhere(&self, ip: IpAddr) -> bool {
        let Scope::Node { v4_told, v6_told } = self.settings.scope else { return false };
        match self.find_range(ip) {
            Some(range) => range.node.is_none(),
            // A block with a name is external by what the settings say.
            None if self.find_network(ip).is_some() => false,
            None => !(if ip.is_ipv4() { v4_told } else { v6_told }),
        }
    }

    /// Whether whoever had this address at `at` is not read, so that waiting tells nothing.
    pub fn is_elsewhere(&self, ip: IpAddr, at: Timestamp) -> bool {
        self.incomplete.is_none()
            && matches!(self.find_owner(ip, at), AddressOwner::Unassigned(_) | AddressOwner::Nobody)
            && self.may_be_elsewhere(ip.to_canonical())
    }

    /// Why nobody is named at an address: with the services that have it for an endpoint, which are read all.
    pub(super) fn out_of_scope(&self, ip: IpAddr) -> String {
        let names: Vec<String> =
            self.services.behind(ip).map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        match names.is_empty() {
            true => OUT_OF_SCOPE.to_owned(),
            false => format!("{OUT_OF_SCOPE}; endpoint of service {}", names.join(", ")),
        }
    }
}
