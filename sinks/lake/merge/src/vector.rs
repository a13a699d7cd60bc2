//! Deletion vectors: the rows of a data file that are deleted, as one blob.
//!
//! ```text
//! u32 BE length of (magic + bitmap) | D1 D3 39 64 | bitmap | u32 BE CRC-32 of (magic + bitmap)
//! bitmap = u64 LE buckets, each: u32 LE high half of the positions, 32-bit Roaring bitmap in the portable format
//! ```
//!
//! The blob is the same in an Iceberg Puffin file (`deletion-vector-v1`) and in a Delta `.bin` file; an inline Delta
//! vector is [`body`] of it.
//!
//! Invariant: [`decode`] never panics and allocates no more than a small multiple of the blob, whatever the bytes are.

use roaring::RoaringBitmap;
use walbrook_model::{Error, Result};

const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];
const LENGTH_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;

/// The blob for `rows`. The same rows give the same bytes, however the bitmap came about.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Bug`] if the blob would be 4 GiB long, which no 2^32 rows can be.
pub fn encode(rows: &RoaringBitmap) -> Result<Vec<u8>> {
    let mut rows = rows.clone();
    rows.remove_run_compression();
    rows.optimize();
    let mut blob = Vec::with_capacity(LENGTH_BYTES + MAGIC.len() + 12 + rows.serialized_size() + CHECKSUM_BYTES);
    blob.extend_from_slice(&[0; LENGTH_BYTES]);
    blob.extend_from_slice(&MAGIC);
    blob.extend_from_slice(&u64::from(!rows.is_empty()).to_le_bytes());
    if !rows.is_empty() {
        blob.extend_from_slice(&0u32.to_le_bytes());
        rows.serialize_into(&mut blob).map_err(|error| Error::bug("deletion vector not written").because(error))?;
    }
    let length = u32::try_from(blob.len() - LENGTH_BYTES);
    let length = length.map_err(|error| Error::bug("deletion vector of 4 GiB").because(error))?;
    blob[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32fast::hash(&blob[LENGTH_BYTES..]);
    blob.extend_from_slice(&checksum.to_be_bytes());
    Ok(blob)
}

/// The rows that a blob holds.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Data`] if it is not a whole deletion vector, or holds positions of 2^32 and above.
pub fn decode(blob: &[u8]) -> Result<RoaringBitmap> {
    let (length, rest) = blob.split_first_chunk::<LENGTH_BYTES>().ok_or_else(|| broken("too short"))?;
    let (body, checksum) = rest.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| broken("too short"))?;
    if u32::from_be_bytes(*length) as usize != body.len() {
        return Err(broken("length does not match"));
    }
    if u32::from_be_bytes(*checksum) != crc32fast::hash(body) {
        return Err(broken("checksum does not match"));
    }
    decode_body(body)
}

/// The rows that a body (magic and bitmap, without length and checksum) holds.
///
/// # Errors
/// As for [`decode`].
pub fn decode_body(body: &[u8]) -> Result<RoaringBitmap> {
    let rest = body.strip_prefix(&MAGIC).ok_or_else(|| broken("magic number does not match"))?;
    let (buckets, rest) = rest.split_first_chunk::<8>().ok_or_else(|| broken("too short"))?;
    let (mut rows, mut rest, mut last) = (RoaringBitmap::new(), rest, None);
    for _ in 0..u64::from_le_bytes(*buckets) {
        let (high, bitmap) = rest.split_first_chunk::<4>().ok_or_else(|| broken("too short"))?;
        let high = u32::from_le_bytes(*high);
        if last.is_some_and(|last| high <= last) {
            return Err(broken("buckets are not in order"));
        }
        last = Some(high);
        rest = bitmap;
        let bucket = RoaringBitmap::deserialize_from(&mut rest).map_err(|error| broken("bitmap").because(error))?;
        if high == 0 {
            rows = bucket;
        } else if !bucket.is_empty() {
            return Err(broken("row positions of 2^32 and above"));
        }
    }
    if rest.is_empty() { Ok(rows) } else { Err(broken("bytes after the bitmap")) }
}

