//! The deletion vector blob: `u32 BE length | magic | 64-bit portable Roaring bitmap | u32 BE CRC-32`; length and
//! checksum are of magic and bitmap.

use roaring::{RoaringBitmap, RoaringTreemap};
use walbrook_model::{Error, Result};

const MAGIC: [u8; 4] = [0xd1, 0xd3, 0x39, 0x64];

/// The blob of a bitmap.
pub(crate) fn encode(deleted: &RoaringBitmap) -> Vec<u8> {
    let mut body = MAGIC.to_vec();
    let mut deleted = deleted.clone();
    deleted.optimize();
    body.extend_from_slice(&1u64.to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
    let _ = deleted.serialize_into(&mut body);
    let mut blob = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    blob.extend_from_slice(&body);
    blob.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    blob
}

/// The bitmap of a blob.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if it is damaged, or has rows beyond 2^32.
pub(crate) fn decode(blob: &[u8]) -> Result<RoaringBitmap> {
    let parse = || {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let (body, crc) = rest.split_last_chunk::<4>()?;
        let bitmap = body.strip_prefix(&MAGIC)?;
        let intact =
            u32::from_be_bytes(*length) as usize == body.len() && u32::from_be_bytes(*crc) == crc32fast::hash(body);
        intact.then(|| RoaringTreemap::deserialize_from(bitmap).ok())?
    };
    let bitmap = parse().ok_or_else(|| Error::data("damaged deletion vector"))?;
    let mut low = RoaringBitmap::new();
    for (high, part) in bitmap.bitmaps() {
        if high != 0 && !part.is_empty() {
            return Err(Error::data("a deletion vector beyond 2^32 rows"));
        }
        if high == 0 {
            low.clone_from(part);
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_comes_back() {
        for rows in [vec![], vec![0], vec![1, 5, u32::MAX], (0..70_000).collect::<Vec<u32>>()] {
            let bitmap: RoaringBitmap = rows.into_iter().collect();
            assert_eq!(decode(&encode(&bitmap)).unwrap(), bitmap);
        }
    }

    #[test]
    fn damage_is_seen() {
        let blob = encode(&RoaringBitmap::from_iter([1, 2, 3]));
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&blob[..at]).is_err(), "cut at {at}");
        }
    }
}
