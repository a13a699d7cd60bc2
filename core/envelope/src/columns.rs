//! What a column becomes: its schema, and how its cells are written.

use walbrook_model::{Column, ColumnType};

use crate::calendar::{self, Fraction};
use crate::connect::{Field, Kind, Schema, logical, name};
use crate::encode::conversion::Conversion;
use crate::settings::{BinaryMode, Compat, DecimalMode, HstoreMode, IntervalMode, Settings, TimeMode, UnknownTypes};
use crate::sql_type::SqlType;

/// A column's schema, required and without a default, and its conversion.
pub(crate) type Shape = (Schema, Conversion);

/// What the column becomes; `None` if it is left out.
pub(crate) fn shape(column: &Column, settings: &Settings) -> Option<Shape> {
    let facts = &column.facts;
    let sql = SqlType::parse(facts.base_type.as_deref().unwrap_or(&column.source_type));
    let of = Of { sql: &sql, labels: facts.labels.as_deref(), settings };
    of.shape(&column.ty)
}

struct Of<'a> {
    sql: &'a SqlType,
    labels: Option<&'a [String]>,
    settings: &'a Settings,
}

/// Element types whose arrays Debezium leaves out.
const NO_ARRAYS: [&str; 6] = ["money", "name", "bit", "bit varying", "xml", "point"];

/// Types that Debezium writes as plain text.
const PLAIN: [&str; 22] = [
    "text",
    "character varying",
    "character",
    "bpchar",
    "char",
    "citext",
    "name",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "isbn",
    "uuid",
    "json",
    "jsonb",
    "",
];

