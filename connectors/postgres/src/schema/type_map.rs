//! (type, modifier) -> column type, decoder and name.
//!
//! - A domain is its base type, and so on down; the innermost modifier counts.
//! - An array is a list of its element type. An element that is itself an array (by way of a domain) is text.
//! - An enum is text. Its labels may get more at any time, so they are looked up again with every description of a table.
//! - What has no better form is text as the server prints it. Such a type of an extension is noted, since walbrook knows
//!   nothing about it ([`TypeMap::unknown`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use tokio_postgres::Client;
use walbrook_model::{ColumnType, DecodeCell, Result};

use crate::sql;
use crate::values;

/// A type as a column declares it: its number, and its modifier or -1.
pub(crate) type Declared = (u32, i32);

/// What a column of the type becomes.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) ty: ColumnType,
    pub(crate) decoder: DecodeCell,
    /// Of the cells' binary form, if that is known.
    pub(crate) binary: Option<DecodeCell>,
    /// The server's name of the type, with its modifier.
    pub(crate) name: String,
    /// That of the type below all domains, if it is a domain.
    pub(crate) base: Option<String>,
    /// Of an enum, or an array of one, in order.
    pub(crate) labels: Option<Vec<String>>,
}

/// What is known of the server's types. Built-in scalar types need no look at the catalog; all others stay here once
/// they were looked up, also when they are dropped.
#[derive(Debug, Default)]
pub(crate) struct TypeMap {
    types: HashMap<u32, PgType>,
    names: HashMap<Declared, String>,
    labels: HashMap<u32, Vec<String>>,
    unknown: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PgType {
    /// The column type follows from the number alone.
    BuiltIn,
    Domain {
        base: u32,
        modifier: i32,
    },
    Array {
        element: u32,
        delimiter: u8,
    },
    Enum,
    /// Anything of an extension, or made by a user.
    Other,
}

/// Deeper nesting is no type that a server lets one make by hand, and would only cost time.
const DEPTH_MAX: usize = 64;

const QUERY: &str = "\
    WITH RECURSIVE wanted AS ( \
        SELECT unnest($1::oid[]) AS oid \
        UNION \
        SELECT next FROM wanted w JOIN pg_type t ON t.oid = w.oid, unnest(ARRAY[t.typbasetype, t.typelem]) next \
        WHERE next <> 0 \
    ) \
    SELECT t.oid, \
        CASE WHEN t.typtype = 'd' THEN 'domain' \
             WHEN t.typoutput = 'array_out'::regproc THEN 'array' \
             WHEN t.typtype = 'e' THEN 'enum' \
             WHEN t.typtype = 'b' AND t.typnamespace <> 'pg_catalog'::regnamespace THEN 'extension' \
             ELSE 'other' END, \
        t.typbasetype, t.typtypmod, t.typelem, \
        ascii(coalesce(e.typdelim, ',')::text), format_type(t.oid, NULL), t.typname::text \
    FROM wanted w JOIN pg_type t ON t.oid = w.oid LEFT JOIN pg_type e ON e.oid = t.typelem";

const NAMES: &str = "\
    SELECT d.oid, d.modifier, format_type(d.oid, d.modifier) \
    FROM unnest($1::oid[], $2::int4[]) d(oid, modifier) JOIN pg_type t ON t.oid = d.oid";

const LABELS: &str = "\
    SELECT enumtypid, array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = ANY($1) \
    GROUP BY enumtypid";

/// Types of extensions that are text without a loss and without surprise.
const TEXT_OF_EXTENSIONS: [&str; 8] = ["citext", "hstore", "ltree", "lquery", "ltxtquery", "cube", "seg", "vector"];

impl TypeMap {
    /// Looks up the types that are not known yet, and the labels of enums.
    pub(crate) async fn load(&mut self, client: &Client, declared: &[Declared]) -> Result<()> {
        self.load_types(client, declared).await?;
        let enums: BTreeSet<u32> =
            declared.iter().filter_map(|(oid, modifier)| self.enumeration(*oid, *modifier)).collect();
        if enums.is_empty() {
            return Ok(());
        }
        for row in client.query(LABELS, &[&Vec::from_iter(enums)]).await.map_err(sql::error)? {
            let (oid, labels) = (row.try_get(0).map_err(sql::error)?, row.try_get(1).map_err(sql::error)?);
            self.labels.insert(oid, labels);
        }
        Ok(())
    }

