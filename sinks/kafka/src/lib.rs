//! Publishes changes to Kafka and keeps the checkpoint beside them.
//!
//! Empty until changes travel through Kafka.