impl Of<'_> {
    fn native(&self) -> bool {
        self.settings.compat == Compat::Native
    }

    fn shape(&self, ty: &ColumnType) -> Option<Shape> {
        let plain = |kind, conversion| Some((Schema::new(kind), conversion));
        match ty {
            ColumnType::Bool => plain(Kind::Boolean, Conversion::Bool),
            ColumnType::Int16 => plain(Kind::Int16, Conversion::Int),
            ColumnType::Int32 => plain(Kind::Int32, Conversion::Int),
            ColumnType::Int64 => plain(Kind::Int64, Conversion::Int),
            ColumnType::Float32 => plain(Kind::Float32, Conversion::Float32),
            ColumnType::Float64 => plain(Kind::Float64, Conversion::Float64),
            ColumnType::Decimal { precision, scale } => Some(self.decimal(*precision, *scale)),
            ColumnType::Text => self.text(),
            ColumnType::Json => Some((Schema::named(Kind::Text, name::JSON), Conversion::Text)),
            ColumnType::Bytes => {
                let mode = self.settings.binary;
                plain(binary_kind(mode), Conversion::Bytes(mode))
            }
            ColumnType::Uuid => {
                let schema = Schema::named(Kind::Text, name::UUID);
                Some((if self.native() { schema.logical(logical::UUID) } else { schema }, Conversion::Uuid))
            }
            ColumnType::Date => Some(self.date()),
            ColumnType::Time => Some(self.time()),
            ColumnType::Timestamp => Some(self.timestamp()),
            ColumnType::TimestampTz => Some(self.instant()),
            ColumnType::List(element) => self.list(element),
        }
    }

    fn list(&self, element: &ColumnType) -> Option<Shape> {
        let sql = self.sql.element();
        let left_out = NO_ARRAYS.contains(&sql.name.as_str()) || sql.name.starts_with("interval");
        if !self.native() && (left_out || is_domain(element, &sql.name)) {
            return None;
        }
        let (schema, conversion) = Of { sql: &sql, ..*self }.shape(element)?;
        // Debezium forgets that an enum in an array may be null.
        let optional = schema.name.as_deref() != Some(name::ENUM);
        let items = if optional { schema.optional() } else { schema };
        Some((Schema::new(Kind::List(Box::new(items))), Conversion::List { element: Box::new(conversion), optional }))
    }

    fn decimal(&self, precision: u8, scale: u8) -> Shape {
        match self.settings.decimal {
            DecimalMode::Double => (Schema::new(Kind::Float64), Conversion::DecimalDouble),
            DecimalMode::String => (Schema::new(Kind::Text), Conversion::DecimalText),
            DecimalMode::Precise => {
                let schema = Schema::named(Kind::Bytes, name::DECIMAL).parameter("scale", scale.to_string());
                let declared = match self.sql.modifiers.as_slice() {
                    // A scale above the precision: the model counts the zeros behind the point as digits.
                    [declared, same] if !self.native() && *same == i64::from(scale) => declared.to_string(),
                    _ => precision.to_string(),
                };
                let schema = match self.sql.name.as_str() {
                    "money" if !self.native() => schema,
                    _ => schema.parameter(name::PRECISION, declared),
                };
                (schema, Conversion::Decimal)
            }
        }
    }

    /// A number that no decimal of the model holds: no precision, or more than 38 digits.
    fn number(&self) -> Shape {
        match (self.settings.decimal, self.sql.modifiers.as_slice()) {
            (DecimalMode::Double, _) => (Schema::new(Kind::Float64), Conversion::Double),
            (DecimalMode::String, _) => (Schema::new(Kind::Text), Conversion::Text),
            (DecimalMode::Precise, _) if self.native() => (Schema::new(Kind::Text), Conversion::Text),
            (DecimalMode::Precise, [precision, rest @ ..]) => {
                let scale = rest.first().and_then(|scale| u8::try_from(*scale).ok());
                match scale.or(if rest.is_empty() { Some(0) } else { None }) {
                    Some(scale) => (
                        Schema::named(Kind::Bytes, name::DECIMAL)
                            .parameter("scale", scale.to_string())
                            .parameter(name::PRECISION, precision.to_string()),
                        Conversion::Scaled(scale),
                    ),
                    None => variable_scale(),
                }
            }
            (DecimalMode::Precise, []) => variable_scale(),
        }
    }

    /// Types that the model keeps as text.
    fn text(&self) -> Option<Shape> {
        let plain = || Some((Schema::new(Kind::Text), Conversion::Text));
        let named = |name| Some((Schema::named(Kind::Text, name), Conversion::Text));
        match (self.sql.name.as_str(), self.labels) {
            ("numeric", _) => Some(self.number()),
            ("hstore", _) => Some(self.hstore()),
            (interval, _) if interval == "interval" || interval.starts_with("interval ") => Some(self.interval()),
            _ if self.native() => plain(),
            (_, Some(labels)) => {
                let allowed = Schema::named(Kind::Text, name::ENUM).parameter("allowed", labels.join(","));
                Some((allowed, Conversion::Text))
            }
            (name, _) if PLAIN.contains(&name) => plain(),
            ("bit", _) => Some(self.bits(1)),
            ("bit varying", _) => Some(self.bits(i64::from(i32::MAX))),
            ("time with time zone", _) => Some((Schema::named(Kind::Text, name::ZONED_TIME), Conversion::ZonedTime)),
            ("xml", _) => named(name::XML),
            ("ltree", _) => named(name::LTREE),
            ("tsvector", _) => named(name::TSVECTOR),
            ("point", _) => Some((point(), Conversion::Point)),
            _ => match self.settings.unknown_types {
                UnknownTypes::LeaveOut => None,
                UnknownTypes::Text => plain(),
                UnknownTypes::Opaque => {
                    let mode = self.settings.binary;
                    Some((Schema::new(binary_kind(mode)), Conversion::Opaque(mode)))
                }
            },
        }
    }

    fn bits(&self, default: i64) -> Shape {
        match self.sql.precision().unwrap_or(default) {
            ..=1 => (Schema::new(Kind::Boolean), Conversion::Bit),
            length => {
                (Schema::named(Kind::Bytes, name::BITS).parameter("length", length.to_string()), Conversion::Bits)
            }
        }
    }

    fn hstore(&self) -> Shape {
        match self.settings.hstore {
            HstoreMode::Source => (Schema::new(Kind::Text), Conversion::Text),
            HstoreMode::Json => (Schema::named(Kind::Text, name::JSON), Conversion::HstoreJson),
            HstoreMode::Map => {
                let values = Schema::new(Kind::Text).optional();
                (Schema::new(Kind::Map(Box::new(values))), Conversion::HstoreMap)
            }
        }
    }

    fn interval(&self) -> Shape {
        match self.settings.interval {
            IntervalMode::Source => (Schema::new(Kind::Text), Conversion::Text),
            IntervalMode::Numeric => (Schema::named(Kind::Int64, name::MICRO_DURATION), Conversion::IntervalMicros),
            IntervalMode::String => (Schema::named(Kind::Text, name::INTERVAL), Conversion::IntervalText),
        }
    }

    fn date(&self) -> Shape {
        let days = |name| (Schema::named(Kind::Int32, name), Conversion::Days);
        match self.settings.time {
            TimeMode::Logical => {
                let (schema, conversion) = days(name::DATE);
                (schema.logical(logical::DATE), conversion)
            }
            TimeMode::Connect => days(name::CONNECT_DATE),
            TimeMode::IsoString => (Schema::named(Kind::Text, name::ISO_DATE), Conversion::DateText),
            _ => days(name::DATE),
        }
    }

    fn time(&self) -> Shape {
        let millis = |name| (Schema::named(Kind::Int32, name), Conversion::TimeMillis);
        let micros = (Schema::named(Kind::Int64, name::MICRO_TIME), Conversion::TimeMicros);
        match self.settings.time {
            TimeMode::Logical => (micros.0.logical(logical::TIME_MICROS), micros.1),
            TimeMode::Adaptive if self.digits() <= 3 => millis(name::TIME),
            TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds | TimeMode::Microseconds => micros,
            TimeMode::Connect => millis(name::CONNECT_TIME),
            TimeMode::IsoString => (Schema::named(Kind::Text, name::ISO_TIME), Conversion::TimeText),
            TimeMode::Nanoseconds => (Schema::named(Kind::Int64, name::NANO_TIME), Conversion::TimeNanos),
        }
    }

    fn timestamp(&self) -> Shape {
        let unit = |name, unit| (Schema::named(Kind::Int64, name), Conversion::Timestamp(unit));
        match self.settings.time {
            TimeMode::Logical => {
                let schema = Schema::named(Kind::Int64, name::MICRO_TIMESTAMP).logical(logical::LOCAL_MICROS);
                (schema.parameter(name::INFINITY, i64::MAX.to_string()), Conversion::Instant)
            }
            TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds if self.digits() <= 3 => {
                unit(name::TIMESTAMP, 1000)
            }
            TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds | TimeMode::Microseconds => {
                unit(name::MICRO_TIMESTAMP, 1)
            }
            TimeMode::Connect => unit(name::CONNECT_TIMESTAMP, 1000),
            TimeMode::IsoString => (Schema::named(Kind::Text, name::ISO_TIMESTAMP), Conversion::TimestampText),
            TimeMode::Nanoseconds => (Schema::named(Kind::Int64, name::NANO_TIMESTAMP), Conversion::TimestampNanos),
        }
    }

    fn instant(&self) -> Shape {
        if self.settings.time == TimeMode::Logical {
            let schema = Schema::named(Kind::Int64, name::INSTANT).logical(logical::INSTANT_MICROS);
            return (schema, Conversion::Instant);
        }
        let fraction = match self.digits() {
            0 => Fraction::Needed,
            digits => Fraction::Digits(u8::try_from(digits).unwrap_or(6).min(6)),
        };
        (Schema::named(Kind::Text, name::ZONED_TIMESTAMP), Conversion::Zoned(fraction))
    }

    /// Digits of a second that the column keeps.
    fn digits(&self) -> i64 {
        self.sql.precision().unwrap_or(calendar::DIGITS)
    }
}

