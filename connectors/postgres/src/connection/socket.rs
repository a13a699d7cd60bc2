//! The socket of a session: TCP, TCP under TLS, or Unix.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use walbrook_config::{Postgres, TlsMode};
use walbrook_model::{Error, Result};

use super::error::from_io;
use super::tls;

/// A connected socket; under TLS if the settings ask for it.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TCP under TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Connects, and shakes hands if TLS is asked for.
    pub(super) async fn open(settings: &Postgres) -> Result<Self> {
        if settings.host.starts_with('/') {
            if settings.tls.mode != TlsMode::Disable {
                return Err(Error::config("the server speaks no TLS over a Unix socket")
                    .remedy("set source.postgres.tls.mode = \"disable\", or name the server's host"));
            }
            let path = Path::new(&settings.host).join(format!(".s.PGSQL.{}", settings.port));
            return UnixStream::connect(path).await.map(Self::Unix).map_err(from_io);
        }
        let tcp = TcpStream::connect((settings.host.as_str(), settings.port)).await.map_err(from_io)?;
        prepare(&tcp).map_err(from_io)?;
        if settings.tls.mode == TlsMode::Disable {
            return Ok(Self::Tcp(tcp));
        }
        secure(tcp, settings).await
    }

    /// Whether a password may pass over it as it is.
    pub(super) fn is_private(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }

    /// The hash of the server's certificate that binds an authentication to this TLS session.
    pub(super) fn channel_binding(&self) -> Option<Vec<u8>> {
        match self {
            Self::Tls(stream) => {
                let (_, session) = stream.get_ref();
                tls::server_end_point(session.peer_certificates()?.first()?)
            }
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }
}

/// A peer that is gone is noticed in about half a minute, whatever the protocol above is doing.
fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5)).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    // For what we sent and the peer does not confirm. It does not end a session whose reading we pause.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(25)))?;
    Ok(())
}

/// Asks for TLS and shakes hands. Exactly one byte is read before the handshake: nothing that was slipped in before it
/// can be taken for a message of the encrypted session.
async fn secure(mut tcp: TcpStream, settings: &Postgres) -> Result<Socket> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(from_io)?;
    match tcp.read_u8().await.map_err(from_io)? {
        b'S' => {}
        b'N' => {
            return Err(Error::config("the server offers no TLS").remedy(
                "ALTER SYSTEM SET ssl = on (with ssl_cert_file and ssl_key_file), then SELECT pg_reload_conf()",
            ));
        }
        // An error of a server that is out of resources, or no PostgreSQL server. Its text is not trusted.
        _ => return Err(Error::transient("the server did not answer the request for TLS")),
    }
    let stream = tls::handshake(tcp, &settings.host, &settings.tls).await?;
    Ok(Socket::Tls(Box::new(stream)))
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, into),
            Self::Tls(socket) => Pin::new(socket).poll_read(context, into),
            Self::Unix(socket) => Pin::new(socket).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(socket) => Pin::new(socket).poll_flush(context),
            Self::Unix(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
