//! Reading JSON.

use std::borrow::Cow;

use walbrook_model::Result;

use super::document::{self, Object};
use super::input::{Input, malformed};
use crate::hstore::Pair;
use crate::text::unbase64;

/// One value that is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonIn<'a>(pub(crate) Option<&'a str>);

impl<'a> JsonIn<'a> {
    fn take(&mut self) -> Result<&'a str> {
        self.0.take().ok_or_else(malformed)
    }
}

impl<'a> Input<'a> for JsonIn<'a> {
    fn boolean(&mut self) -> Result<bool> {
        match self.take()? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(malformed()),
        }
    }

    fn int(&mut self) -> Result<i64> {
        self.take()?.parse().map_err(|_| malformed())
    }

    fn float32(&mut self) -> Result<f32> {
        match self.take()? {
            "\"NaN\"" => Ok(f32::NAN),
            "\"Infinity\"" => Ok(f32::INFINITY),
            "\"-Infinity\"" => Ok(f32::NEG_INFINITY),
            text => text.parse().map_err(|_| malformed()),
        }
    }

    fn float64(&mut self) -> Result<f64> {
        match self.take()? {
            "\"NaN\"" => Ok(f64::NAN),
            "\"Infinity\"" => Ok(f64::INFINITY),
            "\"-Infinity\"" => Ok(f64::NEG_INFINITY),
            text => text.parse().map_err(|_| malformed()),
        }
    }

    fn text(&mut self) -> Result<Cow<'a, str>> {
        document::string(self.take()?)
    }

    fn bytes(&mut self) -> Result<Cow<'a, [u8]>> {
        let text = self.text()?;
        unbase64(text.as_bytes()).map(Cow::Owned).ok_or_else(malformed)
    }

    fn list(&mut self, optional: bool, each: &mut dyn FnMut(Option<&mut Self>) -> Result<()>) -> Result<()> {
        for element in document::elements(self.take()?)? {
            match element.get() {
                "null" if optional => each(None)?,
                text => each(Some(&mut JsonIn(Some(text))))?,
            }
        }
        Ok(())
    }

    fn map(&mut self) -> Result<Vec<Pair<'a>>> {
        let object = Object::parse(self.take()?.as_bytes())?;
        let pair = |(name, value): (Cow<'a, str>, &'a serde_json::value::RawValue)| {
            let value = match value.get() {
                "null" => None,
                text => Some(document::string(text)?),
            };
            Ok((name, value))
        };
        object.into_pairs().into_iter().map(pair).collect()
    }

    fn variable_scale(&mut self) -> Result<(i64, Cow<'a, [u8]>)> {
        let object = Object::parse(self.take()?.as_bytes())?;
        Ok((JsonIn(object.value(0, "scale")).int()?, JsonIn(object.value(1, "value")).bytes()?))
    }

    fn point(&mut self) -> Result<(f64, f64)> {
        let object = Object::parse(self.take()?.as_bytes())?;
        Ok((JsonIn(object.value(0, "x")).float64()?, JsonIn(object.value(1, "y")).float64()?))
    }

    fn end(&self) -> Result<()> {
        if self.0.is_none() { Ok(()) } else { Err(malformed()) }
    }
}
