use std::borrow::Cow;
use std::sync::Arc;

use proptest::prelude::*;
use walbrook_model::{Cell, Column, Decimal, ErrorKind, RowBuilder, TableId};

use super::*;

const SECRET: u64 = 0x5eed_0000_1234_abcd;

fn schema(types: &[ColumnType]) -> TableSchema {
    let column = |(index, ty): (usize, &ColumnType)| Column {
        name: format!("k{index}"),
        ty: ty.clone(),
        nullable: false,
        source_type: String::new(),
        initial_default: None,
        facts: Arc::default(),
        decoder,
    };
    TableSchema {
        table: TableId::new("public", "t"),
        columns: types.iter().enumerate().map(column).collect(),
        key: (0..types.len()).collect(),
    }
}

/// The log of these tests holds text as it is and integers in decimal.
fn decoder<'a>(ty: &ColumnType, bytes: &'a [u8]) -> Result<Value<'a>> {
    let text = std::str::from_utf8(bytes).map_err(|error| Error::data("not text").because(error))?;
    match ty {
        ColumnType::Int32 | ColumnType::Int64 => {
            text.parse().map(Value::Int).map_err(|error| Error::data("not an integer").because(error))
        }
        _ => Ok(Value::Text(Cow::Borrowed(text))),
    }
}

