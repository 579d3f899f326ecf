//! The way to a host: TCP, perhaps through a proxy, and TLS over it. Names are asked for at each connection, addresses tried in turn.

use super::place::{Host, Place};
use super::proxy::Proxy;
use super::{Remote, tls};
use socket2::{SockRef, TcpKeepalive};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// A peer that went without a word while nothing is sent is noticed after a minute.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What drives connections, on the thread that uses it: made at its first use there, since whoever opens an output is
/// within a runtime.
#[derive(Default)]
pub(super) struct Reactor(Option<Runtime>);

impl Reactor {
    /// Until this is done.
    pub(super) fn run<T>(&mut self, act: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let runtime = match &mut self.0 {
            Some(runtime) => runtime,
            none => none.insert(Builder::new_current_thread().enable_all().build()?),
        };
        runtime.block_on(act)
    }
}

/// Connects to one host.
pub(super) struct Dialer {
    host: Host,
    encrypted: bool,
    remote: Remote,
    proxy: Option<Proxy>,
}

impl Dialer {
    /// To the host of a place. That its files can be read is seen at once.
    pub(super) fn new(place: &Place, host: &Host, proxy: Option<Proxy>, remote: &Remote) -> io::Result<Self> {
        if place.encrypted || proxy.as_ref().is_some_and(|proxy| proxy.encrypted) {
            tls::connector(remote)?;
        }
        if let Some(proxy) = &proxy {
            proxy.pass()?;
        }
        Ok(Self { host: host.clone(), encrypted: place.encrypted, remote: remote.clone(), proxy })
    }

    /// Where its connections go first.
    pub(super) fn door(&self) -> &Host {
        self.proxy.as_ref().map_or(&self.host, |proxy| &proxy.host)
    }

    /// The proxy that is handed requests as they are, for whomever they are.
    pub(super) fn forwarder(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.encrypted)
    }

    /// The host, as a URL writes it.
    pub(super) fn authority(&self) -> String {
        self.host.authority()
    }

    /// How long anything may take.
    pub(super) fn timeout(&self) -> Duration {
        self.remote.timeout
    }

    /// A new connection.
    pub(super) async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let (to, door) = (self.authority(), self.door().authority());
        let told = |error: io::Error| io::Error::new(error.kind(), format!("connect to {door}: {error}"));
        let tcp = self.connect().await.map_err(told)?;
        let told =
            |error: io::Error| io::Error::new(error.kind(), format!("through the proxy {door}: {error}"));
        let stream = self.pass(tcp).await.map_err(told)?;
        if !self.encrypted {
            return Ok(stream);
        }
        let shaken = self.shake(stream).await;
        Ok(Box::new(shaken.map_err(|error| io::Error::new(error.kind(), format!("TLS with {to}: {error}")))?))
    }

    /// Through the proxy, where there is one; what is not encrypted is handed to it.
    pub(super) async fn pass(&self, tcp: TcpStream) -> io::Result<Box<dyn Stream>> {
        let Some(proxy) = &self.proxy else { return Ok(Box::new(tcp)) };
        within(self.remote.timeout, async {
            let stream = proxy.open(tcp, &self.remote).await?;
            if self.encrypted { proxy.connect(stream, &self.host).await } else { Ok(stream) }
        })
        .await
    }

    /// Addresses of its door.
    pub(super) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let Host { name, port } = self.door();
        let found = within(self.remote.timeout, lookup_host((name.as_str(), *port))).await?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(addresses)
    }

    /// A connection to the first of these that takes one.
    pub(super) async fn reach(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match within(self.remote.timeout, TcpStream::connect(address)).await {
                Ok(stream) => return tune(stream, self.remote.timeout),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// TLS over a connection.
    pub(super) async fn shake(&self, stream: Box<dyn Stream>) -> io::Result<TlsStream<Box<dyn Stream>>> {
        let name = ServerName::try_from(self.host.name.clone()).map_err(io::Error::other)?;
        let connector = tls::connector(&self.remote)?;
        within(self.remote.timeout, connector.connect(name, stream)).await
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        self.reach(&self.resolve().await?).await
    }
}

fn tune(stream: TcpStream, timeout: Duration) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    // What was sent and is not taken by then breaks the connection, so that it is sent again.
    socket.set_tcp_user_timeout(Some(timeout))?;
    Ok(stream)
}

/// What takes longer failed.
pub(super) async fn within<T>(limit: Duration, act: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("it took longer than {limit:?}"));
    tokio::time::timeout(limit, act).await.map_err(late)?
}
