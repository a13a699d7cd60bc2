//! Reads Avro object containers of any writer: any field order, compressed or not.
//!
//! Nothing in a file can make it panic or allocate more than the file justifies.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use serde_json::Value as Json;
use walbrook_model::{Error, Result};

use crate::avro::MAGIC;

/// Blocks do not unpack to more than this.
const BLOCK_BYTES_MAX: usize = 1 << 30;
/// Types and values do not nest deeper than this.
const DEPTH_MAX: u32 = 32;

/// The records of a file.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if the bytes are no Avro file of records, [`walbrook_model::ErrorKind::Config`]
/// if they are packed in a way that we cannot read.
pub(crate) fn records(file: &[u8]) -> Result<Vec<Record>> {
    let mut input = Input(file.strip_prefix(MAGIC).ok_or_else(|| Error::data("not an Avro file"))?);
    let header = input.header()?;
    let codec = header.get("avro.codec").map_or(&b"null"[..], |codec| codec);
    let schema = header.get("avro.schema").and_then(|schema| serde_json::from_slice(schema).ok());
    let mut types = Types::default();
    let root = schema.as_ref().and_then(|schema| types.parse(schema, 0)).ok_or_else(damaged)?;
    let sync = input.take(16)?;
    let mut records = Vec::new();
    while !input.0.is_empty() {
        let count = input.count()?;
        let size = input.count()?;
        let block = unpack(codec, input.take(size)?)?;
        if input.take(16)? != sync {
            return Err(damaged());
        }
        let mut block = Input(&block);
        for _ in 0..count {
            match block.value(&types, &root, 0)? {
                Value::Record(record) => records.push(record),
                _ => return Err(damaged()),
            }
        }
        if !block.0.is_empty() {
            return Err(damaged());
        }
    }
    Ok(records)
}

fn damaged() -> Error {
    Error::data("damaged Avro file")
}

/// The error of a field that is missing or is something else.
pub(crate) fn unexpected(name: &str) -> Error {
    Error::data(format!("field {name} is missing or not of its type"))
}

fn unpack(codec: &[u8], block: &[u8]) -> Result<Vec<u8>> {
    match codec {
        b"null" => Ok(block.to_vec()),
        b"deflate" => miniz_oxide::inflate::decompress_to_vec_with_limit(block, BLOCK_BYTES_MAX).map_err(|_| damaged()),
        b"zstandard" => {
            let mut bytes = Vec::new();
            let unpacked = zstd::Decoder::with_buffer(block)
                .and_then(|decoder| decoder.take(BLOCK_BYTES_MAX as u64).read_to_end(&mut bytes));
            unpacked.map(|_| bytes).map_err(|error| damaged().because(error))
        }
        other => Err(Error::config(format!("Avro codec {} is not supported", String::from_utf8_lossy(other)))),
    }
}

/// A type of the writer's schema.
#[derive(Clone, Debug)]
enum Type {
    Null,
    Boolean,
    Int,
    Float,
    Double,
    Bytes,
    Fixed(usize),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    /// A place in [`Types::named`].
    Named(usize),
}

/// Named types, which others refer to.
#[derive(Default)]
struct Types {
    places: HashMap<String, usize>,
    named: Vec<Named>,
}

#[derive(Clone, Debug)]
enum Named {
    /// Known by name only, as long as its own fields are parsed.
    Open,
    Record {
        names: Arc<[String]>,
        types: Vec<Type>,
    },
    Other(Type),
}

