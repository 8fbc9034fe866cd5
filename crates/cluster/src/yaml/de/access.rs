//! What a list, a mapping and an enum's value give serde one by one.

use std::sync::Arc;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::{De, Fault, Result};
use crate::yaml::error::Reason;
use crate::yaml::node::{Entry, Node};

/// The items of a list.
pub(super) struct List<'a> {
    pub(super) items: std::iter::Enumerate<std::slice::Iter<'a, Arc<Node>>>,
}

impl<'a> SeqAccess<'a> for List<'a> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(De::new(item)).map(Some).map_err(|fault| fault.at(item.place).under_index(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The lines of a mapping.
pub(super) struct Map<'a> {
    pub(super) entries: std::slice::Iter<'a, Entry>,
    /// The fields that there are, for a type that has fields.
    pub(super) fields: Option<&'static [&'static str]>,
    pub(super) current: Option<&'a Entry>,
}

impl<'a> MapAccess<'a> for Map<'a> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        if let Some(fields) = self.fields
            && !fields.contains(&entry.key.as_str())
        {
            let fault: Fault = serde::de::Error::unknown_field(&entry.key, fields);
            return Err(fault.at(entry.place).under_key(&entry.key));
        }
        self.current = Some(entry);
        let key = BorrowedStrDeserializer::new(&entry.key);
        seed.deserialize(key).map(Some).map_err(|fault: Fault| fault.at(entry.place).under_key(&entry.key))
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value> {
        let entry = self.current.take().expect("serde asks for a value only after its key");
        seed.deserialize(De::new(&entry.value))
            .map_err(|fault| fault.at(entry.value.place).under_key(&entry.key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A value of an enum: its name alone, or as the one key of a mapping.
pub(super) struct Variant<'a> {
    pub(super) name: &'a str,
    pub(super) content: Option<&'a Node>,
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<(S::Value, Self)> {
        Ok((seed.deserialize(StrDeserializer::new(self.name))?, self))
    }
}

impl<'a> Variant<'a> {
    fn content(&self) -> Result<De<'a>> {
        self.content.map(De::new).ok_or_else(|| {
            Fault::new(Reason::WrongType {
                expected: format!("`{}` with a value", self.name),
                found: "the word alone".into(),
                instead: format!("`{}: …`", self.name),
            })
        })
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = Fault;

    fn unit_variant(self) -> Result<()> {
        match self.content {
            None => Ok(()),
            Some(node) => De::new(node).deserialize_unit(serde::de::IgnoredAny).map(|_| ()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<S::Value> {
        seed.deserialize(self.content()?).map_err(|fault| fault.under_key(self.name))
    }

    fn tuple_variant<V: Visitor<'a>>(self, length: usize, visitor: V) -> Result<V::Value> {
        self.content()?.deserialize_tuple(length, visitor).map_err(|fault| fault.under_key(self.name))
    }

    fn struct_variant<V: Visitor<'a>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.content()?.deserialize_struct("", fields, visitor).map_err(|fault| fault.under_key(self.name))
    }
}