    async fn load_types(&mut self, client: &Client, declared: &[Declared]) -> Result<()> {
        let missing: HashSet<Declared> =
            declared.iter().filter(|pair| !self.names.contains_key(pair)).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let oids: Vec<u32> = missing.iter().map(|(oid, _)| *oid).collect();
        for row in client.query(QUERY, &[&oids]).await.map_err(sql::error)? {
            self.add(&row).map_err(sql::error)?;
        }
        let bases: HashSet<Declared> = missing.iter().map(|(oid, modifier)| self.below(*oid, *modifier)).collect();
        let (oids, modifiers): (Vec<u32>, Vec<i32>) = missing.union(&bases).copied().unzip();
        for row in client.query(NAMES, &[&oids, &modifiers]).await.map_err(sql::error)? {
            let (oid, modifier, name) = (row.try_get(0), row.try_get(1), row.try_get(2));
            self.names.insert((oid.map_err(sql::error)?, modifier.map_err(sql::error)?), name.map_err(sql::error)?);
        }
        Ok(())
    }

    fn add(&mut self, row: &tokio_postgres::Row) -> Result<(), tokio_postgres::Error> {
        let oid: u32 = row.try_get(0)?;
        let kind: &str = row.try_get(1)?;
        let delimiter: i32 = row.try_get(5)?;
        let ty = match kind {
            "domain" => PgType::Domain { base: row.try_get(2)?, modifier: row.try_get(3)? },
            "enum" => PgType::Enum,
            "array" => PgType::Array { element: row.try_get(4)?, delimiter: u8::try_from(delimiter).unwrap_or(0) },
            _ if scalar(oid, -1).is_some() => PgType::BuiltIn,
            _ => PgType::Other,
        };
        let name: &str = row.try_get(7)?;
        if kind == "extension" && !TEXT_OF_EXTENSIONS.contains(&name) {
            self.unknown.insert(row.try_get(6)?);
        }
        self.types.insert(oid, ty);
        Ok(())
    }

    /// What a column becomes. A type that the catalog does not have any more is text.
    pub(crate) fn resolve(&self, oid: u32, modifier: i32) -> Resolved {
        let base = self.base(oid, modifier);
        let (ty, decoder) = match base {
            (PgType::Array { element, delimiter }, _, modifier) => self.list(element, modifier, delimiter),
            (_, oid, modifier) => scalar(oid, modifier).unwrap_or((ColumnType::Text, values::text)),
        };
        let binary = self.has_binary_form(base.0, base.1, &ty).then(|| values::binary::decoder(&ty));
        let name = self.names.get(&(oid, modifier)).cloned().unwrap_or_else(|| format!("type {oid}"));
        let below = self.below(oid, modifier);
        let base = if below == (oid, modifier) { None } else { self.names.get(&below).cloned() };
        let labels = self.enumeration(oid, modifier).and_then(|oid| self.labels.get(&oid)).cloned();
        Resolved { ty, decoder, binary, name, base, labels }
    }

    /// Whether the binary form of a value, below all domains, is one that [`values::binary`] reads as `becomes`.
    fn has_binary_form(&self, ty: PgType, oid: u32, becomes: &ColumnType) -> bool {
        match (ty, becomes) {
            (PgType::Array { element, .. }, ColumnType::List(becomes)) => match self.base(element, -1) {
                (PgType::Array { .. }, ..) => false,
                (ty, oid, _) => self.has_binary_form(ty, oid, becomes),
            },
            // It prints with a sign for a currency, and its binary form does not say how many digits are behind the point.
            (PgType::BuiltIn, _) if oid == built_in::MONEY => false,
            (PgType::BuiltIn | PgType::Other, ColumnType::Text) => built_in::SENT_AS_TEXT.contains(&oid),
            (PgType::Enum, ColumnType::Text) | (PgType::BuiltIn, _) => true,
            _ => false,
        }
    }

    /// The type below all domains.
    fn below(&self, oid: u32, modifier: i32) -> Declared {
        let (_, oid, modifier) = self.base(oid, modifier);
        (oid, modifier)
    }

    /// The enum that the values, or the elements of their arrays, are of.
    fn enumeration(&self, oid: u32, modifier: i32) -> Option<u32> {
        match self.base(oid, modifier) {
            (PgType::Enum, oid, _) => Some(oid),
            (PgType::Array { element, .. }, ..) => (self.types.get(&element) == Some(&PgType::Enum)).then_some(element),
            _ => None,
        }
    }

    /// Types that are kept as text although walbrook does not know them.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(String::as_str)
    }

