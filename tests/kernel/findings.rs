//! Whose software stands at both ends, and what the agent concludes from it: each kind of finding on real lines.

use crate::stage::{
    API, CLIENT, Family, NODE, Net, Stage, any, base, deny_ingress, do_step, end, internet, place, pod, told,
    write,
};
use flowlog_tests::{Listen, Outcome, Place, Step};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A pod whose one container is of this image.
fn with_image(mut pod: Value, image: &str) -> Value {
    pod["spec"]["containers"][0]["image"] = image.into();
    pod
}

/// A third party, a data store, one's own pod that nobody may reach, and another.
fn objects(net: Net) -> Vec<Value> {
    let mut objects = base(net);
    objects.push(with_image(pod(net, "client", CLIENT), "datadog/agent:7"));
    objects.push(with_image(pod(net, "api", API), "registry.example.test/mirror/postgres:17"));
    objects.push(with_image(pod(net, "closed", 31), "registry.example.test/own/app:1"));
    objects.push(deny_ingress("closed", "closed"));
    objects
}

const SETTINGS: &str = "
vendors: VENDORS
range_files: [RANGES]
sensitive: {selectors: ['app=closed']}
";

const VENDORS: &str = "first_party: {images: [registry.example.test/]}\n";

const METADATA: &str = "169.254.169.254:80";

/// Whom the third party reaches, what its record says of that end, and which findings come of it.
type Row<'a> = (SocketAddr, &'a Value, &'a [(&'a str, &'a str)]);

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_third_party_is_told_where_it_should_not_be() {
    let net = Net::new();
    let mut stage = Stage::new(net, &objects(net));
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "ranges", "173.245.48.0/20\n198.51.100.0/24\n");
    write(folder.path(), "vendors.yaml", VENDORS);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let settings = SETTINGS.replace("VENDORS", &path("vendors.yaml")).replace("RANGES", &path("ranges"));
    write(folder.path(), "flowlog.yaml", &settings);
    let listen = |port: u16| Listen { tcp: vec![any(port)], ..Listen::default() };
    let _store = stage.world.serve(&place("api"), Some("postgres"), &listen(5432)).unwrap();
    let _own = stage.world.serve(&place("closed"), Some("app"), &listen(8080)).unwrap();
    let _kubelet = stage.world.serve(&Place::Node, Some("kubelet"), &listen(10_250)).unwrap();
    let metadata: SocketAddr = METADATA.parse().unwrap();
    stage.world.add_outside([metadata.ip(), internet(Family::V4, 7)]).unwrap();
    let outside =
        Listen { tcp: vec![metadata, SocketAddr::new(internet(Family::V4, 7), 443)], ..Listen::default() };
    let _outside = stage.world.serve(&Place::Outside, Some("internet"), &outside).unwrap();
    let config = path("flowlog.yaml");
    let agent = stage.agent(&["--config", &config]);
    let mut client = stage.actor("client");
    let node = SocketAddr::new(
        objects(net)[0]["status"]["addresses"][0]["address"].as_str().unwrap().parse().unwrap(),
        10_250,
    );
    let third = json!({"pod": "client", "origin": "third_party", "vendor": "Datadog", "sensitive": null});
    let own = json!({"origin": "first_party", "vendor": null, "sensitive": true});
    let cloud = json!({"kind": "external", "network": "cloudflare", "vendor": "Cloudflare", "vendor_from": "range",
        "origin": "third_party"});
    let nobody = json!({"origin": null, "vendor": null});
    let rows: [Row<'_>; 5] = [
        (net.at(Family::V4, API, 5432), &own, &[("FL201", "high")]),
        (net.at(Family::V6, 31, 8080), &own, &[("FL101", "critical"), ("FL201", "high")]),
        (node, &nobody, &[("FL207", "medium")]),
        (metadata, &nobody, &[("FL207", "high")]),
        (SocketAddr::new(internet(Family::V4, 7), 443), &cloud, &[]),
    ];
    for (to, destination, found) in rows {
        let mut destination = destination.clone();
        (destination["ip"], destination["port"]) = (json!(to.ip()), json!(to.port()));
        for _ in 0..3 {
            do_step(&mut client, &Step::connect(to), Outcome::Established);
        }
        let flow = told(&agent, &json!({"kind": "flow", "source": third, "destination": destination}));
        for (id, severity) in found {
            let part = json!({
                "kind": "finding",
                "severity": severity,
                "finding": {"id": id, "subject": "shop/Pod/client", "count": 1, "repeat": null,
                    "flows": [flow["flow"]["id"]]},
                "source": third,
                "destination": destination,
                "process": {"comm": "curl"},
            });
            told(&agent, &part);
        }
    }
    let ended = end(agent);
    // What came after the first is told at the end.
    let again = |id: &str| ended.matching(&json!({"kind": "finding", "finding": {"id": id, "repeat": true}}));
    let counts: Vec<&Value> = again("FL201").iter().map(|line| &line["finding"]["count"]).collect();
    assert_eq!(counts, [2, 2], "{:#?}", ended.matching(&json!({"kind": "finding"})));
    assert_eq!(ended.matching(&json!({"kind": "finding", "node": NODE})).len(), 10);
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_source_that_is_turned_away_everywhere_probes_unless_findings_are_off() {
    for on in [true, false] {
        let net = Net::new();
        let stage = Stage::new(net, &objects(net));
        let settings = format!("findings: {{enabled: {on}, probe_targets: 12}}\n");
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "flowlog.yaml", &settings);
        let config = folder.path().join("flowlog.yaml").display().to_string();
        let agent = stage.agent(&["--config", &config]);
        let mut client = stage.actor("client");
        for port in 7_000..7_012 {
            do_step(&mut client, &Step::connect(net.at(Family::V4, API, port)), Outcome::Error);
        }
        let last = json!({"kind": "flow", "destination": {"port": 7_011}, "class": "refused"});
        told(&agent, &last);
        if on {
            let finding = json!({"id": "FL104", "subject": "shop/Pod/client", "object": null, "count": 1});
            told(
                &agent,
                &json!({"kind": "finding", "severity": "high", "finding": finding, "source": {"pod": "client"}}),
            );
        }
        let ended = end(agent);
        let findings = ended.matching(&json!({"kind": "finding"}));
        assert_eq!(findings.len(), usize::from(on), "{findings:#?}");
    }
}
