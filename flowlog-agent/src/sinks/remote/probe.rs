//! The way to an output over the network, step by step: its name, a connection, TLS. What is said over it is the
//! protocol's own.

use super::certificate::Certificate;
use super::dial::{Dialer, Reactor, Stream};
use super::place::{Host, Place};
use super::proxy::Proxy;
use super::{Remote, tls};
use crate::sinks::Opening;
use crate::sinks::probe::{Step, stopped};
use jiff::{SignedDuration, Timestamp};
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::client::TlsStream;

/// A certificate that ends sooner is told: whoever renews them by a program does it weeks before.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// What refuses our certificate says so a moment after the handshake.
const MOMENT: std::time::Duration = std::time::Duration::from_millis(300);

/// Go to each host of an output. Of several, one that is there is enough.
pub(super) fn way(opening: &Opening<'_>) -> Vec<Step> {
    let remote = opening.remote();
    let mut steps = Vec::new();
    if let Some((file, _)) = &remote.certificate {
        steps.push(own_certificate(file));
    }
    let place = match Place::of(opening.place()) {
        Ok(place) => place,
        Err(error) => return vec![unusable(&error)],
    };
    let ways: Vec<Vec<Step>> = place.hosts.iter().map(|host| to_host(&place, host, remote)).collect();
    let one = ways.iter().any(|way| !stopped(way));
    for step in ways.into_iter().flatten() {
        steps.push(match stopped(std::slice::from_ref(&step)) && one {
            true => Step::doubtful(step.name, step.found, step.remedy),
            false => step,
        });
    }
    steps
}

/// What `run` would end with.
pub(super) fn unusable(error: &impl Display) -> Step {
    Step::unusable("settings", error.to_string(), "mend what it says: `flowlog run` ends with the same")
}

fn to_host(place: &Place, host: &Host, remote: &Remote) -> Vec<Step> {
    let proxy = match Proxy::of(remote) {
        Ok(proxy) => proxy,
        Err(error) => return vec![unusable(&error)],
    };
    let dialer = match Dialer::new(place, host, proxy, remote) {
        Ok(dialer) => dialer,
        Err(error) => return vec![unusable(&error)],
    };
    let mut steps = Vec::new();
    let walked = Reactor::default().run(async {
        walk(&dialer, host, place.encrypted, &mut steps).await;
        Ok(())
    });
    if let Err(error) = walked {
        steps.push(unusable(&error));
    }
    steps
}

async fn walk(dialer: &Dialer, far: &Host, encrypted: bool, steps: &mut Vec<Step>) {
    let host = dialer.door();
    let addresses = match dialer.resolve().await {
        Ok(addresses) => addresses,
        Err(error) => return steps.push(no_name(host, &error)),
    };
    if !host.is_address() {
        steps.push(Step::fine("name", format!("{} is {}", host.name, shown(&addresses))));
    }
    let tcp = match dialer.reach(&addresses).await {
        Ok(tcp) => tcp,
        Err(error) => return steps.push(no_connection(host, &error)),
    };
    let peer = tcp.peer_addr().map_or_else(|_| host.authority(), |peer| peer.to_string());
    steps.push(Step::fine("connection", format!("{peer} takes connections")));
    let stream = match dialer.pass(tcp).await {
        Ok(stream) => stream,
        Err(error) => return steps.push(no_passage(far, &error)),
    };
    if encrypted {
        if host != far {
            steps.push(Step::fine("proxy", format!("it connects to {}", far.authority())));
        }
        steps.push(match dialer.shake(stream).await {
            Ok(stream) => shaken(far, stream).await,
            Err(error) => no_tls(far, &error),
        });
    }
}

fn no_passage(far: &Host, error: &io::Error) -> Step {
    Step::away(
        "proxy",
        format!("it does not connect to {}: {error}", far.authority()),
        "see that the proxy lets us in and may connect there",
    )
}

fn shown(addresses: &[SocketAddr]) -> String {
    let mut all: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    all.dedup();
    all.join(", ")
}

