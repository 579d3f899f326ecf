//! How the API server is reached: by a kubeconfig, or as a pod of the cluster does.
//!
//! All that can be read and looked up is, before the agent is confined; what is read again later (a token that is
//! renewed, the resolver's files) is named, so that it stays within reach.

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tower::{BoxError, ServiceBuilder};

/// Which API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// That of a kubeconfig's context; its current one where none is named.
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// The context.
        context: Option<String>,
    },
    /// That of the cluster whose pod this is.
    InCluster,
    /// As kubectl finds it for the person who calls: the files of `$KUBECONFIG`, `~/.kube/config`, or in a pod its service
    /// account. Programs that make credentials are started, as there is somebody who waits for the answer.
    User {
        /// This kubeconfig in place of all those.
        file: Option<PathBuf>,
        /// The context.
        context: Option<String>,
    },
}

/// Why the API server cannot be reached, whatever it does.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig {} cannot be used: {source}", file.display())]
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// It wants a program run, or a service asked that this build does not know.
    #[error(
        "the kubeconfig {} has its credentials made by a program ({program}), which flowlog does not start: give it a \
         token, a token file or a client certificate",
        file.display()
    )]
    Program {
        /// The file.
        file: PathBuf,
        /// The program.
        program: String,
    },
    /// There is none where kubectl looks for one.
    #[error("there is no kubeconfig: {looked} is not there; give --kubeconfig FILE, or set KUBECONFIG")]
    Missing {
        /// Where was looked.
        looked: String,
    },
    /// It leads through a proxy.
    #[error(
        "the API server is reached through a proxy ({proxy}, by the kubeconfig's proxy-url or HTTPS_PROXY), which flowlog \
         does not use"
    )]
    Proxy {
        /// The proxy.
        proxy: String,
    },
    /// What a pod is given is not there.
    #[error("this is no pod with a service account's token: {0}; give --kubeconfig, or --manifests")]
    InCluster(#[from] InClusterError),
    /// No client can be made of it.
    #[error("make a client for the API server: {0}")]
    Client(#[source] kube::Error),
    /// Its address is none.
    #[error("the API server's address {0} has no host")]
    Host(Uri),
}

/// The folder of the service account of a pod.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What the resolver reads, where the API server has a name.
const RESOLVER: [&str; 5] =
    ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];

/// A peer that went without a word is noticed after these.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// Bytes that are read at a time: two events of a pod.
const READ_BYTES: usize = 16 << 10;

/// The way to an API server.
#[derive(Clone, Debug)]
pub struct Reach {
    config: Config,
    /// Files and folders that are read while it is used.
    pub reads: Vec<PathBuf>,
    /// TCP ports that it connects to.
    pub ports: Vec<u16>,
}

impl Reach {
    /// Reads what there is to read. Whether the API server answers is not asked.
    ///
    /// # Errors
    /// It could not be reached even if it answered.
    pub async fn find(access: &Access) -> Result<Self, ReachError> {
        let config = match access {
            Access::Kubeconfig { file, context } => {
                let config = by_kubeconfig(std::slice::from_ref(file), context.clone()).await?;
                refuse_programs(file, &config)?;
                config
            }
            Access::InCluster => Config::incluster()?,
            Access::User { file, context } => by_user(file.as_deref(), context.clone()).await?,
        };
        if let Some(proxy) = &config.proxy_url {
            return Err(ReachError::Proxy { proxy: proxy.to_string() });
        }
        let token_file = config.auth_info.token_file.as_ref().map(PathBuf::from);
        // A token is renewed by a new folder beside the old one: the folder above both stays.
        let mut reads: Vec<PathBuf> = token_file.iter().flat_map(|file| around(file)).collect();
        if *access == Access::InCluster {
            reads.push(PathBuf::from(SERVICE_ACCOUNT));
        }
        let host = config.cluster_url.host().ok_or_else(|| ReachError::Host(config.cluster_url.clone()))?;
        let https = config.cluster_url.scheme_str() == Some("https");
        let port = config.cluster_url.port_u16().unwrap_or(if https { 443 } else { 80 });
        let mut ports = vec![port];
        if host.trim_matches(['[', ']']).parse::<IpAddr>().is_err() {
            reads.extend(RESOLVER.iter().flat_map(|file| around_file(Path::new(file))));
            // Answers that are too long for a datagram.
            ports.push(53);
            // What the resolver loads is loaded before nothing can be loaded; its answer is asked for again.
            let _ = (host, port).to_socket_addrs();
        }
        Ok(Self { config, reads, ports })
    }

