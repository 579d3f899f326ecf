//! One DNS answer: which name was asked for, and which addresses it has by what the answer itself says.
//!
//! Believed is what leads from the one question to an address: the records of the name that was asked for, and of the
//! names that it is an alias of. Whatever else an answer holds (other owners, further sections) is passed over.

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::{Message, ParsedName, ParsedRecord};
use domain::rdata::{A, Aaaa, Cname};
use std::net::IpAddr;
use std::sync::Arc;

/// Aliases that are followed: resolvers give up after 8 to 16.
const MOST_ALIASES: usize = 16;
/// Records that are read; a message of 512 bytes cannot hold more of those that are of interest.
const MOST_RECORDS: usize = 64;
/// The longest name that a host can have, as text; what is written with escapes may be longer and names no host.
const NAME_BYTES: usize = 253;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for, in lower case, without the dot at its end.
    pub asked: Arc<str>,
    /// The name that it leads to, where it is an alias.
    pub canonical: Option<Arc<str>>,
    /// Its addresses, each with the seconds for which that holds.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// Why a message says nothing that is believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// No DNS message, or one that ends early.
    #[error("no readable DNS message: {0}")]
    Malformed(String),
    /// A query, an error, or another operation.
    #[error("no answer to a query")]
    NoAnswer,
    /// Not exactly one question, or one for something else than addresses.
    #[error("no single question for addresses")]
    Question,
    /// A name longer than a host's can be.
    #[error("a name of more than {NAME_BYTES} bytes")]
    LongName,
    /// Aliases that lead in a circle, or to no end.
    #[error("more than {MOST_ALIASES} aliases")]
    Aliases,
}

type Record<'a> = ParsedRecord<'a, [u8]>;

/// Read a message. One that is not `whole` is read as far as it goes; its addresses may then be fewer.
///
/// # Errors
/// What is said cannot be believed.
pub fn read(message: &[u8], whole: bool) -> Result<Answer, AnswerError> {
    let message = Message::from_slice(message).map_err(malformed)?;
    let header = message.header();
    if !header.qr() || header.opcode() != Opcode::QUERY || header.rcode() != Rcode::NOERROR {
        return Err(AnswerError::NoAnswer);
    }
    if message.header_counts().qdcount() != 1 {
        return Err(AnswerError::Question);
    }
    let question = message.sole_question().map_err(malformed)?;
    let of_addresses = [Rtype::A, Rtype::AAAA].contains(&question.qtype());
    if !of_addresses || question.qclass() != Class::IN {
        return Err(AnswerError::Question);
    }
    let asked = *question.qname();
    let records = read_records(message, whole)?;
    let (owner, alias_ttl_s) = follow(asked, &records)?;
    let addresses =
        records.iter().filter(|record| record.rtype() == question.qtype() && record.owner() == owner);
    let addresses = addresses.filter_map(|record| {
        let ip = address_of(record)?;
        Some((ip.to_canonical(), record.ttl().as_secs().min(alias_ttl_s)))
    });
    Ok(Answer {
        asked: text_of(&asked)?,
        canonical: if owner == asked { None } else { Some(text_of(&owner)?) },
        addresses: addresses.collect(),
    })
}

/// The answer's records that may lead to an address.
fn read_records(message: &Message<[u8]>, whole: bool) -> Result<Vec<Record<'_>>, AnswerError> {
    let mut records = Vec::new();
    for record in message.answer().map_err(malformed)?.take(MOST_RECORDS) {
        match record {
            Ok(record) if record.class() == Class::IN => records.push(record),
            Ok(_) => {}
            // What follows was not copied.
            Err(_) if !whole => break,
            Err(error) => return Err(malformed(error)),
        }
    }
    Ok(records)
}

