//! Who stands at an end, in a few words that no two kinds of end share.

use crate::model::Protocol;
use crate::record::row::{DialedRow, EndKindRow, EndRow, Pairs};
use crate::report::shown;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Who it is, with the vendor.
pub(in crate::commands) fn party(end: &EndRow<'_>) -> String {
    with_vendor(name(end), end)
}

/// The same with the port, which a listener is known by.
pub(in crate::commands) fn destination(end: &EndRow<'_>, protocol: Protocol) -> String {
    with_vendor(listener(end, protocol), end)
}

fn with_vendor(mut text: String, end: &EndRow<'_>) -> String {
    if let Some(vendor) = vendor(end) {
        let _ = write!(text, " [{vendor}]");
    }
    text
}

/// Whose software it is, where that is known.
pub(in crate::commands) fn vendor(end: &EndRow<'_>) -> Option<String> {
    end.vendor.as_ref().map(|vendor| shown::line(vendor).into_owned())
}

/// Who listens, and where.
pub(in crate::commands) fn listener(end: &EndRow<'_>, protocol: Protocol) -> String {
    let mut text = name(end);
    match (end.port, is_bare(end).and(end.ip)) {
        (Some(port), Some(ip)) if !protocol.is_icmp() => text = at(ip, port),
        (Some(port), None) if !protocol.is_icmp() => {
            let _ = write!(text, ":{port}");
        }
        _ => {}
    }
    // Nearly all is TCP.
    if protocol != Protocol::Tcp {
        let _ = write!(text, "/{}", word(protocol));
    }
    text
}

/// The name in a record.
pub(in crate::commands) fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
        Protocol::Icmp => "icmp",
        Protocol::Icmpv6 => "icmpv6",
    }
}

fn at(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

/// There is nothing but an address.
fn is_bare(end: &EndRow<'_>) -> Option<()> {
    (matches!(end.kind, EndKindRow::External) && end.names.is_empty() && end.network.is_none()).then_some(())
}

/// `shop/web-0`, `node worker-1`, `api.example.com (198.51.100.7)`.
pub(in crate::commands) fn name(end: &EndRow<'_>) -> String {
    let ip = || end.ip.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
    let text = match end.kind {
        EndKindRow::Pod => {
            let namespace = end.namespace.as_deref().unwrap_or("?");
            let workload = end.workload.as_ref().map(|workload| &*workload.name);
            format!("{namespace}/{}", end.pod.as_deref().or(workload).unwrap_or("?"))
        }
        EndKindRow::Service => match &end.service {
            Some(service) => format!("service {}/{}", &*service.namespace, &*service.name),
            None => format!("service {}", ip()),
        },
        EndKindRow::Node => format!("node {}", end.node.clone().map_or_else(ip, |node| node.0.into_owned())),
        EndKindRow::External => match (end.names.first(), &end.network) {
            (Some(name), _) => format!("{} ({})", &*name.name, ip()),
            (None, Some(network)) => format!("{} ({})", &**network, ip()),
            (None, None) => ip(),
        },
        EndKindRow::Local => "local".to_owned(),
        EndKindRow::Unknown => format!("unknown {}", ip()),
    };
    shown::line(&text).into_owned()
}

/// What was asked for: the service, or the address.
pub(in crate::commands) fn peer(dialed: &DialedRow<'_>) -> String {
    match &dialed.service {
        Some(service) => {
            let name = format!("{}/{}", &*service.namespace, &*service.name);
            format!("{}:{}", shown::line(&name), dialed.port)
        }
        None => at(dialed.ip, dialed.port),
    }
}

/// Whose pod it is and its labels, in one pair of braces.
pub(in crate::commands) fn labels(end: &EndRow<'_>) -> Option<String> {
    let Pairs(pairs) = &end.labels;
    let mut parts = Vec::new();
    if let Some(owner) = &end.workload {
        parts.push(format!("{}/{}", &*owner.kind, &*owner.name));
    }
    parts.extend(end.container.as_ref().map(|container| format!("container {}", &**container)));
    parts.extend(end.image.as_ref().map(|image| format!("image {}", &**image)));
    parts.extend(pairs.iter().map(|(key, value)| format!("{}={}", &**key, &**value)));
    parts.extend(end.ip.filter(|_| end.kind == EndKindRow::Pod).map(|ip| ip.to_string()));
    let text = parts.join(", ");
    (!text.is_empty()).then(|| format!("{{{}}}", shown::line(&text)))
}