    /// As it is written.
    pub fn url(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// The same way, taken for another account: who goes it must have the right to act for that.
    #[must_use]
    pub fn taken_for(mut self, account: &str) -> Self {
        self.config.auth_info.impersonate = Some(account.to_owned());
        self.config.auth_info.impersonate_groups = None;
        self
    }

    /// The namespace that is meant where none is named.
    pub fn namespace(&self) -> &str {
        &self.config.default_namespace
    }

    /// The client, within the runtime that it is to be used in.
    pub(super) fn client(&self) -> Result<Client, ReachError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(Duration::from_secs(10)));
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        http.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        let https = self.config.rustls_https_connector_with_connector(http).map_err(ReachError::Client)?;
        // By default a connection that a list came by reads into 400 KiB at a time from then on, for one event.
        let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        let plain = builder.http1_read_buf_exact_size(READ_BYTES).build(https);
        // Kube's own stack tells each failure as an error of its own; here a kind tells of its state when it changes.
        let service = ServiceBuilder::new()
            .layer(self.config.base_uri_layer())
            .option_layer(self.config.auth_layer().map_err(ReachError::Client)?)
            // Who is impersonated (`as`, `as-groups`): left out, all would be asked in the name of another account.
            .layer(self.config.extra_headers_layer().map_err(ReachError::Client)?)
            .map_err(BoxError::from)
            .service(plain);
        Ok(Client::new(service, self.config.default_namespace.clone()))
    }
}

/// Files that are merged as kubectl does: what the first of them says stands.
async fn by_kubeconfig(files: &[PathBuf], context: Option<String>) -> Result<Config, ReachError> {
    let name = || match files {
        [one] => one.clone(),
        several => PathBuf::from(shown(several)),
    };
    let mut merged = Kubeconfig::default();
    for file in files {
        let failed = |source| ReachError::Kubeconfig { file: file.clone(), source };
        merged = merged.merge(Kubeconfig::read_from(file).map_err(failed)?).map_err(failed)?;
    }
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let made = Config::from_custom_kubeconfig(merged, &options).await;
    made.map_err(|source| ReachError::Kubeconfig { file: name(), source })
}

fn shown(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(":")
}

async fn by_user(file: Option<&Path>, context: Option<String>) -> Result<Config, ReachError> {
    if let Some(file) = file {
        return by_kubeconfig(&[file.to_owned()], context).await;
    }
    let files = user_files();
    // Of several, those that are not there are passed over, as kubectl does.
    let there: Vec<PathBuf> = files.iter().filter(|file| file.exists()).cloned().collect();
    match (there.is_empty(), std::env::var_os("KUBERNETES_SERVICE_HOST")) {
        (false, _) => by_kubeconfig(&there, context).await,
        (true, Some(_)) => Ok(Config::incluster()?),
        (true, None) => Err(ReachError::Missing { looked: shown(&files) }),
    }
}

/// Where kubectl looks for kubeconfigs.
fn user_files() -> Vec<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<PathBuf> =
        std::env::split_paths(&listed).filter(|file| !file.as_os_str().is_empty()).collect();
    match listed.is_empty() {
        false => listed,
        true => vec![std::env::home_dir().unwrap_or_else(|| PathBuf::from("~")).join(".kube/config")],
    }
}

fn refuse_programs(file: &Path, config: &Config) -> Result<(), ReachError> {
    let exec = config.auth_info.exec.as_ref().map(|exec| exec.command.clone().unwrap_or_default());
    let provider = config.auth_info.auth_provider.as_ref().map(|provider| provider.name.clone());
    match exec.or(provider) {
        Some(program) => Err(ReachError::Program { file: file.to_owned(), program }),
        None => Ok(()),
    }
}

/// The folder of a file that is replaced, and where it really lies.
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
