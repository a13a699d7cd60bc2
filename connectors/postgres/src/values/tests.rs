use std::fmt::Write as _;

use proptest::prelude::*;
use walbrook_model::{Decimal, ErrorKind, Value};

use super::*;

fn decode(ty: &ColumnType, text: &str) -> walbrook_model::Result<Value<'static>> {
    decoder(ty)(ty, text.as_bytes()).map(Value::into_owned)
}

fn list_of(element: ColumnType) -> ColumnType {
    ColumnType::List(Box::new(element))
}

fn number(precision: u8, scale: u8) -> ColumnType {
    ColumnType::Decimal { precision, scale }
}

fn unscaled<'a>(unscaled: i128, scale: u8) -> Value<'a> {
    Value::Decimal(Decimal { unscaled, scale })
}

fn words<'a>(texts: &[&'a str]) -> Value<'a> {
    Value::List(texts.iter().map(|text| Value::Text((*text).into())).collect())
}

#[track_caller]
fn check(ty: &ColumnType, text: &str, expected: &Value<'_>) {
    assert_eq!(decode(ty, text).unwrap(), *expected, "{ty:?} {text}");
}

/// Every text is refused, without being quoted.
#[track_caller]
fn refuse(ty: &ColumnType, texts: &[&str]) {
    refuse_with(decoder(ty), ty, texts);
}

#[track_caller]
fn refuse_with(decode: DecodeCell, ty: &ColumnType, texts: &[&str]) {
    for text in texts {
        match decode(ty, text.as_bytes()) {
            Ok(value) => panic!("{ty:?} takes {text:?} as {value:?}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Data, "{text:?}");
                assert!(text.len() < 4 || !error.to_string().contains(text), "{error}");
            }
        }
    }
}

#[test]
fn booleans() {
    check(&ColumnType::Bool, "t", &Value::Bool(true));
    check(&ColumnType::Bool, "f", &Value::Bool(false));
    refuse(&ColumnType::Bool, &["", "true", "T", "1", "t "]);
}

#[test]
fn integers() {
    check(&ColumnType::Int16, "-32768", &Value::Int(-32768));
    check(&ColumnType::Int32, "2147483647", &Value::Int(2_147_483_647));
    check(&ColumnType::Int64, "0", &Value::Int(0));
    check(&ColumnType::Int64, "-9223372036854775808", &Value::Int(i64::MIN));
    check(&ColumnType::Int64, "9223372036854775807", &Value::Int(i64::MAX));
    refuse(&ColumnType::Int16, &["32768", "-32769"]);
    refuse(&ColumnType::Int32, &["2147483648", "-2147483649"]);
    refuse(&ColumnType::Int64, &["", "-", "+1", " 1", "1 ", "1.0", "0x1", "--1", "12345678901234567890123"]);
    refuse(&ColumnType::Int64, &["9223372036854775808", "-9223372036854775809", "99999999999999999999"]);
    assert_eq!(oid(&ColumnType::Int64, b"4294967295").unwrap(), Value::Int(4_294_967_295));
    refuse_with(oid, &ColumnType::Int64, &["-1", "4294967296", ""]);
}

