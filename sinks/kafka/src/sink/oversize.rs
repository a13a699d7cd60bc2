//! A message that is larger than a message may be: it goes elsewhere whole, and in its place the topic has a small one.
//!
//! The small one has neither key nor value, so that a consumer that knows nothing of it skips it, and its headers say all
//! that the others need: token and log, the key of the row that is not as the topic says, the size, and where the whole one
//! lies. A merge takes it as a message that it cannot decode. The checkpoint waits for both.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use walbrook_config::Oversize;
use walbrook_envelope::{Message, headers};
use walbrook_letters::{Folder, KEY, Large, Letter, OVERSIZE, OVERSIZE_BYTES, OVERSIZE_FILE, OVERSIZE_TOPIC, Reason};
use walbrook_model::{Error, Result};

use super::{Run, Setup};
use crate::producer::{Target, size};
use crate::topics::Topic;

/// What a broker takes of a topic that does not say it.
const TOPIC_BYTES_DEFAULT: u64 = 1_000_000;
/// What a batch of one message and what is said of a letter add to it, about.
const LETTER_OVERHEAD: u64 = 4096;
/// What is said in the small message beside the key, about.
const NOTICE_OVERHEAD: u64 = 1024;

/// The topic of dead letters, in use.
#[derive(Clone)]
pub(super) struct Beside {
    topic: Arc<Topic>,
    /// The largest message that it takes, bytes.
    bytes_max: u64,
}

/// Where a message was to go.
#[derive(Clone, Copy)]
pub(super) struct Diverted<'a> {
    pub(super) topic: &'a Topic,
    pub(super) partition: u32,
    /// Which of the messages of its change it is.
    pub(super) number: usize,
}

impl Setup {
    /// Whether a message that is too large, for which `error` stands, can go elsewhere; opens where it goes.
    ///
    /// # Errors
    /// `error` itself, with the reason, if it cannot; else those of the brokers.
    pub(super) async fn prepare_diversion(&self, run: &mut Run, message: &Message<'_>, error: Error) -> Result<()> {
        let key = message.key.map_or(0, <[u8]>::len) as u64;
        if key + NOTICE_OVERHEAD > self.settings.sink.message_bytes_max {
            return Err(error);
        }
        match &self.settings.sink.oversize {
            Oversize::Stop => Err(error),
            Oversize::SplitOff { .. } => Ok(()),
            Oversize::DeadLetter { topic } => {
                let beside = self.beside(run, topic).await?;
                let takes = beside.bytes_max.saturating_sub(LETTER_OVERHEAD);
                if size(message) as u64 <= takes {
                    return Ok(());
                }
                Err(Error::data(format!("{}; topic {topic} takes {takes} bytes", error.message()))
                    .on(error.object().unwrap_or_default())
                    .remedy(format!(
                        "raise max.message.bytes of topic {topic}, up to 100 MB; or set oversize = \"split_off\""
                    )))
            }
        }
    }

    async fn beside(&self, run: &mut Run, name: &str) -> Result<Beside> {
        if let Some(beside) = &run.beside {
            return Ok(beside.clone());
        }
        let topic = run.topics.open_beside(name, &self.settings, &run.producer).await?;
        let asked = run.topics.setting(name, "max.message.bytes").await?;
        let says = asked.and_then(|text| text.parse().ok()).unwrap_or(TOPIC_BYTES_DEFAULT);
        let beside = Beside { topic, bytes_max: says.min(crate::settings::LETTER_BYTES_MAX) };
        run.beside = Some(beside.clone());
        Ok(beside)
    }

    /// Sends a message elsewhere, and a small one in its place. Where the message goes was prepared.
    pub(super) async fn divert(&self, run: &mut Run, at: Diverted<'_>, message: &Message<'_>) -> Result<u64> {
        let bytes = size(message);
        let whereabouts = match &self.settings.sink.oversize {
            Oversize::Stop => return Err(Error::bug("a message that is too large was let through")),
            Oversize::DeadLetter { topic } => {
                self.send_letter(run, at, message).await?;
                (OVERSIZE_TOPIC, topic.clone())
            }
            Oversize::SplitOff { folder } => {
                (OVERSIZE_FILE, write_file(Folder::new(folder.clone()), at, message).await?)
            }
        };
        let (size, table) = (bytes.to_string(), at.topic.table.as_ref().map(headers::table));
        let mut notice: Vec<(&str, &[u8])> = [headers::SEQ, headers::LINEAGE]
            .into_iter()
            .filter_map(|name| Some((name, message.header(name)?)))
            .collect();
        notice.extend(table.as_deref().map(|table| (headers::TABLE, table)));
        notice.push((headers::CONTROL, OVERSIZE.as_bytes()));
        notice.extend(message.key.map(|key| (KEY, key)));
        notice.push((OVERSIZE_BYTES, size.as_bytes()));
        notice.push((whereabouts.0, whereabouts.1.as_bytes()));
        run.producer.send_parts(at.topic.target(at.partition), (None, None), &notice).await?;
        crate::events::oversize(at.topic, at.partition, bytes, &whereabouts.1);
        Ok(notice.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() as u64)
    }

    async fn send_letter(&self, run: &Run, at: Diverted<'_>, message: &Message<'_>) -> Result<()> {
        let Some(beside) = &run.beside else { return Err(Error::bug("the topic of dead letters is not open")) };
        let letter = Letter {
            topic: at.topic.name.clone(),
            partition: at.partition,
            offset: None,
            reason: Reason::Oversize,
            error: format!("larger than {} bytes", self.settings.sink.message_bytes_max),
            pipeline: self.settings.pipeline.name.clone(),
            at_ms: super::produce::now_ms(),
        };
        let said = letter.headers();
        let said = said.iter().map(|(name, value)| (*name, value.as_bytes()));
        let all: Vec<(&str, &[u8])> = message.headers().chain(said).collect();
        let target: Target<'_> = beside.topic.target(0);
        run.producer.send_parts(target, (message.key, message.value), &all).await
    }
}

/// Writes a message into its files, on a thread that may wait for the disk. Gives the path of its value within the folder.
async fn write_file(folder: Folder, at: Diverted<'_>, message: &Message<'_>) -> Result<String> {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let (topic, partition) = (at.topic.name.clone(), at.partition);
    let (key, value) = (owned(message.key), owned(message.value));
    let all: Vec<(&'static str, Vec<u8>)> = message.headers().map(|(name, value)| (name, value.to_vec())).collect();
    let seq = message.header(headers::SEQ).and_then(|seq| std::str::from_utf8(seq).ok()).unwrap_or("0");
    // The same at every run: what is sent again is written over itself. The reads of a slice have one token.
    let name = format!("{seq}-{}-{partition}-{:016x}", at.number, digest(message.key.or(message.value)));
    let written = spawn_blocking(move || {
        folder.write(&Large {
            name: &name,
            topic: &topic,
            partition,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: all.iter().map(|(name, value)| (*name, value.as_slice())).collect(),
        })
    });
    written.await.unwrap_or_else(|error| Err(Error::bug("a file was not written").because(error)))
}

/// FNV-1a, for names of files.
fn digest(bytes: Option<&[u8]>) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.unwrap_or_default().iter().fold(0xcbf2_9ce4_8422_2325, step)
}
