//! The shared policy cases: every answer must be the expected one. `FLOWLOG_CASES` names their folder.

use super::documents::Place;
use super::{Loaded, Settings, Store};
use crate::model::{Decision, Endpoint, Party, Protocol, Verdict};
use crate::policy::{BlockScope, PolicySet, Query};
use flate2::read::GzDecoder;
use jiff::Timestamp;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

const LISTS: &[(&str, &str, &str)] = &[
    ("nodes", "v1", "Node"),
    ("namespaces", "v1", "Namespace"),
    ("pods", "v1", "Pod"),
    ("networkPolicies", "networking.k8s.io/v1", "NetworkPolicy"),
    ("adminNetworkPolicies", "policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
    ("baselineAdminNetworkPolicies", "policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy"),
    ("clusterNetworkPolicies", "policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
];

fn store(case: &Value) -> Store {
    let mut loaded = Loaded::default();
    for (field, api_version, kind) in LISTS {
        for object in case[*field].as_array().into_iter().flatten() {
            let mut object = object.clone();
            object["apiVersion"] = (*api_version).into();
            object["kind"] = (*kind).into();
            let place = Place { file: PathBuf::from(case["id"].as_str().unwrap()), document: 1 };
            loaded.objects.add(&place, object, &mut loaded.problems);
        }
    }
    Store::start(Settings::default(), loaded, Timestamp::UNIX_EPOCH).unwrap_or_else(|error| panic!("{error}"))
}

fn ask(store: &Store, bare: &PolicySet, query: &Value) -> Verdict {
    let (snapshot, at) = (store.snapshot(), Timestamp::UNIX_EPOCH);
    let ip = |field: &str| query[field].as_str().unwrap().parse().unwrap();
    let protocol = match query["protocol"].as_str().unwrap() {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => panic!("{other}"),
    };
    let (source, destination) = (ip("srcIP"), ip("dstIP"));
    let port = u16::try_from(query["port"].as_u64().unwrap()).unwrap();
    let target = snapshot.inventory.resolve(destination, port, protocol, at);
    let source =
        Party { endpoint: snapshot.inventory.resolve_address(source, at), ip: Some(source), port: None };
    let destination = Party { endpoint: target.endpoint(), ip: Some(destination), port: Some(port) };
    let verdict = snapshot.evaluate(&source, &destination, &target, protocol, at);
    let range = |party: &Party| snapshot.inventory.find_range(party.ip?)?.node.as_deref();
    let unknown =
        [&source, &destination].into_iter().find(|one| matches!(one.endpoint, Endpoint::Unknown { .. }));
    let (range_of, port) = (unknown.and_then(range), destination.port);
    let query = Query { source: &source, destination: &destination, protocol, port, range_of };
    assert_eq!(bare.evaluate(&query), (verdict.egress.clone(), verdict.ingress.clone()), "read directly");
    verdict
}

/// Cases where fewer than two implementations agree are left to the documents.
fn counts(expected: &Value) -> bool {
    expected["lineagesAgreeing"].as_array().is_none_or(|lineages| lineages.len() >= 2)
}

fn run(folder: &Path, file: &str) -> usize {
    let lines = BufReader::new(GzDecoder::new(File::open(folder.join(file)).unwrap())).lines();
    let (mut asked, mut wrong) = (0, Vec::new());
    for line in lines {
        let case: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let store = store(&case);
        // Without pods every question goes the way of the direct reading.
        let bare = PolicySet::new(store.snapshot().policies.policies().cloned(), BlockScope::default());
        for expected in case["expect"].as_array().unwrap().iter().filter(|expected| counts(expected)) {
            let queries = case["queries"].as_array().unwrap();
            let query = queries.iter().find(|query| query["id"] == expected["id"]).unwrap();
            let verdict = ask(&store, &bare, query);
            asked += 1;
            let rows = [
                ("combined", verdict.decision),
                ("egress", verdict.egress.decision),
                ("ingress", verdict.ingress.decision),
            ];
            let differs = |(field, decision): &(&str, Decision)| {
                expected[*field].as_str().is_some_and(|expected| expected != decision.as_str())
            };
            if rows.iter().any(differs) {
                wrong.push(format!("{} {query} expected {expected} got {verdict:?}", case["id"]));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{file}: {} of {asked} wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    asked
}

#[test]
#[ignore = "cases: FLOWLOG_CASES names the folder"]
fn every_shared_case_gets_its_expected_verdict() {
    let folder = PathBuf::from(std::env::var_os("FLOWLOG_CASES").expect("FLOWLOG_CASES names no folder"));
    let files = [
        "edge.stored.jsonl.gz",
        "upstream-e2e-networkpolicy.stored.jsonl.gz",
        "random-np-300.stored.jsonl.gz",
        "random-np-300.written.jsonl.gz",
        "random-anp-100.stored.jsonl.gz",
        "random-anp-100.written.jsonl.gz",
        "random-cnp-100.stored.jsonl.gz",
        "random-cnp-100.written.jsonl.gz",
        "upstream-conformance-cnp.stored.jsonl.gz",
        "cyclonus.stored.jsonl.gz",
    ];
    for file in files {
        let asked = run(&folder, file);
        assert!(asked > 0, "{file} holds no case");
        println!("{file}: {asked} answers as expected");
    }
}