#[test]
fn floats_keep_their_bits() {
    #[track_caller]
    fn bits(text: &str, expected: f64) {
        let Value::Float64(value) = decode(&ColumnType::Float64, text).unwrap() else { panic!("{text}") };
        assert_eq!(value.to_bits(), expected.to_bits(), "{text}");
    }
    #[track_caller]
    fn single_bits(text: &str, expected: u32) {
        let Value::Float32(value) = decode(&ColumnType::Float32, text).unwrap() else { panic!("{text}") };
        assert_eq!(value.to_bits(), expected, "{text}");
    }
    bits("-0", -0.0);
    bits("5e-324", f64::from_bits(1));
    bits("1.7976931348623157e+308", f64::MAX);
    bits("0.30000000000000004", 0.1 + 0.2);
    bits("Infinity", f64::INFINITY);
    bits("-Infinity", f64::NEG_INFINITY);
    assert!(matches!(decode(&ColumnType::Float64, "NaN"), Ok(Value::Float64(n)) if n.is_nan()));
    single_bits("1e-45", 1);
    single_bits("-0", 0x8000_0000);
    single_bits("3.4028235e+38", f32::MAX.to_bits());
    single_bits("Infinity", f32::INFINITY.to_bits());
    // Between two floats and just above the middle of them, but not as a double.
    single_bits("1.00000005960464484", 0x3F80_0001);
    assert!(matches!(decode(&ColumnType::Float32, "NaN"), Ok(Value::Float32(n)) if n.is_nan()));
    for ty in [ColumnType::Float32, ColumnType::Float64] {
        refuse(&ty, &["", "-", "nan", "inf", "infinity", "+1", ".5", "1,5", "1e999", "-1e999", "1x", "-NaN"]);
    }
}

#[test]
fn decimals_are_exact() {
    check(&number(5, 2), "0.00", &unscaled(0, 2));
    check(&number(5, 2), "-999.99", &unscaled(-99_999, 2));
    check(&number(5, 2), "1.5", &unscaled(150, 2));
    check(&number(5, 2), "7", &unscaled(700, 2));
    check(&number(5, 2), "1.2500", &unscaled(125, 2));
    check(&number(5, 0), "12300", &unscaled(12_300, 0));
    check(&number(5, 5), "0.00123", &unscaled(123, 5));
    let nines = "9".repeat(38);
    check(&number(38, 0), &nines, &unscaled(10_i128.pow(38) - 1, 0));
    check(&number(38, 37), &format!("-9.{}", "9".repeat(37)), &unscaled(-(10_i128.pow(38) - 1), 37));
    refuse(&number(5, 2), &["1000.00", "0.001", "NaN", "Infinity", "-Infinity", "", "-", ".5", "1e2", "1..2", "+1"]);
    refuse(&number(38, 0), &[&format!("1{}", "0".repeat(38)), &"9".repeat(39), &"9".repeat(200)]);
}

#[test]
fn nothing_that_a_decimal_cannot_hold_becomes_null() {
    for text in ["NaN", "Infinity", "1000.00"] {
        let error = decode(&number(5, 2), text).unwrap_err();
        assert!(error.remedy_text().is_some_and(|remedy| remedy.contains("exclude_columns")), "{error}");
    }
}

#[test]
fn money_is_read_as_the_locale_c_prints_it() {
    let ty = number(19, 2);
    let read = |text: &'static str| money(&ty, text.as_bytes());
    for (text, cents) in [
        ("$0.00", 0),
        ("-$0.01", -1),
        ("$1,234.56", 123_456),
        ("-$92,233,720,368,547,758.08", i128::from(i64::MIN)),
        ("$92,233,720,368,547,758.07", i128::from(i64::MAX)),
    ] {
        assert_eq!(read(text).unwrap(), unscaled(cents, 2), "{text}");
    }
    refuse_with(money, &ty, &["", "$", "1.00", "$1", "$1.0", "$1.000", "$1,23.00", "$1234.00", "$,123.00", "$.00"]);
    refuse_with(money, &ty, &["1.234,56 \u{20ac}", "\u{ffe5}1,234", "($1.00)", "$-1.00", "$1,234,56", "$a.00"]);
}

#[test]
fn text_is_kept_as_sent() {
    for sent in ["", "ab   ", "CaSe", "\u{1F600}", "a\tb\n", "\\N", "P1M-1DT0.000001S", "[1,5)", "B'101'"] {
        check(&ColumnType::Text, sent, &Value::Text(sent.into()));
    }
    let document = r#"{"a": 1,  "a":2, "big": 12345678901234567890.10}"#;
    check(&ColumnType::Json, document, &Value::Text(document.into()));
    let error = text(&ColumnType::Text, b"caf\xe9").unwrap_err();
    assert!(error.remedy_text().is_some() && !error.to_string().contains("caf"));
}

