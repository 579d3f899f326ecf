//! What a file of a spool holds: a head that says for which protocol, then records, each with its number, its length and a
//! checksum. What was torn by a crash or damaged is passed over, and the numbers tell how many went with it.

use super::parcel::Parcel;

/// Bytes of a head.
pub(super) const HEAD_BYTES: usize = 64;
const HEAD: &str = "flowlog-spool 1 ";

/// What every record begins with.
const MARK: [u8; 4] = *b"\xf1sp\n";
/// Mark, length of the body, checksum of all that follows.
const FRONT_BYTES: usize = 12;
/// Number and time.
const STAMP_BYTES: usize = 16;
/// No frame is longer: a line of 7,900 bytes and what a protocol puts around it.
pub(super) const MAX_RECORD_BYTES: usize = 65_536;

/// The head of a file for this protocol.
pub(super) fn head(kind: &str) -> [u8; HEAD_BYTES] {
    let mut head = [b' '; HEAD_BYTES];
    let text = HEAD.bytes().chain(kind.bytes());
    head.iter_mut().zip(text).for_each(|(to, from)| *to = from);
    if let Some(last) = head.last_mut() {
        *last = b'\n';
    }
    head
}

/// The protocol that a head names; absent where it is none.
pub(super) fn kind_of(head: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(head.get(..HEAD_BYTES)?).ok()?;
    Some(text.strip_prefix(HEAD)?.trim_end())
}

/// A record as it lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Numbers go up by one from record to record of a spool.
    pub(super) number: u64,
    /// When it was put there, milliseconds since 1970.
    pub(super) time_ms: u64,
    pub(super) parcel: Parcel,
    /// As its destination wants it.
    pub(super) frame: &'a [u8],
}

/// Append a record; its body is a parcel and a frame.
pub(super) fn append(out: &mut Vec<u8>, number: u64, time_ms: u64, body: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&time_ms.to_le_bytes());
    out.extend_from_slice(body);
    let sum = checksum(out.get(start + 4..start + 8), out.get(start + FRONT_BYTES..));
    if let Some(place) = out.get_mut(start + 8..start + FRONT_BYTES) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

fn checksum(length: Option<&[u8]>, rest: Option<&[u8]>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length.unwrap_or_default());
    hasher.update(rest.unwrap_or_default());
    hasher.finalize()
}

/// The record at the beginning of these bytes, and how many it takes; absent where there is no whole one.
pub(super) fn read(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let (mark, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let body = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if *mark != MARK || body > MAX_RECORD_BYTES {
        return None;
    }
    let all = rest.get(..STAMP_BYTES.checked_add(body)?)?;
    if checksum(Some(length), Some(all)) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (number, all) = all.split_first_chunk::<8>()?;
    let (time, body) = all.split_first_chunk::<8>()?;
    let (parcel, frame) = Parcel::read(body)?;
    let (number, time_ms) = (u64::from_le_bytes(*number), u64::from_le_bytes(*time));
    Some((Record { number, time_ms, parcel, frame }, FRONT_BYTES + STAMP_BYTES + body.len()))
}

/// Where the next whole record begins, from here on.
pub(super) fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let finder = memchr::memmem::find_iter(bytes.get(from..)?, &MARK);
    finder.map(|at| from + at).find(|at| bytes.get(*at..).is_some_and(|rest| read(rest).is_some()))
}

/// Most bytes that a record takes with this body.
pub(super) const fn record_bytes(body: usize) -> usize {
    FRONT_BYTES + STAMP_BYTES + body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Class;

    fn body(class: Class, attempts: u64, frame: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        Parcel::Flow { class, attempts }.append_to(&mut body);
        body.extend_from_slice(frame);
        body
    }

    #[test]
    fn every_class_comes_back() {
        for class in Class::ALL {
            let mut out = Vec::new();
            append(&mut out, 7, 8, &body(class, 3, b"{}\n"));
            let (record, bytes) = read(&out).unwrap();
            assert_eq!(bytes, out.len());
            assert_eq!((record.number, record.time_ms, record.frame), (7, 8, &b"{}\n"[..]));
            assert_eq!(record.parcel, Parcel::Flow { class, attempts: 3 });
        }
    }

    #[test]
    fn no_byte_may_change_and_none_may_lack() {
        let mut out = Vec::new();
        append(&mut out, 7, 8, &body(Class::Allowed, 3, b"frame"));
        for at in 0..out.len() {
            let mut changed = out.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed), None, "byte {at}");
            assert_eq!(read(&out[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn what_is_damaged_is_passed_over() {
        let mut out = Vec::new();
        append(&mut out, 1, 0, &body(Class::Allowed, 1, b"one"));
        let second = out.len();
        append(&mut out, 2, 0, &body(Class::Allowed, 1, &MARK));
        let third = out.len();
        append(&mut out, 3, 0, &body(Class::Allowed, 1, b"three"));
        out[second + 20] ^= 0xff;
        assert_eq!(find(&out, 0), Some(0));
        assert_eq!(find(&out, 1), Some(third), "neither the damaged one nor the mark within it");
        assert_eq!(find(&out, third + 1), None);
    }

    #[test]
    fn a_head_names_its_protocol() {
        assert_eq!(kind_of(&head("elastic")), Some("elastic"));
        assert_eq!(kind_of(b"something else"), None);
        assert_eq!(kind_of(&[0; HEAD_BYTES]), None);
    }
}