/// From alias to alias, in whatever order they stand; and for how long the whole way holds.
fn follow<'a>(
    asked: ParsedName<&'a [u8]>,
    records: &[Record<'a>],
) -> Result<(ParsedName<&'a [u8]>, u32), AnswerError> {
    let (mut owner, mut ttl_s) = (asked, u32::MAX);
    for _ in 0..=MOST_ALIASES {
        let alias = records.iter().filter(|record| record.rtype() == Rtype::CNAME && record.owner() == owner);
        let next = alias.filter_map(|record| record.to_record::<Cname<_>>().ok().flatten()).next();
        let Some(next) = next else { return Ok((owner, ttl_s)) };
        ttl_s = ttl_s.min(next.ttl().as_secs());
        owner = *next.data().cname();
    }
    Err(AnswerError::Aliases)
}

fn address_of(record: &Record<'_>) -> Option<IpAddr> {
    let v4 = || record.to_record::<A>().ok().flatten().map(|record| record.data().addr().into());
    let v6 = || record.to_record::<Aaaa>().ok().flatten().map(|record| record.data().addr().into());
    v4().or_else(v6)
}

/// What is no printable ASCII is written as an escape, as in a zone file.
fn text_of(name: &ParsedName<&[u8]>) -> Result<Arc<str>, AnswerError> {
    let mut text = name.to_string();
    if text.len() > NAME_BYTES {
        return Err(AnswerError::LongName);
    }
    text.make_ascii_lowercase();
    Ok(text.into())
}