#[test]
fn text_is_not_copied() {
    let cell = b"text".as_slice();
    let Value::Text(std::borrow::Cow::Borrowed(text)) = text(&ColumnType::Text, cell).unwrap() else {
        panic!("copied")
    };
    assert_eq!(text.as_ptr(), cell.as_ptr());
}

#[test]
fn bytes_in_hex() {
    check(&ColumnType::Bytes, r"\x", &Value::Bytes(vec![].into()));
    check(&ColumnType::Bytes, r"\x00ff1A", &Value::Bytes(vec![0, 0xFF, 0x1A].into()));
    refuse(&ColumnType::Bytes, &["", "00", r"\x0", r"\xzz", r"\x0g", r"\000\377", "x00"]);
}

#[test]
fn uuids() {
    let text = "00112233-4455-6677-8899-aabbccddeeff";
    let expected: Vec<u8> = (0..16).map(|n| n * 0x11).collect();
    check(&ColumnType::Uuid, text, &Value::Uuid(expected.try_into().unwrap()));
    check(&ColumnType::Uuid, &text.to_uppercase(), &decode(&ColumnType::Uuid, text).unwrap());
    refuse(&ColumnType::Uuid, &["", "00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-aabbccddeefg"]);
    refuse(&ColumnType::Uuid, &["0011223-34455-6677-8899-aabbccddeeff", "{0112233-4455-6677-8899-aabbccddeef}"]);
}

#[test]
fn dates() {
    for (text, days) in [
        ("1970-01-01", 0),
        ("1969-12-31", -1),
        ("2000-02-29", 11_016),
        ("1582-10-10", -141_432),
        ("0001-01-01", -719_162),
        ("0001-12-31 BC", -719_163),
        ("0001-02-29 BC", -719_469),
        ("4713-01-01 BC", -2_440_550),
        ("4714-11-24 BC", -2_440_588),
        ("5874897-12-31", 2_145_042_905),
        ("infinity", i32::MAX),
        ("-infinity", -i32::MAX),
    ] {
        check(&ColumnType::Date, text, &Value::Date(days));
    }
    let calendar = ["2023-02-29", "1900-02-29", "2024-13-01", "2024-00-01", "2024-01-00", "2024-04-31", "0000-01-01"];
    refuse(&ColumnType::Date, &calendar);
    refuse(&ColumnType::Date, &["", "24-01-01", "2024-1-01", "2024-01-01 ", "2024-01-01BC", "01/02/2024", "Infinity"]);
    refuse(&ColumnType::Date, &["9999999-12-31", "9999999-12-31 BC", "99999999-12-31", "-2024-01-01"]);
}

#[test]
fn times_of_day() {
    for (text, micros) in [
        ("00:00:00", 0),
        ("23:59:59.999999", 86_399_999_999),
        ("24:00:00", 86_400_000_000),
        ("12:34:56.5", 45_296_500_000),
        ("00:00:00.000001", 1),
    ] {
        check(&ColumnType::Time, text, &Value::Time(micros));
    }
    refuse(&ColumnType::Time, &["", "24:00:00.000001", "25:00:00", "23:60:00", "23:00:60", "1:00:00", "12:00"]);
    refuse(&ColumnType::Time, &["12:00:00.", "12:00:00.0000001", "12:00:00+00", "12:00:00 PM"]);
}

