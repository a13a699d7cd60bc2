use walbrook_config::Postgres;
use walbrook_model::{Error, ErrorKind};

use super::{CONFIGURATION, add_rules, admin, run, servers, unique, value, write_rules};
use crate::connection::ReplicationConnection;
use crate::sql;

/// Both ways in must agree.
pub(super) async fn connect(settings: &Postgres) -> Result<(), Error> {
    let replication = ReplicationConnection::connect(settings).await.map(drop);
    let sql = sql::connect(settings).await.map(drop);
    match (&replication, &sql) {
        (Ok(()), Ok(())) => {}
        (Err(one), Err(other)) => assert_eq!((one.kind(), one.message()), (other.kind(), other.message())),
        _ => panic!("replication {replication:?}, sql {sql:?}"),
    }
    replication
}

#[tokio::test]
async fn passwords_pass_by_scram_only() {
    let _alone = CONFIGURATION.lock().await;
    for settings in servers("authentication") {
        let admin = admin(&settings).await;
        let [scram, clear, md5, cannot, norepl] = ["scram", "clear", "md5", "cannot", "norepl"].map(unique);
        for role in [&scram, &clear] {
            run(&admin, &format!("CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'sécret ½'")).await;
        }
        run(&admin, &format!("SET password_encryption = md5; CREATE ROLE {md5} LOGIN REPLICATION PASSWORD 'x'")).await;
        run(&admin, &format!("CREATE ROLE {cannot} NOLOGIN REPLICATION; CREATE ROLE {norepl} LOGIN")).await;
        let rules = format!(
            "host all {scram} 127.0.0.1/32 scram-sha-256\nhost all {clear} 127.0.0.1/32 password\n\
             local all {clear} password\nhost all {md5} 127.0.0.1/32 md5\n"
        );
        let before = add_rules(&admin, &rules).await;
        let as_role = |role: &str, password: Option<&str>| Postgres {
            user: role.to_owned(),
            password: password.map(Into::into),
            ..settings.clone()
        };

        connect(&as_role(&scram, Some("sécret ½"))).await.unwrap();

        let wrong = connect(&as_role(&scram, Some("canary"))).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Config);
        assert!(wrong.to_string().contains(&format!("ALTER ROLE \"{scram}\" PASSWORD")), "{wrong}");
        assert!(!format!("{wrong} {wrong:?}").contains("canary"));

        let missing = connect(&as_role(&scram, None)).await.unwrap_err();
        assert!(missing.to_string().contains("password_file"), "{missing}");

        let open = connect(&as_role(&clear, Some("sécret ½"))).await.unwrap_err();
        assert!(open.to_string().contains("clear text"), "{open}");
        let mut private = as_role(&clear, Some("sécret ½"));
        private.host = value(&admin, "SHOW unix_socket_directories").await;
        connect(&private).await.unwrap();

        let weak = connect(&as_role(&md5, Some("x"))).await.unwrap_err();
        assert!(weak.to_string().contains("MD5") && weak.to_string().contains("scram-sha-256"), "{weak}");

        let refused = connect(&as_role(&cannot, None)).await.unwrap_err();
        assert!(refused.to_string().contains("LOGIN"), "{refused}");
        let refused = ReplicationConnection::connect(&as_role(&norepl, None)).await.unwrap_err();
        assert!(refused.to_string().contains(&format!("ALTER ROLE \"{norepl}\" REPLICATION")), "{refused}");

        let mut absent = settings.clone();
        absent.database = "no such database".to_owned();
        let absent = connect(&absent).await.unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::Config);

        write_rules(&admin, &before).await;
        run(&admin, &format!("DROP ROLE {scram}, {clear}, {md5}, {cannot}, {norepl}")).await;
    }
}
