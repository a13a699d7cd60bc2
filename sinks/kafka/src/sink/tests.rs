//! The sink against a real broker.

mod crashes;
mod messages;
mod naming;
mod oversize;
mod stops;

use std::time::{Duration, Instant};

use walbrook_model::{Batch, Checkpoint, Error, Sink};

use crate::KafkaSink;

/// Drives the sink as the engine does, until the checkpoint is durable.
async fn until_durable(sink: &mut KafkaSink, checkpoint: &str) {
    let begun = Instant::now();
    while sink.durable() != Some(Checkpoint::new(checkpoint)) {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{checkpoint} does not become durable: {:?}",
            sink.durable()
        );
        sink.write(Batch::heartbeat()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes such batches until the sink says what is wrong.
async fn until_error(sink: &mut KafkaSink, mut next: impl FnMut() -> Batch) -> Error {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is wrong");
        match sink.write(next()).await {
            Err(error) => return error,
            Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
