//! What the index holds, seen from within: nothing of what went.

use super::Index;
use crate::testkit::{cluster_policy, network_policy, pod};

#[test]
fn nothing_is_left_of_what_was_removed() {
    let policies = [
        network_policy("shop/a", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}},
            {podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {ipBlock: {cidr: 'fd00::/8'}}]}]}"),
        cluster_policy("anp a", "{priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{namespaces: {}}]}]}"),
    ];
    let pods = ["shop/a", "shop/b", "ops/c"].map(|path| pod(path).label("app", path).build());
    for policies_first in [true, false] {
        let mut index = Index::default();
        let put_policies = |index: &mut Index| policies.iter().for_each(|policy| index.put_policy(policy));
        if policies_first {
            put_policies(&mut index);
        }
        pods.iter().for_each(|pod| index.put_pod(pod));
        put_policies(&mut index);
        assert_eq!((index.sizes(), index.policy_count(), index.in_namespace.len()), ((3, 3), 2, 2));
        pods.iter().for_each(|pod| index.remove_pod(pod));
        let classes = [index.spaces.len(), index.labels.len(), index.ports.len(), index.in_namespace.len()];
        assert_eq!((index.sizes(), classes), ((0, 0), [0; 4]));
        policies.iter().for_each(|policy| index.remove_policy(&policy.reference()));
        let selectors = [index.pod_selectors.len(), index.space_selectors.len()];
        let lists = [index.by_namespace.len(), index.cluster.len(), index.policy_count()];
        assert_eq!((selectors, lists, index.saying), ([0; 2], [0; 3], (0, 0)));
        assert!(index.edges.is_empty());
    }
}
