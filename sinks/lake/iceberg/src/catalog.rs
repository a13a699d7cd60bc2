//! Tables in folders of a warehouse, laid out as Iceberg's Hadoop catalog does.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use walbrook_lake_merge::format::{LakeCatalog, LakeName, TableFormat};
use walbrook_lake_merge::layout::Layout;
use walbrook_model::{Error, Result};

use crate::folder::{self, Folder};
use crate::load;
use crate::metadata::{Metadata, default_properties};
use crate::plan;
use crate::schema::{self, KEY_IDS, Schema};
use crate::table::{Table, blocking, now_ms};

/// Names longer than this do not fit a folder's name.
const NAME_BYTES_MAX: usize = 255;

/// A catalog of tables at `<warehouse>/<namespace>/<table>`.
#[derive(Clone, Debug)]
pub struct FolderCatalog {
    warehouse: PathBuf,
    keep_snapshots: u32,
}

impl FolderCatalog {
    /// Opens the catalog, and creates its folder if there is none. Every commit keeps the newest `keep_snapshots`
    /// snapshots of its table and lets the older ones go.
    ///
    /// # Errors
    /// [`walbrook_model::ErrorKind::Config`] if the folder cannot be used.
    pub fn new(warehouse: impl AsRef<Path>, keep_snapshots: u32) -> Result<Self> {
        let warehouse = warehouse.as_ref();
        let resolve = || {
            std::fs::create_dir_all(warehouse)?;
            warehouse.canonicalize()
        };
        let warehouse = resolve().map_err(|error| folder::failed(error, warehouse))?;
        // Readers disagree on the escapes of a location.
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.+=@".contains(&b);
        if !warehouse.to_str().is_some_and(|path| path.bytes().all(is_plain)) {
            return Err(Error::config("the path of the warehouse has characters that not all readers understand")
                .on(warehouse.display().to_string())
                .remedy("use a path of ASCII letters, digits and /-_.+=@"));
        }
        if keep_snapshots == 0 {
            return Err(Error::config("at least one snapshot is kept").on(warehouse.display().to_string()));
        }
        Ok(Self { warehouse, keep_snapshots })
    }

    fn folder(&self, name: &LakeName) -> Result<Folder> {
        let root = self.warehouse.join(folder_name(&name.namespace)?).join(folder_name(&name.name)?);
        Ok(Folder::new(root))
    }

    pub(crate) async fn open_table(&self, name: &LakeName) -> Result<Option<Table>> {
        let folder = self.folder(name)?;
        let read = folder.clone();
        let loaded = blocking(move || load::newest(&read)).await?;
        Ok(loaded.map(|loaded| Table::new(folder, &self.warehouse, self.keep_snapshots, loaded)))
    }

    fn metadata(&self, folder: &Folder, layout: &Layout, properties: &BTreeMap<String, String>) -> Result<Metadata> {
        let schema = Schema::of(layout, None)?;
        let mut metadata = Metadata::new(folder.location(), schema, layout.last_id, now_ms());
        metadata.properties = default_properties(self.keep_snapshots);
        metadata.properties.extend(schema::key_ids(layout).map(|ids| (KEY_IDS.to_owned(), ids)));
        if layout.fields.iter().any(|field| field.name == load::SEQ) {
            // Other engines leave out the bounds of columns behind the hundredth.
            metadata.properties.insert(format!("write.metadata.metrics.column.{}", load::SEQ), "full".to_owned());
        }
        plan::set_properties(&mut metadata, properties)?;
        metadata.check()?;
        Ok(metadata)
    }
}

#[async_trait]
impl LakeCatalog for FolderCatalog {
    async fn open(&self, name: &LakeName) -> Result<Option<Box<dyn TableFormat>>> {
        Ok(self.open_table(name).await?.map(|table| Box::new(table) as _))
    }

    async fn create(
        &self,
        name: &LakeName,
        layout: &Layout,
        properties: BTreeMap<String, String>,
    ) -> Result<Box<dyn TableFormat>> {
        let folder = self.folder(name)?;
        let metadata = self.metadata(&folder, layout, &properties)?;
        let (warehouse, uuid) = (self.warehouse.clone(), metadata.table_uuid);
        let create = move || {
            if folder.highest()?.is_some() {
                return Ok(());
            }
            folder.create(&warehouse)?;
            // Whose version 1 it is, is seen when it is read, also after an error.
            let draft = folder.draft_path();
            folder::write_all(&[(&draft, &metadata.to_json()?)])?;
            let published = folder.publish(1, &draft);
            if !folder.exists(1)? {
                return published.map(drop);
            }
            folder.sync_version(1)?;
            folder.write_hint(1);
            Ok(())
        };
        blocking(create).await?;
        match self.open_table(name).await? {
            Some(table) if table.loaded.state.uuid == uuid => Ok(Box::new(table)),
            _ => Err(Error::config("the table exists already").on(name.to_string())),
        }
    }
}

/// A name as a folder's name: everything but ASCII letters, digits, `_` and `-` is percent-encoded, so that no name
/// leads elsewhere and no two names meet.
fn folder_name(name: &str) -> Result<String> {
    let mut folder = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            folder.push(char::from(byte));
        } else {
            let _ = write!(folder, "%{byte:02X}");
        }
    }
    if folder.is_empty() || folder.len() > NAME_BYTES_MAX {
        return Err(Error::config("a name that cannot name a folder").on(name.escape_default().to_string()));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_folders() {
        let check = |name: &str, folder: &str| assert_eq!(folder_name(name).unwrap(), folder);
        check("orders", "orders");
        check("public.Orders_2-x", "public%2EOrders_2-x");
        check("..", "%2E%2E");
        check("a/b\0", "a%2Fb%00");
        check("ü%", "%C3%BC%25");
        assert!(folder_name("").is_err());
        assert!(folder_name(&"ü".repeat(50)).is_err());
    }
}
