//! DNS messages by hand (RFC 1035): what a name server of the tests answers, and what asks it.

use anyhow::{Context, Result};
use std::net::IpAddr;
use std::str::FromStr;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const IN: u16 = 1;
/// Recursion desired; a response, and recursion available besides.
const QUERY: u16 = 0x0100;
const RESPONSE: u16 = 0x8180;
const NAME_ERROR: u16 = 3;
const HEADER_BYTES: usize = 12;

/// A record, as `name=value` on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub name: String,
    /// What it says.
    pub value: Value,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An address.
    Address(IpAddr),
    /// The name is an alias of another.
    Alias(String),
}

impl FromStr for Record {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = text.split_once('=').with_context(|| format!("`{text}` is no name=value"))?;
        let address = value.parse().map(Value::Address);
        Ok(Self { name: name.to_owned(), value: address.unwrap_or_else(|_| Value::Alias(value.to_owned())) })
    }
}

/// A question for the addresses of one family.
pub fn query(id: u16, name: &str, v6: bool) -> Vec<u8> {
    let mut message = header(id, QUERY, 1, 0);
    put_name(&mut message, name);
    put(&mut message, &[if v6 { AAAA } else { A }, IN]);
    message
}

/// An answer that nobody asked for: the name has this address.
pub fn forged(id: u16, name: &str, address: IpAddr) -> Result<Vec<u8>> {
    let record = Record { name: name.to_owned(), value: Value::Address(address) };
    answer(&query(id, name, address.is_ipv6()), &[record], 60)
}

/// The answer to a query, by these records.
pub fn answer(query: &[u8], records: &[Record], ttl_s: u32) -> Result<Vec<u8>> {
    let id = u16::from_be_bytes([*query.first().context("no id")?, *query.get(1).context("no id")?]);
    let (name, end) = name_at(query, HEADER_BYTES).context("no name")?;
    let question = query.get(HEADER_BYTES..end + 4).context("no question")?;
    let v6 = query.get(end..end + 2) == Some(&AAAA.to_be_bytes());
    let found = chain(&name, records, v6);
    let known = records.iter().any(|record| record.name == name.to_lowercase());
    let flags = if known { RESPONSE } else { RESPONSE | NAME_ERROR };
    let mut message = header(id, flags, 1, u16::try_from(found.len()).context("too many records")?);
    message.extend_from_slice(question);
    for record in found {
        put_name(&mut message, &record.name);
        let (kind, data) = data_of(&record.value);
        put(&mut message, &[kind, IN]);
        message.extend_from_slice(&ttl_s.to_be_bytes());
        put(&mut message, &[u16::try_from(data.len()).context("long data")?]);
        message.extend_from_slice(&data);
    }
    Ok(message)
}

/// The aliases from this name on, and the addresses of one family at their end.
fn chain<'a>(name: &str, records: &'a [Record], v6: bool) -> Vec<&'a Record> {
    let mut found = Vec::new();
    let mut name = name.to_lowercase();
    for _ in 0..16 {
        let alias = records.iter().find_map(|record| match &record.value {
            Value::Alias(to) if record.name == name => Some((record, to.clone())),
            _ => None,
        });
        let Some((record, to)) = alias else { break };
        found.push(record);
        name = to;
    }
    let of_family = |value: &Value| matches!(value, Value::Address(ip) if ip.is_ipv6() == v6);
    found.extend(records.iter().filter(|record| record.name == name && of_family(&record.value)));
    found
}

fn data_of(value: &Value) -> (u16, Vec<u8>) {
    match value {
        Value::Address(IpAddr::V4(ip)) => (A, ip.octets().to_vec()),
        Value::Address(IpAddr::V6(ip)) => (AAAA, ip.octets().to_vec()),
        Value::Alias(name) => {
            let mut data = Vec::new();
            put_name(&mut data, name);
            (CNAME, data)
        }
    }
}

fn header(id: u16, flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    let mut message = Vec::new();
    put(&mut message, &[id, flags, questions, answers, 0, 0]);
    message
}

fn put(message: &mut Vec<u8>, words: &[u16]) {
    words.iter().for_each(|word| message.extend_from_slice(&word.to_be_bytes()));
}

fn put_name(message: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
}

/// A name without compression, and where it ends.
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).into_owned());
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_followed_to_the_addresses_of_the_family_that_was_asked_for() {
        let written = ["www.example=cdn.example", "cdn.example=198.51.100.7", "cdn.example=2001:db8::7"];
        let records: Vec<Record> = written.iter().map(|text| text.parse().unwrap()).collect();
        let said = answer(&query(7, "WWW.example", true), &records, 60).unwrap();
        assert_eq!(said[..12], [0, 7, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]);
        assert!(said.ends_with(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets()));
        let none = answer(&query(7, "other.example", false), &records, 60).unwrap();
        assert_eq!(none[..8], [0, 7, 0x81, 0x83, 0, 1, 0, 0]);
    }
}
