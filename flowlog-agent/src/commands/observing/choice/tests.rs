use super::*;
use crate::model::Class;
use proptest::prelude::*;
use serde_json::{Value, json};

/// As it is called on the command line.
fn args(words: &[&str]) -> ChoiceArgs {
    use clap::{Args as _, FromArgMatches as _};
    let command = ChoiceArgs::augment_args(clap::Command::new("observe"));
    let matches = command.try_get_matches_from([&["observe"], words].concat()).unwrap();
    ChoiceArgs::from_arg_matches(&matches).unwrap()
}

/// A flow of a dashboard to a database, told by the opener's node.
fn flow() -> Value {
    let side = json!({"decision": "deny", "basis": "isolated"});
    json!({
        "v": 1, "seq": 1, "kind": "flow", "time": "2026-11-30T08:00:10.000000000Z", "node": "n1", "run": "r1",
        "flow": {"direction": "egress", "protocol": "tcp", "count": 1, "first": "2026-11-30T08:00:00Z"},
        "source": {"kind": "pod", "ip": "10.1.0.5", "port": 40000, "namespace": "monitoring", "pod": "grafana-0",
            "workload": {"kind": "Deployment", "name": "grafana"}, "labels": {"app": "grafana"},
            "origin": "third_party", "vendor": "Grafana Labs"},
        "destination": {"kind": "pod", "ip": "10.1.0.6", "port": 5432, "namespace": "shop", "pod": "db-0",
            "workload": {"kind": "StatefulSet", "name": "db"}, "labels": {"app": "db"}, "origin": "first_party"},
        "verdict": {"decision": "deny", "egress": side, "ingress": side},
        "outcome": {"state": "dropped", "evidence": ["kernel_drop"]},
        "class": "denied_attempt", "severity": "medium",
    })
}

fn picks(choice: &Choice, line: &str) -> bool {
    Row::read(line.as_bytes()).is_ok_and(|row| choice.picks(&row))
}

