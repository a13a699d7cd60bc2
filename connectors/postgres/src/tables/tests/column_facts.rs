//! What is told of columns beside their values.

use serde_json::Value as Json;
use walbrook_model::ColumnFacts;

use super::*;

const RECORDED_TABLES: &str = include_str!("../../../../../core/envelope/testdata/debezium/tables.sql");
const RECORDED_FACTS: &str = include_str!("../../../../../core/envelope/testdata/debezium/tables.json");

/// With the type in place of the base type where there is no domain.
fn facts<'a>(table: &'a TableInfo, column: &str) -> (&'a str, ColumnFacts) {
    let column = &table.schema.columns[table.schema.column(column).unwrap()];
    let base_type = column.facts.base_type.clone().or_else(|| Some(column.source_type.clone()));
    (&column.source_type, ColumnFacts { base_type, ..ColumnFacts::clone(&column.facts) })
}

#[tokio::test]
async fn they_are_what_a_recorded_run_of_debezium_had() {
    on_servers("facts_recorded", async |database| {
        database.run(RECORDED_TABLES).await;
        database.run("ALTER TABLE nokeys ADD COLUMN added int DEFAULT 5").await;
        let recorded: Json = serde_json::from_str(RECORDED_FACTS).unwrap();
        let tables = describe_all(database, None).await.unwrap();
        assert_eq!(tables.len(), recorded["tables"].as_object().unwrap().len());
        for table in &tables {
            let wanted = &recorded["tables"][&table.schema.table.name];
            let columns = wanted["columns"].as_array().unwrap();
            assert_eq!(table.schema.columns.len(), columns.len(), "{}", table.schema.table);
            assert_eq!(
                key(table),
                wanted["key"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect::<Vec<_>>()
            );
            for wanted in columns {
                let text = |field: &str| wanted[field].as_str().map(str::to_owned);
                let labels =
                    |labels: &Vec<Json>| labels.iter().map(|label| label.as_str().unwrap().to_owned()).collect();
                let expected = ColumnFacts {
                    base_type: text("base"),
                    not_null: wanted["not_null"].as_bool(),
                    default: text("default"),
                    labels: wanted["labels"].as_array().map(labels),
                };
                let name = wanted["name"].as_str().unwrap();
                assert_eq!(facts(table, name), (wanted["type"].as_str().unwrap(), expected), "{name}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn domains_and_enums() {
    on_servers("facts_types", async |database| {
        database.run("CREATE TYPE mood AS ENUM ('sad', 'happy')").await;
        database.run("ALTER TYPE mood ADD VALUE 'ok' BEFORE 'happy'").await;
        let sql = "CREATE DOMAIN short AS varchar(8); CREATE DOMAIN shorter AS short NOT NULL; \
             CREATE DOMAIN feeling AS mood; CREATE DOMAIN amounts AS numeric(10,2)[]; \
             CREATE TABLE t (id int PRIMARY KEY, s shorter, f feeling DEFAULT 'ok', m mood[], a amounts, n int NOT NULL, \
                i int GENERATED ALWAYS AS IDENTITY)";
        database.run(sql).await;
        let table = table(database, "t").await;
        let some = |text: &str| Some(text.to_owned());
        let plain = |base: &str, not_null| ColumnFacts {
            base_type: some(base),
            not_null: Some(not_null),
            ..ColumnFacts::default()
        };
        let labels = Some(vec!["sad".to_owned(), "ok".to_owned(), "happy".to_owned()]);
        let check = |column, source_type, expected| assert_eq!(facts(&table, column), (source_type, expected));
        check("s", "public.shorter", plain("character varying(8)", true));
        let default = some("'ok'::public.mood");
        check("f", "public.feeling", ColumnFacts { labels: labels.clone(), default, ..plain("public.mood", false) });
        check("m", "public.mood[]", ColumnFacts { labels, ..plain("public.mood[]", false) });
        check("a", "public.amounts", plain("numeric(10,2)[]", false));
        check("n", "integer", plain("integer", true));
        check("i", "integer", plain("integer", true));
    })
    .await;
}

#[tokio::test]
async fn the_log_and_the_catalogs_give_the_same_version() {
    on_servers("facts_same", async |database| {
        let sql = "CREATE TYPE mood AS ENUM ('sad', 'ok'); \
             CREATE TABLE t (id int PRIMARY KEY, m mood NOT NULL DEFAULT 'ok', v numeric(10,2) DEFAULT 1.5); \
             CREATE PUBLICATION p FOR TABLE t";
        database.run(sql).await;
        database.slot().await;
        database.run("INSERT INTO t VALUES (1)").await;
        let known = table(database, "t").await;
        let relation = relations(database).await.pop().unwrap();
        assert_eq!(captured(from_log(database, &relation, None).await).schema, known.schema);
        let reader = database.reader().await;
        let mut types = TypeMap::default();
        assert!(refresh(&reader, &mut types, &known).await.unwrap().is_none());
        // What the log does not tell makes another version, of the same shape.
        database
            .run("ALTER TABLE t ALTER v SET DEFAULT 2, ALTER m DROP NOT NULL; ALTER TYPE mood ADD VALUE 'happy'")
            .await;
        let now = refresh(&reader, &mut types, &known).await.unwrap().unwrap();
        assert_eq!(facts(&now, "v").1.default, Some("2".to_owned()));
        let mood = facts(&now, "m").1;
        assert_eq!((mood.not_null, mood.labels.unwrap().len()), (Some(false), 3));
        assert_eq!(captured(from_log(database, &relation, Some(&known)).await).schema, now.schema);
        assert_ne!(now.schema, known.schema);
        assert!(refresh(&reader, &mut types, &now).await.unwrap().is_none());
        database.run("DROP TABLE t").await;
        assert!(refresh(&reader, &mut types, &now).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_look_at_defaults_waits_for_no_lock() {
    on_servers("facts_locked", async |database| {
        database.run("CREATE TABLE t (id int PRIMARY KEY, v int DEFAULT 7)").await;
        let known = table(database, "t").await;
        database.run("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await;
        let reader = database.reader().await;
        reader.batch_execute("SET lock_timeout = '1s'").await.unwrap();
        assert!(refresh(&reader, &mut TypeMap::default(), &known).await.unwrap().is_none());
        assert_eq!(facts(&known, "v").1.default, Some("7".to_owned()));
        database.run("COMMIT").await;
    })
    .await;
}
