//! Reads change topics back as a source: our own envelopes, and those that Debezium wrote.
//!
//! Empty until changes travel through Kafka.