#[test]
fn timestamps() {
    for (text, micros) in [
        ("1970-01-01 00:00:00", 0),
        ("1969-12-31 23:59:59.999999", -1),
        ("2024-02-29 23:59:59.123456", 1_709_251_199_123_456),
        ("0044-03-15 12:00:00 BC", -63_517_780_800_000_000),
        ("4714-11-24 00:00:00 BC", -210_866_803_200_000_000),
        ("294247-01-10 04:00:54.775806", i64::MAX - 1),
        ("infinity", i64::MAX),
        ("-infinity", -i64::MAX),
    ] {
        check(&ColumnType::Timestamp, text, &Value::Timestamp(micros));
        let (plain, era) = text.strip_suffix(" BC").map_or((text, ""), |plain| (plain, " BC"));
        let zone = if text.ends_with("infinity") { "" } else { "+00" };
        check(&ColumnType::TimestampTz, &format!("{plain}{zone}{era}"), &Value::TimestampTz(micros));
    }
    refuse(&ColumnType::Timestamp, &["", "2024-02-29", "2024-02-29T00:00:00", "2024-02-29 24:00:00"]);
    refuse(&ColumnType::Timestamp, &["2024-02-29 00:00:00+00", "2024-02-29 00:00", "2024-02-30 00:00:00"]);
    refuse(&ColumnType::TimestampTz, &["2024-02-29 00:00:00", "2024-02-29 00:00:00+01", "2024-02-29 00:00:00+00:00"]);
}

#[test]
fn a_timestamp_beyond_64_bits_is_an_error_with_a_remedy() {
    // The last two are finite numbers that stand for infinity.
    let texts = ["294276-12-31 23:59:59.999999", "294247-01-10 04:00:54.775808", "294247-01-10 04:00:54.775807"];
    for text in texts {
        let error = decode(&ColumnType::Timestamp, text).unwrap_err();
        assert!(error.kind() == ErrorKind::Data && error.remedy_text().is_some(), "{text}");
    }
}

