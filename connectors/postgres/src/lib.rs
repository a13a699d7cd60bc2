//! PostgreSQL as a source of changes.