impl Types {
    fn parse(&mut self, schema: &Json, depth: u32) -> Option<Type> {
        if depth > DEPTH_MAX {
            return None;
        }
        match schema {
            Json::String(name) => self.by_name(name),
            Json::Array(branches) => {
                let branches = branches.iter().map(|branch| self.parse(branch, depth + 1));
                branches.collect::<Option<_>>().map(Type::Union)
            }
            Json::Object(object) => match object.get("type")?.as_str() {
                Some("array") => Some(Type::Array(Box::new(self.parse(object.get("items")?, depth + 1)?))),
                Some("map") => Some(Type::Map(Box::new(self.parse(object.get("values")?, depth + 1)?))),
                Some("enum") => Some(self.name(object, Named::Other(Type::Int))),
                Some("fixed") => {
                    let size = usize::try_from(object.get("size")?.as_u64()?).ok()?;
                    Some(self.name(object, Named::Other(Type::Fixed(size))))
                }
                Some("record") => self.record(object, depth),
                _ => self.parse(object.get("type")?, depth + 1),
            },
            _ => None,
        }
    }

    fn by_name(&self, name: &str) -> Option<Type> {
        Some(match name {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" | "long" => Type::Int,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" | "string" => Type::Bytes,
            other => Type::Named(*self.places.get(other)?),
        })
    }

    fn name(&mut self, object: &serde_json::Map<String, Json>, named: Named) -> Type {
        let place = self.named.len();
        if let Some(name) = object.get("name").and_then(Json::as_str) {
            self.places.insert(name.to_owned(), place);
        }
        self.named.push(named);
        Type::Named(place)
    }

    fn record(&mut self, object: &serde_json::Map<String, Json>, depth: u32) -> Option<Type> {
        let record = self.name(object, Named::Open);
        let fields = object.get("fields")?.as_array()?;
        let names = fields.iter().map(|field| field.get("name")?.as_str().map(str::to_owned));
        let names = names.collect::<Option<Arc<[String]>>>()?;
        let types = fields.iter().map(|field| self.parse(field.get("type")?, depth + 1)).collect::<Option<_>>()?;
        if let Type::Named(place) = record {
            self.named[place] = Named::Record { names, types };
        }
        Some(record)
    }
}

/// A value, as far as manifests need it.
#[derive(Debug, PartialEq)]
enum Value {
    Null,
    /// An integer of either width.
    Int(i64),
    /// Bytes or a string.
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Record(Record),
    /// Something that manifests have no use for.
    Other,
}

/// A record, whose fields are taken out one by one.
#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    names: Arc<[String]>,
    values: Vec<Value>,
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn long(&mut self) -> Result<i64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or_else(damaged)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err(damaged())
    }

    /// How many bytes or things follow, each of which takes at least a byte.
    fn count(&mut self) -> Result<usize> {
        let count = self.long()?;
        usize::try_from(count).ok().filter(|count| *count <= self.0.len()).ok_or_else(damaged)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = self.count()?;
        self.take(count)
    }

    /// How many items the next block of an array or a map has; 0 behind the last one.
    fn block(&mut self) -> Result<usize> {
        let count = self.long()?;
        if count < 0 {
            // The size of the block in bytes follows.
            self.long()?;
        }
        usize::try_from(count.unsigned_abs()).ok().filter(|count| *count <= self.0.len()).ok_or_else(damaged)
    }

    fn header(&mut self) -> Result<HashMap<&'a str, &'a [u8]>> {
        let mut header = HashMap::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(header);
            }
            for _ in 0..count {
                let key = std::str::from_utf8(self.bytes()?).map_err(|_| damaged())?;
                header.insert(key, self.bytes()?);
            }
        }
    }

    fn value(&mut self, types: &Types, ty: &Type, depth: u32) -> Result<Value> {
        if depth > DEPTH_MAX {
            return Err(damaged());
        }
        Ok(match ty {
            Type::Null => Value::Null,
            Type::Boolean => self.take(1).map(|_| Value::Other)?,
            Type::Int => Value::Int(self.long()?),
            Type::Float => self.take(4).map(|_| Value::Other)?,
            Type::Double => self.take(8).map(|_| Value::Other)?,
            Type::Bytes => Value::Bytes(self.bytes()?.to_vec()),
            Type::Fixed(size) => Value::Bytes(self.take(*size)?.to_vec()),
            Type::Array(items) => Value::Array(self.array(types, items, false, depth)?),
            Type::Map(values) => self.array(types, values, true, depth).map(|_| Value::Other)?,
            Type::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|at| branches.get(at)).ok_or_else(damaged)?;
                self.value(types, branch, depth + 1)?
            }
            Type::Named(place) => match types.named.get(*place) {
                Some(Named::Record { names, types: fields }) => {
                    let values = fields.iter().map(|field| self.value(types, field, depth + 1));
                    Value::Record(Record { names: Arc::clone(names), values: values.collect::<Result<_>>()? })
                }
                Some(Named::Other(ty)) => self.value(types, ty, depth + 1)?,
                Some(Named::Open) | None => return Err(damaged()),
            },
        })
    }

    fn array(&mut self, types: &Types, items: &Type, keyed: bool, depth: u32) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(values);
            }
            for _ in 0..count {
                if keyed {
                    self.bytes()?;
                }
                values.push(self.value(types, items, depth + 1)?);
            }
        }
    }
}

