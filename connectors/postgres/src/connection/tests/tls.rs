//! TLS against a real server that is given certificates of our own, and against a man in the middle.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::Client;
use tokio_rustls::TlsAcceptor;
use walbrook_config::{Postgres, TlsMode};
use walbrook_model::ErrorKind;

use super::authentication::connect;
use super::{CONFIGURATION, add_rules, admin, reload, run, servers, unique, value, write_file, write_rules};
use crate::connection::tls;
use crate::sql;

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1";
const LOCAL: &str = "IP:127.0.0.1";

/// A folder of keys and certificates, made by `openssl`.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        for name in ["ca", "other"] {
            authority
                .openssl(&format!("req -x509 {EC} -nodes -keyout {name}.key -out {name}.crt -subj /CN={name} -days 2"));
        }
        authority
    }

    /// A certificate for a server or a client.
    fn issue(&self, name: &str, key: &str, digest: &str, alternative_name: &str, days: i32) {
        std::fs::write(self.path(&format!("{name}.ext")), format!("subjectAltName={alternative_name}\n")).unwrap();
        self.openssl(&format!("req {key} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {days} -extfile {name}.ext \
             {digest} -out {name}.crt"
        ));
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Gives the server a certificate.
    async fn install(&self, admin: &Client, name: &str) {
        for kind in ["crt", "key"] {
            let file = format!("{name}.{kind}");
            write_file(admin, &file, &std::fs::read_to_string(self.path(&file)).unwrap()).await;
        }
        run(admin, &format!("ALTER SYSTEM SET ssl_cert_file = '{name}.crt'")).await;
        run(admin, &format!("ALTER SYSTEM SET ssl_key_file = '{name}.key'")).await;
        run(admin, "ALTER SYSTEM SET ssl = on").await;
        reload(admin).await;
        assert_eq!(value(admin, "SHOW ssl").await, "on", "the server did not take {name}.crt");
    }
}

fn have_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("tls: skipped, there is no openssl");
    }
    found
}

fn under(settings: &Postgres, mode: TlsMode, ca_file: Option<&Path>) -> Postgres {
    let mut settings = settings.clone();
    settings.tls.mode = mode;
    settings.tls.ca_file = ca_file.map(Path::to_path_buf);
    settings
}

async fn check_taken(settings: &Postgres) {
    connect(settings).await.unwrap_or_else(|error| panic!("{:?}: {error}", settings.tls));
    let client = sql::connect(settings).await.unwrap();
    let encrypted = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(value(&client, encrypted).await, "true");
}

async fn check_refused(settings: &Postgres, part: &str) {
    let error = connect(settings).await.expect_err("it was taken");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains(part), "{:?}: {error}", settings.tls);
}

#[tokio::test]
async fn each_mode_checks_what_its_name_says() {
    let _alone = CONFIGURATION.lock().await;
    for settings in servers("tls") {
        if !have_openssl() {
            return;
        }
        let admin = admin(&settings).await;
        reset(&admin).await;
        let authority = Authority::new();
        let (ca, other) = (authority.path("ca.crt"), authority.path("other.crt"));
        let (ca, other) = (Some(ca.as_path()), Some(other.as_path()));
        let [good, elsewhere, expired] = ["good", "elsewhere", "expired"].map(unique);
        authority.issue(&good, EC, "", LOCAL, 2);
        authority.issue(&elsewhere, EC, "", "DNS:elsewhere.example", 2);
        authority.issue(&expired, EC, "", LOCAL, -1);

        check_refused(&under(&settings, TlsMode::VerifyFull, ca), "offers no TLS").await;
        check_refused(&under(&settings, TlsMode::Require, None), "offers no TLS").await;

        authority.install(&admin, &good).await;
        for mode in [TlsMode::VerifyFull, TlsMode::VerifyCa, TlsMode::Require] {
            check_taken(&under(&settings, mode, ca)).await;
            check_refused(&under(&settings, mode, other), "ca_file").await;
        }
        check_taken(&under(&settings, TlsMode::Require, None)).await;
        check_refused(&under(&settings, TlsMode::VerifyFull, None), "ca_file").await;
        check_refused(&under(&settings, TlsMode::VerifyFull, Some(Path::new("/no/such/file"))), "/no/such/file").await;

        authority.install(&admin, &elsewhere).await;
        check_refused(&under(&settings, TlsMode::VerifyFull, ca), "subjectAltName").await;
        check_taken(&under(&settings, TlsMode::VerifyCa, ca)).await;

        authority.install(&admin, &expired).await;
        check_refused(&under(&settings, TlsMode::VerifyFull, ca), "renew").await;
        check_refused(&under(&settings, TlsMode::VerifyCa, ca), "renew").await;
        check_taken(&under(&settings, TlsMode::Require, None)).await;

        reset(&admin).await;
    }
}

