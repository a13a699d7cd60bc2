//! Checks of what was looked up, as data; and the whole look, on real servers.

use walbrook_config::SnapshotMode;
use walbrook_model::Severity;

use super::server::Server;
use super::*;
use crate::continuity::Slot;
use crate::publication;
use crate::testing::{self, Database, on_servers, unique};

fn server() -> Server {
    Server {
        version: 180_001,
        wal_level: "logical".to_owned(),
        standby: false,
        slots_max: 10,
        slots_used: 3,
        senders_max: 10,
        senders_used: 3,
        keep_mb: 50_000,
        idle_timeout_seconds: 0,
        superuser: false,
        replication: true,
        bypasses_row_security: false,
        creates: true,
        slot_exists: false,
    }
}

fn slot() -> Slot {
    Slot {
        plugin: Some("pgoutput".to_owned()),
        kind: "logical".to_owned(),
        database: Some("db".to_owned()),
        wal_status: Some("reserved".to_owned()),
        ..Slot::default()
    }
}

fn settings() -> Postgres {
    testing::settings("127.0.0.1", 5432, "db")
}

/// Severity and object of what is found.
type Found<'a> = &'a [(Severity, &'a str)];

#[track_caller]
fn compare(findings: &[Finding], expected: Found<'_>) {
    let found: Vec<(Severity, &str)> =
        findings.iter().map(|finding| (finding.severity, finding.object.as_str())).collect();
    assert_eq!(found, expected, "{findings:#?}");
}

#[test]
fn checks_of_the_server_and_the_role() {
    use Severity::{Error, Warning};
    #[track_caller]
    fn check(change: impl FnOnce(&mut Server), expected: Found<'_>) {
        let mut server = server();
        change(&mut server);
        compare(&server::check(&server, &settings()), expected);
    }
    check(|_| {}, &[]);
    check(|s| s.version = 190_000, &[(Warning, "server")]);
    check(|s| s.version = 140_000, &[]);
    check(|s| s.standby = true, &[(Error, "server")]);
    check(|s| s.wal_level = "replica".to_owned(), &[(Error, "setting wal_level")]);
    check(|s| s.slots_used = 8, &[]);
    check(|s| s.slots_used = 9, &[(Warning, "setting max_replication_slots")]);
    check(|s| s.slots_used = 10, &[(Error, "setting max_replication_slots")]);
    check(|s| (s.slots_used, s.slot_exists) = (9, true), &[]);
    check(|s| (s.slots_used, s.slot_exists) = (10, true), &[(Warning, "setting max_replication_slots")]);
    check(|s| s.replication = false, &[(Error, "role postgres")]);
    check(|s| (s.superuser, s.replication) = (true, false), &[(Warning, "role postgres")]);
    check(|s| s.bypasses_row_security = true, &[(Warning, "role postgres")]);
    check(|s| s.keep_mb = -1, &[(Warning, "setting max_slot_wal_keep_size")]);
    check(|s| s.keep_mb = 100, &[(Warning, "setting max_slot_wal_keep_size")]);
    check(|s| s.idle_timeout_seconds = 60, &[(Warning, "setting idle_replication_slot_timeout")]);
}

#[test]
fn checks_of_the_slot() {
    use Severity::{Error, Info, Warning};
    #[track_caller]
    fn check(change: impl FnOnce(&mut Slot), expected: Found<'_>) {
        let mut slot = slot();
        change(&mut slot);
        compare(&server::check_slot(&server(), Some(&slot), &settings()), expected);
    }
    check(|_| {}, &[(Info, "slot db")]);
    check(|s| (s.active, s.active_pid) = (true, Some(7)), &[(Info, "slot db")]);
    check(|s| s.kind = "physical".to_owned(), &[(Error, "slot db"), (Info, "slot db")]);
    check(|s| s.plugin = Some("wal2json".to_owned()), &[(Error, "slot db"), (Info, "slot db")]);
    check(|s| s.database = Some("other".to_owned()), &[(Error, "slot db"), (Info, "slot db")]);
    check(|s| s.wal_status = Some("lost".to_owned()), &[(Error, "slot db")]);
    check(|s| s.wal_status = Some("unreserved".to_owned()), &[(Error, "slot db")]);
    check(|s| s.invalidation_reason = Some("idle_timeout".to_owned()), &[(Error, "slot db")]);
    check(|s| s.conflicting = Some(true), &[(Error, "slot db")]);
    let full = Server { senders_used: 9, ..server() };
    compare(&server::check_slot(&full, None, &settings()), &[(Warning, "setting max_wal_senders")]);
    let own = Slot { active: true, active_pid: Some(7), ..slot() };
    compare(&server::check_slot(&full, Some(&own), &settings()), &[(Info, "slot db")]);
}

#[test]
fn a_finding_prints_its_remedy_on_a_line_of_its_own() {
    let finding = Finding::error("table public.t", "it has no key", "ALTER TABLE t REPLICA IDENTITY FULL");
    assert_eq!(finding.to_string(), "error: table public.t: it has no key\n    ALTER TABLE t REPLICA IDENTITY FULL");
    assert_eq!(Finding::info("slot s", "it exists").to_string(), "info: slot s: it exists");
}

/// What is found about an object, errors and warnings with their remedies.
fn about<'a>(findings: &'a [Finding], object: &str) -> Vec<(Severity, &'a str, &'a str)> {
    let of = findings.iter().filter(|finding| finding.object == object);
    of.map(|f| (f.severity, f.what.as_str(), f.remedy.as_deref().unwrap_or_default())).collect()
}

#[track_caller]
fn has(findings: &[Finding], severity: Severity, object: &str, remedy: &str) {
    let found = about(findings, object);
    assert!(found.iter().any(|(s, _, r)| *s == severity && *r == remedy), "{object} {remedy}: {findings:#?}");
}

#[tokio::test]
async fn nothing_is_wrong_with_a_server_that_is_ready() {
    on_servers("ready", async |database| {
        let role = unique("role");
        database.run(&format!("CREATE ROLE {role} LOGIN REPLICATION")).await;
        database.run("CREATE TABLE t (id int PRIMARY KEY, n int)").await;
        database.run(&format!("ALTER TABLE t OWNER TO {role}")).await;
        database.run(&format!("GRANT CREATE ON DATABASE {} TO {role}", database.settings.database)).await;
        let settings = Postgres { user: role.clone(), ..database.settings.clone() };
        let findings = preflight(&settings).await;
        let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        assert_eq!(about(&findings, &format!("publication {}", settings.publication))[0].0, Severity::Info);
        publication::ensure(&settings).await.unwrap();
        let again = preflight(&settings).await;
        assert!(about(&again, &format!("publication {}", settings.publication)).is_empty(), "{again:#?}");
        // It is there now, and is what is wanted.
        publication::ensure(&settings).await.unwrap();
        let published = "SELECT string_agg(tablename, ',') FROM pg_publication_tables";
        assert_eq!(database.text(published).await.as_deref(), Some("t"));
        forget(database, &role).await;
    })
    .await;
}

async fn forget(database: &Database, role: &str) {
    database.run(&format!("REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn each_table_that_cannot_be_captured_comes_with_its_remedy() {
    use Severity::{Error, Info, Warning};
    on_servers("tables", async |database| {
        database
            .run(
                "CREATE TABLE ok (id int PRIMARY KEY); CREATE TABLE nokey (a int); \
                 CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING; \
                 CREATE TABLE late (id int PRIMARY KEY DEFERRABLE); \
                 CREATE TABLE toast (id int PRIMARY KEY, t text); \
                 CREATE TABLE log (a int); ALTER TABLE log REPLICA IDENTITY FULL; \
                 CREATE TABLE generated (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id + 1) STORED); \
                 CREATE UNLOGGED TABLE quick (id int PRIMARY KEY); CREATE VIEW look AS SELECT 1; \
                 CREATE MATERIALIZED VIEW seen AS SELECT 1; \
                 CREATE TABLE parted (id int PRIMARY KEY, t text) PARTITION BY RANGE (id); \
                 CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1); \
                 ALTER TABLE parted REPLICA IDENTITY FULL",
            )
            .await;
        let mut settings = database.settings.clone();
        settings.tables.include.extend(["public.look", "public.missing", "other.*"].map(str::to_owned));
        settings.tables.exclude_columns = vec!["public.toast.T".to_owned(), "*.*.ssn".to_owned()];
        let findings = preflight(&settings).await;
        let full = |table: &str| format!("ALTER TABLE \"public\".\"{table}\" REPLICA IDENTITY FULL");
        has(&findings, Error, "table public.nokey", &format!("{}; or give it a primary key", full("nokey")));
        has(&findings, Error, "table public.nothing", "ALTER TABLE \"public\".\"nothing\" REPLICA IDENTITY DEFAULT");
        has(&findings, Error, "table public.late", &full("late"));
        has(&findings, Info, "table public.toast", &full("toast"));
        has(&findings, Error, "table public.parted", &full("parted_1"));
        has(&findings, Error, "table public.look", "take it out of source.postgres.tables.include");
        has(&findings, Error, "pattern public.missing", "correct source.postgres.tables.include");
        has(&findings, Warning, "pattern other.*", "correct source.postgres.tables.include");
        has(&findings, Error, "pattern public.toast.T", "correct source.postgres.tables.exclude_columns");
        has(&findings, Warning, "pattern *.*.ssn", "correct source.postgres.tables.exclude_columns");
        for object in ["table public.quick", "table public.seen", "table public.generated"] {
            has(&findings, Info, object, "");
        }
        assert_eq!(about(&findings, "table public.log")[0].0, Warning);
        assert!(about(&findings, "table public.ok").is_empty());
        assert!(findings.is_sorted_by_key(|finding| finding.severity));
        // We do not break the application's updates by a publication of our own.
        let error = publication::ensure(&settings).await.unwrap_err();
        assert_eq!(error.kind(), walbrook_model::ErrorKind::Config, "{error}");
        assert_eq!(database.text("SELECT count(*)::text FROM pg_publication").await.as_deref(), Some("0"));
    })
    .await;
}

/// Every remedy of a table is SQL that the server takes, and after it nothing is left to mend.
#[tokio::test]
async fn the_remedies_mend() {
    on_servers("mend", async |database| {
        database
            .run(
                "CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING; \
                 CREATE TABLE late (id int PRIMARY KEY DEFERRABLE); CREATE TABLE toast (id int PRIMARY KEY, t text); \
                 CREATE TABLE \"F 1\" (id int PRIMARY KEY, t text); CREATE TABLE unpublished (id int PRIMARY KEY); \
                 CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); \
                 CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1); \
                 ALTER TABLE parted REPLICA IDENTITY FULL; CREATE TABLE filtered (id int PRIMARY KEY)",
            )
            .await;
        let publication = &database.settings.publication;
        database
            .run(&format!(
                "CREATE PUBLICATION {publication} FOR TABLE nothing, late, toast, \"F 1\", parted, filtered WHERE (id > 0) \
                 WITH (publish = 'insert, update')"
            ))
            .await;
        let mut mended = 0;
        for finding in preflight(&database.settings).await {
            if finding.severity == Severity::Error {
                database.run(finding.remedy.as_deref().expect("a remedy")).await;
                mended += 1;
            }
        }
        assert!(mended >= 7, "{mended}");
        let left = preflight(&database.settings).await;
        assert!(left.iter().all(|finding| finding.severity != Severity::Error), "{left:#?}");
        publication::ensure(&database.settings).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_role_without_rights_is_told_which_it_needs() {
    use Severity::Error;
    on_servers("rights", async |database| {
        let role = unique("role");
        database
            .run(&format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA app; GRANT USAGE ON SCHEMA public TO {role}"))
            .await;
        database
            .run(
                "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE app.t (id int PRIMARY KEY); \
                 CREATE TABLE hidden (id int PRIMARY KEY); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
            )
            .await;
        let mut settings = Postgres { user: role.clone(), ..database.settings.clone() };
        settings.tables.include = vec!["*.*".to_owned()];
        let findings = preflight(&settings).await;
        let object = format!("role {role}");
        has(&findings, Error, &object, &format!("ALTER ROLE \"{role}\" REPLICATION"));
        has(&findings, Error, "table public.t", &format!("GRANT SELECT ON \"public\".\"t\" TO \"{role}\""));
        has(&findings, Error, "table app.t", &format!("GRANT USAGE ON SCHEMA \"app\" TO \"{role}\""));
        let hidden = "ALTER TABLE \"public\".\"hidden\" DISABLE ROW LEVEL SECURITY";
        has(&findings, Error, "table public.hidden", &format!("ALTER ROLE \"{role}\" BYPASSRLS; or {hidden}"));
        let publication = format!("publication {}", settings.publication);
        assert_eq!(about(&findings, &publication)[0].0, Error);
        let error = publication::ensure(&settings).await.unwrap_err();
        assert_eq!((error.kind(), error.object()), (walbrook_model::ErrorKind::Config, Some(publication.as_str())));
        assert!(error.remedy_text().is_some_and(|remedy| remedy.contains("CREATE PUBLICATION")), "{error}");
        // Without a snapshot nothing is read.
        settings.snapshot.mode = SnapshotMode::Never;
        let findings = preflight(&settings).await;
        assert!(about(&findings, "table public.t").is_empty(), "{findings:#?}");
        forget(database, &role).await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_one_finding() {
    let findings = preflight(&testing::settings("127.0.0.1", 1, "db")).await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].severity, Severity::Error);
}

#[tokio::test]
async fn a_missing_publication_that_may_not_be_made_is_an_error_with_its_statement() {
    on_servers("no_publication", async |database| {
        database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
        let settings = Postgres { create_publication: false, ..database.settings.clone() };
        let name = &settings.publication;
        let create = format!(
            "CREATE PUBLICATION \"{name}\" FOR TABLE ONLY \"public\".\"t\" \
             WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
        );
        has(&preflight(&settings).await, Severity::Error, &format!("publication {name}"), &create);
        let error = publication::ensure(&settings).await.unwrap_err();
        assert_eq!(error.remedy_text(), Some(create.as_str()));
        database.run(&create).await;
        publication::ensure(&settings).await.unwrap();
    })
    .await;
}
