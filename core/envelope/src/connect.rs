//! Schemas as Kafka Connect has them: what Avro schemas and the JSON schemas of messages are written from.

/// A schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schema {
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<i32>,
    pub(crate) doc: Option<&'static str>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) default: Option<Literal>,
    /// A logical type of Avro that Kafka Connect does not know.
    pub(crate) logical: Option<&'static str>,
}

/// What a schema describes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Boolean,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Text,
    Bytes,
    List(Box<Schema>),
    /// Keys are text, never null.
    Map(Box<Schema>),
    Record(Vec<Field>),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) schema: Schema,
}

/// A default.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Boolean(bool),
    Int(i64),
    Float32(f32),
    Float64(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Schema {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            optional: false,
            name: None,
            version: None,
            doc: None,
            parameters: Vec::new(),
            default: None,
            logical: None,
        }
    }

    /// With a semantic name of version 1.
    pub(crate) fn named(kind: Kind, name: &str) -> Self {
        Self { name: Some(name.to_owned()), version: Some(1), ..Self::new(kind) }
    }

    pub(crate) fn record(name: impl Into<String>, version: Option<i32>, fields: Vec<Field>) -> Self {
        Self { name: Some(name.into()), version, ..Self::new(Kind::Record(fields)) }
    }

    pub(crate) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(crate) fn parameter(mut self, name: &str, value: impl Into<String>) -> Self {
        self.parameters.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn logical(mut self, name: &'static str) -> Self {
        self.logical = Some(name);
        self
    }

    pub(crate) fn parameter_of(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The branch of null in the union that an optional value is; its other branch is the value's.
    pub(crate) fn null_branch(&self) -> Option<u8> {
        self.optional.then_some(u8::from(self.default.is_some()))
    }
}

impl Field {
    pub(crate) fn new(name: impl Into<String>, schema: Schema) -> Self {
        Self { name: name.into(), schema }
    }
}

/// Semantic names.
pub(crate) mod name {
    pub(crate) const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
    pub(crate) const CONNECT_DATE: &str = "org.apache.kafka.connect.data.Date";
    pub(crate) const CONNECT_TIME: &str = "org.apache.kafka.connect.data.Time";
    pub(crate) const CONNECT_TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";
    pub(crate) const DATE: &str = "io.debezium.time.Date";
    pub(crate) const TIME: &str = "io.debezium.time.Time";
    pub(crate) const MICRO_TIME: &str = "io.debezium.time.MicroTime";
    pub(crate) const NANO_TIME: &str = "io.debezium.time.NanoTime";
    pub(crate) const TIMESTAMP: &str = "io.debezium.time.Timestamp";
    pub(crate) const MICRO_TIMESTAMP: &str = "io.debezium.time.MicroTimestamp";
    pub(crate) const NANO_TIMESTAMP: &str = "io.debezium.time.NanoTimestamp";
    pub(crate) const ISO_DATE: &str = "io.debezium.time.IsoDate";
    pub(crate) const ISO_TIME: &str = "io.debezium.time.IsoTime";
    pub(crate) const ISO_TIMESTAMP: &str = "io.debezium.time.IsoTimestamp";
    pub(crate) const ZONED_TIME: &str = "io.debezium.time.ZonedTime";
    pub(crate) const ZONED_TIMESTAMP: &str = "io.debezium.time.ZonedTimestamp";
    pub(crate) const MICRO_DURATION: &str = "io.debezium.time.MicroDuration";
    pub(crate) const INTERVAL: &str = "io.debezium.time.Interval";
    pub(crate) const BITS: &str = "io.debezium.data.Bits";
    pub(crate) const JSON: &str = "io.debezium.data.Json";
    pub(crate) const XML: &str = "io.debezium.data.Xml";
    pub(crate) const UUID: &str = "io.debezium.data.Uuid";
    pub(crate) const ENUM: &str = "io.debezium.data.Enum";
    pub(crate) const LTREE: &str = "io.debezium.data.Ltree";
    pub(crate) const TSVECTOR: &str = "io.debezium.data.Tsvector";
    pub(crate) const VARIABLE_SCALE: &str = "io.debezium.data.VariableScaleDecimal";
    pub(crate) const POINT: &str = "io.debezium.data.geometry.Point";
    /// An instant in microseconds: ours, where Debezium has text only.
    pub(crate) const INSTANT: &str = "walbrook.MicroInstant";
    /// The parameter of a timestamp whose infinity is the largest number, not Debezium's.
    pub(crate) const INFINITY: &str = "walbrook.infinity";
    pub(crate) const PRECISION: &str = "connect.decimal.precision";
}

/// Logical types of Avro.
pub(crate) mod logical {
    pub(crate) const DATE: &str = "date";
    pub(crate) const TIME_MICROS: &str = "time-micros";
    pub(crate) const INSTANT_MICROS: &str = "timestamp-micros";
    pub(crate) const LOCAL_MICROS: &str = "local-timestamp-micros";
    pub(crate) const UUID: &str = "uuid";
}
