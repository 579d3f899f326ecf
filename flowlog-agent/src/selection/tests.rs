use super::{Answer, Condition, End, EndKind, Facts, LabelsOf, Only, RecordKind, Said, Selection};
use crate::model::{
    Class, Decision, Dialed, Direction, Endpoint, Evidence, FindingId, Flow, LiveFinding, Origin, Party,
    Protocol, Service, Severity, State, Whose,
};
use crate::testkit::{at, external, flow, ip, node_party, pod, unknown};
use smallvec::smallvec;
use std::sync::Arc;

mod facts;
mod read;
mod selections;

/// Keys with their values, several with `, ` between them.
type Written<'a> = &'a [(&'a str, &'a str)];

fn condition(written: Written<'_>) -> Result<Condition, String> {
    let written: Vec<(&str, Vec<String>)> =
        written.iter().map(|(key, values)| (*key, values.split(", ").map(str::to_owned).collect())).collect();
    let written = written.iter().map(|(key, values)| (*key, &**values));
    Condition::read("deny[0]", written).map_err(|error| error.to_string())
}

fn answer(written: Written<'_>, facts: &impl Facts) -> Answer {
    condition(written).unwrap_or_else(|error| panic!("{error}")).answer(facts)
}

fn web() -> Party {
    let web = pod("shop/web-6d4cf5-x7k2p").owner("Deployment/web").label("app", "web").label("tier", "front");
    web.namespace_label("team", "shop").ip("10.244.1.5").party()
}

fn db() -> Party {
    let db = pod("data/db-0").owner("StatefulSet/db").label("app", "db").namespace_label("team", "storage");
    db.ip("10.244.2.7").party()
}

fn alone() -> Party {
    pod("shop/debug").ip("10.244.1.9").party()
}

fn service(path: &str) -> Party {
    let (namespace, name) = path.split_once('/').unwrap();
    let service = Service { namespace: namespace.to_owned(), name: name.to_owned(), port_name: None };
    Party { endpoint: Endpoint::Service(Arc::new(service)), ip: Some(ip("10.96.0.7")), port: None }
}

fn of(origin: Origin, vendor: Option<&str>) -> Whose {
    Whose { origin: Some(origin), vendor: vendor.map(Into::into), ..Whose::default() }
}

/// From `shop` to `data`: declared as denied, dropped.
fn denied() -> Flow {
    let mut denied = flow(web(), db(), 5432);
    denied.class = Class::DeniedAttempt;
    denied.verdict.decision = Decision::Deny;
    denied.outcome.state = State::Dropped;
    denied.source.port = Some(40_001);
    denied.source_whose = of(Origin::FirstParty, None);
    denied.destination_whose = of(Origin::ThirdParty, Some("PostgreSQL"));
    denied
}

fn finding(id: FindingId, object: Option<&str>, flow: Flow) -> LiveFinding {
    LiveFinding {
        id,
        severity: id.severity(),
        fingerprint: "f".to_owned(),
        subject: "shop/Deployment/web".to_owned(),
        object: object.map(str::to_owned),
        count: 1,
        first: at(0),
        last: at(0),
        flows: vec![flow.id],
        repeat: false,
        flow: Box::new(flow),
    }
}
