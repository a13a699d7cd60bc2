//! What the server shows, and what its log says, on real servers.

mod column_facts;

use walbrook_model::{ColumnType, ErrorKind};

use super::*;
use crate::publication::{self, Publication};
use crate::testing::{Database, on_servers};
use crate::wire::pgoutput::Message;

async fn describe_all(database: &Database, publication: Option<&Publication>) -> Result<Vec<TableInfo>> {
    let reader = database.reader().await;
    describe(&reader, &database.settings, publication, &mut TypeMap::default(), &BTreeMap::new()).await
}

/// The table of this name.
async fn table(database: &Database, name: &str) -> TableInfo {
    let tables = describe_all(database, None).await.unwrap();
    tables.into_iter().find(|table| table.schema.table.name == name).unwrap_or_else(|| panic!("no table {name}"))
}

/// The key, as names.
fn key(info: &TableInfo) -> Vec<&str> {
    info.schema.key.iter().map(|index| info.schema.columns[*index].name.as_str()).collect()
}

/// The tables that the log describes since the last call, in order.
async fn relations(database: &Database) -> Vec<Relation> {
    let messages = database.streamed("p").await;
    let relation = |message| match message {
        Message::Relation(relation) => Some(relation),
        _ => None,
    };
    messages.into_iter().filter_map(relation).collect()
}

async fn from_log(database: &Database, relation: &Relation, known: Option<&TableInfo>) -> Result<Described> {
    let reader = database.reader().await;
    describe_relation(&reader, &database.settings, &mut TypeMap::default(), relation, known, None).await
}

