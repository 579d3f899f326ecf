//! Of a certificate whose it is and until when it holds. rustls has judged it by then; only what is told is read here.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// What is told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// Whose it is: `O=Example, CN=siem.example.com`; empty where it does not say.
    pub(super) subject: String,
    /// Until when it holds.
    pub(super) until: Timestamp,
}

/// Tags of X.690 that a certificate is made of.
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// Parts of a name, by their identifiers (2.5.4.x), as RFC 4514 writes them.
const PARTS: [(&[u8], &str); 6] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
];

impl Certificate {
    /// Of a certificate in DER; absent where it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (certificate, _) = of_tag(SEQUENCE, der)?;
        let (signed, _) = of_tag(SEQUENCE, certificate)?;
        let rest = of_tag(VERSION, signed).map_or(signed, |(_, rest)| rest);
        let (_, rest) = of_tag(INTEGER, rest)?;
        let (_, rest) = of_tag(SEQUENCE, rest)?;
        let (_issuer, rest) = of_tag(SEQUENCE, rest)?;
        let (validity, rest) = of_tag(SEQUENCE, rest)?;
        let (subject, _) = of_tag(SEQUENCE, rest)?;
        let (_, _, until) = value(validity)?;
        Some(Self { subject: told(subject), until: time(until)? })
    }
}

/// The value at the beginning: its tag, its content, what follows.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let longest = bytes.len() <= 4;
            let length = bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            (length, longest.then_some(rest)?)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn of_tag(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    value(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// A name: sets of pairs.
fn told(mut name: &[u8]) -> String {
    let mut parts = Vec::new();
    while let Some((set, rest)) = of_tag(SET, name) {
        name = rest;
        let pair = of_tag(SEQUENCE, set).and_then(|(pair, _)| {
            let (identifier, rest) = of_tag(OBJECT_IDENTIFIER, pair)?;
            Some((identifier, value(rest)?.1))
        });
        let known = pair.and_then(|(identifier, text)| {
            let (_, name) = PARTS.iter().find(|(known, _)| *known == identifier)?;
            Some(format!("{name}={}", String::from_utf8_lossy(text)))
        });
        parts.extend(known);
    }
    parts.join(", ").chars().filter(|letter| !letter.is_control()).take(200).collect()
}

/// `YYMMDDhhmmssZ` (of 1950 to 2049) or `YYYYMMDDhhmmssZ`: RFC 5280 has no others.
fn time(der: &[u8]) -> Option<Timestamp> {
    let (tag, text, _) = value(der)?;
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        UTC_TIME if text < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Offset::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn made(until: (i32, u8, u8), parts: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, text) in parts {
            params.distinguished_name.push(kind.clone(), *text);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn it_says_whose_it_is_and_until_when() {
        for (until, parts, expected) in [
            ((2031, 2, 3), &[(DnType::CommonName, "siem.example.com")][..], "CN=siem.example.com"),
            (
                // A year that takes the longer form.
                (2051, 12, 31),
                &[(DnType::OrganizationName, "Exämple"), (DnType::CommonName, "siem")],
                "O=Exämple, CN=siem",
            ),
            ((2030, 1, 1), &[], ""),
        ] {
            let got = Certificate::read(&made(until, parts)).unwrap();
            assert_eq!(got.subject, expected);
            let date = got.until.to_string();
            assert_eq!(date, format!("{}-{:02}-{:02}T00:00:00Z", until.0, until.1, until.2));
        }
    }

    #[test]
    fn what_is_none_or_cut_is_none() {
        let der = made((2031, 2, 3), &[(DnType::CommonName, "a")]);
        for at in 0..der.len() {
            assert_eq!(Certificate::read(&der[..at]), None, "cut at {at}");
        }
        assert_eq!(Certificate::read(b"-----BEGIN CERTIFICATE-----"), None);
        assert_eq!(Certificate::read(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
