//! PostgreSQL as a source of changes.

mod assemble;
mod checkpoint;
mod connection;
mod continuity;
mod images;
mod netting;
mod outbox;
mod publication;
mod relations;
mod schema;
mod sql;
mod status;
mod tables;
mod timeline;
mod values;
mod wire;
