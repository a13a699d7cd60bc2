//! What the registry has answered already. Ids and schemas never change, so nothing in it grows old.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

/// Entries of registered schemas, about 200 bytes each; far more than a database has versions of tables.
const IDS_MAX: usize = 50_000;

/// Bytes of schema texts that are kept.
const TEXT_BYTES_MAX: usize = 32 << 20;

/// Subject, and SHA-256 of the schema's text.
type Key = (Arc<str>, [u8; 32]);

/// Ids of registered schemas, and texts by id. When it is full it begins anew: what is in use comes back.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    ids: Mutex<HashMap<Key, u32>>,
    texts: Mutex<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    by_id: HashMap<u32, Arc<str>>,
    bytes: usize,
}

impl Cache {
    pub(crate) fn id(&self, subject: &str, schema: &str) -> Option<u32> {
        lock(&self.ids).get(&key(subject, schema)).copied()
    }

    pub(crate) fn put_id(&self, subject: &str, schema: &str, id: u32) {
        let mut ids = lock(&self.ids);
        if ids.len() >= IDS_MAX {
            ids.clear();
        }
        ids.insert(key(subject, schema), id);
    }

    pub(crate) fn text(&self, id: u32) -> Option<Arc<str>> {
        lock(&self.texts).by_id.get(&id).cloned()
    }

    pub(crate) fn put_text(&self, id: u32, text: &Arc<str>) {
        let mut texts = lock(&self.texts);
        if texts.bytes.saturating_add(text.len()) > TEXT_BYTES_MAX {
            *texts = Texts::default();
        }
        if texts.by_id.insert(id, text.clone()).is_none() {
            texts.bytes += text.len();
        }
    }
}

fn key(subject: &str, schema: &str) -> Key {
    (subject.into(), Sha256::digest(schema).into())
}

/// No code runs under a lock that could leave an entry half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_belongs_to_subject_and_schema() {
        let cache = Cache::default();
        cache.put_id("a-value", "\"int\"", 1);
        assert_eq!(cache.id("a-value", "\"int\""), Some(1));
        assert_eq!(cache.id("a-key", "\"int\""), None);
        assert_eq!(cache.id("a-value", "\"long\""), None);
    }

    #[test]
    fn it_never_grows_beyond_its_bound() {
        let cache = Cache::default();
        let text: Arc<str> = "x".repeat(1 << 20).into();
        for id in 0..100 {
            cache.put_text(id, &text);
            cache.put_text(id, &text);
            assert!(lock(&cache.texts).bytes <= TEXT_BYTES_MAX);
            assert_eq!(cache.text(id).as_ref(), Some(&text), "the newest is there");
        }
        let texts = lock(&cache.texts);
        assert_eq!(texts.by_id.len() << 20, texts.bytes);
        drop(texts);
        for id in 0..u32::try_from(IDS_MAX).unwrap() + 10 {
            cache.put_id("s", &id.to_string(), id);
        }
        assert!(lock(&cache.ids).len() <= IDS_MAX);
        assert_eq!(cache.id("s", "50009"), Some(50_009));
    }
}
