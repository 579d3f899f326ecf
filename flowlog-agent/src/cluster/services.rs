//! Services and their EndpointSlices.

use super::defaults;
use super::objects::FieldError;
use super::pods::{ip, number, protocol};
use crate::inventory::{ServicePort, ServiceSpec, Slice, SliceEndpoint, SlicePort};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use std::net::IpAddr;
use std::sync::Arc;

/// The label that ties a slice to its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Why a service has no address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAddress {
    /// Its name stands for the addresses of its pods.
    Headless,
    /// Its name stands for this one.
    ExternalName(String),
}

/// A headless or ExternalName service has none, also where it names external ones (kube-proxy does not serve
/// them).
pub(super) fn find_no_address(service: &core::Service) -> Option<NoAddress> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return Some(NoAddress::ExternalName(spec.external_name.clone().unwrap_or_default()));
    }
    (spec.cluster_ip.as_deref() == Some("None")).then_some(NoAddress::Headless)
}

/// What of an object could be used, and the first thing that could not. Whoever may write one in his own namespace is not to
/// make the whole of it, and with it whatever is not known elsewhere, unknown.
pub(super) type InPart<T> = (T, Result<(), FieldError>);

/// Takes what can be read, and keeps the first error.
fn take<T>(read: Result<T, FieldError>, first: &mut Result<(), FieldError>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            if first.is_ok() {
                *first = Err(error);
            }
            None
        }
    }
}

/// A service that has addresses.
pub(super) fn read_service(service: core::Service) -> InPart<ServiceSpec> {
    let core::Service { metadata, spec, status } = service;
    let (spec, mut first) = (spec.unwrap_or_default(), Ok(()));
    let mut ports = Vec::new();
    for (place, port) in spec.ports.iter().flatten().enumerate() {
        ports.extend(take(read_port(port, &format!("spec.ports[{place}]")), &mut first));
    }
    let read = ServiceSpec {
        addresses: addresses(&spec, status.as_ref(), &mut first),
        ports,
        namespace: metadata.namespace.unwrap_or_else(|| defaults::NAMESPACE.to_owned()),
        name: metadata.name.unwrap_or_default(),
    };
    (read, first)
}

fn read_port(port: &core::ServicePort, field: &str) -> Result<ServicePort, FieldError> {
    let node_port = port.node_port.filter(|port| *port != 0);
    Ok(ServicePort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: number(port.port, &format!("{field}.port"))?,
        protocol: protocol(port.protocol.as_deref(), &format!("{field}.protocol"))?,
        node_port: node_port.map(|port| number(port, &format!("{field}.nodePort"))).transpose()?,
    })
}

fn addresses(
    spec: &core::ServiceSpec,
    status: Option<&core::ServiceStatus>,
    first: &mut Result<(), FieldError>,
) -> Vec<IpAddr> {
    let cluster = spec.cluster_ips.iter().flatten().map(|ip| ("spec.clusterIPs", ip));
    let single = spec.cluster_ip.iter().map(|ip| ("spec.clusterIP", ip));
    let external = spec.external_ips.iter().flatten().map(|ip| ("spec.externalIPs", ip));
    let balancer = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let balancer = balancer.into_iter().flatten().filter_map(|ingress| ingress.ip.as_ref());
    let balancer = balancer.map(|ip| ("status.loadBalancer.ingress", ip));
    let written = cluster.chain(single).chain(external).chain(balancer);
    let mut found = Vec::new();
    // A service whose address is not given yet has an empty one.
    for (field, written) in written.filter(|(_, written)| !written.is_empty()) {
        let ip = take(ip(written, field), first);
        found.extend(ip.filter(|ip| !found.contains(ip)));
    }
    found
}

/// A slice of a service; one of names (FQDN), or of no service, is none.
pub(super) fn read_slice(slice: discovery::EndpointSlice) -> InPart<Option<Slice>> {
    let discovery::EndpointSlice { address_type, endpoints, metadata, ports } = slice;
    let service = metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME)).cloned();
    let Some(service) = service.filter(|_| address_type != "FQDN") else { return (None, Ok(())) };
    let mut first = Ok(());
    let mut read = Slice {
        namespace: metadata.namespace.unwrap_or_else(|| defaults::NAMESPACE.to_owned()),
        name: metadata.name.unwrap_or_default(),
        service,
        ..Slice::default()
    };
    for (place, port) in ports.iter().flatten().enumerate() {
        read.ports.extend(take(read_slice_port(port, &format!("ports[{place}]")), &mut first).flatten());
    }
    for (place, endpoint) in endpoints.into_iter().enumerate() {
        if let Some(written) = endpoint.addresses.first() {
            let ip = take(ip(written, &format!("endpoints[{place}].addresses[0]")), &mut first);
            read.endpoints.extend(ip.map(|ip| read_endpoint(ip, endpoint)));
        }
    }
    read.ports.shrink_to_fit();
    read.endpoints.shrink_to_fit();
    (Some(read), first)
}

fn read_slice_port(port: &discovery::EndpointPort, field: &str) -> Result<Option<SlicePort>, FieldError> {
    // kube-proxy passes over a port without a number.
    let Some(written) = port.port else { return Ok(None) };
    Ok(Some(SlicePort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: number(written, &format!("{field}.port"))?,
        protocol: protocol(port.protocol.as_deref(), &format!("{field}.protocol"))?,
    }))
}

fn read_endpoint(ip: IpAddr, endpoint: discovery::Endpoint) -> SliceEndpoint {
    let conditions = endpoint.conditions.unwrap_or_default();
    let target = endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"));
    SliceEndpoint {
        ip,
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        pod_uid: target.and_then(|target| target.uid).map(Arc::from),
    }
}