/// Whether an array's element is a domain: Debezium leaves such arrays out.
fn is_domain(element: &ColumnType, name: &str) -> bool {
    let known: &[&str] = match element {
        ColumnType::Bool => &["boolean"],
        ColumnType::Int16 => &["smallint"],
        ColumnType::Int32 => &["integer"],
        ColumnType::Int64 => &["bigint", "oid"],
        ColumnType::Float32 => &["real"],
        ColumnType::Float64 => &["double precision"],
        ColumnType::Decimal { .. } => &["numeric", "money"],
        ColumnType::Json => &["json", "jsonb"],
        ColumnType::Bytes => &["bytea"],
        ColumnType::Uuid => &["uuid"],
        ColumnType::Date => &["date"],
        ColumnType::Time => &["time without time zone"],
        ColumnType::Timestamp => &["timestamp without time zone"],
        ColumnType::TimestampTz => &["timestamp with time zone"],
        ColumnType::Text | ColumnType::List(_) => return false,
    };
    !known.contains(&name)
}

fn binary_kind(mode: BinaryMode) -> Kind {
    if mode == BinaryMode::Bytes { Kind::Bytes } else { Kind::Text }
}

fn variable_scale() -> Shape {
    let fields = vec![Field::new("scale", Schema::new(Kind::Int32)), Field::new("value", Schema::new(Kind::Bytes))];
    let schema = Schema::record(name::VARIABLE_SCALE, Some(1), fields);
    (Schema { doc: Some("Variable scaled decimal"), ..schema }, Conversion::VariableScale)
}

fn point() -> Schema {
    let fields = vec![
        Field::new("x", Schema::new(Kind::Float64)),
        Field::new("y", Schema::new(Kind::Float64)),
        Field::new("wkb", Schema::new(Kind::Bytes).optional()),
        Field::new("srid", Schema::new(Kind::Int32).optional()),
    ];
    let schema = Schema::record(name::POINT, Some(1), fields);
    Schema { doc: Some("Geometry (POINT)"), ..schema }
}
