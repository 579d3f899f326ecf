//! What a condition holds of.

use super::super::words;
use super::*;
use Answer::{No, Unknown, Yes};
use std::borrow::Cow;
use std::net::IpAddr;

#[test]
fn a_condition_holds_where_all_that_it_says_does() {
    let denied = denied();
    let rows: &[(&str, Written<'_>, Answer)] = &[
        ("the class", &[("class", "denied_attempt")], Yes),
        ("another class", &[("class", "allowed")], No),
        ("one of several", &[("class", "allowed, denied_attempt")], Yes),
        ("as people write it", &[("class", "Denied-Attempt")], Yes),
        ("all of several keys", &[("class", "denied_attempt"), ("protocol", "tcp")], Yes),
        ("not one of several keys", &[("class", "denied_attempt"), ("protocol", "udp")], No),
        ("the severity", &[("severity", "medium")], Yes),
        ("another severity", &[("severity", "high, critical")], No),
        ("the direction", &[("direction", "egress")], Yes),
        ("another direction", &[("direction", "ingress")], No),
        ("the verdict", &[("verdict", "deny")], Yes),
        ("another verdict", &[("verdict", "allow, mixed, unknown")], No),
        ("the outcome", &[("outcome", "rejected, dropped")], Yes),
        ("another outcome", &[("outcome", "established")], No),
        ("the kind", &[("kind", "flow")], Yes),
        ("another kind", &[("kind", "finding")], No),
        // Who it is.
        ("a namespace, of the opener", &[("namespace", "shop")], Yes),
        ("a namespace, of the listener", &[("namespace", "data")], Yes),
        ("neither namespace", &[("namespace", "dev")], No),
        ("part of a name", &[("namespace", "sho")], No),
        ("a pattern", &[("namespace", "sh*")], Yes),
        ("one end alone", &[("source.namespace", "shop"), ("destination.namespace", "data")], Yes),
        ("the other end", &[("destination.namespace", "shop")], No),
        ("a pod", &[("pod", "db-0")], Yes),
        ("a pod of its namespace", &[("pod", "data/db-*")], Yes),
        ("a pod of another namespace", &[("pod", "shop/db-0")], No),
        ("a workload", &[("workload", "web")], Yes),
        ("a workload with its kind", &[("workload", "Deployment/web")], Yes),
        ("a workload of another kind", &[("workload", "StatefulSet/web")], No),
        ("a workload with all", &[("workload", "data/StatefulSet/db")], Yes),
        ("a workload in a namespace", &[("workload", "shop/web")], Yes),
        ("a workload in another", &[("workload", "data/web")], No),
        ("both of one end", &[("namespace", "shop"), ("labels", "app=web,tier")], Yes),
        ("one of each end", &[("namespace", "shop"), ("labels", "app=db")], No),
        ("a label of the namespace", &[("namespace_labels", "team in (storage)")], Yes),
        ("a label that is missing", &[("source.labels", "!canary")], Yes),
        ("another value", &[("source.labels", "app!=web")], No),
        ("any of several selectors", &[("source.labels", "app=db, app=web")], Yes),
        // Whose software.
        ("a vendor", &[("vendor", "postgresql")], Yes),
        ("a vendor by a pattern", &[("vendor", "Postgre*")], Yes),
        ("another vendor", &[("vendor", "Datadog")], No),
        ("a vendor, at the other end", &[("source.vendor", "PostgreSQL")], No),
        ("a namespace and what it talks to", &[("namespace", "shop"), ("vendor", "PostgreSQL")], Yes),
        ("an origin", &[("vendor", "third-party")], Yes),
        ("another origin", &[("destination.vendor", "first_party, platform, unknown")], No),
        // Addresses and ports.
        ("an address", &[("cidr", "10.244.1.5")], Yes),
        ("a block", &[("cidr", "10.244.2.0/24")], Yes),
        ("a block, host bits set", &[("cidr", "10.244.2.99/24")], Yes),
        ("a mapped block", &[("cidr", "::ffff:10.244.2.0/120")], Yes),
        ("another block", &[("cidr", "192.0.2.0/24, fd00::/8")], No),
        ("a block, at the other end", &[("source.cidr", "10.244.2.0/24")], No),
        ("the listener's port", &[("port", "5432")], Yes),
        ("a range", &[("port", "1-1000, 5000-6000")], Yes),
        ("the opener's port is not meant", &[("port", "40001")], No),
        ("the opener's port", &[("source.port", "40001")], Yes),
        ("who stands there", &[("source.kind", "pod"), ("destination.kind", "pod")], Yes),
        ("who does not", &[("destination.kind", "external, unknown")], No),
    ];
    for (name, written, expected) in rows {
        assert_eq!(answer(written, &denied), *expected, "{name}: {written:?}");
    }
}

#[test]
fn what_is_not_known_is_neither_yes_nor_no() {
    let unknown_end = flow(web(), unknown(Some("10.244.9.9")), 80);
    let mut behind_service = flow(web(), service("data/db"), 80);
    behind_service.dialed = Some(Dialed { ip: ip("10.96.0.7"), port: 5432, service: None, note: None });
    let outside = flow(web(), external("192.0.2.7"), 443);
    let no_address = flow(unknown(None), db(), 5432);
    let unasked = flow(web(), node_party("worker-1", "10.0.0.1"), 10_250);
    let unseen = flow(pod("shop/a").unseen_namespace().party(), db(), 5432);
    let itself = flow(web(), Party { endpoint: Endpoint::Local, ip: Some(ip("127.0.0.1")), port: None }, 80);
    let mut ping = flow(web(), db(), 8 << 8);
    ping.protocol = Protocol::Icmp;
    let bare = flow(alone(), db(), 1);
    type Row<'a> = (&'a str, &'a Flow, Written<'a>, Answer);
    let rows: &[Row<'_>] = &[
        ("nobody is known there", &unknown_end, &[("namespace", "data")], Unknown),
        ("the other end tells", &unknown_end, &[("namespace", "shop")], Yes),
        ("nobody, asked alone", &unknown_end, &[("destination.namespace", "data")], Unknown),
        (
            "not known, and no by another key",
            &unknown_end,
            &[("namespace", "data"), ("class", "allowed")],
            No,
        ),
        ("not known, and yes by another key", &unknown_end, &[("pod", "db"), ("port", "80")], Unknown),
        ("the address is known", &unknown_end, &[("destination.cidr", "10.244.9.0/24")], Yes),
        ("that it is not known can be asked for", &unknown_end, &[("destination.kind", "unknown")], Yes),
        ("whose is not known", &unknown_end, &[("destination.vendor", "Datadog, unknown")], Unknown),
        ("labels are not", &unknown_end, &[("destination.labels", "!app")], Unknown),
        ("a service has a namespace", &behind_service, &[("destination.namespace", "data")], Yes),
        (
            "and pods, of which it is not known which",
            &behind_service,
            &[("destination.pod", "db-0")],
            Unknown,
        ),
        ("in another namespace it is none", &behind_service, &[("pod", "dev/db-0")], No),
        ("the port on the wire", &behind_service, &[("port", "80")], Yes),
        ("the port that was dialed", &behind_service, &[("port", "5432")], Yes),
        ("neither port", &behind_service, &[("port", "443")], No),
        ("the address that was dialed", &behind_service, &[("destination.cidr", "10.96.0.0/16")], Yes),
        ("what is outside has no namespace", &outside, &[("destination.namespace", "*")], No),
        ("nor labels, not even missing ones", &outside, &[("destination.labels", "!app")], No),
        ("nor a known vendor", &outside, &[("destination.vendor", "Datadog, third-party")], No),
        ("which can be asked for", &outside, &[("destination.vendor", "unknown")], Yes),
        ("an opener without an address", &no_address, &[("source.cidr", "10.0.0.0/8")], Unknown),
        ("nor a port", &no_address, &[("source.port", "1")], Unknown),
        ("a node is no pod", &unasked, &[("destination.pod", "*")], No),
        ("and nobody's", &unasked, &[("destination.vendor", "unknown")], No),
        ("nobody asked whose", &unasked, &[("source.vendor", "unknown")], Unknown),
        ("its own loopback has no name", &itself, &[("destination.namespace", "*")], No),
        ("labels of a namespace never seen", &unseen, &[("source.namespace_labels", "team")], Unknown),
        ("a protocol without ports", &ping, &[("port", "2048")], No),
        ("a pod that nobody owns", &bare, &[("workload", "shop/Pod/debug")], Yes),
    ];
    for (name, flow, written, expected) in rows {
        assert_eq!(answer(written, *flow), *expected, "{name}: {written:?}");
    }
}

