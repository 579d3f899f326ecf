use super::{Catalog, Setting, chart_name};
use crate::model::{Confidence, Container, Labels, Origin, Provenance, Signal, Workload};
use crate::testkit::pod;

const USERS: &str = "
mirrors:
  - {from: registry.example.com/hub/, to: docker.io/}
first_party:
  images: [registry.example.com/, docker.io/ourcompany/]
  namespaces: [shop-*]
  labels: {example.com/owner: [], tier: [own, own-*]}
platform:
  - {name: Our platform, images: [registry.example.com/infra/], namespaces: [infra]}
vendors:
  - {name: Datadog, images: [registry.example.com/vendors/datadog/]}
  - {name: Acme, category: erp, images: [registry.example.com/acme/*-agent], charts: [acme-erp]}
";

fn catalog() -> Catalog {
    let mut catalog = Catalog::built_in().unwrap();
    catalog.extend(USERS).unwrap();
    catalog
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// `origin vendor, by the strongest clue`.
fn told(found: &Provenance) -> String {
    let origin = match found.origin {
        Origin::FirstParty => "own",
        Origin::Platform => "platform",
        Origin::ThirdParty => "third",
        Origin::Unknown => return "unknown".to_owned(),
    };
    let by = &found.clues[0];
    format!("{origin} {} by {:?}, {:?}", found.vendor.as_deref().unwrap_or("-"), by.signal, by.confidence)
}

#[test]
fn an_image_is_whose_registry_it_comes_from() {
    let shipped = Catalog::built_in().unwrap();
    let rows = [
        ("datadog/agent:7", "third Datadog by Image, High"),
        ("gcr.io/datadoghq/agent", "third Datadog by Image, High"),
        ("nginx", "third F5 by Image, High"),
        ("alpine:3", "third Docker by Image, High"),
        ("registry.k8s.io/pause:3.9", "platform Kubernetes by Image, High"),
        ("602401143452.dkr.ecr.us-east-1.amazonaws.com/eks/coredns:v1", "platform Kubernetes by Image, High"),
        ("rancher/rancher", "third SUSE by Image, High"),
        ("rancher/mirrored-calico-node", "platform Calico by Image, High"),
        ("somebody/app", "third somebody by Organisation, Low"),
        ("ghcr.io/somebody/app", "third somebody by Organisation, Low"),
        ("registry.example.com/hub/grafana/grafana", "unknown"),
        ("harbor.example/quay.io/argoproj/argocd:v2", "third Argo by MirroredPath, Low"),
        ("harbor.example/registry.k8s.io/pause", "unknown"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/own/app", "unknown"),
        ("registry.k8s.io.evil.example/pause", "unknown"),
        ("NOT AN IMAGE", "unknown"),
        ("", "unknown"),
    ];
    for (image, expected) in rows {
        assert_eq!(told(&shipped.classify(image, Setting::default())), expected, "{image}");
    }
}

#[test]
fn what_the_user_says_beats_what_ships() {
    let catalog = catalog();
    let rows = [
        ("registry.example.com/app", "own - by Image, Certain"),
        ("ourcompany/app:1", "own - by Image, Certain"),
        ("registry.example.com/infra/dns", "platform Our platform by Image, Certain"),
        ("registry.example.com/vendors/datadog/agent:7", "third Datadog by Image, Certain"),
        ("registry.example.com/acme/erp-agent", "third Acme by Image, Certain"),
        ("registry.example.com/hub/grafana/grafana:11", "third Grafana Labs by Image, High"),
        ("registry.example.com/hub/library/redis", "third Redis by Image, High"),
        ("datadog/agent", "third Datadog by Image, High"),
    ];
    for (image, expected) in rows {
        assert_eq!(told(&catalog.classify(image, Setting::default())), expected, "{image}");
    }
    let mirrored = catalog.classify("registry.example.com/hub/grafana/grafana:11", Setting::default());
    assert_eq!(
        mirrored.clues[0].value,
        "registry.example.com/hub/grafana/grafana, a mirror of docker.io/grafana/grafana"
    );
}

#[test]
fn labels_and_namespaces_tell_where_images_do_not() {
    let catalog = catalog();
    let private = "123456789012.dkr.ecr.us-east-1.amazonaws.com/x/y";
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let rows: [Row<'_>; 8] = [
        (private, &[("helm.sh/chart", "datadog-3.70.1")], "default", "third Datadog by Chart, Medium"),
        (private, &[("helm.sh/chart", "acme-erp-1.0.0")], "default", "third Acme by Chart, Medium"),
        (private, &[("app.kubernetes.io/part-of", "argocd")], "default", "third Argo by Name, Low"),
        (private, &[("app.kubernetes.io/name", "cilium")], "kube-system", "unknown"),
        (private, &[("example.com/owner", "team-a")], "default", "own - by Ownership, Certain"),
        (private, &[("tier", "other")], "default", "unknown"),
        (private, &[], "shop-eu", "own - by Namespace, Certain"),
        ("datadog/agent", &[], "infra", "platform Our platform by Namespace, Certain"),
    ];
    for (image, pairs, namespace, expected) in rows {
        let labels = labels(pairs);
        let setting = Setting { namespace, labels: Some(&labels), ..Setting::default() };
        assert_eq!(told(&catalog.classify(image, setting)), expected, "{image} {pairs:?} {namespace}");
    }
    let of_namespace = labels(&[("tier", "own-eu")]);
    let setting = Setting { namespace_labels: Some(&of_namespace), ..Setting::default() };
    let found = catalog.classify("datadog/agent", setting);
    assert_eq!(told(&found), "own - by Ownership, Certain");
    // What speaks against it is kept.
    assert_eq!((found.clues[1].signal, found.clues[1].vendor.as_deref()), (Signal::Image, Some("Datadog")));
}

#[test]
fn a_vendor_can_be_replaced_and_moved() {
    let mut catalog = Catalog::built_in().unwrap();
    catalog.extend("vendors: [{name: datadog, replace: true, images: [registry.example.com/dd/]}]").unwrap();
    let told = |image: &str| told(&catalog.classify(image, Setting::default()));
    assert_eq!(told("registry.example.com/dd/agent"), "third datadog by Image, Certain");
    assert_eq!(told("gcr.io/datadoghq/agent"), "third datadoghq by Organisation, Low");
    assert!(catalog.find_by_domain("datadoghq.com").is_none());
}

#[test]
fn a_pod_is_whose_least_trusted_container_is() {
    let catalog = catalog();
    let of = |images: &[&str]| {
        let mut made = pod("a/b").build();
        let pod = std::sync::Arc::make_mut(&mut made);
        pod.containers = images
            .iter()
            .map(|image| Container { image: (*image).to_owned(), ..Default::default() })
            .collect();
        let found = catalog.classify_pod(pod);
        (found.origin, found.vendor.map(|vendor| vendor.to_string()), found.containers.len())
    };
    let own = "registry.example.com/app";
    assert_eq!(of(&[own]), (Origin::FirstParty, None, 1));
    assert_eq!(
        of(&[own, "datadog/agent", "istio/proxyv2"]),
        (Origin::ThirdParty, Some("Datadog".to_owned()), 3)
    );
    assert_eq!(of(&["datadog/agent", "a.example/x"]), (Origin::Unknown, None, 2));
    assert_eq!(of(&[]), (Origin::Unknown, None, 0));
}

#[test]
fn clues_are_in_the_order_of_their_strength() {
    let labels = labels(&[("helm.sh/chart", "grafana-8.0.0"), ("app.kubernetes.io/name", "argocd")]);
    let setting = Setting { labels: Some(&labels), ..Setting::default() };
    let found = Catalog::built_in().unwrap().classify("datadog/agent", setting);
    let order: Vec<Confidence> = found.clues.iter().map(|clue| clue.confidence).collect();
    assert_eq!(order, [Confidence::High, Confidence::Medium, Confidence::Low]);
    assert_eq!(found.vendor.as_deref(), Some("Datadog"));
}

#[test]
fn a_charts_label_is_its_name_and_version() {
    for (label, name) in [
        ("kube-prometheus-stack-61.3.2", "kube-prometheus-stack"),
        ("cert-manager-v1.15.1", "cert-manager"),
        ("influxdb2-2.1.2", "influxdb2"),
        ("k8s-agents-operator-0.1.0-rc.1", "k8s-agents-operator"),
        ("app", "app"),
        ("", ""),
    ] {
        assert_eq!(chart_name(label), name, "{label}");
    }
}

#[test]
fn a_pod_that_a_custom_resource_owns_is_whose_api_group_that_is() {
    let private = "123456789012.dkr.ecr.us-east-1.amazonaws.com/x/y";
    let catalog = Catalog::built_in().unwrap();
    for (group, expected) in [
        ("postgresql.cnpg.io", "third EDB by Group, Medium"),
        ("core.strimzi.io", "third Strimzi by Group, Medium"),
        ("actions.github.com", "third GitHub by Group, Medium"),
        ("notstrimzi.io", "unknown"),
        ("apps", "unknown"),
        ("", "unknown"),
    ] {
        let mut made = pod("a/b").build();
        let pod = std::sync::Arc::make_mut(&mut made);
        let workload = Workload { kind: "Own".to_owned(), name: "own".to_owned(), group: group.to_owned() };
        pod.workload = Some(workload.into());
        pod.containers = [Container { image: private.to_owned(), ..Container::default() }].into();
        assert_eq!(told(&catalog.classify_pod(pod).containers[0]), expected, "{group}");
    }
}
