//! Schemas by their number, from the registry.

use std::sync::Arc;

use async_trait::async_trait;
use walbrook_model::Result;
use walbrook_registry::Registry;

/// Where schemas come from. Tests have one of their own, that fails when told to.
#[async_trait]
pub(crate) trait Schemas: Send + Sync {
    /// The schema that messages name by this number.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Transient`] if the registry is away: the message waits.
    async fn schema(&self, id: u32) -> Result<Arc<str>>;

    /// The newest schema under a subject, with its number; `None` if there is none.
    ///
    /// # Errors
    /// As [`Schemas::schema`].
    async fn latest(&self, subject: &str) -> Result<Option<(u32, Arc<str>)>>;
}

#[async_trait]
impl Schemas for Registry {
    async fn schema(&self, id: u32) -> Result<Arc<str>> {
        Registry::schema(self, id).await
    }

    async fn latest(&self, subject: &str) -> Result<Option<(u32, Arc<str>)>> {
        Registry::latest(self, subject).await
    }
}
