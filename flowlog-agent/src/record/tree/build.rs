//! Serde to the tree: objects and lists as such, all else as its JSON text.

use super::{Key, Members, Node, Span};
use crate::record::json;
use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple,
    SerializeTupleStruct, Serializer,
};
use serde_json::Error;

/// The members of a record, whose values are appended to `text`.
pub(super) fn members<T: Serialize>(text: &mut Vec<u8>, record: &T) -> Result<Members, Error> {
    match record.serialize(Build(text))? {
        Node::Object(members) => Ok(members),
        _ => Err(Error::custom("a record that is no object")),
    }
}

struct Build<'a>(&'a mut Vec<u8>);

fn span<T: Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) -> Result<Span, Error> {
    let from = text.len();
    json::append(text, value)?;
    Ok(Span { from, to: text.len() })
}

impl Build<'_> {
    fn leaf<T: Serialize + ?Sized>(self, value: &T) -> Result<Node, Error> {
        span(self.0, value).map(Node::Leaf)
    }
}

macro_rules! leaves {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Node, Error> {
            self.leaf(&value)
        })*
    };
}

impl<'a> Serializer for Build<'a> {
    type Ok = Node;
    type Error = Error;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = Impossible<Node, Error>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Impossible<Node, Error>;

    leaves!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_str: &str
    );

    fn serialize_bytes(self, value: &[u8]) -> Result<Node, Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<Node, Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Node, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Node, Error> {
        self.leaf(&())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Node, Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Node, Error> {
        self.leaf(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Node, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Node, Error> {
        Ok(Node::object([(variant, value.serialize(self)?)]))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, Error> {
        Ok(Elements { text: self.0, elements: Vec::new() })
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, Error> {
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

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        Ok(Parts { text: self.0, members: Members::default(), key: None })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Parts<'a>, Error> {
        let members = Members(Vec::with_capacity(length));
        Ok(Parts { text: self.0, members, key: None })
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

/// A list in the making.
struct Elements<'a> {
    text: &'a mut Vec<u8>,
    elements: Vec<Node>,
}

impl Elements<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.elements.push(value.serialize(Build(self.text))?);
        Ok(())
    }
}

impl SerializeSeq for Elements<'_> {
    type Ok = Node;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.add(value)
    }

    fn end(self) -> Result<Node, Error> {
        Ok(Node::List(self.elements))
    }
}

impl SerializeTuple for Elements<'_> {
    type Ok = Node;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.add(value)
    }

    fn end(self) -> Result<Node, Error> {
        Ok(Node::List(self.elements))
    }
}

impl SerializeTupleStruct for Elements<'_> {
    type Ok = Node;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.add(value)
    }

    fn end(self) -> Result<Node, Error> {
        Ok(Node::List(self.elements))
    }
}

/// An object in the making.
struct Parts<'a> {
    text: &'a mut Vec<u8>,
    members: Members,
    key: Option<Span>,
}

impl SerializeMap for Parts<'_> {
    type Ok = Node;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let key = span(self.text, key)?;
        if self.text.get(key.from) != Some(&b'"') {
            return Err(Error::custom("a key that is no string"));
        }
        self.key = Some(key);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let Some(key) = self.key.take() else { return Err(Error::custom("a value without a key")) };
        let node = value.serialize(Build(self.text))?;
        self.members.0.push((Key::Text(key), node));
        Ok(())
    }

    fn end(self) -> Result<Node, Error> {
        Ok(Node::Object(self.members))
    }
}

impl SerializeStruct for Parts<'_> {
    type Ok = Node;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        let node = value.serialize(Build(self.text))?;
        self.members.0.push((Key::Field(key), node));
        Ok(())
    }

    fn end(self) -> Result<Node, Error> {
        Ok(Node::Object(self.members))
    }
}
