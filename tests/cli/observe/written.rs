//! Lines as agents write them.

use serde_json::{Value, json};
use std::fmt;

/// A line of a flow, its members in the order in which agents write them.
pub(crate) struct Line {
    seq: u64,
    time: String,
    pub(crate) class: String,
    pub(crate) value: Value,
}

/// So many seconds after eight.
pub(crate) fn time(second: u64) -> String {
    format!("2026-11-30T08:{:02}:{:02}.000000000Z", second / 60, second % 60)
}

impl Line {
    /// Of a node's run `r1`.
    pub(crate) fn of(node: &str, seq: u64, second: u64) -> Self {
        let side = json!({"decision": "allow", "basis": "policy", "tier": "namespace", "policies": [
            {"kind": "NetworkPolicy", "namespace": "shop", "name": "allow-web", "rule": 0}]});
        let pod = |namespace: &str, pod: &str, port: u16| {
            json!({"kind": "pod", "ip": "10.1.0.7", "port": port, "namespace": namespace, "pod": pod,
                "workload": {"kind": "Deployment", "name": pod.split('-').next()}, "labels": {"app": "web"}})
        };
        let time = time(second);
        let value = json!({
            "node": node, "run": "r1",
            "flow": {"id": format!("{seq:032x}"), "direction": "egress", "protocol": "tcp", "family": "ipv4", "count": 1,
                "first": time, "last": time},
            "source": pod("shop", "web-1", 40_000), "destination": pod("shop", "api-1", 8080),
            "process": {"pid": 7, "comm": "curl", "cgroup_id": 9},
            "verdict": {"decision": "allow", "egress": side, "ingress": side, "snapshot": 1, "as_of": time},
            "outcome": {"state": "established", "evidence": ["handshake"]},
        });
        Self { seq, time, class: "unrestricted".into(), value }
    }

    /// As if it happened at this time.
    pub(crate) fn at(mut self, time: &str) -> Self {
        time.clone_into(&mut self.time);
        (self.value["flow"]["first"], self.value["flow"]["last"]) = (time.into(), time.into());
        self
    }

    /// Who listens.
    pub(crate) fn to(&mut self, namespace: &str, pod: &str, port: u16) {
        let end = &mut self.value["destination"];
        (end["namespace"], end["pod"], end["port"]) = (namespace.into(), pod.into(), port.into());
        end["workload"]["name"] = pod.split('-').next().into();
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, time, class, value } = self;
        let severity = match &**class {
            "policy_not_enforced" => "high",
            "denied_attempt" => "medium",
            _ => "low",
        };
        write!(out, "{{\"v\":1,\"seq\":{seq},\"kind\":\"flow\",\"time\":\"{time}\"")?;
        for key in
            ["node", "cluster", "run", "flow", "source", "destination", "process", "verdict", "outcome"]
        {
            if let Some(value) = value.get(key) {
                write!(out, ",\"{key}\":{value}")?;
            }
        }
        writeln!(out, ",\"class\":\"{class}\",\"severity\":\"{severity}\"}}")
    }
}

fn head(node: &str, run: &str, seq: u64, kind: &str, second: u64) -> String {
    let time = time(second);
    format!(r#"{{"v":1,"seq":{seq},"kind":"{kind}","time":"{time}","node":"{node}","run":"{run}""#)
}

/// A line of a loss.
pub(crate) fn loss(node: &str, run: &str, seq: u64, second: u64, count: u64) -> String {
    let (head, time) = (head(node, run, seq, "loss", second), time(second));
    format!(
        "{head},\"loss\":{{\"stage\":\"kernel\",\"cause\":\"ring_full\",\"what\":\"attempt\",\"count\":{count},\
         \"first\":\"{time}\",\"last\":\"{time}\"}}}}\n"
    )
}

/// A line about the agent.
pub(crate) fn agent(node: &str, run: &str, seq: u64, second: u64, event: &str, more: &str) -> String {
    format!("{},\"agent\":{{\"event\":\"{event}\"{more}}}}}\n", head(node, run, seq, "agent", second))
}
