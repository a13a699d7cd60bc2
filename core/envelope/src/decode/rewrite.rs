//! Cells of types that no column of the model has: turned into text while they are read.

use walbrook_model::Result;

use super::input::{Input, malformed};
use super::shape::Eager;
use crate::encode::emit::Emit;
use crate::{bits, decimal};

/// Writes a cell, or a list of them, as text.
pub(super) fn rewrite<'a, I: Input<'a>, E: Emit>(
    eager: Eager,
    list: bool,
    nulls: bool,
    mut input: I,
    out: &mut E,
) -> Result<()> {
    let text = |input: &mut I| {
        let bytes = input.bytes()?;
        let text = match eager {
            Eager::Digits(scale) => decimal::to_text(&bytes, scale),
            Eager::Bits(length) => bits::to_text(&bytes, length),
        };
        text.ok_or_else(malformed)
    };
    if !list {
        out.text(&text(&mut input)?);
        return input.end();
    }
    let mut texts = Vec::new();
    input.list(nulls, &mut |input| {
        texts.push(input.map(text).transpose()?);
        Ok(())
    })?;
    out.list(texts.len());
    for (index, text) in texts.iter().enumerate() {
        out.item(index);
        match text {
            Some(text) => {
                if nulls {
                    out.some(1);
                }
                out.text(text);
            }
            None => out.null(0),
        }
    }
    out.list_end(texts.len());
    input.end()
}