#[test]
fn a_record_of_several_attempts_has_the_port_of_the_first_alone() {
    let mut folded = denied();
    folded.count = 7;
    assert_eq!(answer(&[("source.port", "40001")], &folded), Unknown);
    assert_eq!(answer(&[("port", "5432")], &folded), Yes, "which they have alike");
    // A scan is one flow, whatever its ports.
    folded.direction = Direction::Ingress;
    folded.outcome.state = State::Refused;
    folded.outcome.evidence = smallvec![Evidence::FarEndNoSocket];
    assert_eq!(answer(&[("port", "5432")], &folded), Unknown);
    folded.count = 1;
    assert_eq!(answer(&[("port", "5432")], &folded), Yes);
}

#[test]
fn a_finding_has_what_all_its_flows_have() {
    let told = finding(FindingId::FL101, Some("data/StatefulSet/db"), denied());
    let repeated = LiveFinding { repeat: true, ..told.clone() };
    let probing = finding(FindingId::FL104, None, denied());
    type Row<'a> = (&'a str, &'a LiveFinding, Written<'a>, Answer);
    let rows: &[Row<'_>] = &[
        ("its kind", &told, &[("kind", "finding")], Yes),
        ("its severity", &told, &[("severity", "high")], Yes),
        ("not its flow's severity", &told, &[("severity", "medium")], No),
        ("a class it has not", &told, &[("class", "allowed")], Unknown),
        ("nor verdict and outcome", &told, &[("verdict", "allow"), ("outcome", "established")], Unknown),
        ("whom it is about", &told, &[("source.workload", "shop/web")], Yes),
        ("what was reached", &told, &[("destination.workload", "db"), ("port", "5432")], Yes),
        ("somebody else", &told, &[("namespace", "dev")], No),
        ("the pod, of one", &told, &[("source.pod", "web-*")], Yes),
        ("the pod, of several", &repeated, &[("source.pod", "web-*")], Unknown),
        ("the workload, of several", &repeated, &[("source.workload", "web")], Yes),
        ("who probes", &probing, &[("source.namespace", "shop")], Yes),
        ("not who", &probing, &[("source.namespace", "dev")], No),
        ("whom it probes", &probing, &[("destination.namespace", "dev"), ("port", "22")], Unknown),
        ("at which address", &probing, &[("destination.cidr", "192.0.2.0/24")], Unknown),
    ];
    for (name, found, written, expected) in rows {
        assert_eq!(answer(written, *found), *expected, "{name}: {written:?}");
    }
}

