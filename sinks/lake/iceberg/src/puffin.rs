//! Deletion vectors in Puffin files.
//!
//! ```text
//! PFA1 | blob | 0 | blob | 0 | ... | PFA1 | footer JSON | i32 length of the footer | u32 flags | PFA1
//! ```
//!
//! Blobs lie in the order of their lengths, with a byte between them. The Iceberg extension of `DuckDB` takes the wrong
//! blob if its cache has bridged a gap that holds another one (duckdb-iceberg pull request 1182, July 2026), and it
//! bridges a gap that is no longer than the blob before it. In this order there is none with a blob in it.

use roaring::RoaringBitmap;
use serde_json::json;
use walbrook_lake_merge::vector;
use walbrook_model::Result;

const MAGIC: &[u8; 4] = b"PFA1";
/// Field id of the row position in a position delete.
const DELETE_FILE_POS: i32 = 2_147_483_645;

/// A Puffin file.
pub(crate) struct Puffin {
    pub(crate) bytes: Vec<u8>,
    /// Offset and length of each vector, in the order that they were given.
    pub(crate) places: Vec<(u64, u64)>,
}

/// Puts deletion vectors into one file; each comes with the data file that it is of.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Bug`] if one is too large.
pub(crate) fn write(vectors: &[(&str, &RoaringBitmap)]) -> Result<Puffin> {
    let blobs = vectors.iter().map(|(_, deleted)| vector::encode(deleted)).collect::<Result<Vec<_>>>()?;
    let mut blobs: Vec<_> = blobs.into_iter().enumerate().collect();
    blobs.sort_by_key(|(_, blob)| blob.len());
    let mut bytes = MAGIC.to_vec();
    let mut places = vec![(0, 0); vectors.len()];
    for (number, blob) in blobs {
        places[number] = (bytes.len() as u64, blob.len() as u64);
        bytes.extend_from_slice(&blob);
        bytes.push(0);
    }
    let listed = vectors.iter().zip(&places).map(|((data_file, deleted), (offset, length))| {
        json!({
            "type": "deletion-vector-v1",
            "fields": [DELETE_FILE_POS],
            "snapshot-id": -1,
            "sequence-number": -1,
            "offset": offset,
            "length": length,
            "properties": {"referenced-data-file": data_file, "cardinality": deleted.len().to_string()},
        })
    });
    let footer = json!({
        "blobs": listed.collect::<Vec<_>>(),
        "properties": {"created-by": concat!("walbrook ", env!("CARGO_PKG_VERSION"))},
    });
    let footer = footer.to_string();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(footer.as_bytes());
    // About 300 bytes a vector: 2 GiB are seven million of them.
    bytes.extend_from_slice(&i32::try_from(footer.len()).unwrap_or(i32::MAX).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(MAGIC);
    Ok(Puffin { bytes, places })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to_usize(number: u64) -> usize {
        usize::try_from(number).unwrap()
    }

    proptest! {
        #[test]
        fn vectors_lie_where_the_file_says(
            sets in prop::collection::vec(prop::collection::btree_set(0..5000u32, 0..60), 1..40)
        ) {
            let bitmaps: Vec<RoaringBitmap> = sets.into_iter().map(|set| set.into_iter().collect()).collect();
            let names: Vec<_> = (0..bitmaps.len()).map(|number| format!("file:///{number}.parquet")).collect();
            let vectors: Vec<_> = names.iter().map(String::as_str).zip(&bitmaps).collect();
            let puffin = write(&vectors).unwrap();
            for (place, bitmap) in puffin.places.iter().zip(&bitmaps) {
                let blob = puffin.bytes.iter().skip(to_usize(place.0)).take(to_usize(place.1));
                prop_assert_eq!(&vector::decode(&blob.copied().collect::<Vec<_>>()).unwrap(), bitmap);
            }
            let mut places = puffin.places.clone();
            places.sort_unstable();
            for (at, (offset, length)) in places.iter().enumerate() {
                // The gap to any later blob is longer than the blob itself, if it holds another one.
                for (later, _) in places.iter().skip(at + 2) {
                    prop_assert!(later - (offset + length) > *length);
                }
            }
            // The footer, as a reader finds it: from the end.
            let tail = puffin.bytes.len() - 12;
            let length = to_usize(u32::from_le_bytes(puffin.bytes[tail..tail + 4].try_into().unwrap()).into());
            let footer: serde_json::Value = serde_json::from_slice(&puffin.bytes[tail - length..tail]).unwrap();
            prop_assert_eq!(&puffin.bytes[tail - length - 4..tail - length], MAGIC);
            prop_assert_eq!(&puffin.bytes[tail + 4..], [&[0; 4], &MAGIC[..]].concat());
            for (listed, ((name, bitmap), place)) in
                footer["blobs"].as_array().unwrap().iter().zip(vectors.iter().zip(&puffin.places))
            {
                prop_assert_eq!(&listed["properties"]["referenced-data-file"], name);
                prop_assert_eq!(&listed["properties"]["cardinality"], &bitmap.len().to_string());
                prop_assert_eq!((listed["offset"].as_u64(), listed["length"].as_u64()), (Some(place.0), Some(place.1)));
            }
        }
    }
}
