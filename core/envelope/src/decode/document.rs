//! JSON documents whose values stay slices of the message.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use walbrook_model::Result;

use super::input::malformed;

/// An object: names and values, in order.
#[derive(Debug)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads an object.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self> {
        serde_json::from_slice(text).map_err(|_| malformed())
    }

    /// The value at a name, which is likely the one at `index`.
    pub(crate) fn value(&self, index: usize, name: &str) -> Option<&'a str> {
        let likely = self.0.get(index).filter(|(known, _)| known == name);
        likely.or_else(|| self.0.iter().find(|(known, _)| known == name)).map(|(_, value)| value.get())
    }

    /// The value at a name.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.value(usize::MAX, name)
    }

    pub(crate) fn into_pairs(self) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(16));
                while let Some(Name(name)) = map.next_key()? {
                    pairs.push((name, map.next_value()?));
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The elements of a list.
pub(crate) fn elements(text: &str) -> Result<Vec<&RawValue>> {
    serde_json::from_str(text).map_err(|_| malformed())
}

/// A string.
pub(crate) fn string(text: &str) -> Result<Cow<'_, str>> {
    serde_json::from_str::<Name<'_>>(text).map(|name| name.0).map_err(|_| malformed())
}
