//! What the scenarios share: a server, whoever follows it, and a cluster's objects.

use flowlog::cluster::watch::{self, Access, Reach, Timing, Watch};
use flowlog::cluster::{Loaded, Settings, Snapshot, Store};
use flowlog::model::{Container, Endpoint, Node, Party, Pod, Protocol, Verdict};
use flowlog_tests::apiserver::ApiServer;
use flowlog_tests::wait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const NODE: &str = "n1";
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Short enough for a test, long enough for a busy machine.
pub(crate) fn quick() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        answer: ms(2_000),
        list: ms(1_000),
        bookmark: ms(1_000),
        again: (ms(20), ms(200)),
        unserved: ms(100),
        look: ms(100),
        quiet: ms(100),
        ..Timing::default()
    }
}

/// A server, and whoever follows it.
pub(crate) struct Scene {
    pub(crate) server: ApiServer,
    pub(crate) watch: Watch,
    _folder: tempfile::TempDir,
}

pub(crate) fn follow(server: &ApiServer, folder: &Path, user: &Value, timing: Timing) -> Watch {
    follow_as(server, folder, user, timing, Settings::default())
}

/// The same, with these settings.
pub(crate) fn follow_as(
    server: &ApiServer,
    folder: &Path,
    user: &Value,
    timing: Timing,
    settings: Settings,
) -> Watch {
    let file = server.kubeconfig(folder, user).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reach = runtime.block_on(Reach::find(&Access::Kubeconfig { file, context: None })).unwrap();
    watch::start(watch::prepare(&reach).unwrap(), settings, NODE, Vec::new(), timing).unwrap()
}

impl Scene {
    /// Follows a server from now on.
    pub(crate) fn of(server: ApiServer, timing: Timing) -> Self {
        Self::within(server, timing, Settings::default())
    }

    /// The same, with these settings.
    pub(crate) fn within(server: ApiServer, timing: Timing, settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let watch = follow_as(&server, folder.path(), &json!({}), timing, settings);
        Self { server, watch, _folder: folder }
    }

    /// Follows a server with these objects, and has read them.
    pub(crate) fn with(objects: &[Value]) -> Self {
        let server = ApiServer::start().unwrap();
        objects.iter().for_each(|object| server.apply(object.clone()));
        let scene = Self::of(server, quick());
        scene.synced();
        scene
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.watch.snapshot()
    }

    /// Waits until the snapshot is so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut snapshot = self.snapshot();
        let found = wait::until(what, SOON, || {
            snapshot = self.snapshot();
            Ok(is(&snapshot))
        });
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", shown(&snapshot)));
        snapshot
    }

    /// Waits until all is read.
    #[track_caller]
    pub(crate) fn synced(&self) -> Arc<Snapshot> {
        self.until("all kinds are in sync", is_synced)
    }

    /// Waits until it is what a load of the same objects would be.
    #[track_caller]
    pub(crate) fn as_loaded(&self) -> Arc<Snapshot> {
        let expected = facts(&load(&self.server.objects()));
        let is = |snapshot: &Snapshot| is_synced(snapshot) && facts(snapshot) == expected;
        let found = wait::until("what was followed is what is there", SOON, || Ok(is(&self.snapshot())));
        let now = facts(&self.snapshot());
        found.unwrap_or_else(|error| {
            let missing: Vec<_> = expected.difference(&now).collect();
            let extra: Vec<_> = now.difference(&expected).collect();
            panic!("{error:#}\nmissing: {missing:#?}\nextra: {extra:#?}\n{}", shown(&self.snapshot()))
        });
        self.snapshot()
    }
}

pub(crate) fn is_synced(snapshot: &Snapshot) -> bool {
    snapshot.stale_since.is_none() && snapshot.unread.is_none() && snapshot.inventory.incomplete().is_none()
}

pub(crate) fn shown(snapshot: &Snapshot) -> String {
    let problems: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
    format!(
        "revision {}, stale since {:?}, incomplete {:?}, unread {:?}, problems {problems:#?}",
        snapshot.revision,
        snapshot.stale_since,
        snapshot.inventory.incomplete(),
        snapshot.unread
    )
}

/// As folders of manifests are read.
pub(crate) fn load(objects: &[Value]) -> Snapshot {
    let mut loaded = Loaded::default();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    loaded.add_text(Path::new("all.json"), &list.to_string());
    let settings = Settings { accept_problems: true, ..Settings::default() };
    Snapshot::clone(&Store::start(settings, loaded, Timestamp::now()).unwrap().snapshot())
}

/// What is known, as lines that can be compared.
pub(crate) fn facts(snapshot: &Snapshot) -> BTreeSet<String> {
    let inventory = &snapshot.inventory;
    // Those who went are known for a while where they were seen, and were never read where they were not.
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    // Ids of containers are known of this node's pods alone.
    let pods = inventory.pods().map(|pod: &Arc<Pod>| {
        let mut pod = Pod::clone(pod);
        if pod.node.as_deref() != Some(NODE) {
            let nameless = |container: &Container| Container { id: None, ..container.clone() };
            pod.containers = pod.containers.iter().map(nameless).collect();
        }
        format!("{pod:?}")
    });
    let nodes = inventory.nodes().map(|node: &Arc<Node>| format!("{node:?}"));
    let policies = snapshot.policies.policies().map(|policy| format!("{policy:?}"));
    let trial =
        snapshot.trial.iter().flat_map(|trial| trial.in_trial()).map(|policy| format!("trial {policy:?}"));
    let services = inventory.service_names().flat_map(|(namespace, name)| {
        let addresses = inventory.service_addresses(namespace, name);
        let ports = [80, 443, 5_432, 8_080];
        addresses.into_iter().flat_map(move |ip| ports.map(move |port| (ip, port)))
    });
    let targets = services
        .map(|(ip, port)| format!("{ip} {port} {:?}", inventory.resolve(ip, port, Protocol::Tcp, later)))
        .map(|target| told_alike(&target));
    let ranges = ["10.1.0.250", "10.2.0.250", "10.96.0.250", "10.97.0.250"].map(|written| {
        let ip: IpAddr = written.parse().unwrap();
        format!("{ip} {:?}", inventory.find_range(ip))
    });
    pods.chain(nodes).chain(policies).chain(trial).chain(targets).chain(ranges).collect()
}