fn no_name(host: &Host, error: &io::Error) -> Step {
    Step::away(
        "name",
        format!("{} is not found: {error}", host.name),
        "see that the name is right, and that this node's resolver knows it; a service of the cluster takes \
         dnsPolicy: ClusterFirstWithHostNet",
    )
}

fn no_connection(host: &Host, error: &io::Error) -> Step {
    Step::away(
        "connection",
        format!("{} does not take a connection: {error}", host.authority()),
        "see that it listens at this port, and that no firewall and no NetworkPolicy stands between",
    )
}

fn no_tls(host: &Host, error: &io::Error) -> Step {
    let said = error.to_string();
    let remedy = if said.contains("UnknownIssuer") || said.contains("BadSignature") {
        "give `ca_file`: the authority that signed its certificate"
    } else if said.contains("xpired") || said.contains("NotValidYet") {
        "have its certificate renewed, and see that this node's clock is right"
    } else if said.contains("not valid for name") || said.contains("NotValidForName") {
        "name it as its certificate does"
    } else if said.contains("ertificateRequired") || said.contains("HandshakeFailure") {
        "give `certificate_file` and `key_file`, by an authority that it trusts"
    } else {
        "see that it speaks TLS at this port; without TLS the place is written without the s"
    };
    Step::away("tls", format!("no TLS with {}: {said}", host.authority()), remedy)
}

/// Whose certificate it showed, and whether it closes at once for what we showed.
async fn shaken(host: &Host, mut stream: TlsStream<Box<dyn Stream>>) -> Step {
    let mut said = [0];
    if let Ok(Err(error)) = tokio::time::timeout(MOMENT, stream.read(&mut said)).await {
        return no_tls(host, &error);
    }
    let (_, session) = stream.get_ref();
    let version = session.protocol_version().and_then(|version| version.as_str());
    let shown = session.peer_certificates().and_then(|chain| Certificate::read(chain.first()?));
    let version = version.unwrap_or("TLS").replace("TLSv", "TLS ").replace('_', ".");
    match shown {
        Some(certificate) => until("tls", &format!("{version}, its certificate"), &certificate),
        None => Step::fine("tls", version),
    }
}

fn own_certificate(file: &Path) -> Step {
    let read =
        tls::certificates_of(file).map(|chain| chain.first().and_then(|first| Certificate::read(first)));
    match read {
        Ok(Some(own)) => until("certificate", "ours", &own),
        Ok(None) => Step::unusable(
            "certificate",
            format!("{} has no certificate that can be read", file.display()),
            "give a certificate, PEM",
        ),
        Err(error) => unusable(&error),
    }
}