#[test]
fn lists() {
    let text = list_of(ColumnType::Text);
    check(&text, "{}", &Value::List(vec![]));
    check(&text, r#"{""}"#, &words(&[""]));
    check(&text, "{a,b c,null}", &words(&["a", "b c", "null"]));
    let parts = [Value::Text("a,b".into()), Value::Text("NULL".into()), Value::Null, Value::Text(r#"q"\"#.into())];
    check(&text, r#"{"a,b","NULL",NULL,"q\"\\"}"#, &Value::List(parts.into()));
    check(&text, r#"{"{}","\\\\","a\nb"}"#, &words(&["{}", r"\\", "anb"]));
    check(&list_of(ColumnType::Int32), "{1,NULL,-3}", &Value::List(vec![Value::Int(1), Value::Null, Value::Int(-3)]));
    check(&list_of(number(4, 1)), "{1.5}", &Value::List(vec![unscaled(15, 1)]));
    let instant = Value::List(vec![Value::TimestampTz(0), Value::TimestampTz(i64::MAX)]);
    check(&list_of(ColumnType::TimestampTz), r#"{"1970-01-01 00:00:00+00",infinity}"#, &instant);
    check(&list_of(ColumnType::Bytes), r#"{"\\x00"}"#, &Value::List(vec![Value::Bytes(vec![0].into())]));
    let boxes = list_with_semicolons(&text, b"{(1,1),(0,0);NULL}").unwrap();
    assert_eq!(boxes, Value::List(vec![Value::Text("(1,1),(0,0)".into()), Value::Null]));
    assert_eq!(list_with_colons(&text, b"{0101:0102}").unwrap(), words(&["0101", "0102"]));
    let amounts = list_of_money(&list_of(number(19, 2)), br#"{$1.00,"-$1,234.50"}"#).unwrap();
    assert_eq!(amounts, Value::List(vec![unscaled(100, 2), unscaled(-123_450, 2)]));
}

#[test]
fn what_is_no_list_is_an_error() {
    let ty = list_of(ColumnType::Text);
    refuse(
        &ty,
        &["", "{", "}", "a", "{a", "a}", "{a,}", "{,a}", "{a}b", r#"{"a}"#, r#"{"a\"#, r#"{"a"b}"#, r#"{a"b"}"#],
    );
    refuse(&ty, &["{a,{b}}", "{}}", "{a}}", r"{a\}", "{a,b"]);
    for text in ["{{1,2},{3,4}}", "[0:1]={1,2}", "[0:1][2:3]={{1,2},{3,4}}"] {
        let error = decode(&list_of(ColumnType::Int32), text).unwrap_err();
        assert!(error.kind() == ErrorKind::Data && error.remedy_text().is_some(), "{text}");
    }
    refuse(&list_of(ColumnType::Int32), &["{1,x}", "{2147483648}"]);
}

#[test]
fn the_single_element_of_an_array() {
    for (array, element) in [
        ("{7}", Some("7")),
        ("{NULL}", None),
        (r#"{"NULL"}"#, Some("NULL")),
        (r#"{""}"#, Some("")),
        (r#"{"{\"a,b\",\"\\\\\"}"}"#, Some(r#"{"a,b","\\"}"#)),
        ("{(1,1),(0,0)}", Some("(1,1),(0,0)")),
    ] {
        assert_eq!(single_element(array.as_bytes()).unwrap().as_deref(), element.map(str::as_bytes), "{array}");
    }
    for array in ["", "{", "{}", "7", r#"{"a}"#, r#"{"a"b}"#] {
        assert!(single_element(array.as_bytes()).is_err(), "{array}");
    }
}

/// As the server prints an array of texts: `array_out`.
fn print(elements: &[Option<String>]) -> String {
    let element = |element: &Option<String>| match element {
        None => "NULL".to_owned(),
        Some(text) => {
            let special = |c: char| "{},\"\\ \t\n\r\u{b}\u{c}".contains(c);
            if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
                format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
            } else {
                text.clone()
            }
        }
    };
    format!("{{{}}}", elements.iter().map(element).collect::<Vec<_>>().join(","))
}

/// A day counted one by one from 1970.
fn civil(days: i64) -> (i64, u32, u32) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut left) = (1970 + 400 * days.div_euclid(146_097), days.rem_euclid(146_097));
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    (year, u32::try_from(month).unwrap() + 1, u32::try_from(left).unwrap() + 1)
}

/// As the server prints a timestamp, or a date if there is no time.
fn print_time(days: i64, micros: Option<i64>, zone: &str) -> String {
    let (year, month, day) = civil(days);
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let mut text = format!("{shown:04}-{month:02}-{day:02}");
    if let Some(micros) = micros {
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        write!(text, " {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60).unwrap();
        if fraction > 0 {
            text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
        }
    }
    text + zone + era
}

fn any_type() -> impl Strategy<Value = ColumnType> {
    use ColumnType::{Bool, Bytes, Date, Float32, Float64, Int16, Int32, Int64, Json, Text, Time, Timestamp, Uuid};
    let plain = [Bool, Int16, Int32, Int64, Float32, Float64, Text, Json, Bytes, Uuid, Date, Time, Timestamp];
    let plain = plain.into_iter().chain([ColumnType::TimestampTz, number(1, 0), number(38, 38), number(10, 2)]);
    let lists: Vec<ColumnType> = plain.flat_map(|ty| [ty.clone(), list_of(ty)]).collect();
    prop::sample::select(lists)
}

/// Bytes that look like what the server prints.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    let alphabet = br#"0123456789-+.:, {}[]"\xaNBCULinfty$T=;"#.to_vec();
    prop_oneof![
        prop::collection::vec(prop::sample::select(alphabet), 0..40),
        prop::collection::vec(any::<u8>(), 0..40),
        "[0-9]{1,60}(\\.[0-9]{0,60})?".prop_map(String::into_bytes),
        "[0-9]{4,8}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,7})?)?(\\+00)?( BC)?"
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(ty in any_type(), bytes in likely_bytes()) {
        let others = [money, oid, list_of_money, list_with_semicolons, list_with_colons];
        for decode in [decoder(&ty)].into_iter().chain(others.map(|decode| decode as DecodeCell)) {
            if let Err(error) = decode(&ty, &bytes) {
                let bug = error.kind() == ErrorKind::Bug && error.message().starts_with("a column with the decoder");
                prop_assert!(bug || error.kind() == ErrorKind::Data);
            }
        }
        let _ = single_element(&bytes);
    }

    #[test]
    fn arrays_come_back(elements: Vec<Option<String>>) {
        let printed = print(&elements);
        let value = |element: &Option<String>| element.clone().map_or(Value::Null, |text| Value::Text(text.into()));
        let expected = Value::List(elements.iter().map(value).collect());
        prop_assert_eq!(decode(&list_of(ColumnType::Text), &printed).unwrap(), expected);
        if let [element] = &*elements {
            let single = single_element(printed.as_bytes()).unwrap();
            prop_assert_eq!(single.as_deref(), element.as_deref().map(str::as_bytes));
        }
    }

    #[test]
    fn decimals_come_back(unscaled in any::<i128>(), precision in 1..=38_u8, scale_of in 0..=38_u8) {
        let scale = scale_of.min(precision);
        let decimal = Decimal { unscaled: unscaled % 10_i128.pow(u32::from(precision)), scale };
        prop_assert_eq!(decode(&number(precision, scale), &decimal.to_string()).unwrap(), Value::Decimal(decimal));
        let above = Decimal { unscaled: 10_i128.pow(u32::from(precision)), scale };
        prop_assert!(decode(&number(precision, scale), &above.to_string()).is_err());
    }

    #[test]
    fn integers_and_floats_come_back(n: i64, double: f64, single: f32) {
        prop_assert_eq!(decode(&ColumnType::Int64, &n.to_string()).unwrap(), Value::Int(n));
        if double.is_finite() {
            let printed = format!("{double:e}");
            let Value::Float64(value) = decode(&ColumnType::Float64, &printed).unwrap() else { panic!() };
            prop_assert_eq!(value.to_bits(), double.to_bits());
        }
        if single.is_finite() {
            let printed = format!("{single:e}");
            let Value::Float32(value) = decode(&ColumnType::Float32, &printed).unwrap() else { panic!() };
            prop_assert_eq!(value.to_bits(), single.to_bits());
        }
    }

    #[test]
    fn days_and_instants_come_back(days in -2_440_588..=2_145_042_905_i32, micros in 0..86_400_000_000_i64) {
        let printed = print_time(days.into(), None, "");
        prop_assert_eq!(decode(&ColumnType::Date, &printed).unwrap(), Value::Date(days));
        if days < 106_751_991 {
            let (day, instant) = (i64::from(days), i64::from(days) * 86_400_000_000 + micros);
            let printed = print_time(day, Some(micros), "");
            prop_assert_eq!(decode(&ColumnType::Timestamp, &printed).unwrap(), Value::Timestamp(instant));
            let printed = print_time(day, Some(micros), "+00");
            prop_assert_eq!(decode(&ColumnType::TimestampTz, &printed).unwrap(), Value::TimestampTz(instant));
        }
        let printed = print_time(0, Some(micros), "");
        let time = printed.strip_prefix("1970-01-01 ").unwrap();
        prop_assert_eq!(decode(&ColumnType::Time, time).unwrap(), Value::Time(micros));
    }

    #[test]
    fn bytes_and_uuids_come_back(bytes: Vec<u8>, uuid: [u8; 16]) {
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let printed = format!("\\x{}", hex(&bytes));
        prop_assert_eq!(decode(&ColumnType::Bytes, &printed).unwrap(), Value::Bytes(bytes.into()));
        let parts = [&uuid[..4], &uuid[4..6], &uuid[6..8], &uuid[8..10], &uuid[10..]];
        prop_assert_eq!(decode(&ColumnType::Uuid, &parts.map(hex).join("-")).unwrap(), Value::Uuid(uuid));
    }
}
