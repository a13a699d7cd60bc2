//! What a field of a row means: the column's type, and in which form its cells lie in the message.

use walbrook_model::ColumnType;

use super::node::{Kind, Node};
use crate::connect::{logical, name};

/// The form of a cell. The number is the parameter of the decoders in [`super::cells`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    Bool,
    Int,
    Float32,
    Float64,
    Text,
    Bytes,
    UuidText,
    Decimal,
    Days,
    DateText,
    TimeMillis,
    TimeMicros,
    TimeNanos,
    TimeText,
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
    TimestampText,
    /// Microseconds with the model's own infinity, of a zone or of none.
    Micros,
    InstantMillis,
    InstantText,
    VariableScale,
    Point,
    Map,
    Duration,
}

/// What must be turned into text while the message is read: the column's type does not hold what its decoder would need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eager {
    /// Unscaled bytes with this many digits behind the point, more than a decimal of the model has.
    Digits(i64),
    /// Bits, this many if it is known.
    Bits(Option<usize>),
}

/// What a field means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Meaning {
    pub(crate) ty: ColumnType,
    pub(crate) form: Form,
    pub(crate) eager: Option<Eager>,
    /// Of an element: whether it may be null.
    pub(crate) nullable_elements: bool,
}

impl Meaning {
    fn new(ty: ColumnType, form: Form) -> Self {
        Self { ty, form, eager: None, nullable_elements: false }
    }
}

/// What a field of this schema means, without its union with null; `None` if no column has such a schema.
pub(crate) fn meaning(node: &Node) -> Option<Meaning> {
    if let Kind::List(items) = &node.kind {
        let (union, element) = items.optional()?;
        let inner = meaning(element)?;
        let nested = matches!(inner.ty, ColumnType::List(_));
        if nested || union.is_some_and(|(null, _)| null != 0) {
            return None;
        }
        return Some(Meaning { ty: ColumnType::List(Box::new(inner.ty)), nullable_elements: union.is_some(), ..inner });
    }
    if let Some(found) = node.name.as_deref().and_then(|name| named(name, node)) {
        return Some(found);
    }
    if let Some(found) = node.logical.as_deref().and_then(|logical| by_logical_type(logical, node)) {
        return Some(found);
    }
    let new = Meaning::new;
    Some(match &node.kind {
        Kind::Boolean => new(ColumnType::Bool, Form::Bool),
        Kind::Int16 => new(ColumnType::Int16, Form::Int),
        Kind::Int32 => new(ColumnType::Int32, Form::Int),
        Kind::Int64 => new(ColumnType::Int64, Form::Int),
        Kind::Float32 => new(ColumnType::Float32, Form::Float32),
        Kind::Float64 => new(ColumnType::Float64, Form::Float64),
        Kind::Bytes => new(ColumnType::Bytes, Form::Bytes),
        Kind::Text => new(ColumnType::Text, Form::Text),
        Kind::Map(values) if is_optional_text(values) => new(ColumnType::Text, Form::Map),
        _ => return None,
    })
}

fn is_optional_text(node: &Node) -> bool {
    matches!(node.optional(), Some((Some((0, 1)), value)) if value.kind == Kind::Text)
}

