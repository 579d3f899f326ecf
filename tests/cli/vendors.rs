//! `flowlog vendors`: whose software runs in a folder's pods, and whose an image is.

use crate::bin::Place;
use serde_json::{Value, json};

const PODS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: shop}, status: {podIP: 10.0.0.4},
 spec: {containers: [{name: web, image: "registry.example.com/web:1"}, {name: dd, image: "gcr.io/datadoghq/agent:7"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: done, namespace: shop}, status: {phase: Succeeded},
 spec: {containers: [{name: job, image: "somebody/job"}]}}
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("cluster/all.yaml", PODS);
    place.write("ours.yaml", "first_party: {images: [registry.example.com/]}\n");
    place
}

#[test]
fn what_runs_is_told_by_vendor_with_the_reason() {
    let said = place().flowlog(&["vendors", "--manifests", "cluster"]);
    let right = "unknown: 1 workload, 1 container\n  shop/Pod/web-1 web  registry.example.com/web:1\n\
        Datadog (third party, observability): 1 workload, 1 container\n  shop/Pod/web-1 dd  gcr.io/datadoghq/agent:7\n    \
        image gcr.io/datadoghq/agent matches gcr.io/datadoghq/ (high)\n\n\
        Of what is unknown nothing tells whose it is: say it in a catalogue of yours (--vendors FILE).\n";
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(0), right, ""));
}

#[test]
fn what_is_unknown_fails_where_that_is_asked_for_until_the_user_says_whose_it_is() {
    let args = ["vendors", "--manifests", "cluster", "--fail-on-unknown", "--output", "json"];
    assert_eq!(place().flowlog(&args).code, Some(1));
    let said = place().flowlog(&[&args[..], &["--vendors", "ours.yaml"]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    let own = json!({"origin": "first_party", "containers": [{
        "namespace": "shop", "workload": "Pod/web-1", "container": "web", "image": "registry.example.com/web:1", "pods": 1,
        "clues": [{"signal": "image", "confidence": "certain", "value": "registry.example.com/web",
            "rule": "registry.example.com/"}],
    }]});
    assert_eq!(told[1], own, "{told:#}");
}

#[test]
fn whose_images_are_is_told_without_a_cluster() {
    let said = place().flowlog(&["vendors", "test", "datadog/agent:7", "registry.example.com/app"]);
    let right = "docker.io/datadog/agent:7\n  third party: Datadog (observability)\n  \
        image docker.io/datadog/agent matches docker.io/datadog/ (high)\n\n\
        registry.example.com/app:latest\n  unknown\n  nothing tells whose it is: say it in a catalogue of yours \
        (--vendors FILE)\n";
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(0), right, ""));
}

#[test]
fn what_is_wrong_is_named() {
    let place = place();
    place.write("bad.yaml", "vendors:\n  - {name: Acme, image: [a/]}\n");
    place.write("worse.yaml", "vendors:\n  - {name: Acme, images: [nginx]}\n");
    for (args, why) in [
        (&["vendors", "test", "a b"][..], "`a b` is no image"),
        (&["vendors", "test", "a", "--vendors", "bad.yaml"], "bad.yaml: line 2: "),
        (&["vendors", "test", "a", "--vendors", "worse.yaml"], "worse.yaml: vendors, `Acme`: `nginx`"),
        (&["vendors", "test", "a", "--vendors", "none.yaml"], "read none.yaml: "),
        (&["vendors"], "no cluster: "),
    ] {
        let said = place.flowlog(args);
        assert_eq!((said.code, &*said.stdout), (Some(2), ""), "{args:?}");
        assert!(said.stderr.contains(why), "{args:?}: {}", said.stderr);
    }
}
