//! MySQL and MariaDB binlog as a source of changes: the same files as `connectors/postgres`, in the same order.
//!
//! Empty until `MySQL` is captured.
