//! What commands leave behind, on real servers.

use super::*;
use crate::publication;
use crate::testing::{Database, on_servers};

/// Two enums, a table with rows, a partitioned one.
const TABLES: &str = "\
    CREATE TYPE color AS ENUM ('red', 'green'); CREATE TYPE size AS ENUM ('s', 'l'); \
    CREATE DOMAIN positive AS int CHECK (value > 0); CREATE TYPE pair AS (a int, c color); \
    CREATE TABLE t (id int PRIMARY KEY, a int, d int DEFAULT 5, e text, secret int); \
    ALTER TABLE t ADD old int DEFAULT 1; \
    INSERT INTO t SELECT i, i, i, 'x', i FROM generate_series(1, 9) i; \
    CREATE TABLE p (id int PRIMARY KEY, a int) PARTITION BY RANGE (id); \
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10); \
    CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); \
    INSERT INTO p SELECT i, i FROM generate_series(1, 19) i; \
    CREATE TABLE c (id int PRIMARY KEY, one color, many color[], row pair, secret size); \
    CREATE PUBLICATION p FOR TABLE t, p, c WITH (publish_via_partition_root = true)";

async fn look_at(database: &Database, table: &str) -> Look {
    look_again(database, table, &BTreeMap::new()).await
}

/// What is seen of a table of which this is known.
async fn look_again(database: &Database, table: &str, known: &BTreeMap<u32, Fingerprint>) -> Look {
    let reader = database.reader().await;
    let published = publication::load(&reader, "p").await.unwrap().unwrap();
    let oid = database.text(&format!("SELECT '{table}'::regclass::oid::text")).await.unwrap().parse().unwrap();
    let mut settings = database.settings.clone();
    settings.tables.exclude_columns = vec!["public.*.secret".into()];
    look(&reader, &settings, &published, &[oid], known).await.unwrap().pop().expect("a look")
}

/// Runs statements with no look between them; VACUUM must be alone.
async fn run(database: &Database, sql: &str) {
    for statement in sql.split("; ") {
        database.run(statement).await;
    }
}

/// What is said after these commands on a table that looked otherwise before; `""`: nothing.
async fn check(database: &Database, table: &str, sql: &str, expected: &str) {
    database.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP PUBLICATION IF EXISTS p").await;
    database.run(TABLES).await;
    let before = look_at(database, table).await;
    let known = BTreeMap::from([(before.oid, before.clone().read())]);
    run(database, sql).await;
    match look_again(database, table, &known).await.judge(known.get(&before.oid)) {
        Ok(_) => assert_eq!(expected, "", "{sql}"),
        Err(error) => {
            assert!(!expected.is_empty() && error.to_string().contains(expected), "{sql}: {error}");
            assert_eq!(error.kind(), walbrook_model::ErrorKind::Data);
            assert!(error.to_string().contains(&format!("table public.{table}")), "{error}");
            assert!(error.remedy_text().is_some_and(|remedy| remedy.contains("gap accept")));
        }
    }
}