#[test]
fn every_name_that_a_record_writes_can_be_asked_for() {
    fn name<T: serde::Serialize>(value: T) -> String {
        serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
    }
    fn check<T: serde::Serialize + Copy>(words: &[words::Word<T>]) {
        for word in words {
            assert_eq!(word.name, name(word.means));
        }
    }
    check(&words::classes());
    check(&words::severities());
    check(&words::DIRECTIONS);
    check(&words::PROTOCOLS);
    check(&words::VERDICTS);
    check(&words::OUTCOMES);
    check(&words::ORIGINS);
}

/// Where a fact is asked for that no condition needs, a reader of lines would read them for nothing.
#[test]
fn only_what_a_condition_needs_is_asked_for() {
    struct ClassAlone;
    impl Facts for ClassAlone {
        fn kind(&self) -> RecordKind {
            panic!()
        }
        fn class(&self) -> Said<Class> {
            Said::Is(Class::Allowed)
        }
        fn severity(&self) -> Said<Severity> {
            panic!()
        }
        fn direction(&self) -> Said<Direction> {
            panic!()
        }
        fn protocol(&self) -> Said<Protocol> {
            panic!()
        }
        fn verdict(&self) -> Said<Decision> {
            panic!()
        }
        fn outcome(&self) -> Said<State> {
            panic!()
        }
        fn end_kind(&self, _: End) -> Said<EndKind> {
            panic!()
        }
        fn namespace(&self, _: End) -> Said<Cow<'_, str>> {
            panic!()
        }
        fn pod(&self, _: End) -> Said<Cow<'_, str>> {
            panic!()
        }
        fn workload(&self, _: End) -> Said<(Cow<'_, str>, Cow<'_, str>)> {
            panic!()
        }
        fn label(&self, _: End, _: LabelsOf, _: &str) -> Said<Cow<'_, str>> {
            panic!()
        }
        fn origin(&self, _: End) -> Said<Origin> {
            panic!()
        }
        fn vendor(&self, _: End) -> Said<Cow<'_, str>> {
            panic!()
        }
        fn addresses(&self, _: End) -> [Said<IpAddr>; 2] {
            panic!()
        }
        fn ports(&self, _: End) -> [Said<u16>; 2] {
            panic!()
        }
    }
    assert_eq!(answer(&[("class", "allowed")], &ClassAlone), Yes);
    assert_eq!(answer(&[("class", "failed"), ("namespace", "shop"), ("port", "1")], &ClassAlone), No);
    assert!(Selection::default().wants(&ClassAlone));
}
