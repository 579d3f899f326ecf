//! rsyslog as Debian has it, over TCP and TLS. Where its package is unpacked `cargo xtask test` says.

use super::*;
use crate::sinks::tests::{LONG, encoder, gap, start, wait_until};
use crate::sinks::{Opening, QueueLimits, Remote, Request, Sinks, open};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use tempfile::TempDir;

/// A running rsyslog, which writes what comes into a file: header fields, then the message.
struct Rsyslog {
    folder: TempDir,
    child: Child,
    port: u16,
    tls: bool,
}

fn unpacked() -> PathBuf {
    let name = "FLOWLOG_RSYSLOG";
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: `cargo xtask test` sets it")).into()
}

/// A key with its certificate, of this authority or of itself.
fn certify(folder: &Path, name: &str, issuer: Option<&Issuer<'_, KeyPair>>) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca =
        if issuer.is_some() { IsCa::ExplicitNoCa } else { IsCa::Ca(BasicConstraints::Unconstrained) };
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    fs::write(folder.join(format!("{name}.pem")), certificate.unwrap().pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    Issuer::new(params, key)
}

impl Rsyslog {
    fn start(tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = certify(folder.path(), "ca", None);
        certify(folder.path(), "server", Some(&ca));
        certify(folder.path(), "client", Some(&ca));
        certify(folder.path(), "stranger", None);
        let (child, port) = run(folder.path(), tls, 0);
        Self { folder, child, port, tls }
    }

    fn remote(&self, ca: &str) -> Remote {
        let file = |name: &str| self.folder.path().join(name);
        Remote {
            ca_file: self.tls.then(|| file(ca)),
            certificate: self.tls.then(|| (file("client.pem"), file("client.key"))),
            timeout: Duration::from_secs(5),
            ..Remote::default()
        }
    }

    fn sinks(&self, ca: &str) -> Sinks {
        let scheme = if self.tls { "syslogs" } else { "syslog" };
        let request = Request {
            remote: self.remote(ca),
            ..Request::from(&*format!("{scheme}://127.0.0.1:{}", self.port))
        };
        let (_, output) = open(&Opening { request: &request, run: encoder().run(), number: 0 }).unwrap();
        start(output, QueueLimits::default()).0
    }

    fn stop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        (self.child, _) = run(self.folder.path(), self.tls, self.port);
    }

    fn got(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("got")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn numbers(&self) -> BTreeSet<u64> {
        let got = self.got();
        // The last may be half written yet.
        let records =
            got.iter().filter_map(|line| serde_json::from_str::<Value>(line.splitn(7, ' ').nth(6)?).ok());
        records.filter_map(|record| record["seq"].as_u64()).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(folder: &Path, tls: bool, port: u16) -> (Child, u16) {
    let root = unpacked();
    let libraries = fs::read_dir(root.join("usr/lib")).unwrap().map(|entry| entry.unwrap().path());
    let libraries = libraries.into_iter().find(|path| path.join("rsyslog").is_dir()).unwrap();
    let at = folder.display();
    let driver = match tls {
        true => r#" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid""#,
        false => "",
    };
    let text = format!(
        r#"global(workDirectory="{at}" defaultNetstreamDriverCAFile="{at}/ca.pem"
    defaultNetstreamDriverCertFile="{at}/server.pem" defaultNetstreamDriverKeyFile="{at}/server.key")
module(load="imtcp"{driver})
template(name="all" type="string" string="%pri% %timestamp:::date-rfc3339% %hostname% %app-name% %procid% %msgid% %msg%\n")
ruleset(name="keep") {{ action(type="omfile" file="{at}/got" template="all" asyncWriting="off" flushOnTXEnd="on") }}
input(type="imtcp" address="127.0.0.1" port="{port}" listenPortFileName="{at}/port" ruleset="keep")
"#
    );
    fs::write(folder.join("rsyslog.conf"), text).unwrap();
    let _ = fs::remove_file(folder.join("port"));
    let child = Command::new(root.join("usr/sbin/rsyslogd"))
        .args(["-n", "-f"])
        .arg(folder.join("rsyslog.conf"))
        .arg("-i")
        .arg(folder.join("pid"))
        .arg("-M")
        .arg(libraries.join("rsyslog"))
        .env("LD_LIBRARY_PATH", &libraries)
        .spawn()
        .unwrap();
    // It writes the port where it chose one.
    let mut found = port;
    wait_until("rsyslog listens", || {
        if port == 0 {
            let text = fs::read_to_string(folder.join("port")).unwrap_or_default();
            found = text.trim().parse().unwrap_or(0);
        }
        found != 0 && TcpStream::connect(("127.0.0.1", found)).is_ok()
    });
    (child, found)
}

/// As long as a line may be.
fn longest() -> Line {
    let mut reason = "x".repeat(crate::record::MAX_LINE_BYTES);
    loop {
        let time = jiff::Timestamp::UNIX_EPOCH;
        let gap = crate::record::Gap { from: time, to: time, reason: reason.clone() };
        let event = crate::record::AgentEvent::Gap(gap);
        match encoder().agent(&crate::record::Agent { time, event }) {
            Ok(line) if line.max_bytes() <= crate::record::MAX_LINE_BYTES => return line,
            _ => reason.pop(),
        };
    }
}

#[test]
#[ignore = "consumers: `cargo xtask test` installs them"]
fn rsyslog_takes_every_line_whole_over_tcp_and_tls() {
    for tls in [false, true] {
        let mut rsyslog = Rsyslog::start(tls);
        let sinks = rsyslog.sinks("ca.pem");
        for number in 0..3_000 {
            sinks.offer([gap(number)]);
        }
        sinks.offer([longest(), crate::record::tests::line(crate::model::Class::PolicyNotEnforced, 1)]);
        assert!(sinks.flush(LONG));
        sinks.finish(LONG);
        wait_until("all is written", || rsyslog.got().len() >= 3_002);
        rsyslog.stop();
        let got = rsyslog.got();
        assert_eq!(got.len(), 3_002, "tls {tls}");
        for (line, seq) in got.iter().zip(1_u64..) {
            let fields: Vec<&str> = line.splitn(7, ' ').collect();
            assert_eq!(fields[2..5], ["worker-1", "flowlog", "7f3a"], "{line}");
            let record: Value =
                serde_json::from_str(fields[6]).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(record["seq"], seq);
            let told: jiff::Timestamp = fields[1].parse().unwrap();
            let own: jiff::Timestamp = record["time"].as_str().unwrap().parse().unwrap();
            assert_eq!(told.as_microsecond(), own.as_microsecond(), "{line}");
        }
        let last = got.last().unwrap();
        assert!(last.starts_with("131 ") && last.contains(" policy_not_enforced {"), "{last}");
    }
}

#[test]
#[ignore = "consumers: `cargo xtask test` installs them"]
fn rsyslog_that_restarts_under_traffic_gets_every_line() {
    for tls in [false, true] {
        let mut rsyslog = Rsyslog::start(tls);
        let sinks = rsyslog.sinks("ca.pem");
        let mut number = 0;
        let mut offer = |count: usize| {
            for _ in 0..count {
                sinks.offer([gap(number)]);
                number += 1;
                std::thread::park_timeout(Duration::from_micros(200));
            }
        };
        for _ in 0..3 {
            offer(1_500);
            rsyslog.stop();
            offer(500);
            rsyslog.start_again();
        }
        offer(500);
        assert!(sinks.flush(LONG));
        let lost: u64 = sinks.finish(LONG).values().map(|counters| counters.lost_lines).sum();
        assert_eq!(lost, 0);
        wait_until("every number is there", || rsyslog.numbers().len() == 6_500);
    }
}

#[test]
#[ignore = "consumers: `cargo xtask test` installs them"]
fn rsyslog_of_another_authority_gets_nothing() {
    let rsyslog = Rsyslog::start(true);
    let sinks = rsyslog.sinks("stranger.pem");
    sinks.offer([gap(0)]);
    wait_until("it is refused", || sinks.counters().values().any(|counters| counters.failures > 0));
    let lost: u64 =
        sinks.finish(Duration::from_millis(300)).values().map(|counters| counters.lost_lines).sum();
    assert_eq!((lost, rsyslog.got().len()), (1, 0));
}