#[tokio::test]
async fn added_columns_are_followed_exactly_where_their_old_values_are_told() {
    let c = "column c was added";
    let cases = [
        ("t", "ALTER TABLE t ADD c int", ""),
        ("t", "ALTER TABLE t ADD c int; ALTER TABLE t ALTER c SET DEFAULT 3", ""),
        ("t", "ALTER TABLE t ADD c int; UPDATE t SET c = id; ALTER TABLE t ALTER c SET NOT NULL", ""),
        ("t", "ALTER TABLE t ADD c int DEFAULT 7", ""),
        ("t", "ALTER TABLE t ADD c int NOT NULL DEFAULT 7; ALTER TABLE t ALTER c DROP DEFAULT", ""),
        ("t", "ALTER TABLE t ADD c timestamptz DEFAULT now()", ""),
        ("t", "ALTER TABLE t ADD c text[] DEFAULT '{}'", ""),
        ("t", "VACUUM FULL t; ALTER TABLE t ADD c int DEFAULT 7", ""),
        ("t", "ALTER TABLE t ADD secret2 int; ALTER TABLE t DROP secret2; ALTER TABLE t DROP a", ""),
        ("t", "ALTER TABLE t ADD c float8 DEFAULT random()", c),
        ("t", "ALTER TABLE t ADD c timestamptz DEFAULT clock_timestamp()", c),
        ("t", "ALTER TABLE t ADD c uuid DEFAULT gen_random_uuid(); ALTER TABLE t ALTER c DROP DEFAULT", c),
        ("t", "ALTER TABLE t ADD c serial", c),
        ("t", "ALTER TABLE t ADD c int GENERATED ALWAYS AS IDENTITY", c),
        ("t", "ALTER TABLE t ADD c int DEFAULT 7; VACUUM FULL t", c),
        ("t", "ALTER TABLE t ADD c int DEFAULT 7; CLUSTER t USING t_pkey", c),
        // Not published, so there is nothing to tell.
        ("t", "ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) STORED", ""),
        ("t", "ALTER TABLE t DROP secret; ALTER TABLE t ADD secret serial", ""),
        // It is a column of the log from here on.
        ("t", "ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) STORED; ALTER TABLE t ALTER c DROP EXPRESSION", c),
        // Left out before.
        ("t", "ALTER TABLE t RENAME secret TO told", "column told was left out"),
        // The log may speak of the first.
        ("t", "ALTER TABLE t ADD c int DEFAULT 5; ALTER TABLE t DROP c; ALTER TABLE t ADD c int DEFAULT 6", c),
        ("p", "ALTER TABLE p ADD c int", ""),
        ("p", "ALTER TABLE p ADD c int; VACUUM FULL p1", ""),
        ("p", "ALTER TABLE p ADD c int DEFAULT 7; VACUUM FULL p1", ""),
        ("p", "ALTER TABLE p ADD c int DEFAULT 7; VACUUM FULL p1; VACUUM FULL p2", c),
        ("p", "ALTER TABLE p ADD c float8 DEFAULT random()", c),
    ];
    on_servers("added", async |database| {
        for (table, sql, expected) in cases {
            check(database, table, sql, expected).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_published_generated_column_is_not_followed() {
    on_servers("generated", async |database| {
        if database.version().await < 18 {
            return;
        }
        let published = "ALTER PUBLICATION p SET (publish_generated_columns = stored)";
        database.run("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1)").await;
        database.run("CREATE PUBLICATION p FOR TABLE t").await;
        let before = look_at(database, "t").await.read();
        database.run(&format!("{published}; ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) STORED")).await;
        let error = look_at(database, "t").await.judge(Some(&before)).unwrap_err();
        assert!(error.to_string().contains("column c was added"), "{error}");
        let before = look_at(database, "t").await.read();
        database.run("ALTER TABLE t ALTER c SET EXPRESSION AS (a + 2)").await;
        let error = look_at(database, "t").await.judge(Some(&before)).unwrap_err();
        assert!(error.to_string().contains("its column c altered"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn values_that_are_computed_anew_are_noticed_and_harmless_commands_are_not() {
    let (a, d, old) = ("its column a altered", "its column d altered", "its column old altered");
    let cases = [
        ("t", "ALTER TABLE t ALTER a TYPE int USING a + 1", a),
        ("t", "ALTER TABLE t ALTER d TYPE int USING d + 1", d),
        ("t", "ALTER TABLE t ALTER old TYPE int USING old + 1", old),
        ("t", "ALTER TABLE t ALTER old DROP DEFAULT, ALTER old TYPE int USING old + 1", old),
        ("t", "VACUUM FULL t; ALTER TABLE t ALTER old TYPE int USING old + 1; VACUUM FULL t", old),
        ("t", "ALTER TABLE t ALTER a TYPE int USING a + 1; ALTER TABLE t ALTER a SET STATISTICS 9; VACUUM t", a),
        ("p", "ALTER TABLE p ALTER a TYPE int USING a + 1", a),
        ("t", "ALTER TABLE t ALTER secret TYPE int USING secret + 1", ""),
        ("t", "ALTER TABLE t ALTER a TYPE int", ""),
        ("t", "ALTER TABLE t ALTER e TYPE text USING e", ""),
        ("t", "ALTER TABLE t ALTER a SET STATISTICS 50; ANALYZE t; ALTER TABLE t ALTER a SET (n_distinct = 5)", ""),
        (
            "t",
            "ALTER TABLE t RENAME a TO b; ALTER TABLE t ALTER e SET STORAGE EXTERNAL; GRANT SELECT (d) ON t TO public",
            "",
        ),
        (
            "t",
            "ALTER TABLE t ALTER a SET DEFAULT 1; ALTER TABLE t ALTER d DROP DEFAULT; ALTER TABLE t ALTER a SET NOT NULL",
            "",
        ),
        ("t", "VACUUM FULL t; CLUSTER t USING t_pkey; TRUNCATE t; ANALYZE t", ""),
        ("t", "VACUUM FREEZE pg_attribute; VACUUM FULL pg_attribute; VACUUM FULL t; VACUUM FULL pg_class", ""),
        ("p", "VACUUM FULL p1; CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30); DROP TABLE p2", ""),
        // Of each kind one: long values keep their heap, without them it looks like the first of all.
        ("t", "ALTER TABLE t ALTER a SET STATISTICS 50; VACUUM FULL t", ""),
        ("p", "ALTER TABLE p ALTER a SET STATISTICS 50; VACUUM FULL p1", a),
        ("t", "ALTER TABLE t DROP e; ALTER TABLE t ALTER a TYPE int USING a + 1", a),
        ("t", "ALTER TABLE t ALTER d SET STATISTICS 50; VACUUM FULL t", ""),
    ];
    on_servers("computed", async |database| {
        for (table, sql, expected) in cases {
            check(database, table, sql, expected).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_label_with_another_name_is_noticed() {
    let renamed = "a label of an enum was renamed";
    let cases = [
        (
            "ALTER TYPE color ADD VALUE 'blue' BEFORE 'red'; ALTER TYPE color ADD VALUE 'x'; ALTER TYPE color RENAME TO hue",
            "",
        ),
        ("ALTER TYPE size RENAME VALUE 's' TO 'xs'", ""),
        ("ALTER TYPE color RENAME VALUE 'red' TO 'crimson'", renamed),
        ("ALTER TABLE c DROP one; ALTER TYPE color RENAME VALUE 'red' TO 'crimson'", renamed),
        ("ALTER TABLE c DROP one, DROP many; ALTER TYPE color RENAME VALUE 'red' TO 'crimson'", renamed),
        ("ALTER TABLE c DROP one, DROP many, DROP row; ALTER TYPE color RENAME VALUE 'red' TO 'crimson'", ""),
    ];
    on_servers("labels", async |database| {
        for (sql, expected) in cases {
            check(database, "c", sql, expected).await;
        }
    })
    .await;
}

#[tokio::test]
async fn names_and_fields_that_stand_for_others_are_noticed() {
    let another = "is another one than before";
    let cases = [
        ("t", "ALTER TABLE t DROP a; ALTER TABLE t ADD a int", "column a is another one"),
        ("t", "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME d TO a; ALTER TABLE t RENAME x TO d", another),
        ("t", "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME x TO a", ""),
        ("t", "ALTER TABLE t RENAME a TO x; ALTER TABLE t DROP d", ""),
        ("c", "ALTER TYPE pair ADD ATTRIBUTE b int", "a composite type has other fields"),
        ("c", "ALTER TYPE pair DROP ATTRIBUTE a", "a composite type has other fields"),
        ("c", "ALTER TYPE pair RENAME ATTRIBUTE a TO b; ALTER TYPE pair RENAME TO two", ""),
    ];
    on_servers("names", async |database| {
        for (table, sql, expected) in cases {
            check(database, table, sql, expected).await;
        }
        // Over looks between them as well.
        database.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP PUBLICATION IF EXISTS p").await;
        database.run(TABLES).await;
        let mut known = look_at(database, "t").await.read();
        for sql in ["ALTER TABLE t DROP a", "ALTER TABLE t RENAME d TO b"] {
            database.run(sql).await;
            known = look_at(database, "t").await.judge(Some(&known)).unwrap();
        }
        for sql in ["ALTER TABLE t ADD a int", "ALTER TABLE t RENAME a TO x; ALTER TABLE t ADD d int"] {
            database.run(sql).await;
            look_at(database, "t").await.judge(Some(&known)).unwrap_err();
        }
    })
    .await;
}

#[tokio::test]
async fn a_partition_that_is_attached_with_rows_is_noticed() {
    let made = "CREATE TABLE q (id int PRIMARY KEY, a int)";
    let attach = "ALTER TABLE p ATTACH PARTITION q FOR VALUES FROM (20) TO (30)";
    let cases = [
        (format!("{made}; INSERT INTO q VALUES (20, 1); {attach}"), "partition public.q was attached with rows"),
        (
            format!(
                "CREATE TABLE q (id int PRIMARY KEY, a int) PARTITION BY RANGE (id); \
                 CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (20) TO (30); INSERT INTO q VALUES (20, 1); {attach}"
            ),
            "partition public.q1 was attached with rows",
        ),
        (format!("{made}; {attach}"), ""),
        ("CREATE TABLE q PARTITION OF p FOR VALUES FROM (20) TO (30); INSERT INTO p VALUES (20, 1)".into(), ""),
        ("ALTER TABLE p DETACH PARTITION p1; DROP TABLE p2".into(), ""),
    ];
    on_servers("attached", async |database| {
        for (sql, expected) in &cases {
            check(database, "p", sql, expected).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_old_rows_have_is_kept_when_the_catalogs_forget_it() {
    on_servers("kept", async |database| {
        database.run(TABLES).await;
        let before = look_at(database, "t").await.read();
        let old = before.columns.keys().max().copied().unwrap();
        database.run("ALTER TABLE t ADD c text DEFAULT 'a \"b\"'").await;
        let added = look_at(database, "t").await.judge(Some(&before)).unwrap();
        database.run("VACUUM FULL t").await;
        let after = look_at(database, "t").await.judge(Some(&added)).unwrap();
        // Rows of an older column were read.
        assert_eq!((after.held(old + 1), after.held(old)), (Some(b"a \"b\"".to_vec()), None));
        let written = serde_json::to_string(&after).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&written).unwrap(), after);
    })
    .await;
}
