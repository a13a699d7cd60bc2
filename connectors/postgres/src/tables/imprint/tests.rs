//! What real servers show of each kind of change, and what is made of it.

use super::*;
use crate::tables::sight;
use crate::testing::{Database, on_servers};

async fn look(database: &Database, table: &str) -> Sight {
    let oid = database.admin.query_one(&format!("SELECT '{table}'::regclass::oid"), &[]).await.unwrap().get(0);
    let mut sights = sight::look(&database.reader().await, &[oid]).await.unwrap();
    assert_eq!(sights.len(), 1, "{table}");
    sights.remove(0)
}

async fn imprint(database: &Database, table: &str) -> Imprint {
    Imprint::of(&look(database, table).await, |_| true)
}

/// Each statement alone: `VACUUM` must be.
async fn run(database: &Database, sql: &str) {
    for statement in sql.split("; ") {
        database.run(statement).await;
    }
}

fn told(value: &str) -> Earlier {
    Earlier::Told(Some(value.to_owned()))
}

/// `long` has values out of line, `short` has not; both have rows, a default, and a constant that is not in the rows.
const TABLES: &str = "\
    CREATE TABLE long (id int PRIMARY KEY, v int, s text, d int DEFAULT 4, g int GENERATED ALWAYS AS (id + 1) STORED); \
    CREATE TABLE short (id int PRIMARY KEY, v int, s int, d int DEFAULT 4, g int GENERATED ALWAYS AS (id + 1) STORED); \
    INSERT INTO long SELECT 1, 1, 'x'; INSERT INTO short SELECT 1, 1, 1; \
    ALTER TABLE long ADD m int DEFAULT 7; ALTER TABLE short ADD m int DEFAULT 7";