fn id(types: &[ColumnType], values: &[Value<'_>]) -> KeyId {
    KeyReader::new(&schema(types), SECRET).unwrap().id_of_values(values).unwrap()
}

fn row(cells: &[Cell<'_>]) -> Row {
    let mut builder = RowBuilder::default();
    for cell in cells {
        builder.push(*cell);
    }
    builder.finish()
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

#[test]
fn narrow_keys_are_small_and_all_others_wide() {
    let check = |types: &[ColumnType], kind| assert_eq!(KeyReader::new(&schema(types), 1).unwrap().kind(), kind);
    for ty in [ColumnType::Bool, ColumnType::Int16, ColumnType::Int64, ColumnType::Date, ColumnType::TimestampTz] {
        check(std::slice::from_ref(&ty), KeyKind::Small);
        check(&[ty, ColumnType::Bool], KeyKind::Wide);
    }
    check(&[ColumnType::Uuid], KeyKind::Wide);
    check(&[ColumnType::Text], KeyKind::Wide);
    assert_eq!(KeyReader::new(&schema(&[]), 1).err().map(|error| error.kind()), Some(ErrorKind::Config));
}

#[test]
fn a_row_and_its_stored_cells_have_one_identity() {
    let types = [ColumnType::Int32, ColumnType::Text];
    let schema = schema(&types);
    let mut reader = KeyReader::new(&schema, SECRET).unwrap();
    let of_row = reader.id_of(&schema, &row(&[Cell::Data(b"-7"), Cell::Data(b"abc")])).unwrap();
    assert_eq!(of_row, reader.id_of_values(&[Value::Int(-7), text("abc")]).unwrap());

    // A later version of the table: a column before the key, and the integer widened.
    let mut later = super::tests::schema(&[ColumnType::Text, ColumnType::Int64, ColumnType::Text]);
    later.key = vec![1, 2];
    let moved = row(&[Cell::Null, Cell::Data(b"-7"), Cell::Data(b"abc")]);
    assert_eq!(of_row, reader.id_of(&later, &moved).unwrap());
    later.key = vec![1];
    assert_eq!(reader.id_of(&later, &moved).unwrap_err().kind(), ErrorKind::Data);
}

#[test]
fn a_key_cell_that_is_missing_or_of_another_type_is_an_error_without_its_value() {
    for types in [vec![ColumnType::Int64], vec![ColumnType::Uuid], vec![ColumnType::Int64, ColumnType::Text]] {
        let schema = schema(&types);
        let mut reader = KeyReader::new(&schema, SECRET).unwrap();
        for bad in [Value::Null, Value::Unchanged, text("secret"), Value::List(Vec::new())] {
            let mut values = vec![bad];
            values.resize(types.len(), text("x"));
            let error = reader.id_of_values(&values).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert_eq!(error.object(), Some("public.t: key column k0"));
            assert!(!error.to_string().contains("secret"));
        }
        assert!(reader.id_of_values(&[]).is_err());
        let null = row(&vec![Cell::Null; types.len()]);
        assert_eq!(reader.id_of(&schema, &null).unwrap_err().kind(), ErrorKind::Data);
        assert_eq!(reader.id_of(&schema, &row(&[])).unwrap_err().kind(), ErrorKind::Data);
    }
}

#[test]
fn equal_keys_of_unlike_bytes_have_one_identity() {
    use ColumnType::{Float32, Float64, Text, Time};
    let decimal = |unscaled, scale| Value::Decimal(Decimal { unscaled, scale });
    let number = ColumnType::Decimal { precision: 10, scale: 2 };
    let check = |ty: &ColumnType, a: Value<'_>, b: Value<'_>, same: bool| {
        let types = [ty.clone(), Text];
        assert_eq!(id(&types, &[a.clone(), text("")]) == id(&types, &[b.clone(), text("")]), same, "{a:?} {b:?}");
    };
    check(&Float64, Value::Float64(0.0), Value::Float64(-0.0), true);
    check(&Float64, Value::Float64(f64::NAN), Value::Float64(-f64::NAN), true);
    check(&Float64, Value::Float64(f64::INFINITY), Value::Float64(f64::NEG_INFINITY), false);
    check(&Float32, Value::Float32(1.5), Value::Float64(1.5), true);
    check(&Float32, Value::Float32(f32::NAN), Value::Float64(f64::NAN), true);
    check(&number, decimal(150, 2), decimal(15, 1), true);
    check(&number, decimal(0, 2), decimal(0, 0), true);
    check(&number, decimal(-150, 2), decimal(150, 2), false);
    check(&number, decimal(15, 2), decimal(15, 1), false);
    check(&Time, Value::Time(45_296_000_000), text("12:34:56"), true);
    check(&Time, Value::Time(1), text("00:00:00.000001"), true);
    check(&Time, Value::Time(500_000), text("00:00:00.5"), true);
    check(&Time, Value::Time(86_400_000_000), text("24:00:00"), true);
    check(&Time, Value::Time(0), text("24:00:00"), false);
    let list = |values: &[i64]| Value::List(values.iter().map(|v| Value::Int(*v)).collect());
    let ints = ColumnType::List(Box::new(ColumnType::Int32));
    check(&ints, list(&[1, 2]), list(&[1, 2]), true);
    check(&ints, list(&[1, 2]), list(&[12]), false);
    check(&ints, Value::List(vec![Value::Null]), Value::List(Vec::new()), false);
}

#[test]
fn a_time_that_is_none_is_refused() {
    let mut reader = KeyReader::new(&schema(&[ColumnType::Time]), SECRET).unwrap();
    for bad in ["", "12", "12:34", "12:34:56:78", "1:02:03", "12:34:5x", "12:34:56.1234567", "12:34:56.-1", "+1:00:00"]
    {
        assert!(reader.id_of_values(&[text(bad)]).is_err(), "{bad}");
    }
}

#[test]
fn identities_stay_the_same_for_ever() {
    // Graves name keys by their identity across restarts: these numbers may never change.
    assert_eq!(id(&[ColumnType::Int64], &[Value::Int(42)]).to_u128(), INT);
    assert_eq!(id(&[ColumnType::Uuid], &[Value::Uuid([7; 16])]).to_u128(), UUID);
    assert_eq!(id(&[ColumnType::Text], &[text("walbrook")]).to_u128(), TEXT);
}

const INT: u128 = 0x4330_b071_2c91_25b0;
const UUID: u128 = 0x5a75_248c_b1da_d881_129e_d9e2_539f_b79c;
const TEXT: u128 = 0x79a4_a4c9_f3c0_7f2a_b175_cbde_c588_9c95;

#[test]
fn debug_does_not_show_the_identity() {
    assert_eq!(format!("{:?}", id(&[ColumnType::Int64], &[Value::Int(42)])), "KeyId(..)");
}

proptest! {
    #[test]
    fn one_narrow_key_is_a_bijection(a: i64, b: i64, secret: u64) {
        let mut reader = KeyReader::new(&schema(&[ColumnType::Int64]), secret).unwrap();
        let ids = [a, b].map(|v| reader.id_of_values(&[Value::Int(v)]).unwrap());
        prop_assert_eq!(ids[0] == ids[1], a == b);
        prop_assert_eq!(ids[0].high(), 0);
    }

    #[test]
    fn a_uuid_is_mixed_by_a_bijection(number: u128, secret: u64) {
        let id = mix_128(number, secret);
        let (mut high, mut low) = (id.high(), id.low());
        high ^= mix(low ^ secret.rotate_left(42));
        low ^= mix(high ^ secret.rotate_left(21));
        high ^= mix(low ^ secret);
        prop_assert_eq!((u128::from(high) << 64) | u128::from(low), number);
    }

    #[test]
    fn cells_do_not_run_into_each_other(a in "[ab]{0,3}", b in "[ab]{0,3}", c in "[ab]{0,3}", d in "[ab]{0,3}") {
        let types = [ColumnType::Text, ColumnType::Text];
        let same = id(&types, &[text(&a), text(&b)]) == id(&types, &[text(&c), text(&d)]);
        prop_assert_eq!(same, (a, b) == (c, d));
    }

    #[test]
    fn times_of_day_read_back(micros in 0i64..=86_400_000_000) {
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let text = format!("{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        prop_assert_eq!(parse_time(&text), Some(micros));
    }
}