fn malformed(error: impl std::fmt::Display) -> AnswerError {
    AnswerError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{AnswerError, read};
    use std::net::IpAddr;

    const ADDRESS: [u8; 4] = [198, 51, 100, 7];
    /// Where the question's name begins.
    const ASKED: &[u8] = &[0xc0, 12];

    fn name(text: &str) -> Vec<u8> {
        let labels = text
            .split('.')
            .flat_map(|label| [&[u8::try_from(label.len()).unwrap()][..], label.as_bytes()].concat());
        labels.chain([0]).collect()
    }

    fn record(owner: &[u8], kind: u16, ttl_s: u32, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap();
        let words = [&kind.to_be_bytes()[..], &[0, 1], &ttl_s.to_be_bytes(), &length.to_be_bytes()].concat();
        [owner, &words, data].concat()
    }

    /// A response to a question of this type for `Api.Vendor.example`.
    fn response(kind: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let count = u8::try_from(records.len()).unwrap();
        let header = [0, 7, 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
        let question = [&name("Api.Vendor.example")[..], &kind.to_be_bytes(), &[0, 1]].concat();
        [&header[..], &question, &records.concat()].concat()
    }

    fn told(message: &[u8], whole: bool) -> (String, Option<String>, Vec<(IpAddr, u32)>) {
        let answer = read(message, whole).unwrap();
        (answer.asked.to_string(), answer.canonical.map(|name| name.to_string()), answer.addresses)
    }

    fn v4(last: u8, ttl_s: u32) -> (IpAddr, u32) {
        ([198, 51, 100, last].into(), ttl_s)
    }

    #[test]
    fn the_name_that_was_asked_for_is_told_and_the_one_it_leads_to() {
        let asked = || "api.vendor.example".to_owned();
        let plain = response(1, &[record(ASKED, 1, 60, &ADDRESS), record(ASKED, 1, 50, &[198, 51, 100, 8])]);
        assert_eq!(told(&plain, true), (asked(), None, vec![v4(7, 60), v4(8, 50)]));
        // Out of order, and in another case than was asked for.
        let aliased = response(
            1,
            &[
                record(&name("edge.cdn.example"), 1, 300, &ADDRESS),
                record(&name("CDN.example"), 5, 20, &name("Edge.cdn.example")),
                record(ASKED, 5, 3_600, &name("cdn.example")),
            ],
        );
        assert_eq!(told(&aliased, true), (asked(), Some("edge.cdn.example".to_owned()), vec![v4(7, 20)]));
        let v6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let sixth = response(28, &[record(ASKED, 28, 60, &v6), record(ASKED, 1, 60, &ADDRESS)]);
        assert_eq!(told(&sixth, true), (asked(), None, vec![(v6.into(), 60)]));
    }

    #[test]
    fn of_owners_that_the_question_does_not_lead_to_nothing_is_believed() {
        let other = record(&name("bank.example"), 1, 60, &ADDRESS);
        assert_eq!(told(&response(1, std::slice::from_ref(&other)), true).2, []);
        let own = record(ASKED, 1, 60, &[198, 51, 100, 8]);
        assert_eq!(told(&response(1, &[other, own]), true).2, [v4(8, 60)]);
        // The question itself leads elsewhere: addresses beside the alias are not the asked name's.
        let both = response(1, &[record(ASKED, 1, 60, &ADDRESS), record(ASKED, 5, 60, &name("cdn.example"))]);
        assert_eq!(told(&both, true).2, []);
    }

    #[test]
    fn a_message_that_was_cut_is_read_as_far_as_it_goes_and_a_whole_one_must_not_be() {
        let records: Vec<Vec<u8>> =
            (1..40).map(|last| record(&name("api.vendor.example"), 1, 60, &[198, 51, 100, last])).collect();
        let message = response(1, &records);
        let cut = &message[..500];
        let addresses = told(cut, false).2;
        assert_eq!((addresses.len(), addresses[0]), (13, v4(1, 60)));
        assert!(matches!(read(cut, true), Err(AnswerError::Malformed(_))));
        // Bytes of an older message behind this one are not its own.
        let behind = [&response(1, &records[..1])[..], &records[5]].concat();
        assert_eq!(told(&behind, false).2, [v4(1, 60)]);
    }

    #[test]
    fn what_is_no_answer_is_refused_with_its_reason() {
        let good = response(1, &[record(ASKED, 1, 60, &ADDRESS)]);
        let with = |at: usize, byte: u8| {
            let mut changed = good.clone();
            changed[at] = byte;
            changed
        };
        let circle = response(1, &[record(ASKED, 5, 60, ASKED)]);
        let loops = response(1, &[record(&[0xc0, 36], 1, 60, &ADDRESS)]);
        let long = {
            let label = [&[63][..], &[7; 63]].concat();
            let question = [&label[..], &label, &label, &[0, 0, 1, 0, 1]].concat();
            [&good[..12], &question, &record(ASKED, 1, 60, &ADDRESS)].concat()
        };
        let question = AnswerError::Question;
        let rows = [
            ("a query", with(2, 1), AnswerError::NoAnswer),
            ("an update", with(2, 0xa9), AnswerError::NoAnswer),
            ("an error", with(3, 0x83), AnswerError::NoAnswer),
            ("no question", with(5, 0), question.clone()),
            ("two questions", with(5, 2), question.clone()),
            ("a question for mail", with(33, 15), question.clone()),
            ("a question of another class", with(35, 3), question),
            ("an alias of itself", circle, AnswerError::Aliases),
            ("a name of controls, written longer than any host's", long, AnswerError::LongName),
        ];
        for (name, message, expected) in rows {
            assert_eq!(read(&message, true), Err(expected.clone()), "{name}");
            assert_eq!(read(&message, false), Err(expected), "{name}, cut");
        }
        for (name, message) in [
            ("nothing", Vec::new()),
            ("a header's half", good[..6].to_vec()),
            ("a name that leads to itself", loops),
            ("an address of three bytes", good[..good.len() - 1].to_vec()),
        ] {
            assert!(matches!(read(&message, true), Err(AnswerError::Malformed(_))), "{name}");
        }
    }

    #[test]
    fn controls_in_a_name_are_written_as_escapes() {
        let mut message = response(1, &[record(ASKED, 1, 60, &ADDRESS)]);
        message[13] = b'\n';
        message[14] = 0xe2;
        assert_eq!(told(&message, true).0, "\\010\\226i.vendor.example");
    }
}
