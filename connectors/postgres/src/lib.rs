//! PostgreSQL as a source of changes.

mod connection;
mod sql;
mod wire;
