//! The way of an undecodable message into the topic of dead letters.

use rdkafka::message::{BorrowedMessage, Message as _, OwnedHeaders};
use walbrook_config::{DeadLetters, KafkaClient};
use walbrook_model::{Error, ErrorKind, Result};

use crate::letter::Letter;
use crate::sender::{Place, Sender};

/// Writes dead letters, one at a time, and waits for each.
pub struct Outbox {
    sender: Sender,
    topic: String,
}

/// Why a letter is not in its topic.
#[derive(Debug)]
pub enum Refused {
    /// It is larger than the topic takes.
    Large(Error),
    /// The brokers cannot take it now.
    Now(Error),
}

impl Outbox {
    /// # Errors
    /// [`ErrorKind::Config`] for a setting that librdkafka refuses.
    pub fn connect(settings: &KafkaClient, letters: &DeadLetters) -> Result<Self> {
        Ok(Self { sender: Sender::connect(settings)?, topic: letters.topic.clone() })
    }

    /// Puts a message into the topic of dead letters: key, value and headers as they are, behind them what `letter` says.
    /// Returns when the brokers have acknowledged it.
    ///
    /// # Errors
    /// [`Refused`]; nothing of it is in the topic then, or it may be there twice later.
    pub fn put(&self, message: &BorrowedMessage<'_>, letter: &Letter) -> Result<(), Refused> {
        // A copy of what the client has: names that are no text stay as they are.
        let headers = message.headers().map_or_else(OwnedHeaders::new, rdkafka::message::BorrowedHeaders::detach);
        let place = Place { topic: &self.topic, partition: None };
        let sent = self.sender.send(place, message.key(), message.payload(), letter.add_to(headers));
        sent.and_then(|()| self.sender.settle()).map_err(|error| match error.kind() {
            ErrorKind::Data => Refused::Large(error),
            _ => Refused::Now(error),
        })
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outbox({})", self.topic)
    }
}
