//! What is asked by those who do not write: how far the topics are, and what a table looks like in its messages.

use std::sync::Arc;

use walbrook_envelope::{PublishedCheckpoint, TableEnvelope};
use walbrook_model::{Result, TableSchema};

use super::KafkaSink;

impl KafkaSink {
    /// The newest record of the checkpoint topic; `None` if the pipeline has written none. Fences nobody.
    ///
    /// # Errors
    /// If the brokers cannot be asked, or the record cannot be understood.
    pub async fn published(&self) -> Result<Option<PublishedCheckpoint>> {
        self.setup.journal()?.newest().await
    }

    /// A version of a table as it is written by this sink: its topic, and the encoder of its messages.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if names do not go with the format.
    pub fn envelope(&self, schema: &Arc<TableSchema>) -> Result<TableEnvelope> {
        TableEnvelope::new(&self.setup.settings.envelope, &self.setup.settings.info, schema)
    }
}
