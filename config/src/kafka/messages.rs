//! `[sink.kafka]`: how messages are written.
//!
//! `compat` chooses a set of defaults; every other option changes one of them.

use crate::definition::{Kind, Setting, Unset};
use crate::form;
use crate::reader::Reader;

/// How messages are written. What is `None` follows from `compat` and `format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// Whose shapes the columns have.
    pub compat: Compat,
    /// How keys and values are written.
    pub format: MessageFormat,
    /// A null value after each delete.
    pub tombstones: bool,
    /// The transaction block in each message, and the transaction topic.
    pub transactions: bool,
    /// How exact decimals are written.
    pub decimal: Option<DecimalMode>,
    /// How dates and times are written.
    pub time: Option<TimeMode>,
    /// How bytes are written.
    pub binary: Option<BinaryMode>,
    /// How intervals are written.
    pub interval: Option<IntervalMode>,
    /// How hstore is written.
    pub hstore: Option<HstoreMode>,
    /// What becomes of types that Debezium does not know.
    pub unknown_types: Option<UnknownTypes>,
    /// Names of records.
    pub schema_names: Option<NameAdjustment>,
    /// Names of columns.
    pub field_names: Option<NameAdjustment>,
    /// Written in the place of a cell that the log does not carry.
    pub unavailable_placeholder: Option<String>,
}

/// Whose shapes the columns have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// The envelope of Debezium, with columns that lose nothing.
    Native,
    /// The schemas of Debezium, byte for byte.
    Debezium,
}

/// How keys and values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFormat {
    /// Avro behind the five bytes of a schema registry.
    Avro,
    /// JSON, the payload alone.
    Json,
    /// JSON, each message with its schema.
    JsonWithSchemas,
}

/// How exact decimals are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalMode {
    /// Unscaled bytes.
    Precise,
    /// A double: digits may be lost.
    Double,
    /// Text.
    String,
}

/// How dates and times are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeMode {
    /// Microseconds with logical types of Avro.
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

/// How bytes are written.
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

/// How intervals are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalMode {
    /// The server's own ISO 8601 text.
    Source,
    /// Microseconds; a month has 30.4375 days.
    Numeric,
    /// ISO 8601 with every part written.
    String,
}

/// How hstore is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HstoreMode {
    /// The server's own text.
    Source,
    /// A JSON object as text.
    Json,
    /// A map.
    Map,
}

/// What becomes of types that Debezium does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownTypes {
    /// The column is left out.
    LeaveOut,
    /// The server's text as bytes.
    Opaque,
    /// The server's text as a string.
    Text,
}

/// How names are made to fit Avro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameAdjustment {
    /// Not at all.
    None,
    /// `_` for each character that Avro does not allow.
    Avro,
    /// `_uXXXX` for each of them and for `_`.
    AvroUnicode,
}

pub(crate) const COMPAT: Setting = Setting {
    name: "compat",
    kind: Kind::Word { words: &["native", "debezium"], unset: Unset::Default("native") },
    doc: "Both have the envelope of Debezium. `native`: its columns lose nothing and have Avro's logical types. \
          `debezium`: the schemas of Debezium, byte for byte.",
    change: "Set `debezium` where consumers of Debezium's topics go on reading.",
    since: "0.1",
};

pub(crate) const FORMAT: Setting = Setting {
    name: "format",
    kind: Kind::Word { words: &["avro", "json", "json_with_schemas"], unset: Unset::Default("avro") },
    doc: "`avro`: with the schemas in a registry, which `[sink.kafka.registry]` names. `json`: the payload alone. \
          `json_with_schemas`: each message brings its schema along.",
    change: "Set `json` where no registry is at hand; it takes more bytes and more time.",
    since: "0.1",
};

pub(crate) const TOMBSTONES: Setting = Setting {
    name: "tombstones",
    kind: Kind::Flag { default: true },
    doc: "A null value after each delete, so that compaction can forget the key.",
    change: "Set false where consumers cannot read null values.",
    since: "0.1",
};

pub(crate) const TRANSACTIONS: Setting = Setting {
    name: "transactions",
    kind: Kind::Flag { default: false },
    doc: "Transaction block in each message, and the topic `<topic_prefix>.transaction`.",
    change: "Set it where consumers put transactions of the database together again.",
    since: "0.1",
};

pub(crate) const DECIMAL: Setting = Setting {
    name: "decimal",
    kind: Kind::Word { words: &["precise", "double", "string"], unset: Unset::Derived("`precise`") },
    doc: "How exact decimals are written: unscaled bytes, a double (digits may be lost), or text.",
    change: "Set `string` where consumers cannot read decimals.",
    since: "0.1",
};

pub(crate) const TIME: Setting = Setting {
    name: "time",
    kind: Kind::Word {
        words: &[
            "logical",
            "adaptive",
            "adaptive_time_microseconds",
            "connect",
            "isostring",
            "microseconds",
            "nanoseconds",
        ],
        unset: Unset::Derived("`logical`; `adaptive` with `compat = \"debezium\"`"),
    },
    doc: "How dates and times are written: `logical` is microseconds with Avro's logical types, the others are as in \
          Debezium.",
    change: "Set what consumers expect.",
    since: "0.1",
};

