//! Whatever happens on the way, what is known in the end is what is there in the end.

use crate::scene::{
    NODE, Scene, closed, follow, labelled, namespace, node, owned_by, pod, quick, range, service, slice,
};
use flowlog_tests::apiserver::{ApiServer, Drop, Fault, Which};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use std::time::Duration;

const NAMESPACES: [&str; 2] = ["a", "b"];
const PLURALS: [&str; 7] =
    ["pods", "namespaces", "nodes", "services", "endpointslices", "networkpolicies", "jobs"];

#[derive(Clone, Debug)]
enum Step {
    Apply(Box<Value>),
    Delete(&'static str, &'static str, String),
    Break(Drop),
    Forget(bool),
    Fault(&'static str, Fault),
    Streams(bool),
    Restart,
    Wait(u64),
}

fn object() -> impl Strategy<Value = Value> {
    let number = 0..3_u8;
    (0..8_u8, select(&NAMESPACES[..]), number.clone(), number.clone(), number).prop_map(
        |(kind, space, which, other, more)| {
            let path = format!("{space}/x{which}");
            match kind {
                0 => namespace(space, &format!("t{more}")),
                1 => node(&format!("n{which}"), &format!("10.0.0.{}", other + 1), &format!("10.{}.0.0/24", more + 1)),
                // An address that cannot be read makes the whole service unknown.
                2 if which == 2 && more == 2 => service(&path, "no address"),
                2 => service(&path, &format!("10.96.0.{}", other + 1)),
                3 => slice(&path, &format!("x{other}"), &[["10.1.0.1", "10.1.0.2", "10.1.0.3"][usize::from(more)]]),
                4 => closed(&path, &format!("x{other}")),
                5 => range(&format!("r{which}"), &format!("10.{}.0.0/16", 96 + more)),
                6 => {
                    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
                        "metadata": {"namespace": space, "name": format!("x{which}")}, "spec": {"template": {}}});
                    if more == 2 { job } else { owned_by(job, "CronJob", &format!("c{which}")) }
                }
                _ => {
                    let mut pod = labelled(pod(&path, &format!("10.1.0.{}", other + 1)), "more", &more.to_string());
                    pod["metadata"]["uid"] = format!("{space}-{which}-{other}").into();
                    pod["spec"]["nodeName"] = if other == 0 { NODE } else { "n2" }.into();
                    if more == 2 { owned_by(pod, "Job", &format!("x{which}")) } else { pod }
                }
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    const GONE: [&str; 7] =
        ["pods", "services", "endpointslices", "networkpolicies", "nodes", "servicecidrs", "jobs"];
    let delete =
        (select(&GONE[..]), select(&NAMESPACES[..]), 0..3_u8).prop_map(
            |(plural, space, which)| match plural {
                "nodes" => Step::Delete(plural, "", format!("n{which}")),
                "servicecidrs" => Step::Delete(plural, "", format!("r{which}")),
                _ => Step::Delete(plural, space, format!("x{which}")),
            },
        );
    let fault = prop_oneof![
        (0..3_usize).prop_map(Fault::CutAfter),
        Just(Fault::Status(500, "broken")),
        Just(Fault::Status(410, "Expired")),
        Just(Fault::ErrorEvent(410, "Expired")),
        Just(Fault::ErrorEvent(500, "broken")),
        Just(Fault::NoBookmark),
        Just(Fault::Slow(16, Duration::from_micros(50))),
    ];
    prop_oneof![
        10 => object().prop_map(|object| Step::Apply(Box::new(object))),
        5 => delete,
        2 => select(vec![Drop::Clean, Drop::MidLine]).prop_map(Step::Break),
        1 => any::<bool>().prop_map(Step::Forget),
        2 => (select(&PLURALS[..]), fault).prop_map(|(plural, fault)| Step::Fault(plural, fault)),
        1 => any::<bool>().prop_map(Step::Streams),
        1 => Just(Step::Restart),
        2 => (0..30_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_followed_is_what_is_there(steps in proptest::collection::vec(step(), 5..40)) {
        let server = ApiServer::start().unwrap();
        for space in NAMESPACES {
            server.apply(namespace(space, "t"));
        }
        let mut scene = Scene::of(server, quick());
        for step in steps {
            let server = &scene.server;
            match step {
                Step::Apply(object) => server.apply(*object),
                Step::Delete(plural, namespace, name) => server.delete(plural, namespace, &name),
                Step::Break(how) => server.drop_watches(how),
                Step::Forget(by_status) => {
                    server.forget(by_status);
                    server.drop_watches(Drop::Clean);
                }
                Step::Fault(plural, fault) => {
                    server.fault(Which { plural, ..Which::default() }, fault, 1);
                    server.drop_watches(Drop::Clean);
                }
                Step::Streams(streams) => server.stream(streams),
                Step::Restart => {
                    let folder = tempfile::tempdir().unwrap();
                    scene.watch = follow(&scene.server, folder.path(), &json!({}), quick());
                }
                // Not for luck: what comes next finds the rest at one point or another.
                Step::Wait(ms) => std::thread::park_timeout(Duration::from_millis(ms)),
            }
        }
        scene.as_loaded();
    }
}
