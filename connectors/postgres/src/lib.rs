//! PostgreSQL as a source of changes.

mod assemble;
mod checkpoint;
mod connection;
mod continuity;
mod images;
mod netting;
mod outbox;
mod relations;
mod sql;
mod status;
mod timeline;
mod values;
mod wire;
