//! Deletion vectors in Puffin files.
//!
//! ```text
//! PFA1 | blob | blob | ... | PFA1 | footer JSON | i32 length of the footer | u32 flags | PFA1
//! ```

use roaring::RoaringBitmap;
use serde_json::json;

use crate::vector;

const MAGIC: &[u8; 4] = b"PFA1";
/// Field id of the row position in a position delete.
const DELETE_FILE_POS: i32 = 2_147_483_645;

/// A Puffin file under construction.
pub(crate) struct PuffinWriter {
    bytes: Vec<u8>,
    blobs: Vec<serde_json::Value>,
}

impl PuffinWriter {
    /// An empty file.
    pub(crate) fn new() -> Self {
        Self { bytes: MAGIC.to_vec(), blobs: Vec::new() }
    }

    /// Appends the deletion vector of a data file and says where it lies: offset and length.
    pub(crate) fn push(&mut self, data_file: &str, deleted: &RoaringBitmap) -> (u64, u64) {
        let blob = vector::encode(deleted);
        let place = (self.bytes.len() as u64, blob.len() as u64);
        self.bytes.extend_from_slice(&blob);
        self.blobs.push(json!({
            "type": "deletion-vector-v1",
            "fields": [DELETE_FILE_POS],
            "snapshot-id": -1,
            "sequence-number": -1,
            "offset": place.0,
            "length": place.1,
            "properties": {
                "referenced-data-file": data_file,
                "cardinality": deleted.len().to_string(),
            },
        }));
        place
    }

    /// The file.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let footer = json!({
            "blobs": self.blobs,
            "properties": {"created-by": concat!("walbrook ", env!("CARGO_PKG_VERSION"))},
        });
        let footer = footer.to_string();
        self.bytes.extend_from_slice(MAGIC);
        self.bytes.extend_from_slice(footer.as_bytes());
        // Offsets in the footer limit it to far less than 2 GiB of text.
        self.bytes.extend_from_slice(&i32::try_from(footer.len()).unwrap_or(i32::MAX).to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(MAGIC);
        self.bytes
    }
}