#[tokio::test]
async fn a_client_certificate_lets_its_role_in() {
    let _alone = CONFIGURATION.lock().await;
    for settings in servers("client certificate") {
        if !have_openssl() {
            return;
        }
        let admin = admin(&settings).await;
        let authority = Authority::new();
        let [server, role] = ["server", "role"].map(unique);
        authority.issue(&server, EC, "", LOCAL, 2);
        authority.issue(&role, EC, "", "DNS:client.example", 2);
        authority.install(&admin, &server).await;
        write_file(&admin, "clients.crt", &std::fs::read_to_string(authority.path("ca.crt")).unwrap()).await;
        run(&admin, "ALTER SYSTEM SET ssl_ca_file = 'clients.crt'").await;
        run(&admin, &format!("CREATE ROLE {role} LOGIN REPLICATION")).await;
        let before = add_rules(&admin, &format!("hostssl all {role} 127.0.0.1/32 cert\n")).await;

        let mut with = under(&settings, TlsMode::VerifyFull, Some(&authority.path("ca.crt")));
        with.user = role.clone();
        check_refused(&with, "certificate").await;
        with.tls.cert_file = Some(authority.path(&format!("{role}.crt")));
        check_refused(&with, "key_file").await;
        with.tls.key_file = Some(authority.path(&format!("{server}.key")));
        check_refused(&with, "does not fit").await;
        with.tls.key_file = Some(authority.path(&format!("{role}.key")));
        check_taken(&with).await;

        write_rules(&admin, &before).await;
        run(&admin, "ALTER SYSTEM RESET ssl_ca_file").await;
        reset(&admin).await;
        run(&admin, &format!("DROP ROLE {role}")).await;
    }
}

#[tokio::test]
async fn a_password_is_bound_to_the_tls_session() {
    let _alone = CONFIGURATION.lock().await;
    for settings in servers("channel binding") {
        if !have_openssl() {
            return;
        }
        let admin = admin(&settings).await;
        let authority = Authority::new();
        let (role, man) = (unique("role"), unique("man"));
        run(&admin, &format!("CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'secret'")).await;
        let before = add_rules(&admin, &format!("hostssl all {role} 127.0.0.1/32 scram-sha-256\n")).await;
        let mut bound = under(&settings, TlsMode::Require, None);
        bound.user = role.clone();
        bound.password = Some("secret".into());
        authority.issue(&man, EC, "", LOCAL, 2);

        for (key, digest) in [
            (EC, "-sha256"),
            ("-newkey ec -pkeyopt ec_paramgen_curve:secp384r1", "-sha384"),
            ("-newkey rsa:2048", "-sha512"),
            // There is no binding by this one, and still a way in.
            ("-newkey ed25519", ""),
        ] {
            let server = unique("server");
            // The digest is the one of the authority's signature, whose key is EC.
            authority.issue(&server, key, digest, LOCAL, 2);
            authority.install(&admin, &server).await;
            check_taken(&bound).await;
            let mut through = bound.clone();
            through.port = man_in_the_middle(&settings, &authority, &man).await;
            check_refused(&through, "28000").await;
        }

        write_rules(&admin, &before).await;
        reset(&admin).await;
        run(&admin, &format!("DROP ROLE {role}")).await;
    }
}

/// Ends the client's TLS and begins another with the server, passing everything on. The port to reach him.
async fn man_in_the_middle(settings: &Postgres, authority: &Authority, name: &str) -> u16 {
    let certificate = CertificateDer::from_pem_file(authority.path(&format!("{name}.crt"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.path(&format!("{name}.key"))).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = under(settings, TlsMode::Require, None);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0; 8];
            client.read_exact(&mut request).await.unwrap();
            client.write_all(b"S").await.unwrap();
            let mut client = acceptor.accept(client).await.unwrap();
            let mut server = TcpStream::connect((settings.host.as_str(), settings.port)).await.unwrap();
            server.write_all(&request).await.unwrap();
            server.read_u8().await.unwrap();
            let mut server = tls::handshake(server, &settings.host, &settings.tls).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    port
}

async fn reset(admin: &Client) {
    for setting in ["ssl", "ssl_cert_file", "ssl_key_file"] {
        run(admin, &format!("ALTER SYSTEM RESET {setting}")).await;
    }
    reload(admin).await;
}
