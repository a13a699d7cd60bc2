//! A table stores what its columns' types hold: that is why a source can tell before.

use proptest::prelude::*;
use walbrook_model::{ColumnType, Decimal};

use super::*;
use crate::key::KeyReader;
use crate::testing::{column, schema};

fn scalar() -> impl Strategy<Value = ColumnType> {
    use ColumnType::{
        Bool, Bytes, Date, Float32, Float64, Int16, Int32, Int64, Json, Text, Time, Timestamp, TimestampTz, Uuid,
    };
    prop_oneof![
        3 => (1_u8..=38).prop_flat_map(|precision| {
            (0..=precision).prop_map(move |scale| ColumnType::Decimal { precision, scale })
        }),
        10 => prop::sample::select(vec![
            Bool, Int16, Int32, Int64, Float32, Float64, Text, Json, Bytes, Uuid, Date, Time, Timestamp, TimestampTz,
        ]),
    ]
}

/// Numbers about the borders of types.
fn number() -> impl Strategy<Value = i64> {
    let borders = [0, 1 << 15, 1 << 31, 86_400_000_000, i64::MAX];
    prop_oneof![
        any::<i64>(),
        (prop::sample::select(borders.to_vec()), -2..=2_i64, any::<bool>()).prop_map(|(border, by, negative)| {
            let number = border.saturating_add(by);
            if negative { number.saturating_neg() } else { number }
        }),
    ]
}

/// A decimal, often one about the limit of some precision.
fn decimal() -> impl Strategy<Value = Decimal> {
    (0..=38_u32, -1..=1_i128, any::<bool>(), 0..=38_u8).prop_map(|(digits, by, negative, scale)| {
        let unscaled = 10_i128.pow(digits) + by;
        Decimal { unscaled: if negative { -unscaled } else { unscaled }, scale }
    })
}

/// A value that a cell of `ty` may decode to, or one of any other type.
fn value(ty: &ColumnType) -> BoxedStrategy<Value<'static>> {
    let mut all = vec![
        Just(Value::Null).boxed(),
        Just(Value::Unchanged).boxed(),
        any::<bool>().prop_map(Value::Bool).boxed(),
        number().prop_map(Value::Int).boxed(),
        any::<f32>().prop_map(Value::Float32).boxed(),
        any::<f64>().prop_map(Value::Float64).boxed(),
        decimal().prop_map(Value::Decimal).boxed(),
        ".{0,6}".prop_map(|text| Value::Text(text.into())).boxed(),
        prop::collection::vec(any::<u8>(), 0..6).prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        any::<i32>().prop_map(Value::Date).boxed(),
        number().prop_map(Value::Time).boxed(),
        number().prop_map(Value::Timestamp).boxed(),
        number().prop_map(Value::TimestampTz).boxed(),
    ];
    let own = match ty {
        ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => number().prop_map(Value::Int).boxed(),
        ColumnType::Decimal { precision, scale } => {
            let (limit, scale) = (10_i128.pow(u32::from(*precision)), *scale);
            (-limit..=limit).prop_map(move |unscaled| Value::Decimal(Decimal { unscaled, scale })).boxed()
        }
        ColumnType::Time => number().prop_map(Value::Time).boxed(),
        ColumnType::List(element) => prop::collection::vec(value(element), 0..4).prop_map(Value::List).boxed(),
        _ => prop::strategy::Union::new(all.clone()).boxed(),
    };
    all.push(own.clone());
    prop_oneof![own, prop::strategy::Union::new(all)].boxed()
}

fn case() -> impl Strategy<Value = (ColumnType, Value<'static>)> {
    let ty = prop_oneof![4 => scalar(), 1 => scalar().prop_map(|ty| ColumnType::List(Box::new(ty)))];
    ty.prop_flat_map(|ty| (Just(ty.clone()), value(&ty)))
}

/// What a column stores: the lake has an `int` for 16 bits too, and a `string` for times.
fn stores(ty: &ColumnType, value: &Value<'_>) -> bool {
    match (ty, value) {
        (ColumnType::List(element), Value::List(values)) => values.iter().all(|value| stores(element, value)),
        (ColumnType::Int16, value) => ColumnType::Int32.holds(value),
        (ColumnType::Text | ColumnType::Json | ColumnType::Time, value) => {
            ColumnType::Text.holds(value) || ColumnType::Time.holds(value)
        }
        (ty, value) => ty.holds(value),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_column_stores_what_its_type_holds((ty, value) in case()) {
        let holds = ty.holds(&value);
        let mut builder = ColumnBuilder::new(&LakeType::of(&ty, &mut 1), 1);
        prop_assert_eq!(builder.push(&value).is_ok(), stores(&ty, &value), "{:?} {:?}", ty, value);
        prop_assert!(!holds || stores(&ty, &value), "{:?} {:?}", ty, value);
        prop_assert_eq!(builder.finish().unwrap().len(), 1);
        let key = schema("s.t", vec![column("k", ty.clone())], &[0]);
        let id = KeyReader::new(&key, 7).unwrap().id_of_values(std::slice::from_ref(&value));
        prop_assert!(!holds || value == Value::Null || id.is_ok(), "{:?} {:?}", ty, value);
    }
}
