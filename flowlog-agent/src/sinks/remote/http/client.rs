//! Posts to one host over one connection, which is kept while both ends want it.

use crate::sinks::remote::Remote;
use crate::sinks::remote::dial::{Dialer, Reactor, Stream, within};
use crate::sinks::remote::place::Place;
use crate::sinks::remote::proxy::Proxy;
use crate::sinks::remote::secret::Secret;
use crate::sinks::{Opening, SinkError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// No answer of a SIEM is longer; of one that is, nothing can be said.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Whoever asks for more patience is asked again all the same.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// What lets us in.
#[derive(Debug)]
enum Pass {
    None,
    /// The word before it, and the token.
    Token(&'static str, Secret),
    Password(String, Secret),
}

impl Pass {
    fn secret(&mut self) -> Option<&mut Secret> {
        match self {
            Self::None => None,
            Self::Token(_, secret) | Self::Password(_, secret) => Some(secret),
        }
    }

    fn header(&self) -> io::Result<Option<HeaderValue>> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Token(word, secret) => format!("{word} {}", secret.text()),
            Self::Password(user, secret) => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", secret.text())))
            }
        };
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| io::Error::other("the secret has letters that no header may have"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long we are asked to wait.
    pub(super) wait: Option<Duration>,
    pub(super) body: Bytes,
}

impl Answer {
    /// Status and the beginning of what it says, for the own log.
    pub(super) fn told(&self) -> String {
        let text = String::from_utf8_lossy(self.body.get(..300.min(self.body.len())).unwrap_or_default());
        let text: String =
            text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let status = self.status;
        if text.trim().is_empty() {
            format!("it answered {status}")
        } else {
            format!("it answered {status}: {}", text.trim())
        }
    }
}

/// The client.
pub(super) struct Client {
    dialer: Dialer,
    reactor: Reactor,
    sender: Option<SendRequest<Full<Bytes>>>,
    pass: Pass,
    compressed: bool,
    content_type: &'static str,
    /// What every request says beside what all of them say.
    more: Option<(HeaderName, HeaderValue)>,
}

impl Client {
    /// For the host of a place; a token goes with this word before it.
    pub(super) fn new(
        opening: &Opening<'_>,
        place: &Place,
        token_word: &'static str,
        content_type: &'static str,
    ) -> Result<Self, SinkError> {
        let told = |source| SinkError::Remote { output: opening.place().to_owned(), source };
        let host = place.only_host(opening.place())?;
        let remote = opening.remote();
        let proxy = Proxy::of(remote)?;
        let stays = host.is_loopback() && proxy.is_none();
        if !place.encrypted && !stays && (remote.token_file.is_some() || remote.user.is_some()) {
            let why = "its secret would cross the network for all to read: use https".to_owned();
            return Err(SinkError::Place { output: opening.place().to_owned(), why });
        }
        let pass = pass(remote, token_word).map_err(told)?;
        Ok(Self {
            dialer: Dialer::new(place, host, proxy, remote).map_err(told)?,
            reactor: Reactor::default(),
            sender: None,
            pass,
            compressed: remote.compressed,
            content_type,
            more: None,
        })
    }

    /// The same with a header more in each request.
    pub(super) fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { more: Some((name, value)), ..self }
    }

    /// The secret of now.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        self.pass.secret().map_or(Ok(()), Secret::refresh)
    }

    /// The next post goes over a connection of its own.
    pub(super) fn forget_connection(&mut self) {
        self.sender = None;
    }

    /// How long anything may take.
    pub(super) fn timeout(&self) -> Duration {
        self.dialer.timeout()
    }

    /// Wait, while the connection is kept.
    pub(super) fn pause(&mut self, time: Duration) -> io::Result<()> {
        self.reactor.run(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }

    /// Post this, and read what is answered.
    pub(super) fn post(&mut self, path: &str, body: Vec<u8>) -> io::Result<Answer> {
        let coded = self.compressed && !body.is_empty();
        let body = if coded { zipped(&body)? } else { body };
        let mut request = self.request(Method::POST, path, self.content_type, body)?;
        if coded {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        self.send(request)
    }

    /// The same by another method, or of another kind, and never compressed.
    pub(super) fn ask(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> io::Result<Answer> {
        let request = self.request(method, path, content_type, body)?;
        self.send(request)
    }

    fn send(&mut self, request: Request<Full<Bytes>>) -> io::Result<Answer> {
        let Self { dialer, reactor, sender, .. } = self;
        let kept = sender.take().filter(|sender| !sender.is_closed());
        let (answer, left) = reactor.run(async {
            if let Some(mut kept) = kept {
                // A connection may close while nothing is sent: that is no failure, and the request goes over another.
                match exchange(&mut kept, request.clone(), dialer.timeout()).await {
                    Ok(answer) => return Ok((answer, kept)),
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                    Err(error) => tracing::debug!(%error, "the connection that was kept is gone"),
                }
            }
            let mut fresh = connect(dialer).await?;
            let answer = exchange(&mut fresh, request, dialer.timeout()).await?;
            Ok((answer, fresh))
        })?;
        *sender = Some(left);
        Ok(answer)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> io::Result<Request<Full<Bytes>>> {
        let authority = self.dialer.authority();
        let forwarder = self.dialer.forwarder();
        let uri = forwarder.map_or_else(|| path.to_owned(), |_| format!("http://{authority}{path}"));
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("flowlog/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*")
            .header(CONTENT_TYPE, content_type);
        if let Some(pass) = forwarder.map(Proxy::pass).transpose()?.flatten() {
            request = request.header(PROXY_AUTHORIZATION, pass);
        }
        if let Some((name, value)) = &self.more {
            request = request.header(name, value);
        }
        if let Some(pass) = self.pass.header()? {
            request = request.header(AUTHORIZATION, pass);
        }
        request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)
    }
}

fn zipped(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    gzip.write_all(body)?;
    gzip.finish()
}

fn pass(remote: &Remote, word: &'static str) -> io::Result<Pass> {
    let read = |file: &PathBuf| Secret::read(file);
    Ok(match (&remote.token_file, &remote.user) {
        (Some(file), _) => Pass::Token(word, read(file)?),
        (None, Some((user, file))) => Pass::Password(user.clone(), read(file)?),
        (None, None) => Pass::None,
    })
}

async fn connect(dialer: &Dialer) -> io::Result<SendRequest<Full<Bytes>>> {
    let stream: Box<dyn Stream> = dialer.dial().await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends with its sender. What goes wrong with it the exchange tells.
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    limit: Duration,
) -> io::Result<Answer> {
    within(limit, async {
        sender.ready().await.map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let (status, wait) = (answer.status(), asked_wait(&answer));
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| io::Error::other(format!("read its answer: {error}")))?.to_bytes();
        Ok(Answer { status, wait, body })
    })
    .await
}

fn asked_wait<T>(answer: &Response<T>) -> Option<Duration> {
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let then = rfc2822::parse(text).ok()?.timestamp();
            then.duration_since(Timestamp::now()).try_into().unwrap_or_default()
        }
    };
    Some(wait.min(MAX_WAIT))
}
