//! What a decoder gives is a value of its column's type, whatever the bytes are, and never a panic.

use proptest::prelude::*;

use super::*;

/// Each form, with the types that columns of it have.
fn forms() -> Vec<(Form, Vec<ColumnType>)> {
    use ColumnType as T;
    let numbers = [(1, 0), (5, 2), (19, 2), (38, 0), (38, 38)];
    let numbers = numbers.map(|(precision, scale)| T::Decimal { precision, scale }).to_vec();
    vec![
        (Form::Bool, vec![T::Bool]),
        (Form::Int, vec![T::Int16, T::Int32, T::Int64]),
        (Form::Float32, vec![T::Float32]),
        (Form::Float64, vec![T::Float64]),
        (Form::Text, vec![T::Text, T::Json]),
        (Form::Bytes, vec![T::Bytes]),
        (Form::UuidText, vec![T::Uuid]),
        (Form::Decimal, numbers),
        (Form::Days, vec![T::Date]),
        (Form::DateText, vec![T::Date]),
        (Form::TimeMillis, vec![T::Time]),
        (Form::TimeMicros, vec![T::Time]),
        (Form::TimeNanos, vec![T::Time]),
        (Form::TimeText, vec![T::Time]),
        (Form::TimestampMillis, vec![T::Timestamp]),
        (Form::TimestampMicros, vec![T::Timestamp]),
        (Form::TimestampNanos, vec![T::Timestamp]),
        (Form::TimestampText, vec![T::Timestamp]),
        (Form::Micros, vec![T::Timestamp, T::TimestampTz]),
        (Form::InstantMillis, vec![T::TimestampTz]),
        (Form::InstantText, vec![T::TimestampTz]),
        (Form::VariableScale, vec![T::Text]),
        (Form::Point, vec![T::Text]),
        (Form::Map, vec![T::Text]),
        (Form::Duration, vec![T::Text]),
    ]
}

/// A decoder and its type: of a value, or of a list with or without nulls.
fn case() -> impl Strategy<Value = (Form, ColumnType, bool, bool)> {
    let form = prop::sample::select(forms());
    let form = form.prop_flat_map(|(form, types)| (Just(form), prop::sample::select(types)));
    (form, any::<bool>(), any::<bool>()).prop_map(|((form, ty), is_list, nulls)| {
        let ty = if is_list { ColumnType::List(Box::new(ty)) } else { ty };
        (form, ty, is_list, nulls)
    })
}

fn long(number: i64) -> Vec<u8> {
    let mut rest = (number << 1 ^ number >> 63).cast_unsigned();
    let mut bytes = Vec::new();
    while rest > 0x7F {
        bytes.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
    bytes
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[-+]?[0-9]{1,6}-[01][0-9]-[0-3][0-9]([T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,7})?)?(Z|[+]0[0-9])?",
        "[012][0-9]:[0-6][0-9](:[0-6][0-9])?([.][0-9]{1,7})?Z?",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-g]{12}",
        "-?infinity|24:00:00Z|NaN",
        ".{0,9}",
    ]
}

/// One value of some kind, with its length where it has one.
fn avro_one() -> impl Strategy<Value = Vec<u8>> {
    let sized = |bytes: Vec<u8>| [long(i64::try_from(bytes.len()).unwrap()), bytes].concat();
    prop_oneof![
        prop_oneof![any::<i64>(), -4..4_i64, any::<i32>().prop_map(i64::from), Just(i64::MIN), Just(i64::MAX)]
            .prop_map(long),
        text().prop_map(move |text| sized(text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(sized),
        prop::collection::vec(any::<u8>(), 0..20),
        any::<f64>().prop_map(|number| number.to_le_bytes().to_vec()),
    ]
}

fn avro_bytes() -> impl Strategy<Value = Vec<u8>> {
    let block = |items: Vec<Vec<u8>>, nulls: bool| {
        let branch = if nulls { long(1) } else { Vec::new() };
        let count = long(i64::try_from(items.len()).unwrap());
        let items = items.into_iter().flat_map(move |item| [branch.clone(), item].concat());
        count.into_iter().chain(items).chain([0]).collect::<Vec<u8>>()
    };
    let list = (prop::collection::vec(avro_one(), 1..4), any::<bool>());
    prop_oneof![avro_one(), list.prop_map(move |(items, nulls)| block(items, nulls))]
}

fn json_one() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\"[A-Za-z0-9+/]{0,8}={0,2}\"",
        prop::sample::select(vec![
            "true",
            "null",
            "\"NaN\"",
            r#"{"scale":2,"value":"AQ=="}"#,
            r#"{"x":1.5,"y":-2}"#,
            r#"{"a":null,"b":"c"}"#,
        ])
        .prop_map(str::to_owned),
        ".{0,9}",
    ]
}

fn json_bytes() -> impl Strategy<Value = Vec<u8>> {
    let list = prop::collection::vec(json_one(), 0..4).prop_map(|items| format!("[{}]", items.join(",")));
    prop_oneof![json_one(), list].prop_map(String::into_bytes)
}

fn check(notation: Notation, (form, ty, is_list, nulls): (Form, ColumnType, bool, bool), bytes: &[u8]) {
    let decoded = decoder(notation, form, is_list, nulls)(&ty, bytes);
    if let Ok(value) = &decoded {
        assert!(ty.holds(value), "{form:?} {ty:?} {value:?}");
    }
    let meaning = Meaning { ty, form, eager: None, nullable_elements: nulls };
    if let Some(check) = super::check(notation, &meaning) {
        assert_eq!(check(&meaning.ty, bytes), decoded.is_ok(), "{meaning:?} {decoded:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn what_a_decoder_gives_its_column_holds(case in case(), avro in avro_bytes(), json in json_bytes()) {
        check(Notation::Avro, case.clone(), &avro);
        check(Notation::Json, case, &json);
    }
}

#[test]
fn a_cell_that_means_too_much_is_refused_without_its_value() {
    let refused = |form, ty: ColumnType, bytes: &[u8]| {
        let error = decoder(Notation::Avro, form, false, false)(&ty, bytes).unwrap_err().to_string();
        assert!(!error.bytes().any(|byte| byte.is_ascii_digit()), "{error}");
        error
    };
    let number = ColumnType::Decimal { precision: 3, scale: 1 };
    assert!(refused(Form::Decimal, number, &[4, 0x03, 0xE8]).contains("more digits"));
    assert!(refused(Form::Int, ColumnType::Int16, &long(32_768)).contains("range"));
    assert!(refused(Form::TimeMicros, ColumnType::Time, &long(86_400_000_001)).contains("outside of the day"));
    assert!(refused(Form::TimeNanos, ColumnType::Time, &long(1)).contains("fraction of a microsecond"));
    assert!(refused(Form::Micros, ColumnType::TimestampTz, &long(i64::MIN)).contains("range"));
    assert!(refused(Form::Days, ColumnType::Date, &long(1 << 31)).contains("range"));
    assert!(refused(Form::UuidText, ColumnType::Uuid, b"\x08uuid").contains("UUID"));
    assert!(refused(Form::DateText, ColumnType::Date, b"\x14yesterdays").contains("date"));
}