    /// The type below all domains, with its number and modifier.
    fn base(&self, mut oid: u32, mut modifier: i32) -> (PgType, u32, i32) {
        for _ in 0..DEPTH_MAX {
            match self.types.get(&oid).copied() {
                Some(PgType::Domain { base, modifier: inner }) => (oid, modifier) = (base, inner),
                Some(ty) => return (ty, oid, modifier),
                None => return (PgType::BuiltIn, oid, modifier),
            }
        }
        (PgType::Other, 0, -1)
    }

    fn list(&self, element: u32, modifier: i32, delimiter: u8) -> (ColumnType, DecodeCell) {
        let (ty, oid, modifier) = self.base(element, modifier);
        let element = match ty {
            PgType::Array { .. } => None,
            _ => scalar(oid, modifier),
        };
        let ty = element.map_or(ColumnType::Text, |(ty, _)| ty);
        let list: DecodeCell = match delimiter {
            b',' if oid == built_in::MONEY => values::list_of_money,
            b',' => values::list,
            b';' if oid != built_in::MONEY => values::list_with_semicolons,
            b':' if oid != built_in::MONEY => values::list_with_colons,
            _ => return (ColumnType::Text, values::text),
        };
        (ColumnType::List(Box::new(ty)), list)
    }
}

/// Numbers of built-in types: `pg_type.dat` of the server, fixed for ever.
mod built_in {
    pub(super) const BOOL: u32 = 16;
    pub(super) const BYTEA: u32 = 17;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const OID: u32 = 26;
    pub(super) const JSON: u32 = 114;
    pub(super) const FLOAT4: u32 = 700;
    pub(super) const FLOAT8: u32 = 701;
    pub(super) const MONEY: u32 = 790;
    pub(super) const DATE: u32 = 1082;
    pub(super) const TIME: u32 = 1083;
    pub(super) const TIMESTAMP: u32 = 1114;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const NUMERIC: u32 = 1700;
    pub(super) const UUID: u32 = 2950;
    pub(super) const JSONB: u32 = 3802;

    /// `name`, `text`, `bpchar`, `varchar`: their binary form is their text.
    pub(super) const SENT_AS_TEXT: [u32; 4] = [19, 25, 1042, 1043];
}

/// The column type of a built-in type that is more than text.
fn scalar(oid: u32, modifier: i32) -> Option<(ColumnType, DecodeCell)> {
    let ty = match oid {
        built_in::BOOL => ColumnType::Bool,
        built_in::BYTEA => ColumnType::Bytes,
        built_in::INT2 => ColumnType::Int16,
        built_in::INT4 => ColumnType::Int32,
        built_in::INT8 => ColumnType::Int64,
        built_in::OID => return Some((ColumnType::Int64, values::oid)),
        built_in::JSON | built_in::JSONB => ColumnType::Json,
        built_in::FLOAT4 => ColumnType::Float32,
        built_in::FLOAT8 => ColumnType::Float64,
        built_in::MONEY => return Some((ColumnType::Decimal { precision: 19, scale: 2 }, values::money)),
        built_in::DATE => ColumnType::Date,
        built_in::TIME => ColumnType::Time,
        built_in::TIMESTAMP => ColumnType::Timestamp,
        built_in::TIMESTAMPTZ => ColumnType::TimestampTz,
        built_in::NUMERIC => numeric(modifier),
        built_in::UUID => ColumnType::Uuid,
        _ => return None,
    };
    let decoder = values::decoder(&ty);
    Some((ty, decoder))
}

