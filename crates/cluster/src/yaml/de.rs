//! A serde deserializer over the tree: strict about fields and types, exact about places.

mod access;

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, Expected, Unexpected, Visitor};

use super::error::Reason;
use super::located::field;
use super::node::{Data, Entry, Node, Place};
use super::scalar::Meaning;
use super::suggest::nearest;
use access::{List, Map, Variant};

/// Why a value could not be read; the place and path are filled in on the way up.
#[derive(Debug)]
pub(super) struct Fault {
    reason: Box<Reason>,
    place: Option<Place>,
    /// Innermost first.
    path: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl Fault {
    fn new(reason: Reason) -> Self {
        Self { reason: Box::new(reason), place: None, path: Vec::new() }
    }

    /// What is known of the fault; without a place of its own it is the root's.
    pub(super) fn into_parts(self, root: &Node) -> (Place, String, Reason) {
        let path = self.path.iter().rev().fold(String::new(), |path, step| match step {
            Step::Key(key) => field(&path, key),
            Step::Index(index) => format!("{path}[{index}]"),
        });
        (self.place.unwrap_or(root.place), path, *self.reason)
    }

    fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    fn under_key(mut self, key: &str) -> Self {
        self.path.push(Step::Key(key.to_string()));
        self
    }

    fn under_index(mut self, index: usize) -> Self {
        self.path.push(Step::Index(index));
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Reason::Invalid(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        Self::new(Reason::WrongType { instead: expected.clone(), expected, found: found.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::new(Reason::UnknownValue {
            value: variant.into(),
            nearest: nearest(variant, known.iter().copied()).map(Into::into),
            known: known.iter().map(ToString::to_string).collect(),
        })
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Reason::UnknownField {
            field: field.into(),
            nearest: nearest(field, known.iter().copied()).map(Into::into),
            known: known.iter().map(ToString::to_string).collect(),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Reason::Missing { field: field.into() })
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct De<'a> {
    node: &'a Node,
}

type Result<T> = std::result::Result<T, Fault>;

impl<'a> De<'a> {
    pub(super) fn new(node: &'a Node) -> Self {
        Self { node }
    }

    fn wrong(&self, expected: &str, instead: impl Into<String>) -> Fault {
        Fault::new(Reason::WrongType {
            expected: expected.into(),
            found: self.node.words(),
            instead: instead.into(),
        })
        .at(self.node.place)
    }

    fn meaning(&self) -> Option<Meaning<'a>> {
        match &self.node.data {
            Data::Scalar(scalar) => Some(scalar.meaning()),
            _ => None,
        }
    }

    fn text(&self) -> Result<&'a str> {
        match (&self.node.data, self.meaning()) {
            (_, Some(Meaning::Text(text))) => Ok(text),
            (_, None | Some(Meaning::Null)) => Err(self.wrong("text", "text, in \"quotes\" if in doubt")),
            (Data::Scalar(scalar), _) => {
                Err(self.wrong("text", format!("it in quotes: \"{}\"", scalar.text)))
            }
            (Data::List(_) | Data::Map(_), _) => unreachable!("only scalars have a meaning"),
        }
    }

    fn list(&self) -> Result<&'a [Arc<Node>]> {
        match &self.node.data {
            Data::List(items) => Ok(items),
            _ => Err(self.wrong("a list", "each item on a line of its own behind `- `, or `[]` for none")),
        }
    }

    fn map(&self, fields: &[&str]) -> Result<&'a [Entry]> {
        match &self.node.data {
            Data::Map(entries) => Ok(entries),
            _ => {
                let known = match fields {
                    [] => "`key: value` lines, or `{}` for none".to_string(),
                    [only] => format!("`{only}: …`"),
                    [one, .., other] => {
                        format!("`field: value` lines with fields such as `{one}` and `{other}`")
                    }
                };
                Err(self.wrong("a mapping", known))
            }
        }
    }

    fn whole_number(&self, min: i128, max: i128) -> Result<i128> {
        match self.meaning() {
            Some(Meaning::Int(value)) if (min..=max).contains(&value) => Ok(value),
            Some(Meaning::Int(found)) => {
                Err(Fault::new(Reason::OutOfRange { found, min, max }).at(self.node.place))
            }
            Some(Meaning::Text(text)) if text.parse::<i64>().is_ok() => {
                Err(self.wrong("a whole number", format!("it without quotes: {text}")))
            }
            _ => Err(self.wrong("a whole number", format!("a whole number from {min} to {max}"))),
        }
    }

    /// Adds this node's place to a fault that came out of the reading of it.
    fn placed<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|fault| fault.at(self.node.place))
    }

    fn visit_map_of<V: Visitor<'a>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value> {
        let entries = self.map(fields.unwrap_or_default())?;
        self.placed(visitor.visit_map(Map { entries: entries.iter(), fields, current: None }))
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
            let value = self.whole_number(<$type>::MIN as i128, <$type>::MAX as i128)?;
            self.placed(visitor.$visit(value as $type))
        }
    )*};
}