impl Record {
    /// Takes a field; `None` if it is null or the writer does not know it.
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.names.iter().position(|field| field == name)?;
        let value = std::mem::replace(self.values.get_mut(at)?, Value::Null);
        (value != Value::Null).then_some(value)
    }

    /// An integer of either width.
    pub(crate) fn long(&mut self, name: &str) -> Result<Option<i64>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Int(v)) => Ok(Some(v)),
            Some(_) => Err(unexpected(name)),
        }
    }

    /// An integer that counts something.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>> {
        self.long(name)?.map(|v| u64::try_from(v).map_err(|_| unexpected(name))).transpose()
    }

    /// A string.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>> {
        self.bytes(name)?.map(|v| String::from_utf8(v).map_err(|_| unexpected(name))).transpose()
    }

    /// Bytes.
    pub(crate) fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bytes(v)) => Ok(Some(v)),
            Some(_) => Err(unexpected(name)),
        }
    }

    /// A record.
    pub(crate) fn record(&mut self, name: &str) -> Result<Self> {
        match self.take(name) {
            Some(Value::Record(record)) => Ok(record),
            _ => Err(unexpected(name)),
        }
    }

    /// An array of integers.
    pub(crate) fn longs(&mut self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Array(items) = value else { return Err(unexpected(name)) };
        let each = items.into_iter().map(|item| if let Value::Int(v) = item { Ok(v) } else { Err(unexpected(name)) });
        each.collect::<Result<_>>().map(Some)
    }

    /// A map from field ids, which Avro can only hold as an array of `key` and `value`.
    pub(crate) fn by_id<T>(
        &mut self,
        name: &str,
        value: impl Fn(&mut Self, &str) -> Result<Option<T>>,
    ) -> Result<Vec<(i32, T)>> {
        let Some(list) = self.take(name) else { return Ok(Vec::new()) };
        let Value::Array(items) = list else { return Err(unexpected(name)) };
        let each = items.into_iter().map(|item| {
            let Value::Record(mut pair) = item else { return Err(unexpected(name)) };
            let key = pair.long("key")?.and_then(|key| i32::try_from(key).ok()).ok_or_else(|| unexpected(name))?;
            let value = value(&mut pair, "value")?.ok_or_else(|| unexpected(name))?;
            Ok((key, value))
        });
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Value as Theirs;
    use apache_avro::{Codec, DeflateSettings, ZstandardSettings};
    use proptest::prelude::*;

    use super::*;
    use crate::avro::{array, bytes, container, long, optional};

    #[test]
    fn what_is_written_is_read_back() {
        let schema = r#"{"type":"record","name":"r","fields":[{"name":"a","type":"long"},
            {"name":"b","type":["null","string"]},{"name":"c","type":{"type":"array","items":"long"}}]}"#;
        let rows = [(0, None, vec![]), (-1, Some("x"), vec![1, -2]), (i64::MIN, Some(""), vec![i64::MAX])];
        let mut body = Vec::new();
        for (a, b, c) in &rows {
            long(&mut body, *a);
            optional(&mut body, *b, |out, b| bytes(out, b.as_bytes()));
            array(&mut body, c, |out, item| long(out, *item));
        }
        let file = container(schema, &[("k", "v".to_owned())], rows.len(), &body);
        let read: Vec<_> = records(&file).unwrap();
        assert_eq!(read.len(), rows.len());
        for (mut record, (a, b, c)) in read.into_iter().zip(rows) {
            assert_eq!(record.long("a").unwrap(), Some(a));
            assert_eq!(record.string("b").unwrap().as_deref(), b);
            assert_eq!(record.longs("c").unwrap(), Some(c));
        }
        assert!(records(&container(schema, &[], 0, &[])).unwrap().is_empty());
    }

    /// Files of another writer, of every codec and of types that we never write.
    #[test]
    fn files_of_others_are_read() {
        let schema = r#"{"type":"record","name":"r","fields":[
            {"name":"e","type":{"type":"enum","name":"colour","symbols":["red","green"]}},
            {"name":"m","type":{"type":"map","values":"double"}},
            {"name":"again","type":"colour"},
            {"name":"f","type":{"type":"fixed","name":"two","size":2}},
            {"name":"b","type":["string","null","boolean"]},
            {"name":"x","type":{"type":"record","name":"inner","fields":[{"name":"t","type":"float"}]}},
            {"name":"n","type":"long"}]}"#;
        let schema = apache_avro::Schema::parse_str(schema).unwrap();
        let row = |number: i64| {
            Theirs::Record(vec![
                ("e".to_owned(), Theirs::Enum(1, "green".to_owned())),
                ("m".to_owned(), Theirs::Map([("k".to_owned(), Theirs::Double(1.5))].into())),
                ("again".to_owned(), Theirs::Enum(0, "red".to_owned())),
                ("f".to_owned(), Theirs::Fixed(2, vec![7, 8])),
                ("b".to_owned(), Theirs::Union(0, Box::new(Theirs::String("text".to_owned())))),
                ("x".to_owned(), Theirs::Record(vec![("t".to_owned(), Theirs::Float(0.5))])),
                ("n".to_owned(), Theirs::Long(number)),
            ])
        };
        for codec in
            [Codec::Null, Codec::Deflate(DeflateSettings::default()), Codec::Zstandard(ZstandardSettings::default())]
        {
            let mut writer = apache_avro::Writer::with_codec(&schema, Vec::new(), codec);
            for number in 0..5000 {
                writer.append(row(number)).unwrap();
            }
            let read = records(&writer.into_inner().unwrap()).unwrap();
            assert_eq!(read.len(), 5000);
            for (number, mut record) in (0..).zip(read) {
                assert_eq!(record.long("n").unwrap(), Some(number));
                assert_eq!(record.bytes("f").unwrap(), Some(vec![7, 8]));
                assert_eq!(record.string("b").unwrap().as_deref(), Some("text"));
                assert_eq!(record.long("again").unwrap(), Some(0));
                assert!(record.string("n").is_ok_and(|none| none.is_none()), "a field is taken once");
            }
        }
        let mut snappy = apache_avro::Writer::with_codec(&schema, Vec::new(), Codec::Snappy);
        snappy.append(row(1)).unwrap();
        let error = records(&snappy.into_inner().unwrap()).unwrap_err();
        assert_eq!(error.kind(), walbrook_model::ErrorKind::Config);
    }

    proptest! {
        /// Damage anywhere is an error or another record, never a panic.
        #[test]
        fn damage_does_no_harm(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut body = Vec::new();
            for number in 0..20 {
                array(&mut body, &[number], |out, item| long(out, *item));
            }
            let schema = r#"{"type":"record","name":"r","fields":[
                {"name":"c","type":{"type":"array","items":"long"}}]}"#;
            let mut file = container(schema, &[("k", "v".to_owned())], 20, &body);
            let at = at.index(file.len());
            if cut {
                file.truncate(at);
            } else {
                file[at] = byte;
            }
            let _ = records(&file);
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = records(&bytes);
            let _ = records(&[MAGIC.as_slice(), &bytes].concat());
        }
    }
}