#[test]
fn flags_choose_by_who_what_and_when() {
    for (words, expected) in [
        (&[][..], true),
        (&["--class", "denied_attempt"], true),
        (&["--class", "denied-attempt,allowed"], true),
        (&["--class", "allowed"], false),
        (&["--only", "denials"], true),
        (&["--only", "findings"], false),
        (&["--severity", "medium", "--verdict", "deny", "--outcome", "dropped"], true),
        (&["--severity", "high"], false),
        (&["-n", "shop"], true),
        (&["-n", "sh*"], true),
        (&["-n", "kube-system"], false),
        (&["-n", "kube-system,monitoring"], true),
        (&["--pod", "db-*"], true),
        (&["--pod", "monitoring/db-0"], false),
        (&["--workload", "StatefulSet/db"], true),
        (&["--workload", "shop/Deployment/db"], false),
        (&["-l", "app in (db, api)"], true),
        (&["-l", "app=web"], false),
        (&["-l", "app=web", "-l", "app=db"], true),
        (&["--vendor", "grafana labs"], true),
        (&["--vendor", "third_party"], true),
        (&["--vendor", "datadog"], false),
        (&["--cidr", "10.1.0.0/24"], true),
        (&["--cidr", "10.2.0.0/24"], false),
        (&["--port", "5432"], true),
        (&["--port", "5000-5999"], true),
        (&["--port", "40000"], false),
        (&["--protocol", "udp"], false),
        (&["--direction", "egress"], true),
        (&["--direction", "ingress"], false),
        (&["--from", "monitoring"], true),
        (&["--from", "shop"], false),
        (&["--from", "monitoring/grafana"], true),
        (&["--from", "monitoring/grafana-0"], true),
        (&["--from", "Deployment/grafana"], true),
        (&["--from", "monitoring/Deployment/grafana"], true),
        (&["--from", "shop/grafana"], false),
        (&["--from", "10.1.0.5"], true),
        (&["--from", "10.1.0.6"], false),
        (&["--from", "vendor:grafana*"], true),
        (&["--from", "labels:app=grafana"], true),
        (&["--from", "kind:external"], false),
        (&["--from", "monitoring", "--to", "shop/db"], true),
        (&["--from", "monitoring/grafana", "--to", "shop/web"], false),
        (&["--from", "shop", "--from", "10.1.0.0/24", "--to", "shop/db-0"], true),
        (&["--to", "port:5432"], true),
        (&["--not", "class=denied_attempt"], false),
        (&["--not", "source.namespace=kube-system,monitoring"], false),
        (&["--not", "destination.namespace=monitoring", "--not", "labels=app=web"], true),
        (&["--kind", "flow"], true),
        (&["--kind", "loss,agent"], false),
        (&["--since", "2026-11-30T08:00:10Z"], true),
        (&["--since", "2026-11-30T08:00:11Z"], false),
        // It began before.
        (&["--until", "2026-11-30T08:00:05Z"], true),
        (&["--until", "2026-11-30T07:59:59Z"], false),
        (&["--until", "2026-11-30T08:01:00Z", "--last", "1m"], true),
        (&["--until", "2026-11-30T08:01:00Z", "--last", "30s"], false),
        (&["--until", "2026-12-01T08:00:00Z", "--last", "1d"], true),
        (&["--until", "2026-12-07T08:00:00Z", "--last", "7d"], true),
        (&["--until", "2026-12-07T08:00:00Z", "--last", "1w"], true),
        (&["--until", "2026-12-07T08:00:00Z", "--last", "6d 12h"], false),
    ] {
        let choice = args(words).choice().unwrap();
        let line = flow().to_string();
        assert_eq!(picks(&choice, &line), expected, "{words:?}");
        assert!(!expected || choice.may_pick(line.as_bytes()), "{words:?}: passed over");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_by_its_flag() {
    for (words, told) in [
        (&["--class", "denied"][..], "`class` has `denied`, which is not a class"),
        (&["--from", "vendor:"], "--from vendor:: `source.vendor` has ``, which is no vendor"),
        (
            &["--to", "10.0.0.0/99"],
            "--to 10.0.0.0/99: `destination.cidr` has `10.0.0.0/99`, which is no address",
        ),
        (&["--to", "Shop"], "--to Shop: `destination.namespace` has `Shop`"),
        (&["--not", "class"], "--not class: `class` has no value"),
        (&["--not", "colour=red"], "--not colour=red: `colour` is no key"),
        (&["--only", "news"], "`--only` has `news`"),
        (&["--port", "0"], "`port` has `0`"),
    ] {
        let error = format!("{:#}", args(words).choice().unwrap_err());
        assert!(error.contains(told), "{words:?}: {error}");
    }
}

#[test]
fn what_is_no_length_of_time_is_told_in_plain_words() {
    use clap::Args as _;
    for word in ["soon", "1month", "7", "999999999999999999d"] {
        let command = ChoiceArgs::augment_args(clap::Command::new("observe"));
        let error = command.try_get_matches_from(["observe", "--last", word]).unwrap_err().to_string();
        assert!(error.contains("no length of time (30s, 15m, 2h, 7d, 1d 12h)"), "{word}: {error}");
        assert!(!error.contains("SignedDuration"), "{word}: {error}");
    }
}

#[test]
fn what_is_not_known_is_shown() {
    let mut unknown = flow();
    unknown["source"] = json!({"kind": "unknown", "ip": "10.9.9.9", "reason": "no such pod"});
    let mut shortened = flow();
    shortened["truncated"] = json!(["labels"]);
    shortened["source"]["labels"] = Value::Null;
    shortened["destination"]["labels"] = Value::Null;
    ["source", "destination"]
        .iter()
        .for_each(|end| drop(shortened[end].as_object_mut().unwrap().remove("labels")));
    let mut probe = flow();
    (probe["flow"]["count"], probe["flow"]["direction"]) = (9.into(), "ingress".into());
    probe["outcome"] = json!({"state": "refused", "evidence": ["far_end_no_socket"]});
    // An output can leave names out.
    let mut masked = flow();
    for part in ["namespace", "pod", "workload", "labels"] {
        masked["source"].as_object_mut().unwrap().remove(part);
    }
    masked["masked"] = true.into();
    // Nobody owns it, and it has no labels.
    let mut bare = flow();
    for part in ["workload", "labels"] {
        for end in ["source", "destination"] {
            bare[end].as_object_mut().unwrap().remove(part);
        }
    }
    let mut service = flow();
    service["destination"] = json!({"kind": "service", "ip": "10.96.0.9", "port": 80, "namespace": "pay",
        "service": {"namespace": "pay", "name": "db"}});
    for (line, words, expected) in [
        (&unknown, &["-n", "elsewhere"][..], true),
        (&unknown, &["--from", "elsewhere/pod"], true),
        (&unknown, &["--to", "elsewhere"], false),
        (&unknown, &["--not", "namespace=elsewhere"], true),
        (&shortened, &["-l", "app=web"], true),
        (&probe, &["--port", "22"], true),
        (&masked, &["-n", "elsewhere", "--workload", "elsewhere"], true),
        (&masked, &["-l", "app=elsewhere"], true),
        (&bare, &["-l", "app=elsewhere"], false),
        (&bare, &["--workload", "elsewhere"], false),
        (&service, &["-n", "pay"], true),
        (&service, &["--pod", "pay/db-1"], true),
        (&service, &["--to", "shop"], false),
    ] {
        let (choice, line) = (args(words).choice().unwrap(), line.to_string());
        assert_eq!(picks(&choice, &line), expected, "{words:?}: {line}");
        assert!(!expected || choice.may_pick(line.as_bytes()), "{words:?}: passed over");
    }
}

#[test]
fn a_line_is_passed_over_that_cannot_be_asked_for() {
    let line = flow().to_string();
    for words in [
        &["--class", "allowed"][..],
        &["-n", "pay"],
        &["--port", "443"],
        &["--only", "allowed"],
        &["--from", "pay"],
        &["--to", "shop/web"],
        &["--from", "pay", "--from", "shop/Deployment/web"],
        &["--to", "kind:external"],
        &["-l", "app in (web, api), tier!=back"],
        &["--from", "labels:tier"],
    ] {
        assert!(!args(words).choice().unwrap().may_pick(line.as_bytes()), "{words:?}");
    }
    // Whatever is escaped in it is read.
    let escaped = line.replacen("\"shop\"", "\"p\\u0061y\"", 1);
    let choice = args(&["-n", "pay"]).choice().unwrap();
    assert!(choice.may_pick(escaped.as_bytes()) && picks(&choice, &escaped));
}

/// A finding has no class, verdict, outcome, protocol or direction, and who asks for one is shown flows alone. The opener's port of
/// a flow is not known where nobody saw it.
#[test]
fn what_a_line_does_not_have_is_not_it_and_what_nobody_saw_may_be() {
    let mut finding = flow();
    for part in ["flow", "class", "verdict", "outcome"] {
        finding.as_object_mut().unwrap().remove(part);
    }
    finding["kind"] = "finding".into();
    finding["finding"] = json!({"id": "FL104", "title": "t", "subject": "s", "object": "o", "count": 1,
        "first": "2026-11-30T08:00:00Z"});
    let mut unseen = flow();
    unseen["source"].as_object_mut().unwrap().remove("port");
    let mut ping = unseen.clone();
    ping["flow"]["protocol"] = "icmp".into();
    ping["destination"].as_object_mut().unwrap().remove("port");
    for (line, words, expected) in [
        (&finding, &["--class", "allowed"][..], false),
        (&finding, &["--verdict", "allow"], false),
        (&finding, &["--outcome", "refused"], false),
        (&finding, &["--protocol", "udp"], false),
        (&finding, &["--direction", "ingress"], false),
        (&finding, &["--not", "class=denied_attempt"], true),
        (&finding, &["--class", "allowed", "-n", "pay"], false),
        (&finding, &["--class", "allowed", "--kind", "flow"], false),
        (&finding, &["--only", "allowed"], false),
        (&unseen, &["--from", "port:50000"], true),
        (&unseen, &["--not", "source.port=50000"], true),
        (&flow(), &["--from", "port:50000"], false),
        (&ping, &["--from", "port:50000"], false),
        (&ping, &["--port", "443"], false),
    ] {
        let (choice, line) = (args(words).choice().unwrap(), line.to_string());
        assert_eq!(picks(&choice, &line), expected, "{words:?}: {line}");
        assert!(!expected || choice.may_pick(line.as_bytes()), "{words:?}: passed over");
    }
}

/// A word of a schema or a name that flags may ask for.
fn word() -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(vec![
        "shop",
        "pay",
        "db-0",
        "db",
        "unknown",
        "denied_attempt",
        "allowed",
        "policy_not_enforced",
        "443",
        "service",
    ])
}

fn line() -> impl Strategy<Value = String> {
    let end = (
        prop::sample::select(vec!["pod", "service", "node", "external", "local", "unknown"]),
        (word(), word(), word()),
        prop::sample::select(vec![22_u16, 80, 443, 4430]),
        prop::option::of(word()),
    );
    let end = end.prop_map(|(kind, (namespace, pod, app), port, vendor)| {
        let mut end = json!({"kind": kind, "ip": "10.0.0.1", "port": port});
        match kind {
            "pod" => {
                (end["namespace"], end["pod"], end["labels"]) =
                    (namespace.into(), pod.into(), json!({"app": app}));
                end["workload"] = json!({"kind": "Deployment", "name": app});
            }
            "service" => end["service"] = json!({"namespace": namespace, "name": pod}),
            _ => {}
        }
        if let Some(vendor) = vendor {
            end["vendor"] = vendor.into();
        }
        end
    });
    let class = prop::sample::select(Class::ALL.to_vec());
    let flow_or_finding = (class, end.clone(), end, any::<bool>(), 0..3_u64, any::<bool>(), 0..7_usize);
    flow_or_finding.prop_map(|(class, source, destination, is_flow, count, ingress, style)| {
        let mut line = flow();
        (line["source"], line["destination"]) = (source, destination);
        (line["class"], line["severity"]) = (class.as_str().into(), class.severity().as_str().into());
        (line["flow"]["count"], line["outcome"]["evidence"]) = (count.into(), json!(["far_end_no_socket"]));
        line["outcome"]["state"] = "refused".into();
        line["flow"]["direction"] = if ingress { "ingress" } else { "egress" }.into();
        if !is_flow {
            let object = line.as_object_mut().unwrap();
            ["flow", "class", "verdict", "outcome"].iter().for_each(|part| drop(object.remove(*part)));
            line["kind"] = "finding".into();
            line["finding"] = json!({"id": "FL104", "title": "t", "subject": "s", "count": count, "first": "2026-11-30T08:00:00Z"});
        }
        let text = line.to_string();
        match style {
            // As another encoder may write it.
            0 => text.replace(':', ": ").replace("08: 00: ", "08:00:").replace("T08:00: ", "T08:00:"),
            1 => text.replacen("\"shop\"", "\"\\u0073hop\"", 1),
            2 => text.replace("\"db", "\"\\u0064b"),
            3 => serde_json::to_string_pretty(&line).unwrap().replace('\n', " "),
            // As an output without names has it.
            4 => {
                line["masked"] = true.into();
                let parts = ["namespace", "pod", "workload", "labels", "vendor", "ip", "port"];
                for part in parts.iter().step_by(1 + usize::try_from(count).unwrap()) {
                    line["source"].as_object_mut().unwrap().remove(*part);
                }
                line.to_string()
            }
            _ => text,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn no_line_is_passed_over_that_is_asked_for(
        line in line(),
        flags in prop::collection::vec(
            (prop::sample::select(vec!["-n", "--pod", "--workload", "--class", "--only", "--port", "--from", "--to",
                "--severity", "--verdict", "--outcome", "--direction", "--kind", "--not", "--vendor", "-l", "--protocol",
                "--from labels", "--to port", "--from port", "--to kind", "--from pod", "--to workload"]), word()),
            1..4,
        ),
    ) {
        let mut words = Vec::new();
        for (flag, value) in &flags {
            let value = match *flag {
                "--class" | "--only" if !value.contains('_') && *value != "allowed" => "denied-attempt".to_owned(),
                "--port" => "443".to_owned(),
                "--severity" => "medium".to_owned(),
                "--verdict" => "deny".to_owned(),
                "--outcome" => "refused".to_owned(),
                "--direction" => "ingress".to_owned(),
                "--kind" => "finding".to_owned(),
                "--not" => format!("namespace={}", value.replace('_', "-")),
                "--pod" | "--workload" | "--from" | "--to" | "-n" | "--from pod" | "--to workload" => value.replace('_', "-"),
                "--protocol" => "udp".to_owned(),
                "--to port" | "--from port" => "443".to_owned(),
                "--to kind" => "External".to_owned(),
                "-l" | "--from labels" => match value.len() % 3 {
                    0 => format!("app={value}"),
                    1 => format!("app in (web, {value}), tier"),
                    _ => format!("!tier, app!={value}"),
                },
                _ => (*value).to_owned(),
            };
            // `--from KEY` stands for `--from KEY:VALUE`.
            let (flag, value) = match flag.split_once(' ') {
                Some((flag, key)) => (flag, format!("{key}:{value}")),
                None => (*flag, value),
            };
            words.extend([flag.to_owned(), value]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let choice = args(&words).choice().unwrap();
        let reading_all = choice.clone().reading_all();
        prop_assert!(Row::read(line.as_bytes()).is_ok(), "{}", line);
        prop_assert_eq!(picks(&choice, &line), picks(&reading_all, &line));
        prop_assert!(!picks(&reading_all, &line) || choice.may_pick(line.as_bytes()), "{:?} passes over {}", words, line);
    }
}
