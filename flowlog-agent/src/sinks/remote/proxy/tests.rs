use super::*;
use crate::sinks::remote::http::server::{Kind, Server};
use crate::sinks::remote::probe::tests::relay;
use crate::sinks::tests::{LONG, encoder, gap, only, start, wait_until};
use crate::sinks::{Opening, QueueLimits, Request as Asked, SinkError, Standing, open, probe};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A proxy of others (proxy.py) that lets `me` in.
struct Gate {
    child: Child,
    port: u16,
}

impl Gate {
    fn start(folder: &Path) -> Self {
        let name = "FLOWLOG_CONSUMERS_PYTHON";
        let python =
            std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: `cargo xtask test` sets it"));
        let file = folder.join("port");
        let child = Command::new(python)
            .args(["-m", "proxy", "--hostname", "127.0.0.1", "--port", "0", "--basic-auth", "me:hush"])
            .args(["--num-workers", "1", "--num-acceptors", "1", "--port-file"])
            .arg(&file)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = 0;
        wait_until("the proxy listens", || {
            port = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            port != 0
        });
        Self { child, port }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn asked(place: &str, proxy: String, folder: &Path) -> Asked {
    let remote = Remote {
        timeout: Duration::from_secs(3),
        linger: Duration::from_millis(20),
        ca_file: Some(folder.join("ca.pem")),
        proxy: Some(ProxyPlace { to: proxy, user: Some(("me".to_owned(), folder.join("password"))) }),
        ..Remote::default()
    };
    Asked { remote, ..Asked::from(place) }
}

#[test]
#[ignore = "consumers: `cargo xtask test` installs them"]
fn a_proxy_of_others_brings_every_line_with_tls_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::start(folder.path());
    let server = Server::start(Kind::Lines);
    let encrypted = relay(folder.path(), server.port);
    let password = folder.path().join("password");
    for (place, names) in [
        (format!("https://localhost:{encrypted}/in"), &["connection", "proxy", "tls", "answer"][..]),
        (format!("http://127.0.0.1:{}/in", server.port), &["connection", "answer"]),
    ] {
        let request = asked(&place, format!("http://127.0.0.1:{}", gate.port), folder.path());
        fs::write(&password, "wrong").unwrap();
        let before = server.taken().len();
        let output = open(&Opening { request: &request, run: encoder().run(), number: 0 }).unwrap().1;
        let sinks = start(output, QueueLimits::default()).0;
        for number in 0..200 {
            sinks.offer([gap(number)]);
        }
        wait_until("the proxy refuses", || only(sinks.counters()).failures > 0);
        assert_eq!(server.taken().len(), before, "{place}: nobody goes round it");
        fs::write(&password, "hush").unwrap();
        assert!(sinks.flush(LONG), "{place}");
        let counters = only(sinks.finish(LONG));
        assert_eq!((counters.lines, counters.lost_lines), (200, 0), "{place}");
        assert_eq!(server.taken().len() - before, 200, "{place}");
        let found = probe(std::slice::from_ref(&request), encoder().run()).unwrap();
        let steps: Vec<&str> = found[0].steps.iter().map(|step| step.name).collect();
        assert_eq!(steps, names, "{place}: {found:?}");
        assert!(found[0].steps.iter().all(|step| step.standing == Standing::Fine), "{found:?}");
    }
    fs::write(&password, "wrong").unwrap();
    let request = asked("https://localhost:1/in", format!("http://127.0.0.1:{}", gate.port), folder.path());
    let found = probe(&[request], encoder().run()).unwrap();
    let last = found[0].steps.last().unwrap();
    assert_eq!((last.name, last.standing), ("proxy", Standing::Away), "{last:?}");
    assert!(last.found.contains("proxy_password_file"), "{last:?}");
}

fn refused(place: &str, proxy: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), "hush").unwrap();
    fs::write(folder.path().join("token"), "hush").unwrap();
    let mut request = asked(place, proxy.to_owned(), folder.path());
    request.remote.ca_file = None;
    request.remote.token_file = Some(folder.path().join("token"));
    let opened = open(&Opening { request: &request, run: encoder().run(), number: 0 });
    opened.err().map_or_else(String::new, |error: SinkError| error.to_string())
}

#[test]
fn what_goes_through_no_proxy_says_so() {
    for (place, proxy, expected) in [
        ("syslog://127.0.0.1", "http://127.0.0.1:3128", "a `proxy` is for outputs over HTTP alone"),
        ("kafka://127.0.0.1/flows", "http://127.0.0.1:3128", "a `proxy` is for outputs over HTTP alone"),
        ("http://127.0.0.1/", "socks5://127.0.0.1:1080", "there is no `socks5`"),
        ("http://127.0.0.1/", "syslog://127.0.0.1", "a proxy is `http://HOST:PORT`"),
        ("http://127.0.0.1/", "http://me:hush@127.0.0.1", "a name or password has no place in it"),
        // To this host a secret may go in the clear, to a proxy's not.
        ("http://127.0.0.1/", "http://127.0.0.1:3128", "its secret would cross the network for all to read"),
    ] {
        let error = refused(place, proxy);
        assert!(error.contains(expected), "{place} by {proxy}: {error}");
    }
}
