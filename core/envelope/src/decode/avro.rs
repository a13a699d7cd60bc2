//! Reading Avro binary.

use std::borrow::Cow;

use walbrook_model::Result;

use super::input::{Input, malformed};
use super::node::{Kind, Node};
use crate::hstore::Pair;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AvroIn<'a>(pub(crate) &'a [u8]);

impl<'a> AvroIn<'a> {
    pub(crate) fn long(&mut self) -> Result<i64> {
        let mut number = 0_u64;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7F);
            if index == 9 && bits > 1 {
                return Err(malformed());
            }
            number |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(index + 1..).unwrap_or_default();
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err(malformed())
    }

    /// The branch of a union.
    pub(crate) fn branch(&mut self) -> Result<usize> {
        usize::try_from(self.long()?).map_err(|_| malformed())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn sized(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.long()?).map_err(|_| malformed())?;
        self.take(len)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| malformed())
    }

    /// How many elements the next block has.
    fn block(&mut self) -> Result<i64> {
        let count = self.long()?;
        if count >= 0 {
            return Ok(count);
        }
        // A negative count is followed by the block's size.
        self.long()?;
        count.checked_neg().ok_or_else(malformed)
    }

    /// Passes over a value.
    pub(crate) fn skip(&mut self, node: &Node) -> Result<()> {
        match &node.kind {
            Kind::Null => {}
            Kind::Boolean => drop(self.take(1)?),
            Kind::Int16 | Kind::Int32 | Kind::Int64 | Kind::Enum => drop(self.long()?),
            Kind::Float32 => drop(self.take(4)?),
            Kind::Float64 => drop(self.take(8)?),
            Kind::Bytes | Kind::Text => drop(self.sized()?),
            Kind::Fixed(size) => drop(self.take(*size)?),
            Kind::Record(fields) => {
                for (_, field) in fields {
                    self.skip(field)?;
                }
            }
            Kind::Union(branches) => {
                let branch = self.branch()?;
                self.skip(branches.get(branch).ok_or_else(malformed)?)?;
            }
            Kind::List(items) => self.skip_blocks(|input| input.skip(items))?,
            Kind::Map(values) => self.skip_blocks(|input| {
                input.sized()?;
                input.skip(values)
            })?,
        }
        Ok(())
    }

    fn skip_blocks(&mut self, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(());
            }
            // Every element takes a byte at least (`node` sees to it), so the message bounds the work.
            for _ in 0..count {
                each(self)?;
            }
        }
    }
}

impl<'a> Input<'a> for AvroIn<'a> {
    fn boolean(&mut self) -> Result<bool> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(malformed()),
        }
    }

    fn int(&mut self) -> Result<i64> {
        self.long()
    }

    fn float32(&mut self) -> Result<f32> {
        self.fixed().map(f32::from_le_bytes)
    }

    fn float64(&mut self) -> Result<f64> {
        self.fixed().map(f64::from_le_bytes)
    }

    fn text(&mut self) -> Result<Cow<'a, str>> {
        std::str::from_utf8(self.sized()?).map(Cow::Borrowed).map_err(|_| malformed())
    }

    fn bytes(&mut self) -> Result<Cow<'a, [u8]>> {
        self.sized().map(Cow::Borrowed)
    }

    fn list(&mut self, optional: bool, each: &mut dyn FnMut(Option<&mut Self>) -> Result<()>) -> Result<()> {
        self.skip_blocks(|input| {
            if optional {
                match input.branch()? {
                    0 => return each(None),
                    1 => {}
                    _ => return Err(malformed()),
                }
            }
            each(Some(input))
        })
    }

    fn map(&mut self) -> Result<Vec<Pair<'a>>> {
        let mut pairs = Vec::new();
        self.skip_blocks(|input| {
            let key = input.text()?;
            let value = match input.branch()? {
                0 => None,
                1 => Some(input.text()?),
                _ => return Err(malformed()),
            };
            pairs.push((key, value));
            Ok(())
        })?;
        Ok(pairs)
    }

    fn variable_scale(&mut self) -> Result<(i64, Cow<'a, [u8]>)> {
        Ok((self.long()?, self.bytes()?))
    }

    fn point(&mut self) -> Result<(f64, f64)> {
        let coordinates = (self.float64()?, self.float64()?);
        for is_bytes in [true, false] {
            match (self.branch()?, is_bytes) {
                (0, _) => {}
                (1, true) => drop(self.sized()?),
                (1, false) => drop(self.long()?),
                _ => return Err(malformed()),
            }
        }
        Ok(coordinates)
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}
