//! Where an output over the network is: `SCHEME://HOST[:PORT][/PATH]`.

use crate::sinks::SinkError;
use std::net::IpAddr;

/// Every scheme, whether it is encrypted, and the port that it has where none is named (0: it has to be named).
const SCHEMES: [(&str, bool, u16); 14] = [
    ("syslog", false, 601),
    ("syslogs", true, 6514),
    ("splunk+http", false, 8088),
    ("splunk+https", true, 8088),
    ("elastic+http", false, 9200),
    ("elastic+https", true, 9200),
    ("otlp+http", false, 4318),
    ("otlp+https", true, 4318),
    ("kafka", false, 9092),
    ("kafkas", true, 9093),
    ("ndjson+http", false, 80),
    ("ndjson+https", true, 443),
    ("http", false, 80),
    ("https", true, 443),
];

/// Whether a place, as the configuration writes it, is one of the network: nobody has a file of such a name.
pub(in crate::sinks) fn is_remote(place: &str) -> bool {
    scheme_of(place).is_some()
}

/// What is before `://`, where it could be a scheme.
fn scheme_of(place: &str) -> Option<&str> {
    let (scheme, _) = place.split_once("://")?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+';
    (!scheme.is_empty() && scheme.bytes().all(is_scheme)).then_some(scheme)
}

/// A place of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) scheme: &'static str,
    pub(super) encrypted: bool,
    /// Each host with its port; one, but for protocols that take several.
    pub(super) hosts: Vec<Host>,
    /// What follows, `/` included; empty where nothing does.
    pub(super) path: String,
}

/// A host with its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl Host {
    /// Whether it is known without asking for it.
    pub(super) fn is_address(&self) -> bool {
        self.name.parse::<IpAddr>().is_ok()
    }

    /// Whether nothing leaves this host.
    pub(super) fn is_loopback(&self) -> bool {
        self.name == "localhost" || self.name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// As a URL writes it.
    pub(super) fn authority(&self) -> String {
        if self.name.contains(':') {
            format!("[{}]:{}", self.name, self.port)
        } else {
            format!("{}:{}", self.name, self.port)
        }
    }
}

impl Place {
    /// What a place says.
    pub(super) fn of(place: &str) -> Result<Self, SinkError> {
        let wrong = |why: String| SinkError::Place { output: place.to_owned(), why };
        let (written, rest) = place.split_once("://").ok_or_else(|| wrong("it has no scheme".to_owned()))?;
        let known = SCHEMES.iter().find(|(scheme, ..)| *scheme == written);
        let Some((scheme, encrypted, port)) = known else {
            let names: Vec<&str> = SCHEMES.iter().map(|(scheme, ..)| *scheme).collect();
            return Err(wrong(format!("there is no `{written}`: {} are", names.join(", "))));
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(wrong(
                "a name or password has no place in it: give `username` and `password_file`, or `token_file`"
                    .to_owned(),
            ));
        }
        let hosts = authority.split(',').map(|host| host_of(host, *port)).collect::<Result<_, _>>();
        let hosts: Vec<Host> = hosts.map_err(wrong)?;
        Ok(Self { scheme, encrypted: *encrypted, hosts, path: path.to_owned() })
    }

    /// The one host of a protocol that takes one.
    pub(super) fn only_host(&self, output: &str) -> Result<&Host, SinkError> {
        match &*self.hosts {
            [host] => Ok(host),
            _ => {
                let why = format!("`{}` goes to one host", self.scheme);
                Err(SinkError::Place { output: output.to_owned(), why })
            }
        }
    }
}

fn host_of(written: &str, default: u16) -> Result<Host, String> {
    let bracketed = written.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (name, port) = match bracketed {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => written.split_once(':').map_or((written, None), |(name, port)| (name, Some(port))),
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("`{written}` is no host"));
    }
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0),
        None => Some(default).filter(|port| *port != 0),
    };
    let port = port.ok_or_else(|| format!("`{written}` has no port: write {name}:PORT"))?;
    Ok(Host { name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_with_host_port_and_path() {
        for (written, host, port, encrypted) in [
            ("syslog://logs.example.com", "logs.example.com", 601, false),
            ("syslogs://logs.example.com", "logs.example.com", 6514, true),
            ("syslogs://10.0.0.7:10514", "10.0.0.7", 10_514, true),
            ("syslog://[fd00::7]:601", "fd00::7", 601, false),
            ("syslog://[fd00::7]", "fd00::7", 601, false),
        ] {
            let place = Place::of(written).unwrap();
            assert_eq!(place.only_host(written).unwrap(), &Host { name: host.to_owned(), port }, "{written}");
            assert_eq!(place.encrypted, encrypted, "{written}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_by_name() {
        for (written, expected) in [
            ("sylog://host", "there is no `sylog`: syslog"),
            ("syslog://", "`` is no host"),
            ("syslog://host:x", "`host:x` has no port: write host:PORT"),
            ("syslog://host:0", "`host:0` has no port: write host:PORT"),
            ("syslog://me:secret@host", "a name or password has no place in it"),
        ] {
            let error = Place::of(written).unwrap_err().to_string();
            assert!(error.contains(expected), "{written}: {error}");
        }
        let error = Place::of("syslog://a,b").unwrap().only_host("syslog://a,b").unwrap_err().to_string();
        assert!(error.contains("`syslog` goes to one host"), "{error}");
    }

    #[test]
    fn files_are_no_places_of_the_network() {
        for (written, expected) in [
            ("syslog://host", true),
            ("elastic+https://host/i", true),
            ("nonsense://host", true),
            ("/var/log/a://b", false),
            ("stdout", false),
            ("a.json", false),
        ] {
            assert_eq!(is_remote(written), expected, "{written}");
        }
    }
}
