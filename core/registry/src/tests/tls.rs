//! TLS: whom the client trusts.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use walbrook_config::Registry as Settings;
use walbrook_model::ErrorKind;

use super::{SCHEMA, settings};
use crate::Registry;

/// A certificate for 127.0.0.1 and its authority, made by `openssl`.
fn certificates(folder: &Path) -> bool {
    let run = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !run("version") {
        println!("tls: skipped, there is no openssl");
        return false;
    }
    std::fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        assert!(run(&format!("req -x509 {key} -keyout {name}.key -out {name}.crt -subj /CN={name} -days 2")));
    }
    assert!(run(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server")));
    assert!(run(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.crt"
    ));
    true
}

/// Answers every request with an id.
async fn serve(folder: &Path) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(folder.join("server.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(tcp).await.ok()?;
                let mut request = Vec::new();
                while !request.ends_with(b"\"AVRO\"}") {
                    stream.read_buf(&mut request).await.ok().filter(|read| *read > 0)?;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\n{\"id\":9}";
                stream.write_all(answer).await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    port
}

#[tokio::test]
async fn only_a_trusted_certificate_for_the_host_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path()) {
        return;
    }
    let port = serve(dir.path()).await;
    let client = |host: &str, ca_file: Option<&str>| {
        let url = format!("https://{host}:{port}");
        let ca_file = ca_file.map(|file| dir.path().join(file));
        Registry::new(&Settings { ca_file, timeout: Duration::from_secs(5), ..settings(&url) })
    };
    let trusting = client("127.0.0.1", Some("ca.crt")).unwrap();
    assert_eq!(trusting.register("orders-value", SCHEMA).await.unwrap(), 9);

    for (host, ca_file) in [("127.0.0.1", "other.crt"), ("localhost", "ca.crt")] {
        let error = client(host, Some(ca_file)).unwrap().register("orders-value", SCHEMA).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("certificate of the schema registry is refused"), "{error}");
    }
    for file in ["none", "server.key"] {
        let error = client("127.0.0.1", Some(file)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
}
