//! What an operator chooses about messages.
//!
//! Two sets of defaults: [`Settings::native`] loses nothing, [`Settings::debezium`] is what Debezium does unless told
//! otherwise. Every single setting can be changed on top of either.

/// Whose shapes the columns have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// The envelope of Debezium, with columns that read back as the same values, and real logical types in Avro.
    Native,
    /// The schemas of Debezium, byte for byte.
    Debezium,
}

/// How keys and values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Avro behind the five bytes of a schema registry.
    Avro,
    /// JSON, the payload alone.
    Json,
    /// JSON, each message with its schema: `{"schema":..,"payload":..}`.
    JsonWithSchemas,
}

/// `decimal.handling.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalMode {
    /// Unscaled bytes.
    Precise,
    /// A double: digits may be lost.
    Double,
    /// Text.
    String,
}

/// `time.precision.mode`, and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeMode {
    /// Microseconds with logical types of Avro; instants are numbers too. Ours.
    Logical,
    /// Milliseconds up to a precision of 3, else microseconds.
    Adaptive,
    /// As adaptive, with times of day always in microseconds.
    AdaptiveTimeMicroseconds,
    /// Milliseconds: digits may be lost.
    Connect,
    /// Text.
    IsoString,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds: years from 1677 to 2262 only.
    Nanoseconds,
}

/// `binary.handling.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryMode {
    /// Bytes.
    Bytes,
    /// Text in base64.
    Base64,
    /// Text in base64 for URLs.
    Base64UrlSafe,
    /// Text in hex.
    Hex,
}

/// `interval.handling.mode`, and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalMode {
    /// The server's own ISO 8601 text. Ours.
    Source,
    /// Microseconds; a month has 30.4375 days.
    Numeric,
    /// ISO 8601 with every part written.
    String,
}

/// `hstore.handling.mode`, and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HstoreMode {
    /// The server's own text. Ours.
    Source,
    /// A JSON object as text.
    Json,
    /// A map.
    Map,
}

/// `schema.name.adjustment.mode` and `field.name.adjustment.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameAdjustment {
    /// Names stay; one that Avro does not allow is an error in Avro.
    None,
    /// `_` for each character that Avro does not allow.
    Avro,
    /// `_uXXXX` for each of them and for `_`.
    AvroUnicode,
}

/// Types without a form of Debezium's: composites, geometric types but points, multiranges and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownTypes {
    /// The column is left out, as Debezium does by default; [`crate::TableEnvelope::left_out`] names it.
    LeaveOut,
    /// The server's text as bytes, by the binary mode: `include.unknown.datatypes = true`.
    Opaque,
    /// The server's text as a string. Ours.
    Text,
}

/// Everything that shapes a message. `walbrook-config` fills it in.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whose shapes the columns have.
    pub compat: Compat,
    /// How messages are written.
    pub format: Format,
    /// `{prefix}` in topic and schema names, and `source.name`: `topic.prefix`.
    pub topic_prefix: String,
    /// How the topics of tables are named: `{prefix}`, `{schema}` and `{table}` are replaced.
    pub topic_name: String,
    /// How exact decimals are written.
    pub decimal: DecimalMode,
    /// How dates and times are written.
    pub time: TimeMode,
    /// How bytes are written.
    pub binary: BinaryMode,
    /// How intervals are written.
    pub interval: IntervalMode,
    /// How hstore is written.
    pub hstore: HstoreMode,
    /// What becomes of types that Debezium does not know.
    pub unknown_types: UnknownTypes,
    /// Names of records.
    pub schema_names: NameAdjustment,
    /// Names of columns.
    pub field_names: NameAdjustment,
    /// Written in the place of a cell that the log does not carry, besides the header that lists such cells. `None`: NULL.
    pub unavailable_placeholder: Option<String>,
    /// A null value after each delete, so that compaction forgets the key.
    pub tombstones: bool,
    /// The `transaction` block and the transaction topic: `provide.transaction.metadata`.
    pub transactions: bool,
    /// Headers `__debezium.context.*`.
    pub context_headers: bool,
    /// JSON: a header with the table's shape wherever the message does not bring its schemas along. Without it nobody can
    /// read types back.
    pub shape_header: bool,
}

/// Debezium's placeholder of a cell that the log does not carry.
pub const UNAVAILABLE: &str = "__debezium_unavailable_value";

impl Settings {
    /// Nothing is lost.
    pub fn native(topic_prefix: impl Into<String>, format: Format) -> Self {
        Self {
            compat: Compat::Native,
            format,
            topic_prefix: topic_prefix.into(),
            topic_name: "{prefix}.{schema}.{table}".to_owned(),
            decimal: DecimalMode::Precise,
            time: TimeMode::Logical,
            binary: BinaryMode::Bytes,
            interval: IntervalMode::Source,
            hstore: HstoreMode::Source,
            unknown_types: UnknownTypes::Text,
            schema_names: NameAdjustment::Avro,
            field_names: if format == Format::Avro { NameAdjustment::Avro } else { NameAdjustment::None },
            unavailable_placeholder: None,
            tombstones: true,
            transactions: false,
            context_headers: false,
            shape_header: true,
        }
    }

    /// As Debezium 3.6 does without settings.
    pub fn debezium(topic_prefix: impl Into<String>, format: Format) -> Self {
        Self {
            compat: Compat::Debezium,
            time: TimeMode::Adaptive,
            interval: IntervalMode::Numeric,
            hstore: HstoreMode::Json,
            unknown_types: UnknownTypes::LeaveOut,
            schema_names: NameAdjustment::None,
            field_names: NameAdjustment::None,
            unavailable_placeholder: Some(UNAVAILABLE.to_owned()),
            context_headers: true,
            ..Self::native(topic_prefix, format)
        }
    }
}