#[tokio::test]
async fn rewrites_that_may_change_values_are_told_from_the_rest() {
    let rewritten = [
        "ALTER TABLE t ALTER v TYPE int USING v + 1",
        "ALTER TABLE t ALTER d TYPE int USING d + 1",
        "ALTER TABLE t ALTER m TYPE int USING m + 1",
        "ALTER TABLE t ALTER v TYPE bigint",
        "ALTER TABLE t ADD n float8 DEFAULT random(), ALTER v TYPE int USING v + 1",
        "ALTER TABLE t ADD n int DEFAULT 1; ALTER TABLE t ALTER v TYPE int USING -v; VACUUM FULL t",
        "ALTER TABLE t ALTER v TYPE int USING v + 1; TRUNCATE t",
        "ALTER TABLE t RENAME v TO w; ALTER TABLE t ALTER w TYPE int USING w + 1",
    ];
    let harmless = [
        "VACUUM FULL t",
        "VACUUM (FREEZE) t",
        "ANALYZE t",
        "CLUSTER t USING t_pkey",
        "TRUNCATE t",
        "ALTER TABLE t SET UNLOGGED; ALTER TABLE t SET LOGGED",
        "ALTER TABLE t ALTER v TYPE int",
        "ALTER TABLE t ALTER v TYPE int USING v",
        "ALTER TABLE t ALTER v SET STATISTICS 10; ALTER TABLE t ALTER v SET NOT NULL; ANALYZE t",
        "ALTER TABLE t ALTER v SET DEFAULT 9; ALTER TABLE t ALTER d DROP DEFAULT",
        "ALTER TABLE t RENAME v TO w; ALTER TABLE t RENAME w TO v",
        "ALTER TABLE t ADD n float8 DEFAULT random()",
        "ALTER TABLE t ADD n int; UPDATE t SET n = 1; VACUUM FULL t",
        "ALTER TABLE t DROP v",
        "CREATE INDEX ON t (v); ALTER TABLE t ADD CONSTRAINT k CHECK (id > 0); GRANT SELECT ON t TO PUBLIC",
        "ALTER TABLE t REPLICA IDENTITY FULL; COMMENT ON COLUMN t.v IS 'x'; ALTER TABLE t SET (fillfactor = 50)",
        "VACUUM FULL pg_attribute; VACUUM FULL pg_class; VACUUM FULL t",
    ];
    on_servers("rewrites", async |database| {
        let newer: &[&str] =
            if database.version().await >= 17 { &["ALTER TABLE t ALTER g SET EXPRESSION AS (id + 2)"] } else { &[] };
        let cases = rewritten.iter().chain(newer).map(|sql| (sql, true)).chain(harmless.iter().map(|sql| (sql, false)));
        for (sql, expected) in cases {
            for table in ["long", "short"] {
                run(database, TABLES).await;
                run(database, &format!("ALTER TABLE {table} RENAME TO t; ALTER INDEX {table}_pkey RENAME TO t_pkey"))
                    .await;
                let before = imprint(database, "t").await;
                run(database, sql).await;
                let followed = before.follow(&look(database, "t").await, |_| true);
                assert_eq!(followed.is_err(), expected, "{table}: {sql}: {followed:?}");
                run(database, "DROP TABLE IF EXISTS t, long, short").await;
            }
        }
        // Long values keep their heap when the rows are only moved: what else happened does not matter.
        run(database, TABLES).await;
        for (table, expected) in [("long", false), ("short", true)] {
            let before = imprint(database, table).await;
            run(database, &format!("ALTER TABLE {table} ALTER v SET NOT NULL; VACUUM FULL {table}")).await;
            assert_eq!(before.follow(&look(database, table).await, |_| true).is_err(), expected, "{table}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_old_rows_have_in_an_added_column_is_proven_or_unknown() {
    let null = || Earlier::Told(None);
    let cases = [
        ("ALTER TABLE t ADD c int", null()),
        ("ALTER TABLE t ADD c int; ALTER TABLE t ALTER c SET DEFAULT 5", null()),
        ("ALTER TABLE t ADD c text DEFAULT 'a,b'", told("a,b")),
        ("ALTER TABLE t ADD c text NOT NULL DEFAULT 'x'; ALTER TABLE t ALTER c DROP DEFAULT", told("x")),
        ("VACUUM FULL t; ALTER TABLE t ADD c int DEFAULT 5", told("5")),
        ("ALTER TABLE t ADD c text[] DEFAULT '{}'", told("{}")),
        // Its value for all rows is fixed when it is added.
        ("ALTER TABLE t ADD c boolean DEFAULT now() > '2000-01-01'", told("t")),
        ("ALTER TABLE t ADD c float8 DEFAULT random()", Earlier::Untold),
        ("ALTER TABLE t ADD c timestamptz DEFAULT clock_timestamp()", Earlier::Untold),
        ("ALTER TABLE t ADD c serial", Earlier::Untold),
        ("ALTER TABLE t ADD c int GENERATED ALWAYS AS IDENTITY", Earlier::Untold),
        ("ALTER TABLE t ADD c int GENERATED ALWAYS AS (id * 2) STORED", Earlier::Untold),
        ("ALTER TABLE t ADD c float8 DEFAULT random(); ALTER TABLE t ALTER c DROP DEFAULT", Earlier::Untold),
        ("ALTER TABLE t ADD c int DEFAULT 5; VACUUM FULL t", Earlier::Untold),
        ("ALTER TABLE t ADD c int DEFAULT 5; ALTER TABLE t ALTER c DROP DEFAULT; VACUUM FULL t", Earlier::Untold),
        // The price: not known although it was NULL.
        ("ALTER TABLE t ADD c int; VACUUM FULL t", Earlier::Untold),
        // The log may speak of the first.
        ("ALTER TABLE t ADD c int DEFAULT 5; ALTER TABLE t DROP c; ALTER TABLE t ADD c int DEFAULT 6", Earlier::Untold),
        ("ALTER TABLE t ADD c int DEFAULT 5; ALTER TABLE t DROP c", Earlier::Untold),
        ("ALTER TABLE t ADD c int DEFAULT 5; ALTER TABLE t RENAME c TO e", Earlier::Untold),
    ];
    on_servers("added", async |database| {
        for (sql, expected) in &cases {
            run(database, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')").await;
            let before = imprint(database, "t").await;
            run(database, sql).await;
            let sight = look(database, "t").await;
            let after = before.follow(&sight, |_| true).unwrap();
            assert_eq!(after.earlier("c", Some(&sight)), expected, "{sql}");
            // What was told stays told, over a restart too.
            run(database, "VACUUM FULL t").await;
            let after: Imprint = serde_json::from_str(&serde_json::to_string(&after).unwrap()).unwrap();
            let sight = look(database, "t").await;
            let later = after.follow(&sight, |_| true).unwrap();
            assert_eq!(later.earlier("c", Some(&sight)), expected, "{sql}, then VACUUM FULL");
            assert_eq!((later.earlier("v", Some(&sight)), later.earlier("v", None)), (&Earlier::Held, &Earlier::Held));
            database.run("DROP TABLE t").await;
        }
        // What was told must not change behind it either.
        run(database, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
        let before = imprint(database, "t").await;
        run(database, "ALTER TABLE t ADD c int DEFAULT 5, ADD hidden int DEFAULT 1").await;
        let sight = look(database, "t").await;
        let after = before.follow(&sight, |name| name != "hidden").unwrap();
        assert_eq!(after.earlier("hidden", Some(&sight)), &Earlier::Untold);
        run(database, "ALTER TABLE t ALTER hidden TYPE int USING 2").await;
        let after = after.follow(&look(database, "t").await, |name| name != "hidden").unwrap();
        run(database, "ALTER TABLE t ALTER c TYPE int USING c + 1").await;
        after.follow(&look(database, "t").await, |_| true).unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn names_labels_and_fields_that_stand_for_others_are_noticed() {
    let setup = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b mood); CREATE DOMAIN moody AS mood; \
        CREATE TYPE other AS ENUM ('x'); CREATE TABLE t (id int PRIMARY KEY, a int, b int, m mood[], p pair, o int)";
    let cases = [
        ("ALTER TABLE t DROP a; ALTER TABLE t ADD a int", Some("the name a")),
        ("ALTER TABLE t RENAME a TO c; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME c TO b", Some("the name a")),
        ("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", Some("a label of an enum in column m")),
        ("ALTER TYPE pair ADD ATTRIBUTE c int", Some("the fields of a composite type in column p")),
        ("ALTER TYPE pair DROP ATTRIBUTE a", Some("the fields of a composite type in column p")),
        ("ALTER TABLE t RENAME a TO c", None),
        ("ALTER TABLE t DROP a", None),
        ("ALTER TYPE mood ADD VALUE 'glad'", None),
        ("ALTER TYPE mood ADD VALUE 'mad' BEFORE 'ok'; ALTER TYPE mood RENAME TO feeling", None),
        ("ALTER TYPE pair RENAME ATTRIBUTE a TO z", None),
        ("ALTER TYPE other RENAME VALUE 'x' TO 'y'", None),
    ];
    on_servers("labels", async |database| {
        for (sql, expected) in cases {
            run(database, setup).await;
            let before = imprint(database, "t").await;
            run(database, sql).await;
            let followed = before.follow(&look(database, "t").await, |_| true);
            match (&followed, expected) {
                (Ok(_), None) => {}
                (Err(what), Some(expected)) if what.contains(expected) => {}
                _ => panic!("{sql}: {followed:?}"),
            }
            run(
                database,
                "DROP TABLE t; DROP TYPE pair; DROP DOMAIN moody; DROP TYPE IF EXISTS mood; \
                DROP TYPE IF EXISTS feeling; DROP TYPE other",
            )
            .await;
        }
        // A column that comes later brings its types.
        run(database, "CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN moody AS mood; CREATE TABLE t (id int)").await;
        let before = imprint(database, "t").await;
        run(database, "ALTER TABLE t ADD d moody").await;
        let after = before.follow(&look(database, "t").await, |_| true).unwrap();
        run(database, "ALTER TYPE mood RENAME VALUE 'sad' TO 'glad'").await;
        before.follow(&look(database, "t").await, |_| true).unwrap();
        after.follow(&look(database, "t").await, |_| true).unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn partitions_are_followed_each_by_itself() {
    let setup = "CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); \
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); \
        CREATE TABLE other (v int, id int PRIMARY KEY); ALTER TABLE p ATTACH PARTITION other FOR VALUES FROM (10) TO (20); \
        INSERT INTO p VALUES (1, 1), (11, 1)";
    let cases = [
        ("ALTER TABLE p ALTER v TYPE int USING v + 1", Some("rewritten")),
        (
            "CREATE TABLE q (id int PRIMARY KEY, v int); INSERT INTO q VALUES (20, 1); \
          ALTER TABLE p ATTACH PARTITION q FOR VALUES FROM (20) TO (30)",
            Some("partition public.q was attached"),
        ),
        (
            "CREATE TABLE q (id int PRIMARY KEY, v int); \
          ALTER TABLE p ATTACH PARTITION q FOR VALUES FROM (20) TO (30)",
            None,
        ),
        ("CREATE TABLE q PARTITION OF p FOR VALUES FROM (20) TO (30); INSERT INTO p VALUES (20, 1)", None),
        ("VACUUM FULL p1; TRUNCATE other", None),
        ("ALTER TABLE p DETACH PARTITION p1", None),
        ("ALTER TABLE p ADD c int DEFAULT 5; VACUUM FULL p1", None),
    ];
    on_servers("parts", async |database| {
        for (sql, expected) in cases {
            run(database, setup).await;
            let before = imprint(database, "p").await;
            run(database, sql).await;
            let sight = look(database, "p").await;
            let followed = before.follow(&sight, |_| true);
            match (&followed, expected) {
                (Ok(after), None) => {
                    assert_eq!(before.gone(&sight), usize::from(sql.contains("DETACH")), "{sql}");
                    if sql.contains("ADD c") {
                        assert_eq!(after.earlier("c", Some(&sight)), &told("5"));
                    }
                }
                (Err(what), Some(expected)) if what.contains(expected) => {}
                _ => panic!("{sql}: {followed:?}"),
            }
            run(database, "DROP TABLE IF EXISTS p, p1, other, q").await;
        }
        run(database, setup).await;
        for (sql, expected) in [
            ("ALTER TABLE p ADD c int; VACUUM FULL p1", Earlier::Told(None)),
            ("ALTER TABLE p ADD e float8 DEFAULT random()", Earlier::Untold),
        ] {
            let before = imprint(database, "p").await;
            run(database, sql).await;
            let sight = look(database, "p").await;
            let name = if expected == Earlier::Untold { "e" } else { "c" };
            assert_eq!(before.follow(&sight, |_| true).unwrap().earlier(name, Some(&sight)), &expected, "{sql}");
        }
    })
    .await;
}
