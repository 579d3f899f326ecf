//! What outputs over the network take of this host: ports, files, folders. Nobody else gives it to them once the agent is
//! confined.

use super::place::Place;
use super::proxy::Proxy;
use super::{Remote, tls};
use crate::sinks::{Request, SinkError};
use std::fs::DirBuilder;
use std::io;
use std::net::ToSocketAddrs as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// What is used as long as the agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// TCP ports that are connected to.
    pub ports: Vec<u16>,
    /// Files and folders that are read.
    pub reads: Vec<PathBuf>,
    /// Folders that are written in.
    pub writes: Vec<PathBuf>,
}

/// What the resolver reads, where a host has a name.
const RESOLVER: [&str; 5] =
    ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];

/// Where names are asked for.
const DNS_PORT: u16 = 53;

/// What all of these take. The folder of a spool is made where its parent is there: later nobody may.
pub fn needs(outputs: &[Request]) -> Result<Needs, SinkError> {
    let mut all = Needs::default();
    for output in outputs {
        if let Some(spool) = &output.spool {
            make_folder(&spool.folder).map_err(|source| SinkError::Spool {
                output: output.to.clone(),
                folder: spool.folder.clone(),
                source,
            })?;
        }
        let Needs { ports, reads, writes } = needs_of(output.destination().place, &output.remote)?;
        all.ports.extend(ports);
        all.reads.extend(reads);
        all.writes.extend(writes);
        all.writes.extend(output.spool.iter().map(|spool| spool.folder.clone()));
    }
    Ok(all)
}

/// What this output takes; nothing, where it is none of the network.
fn needs_of(place: &str, remote: &Remote) -> Result<Needs, SinkError> {
    if !super::is_remote(place) {
        return Ok(Needs::default());
    }
    let place = Place::of(place)?;
    let mut needs = Needs::default();
    let proxy = Proxy::of(remote)?;
    // Who is behind a proxy is for that to find.
    let hosts = proxy.as_ref().map_or(&*place.hosts, |proxy| std::slice::from_ref(&proxy.host));
    for host in hosts {
        needs.ports.push(host.port);
        // What a broker says of the others are names as often as not.
        if !host.is_address() || place.scheme.starts_with("kafka") {
            // Answers that are too long for a datagram come by TCP.
            needs.ports.push(DNS_PORT);
            needs.reads.extend(RESOLVER.iter().flat_map(|file| around_file(Path::new(file))));
            // What the resolver loads is loaded before nothing can be loaded; its answer is asked for again.
            let _ = (host.name.as_str(), host.port).to_socket_addrs();
        }
    }
    let users = remote.user.iter().chain(remote.proxy.iter().filter_map(|proxy| proxy.user.as_ref()));
    let secrets = users.map(|(_, file)| file).chain(&remote.token_file);
    let pair = remote.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
    // A mounted secret is renewed by a new folder beside the old one: the folder above both stays.
    needs.reads.extend(secrets.chain(pair).chain(&remote.ca_file).flat_map(|file| around(file)));
    let encrypted = place.encrypted || proxy.is_some_and(|proxy| proxy.encrypted);
    if encrypted && remote.ca_file.is_none() {
        let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().filter_map(std::env::var_os).map(PathBuf::from);
        needs.reads.extend(tls::SYSTEM.iter().map(PathBuf::from).chain(named));
    }
    Ok(needs)
}

/// For nobody else: the lines say who talks to whom.
fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The folders in which another file may take this one's place: where it is named, and where it really lies.
fn around(file: &Path) -> Vec<PathBuf> {
    let folder = |path: &Path| path.parent().map(Path::to_owned);
    let real = file.canonicalize().ok();
    folder(file).into_iter().chain(real.as_deref().and_then(folder)).collect()
}

/// A file that is written in place, and where it really lies. One that is a link may be replaced there.
fn around_file(file: &Path) -> Vec<PathBuf> {
    match file.canonicalize() {
        Ok(real) if real != file => vec![file.to_owned(), real.parent().unwrap_or(&real).to_owned()],
        Ok(_) => vec![file.to_owned()],
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::ProxyPlace;

    #[test]
    fn a_spool_is_made_for_nobody_else_where_its_parent_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let request = |at: &Path| Request {
            spool: Some(crate::sinks::SpoolPlace { folder: at.to_owned(), bytes: 1 << 20 }),
            ..Request::from("syslog://127.0.0.1")
        };
        let spool = folder.path().join("spool");
        for _ in 0..2 {
            assert_eq!(needs(&[request(&spool)]).unwrap().writes, std::slice::from_ref(&spool));
        }
        let mode = std::os::unix::fs::PermissionsExt::mode(&spool.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        let error = needs(&[request(&folder.path().join("a/b"))]).unwrap_err().to_string();
        assert!(error.contains("a/b: No such file"), "{error}");
    }

    #[test]
    fn an_output_takes_its_port_and_what_is_read_for_it_alone() {
        let none = Remote::default();
        assert_eq!(needs_of("stdout", &none).unwrap(), Needs::default());
        assert_eq!(needs_of("/var/log/flows.json", &none).unwrap(), Needs::default());
        let by_address = needs_of("syslog://127.0.0.1:10514", &none).unwrap();
        assert_eq!(by_address, Needs { ports: vec![10_514], ..Needs::default() });
        let by_name = needs_of("syslog://localhost:10514", &none).unwrap();
        assert_eq!(by_name.ports, [10_514, DNS_PORT]);
        assert!(by_name.reads.contains(&PathBuf::from("/etc/hosts")));
        assert!(!by_name.reads.contains(&PathBuf::from("/etc")), "{by_name:?}");
        let ca = Remote { ca_file: Some("/run/flowlog/ca.pem".into()), ..none.clone() };
        let encrypted = needs_of("syslogs://10.0.0.7", &ca).unwrap();
        let expected = Needs { ports: vec![6514], reads: vec!["/run/flowlog".into()], writes: Vec::new() };
        assert_eq!(encrypted, expected);
        assert!(needs_of("syslogs://10.0.0.7", &none).unwrap().reads.contains(&PathBuf::from("/etc/ssl")));
        let user = Some(("me".to_owned(), "/run/proxy/password".into()));
        let proxy = ProxyPlace { to: "http://10.0.0.9:3128".to_owned(), user };
        let behind = needs_of("https://siem.example.com", &Remote { proxy: Some(proxy), ..ca }).unwrap();
        assert_eq!(behind.ports, [3128], "neither its port nor a resolver's: {behind:?}");
        assert_eq!(behind.reads, ["/run/proxy", "/run/flowlog"].map(PathBuf::from));
    }
}
