use walbrook_model::ErrorKind;

use super::{admin, run, servers, unique, value};
use crate::connection::ReplicationConnection;
use crate::connection::error::sqlstate;
use crate::sql;

#[tokio::test]
async fn settings_of_the_database_and_the_role_do_not_reach_a_session() {
    for mut settings in servers("pins") {
        let admin = admin(&settings).await;
        let (role, database) = (unique("role"), unique("database"));
        run(&admin, &format!("CREATE ROLE {role} LOGIN REPLICATION")).await;
        run(&admin, &format!("CREATE DATABASE {database} STRATEGY file_copy")).await;
        for (name, value) in [
            ("DateStyle", "'German'"),
            ("IntervalStyle", "'postgres_verbose'"),
            ("TimeZone", "'Europe/Paris'"),
            ("bytea_output", "'escape'"),
            ("extra_float_digits", "0"),
            ("statement_timeout", "'1ms'"),
            ("idle_session_timeout", "'1s'"),
            ("search_path", "'public'"),
        ] {
            run(&admin, &format!("ALTER DATABASE {database} SET {name} = {value}")).await;
            run(&admin, &format!("ALTER ROLE {role} SET {name} = {value}")).await;
        }
        settings.user = role.clone();
        settings.database = database.clone();
        let values = "SELECT now() >= '2000-01-01'::timestamptz, '2024-02-03 04:05:06+00'::timestamptz::text, \
                      interval '1 mon -1 day'::text, '\\x00ff'::bytea::text, (0.1::float8 + 0.2::float8)::text, \
                      'pg_class'::regclass::text, 'public'::regnamespace::text";
        let expected =
            ["t", "2024-02-03 04:05:06+00", "P1M-1D", "\\x00ff", "0.30000000000000004", "pg_class", "public"];

        let mut replication = ReplicationConnection::connect(&settings).await.unwrap();
        let rows = replication.query(values).await.unwrap();
        assert_eq!(rows, [expected.map(|cell| Some(cell.to_owned()))]);

        let client = sql::connect(&settings).await.unwrap();
        let messages = client.simple_query(values).await.unwrap();
        let row = messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let cells: Vec<_> = (0..expected.len()).map(|index| row.unwrap().get(index)).collect();
        assert_eq!(cells, expected.map(Some));

        drop((replication, client));
        run(&admin, &format!("DROP DATABASE {database} WITH (FORCE)")).await;
        run(&admin, &format!("DROP ROLE {role}")).await;
    }
}

#[tokio::test]
async fn nothing_can_be_written_by_a_slip() {
    for settings in servers("read only") {
        let client = sql::connect(&settings).await.unwrap();
        let error = sql::error(client.batch_execute("CREATE TABLE slip (id int)").await.unwrap_err());
        assert_eq!((error.kind(), sqlstate(&error)), (ErrorKind::Bug, Some("25006")));
    }
}

#[tokio::test]
async fn rows_that_a_policy_hides_are_an_error() {
    for mut settings in servers("row security") {
        let admin = admin(&settings).await;
        let (role, table) = (unique("role"), format!("public.{}", unique("table")));
        run(&admin, &format!("CREATE ROLE {role} LOGIN; CREATE TABLE {table} (id int)")).await;
        run(&admin, &format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; GRANT SELECT ON {table} TO {role}")).await;
        settings.user = role.clone();
        let client = sql::connect(&settings).await.unwrap();
        let error = sql::error(client.query(&format!("SELECT * FROM {table}"), &[]).await.unwrap_err());
        assert_eq!((error.kind(), sqlstate(&error)), (ErrorKind::Config, Some("42501")));
        run(&admin, &format!("DROP TABLE {table}; DROP ROLE {role}")).await;
    }
}

#[tokio::test]
async fn a_unix_socket_works_and_takes_no_tls() {
    for mut settings in servers("unix socket") {
        let folder = value(&admin(&settings).await, "SHOW unix_socket_directories").await;
        settings.host = folder.split(',').next().unwrap().trim().to_owned();
        let client = sql::connect(&settings).await.unwrap();
        assert_eq!(value(&client, "SELECT coalesce(inet_server_addr()::text, 'unix')").await, "unix");
        ReplicationConnection::connect(&settings).await.unwrap();

        settings.tls.mode = walbrook_config::TlsMode::VerifyFull;
        let error = sql::connect(&settings).await.map(drop).expect_err("TLS over a Unix socket");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

#[tokio::test]
async fn a_timeline_history_and_an_error_leave_the_connection_usable() {
    for settings in servers("commands") {
        let mut connection = ReplicationConnection::connect(&settings).await.unwrap();
        let system = connection.query("IDENTIFY_SYSTEM").await.unwrap();
        assert_eq!(system[0].len(), 4);
        assert_eq!(system[0][3].as_deref(), Some("postgres"));

        let error = connection.query("SELECT 1/0").await.unwrap_err();
        assert_eq!((error.kind(), sqlstate(&error)), (ErrorKind::Data, Some("22012")));
        assert_eq!(
            connection.query("SELECT NULL, '', 'é'").await.unwrap(),
            [[None, Some(String::new()), Some("é".into())]]
        );
        assert!(connection.query("SELECT 'a\0b'").await.is_err());
        assert_eq!(connection.query("SELECT 1").await.unwrap().len(), 1);
    }
}