/// A target as it is written for people, but for what depends on who was there before: ids of containers, and why
/// nobody has an address.
fn told_alike(target: &str) -> String {
    let without_ids = replaced(target, "id: Some(\"", "\")", |_| Some("id: None".to_owned()));
    let nobody = |reason: &str| reason.contains("nobody has it") || reason.contains(" was pod ");
    let unknown = replaced(&without_ids, "Unknown { reason: \"", "\", pod_uid: None }", |reason| {
        nobody(reason).then(|| "Nobody".to_owned())
    });
    unknown.replace("External(External { network: None })", "Nobody")
}

/// The text with what stands between the two put by `with`, where it says so.
fn replaced(text: &str, from: &str, to: &str, with: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split(from);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |done, part| {
        let found = part.split_once(to).and_then(|(inner, rest)| Some(with(inner)? + rest));
        done + &found.unwrap_or_else(|| format!("{from}{part}"))
    })
}

pub(crate) fn name_at(snapshot: &Snapshot, address: &str) -> String {
    name_then(snapshot, address, Timestamp::now())
}

/// The same, at another moment.
pub(crate) fn name_then(snapshot: &Snapshot, address: &str, at: Timestamp) -> String {
    match snapshot.inventory.resolve_address(address.parse().unwrap(), at) {
        Endpoint::Pod(pod) => format!("pod {}/{}", pod.namespace, pod.name),
        Endpoint::Node(node) => format!("node {}", node.name),
        Endpoint::External(_) => "external".to_owned(),
        Endpoint::Unknown { reason, .. } => format!("unknown: {reason}"),
        other => format!("{other:?}"),
    }
}

/// What is declared about a connection from one address to another's port 80.
pub(crate) fn verdict(snapshot: &Snapshot, from: &str, to: &str) -> Verdict {
    let party = |written: &str, port| {
        let ip: IpAddr = written.parse().unwrap();
        Party { endpoint: snapshot.inventory.resolve_address(ip, Timestamp::now()), ip: Some(ip), port }
    };
    let (source, destination) = (party(from, None), party(to, Some(80)));
    let target = snapshot.inventory.resolve(to.parse().unwrap(), 80, Protocol::Tcp, Timestamp::now());
    snapshot.evaluate(&source, &destination, &target, Protocol::Tcp, Timestamp::now())
}

pub(crate) fn namespace(name: &str, team: &str) -> Value {
    let labels = json!({"kubernetes.io/metadata.name": name, "team": team});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

pub(crate) fn pod(path: &str, ip: &str) -> Value {
    let (namespace, name) = path.split_once('/').unwrap();
    let managed = json!([{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:podIP": {}, "f:podIPs": {}}}, "subresource": "status"}]);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}, "managedFields": managed},
        "spec": {"nodeName": NODE, "containers": [{"name": "app", "image": "registry/app:1",
            "ports": [{"name": "web", "containerPort": 80, "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "containerStatuses": [{"name": "app", "containerID": format!("containerd://{namespace}-{name}"), "image": "x",
                "imageID": "registry/app@sha256:00", "ready": true, "restartCount": 0}]},
    })
}

pub(crate) fn owned_by(mut object: Value, kind: &str, name: &str) -> Value {
    let version = match kind {
        "Job" | "CronJob" => "batch/v1",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => "apps/v1",
        _ => "v1",
    };
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": version, "kind": kind, "name": name, "uid": "o", "controller": true}]);
    object
}

pub(crate) fn labelled(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["labels"][key] = value.into();
    object
}

pub(crate) fn node(name: &str, ip: &str, cidr: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]},
    })
}

pub(crate) fn service(path: &str, ip: &str) -> Value {
    let (namespace, name) = path.split_once('/').unwrap();
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]},
    })
}

/// A slice of a service, with an endpoint for each of these addresses.
pub(crate) fn slice(path: &str, service: &str, ips: &[&str]) -> Value {
    let (namespace, name) = path.split_once('/').unwrap();
    let endpoints: Vec<Value> =
        ips.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": namespace, "name": name, "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"port": 80, "protocol": "TCP"}], "endpoints": endpoints,
    })
}

pub(crate) fn range(name: &str, cidr: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name}, "spec": {"cidrs": [cidr]}})
}

/// Lets nobody in, to pods with this label `app`.
pub(crate) fn closed(path: &str, app: &str) -> Value {
    policy(path, &json!({"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"]}))
}

pub(crate) fn policy(path: &str, spec: &Value) -> Value {
    let (namespace, name) = path.split_once('/').unwrap();
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

pub(crate) const WEB: &str = "10.1.0.1";
pub(crate) const DB: &str = "10.1.0.2";

/// A small cluster: two pods, a service, a node.
pub(crate) fn small() -> Vec<Value> {
    vec![
        namespace("shop", "a"),
        node(NODE, "10.0.0.1", "10.1.0.0/24"),
        pod("shop/web", WEB),
        pod("shop/db", DB),
        service("shop/db", "10.96.0.2"),
        slice("shop/db-1", "db", &[DB]),
        range("kubernetes", "10.96.0.0/16"),
    ]
}
