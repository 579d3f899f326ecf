//! The real binary, confined, following an API server that comes, changes, goes and comes back.

use crate::stage::{API, Family, NODE, Net, SOON, Stage, deny_ingress, do_step, end, small, told};
use flowlog_tests::apiserver::{ApiServer, Drop};
use flowlog_tests::token::MountedToken;
use flowlog_tests::{Agent, Outcome, Step, agent, wait};
use serde_json::{Value, json};
use std::path::Path;

fn server(objects: &[Value]) -> ApiServer {
    let server = ApiServer::start().unwrap();
    objects.iter().for_each(|object| server.apply(object.clone()));
    server
}

/// By the server's name, so that the resolver is needed, and with a token in a file.
fn start(stage: &Stage, server: &ApiServer, folder: &Path, more: &[&str]) -> Agent {
    let token = folder.join("token");
    if !token.exists() {
        std::fs::write(&token, "secret").unwrap();
    }
    let kubeconfig = server.kubeconfig(folder, &json!({"tokenFile": token})).unwrap();
    let text = std::fs::read_to_string(&kubeconfig).unwrap().replace("127.0.0.1", "localhost");
    std::fs::write(&kubeconfig, text).unwrap();
    let mut args: Vec<std::ffi::OsString> = vec!["run".into(), "--kubeconfig".into(), kubeconfig.into()];
    args.extend(["--each", "--node", NODE, "--cgroup-root"].map(Into::into));
    args.push(stage.world.cgroup_root().into());
    args.extend(more.iter().map(Into::into));
    agent::Start::new(args).start().unwrap()
}

fn connect(stage: &Stage, net: Net) {
    let to = Step::connect(net.at(Family::V4, API, 8080));
    do_step(&mut stage.actor("client"), &to, Outcome::Established);
}

/// Connects until a connection's record contains this.
#[track_caller]
fn until(stage: &Stage, net: Net, agent: &Agent, what: &str, part: &Value) {
    let from = agent.count();
    let found = wait::until(what, SOON, || {
        connect(stage, net);
        Ok(agent.wait_from(from, part, std::time::Duration::from_millis(500)).is_ok())
    });
    found.unwrap_or_else(|error| panic!("{error:#}\n{:#?}", agent.last()));
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn it_follows_the_api_server_while_it_is_confined() {
    let net = Net::new();
    let objects = small(net);
    let mut stage = Stage::new(net, &objects);
    let _api = stage.serve_api();
    let mut server = server(&objects);
    server.want_token("secret");
    let folder = tempfile::tempdir().unwrap();
    let agent = start(&stage, &server, folder.path(), &[]);
    let start = told(&agent, &json!({"kind": "agent", "agent": {"event": "start"}}));
    assert_eq!(start["agent"]["confinement"]["system_calls"], true, "{start}");
    let flow = json!({"kind": "flow", "source": {"pod": "client"}, "destination": {"pod": "api"}});
    let with = |class: &str| {
        let mut part = flow.clone();
        part["class"] = class.into();
        part
    };
    until(&stage, net, &agent, "the pods are known", &with("unrestricted"));
    server.apply(deny_ingress("api-closed", "api"));
    until(&stage, net, &agent, "the policy is followed", &with("policy_not_enforced"));
    // New connections after the outage: the name is looked up again, within what is left to it.
    server.go_away();
    // At the start it was stale, too, until all was read; and kind by kind is found to be lost.
    let is_lost = |line: &Value| {
        let snapshot = &line["agent"]["snapshot"];
        snapshot["state"] == "stale" && snapshot["problems"].to_string().contains("Pod: not in sync")
    };
    let lost = wait::until("the snapshot is told to be stale", SOON, || Ok(agent.has(is_lost)));
    lost.unwrap_or_else(|error| panic!("{error:#}\n{:#?}", agent.last()));
    server.come_back().unwrap();
    server.delete("networkpolicies", "shop", "api-closed");
    until(&stage, net, &agent, "it is followed again", &with("unrestricted"));
    let ended = end(agent);
    assert!(ended.stderr.contains("not in sync with the API server"), "{}", ended.stderr);
}

/// What it sees meanwhile is told as unknown, or, where the server comes in time, as what it was.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn it_starts_while_the_api_server_is_away() {
    let net = Net::new();
    let objects = small(net);
    let mut stage = Stage::new(net, &objects);
    let _api = stage.serve_api();
    let mut server = server(&objects);
    server.go_away();
    let folder = tempfile::tempdir().unwrap();
    let agent = start(&stage, &server, folder.path(), &["--waiting-ms", "1000"]);
    connect(&stage, net);
    let unknown = json!({"kind": "flow", "class": "undetermined", "verdict": {"decision": "unknown"}});
    let unknown = agent.wait_for(&unknown, SOON).unwrap();
    assert!(unknown.to_string().contains("not read from the API server"), "{unknown}");
    assert!(unknown["verdict"]["stale_since"].is_string(), "{unknown}");
    end(agent);
    let agent = start(&stage, &server, folder.path(), &["--waiting-ms", "60000"]);
    connect(&stage, net);
    server.come_back().unwrap();
    let named = json!({"kind": "flow", "class": "unrestricted", "source": {"pod": "client"}, "destination": {"pod": "api"}});
    agent.wait_for(&named, std::time::Duration::from_secs(45)).unwrap();
    end(agent);
}

/// As the kubelet does it.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_token_that_is_renewed_is_read_while_it_is_confined() {
    let net = Net::new();
    let objects = small(net);
    let mut stage = Stage::new(net, &objects);
    let _api = stage.serve_api();
    let server = server(&objects);
    let folder = tempfile::tempdir().unwrap();
    let token = MountedToken::new(folder.path(), "first").unwrap();
    server.want_token("first");
    let agent = start(&stage, &server, folder.path(), &[]);
    let start = told(&agent, &json!({"kind": "agent", "agent": {"event": "start"}}));
    assert_eq!(start["agent"]["confinement"]["system_calls"], true, "{start}");
    let flow = json!({"kind": "flow", "source": {"pod": "client"}, "destination": {"pod": "api"}});
    until(&stage, net, &agent, "the pods are known", &flow);
    token.renew("second").unwrap();
    server.want_token("second");
    server.drop_watches(Drop::Clean);
    let refused = |line: &Value| line["agent"]["snapshot"]["problems"].to_string().contains("401");
    wait::until("the first one is refused", SOON, || Ok(agent.has(refused))).unwrap();
    wait::until("nothing is followed", SOON, || Ok(server.watching("networkpolicies") == 0)).unwrap();
    server.apply(deny_ingress("api-closed", "api"));
    // It is read again once a minute, and tries have become rare until then.
    let patience = std::time::Duration::from_secs(150);
    let mut part = flow;
    part["class"] = "policy_not_enforced".into();
    let followed = wait::until("the second one is read", patience, || {
        let from = agent.count();
        connect(&stage, net);
        Ok(agent.wait_from(from, &part, std::time::Duration::from_secs(2)).is_ok())
    });
    followed.unwrap_or_else(|error| panic!("{error:#}\n{:#?}", agent.last()));
    end(agent);
}