#[track_caller]
fn captured(described: Result<Described>) -> TableInfo {
    match described {
        Ok(Described::Captured(info)) => info,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_key_and_what_updates_may_lack() {
    struct Case {
        sql: &'static str,
        key: &'static [&'static str],
        deferrable: bool,
        partial: bool,
        fault: bool,
    }
    let case = |sql, key, deferrable, partial, fault| Case { sql, key, deferrable, partial, fault };
    let cases = [
        case("CREATE TABLE t (a int, b int, PRIMARY KEY (b, a))", &["b", "a"][..], false, false, false),
        case("CREATE TABLE t (a int PRIMARY KEY, b text)", &["a"], false, true, false),
        case("CREATE TABLE t (a text PRIMARY KEY, b int)", &["a"], false, false, false),
        case("CREATE TABLE t (a int PRIMARY KEY, b varchar(20))", &["a"], false, false, false),
        case("CREATE TABLE t (a int PRIMARY KEY, b numeric)", &["a"], false, true, false),
        case("CREATE TABLE t (a int PRIMARY KEY, b int[])", &["a"], false, true, false),
        case(
            "CREATE TABLE t (a int PRIMARY KEY, b text); ALTER TABLE t REPLICA IDENTITY FULL",
            &["a"],
            false,
            false,
            false,
        ),
        case("CREATE TABLE t (a int, b text)", &[], false, true, true),
        case("CREATE TABLE t (a int UNIQUE NOT NULL, b int)", &[], false, false, true),
        case("CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY NOTHING", &["a"], false, false, true),
        case("CREATE TABLE t (a int PRIMARY KEY DEFERRABLE, b int)", &["a"], true, false, true),
        case(
            "CREATE TABLE t (a int PRIMARY KEY DEFERRABLE, b text); ALTER TABLE t REPLICA IDENTITY FULL",
            &["a"],
            true,
            false,
            false,
        ),
        case(
            "CREATE TABLE t (a int PRIMARY KEY, b int NOT NULL, c int NOT NULL); CREATE UNIQUE INDEX i ON t (c, b); \
             ALTER TABLE t REPLICA IDENTITY USING INDEX i",
            &["c", "b"],
            false,
            false,
            false,
        ),
        case(
            "CREATE TABLE t (a int NOT NULL, b int NOT NULL, c int); CREATE UNIQUE INDEX w ON t (a, b); \
             CREATE UNIQUE INDEX n ON t (c); CREATE UNIQUE INDEX p ON t (a) WHERE b > 0; CREATE UNIQUE INDEX e ON t (abs(a)); \
             CREATE UNIQUE INDEX i ON t (b) INCLUDE (c); ALTER TABLE t REPLICA IDENTITY FULL",
            &["b"],
            false,
            false,
            false,
        ),
        case("CREATE TABLE t (a int, b text); ALTER TABLE t REPLICA IDENTITY FULL", &[], false, false, false),
    ];
    on_servers("keys", async |database| {
        for case in &cases {
            database.run(case.sql).await;
            let info = table(database, "t").await;
            assert_eq!(key(&info), case.key, "{}", case.sql);
            assert_eq!(info.deferrable_key, case.deferrable, "{}", case.sql);
            assert_eq!(info.partial_updates, case.partial, "{}", case.sql);
            assert_eq!(info.identity_fault().is_some(), case.fault, "{}", case.sql);
            for (index, column) in info.schema.columns.iter().enumerate() {
                assert_eq!(column.nullable, !info.schema.key.contains(&index), "{} {column:?}", case.sql);
            }
            database.run("DROP TABLE t").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_column_cannot_be_left_out_other_columns_can() {
    on_servers("left_out", async |database| {
        database
            .run("CREATE TABLE t (a int PRIMARY KEY, secret text, b int); ALTER TABLE t REPLICA IDENTITY FULL")
            .await;
        let mut settings = database.settings.clone();
        settings.tables.exclude_columns = vec!["public.t.secret".to_owned()];
        let reader = database.reader().await;
        let tables = describe(&reader, &settings, None, &mut TypeMap::default(), &BTreeMap::new()).await.unwrap();
        let names: Vec<&str> = tables[0].schema.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(tables[0].projection().as_deref(), Some(&[0, 2][..]));
        settings.tables.exclude_columns = vec!["*.*.a".to_owned()];
        let error = describe(&reader, &settings, None, &mut TypeMap::default(), &BTreeMap::new()).await.unwrap_err();
        assert_eq!((error.kind(), error.object()), (ErrorKind::Config, Some("table public.t")), "{error}");
    })
    .await;
}

#[tokio::test]
async fn the_catalog_and_the_log_describe_a_table_alike() {
    let tables = [
        "CREATE TABLE plain (a int PRIMARY KEY, b text, c numeric(10,2))",
        "CREATE TABLE dropped (x int, a int PRIMARY KEY, y text, b int); ALTER TABLE dropped DROP x, DROP y",
        "CREATE TABLE full_ (a int PRIMARY KEY, b text); ALTER TABLE full_ REPLICA IDENTITY FULL",
        "CREATE TABLE deferred (a int PRIMARY KEY DEFERRABLE, b text); ALTER TABLE deferred REPLICA IDENTITY FULL",
        "CREATE TABLE by_index (a int PRIMARY KEY, b int NOT NULL UNIQUE); \
         ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_b_key",
        "CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING",
        "CREATE TABLE keyless (a int, b int)",
        "CREATE TABLE listed (a int PRIMARY KEY, b int, c int)",
        "CREATE TABLE generated (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a + 1) STORED, c int)",
        "CREATE TABLE \"F 1\".\"odd\n.name\" (\"a.b\" int PRIMARY KEY, \"\"\"\" text)",
        "CREATE TABLE parted (a int, b text, PRIMARY KEY (a)) PARTITION BY RANGE (a); \
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10)",
        "CREATE DOMAIN d AS varchar(7); CREATE TYPE e AS ENUM ('x'); CREATE TABLE typed (a d PRIMARY KEY, b e, c e[], f d[])",
    ];
    let inserts = "INSERT INTO plain VALUES (1); INSERT INTO dropped VALUES (1); INSERT INTO full_ VALUES (1); \
        INSERT INTO deferred VALUES (1); INSERT INTO by_index VALUES (1, 1); INSERT INTO nothing VALUES (1); \
        INSERT INTO keyless VALUES (1); INSERT INTO listed VALUES (1); INSERT INTO generated VALUES (1); \
        INSERT INTO \"F 1\".\"odd\n.name\" VALUES (1); INSERT INTO parted VALUES (1); INSERT INTO typed VALUES ('x')";
    on_servers("alike", async |database| {
        database.run("CREATE SCHEMA \"F 1\"").await;
        for sql in tables {
            database.run(sql).await;
        }
        let publish = "CREATE PUBLICATION p FOR TABLE plain, dropped, full_, deferred, by_index, nothing, keyless, \
            listed (b, a), generated, \"F 1\".\"odd\n.name\", parted, typed WITH (publish_via_partition_root = true";
        let generated = database.version().await >= 18;
        database
            .run(&format!("{publish}{})", if generated { ", publish_generated_columns = stored" } else { "" }))
            .await;
        database.slot().await;
        database.run(inserts).await;
        let mut settings = database.settings.clone();
        settings.tables.include = vec!["*.*".to_owned()];
        let reader = database.reader().await;
        let publication = publication::load(&reader, "p").await.unwrap();
        let known = describe(&reader, &settings, publication.as_ref(), &mut TypeMap::default(), &BTreeMap::new())
            .await
            .unwrap();
        let (mut seen, mut partitions) = (0, 0);
        for relation in relations(database).await {
            let described = describe_relation(&reader, &settings, &mut TypeMap::default(), &relation, None, None).await;
            match described.unwrap() {
                Described::Captured(info) => {
                    let known = known.iter().find(|table| table.oid == relation.oid).unwrap();
                    assert!(known.same_shape(&relation), "{known:?}\n{relation:?}");
                    assert!(info.same_shape(&relation));
                    assert_eq!(known.schema, info.schema);
                    assert_eq!(known.log_columns, info.log_columns);
                    assert_eq!(
                        (known.deferrable_key, known.partial_updates, known.partitioned),
                        (info.deferrable_key, info.partial_updates, info.partitioned),
                        "{relation:?}"
                    );
                    seen += 1;
                }
                Described::Faulty(error) => panic!("{error}"),
                Described::Partition(root) => {
                    assert!(known.iter().any(|table| table.oid == root && table.partitioned));
                    partitions += 1;
                }
                Described::Untold(_) | Described::Ignored => panic!("{relation:?}"),
            }
        }
        assert_eq!((seen, partitions, known.len()), (12, 1, 12));
        let of = |name: &str| known.iter().find(|table| table.schema.table.name == name).unwrap();
        assert_eq!(of("listed").log_columns.len(), 2);
        assert_eq!(of("generated").log_columns.len(), if generated { 3 } else { 2 });
        let typed: Vec<(&ColumnType, &str)> =
            of("typed").schema.columns.iter().map(|column| (&column.ty, column.source_type.as_str())).collect();
        let list = ColumnType::List(Box::new(ColumnType::Text));
        let text = ColumnType::Text;
        assert_eq!(typed, [(&text, "public.d"), (&text, "public.e"), (&list, "public.e[]"), (&list, "public.d[]")]);
    })
    .await;
}

#[tokio::test]
async fn the_log_counts_where_the_catalog_is_ahead() {
    on_servers("ahead", async |database| {
        database.run("CREATE TABLE t (a int PRIMARY KEY, b text, c int); CREATE PUBLICATION p FOR TABLE t").await;
        database.slot().await;
        let known = table(database, "t").await;
        database.run("INSERT INTO t VALUES (1)").await;
        database.run("ALTER TABLE t RENAME c TO d; ALTER TABLE t ADD e int DEFAULT 7").await;
        database.run("INSERT INTO t VALUES (2)").await;
        database
            .run("ALTER TABLE t DROP b; ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (e, a)")
            .await;
        database.run("INSERT INTO t VALUES (3)").await;
        let log = relations(database).await;
        let [first, second, third] = &*log else { panic!("{log:?}") };
        assert!(known.same_shape(first) && !known.same_shape(second) && !known.same_shape(third));

        let first = captured(from_log(database, first, Some(&known)).await);
        assert_eq!((first.schema.columns.len(), key(&first)), (3, vec!["a"]));
        let second = captured(from_log(database, second, Some(&first)).await);
        let names: Vec<&str> = second.schema.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!((names, key(&second)), (vec!["a", "b", "d", "e"], vec!["a"]));
        let default = |info: &TableInfo, name: &str| {
            let index = info.schema.column(name).unwrap();
            info.schema.columns[index].initial_default.as_deref().map(<[u8]>::to_vec)
        };
        assert_eq!(default(&second, "e"), Some(b"7".to_vec()));
        let third = captured(from_log(database, third, Some(&second)).await);
        assert_eq!((third.schema.columns.len(), key(&third)), (3, vec!["e", "a"]));
    })
    .await;
}

#[tokio::test]
async fn a_table_that_is_gone_or_renamed_is_what_the_log_says() {
    on_servers("gone", async |database| {
        database.run("CREATE TABLE t (a int, b int, PRIMARY KEY (b, a)); CREATE PUBLICATION p FOR TABLE t").await;
        database.slot().await;
        let known = table(database, "t").await;
        database.run("INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD c text; INSERT INTO t VALUES (2, 2)").await;
        database.run("ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (3, 3); DROP TABLE u").await;
        let log = relations(database).await;
        let [_, with_c, renamed] = &*log else { panic!("{log:?}") };
        assert!(matches!(from_log(database, with_c, None).await, Ok(Described::Ignored)));
        let info = captured(from_log(database, with_c, Some(&known)).await);
        assert_eq!((info.schema.columns.len(), key(&info)), (3, vec!["b", "a"]));
        assert!(!info.same_shape(renamed));
        let info = captured(from_log(database, renamed, Some(&info)).await);
        assert_eq!(info.schema.table, TableId::new("public", "u"));
    })
    .await;
}

#[tokio::test]
async fn what_old_rows_have_that_were_there_before_a_column() {
    let columns = [
        ("a text DEFAULT 'x,y\"z\\{NULL}'", Some("x,y\"z\\{NULL}")),
        ("b text DEFAULT ''", Some("")),
        ("c int[] DEFAULT '{1,NULL}'", Some("{1,NULL}")),
        ("d box DEFAULT '((0,0),(1,1))'", Some("(1,1),(0,0)")),
        ("e box[] DEFAULT '{((0,0),(1,1));NULL}'", Some("{(1,1),(0,0);NULL}")),
        ("f timestamptz DEFAULT '2024-01-01 02:00:00+02'", Some("2024-01-01 00:00:00+00")),
        ("g int", None),
        ("h text DEFAULT NULL", None),
        ("i text NOT NULL DEFAULT 'NULL'", Some("NULL")),
        ("j numeric(5,2) DEFAULT 1.5", Some("1.50")),
        // The table is rewritten: every row has a value of its own.
        ("k float8 DEFAULT random()", None),
    ];
    on_servers("missing", async |database| {
        database.run("CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)").await;
        database.run("CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10)").await;
        database
            .run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); INSERT INTO parted VALUES (1)")
            .await;
        for name in ["t", "parted"] {
            // The rewrite comes first: it would store the values of the others in the rows.
            for (column, _) in columns.iter().rev() {
                database.run(&format!("ALTER TABLE {name} ADD {column}")).await;
            }
            let info = table(database, name).await;
            let found: Vec<Option<&[u8]>> =
                info.schema.columns[1..].iter().rev().map(|column| column.initial_default.as_deref()).collect();
            let expected: Vec<Option<&[u8]>> = columns.iter().map(|(_, default)| default.map(str::as_bytes)).collect();
            assert_eq!(found, expected, "{name}");
        }
    })
    .await;
}

const PARTED: &str = "CREATE TABLE parted (a int PRIMARY KEY, b text, c int NOT NULL) PARTITION BY RANGE (a); \
    ALTER TABLE parted REPLICA IDENTITY FULL; CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10); \
    ALTER TABLE parted_1 REPLICA IDENTITY FULL; \
    CREATE PUBLICATION p FOR TABLE parted WITH (publish_via_partition_root = true)";

/// A new partition does not inherit the identity of its table: its old rows are marked as whole, but are not.
#[tokio::test]
async fn a_partition_with_a_weaker_identity_is_noticed() {
    on_servers("weak", async |database| {
        database.run(PARTED).await;
        let before = table(database, "parted").await;
        assert!(!before.weak_old_rows && !before.partial_updates && before.partitioned);
        database.slot().await;
        database.run("INSERT INTO parted VALUES (1, 'x', 1)").await;
        database.run("CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20)").await;
        database
            .run("ALTER TABLE parted ALTER b SET STORAGE EXTERNAL; ALTER TABLE parted_2 ALTER b SET STORAGE EXTERNAL")
            .await;
        database
            .run("INSERT INTO parted VALUES (11, repeat('x', 10000), 1); UPDATE parted SET a = 12 WHERE a = 11")
            .await;
        let messages = database.streamed("p").await;
        let old = messages.iter().find_map(|message| match message {
            Message::Update { old: Some(old), .. } => Some(old),
            _ => None,
        });
        // This is the trap: marked as whole, with NULL where the row had a value.
        let old = old.expect("an update with an old row");
        assert!(!old.key_only && old.row.cell(1) == walbrook_model::Cell::Null);

        let leaves: Vec<&Relation> = messages
            .iter()
            .filter_map(|message| match message {
                Message::Relation(relation) if relation.name.starts_with("parted_") => Some(relation),
                _ => None,
            })
            .collect();
        let leaf = |name: &str| *leaves.iter().find(|relation| relation.name == name).unwrap();
        for name in ["parted_1", "parted_2"] {
            assert!(
                matches!(from_log(database, leaf(name), None).await, Ok(Described::Partition(oid)) if oid == before.oid)
            );
        }
        assert!(before.admits(leaf("parted_1")).unwrap().is_none());
        let weaker = before.admits(leaf("parted_2")).unwrap().expect("a weaker table");
        assert!(weaker.weak_old_rows && weaker.partial_updates && weaker.schema == before.schema);
        assert_eq!(*weaker.old_cells(), [true, false, false]);
        assert_eq!(*before.old_cells(), [true; 3]);
        assert!(weaker.admits(leaf("parted_2")).unwrap().is_none());
        // At the next start the catalog says the same.
        let after = table(database, "parted").await;
        assert!(after.weak_old_rows && after.partial_updates);
    })
    .await;
}

#[tokio::test]
async fn a_partition_whose_old_rows_lack_the_key_is_refused() {
    on_servers("strange", async |database| {
        database.run(PARTED).await;
        let info = table(database, "parted").await;
        database
            .run("CREATE UNIQUE INDEX i ON parted_1 (c); ALTER TABLE parted_1 REPLICA IDENTITY USING INDEX i")
            .await;
        database.slot().await;
        database.run("INSERT INTO parted VALUES (1, 'x', 1)").await;
        let error = describe_all(database, None).await.unwrap_err();
        assert!(error.to_string().contains("public.parted_1"), "{error}");
        let log = relations(database).await;
        let leaf = log.iter().find(|relation| relation.name == "parted_1").unwrap();
        let error = info.admits(leaf).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert_eq!(error.remedy_text(), Some("ALTER TABLE \"public\".\"parted_1\" REPLICA IDENTITY FULL"));
    })
    .await;
}

#[tokio::test]
async fn a_partition_that_is_not_in_the_log_is_refused() {
    on_servers("unlogged", async |database| {
        database.run(PARTED).await;
        database.run("CREATE UNLOGGED TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20)").await;
        let error = describe_all(database, None).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains("public.parted_2"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn unpublished_tables_are_not_described_as_captured() {
    on_servers("unpublished", async |database| {
        database
            .run("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE VIEW v AS SELECT 1")
            .await;
        database.run("CREATE PUBLICATION p FOR TABLE a").await;
        let publication = publication::load(&database.reader().await, "p").await.unwrap();
        let names =
            |tables: &[TableInfo]| tables.iter().map(|table| table.schema.table.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&describe_all(database, publication.as_ref()).await.unwrap()), ["a"]);
        assert_eq!(names(&describe_all(database, None).await.unwrap()), ["a", "b"]);
    })
    .await;
}
