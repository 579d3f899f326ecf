//! Random clusters and the oracle's answers to them: that they are hard, and that what must not change an answer does not.

use flowlog_tests::case::{Case, Decision};
use flowlog_tests::oracle::{self, Answer, Basis, Tier};
use flowlog_tests::random;
use serde_json::json;
use std::collections::BTreeMap;

const SEEDS: u64 = 150;

fn answers(case: &Case) -> Vec<Answer> {
    case.queries.iter().map(|query| oracle::evaluate(case, query)).collect()
}

fn assert_same(case: &Case, other: &Case, what: &str) {
    for ((query, one), other) in case.queries.iter().zip(answers(case)).zip(answers(other)) {
        let decisions = |answer: &Answer| [answer.ingress.decision, answer.egress.decision];
        assert_eq!(decisions(&one), decisions(&other), "{what}: {} {query:?}\n{one:#?}\n{other:#?}", case.id);
    }
}

#[test]
fn a_seed_gives_the_same_case_each_time() {
    for seed in 0..20 {
        assert_eq!(random::cluster(seed), random::cluster(seed));
    }
    assert_ne!(random::cluster(1).queries, random::cluster(2).queries);
}

#[test]
fn a_case_with_its_expectations_survives_being_written_and_read() {
    for seed in 0..20 {
        let case = random::cluster(seed);
        let case = Case { expect: oracle::expect(&case), ..case };
        let line = serde_json::to_string(&case).unwrap();
        assert_eq!(serde_json::from_str::<Case>(&line).unwrap(), case);
        let items = case.manifest()["items"].as_array().unwrap().clone();
        assert!(
            items.iter().all(|item| item["apiVersion"].is_string() && item["kind"].is_string()),
            "{items:?}"
        );
    }
}

#[test]
fn written_and_stored_objects_get_the_same_answers() {
    for seed in 0..SEEDS {
        let case = random::cluster(seed);
        assert_same(&case, &random::stored(&case), "stored");
    }
}

#[test]
fn the_order_of_lists_changes_no_answer() {
    for seed in 0..SEEDS {
        let case = random::cluster(seed);
        assert_same(&case, &random::reordered(&case, seed), "reordered");
    }
}

#[test]
fn a_network_policy_that_selects_no_pod_changes_no_answer() {
    for seed in 0..SEEDS {
        let case = random::cluster(seed);
        let mut more = case.clone();
        more.network_policies.push(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "nobody", "namespace": "default"},
            "spec": {
                "podSelector": {"matchLabels": {"nobody": "has-it"}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{}],
            },
        }));
        assert_same(&case, &more, "selects nobody");
    }
}

#[test]
fn an_allow_rule_more_never_turns_an_allow_into_a_deny() {
    for seed in 0..SEEDS {
        let case = random::cluster(seed);
        let mut more = case.clone();
        for policy in &mut more.network_policies {
            let ports = json!([{"port": 80, "endPort": 8080}, {"protocol": "UDP"}]);
            // Egress rules that are the first bring isolation with them where `policyTypes` is left out.
            match policy["spec"]["ingress"].as_array_mut() {
                Some(rules) => rules.push(json!({"ports": ports})),
                None => policy["spec"]["ingress"] = json!([{"ports": ports}]),
            }
        }
        for ((query, before), after) in case.queries.iter().zip(answers(&case)).zip(answers(&more)) {
            let turned = before.combined == Decision::Allow && after.combined == Decision::Deny;
            assert!(!turned, "{} {query:?}\n{before:#?}\n{after:#?}", case.id);
        }
    }
}

#[test]
fn damage_makes_an_answer_unknown_or_leaves_it() {
    let mut unknown = 0;
    for seed in 0..SEEDS {
        let case = random::cluster(seed);
        let damaged = random::damaged(&case, seed);
        for ((query, before), after) in case.queries.iter().zip(answers(&case)).zip(answers(&damaged)) {
            for (one, other) in [(&before.ingress, &after.ingress), (&before.egress, &after.egress)] {
                unknown += usize::from(other.decision == Decision::Unknown && one.decision != other.decision);
                // What was unknown for two policies of one priority may be settled when one of them moves.
                let stays = [one.decision, Decision::Unknown].contains(&other.decision);
                assert!(
                    stays || one.decision == Decision::Unknown,
                    "{} {query:?}\n{one:#?}\n{other:#?}",
                    damaged.id
                );
            }
        }
    }
    assert!(unknown > 100, "{unknown} of the answers became unknown");
}

/// Answers of a cluster that is too easy would prove nothing: each end must be reached often.
#[test]
fn random_clusters_reach_every_basis_and_tier_often() {
    let mut reached = BTreeMap::<String, usize>::new();
    for seed in 0..SEEDS {
        for answer in answers(&random::cluster(seed)) {
            for direction in [answer.ingress, answer.egress] {
                let way = format!("{:?} {:?} {:?}", direction.decision, direction.basis, direction.tier);
                *reached.entry(way).or_default() += 1;
            }
        }
    }
    println!("{reached:#?}");
    let expected = [
        (Decision::Allow, Basis::Itself, None),
        (Decision::Allow, Basis::Node, None),
        (Decision::Allow, Basis::Policy, Some(Tier::Admin)),
        (Decision::Deny, Basis::Policy, Some(Tier::Admin)),
        (Decision::Allow, Basis::Policy, Some(Tier::Namespace)),
        (Decision::Deny, Basis::Isolated, Some(Tier::Namespace)),
        (Decision::Allow, Basis::Policy, Some(Tier::Baseline)),
        (Decision::Deny, Basis::Policy, Some(Tier::Baseline)),
        (Decision::Allow, Basis::Unselected, Some(Tier::Default)),
        (Decision::Unknown, Basis::Unknown, None),
    ];
    for (decision, basis, tier) in expected {
        let way = format!("{decision:?} {basis:?} {tier:?}");
        let often = reached.get(&way).copied().unwrap_or_default();
        assert!(often >= 25, "{way}: {often} of {SEEDS} clusters' answers");
    }
}
