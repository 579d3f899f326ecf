//! TLS as an output over the network speaks it: rustls, with the authorities of a file or of this host.

use super::Remote;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where hosts keep the authorities that they trust, and what the files there lead to.
pub(super) const SYSTEM: [&str; 6] = [
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/lib/ssl",
];

/// A connector by these options. Its files are read anew each time: certificates are renewed.
pub(super) fn connector(remote: &Remote) -> io::Result<TlsConnector> {
    Ok(TlsConnector::from(Arc::new(client_config(remote)?)))
}

/// What a TLS client is made of.
pub(super) fn client_config(remote: &Remote) -> io::Result<ClientConfig> {
    let roots = match &remote.ca_file {
        Some(file) => roots_of(file)?,
        None => roots_of_host()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &remote.certificate else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates_of(certificate)?;
    let key_of = PrivateKeyDer::from_pem_file(key);
    let key_of =
        key_of.map_err(|error| io::Error::other(format!("read the key {}: {error}", key.display())))?;
    builder.with_client_auth_cert(chain, key_of).map_err(|error| {
        io::Error::other(format!("use {} with {}: {error}", certificate.display(), key.display()))
    })
}

/// The certificates of a file, PEM.
pub(super) fn certificates_of(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read
        .map_err(|error| io::Error::other(format!("read the certificates of {}: {error}", file.display())))?;
    if found.is_empty() {
        return Err(io::Error::other(format!("{} has no certificate", file.display())));
    }
    Ok(found)
}

fn roots_of(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(file)? {
        roots.add(certificate).map_err(|error| {
            io::Error::other(format!("a certificate of {} is no authority's: {error}", file.display()))
        })?;
    }
    Ok(roots)
}

fn roots_of_host() -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read leaves the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(io::Error::other(
            "no certificate authority is known here, as in flowlog's own image: give `ca_file`",
        ));
    }
    Ok(roots)
}