pub(crate) const BINARY: Setting = Setting {
    name: "binary",
    kind: Kind::Word { words: &["bytes", "base64", "base64-url-safe", "hex"], unset: Unset::Derived("`bytes`") },
    doc: "How bytes are written.",
    change: "Set a text form where consumers cannot read bytes.",
    since: "0.1",
};

pub(crate) const INTERVAL: Setting = Setting {
    name: "interval",
    kind: Kind::Word {
        words: &["source", "numeric", "string"],
        unset: Unset::Derived("`source`; `numeric` with `compat = \"debezium\"`"),
    },
    doc: "How intervals are written: ISO 8601 as the server prints it, microseconds, or ISO 8601 with every part.",
    change: "Set what consumers expect.",
    since: "0.1",
};

pub(crate) const HSTORE: Setting = Setting {
    name: "hstore",
    kind: Kind::Word {
        words: &["source", "json", "map"],
        unset: Unset::Derived("`source`; `json` with `compat = \"debezium\"`"),
    },
    doc: "How hstore is written: as the server prints it, a JSON object as text, or a map.",
    change: "Set what consumers expect.",
    since: "0.1",
};

pub(crate) const UNKNOWN_TYPES: Setting = Setting {
    name: "unknown_types",
    kind: Kind::Word {
        words: &["leave_out", "opaque", "text"],
        unset: Unset::Derived("`text`; `leave_out` with `compat = \"debezium\"`"),
    },
    doc: "Columns of types that Debezium does not know: left out, the server's text as bytes, or that text.",
    change: "Set `text` under `compat = \"debezium\"` so that no column is missing.",
    since: "0.1",
};

pub(crate) const SCHEMA_NAMES: Setting = Setting {
    name: "schema_names",
    kind: Kind::Word {
        words: &["none", "avro", "avro_unicode"],
        unset: Unset::Derived("`avro`; `none` with `compat = \"debezium\"`"),
    },
    doc: "Names of schemas with characters that Avro does not allow: kept, each such character `_`, or `_uXXXX`.",
    change: "Set what the subjects in the registry were made with.",
    since: "0.1",
};

pub(crate) const FIELD_NAMES: Setting = Setting {
    name: "field_names",
    kind: Kind::Word {
        words: &["none", "avro", "avro_unicode"],
        unset: Unset::Derived("`avro` for Avro, else `none`; `none` with `compat = \"debezium\"`"),
    },
    doc: "Names of columns with characters that Avro does not allow: kept, each such character `_`, or `_uXXXX`.",
    change: "Set `avro_unicode` where two columns would get one name.",
    since: "0.1",
};

pub(crate) const UNAVAILABLE_PLACEHOLDER: Setting = Setting {
    name: "unavailable_placeholder",
    kind: Kind::Text {
        form: &form::PLACEHOLDER,
        unset: Unset::Derived("null; `__debezium_unavailable_value` with `compat = \"debezium\"`"),
    },
    doc: "Stands in the place of a large value that did not change and is not in the log; a header lists such columns.",
    change: "Set what consumers look for.",
    since: "0.1",
};

impl Messages {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        use {BinaryMode as B, DecimalMode as D, HstoreMode as H, IntervalMode as I, TimeMode as T, UnknownTypes as U};
        let names = [NameAdjustment::None, NameAdjustment::Avro, NameAdjustment::AvroUnicode];
        let formats = [MessageFormat::Avro, MessageFormat::Json, MessageFormat::JsonWithSchemas];
        let times = [
            T::Logical,
            T::Adaptive,
            T::AdaptiveTimeMicroseconds,
            T::Connect,
            T::IsoString,
            T::Microseconds,
            T::Nanoseconds,
        ];
        Self {
            compat: reader.word("compat", &[Compat::Native, Compat::Debezium]).unwrap_or(Compat::Native),
            format: reader.word("format", &formats).unwrap_or(MessageFormat::Avro),
            tombstones: reader.flag("tombstones"),
            transactions: reader.flag("transactions"),
            decimal: reader.word("decimal", &[D::Precise, D::Double, D::String]),
            time: reader.word("time", &times),
            binary: reader.word("binary", &[B::Bytes, B::Base64, B::Base64UrlSafe, B::Hex]),
            interval: reader.word("interval", &[I::Source, I::Numeric, I::String]),
            hstore: reader.word("hstore", &[H::Source, H::Json, H::Map]),
            unknown_types: reader.word("unknown_types", &[U::LeaveOut, U::Opaque, U::Text]),
            schema_names: reader.word("schema_names", &names),
            field_names: reader.word("field_names", &names),
            unavailable_placeholder: reader.text("unavailable_placeholder"),
        }
    }
}
