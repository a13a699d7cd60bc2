//! Sessions with the server: sockets, TLS, authentication, pinned settings, and the replication connection.
//!
//! ```text
//! socket -> tls -> session (startup, authentication) -> commands -> replication -> stream (a task that owns the socket)
//!                                                    |           -> copy (rows of tables)
//!                                                    -> ../sql (tokio-postgres)
//! ```
//!
//! Every session, replication or SQL, comes through the same door: the same TLS, the same rules about passwords, the
//! same pinned settings ([`pins`]), the same reading of errors ([`error`]).

mod authentication;
mod commands;
mod copy;
pub(crate) mod error;
pub(crate) mod pins;
mod replication;
pub(crate) mod session;
pub(crate) mod socket;
mod stream;
mod tls;

pub(crate) use copy::CopyConnection;
pub(crate) use replication::ReplicationConnection;
pub(crate) use stream::{Frame, ReplicationStream};

#[cfg(test)]
mod tests;