fn named(semantic: &str, node: &Node) -> Option<Meaning> {
    let new = |ty, form| Some(Meaning::new(ty, form));
    match (semantic, &node.kind) {
        (name::DECIMAL, Kind::Bytes) => Some(decimal(node)),
        (name::DATE | name::CONNECT_DATE, Kind::Int32) => new(ColumnType::Date, Form::Days),
        (name::TIME | name::CONNECT_TIME, Kind::Int32) => new(ColumnType::Time, Form::TimeMillis),
        (name::MICRO_TIME, Kind::Int64) => new(ColumnType::Time, Form::TimeMicros),
        (name::NANO_TIME, Kind::Int64) => new(ColumnType::Time, Form::TimeNanos),
        (name::TIMESTAMP | name::CONNECT_TIMESTAMP, Kind::Int64) => new(ColumnType::Timestamp, Form::TimestampMillis),
        (name::MICRO_TIMESTAMP, Kind::Int64) if node.parameter(name::INFINITY).is_some() => {
            new(ColumnType::Timestamp, Form::Micros)
        }
        (name::MICRO_TIMESTAMP, Kind::Int64) => new(ColumnType::Timestamp, Form::TimestampMicros),
        (name::NANO_TIMESTAMP, Kind::Int64) => new(ColumnType::Timestamp, Form::TimestampNanos),
        (name::INSTANT, Kind::Int64) => new(ColumnType::TimestampTz, Form::Micros),
        (name::ISO_DATE, Kind::Text) => new(ColumnType::Date, Form::DateText),
        (name::ISO_TIME, Kind::Text) => new(ColumnType::Time, Form::TimeText),
        (name::ISO_TIMESTAMP, Kind::Text) => new(ColumnType::Timestamp, Form::TimestampText),
        (name::ZONED_TIMESTAMP, Kind::Text) => new(ColumnType::TimestampTz, Form::InstantText),
        (name::MICRO_DURATION, Kind::Int64) => new(ColumnType::Text, Form::Duration),
        (name::JSON, Kind::Text) => new(ColumnType::Json, Form::Text),
        (name::UUID, Kind::Text) => new(ColumnType::Uuid, Form::UuidText),
        (name::BITS, Kind::Bytes) => {
            // The server's longest is what a column without a length has.
            let length = node.parameter("length").and_then(|length| length.parse().ok());
            let eager = Eager::Bits(length.filter(|length| *length < 83_886_080));
            Some(Meaning { eager: Some(eager), ..Meaning::new(ColumnType::Text, Form::Text) })
        }
        (name::VARIABLE_SCALE, Kind::Record(_)) => new(ColumnType::Text, Form::VariableScale),
        (name::POINT, Kind::Record(_)) => new(ColumnType::Text, Form::Point),
        _ => None,
    }
}

/// Schemas of other writers.
fn by_logical_type(logical: &str, node: &Node) -> Option<Meaning> {
    let new = |ty, form| Some(Meaning::new(ty, form));
    match (logical, &node.kind) {
        ("decimal", Kind::Bytes) => Some(decimal(node)),
        (logical::DATE, Kind::Int32) => new(ColumnType::Date, Form::Days),
        ("time-millis", Kind::Int32) => new(ColumnType::Time, Form::TimeMillis),
        (logical::TIME_MICROS, Kind::Int64) => new(ColumnType::Time, Form::TimeMicros),
        ("timestamp-millis", Kind::Int64) => new(ColumnType::TimestampTz, Form::InstantMillis),
        (logical::INSTANT_MICROS, Kind::Int64) => new(ColumnType::TimestampTz, Form::Micros),
        (logical::LOCAL_MICROS, Kind::Int64) => new(ColumnType::Timestamp, Form::Micros),
        (logical::UUID, Kind::Text) => new(ColumnType::Uuid, Form::UuidText),
        _ => None,
    }
}

fn decimal(node: &Node) -> Meaning {
    let scale = node.scale.or_else(|| node.parameter("scale")?.parse().ok()).unwrap_or(0);
    let known: Option<i64> = node.parameter(name::PRECISION).and_then(|digits| digits.parse().ok());
    let from_avro = node.precision.filter(|_| node.name.is_none());
    // Debezium states no precision for money, which has 19 digits.
    let precision = known.or(from_avro).unwrap_or(if scale == 2 { 19 } else { 38 }).max(scale);
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) => Meaning::new(ColumnType::Decimal { precision, scale }, Form::Decimal),
        _ => Meaning { eager: Some(Eager::Digits(scale)), ..Meaning::new(ColumnType::Text, Form::Text) },
    }
}