impl<'a> Deserializer<'a> for De<'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match (&self.node.data, self.meaning()) {
            (Data::List(_), _) => self.deserialize_seq(visitor),
            (Data::Map(_), _) => self.deserialize_map(visitor),
            (Data::Scalar(_), meaning) => self.placed(match meaning.unwrap_or(Meaning::Null) {
                Meaning::Null => visitor.visit_unit(),
                Meaning::Bool(value) => visitor.visit_bool(value),
                Meaning::Float(value) => visitor.visit_f64(value),
                Meaning::Text(text) => visitor.visit_borrowed_str(text),
                Meaning::Unclear(value) => {
                    Err(self.wrong("a value with one meaning", format!("{value}, or the word in quotes")))
                }
                Meaning::Int(value) => match (i64::try_from(value), u64::try_from(value)) {
                    (Ok(value), _) => visitor.visit_i64(value),
                    (_, Ok(value)) => visitor.visit_u64(value),
                    _ => visitor.visit_i128(value),
                },
            }),
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.meaning() {
            Some(Meaning::Bool(value)) => self.placed(visitor.visit_bool(value)),
            Some(Meaning::Unclear(value)) => Err(self.wrong("true or false", value.to_string())),
            Some(Meaning::Text(text @ ("true" | "false"))) => {
                Err(self.wrong("true or false", format!("{text} without quotes")))
            }
            _ => Err(self.wrong("true or false", "one of them")),
        }
    }

    whole_numbers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.meaning() {
            Some(Meaning::Float(value)) => self.placed(visitor.visit_f64(value)),
            Some(Meaning::Int(value)) => self.placed(visitor.visit_f64(value as f64)),
            _ => Err(self.wrong("a number", "a number without quotes")),
        }
    }

    fn deserialize_char<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        let text = self.text()?;
        self.placed(visitor.visit_borrowed_str(text))
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        if self.node.is_null() { visitor.visit_none() } else { self.placed(visitor.visit_some(self)) }
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        if self.node.is_null() { visitor.visit_unit() } else { Err(self.wrong("nothing", "null")) }
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.placed(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.placed(visitor.visit_seq(List { items: self.list()?.iter().enumerate() }))
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, length: usize, visitor: V) -> Result<V::Value> {
        if self.list()?.len() != length {
            return Err(self.wrong(&format!("a list of {length}"), format!("exactly {length} items")));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.visit_map_of(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.visit_map_of(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.placed(match &self.node.data {
            Data::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(Variant { name: &entries[0].key, content: Some(&entries[0].value) })
            }
            Data::Map(_) | Data::List(_) => {
                Err(self.wrong("one value", format!("one of `{}`", variants.join("`, `"))))
            }
            Data::Scalar(_) => visitor.visit_enum(Variant { name: self.text()?, content: None }),
        })
    }

    fn deserialize_identifier<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }
}
