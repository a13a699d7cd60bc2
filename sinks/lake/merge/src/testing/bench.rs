//! The table that benchmarks write: bigint key, bigint, two short strings, numeric(12,2), text of 60 bytes, text[], two
//! timestamptz, boolean, double precision, jsonb of 80 bytes; cells in `PostgreSQL`'s binary form.

#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "made-up cells")]

use std::sync::Arc;

use bytes::Bytes;
use walbrook_model::{
    Column, ColumnType, Decimal, DecodeCell, Error, Result, Row, RowBuilder, TableId, TableSchema, Value,
};

/// The shape of the table.
pub fn bench_schema() -> Arc<TableSchema> {
    use ColumnType::{Bool, Float64, Int64, Json, List, Text, TimestampTz};
    let columns: Vec<(&str, ColumnType, DecodeCell)> = vec![
        ("id", Int64, int),
        ("customer", Int64, int),
        ("status", Text, text),
        ("country", Text, text),
        ("amount", ColumnType::Decimal { precision: 12, scale: 2 }, numeric),
        ("note", Text, text),
        ("tags", List(Box::new(Text)), texts),
        ("created", TimestampTz, instant),
        ("updated", TimestampTz, instant),
        ("paid", Bool, boolean),
        ("weight", Float64, double),
        ("extra", Json, json),
    ];
    let columns = columns.into_iter().map(|(name, ty, decoder)| Column {
        name: name.to_owned(),
        ty,
        nullable: true,
        source_type: String::new(),
        initial_default: None,
        facts: Arc::default(),
        decoder,
    });
    Arc::new(TableSchema { table: TableId::new("public", "bench"), columns: columns.collect(), key: vec![0] })
}

/// The row with key `n`; `version` changes its other cells.
pub fn bench_row(n: u64, version: u64) -> Row {
    let spread = (n ^ (version << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut data = Vec::new();
    let mut row = RowBuilder::with_capacity(12, 0);
    let mut push = |cell: &[u8]| {
        row.push_place(data.len(), cell.len());
        data.extend_from_slice(cell);
    };
    push(&n.to_be_bytes());
    push(&(spread % 100_000).to_be_bytes());
    push(["new", "paid", "shipped", "returned"][(spread >> 20) as usize % 4].as_bytes());
    push(["DE", "FR", "GB", "US", "IT", "ES", "PL", "NL"][(spread >> 30) as usize % 8].as_bytes());
    // numeric: digits of base 10,000; weight 1, sign +, scale 2.
    let amount = spread >> 40;
    let digits = [(amount / 10_000 % 100) as u16, (amount % 10_000) as u16, (amount % 100 * 100) as u16];
    let numeric: Vec<u8> = [3, 1, 0, 2, digits[0], digits[1], digits[2]].iter().flat_map(|d| d.to_be_bytes()).collect();
    push(&numeric);
    push(format!("{spread:020} a note about an order that is long {:05}", n % 99_991).as_bytes());
    let tags: [&str; 2] = [["red", "green", "blue"][(spread >> 10) as usize % 3], "sale"];
    let mut array: Vec<u8> = [1u32, 0, 25, 2, 1].iter().flat_map(|d| d.to_be_bytes()).collect();
    for tag in tags {
        array.extend_from_slice(&u32::try_from(tag.len()).unwrap_or(0).to_be_bytes());
        array.extend_from_slice(tag.as_bytes());
    }
    push(&array);
    push(&(757_000_000_000_000 + n * 1_000_003).to_be_bytes());
    push(&(757_000_000_000_000 + n * 1_000_003 + spread % 1_000_000).to_be_bytes());
    push(&[u8::from(spread & 1 == 0)]);
    push(&((spread >> 32) as f64 / 1000.0).to_be_bytes());
    let extra = format!(
        "{{\"source\": \"web\", \"campaign\": \"c{:04}\", \"session\": \"{spread:016x}\", \"v\": 3}}",
        spread % 1000
    );
    push(format!("\u{1}{extra}").as_bytes());
    row.finish_over(Bytes::from(data))
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| Error::data("length"))
}

fn int<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    Ok(Value::Int(i64::from_be_bytes(array(bytes)?)))
}

fn text<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    Ok(Value::Text(std::str::from_utf8(bytes).map_err(|_| Error::data("UTF-8"))?.into()))
}

fn json<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    text(ty, bytes.get(1..).unwrap_or_default())
}

fn instant<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    Ok(Value::TimestampTz(i64::from_be_bytes(array(bytes)?) + 946_684_800_000_000))
}

#[allow(clippy::unnecessary_wraps, reason = "a decoder")]
fn boolean<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    Ok(Value::Bool(bytes == [1]))
}

fn double<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    Ok(Value::Float64(f64::from_be_bytes(array(bytes)?)))
}

fn numeric<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let (header, digits) = bytes.split_at_checked(8).ok_or_else(|| Error::data("length"))?;
    let weight = i16::from_be_bytes([header[2], header[3]]);
    let mut unscaled = 0i128;
    for digit in digits.chunks_exact(2) {
        unscaled = unscaled * 10_000 + i128::from(u16::from_be_bytes([digit[0], digit[1]]));
    }
    let fraction = i32::try_from(digits.len() / 2).unwrap_or(0) - 1 - i32::from(weight);
    let unscaled = unscaled / 10i128.pow(u32::try_from(fraction * 4 - 2).unwrap_or(0));
    Ok(Value::Decimal(Decimal { unscaled, scale: 2 }))
}

fn texts<'a>(_: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let mut rest = bytes.get(20..).ok_or_else(|| Error::data("length"))?;
    let mut items = Vec::with_capacity(2);
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let (item, tail) =
            tail.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or_else(|| Error::data("length"))?;
        items.push(text(&ColumnType::Text, item)?);
        rest = tail;
    }
    Ok(Value::List(items))
}