/// `numeric(precision, scale)`. The modifier is 4 for the header of a value, plus the precision in the upper half and the
/// scale in 11 signed bits of the lower one: `make_numeric_typmod` of the server.
fn numeric(modifier: i32) -> ColumnType {
    let Some(packed) = modifier.checked_sub(4).filter(|packed| *packed >= 0) else { return ColumnType::Text };
    let precision = (packed >> 16) & 0xFFFF;
    let scale = ((packed & 0x7FF) ^ 0x400) - 0x400;
    // A negative scale moves the digits to the left of the point, one above the precision to the right.
    let (precision, scale) = if scale < 0 { (precision - scale, 0) } else { (precision.max(scale), scale) };
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) => ColumnType::Decimal { precision, scale },
        _ => ColumnType::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT4_ARRAY: u32 = 1007;
    const MONEY_ARRAY: u32 = 791;
    const BOX_ARRAY: u32 = 1020;
    const BOX: u32 = 603;
    const NUMERIC_ARRAY: u32 = 1231;

    fn types() -> TypeMap {
        let mut map = TypeMap::default();
        let array = |element, delimiter| PgType::Array { element, delimiter };
        let domain = |base, modifier| PgType::Domain { base, modifier };
        map.types.extend([
            (INT4_ARRAY, array(built_in::INT4, b',')),
            (MONEY_ARRAY, array(built_in::MONEY, b',')),
            (BOX_ARRAY, array(BOX, b';')),
            (NUMERIC_ARRAY, array(built_in::NUMERIC, b',')),
            (BOX, PgType::Other),
            // A domain over a domain over numeric(10,2); their arrays; a domain over int4[], and an array of it.
            (90_001, domain(built_in::NUMERIC, typmod(10, 2))),
            (90_002, domain(90_001, -1)),
            (90_003, array(90_002, b',')),
            (90_004, domain(INT4_ARRAY, -1)),
            (90_005, array(90_004, b',')),
            // An enum, its array, and an array whose delimiter is not known to us.
            (90_006, PgType::Enum),
            (90_007, array(90_006, b',')),
            (90_008, array(built_in::INT4, b'|')),
            (90_009, array(built_in::MONEY, b';')),
            // No server has this one.
            (90_010, domain(90_010, -1)),
        ]);
        map
    }

    fn typmod(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7FF)) + 4
    }

    fn list(element: ColumnType) -> ColumnType {
        ColumnType::List(Box::new(element))
    }

    #[track_caller]
    fn check(oid: u32, modifier: i32, expected: &ColumnType, decoder: DecodeCell) {
        let resolved = types().resolve(oid, modifier);
        assert_eq!(resolved.ty, *expected);
        assert!(std::ptr::fn_addr_eq(resolved.decoder, decoder), "{oid}");
    }

    #[test]
    fn domains_arrays_and_the_rest() {
        let amount = ColumnType::Decimal { precision: 10, scale: 2 };
        let cash = ColumnType::Decimal { precision: 19, scale: 2 };
        check(built_in::INT4, -1, &ColumnType::Int32, values::int32);
        check(built_in::OID, -1, &ColumnType::Int64, values::oid);
        check(built_in::MONEY, -1, &cash, values::money);
        check(INT4_ARRAY, -1, &list(ColumnType::Int32), values::list);
        check(NUMERIC_ARRAY, typmod(10, 2), &list(amount.clone()), values::list);
        check(NUMERIC_ARRAY, -1, &list(ColumnType::Text), values::list);
        check(MONEY_ARRAY, -1, &list(cash), values::list_of_money);
        check(BOX_ARRAY, -1, &list(ColumnType::Text), values::list_with_semicolons);
        check(90_002, -1, &amount, values::decimal);
        check(90_003, -1, &list(amount.clone()), values::list);
        check(90_004, -1, &list(ColumnType::Int32), values::list);
        check(90_005, -1, &list(ColumnType::Text), values::list);
        check(90_006, -1, &ColumnType::Text, values::text);
        check(90_007, -1, &list(ColumnType::Text), values::list);
        check(90_008, -1, &ColumnType::Text, values::text);
        check(90_009, -1, &ColumnType::Text, values::text);
        check(90_010, -1, &ColumnType::Text, values::text);
        check(4_000_000_000, -1, &ColumnType::Text, values::text);
    }

    #[test]
    fn numeric_becomes_a_decimal_where_it_fits() {
        let check = |modifier, expected: Option<(u8, u8)>| {
            let expected =
                expected.map_or(ColumnType::Text, |(precision, scale)| ColumnType::Decimal { precision, scale });
            assert_eq!(numeric(modifier), expected, "{modifier}");
        };
        check(typmod(5, 2), Some((5, 2)));
        check(typmod(38, 0), Some((38, 0)));
        check(typmod(38, 38), Some((38, 38)));
        check(typmod(3, -2), Some((5, 0)));
        check(typmod(2, 5), Some((5, 5)));
        check(typmod(39, 0), None);
        check(typmod(38, -1), None);
        check(typmod(2, 39), None);
        check(typmod(1000, -1000), None);
        check(typmod(1000, 1000), None);
        for modifier in [-1, 0, 3, 4, i32::MIN, i32::MAX] {
            check(modifier, None);
        }
    }

    #[test]
    fn a_type_without_a_name_is_named_by_its_number() {
        assert_eq!(types().resolve(90_006, -1).name, "type 90006");
    }
}