fn until(name: &'static str, whose: &str, certificate: &Certificate) -> Step {
    let Certificate { subject, until } = certificate;
    let subject = if subject.is_empty() { "without a name" } else { subject };
    let left = until.duration_since(Timestamp::now());
    let found = format!("{whose}: {subject}, holds until {until:.0}");
    let renew = "have it renewed before";
    match left {
        left if left.is_negative() => {
            Step::away(name, format!("{whose}: {subject}, ended {until:.0}"), "have it renewed")
        }
        left if left < SOON => Step::doubtful(name, found, renew),
        _ => Step::fine(name, found),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sinks::Request;
    use crate::sinks::probe::Standing;
    use crate::sinks::tests::encoder;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
    use std::fs;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio_rustls::rustls::server::WebPkiClientVerifier;
    use tokio_rustls::rustls::{RootCertStore, ServerConfig};

    /// What a server shows, and what it asks for.
    struct Server {
        name: &'static str,
        until: i32,
        asks: bool,
    }

    const GOOD: Server = Server { name: "localhost", until: 2090, asks: false };

    /// What speaks TLS for a server, by an authority of its own: `ca.pem` in this folder.
    fn acceptor(server: &Server, folder: &Path) -> TlsAcceptor {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::new([server.name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "siem");
        params.not_after = date_time_ymd(server.until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &issuer).unwrap().der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let builder = match server.asks {
            true => builder.with_client_cert_verifier(verifier),
            false => builder.with_no_client_auth(),
        };
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
    }

    /// Hand what comes over TLS for `localhost` on to a port without; the port at which it comes.
    pub(in crate::sinks::remote) fn relay(folder: &Path, to: u16) -> u16 {
        let acceptor = acceptor(&GOOD, folder);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let Ok(mut near) = acceptor.accept(stream).await else { continue };
                    let mut far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
                }
            });
        });
        port
    }

    /// Serve one connection; its port.
    fn serve(server: &Server, folder: &Path) -> u16 {
        let acceptor = acceptor(server, folder);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0]).await;
                }
            });
        });
        port
    }

    fn look(place: &str, remote: Remote) -> Vec<Step> {
        let remote = Remote { timeout: Duration::from_secs(2), ..remote };
        let request = Request { remote, ..Request::from(place) };
        way(&Opening { request: &request, run: encoder().run(), number: 0 })
    }

    #[test]
    fn a_certificate_is_told_and_what_is_wrong_with_one_too() {
        for (name, server, own_ca, standing, words) in [
            ("good", GOOD, true, Standing::Fine, &["TLS 1.3", "CN=siem", "2090-01-01"][..]),
            // Of the same name as the one that signed it.
            ("another authority", GOOD, false, Standing::Away, &["BadSignature", "give `ca_file`"]),
            ("ended", Server { until: 2020, ..GOOD }, true, Standing::Away, &["xpired", "renewed"]),
            (
                "another name",
                Server { name: "other.example.com", ..GOOD },
                true,
                Standing::Away,
                &["not valid for name", "name it as its certificate does"],
            ),
            (
                "it asks for ours",
                Server { asks: true, ..GOOD },
                true,
                Standing::Away,
                &["`certificate_file`"],
            ),
        ] {
            let [folder, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            serve(&GOOD, other.path());
            let port = serve(&server, folder.path());
            let ca = if own_ca { &folder } else { &other }.path().join("ca.pem");
            let remote = Remote { ca_file: Some(ca), ..Remote::default() };
            let steps = look(&format!("syslogs://localhost:{port}"), remote);
            assert_eq!(steps.iter().map(|step| step.name).collect::<Vec<_>>(), ["name", "connection", "tls"]);
            let tls = steps.last().unwrap();
            assert_eq!(tls.standing, standing, "{name}: {tls:?}");
            let said = format!("{} {}", tls.found, tls.remedy);
            for word in words {
                assert!(said.contains(word), "{name}: {said}");
            }
        }
    }

    #[test]
    fn a_name_that_is_none_and_a_port_where_nobody_listens_are_told() {
        let steps = look("syslog://no-such-host.invalid:601", Remote::default());
        assert_eq!((steps[0].name, steps[0].standing), ("name", Standing::Away), "{steps:?}");
        assert!(steps[0].remedy.contains("dnsPolicy"), "{steps:?}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let there = format!("kafka://127.0.0.1:{port}");
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let steps = look(&format!("{there},{nobody}/flows"), Remote::default());
        let standings: Vec<Standing> = steps.iter().map(|step| step.standing).collect();
        assert_eq!(
            standings,
            [Standing::Fine, Standing::Doubtful],
            "one broker that is there is enough: {steps:?}"
        );
        drop(listener);
        let steps = look(&format!("{there}/flows"), Remote::default());
        assert_eq!((steps[0].name, steps[0].standing), ("connection", Standing::Away), "{steps:?}");
    }

    #[test]
    fn our_own_certificate_is_told_and_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.pem");
        for (until, standing) in [(2090, Standing::Fine), (2020, Standing::Away)] {
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(until, 1, 1);
            fs::write(&file, params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
            let step = own_certificate(&file);
            assert_eq!(step.standing, standing, "{step:?}");
        }
        fs::write(&file, "nothing").unwrap();
        assert_eq!(own_certificate(&file).standing, Standing::Unusable);
    }
}
