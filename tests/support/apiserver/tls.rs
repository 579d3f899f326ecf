//! TLS as API servers have it: a certificate that the cluster's authority signed, and users who are known by theirs.

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

/// An authority, and whom it gave certificates to.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as PEM.
    pub pem: String,
    issued: Mutex<Vec<(CertificateDer<'static>, String)>>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Arc<Self>> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        let key = KeyPair::generate().context("a key")?;
        let pem = params.self_signed(&key).context("an authority's certificate")?.pem();
        Ok(Arc::new(Self { issuer: Issuer::new(params, key), pem, issued: Mutex::default() }))
    }

    /// Writes a user's certificate and key into a folder: `NAME.crt` and `NAME.key`.
    pub fn write_user(&self, folder: &Path, name: &str) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().context("a key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("a user's certificate")?;
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.push((certificate.der().clone(), name.to_owned()));
        for (ending, text) in [("crt", certificate.pem()), ("key", key.serialize_pem())] {
            let file = folder.join(format!("{name}.{ending}"));
            std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    /// Whose a certificate is; nobody's where another authority gave it.
    pub(super) fn find_user(&self, certificate: &CertificateDer<'_>) -> Option<String> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.iter().find(|(known, _)| known == certificate).map(|(_, name)| name.clone())
    }

    /// Whoever has no certificate, or another's, is asked who he is by what he sends.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor> {
        let names = vec!["127.0.0.1".to_owned(), "kubernetes.default.svc".to_owned()];
        let params = CertificateParams::new(names).context("the server's names")?;
        let key = KeyPair::generate().context("a key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("the server's certificate")?;
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = Arc::new(Anybody(provider.signature_verification_algorithms));
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("versions of TLS")?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .context("the server's certificate")?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Asks for a certificate and takes any, or none: who that makes somebody is not for TLS to say.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
