//! A proxy that an output over HTTP goes through: asked to connect (`CONNECT`) where what follows is encrypted, handed the
//! requests where it is not. One is used where the configuration names it, and never by the environment: a confined agent
//! reaches what it was told of.

use super::dial::Stream;
use super::place::{Host, Place};
use super::secret::Secret;
use super::{Remote, tls};
use crate::sinks::SinkError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::PathBuf;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// A proxy, as somebody asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPlace {
    /// `http://HOST:PORT`, or `https`.
    pub to: String,
    /// A user's name, and a file with the password.
    pub user: Option<(String, PathBuf)>,
}

/// A proxy.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub(super) host: Host,
    pub(super) encrypted: bool,
    user: Option<(String, PathBuf)>,
}

impl Proxy {
    /// The one of an output, where it has one.
    pub(super) fn of(remote: &Remote) -> Result<Option<Self>, SinkError> {
        let Some(ProxyPlace { to, user }) = &remote.proxy else { return Ok(None) };
        let place = Place::of(to)?;
        if !matches!(place.scheme, "http" | "https") || !matches!(&*place.path, "" | "/") {
            let why = "a proxy is `http://HOST:PORT` or `https://HOST:PORT`".to_owned();
            return Err(SinkError::Place { output: to.clone(), why });
        }
        let host = place.only_host(to)?.clone();
        Ok(Some(Self { host, encrypted: place.encrypted, user: user.clone() }))
    }

    /// What lets us in, as it is now.
    pub(super) fn pass(&self) -> io::Result<Option<HeaderValue>> {
        let Some((user, file)) = &self.user else { return Ok(None) };
        let secret = Secret::read(file)?;
        let text = format!("Basic {}", STANDARD.encode(format!("{user}:{}", secret.text())));
        let mut value = HeaderValue::try_from(text).map_err(io::Error::other)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Over a connection to the proxy, encrypted as it wants it.
    pub(super) async fn open(&self, tcp: TcpStream, remote: &Remote) -> io::Result<Box<dyn Stream>> {
        if !self.encrypted {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(self.host.name.clone()).map_err(io::Error::other)?;
        Ok(Box::new(tls::connector(remote)?.connect(name, tcp).await?))
    }

    /// Have it connect to a host.
    pub(super) async fn connect(&self, stream: Box<dyn Stream>, to: &Host) -> io::Result<Box<dyn Stream>> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection.with_upgrades());
        let authority = to.authority();
        let mut request = Request::builder().method(Method::CONNECT).uri(&authority).header(HOST, &authority);
        if let Some(pass) = self.pass()? {
            request = request.header(PROXY_AUTHORIZATION, pass);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return Err(io::Error::other(
                    "it answered 407: give `proxy_username` and `proxy_password_file` that it knows",
                ));
            }
            status => return Err(io::Error::other(format!("it answered {status}"))),
        }
        let stream = hyper::upgrade::on(answer).await.map_err(io::Error::other)?;
        Ok(Box::new(TokioIo::new(stream)))
    }
}

#[cfg(test)]
mod tests;