/// The part of a blob that an inline Delta vector holds: magic and bitmap.
pub fn body(blob: &[u8]) -> &[u8] {
    blob.get(LENGTH_BYTES..blob.len().saturating_sub(CHECKSUM_BYTES)).unwrap_or_default()
}

fn broken(why: &str) -> Error {
    Error::data(format!("broken deletion vector: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rows 3, 4, 7, 11, 18 and 29 as Delta's own tests hold them (inline, Z85
    /// `^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L`).
    const BODY: [u8; 44] = [
        0xd1, 0xd3, 0x39, 0x64, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x3a, 0x30, 0, 0, 1, 0, 0, 0, 0, 0, 5, 0, 16, 0, 0,
        0, 3, 0, 4, 0, 7, 0, 11, 0, 18, 0, 29, 0,
    ];

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut blob = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        blob.extend_from_slice(body);
        blob.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
        blob
    }

    #[test]
    fn known_bytes_both_ways() {
        let rows = RoaringBitmap::from([3, 4, 7, 11, 18, 29]);
        let blob = encode(&rows).unwrap();
        assert_eq!(body(&blob), BODY);
        assert_eq!(blob[..4], [0, 0, 0, 44]);
        assert_eq!(blob[48..], [0xac, 0xd7, 0x4a, 0x79]); // computed with zlib
        assert_eq!(decode(&blob).unwrap(), rows);
        assert_eq!(decode_body(&BODY).unwrap(), rows);
    }

    #[test]
    fn empty_and_extreme_rows() {
        for rows in [
            RoaringBitmap::new(),
            RoaringBitmap::from([u32::MAX]),
            (0..1_000_000).collect(),
            (0..1_000_000).step_by(2).collect(),
        ] {
            assert_eq!(decode(&encode(&rows).unwrap()).unwrap(), rows);
        }
        assert_eq!(encode(&RoaringBitmap::new()).unwrap().len(), 4 + 4 + 8 + 4);
    }

    #[test]
    fn broken_blobs_say_what_is_wrong() {
        let check = |blob: &[u8], why: &str| {
            let error = decode(blob).unwrap_err();
            assert!(error.to_string().contains(why), "{error} instead of {why}");
        };
        let blob = encode(&RoaringBitmap::from([1, 70_000])).unwrap();
        check(&[], "too short");
        check(&blob[..7], "too short");
        check(&blob[..blob.len() - 1], "length");
        let mut flipped = blob.clone();
        *flipped.last_mut().unwrap() ^= 1;
        check(&flipped, "checksum");
        check(&framed(b"PFA1"), "magic");
        check(&framed(&[&BODY[..], &[0]].concat()), "bytes after");
        let mut high = BODY;
        high[12] = 1;
        check(&framed(&high), "2^32");
        let mut twice = [&BODY[..], &BODY[12..]].concat();
        twice[4] = 2;
        check(&framed(&twice), "in order");
        let mut endless = BODY;
        endless[4..12].fill(0xff);
        check(&framed(&endless), "too short");
    }

    proptest! {
        #[test]
        fn round_trip(rows in prop::collection::vec(any::<u32>(), 0..300), run in 0u32..200_000, from: u32) {
            let mut rows: RoaringBitmap = rows.into_iter().collect();
            rows.insert_range(from..from.saturating_add(run));
            let blob = encode(&rows).unwrap();
            prop_assert_eq!(decode(&blob).unwrap(), rows);
        }

        #[test]
        fn hostile_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
            let body = if header { [&BODY[..16], &body].concat() } else { body };
            let _ = decode(&body);
            let _ = decode(&framed(&body));
        }

        #[test]
        fn damaged_vectors_are_refused_or_read_as_a_bitmap(at in 4usize..44, to: u8) {
            let mut body = BODY;
            body[at] = to;
            let _ = decode(&framed(&body));
            let mut blob = framed(&BODY);
            blob[at] = to;
            prop_assert!(decode(&blob).is_err() || blob == framed(&BODY));
        }
    }
}
