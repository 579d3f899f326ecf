//! Serde to compact JSON, the same values as `serde_json` writes, with nothing in it that a terminal or a reader of lines
//! could act on: its own serialiser escapes every key anew and writes a character at a time, which for lines made of short
//! members is most of the work.
//!
//! Keys of structs and words of enums are Rust identifiers, or named in their place by us, and need no escapes. A string that
//! needs any, and a number with a point, is left to `serde_json`.

use super::text;
use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple,
    SerializeTupleStruct, Serializer,
};
use serde_json::Error;

/// Append `value` as compact JSON.
pub(super) fn append<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    value.serialize(Json(out))
}

/// Keys are not as long as that; one that were would be written all the same.
const MOST_KEY: usize = 28;

struct Json<'a>(&'a mut Vec<u8>);

/// An array or object that has been begun.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
    end: u8,
}

impl<'a> Members<'a> {
    fn begin(out: &'a mut Vec<u8>, begin: u8, end: u8) -> Self {
        out.push(begin);
        Self { out, empty: true, end }
    }

    fn next(&mut self) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
    }

    /// Begin a member of a struct.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "where its key is known it is one copy of a constant")]
    fn key(&mut self, key: &'static str) {
        let mut piece = [b'"'; MOST_KEY + 4];
        let end = key.len() + 2;
        let (Some(room), true) = (piece.get_mut(2..end), key.len() <= MOST_KEY) else {
            self.next();
            append_plain(self.out, key);
            return self.out.push(b':');
        };
        room.copy_from_slice(key.as_bytes());
        piece[0] = b',';
        piece[end + 1] = b':';
        let begin = usize::from(std::mem::take(&mut self.empty));
        self.out.extend_from_slice(&piece[begin..end + 2]);
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.next();
        append(self.out, value)
    }

    fn finish(self) {
        self.out.push(self.end);
    }
}

/// Whether it is written as it is.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Most texts are short: the last piece overlaps the one before it, and no byte is looked at alone.
    let (pieces, _) = bytes.as_chunks::<16>();
    match (bytes.last_chunk::<16>(), bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(last), ..) => pieces.iter().all(all_plain) && all_plain(last),
        (None, Some(first), Some(last)) => all_plain(first) && all_plain(last),
        _ => bytes.iter().all(|byte| all_plain(&[*byte])),
    }
}

/// One pass without an early end is vectorised.
fn all_plain<const N: usize>(bytes: &[u8; N]) -> bool {
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
    bytes.iter().fold(true, |all, byte| all & plain(*byte))
}

fn append_plain(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            Ok(())
        })*
    };
}

impl<'a> Serializer for Json<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'a>;
    type SerializeTuple = Members<'a>;
    type SerializeTupleStruct = Members<'a>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Impossible<(), Error>;

    integers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    );

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        serde_json::to_writer(self.0, &value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        serde_json::to_writer(self.0, &value)
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        if is_plain(value) {
            append_plain(self.0, value);
            return Ok(());
        }
        let start = self.0.len();
        serde_json::to_writer(&mut *self.0, value)?;
        text::escape(self.0, start);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        append_plain(self.0, variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut members = Members::begin(self.0, b'{', b'}');
        members.serialize_entry(variant, value)?;
        members.finish();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(Members::begin(self.0, b'[', b']'))
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'a>, Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::custom(format!("{name}: no record has variants with unnamed fields")))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(Members::begin(self.0, b'{', b'}'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Error> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::custom(format!("{name}: no record has variants with fields")))
    }
}

impl SerializeSeq for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl SerializeTuple for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl SerializeTupleStruct for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.next();
        let begin = self.out.len();
        append(self.out, key)?;
        if self.out.get(begin) != Some(&b'"') {
            return Err(Error::custom("a key that is no string"));
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b':');
        append(self.out, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Error;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as its key is")]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.key(key);
        append(self.out, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_KEY, append};
    use crate::record::text;
    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn written<T: Serialize + ?Sized>(value: &T) -> String {
        let mut out = b"before".to_vec();
        append(&mut out, value).unwrap();
        String::from_utf8(out.split_off(6)).unwrap()
    }

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        TwoWords,
        Holding(u8),
    }

    #[derive(Serialize)]
    struct Inner<'a> {
        text: &'a str,
        none: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        skipped: Option<u8>,
    }

    #[derive(Serialize)]
    struct Outer<'a> {
        #[serde(flatten)]
        inner: Inner<'a>,
        words: [Word; 2],
        tuple: (i8, char, ()),
        map: BTreeMap<&'a str, f64>,
        empty: Vec<u8>,
        r#where: bool,
    }

    /// By serde_json, and what may forge a line escaped in all of it at once.
    fn expected<T: Serialize + ?Sized>(value: &T) -> String {
        let mut out = serde_json::to_vec(value).unwrap();
        text::escape(&mut out, 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_shape_that_records_have_is_written_as_serde_json_writes_it() {
        let outer = Outer {
            inner: Inner { text: "a \"b\" \\ \n \u{1f} \u{7f} ü", none: None, skipped: None },
            words: [Word::TwoWords, Word::Holding(7)],
            tuple: (i8::MIN, '"', ()),
            map: BTreeMap::from([("x\ty", 0.1), ("z", 1e300)]),
            empty: Vec::new(),
            r#where: true,
        };
        assert_eq!(written(&outer), expected(&outer));
        for number in [0, 1, -1, i64::MIN, i64::MAX] {
            assert_eq!(written(&number), number.to_string());
        }
        assert_eq!(written(&u64::MAX), u64::MAX.to_string());
    }

    /// Texts are looked at in pieces of eight and sixteen: no place of a text may be passed over.
    #[test]
    fn what_needs_an_escape_is_seen_at_every_place() {
        for length in 1..40 {
            for place in 0..length {
                for odd in ['"', '\\', '\n', '\u{1f}', '\u{7f}', '\u{202e}', 'ü'] {
                    let text: String = (0..length).map(|at| if at == place { odd } else { '~' }).collect();
                    assert_eq!(written(&text), expected(&text), "{odd:?} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn a_key_of_any_length_is_written() {
        #[derive(Serialize)]
        struct Long {
            k: u8,
            kkkkkkkkkkkkkkkkkkkkkkkkkkkk: u8,
            kkkkkkkkkkkkkkkkkkkkkkkkkkkkk: u8,
            z: u8,
        }
        assert_eq!("kkkkkkkkkkkkkkkkkkkkkkkkkkkk".len(), MOST_KEY);
        let long = Long { k: 1, kkkkkkkkkkkkkkkkkkkkkkkkkkkk: 2, kkkkkkkkkkkkkkkkkkkkkkkkkkkkk: 3, z: 4 };
        assert_eq!(written(&long), expected(&long));
    }

    #[test]
    fn a_key_that_is_no_string_is_an_error() {
        assert!(append(&mut Vec::new(), &BTreeMap::from([(1, 2)])).is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_written_as_serde_json_writes_it(value in values()) {
            prop_assert_eq!(written(&value), expected(&value));
        }
    }
}
