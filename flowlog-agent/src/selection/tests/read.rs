//! What cannot be meant.

use super::*;

#[test]
fn what_can_mean_nothing_is_named_with_what_would_be_right() {
    let rows: &[(Written<'_>, &str)] = &[
        (
            &[],
            "`deny[0]` asks for nothing, and would hold of every record: give it a key, such as `class: denied_attempt`",
        ),
        (
            &[("clas", "allowed")],
            "`deny[0].clas` is no key of a condition: there are kind, class, severity, direction, protocol, verdict, outcome, namespace, pod, workload, labels, namespace_labels, vendor, cidr, port, source, destination; did you mean `class`?",
        ),
        (
            &[("source.class", "allowed")],
            "`deny[0].source.class` is no key of a condition: there are kind, namespace, pod, workload, labels, namespace_labels, vendor, cidr, port",
        ),
        (
            &[("destination.port.x", "1")],
            "`deny[0].destination.port.x` is no key of a condition: there are kind, namespace, pod, workload, labels, namespace_labels, vendor, cidr, port; did you mean `port`?",
        ),
        (
            &[("class", "denied_atempt")],
            "`deny[0].class` has `denied_atempt`, which is not a class: there are policy_not_enforced, denied_attempt, blocked_though_allowed, blocked_unexplained, undetermined, unrestricted, refused, failed, allowed; did you mean `denied_attempt`?",
        ),
        (
            &[("severity", "worst")],
            "`deny[0].severity` has `worst`, which is not a severity: there are critical, high, medium, low, info",
        ),
        (
            &[("direction", "in")],
            "`deny[0].direction` has `in`, which is not a direction: there are egress, ingress; did you mean `ingress`?",
        ),
        (
            &[("protocol", "http")],
            "`deny[0].protocol` has `http`, which is not a protocol: there are tcp, udp, sctp, icmp, icmpv6",
        ),
        (
            &[("kind", "loss")],
            "`deny[0].kind` has `loss`, which is not a kind of record: there are flow, finding",
        ),
        (
            &[("destination.kind", "world")],
            "`deny[0].destination.kind` has `world`, which is not a kind of end: there are pod, service, node, external, local, unknown",
        ),
        (
            &[("namespace", "Shop")],
            "`deny[0].namespace` has `Shop`, which is no name of a namespace, nor a pattern of such (`*` for any letters)",
        ),
        (
            &[("pod", "a/b/c")],
            "`deny[0].pod` has `a/b/c`, which is no name of a pod: write `[NAMESPACE/]NAME`, `*` for any letters",
        ),
        (
            &[("workload", "a/b/c")],
            "`deny[0].workload` has `a/b/c`, which is no name of a workload: write `[NAMESPACE/][KIND/]NAME` (`shop/Deployment/web`), `*` for any letters",
        ),
        (
            &[("cidr", "10.0.0.0/33")],
            "`deny[0].cidr` has `10.0.0.0/33`, which is no address, nor a block of such (10.244.0.0/16, fd00::/48)",
        ),
        (
            &[("source.cidr", "office")],
            "`deny[0].source.cidr` has `office`, which is no address, nor a block of such (10.244.0.0/16, fd00::/48)",
        ),
        (
            &[("port", "0")],
            "`deny[0].port` has `0`, which is no port (1 to 65535), nor a range of such (8000-8999)",
        ),
        (
            &[("port", "9-1")],
            "`deny[0].port` has `9-1`, which is no port (1 to 65535), nor a range of such (8000-8999)",
        ),
        (
            &[("port", "https")],
            "`deny[0].port` has `https`, which is no port (1 to 65535), nor a range of such (8000-8999)",
        ),
        (&[("vendor", "")], "`deny[0].vendor` has ``, which is no vendor"),
        (&[("labels", "app=")], ""),
        (
            &[("labels", "app db")],
            "`deny[0].labels`: `app db` is no label selector: `db` behind the key `app`",
        ),
    ];
    for (written, expected) in rows {
        let got = condition(written).err().unwrap_or_default();
        assert_eq!(got, *expected, "{written:?}");
    }
    let none: &[String] = &[];
    for (key, such_as) in [("class", "denied_attempt"), ("source.port", "443")] {
        let error = Condition::read("", [(key, none)]).unwrap_err().to_string();
        assert_eq!(error, format!("`{key}` has no value: leave it out, or give it one, such as `{such_as}`"));
    }
}

#[test]
fn words_that_mean_no_news_are_named() {
    let read = |written: &[&str]| Only::read("only", written).map_err(|error| error.to_string());
    assert_eq!(read(&["all"]), Ok(Only::All));
    assert!(read(&["denials", "findings", "undetermined"]).is_ok());
    let rows: &[(&[&str], &str)] = &[
        (&[], "`only` has no value: leave it out, or give it one, such as `denials`"),
        (&["all", "denials"], "`only` has `all` beside other words: `all` stands alone"),
        (&["denials", "all"], "`only` has `all` beside other words: `all` stands alone"),
        (
            &["denial"],
            "`only` has `denial`, which is not a class: there are denials, findings, all, policy_not_enforced, denied_attempt, blocked_though_allowed, blocked_unexplained, undetermined, unrestricted, refused, failed, allowed; did you mean `denials`?",
        ),
    ];
    for (written, expected) in rows {
        assert_eq!(read(written).unwrap_err(), *expected, "{written:?}");
    }
}
