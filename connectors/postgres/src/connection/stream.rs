//! The replication stream: a task owns the socket and hands frames over.
//!
//! The task reads as long as what it has handed over and is not yet taken stays within [`IN_FLIGHT_BYTES_MAX`]; beyond
//! that it stops reading, and the server waits. Answers to keepalives and the status never wait for the consumer.
//!
//! ```text
//! socket -> [task: whole messages, sliced out of one buffer] -> frames, bounded in bytes -> next()
//!        <- status: at each report, at each keepalive that asks, and by the clock        <- report()
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use walbrook_model::{Error, ErrorKind, Result};

use super::error::ServerError;
use super::pins::{self, Purpose};
use super::session::Session;
use crate::wire::Lsn;
use crate::wire::frame::{self, Message, Next};
use crate::wire::replication::{self, DATA_HEADER_BYTES, Payload, Status};

/// Bytes of frames that wait for the consumer.
const IN_FLIGHT_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// [`ReplicationStream::next`] gathers what is there up to about this size.
const GATHERED_BYTES_MAX: usize = 1024 * 1024;
/// The status is sent at most this often. A server that shuts down asks again after each reply, until all is durable.
const STATUS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The status is sent at least this often.
const STATUS_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The same while the socket is not read: a keepalive that asks for a reply would not be seen.
const STATUS_INTERVAL_UNREAD: Duration = Duration::from_secs(1);
/// A server that neither sends nor answers for so long is given up. It may print one row for minutes, and a server that
/// is gone is noticed by TCP, much earlier.
const SILENCE_MAX: Duration = Duration::from_mins(5);
/// A status that the socket does not take in this time.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the end of a stream may take until the server is left alone.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the stream yields.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// One message of the output plugin.
    Data {
        /// Where it lies in the log; zero for messages that are not in the log, such as a relation.
        start: Lsn,
        /// How far the server has read the log.
        end: Lsn,
        /// The server's clock, microseconds since 1970.
        sent_at_us: i64,
        /// The plugin's message.
        message: Bytes,
    },
    /// The server has read the log up to `end`: all that committed before is sent, but for a transaction of which only
    /// a part was sent so far.
    Keepalive {
        /// How far it has read.
        end: Lsn,
        /// The server's clock, microseconds since 1970.
        sent_at_us: i64,
    },
    /// The server has something to say, such as that a publication is missing.
    Notice {
        /// `WARNING` and the like, in English.
        severity: String,
        /// The SQLSTATE.
        code: String,
        /// The text.
        message: String,
    },
}

impl Frame {
    /// Bytes that it keeps in memory.
    fn bytes(&self) -> usize {
        size_of::<Self>() + if let Self::Data { message, .. } = self { message.len() } else { 0 }
    }
}

impl fmt::Debug for Frame {
    /// Without the message, which holds cells.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { start, message, .. } => write!(f, "Data({start}, {} bytes)", message.len()),
            Self::Keepalive { end, .. } => write!(f, "Keepalive({end})"),
            Self::Notice { severity, code, message } => write!(f, "Notice({severity} {code} {message})"),
        }
    }
}

/// A running stream. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct ReplicationStream {
    delivered: mpsc::UnboundedReceiver<Result<Delivery>>,
    /// What came after the frames that were last returned.
    failure: Option<Error>,
    wishes: watch::Sender<Wishes>,
    task: JoinHandle<Result<()>>,
}

/// What the consumer wants of the task.
#[derive(Clone, Copy, Debug, Default)]
struct Wishes {
    flushed: Lsn,
    stop: bool,
}

/// Frames, and the room that they take until they are received.
#[derive(Debug)]
struct Delivery {
    frames: Vec<Frame>,
    bytes: usize,
    _room: OwnedSemaphorePermit,
}

impl ReplicationStream {
    /// Takes over a session on which the server has begun to stream.
    pub(super) fn spawn(session: Session, message_bytes_max: u64) -> Self {
        let (deliver, delivered) = mpsc::unbounded_channel();
        let (wishes, heard) = watch::channel(Wishes::default());
        let pump = Pump {
            session,
            // One frame of the largest size, whatever the platform's.
            body_bytes_max: usize::try_from(message_bytes_max).unwrap_or(usize::MAX).saturating_add(DATA_HEADER_BYTES),
            room: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX as usize)),
            deliver,
            wishes: heard,
            pending: Vec::new(),
            pending_bytes: 0,
            written: Lsn::default(),
            sent: Sent { flushed: Lsn::default(), at: Instant::now() },
            reply_wanted: false,
            heard_at: Instant::now(),
        };
        let task = tokio::spawn(pump.run());
        Self { delivered, failure: None, wishes, task }
    }

    /// The frames that have come, as many as there are; none if none comes within `wait`. Not safe to cancel.
    pub(crate) async fn next(&mut self, wait: Duration) -> Result<Vec<Frame>> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let first = match timeout(wait, self.delivered.recv()).await {
            Err(_) => return Ok(Vec::new()),
            Ok(None) => return Err(Error::transient("the replication stream has ended")),
            Ok(Some(delivery)) => delivery?,
        };
        let Delivery { mut frames, mut bytes, .. } = first;
        while bytes < GATHERED_BYTES_MAX {
            match self.delivered.try_recv() {
                Ok(Ok(more)) => {
                    bytes += more.bytes;
                    frames.extend(more.frames);
                }
                Ok(Err(failure)) => {
                    self.failure = Some(failure);
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(frames)
    }

    /// Says that everything before `flushed` is durable: the server may forget it. A lower position than before says
    /// nothing.
    pub(crate) fn report(&self, flushed: Lsn) {
        self.wishes.send_if_modified(|wishes| {
            let moved = flushed > wishes.flushed;
            wishes.flushed = wishes.flushed.max(flushed);
            moved
        });
    }

    /// Reports a last time and ends the stream and the session.
    pub(crate) async fn stop(self, flushed: Lsn) -> Result<()> {
        self.wishes.send_modify(|wishes| {
            wishes.flushed = wishes.flushed.max(flushed);
            wishes.stop = true;
        });
        match self.task.await {
            Ok(stopped) => stopped,
            Err(failure) => Err(Error::bug("the replication stream's task failed").because(failure)),
        }
    }
}

/// The task.
struct Pump {
    session: Session,
    body_bytes_max: usize,
    room: Arc<Semaphore>,
    deliver: mpsc::UnboundedSender<Result<Delivery>>,
    wishes: watch::Receiver<Wishes>,
    /// Decoded and not yet handed over: while there are any, the socket is not read.
    pending: Vec<Frame>,
    pending_bytes: usize,
    /// How far we have received.
    written: Lsn,
    sent: Sent,
    /// The server asked for a status.
    reply_wanted: bool,
    heard_at: Instant,
}

/// The last status.
struct Sent {
    flushed: Lsn,
    at: Instant,
}

/// What the task waits for.
enum Event {
    /// The consumer wants something else; `false`: it is gone.
    Wish(bool),
    /// It is time for a status.
    Due,
    /// There is room for the pending frames.
    Room(OwnedSemaphorePermit),
    /// Something was read.
    Read(Result<()>),
}

impl Pump {
    async fn run(mut self) -> Result<()> {
        match self.pump().await {
            Ok(true) => self.stop().await,
            Ok(false) => {
                self.session.close().await;
                Ok(())
            }
            Err(failure) => {
                // What came before the failure goes first; the stream is over, so the bound no longer matters.
                if let (false, Ok(room)) = (self.pending.is_empty(), self.room.clone().try_acquire_many_owned(0)) {
                    self.hand_over(room);
                }
                let _ = self.deliver.send(Err(failure));
                Err(Error::transient("the replication stream had ended before"))
            }
        }
    }

    /// Runs until the consumer wants to stop (`true`) or is gone (`false`).
    async fn pump(&mut self) -> Result<bool> {
        // Messages may have come together with the server's consent.
        self.take_messages()?;
        loop {
            match self.event().await? {
                Event::Wish(false) => return Ok(false),
                Event::Wish(true) if self.wishes.borrow_and_update().stop => return Ok(true),
                // The report is sent when it is due.
                Event::Wish(true) => {}
                Event::Due => self.on_due().await?,
                Event::Room(room) => {
                    self.hand_over(room);
                    // It was not listened to in the meantime.
                    self.heard_at = Instant::now();
                    self.take_messages()?;
                }
                Event::Read(read) => {
                    read?;
                    self.heard_at = Instant::now();
                    self.take_messages()?;
                }
            }
        }
    }

    async fn event(&mut self) -> Result<Event> {
        let due = self.due();
        let waiting = !self.pending.is_empty();
        let permits = u32::try_from(self.pending_bytes).unwrap_or(u32::MAX).min(IN_FLIGHT_BYTES_MAX);
        if waiting && let Ok(room) = self.room.clone().try_acquire_many_owned(permits) {
            return Ok(Event::Room(room));
        }
        tokio::select! {
            biased;
            wish = self.wishes.changed() => Ok(Event::Wish(wish.is_ok())),
            () = sleep_until(due) => Ok(Event::Due),
            room = self.room.clone().acquire_many_owned(permits), if waiting => {
                room.map(Event::Room).map_err(|closed| Error::bug("the stream's bound is gone").because(closed))
            }
            read = self.session.fill(), if !waiting => Ok(Event::Read(read)),
        }
    }

    /// When the next status is due.
    fn due(&self) -> Instant {
        let interval = if self.reply_wanted || self.wishes.borrow().flushed > self.sent.flushed {
            STATUS_INTERVAL_MIN
        } else if self.pending.is_empty() {
            STATUS_INTERVAL_MAX
        } else {
            STATUS_INTERVAL_UNREAD
        };
        self.sent.at + interval
    }

    async fn on_due(&mut self) -> Result<()> {
        let silence = self.heard_at.elapsed();
        let listening = self.pending.is_empty();
        if listening && silence > SILENCE_MAX {
            return Err(Error::transient(format!("the server has been silent for {silence:?}")));
        }
        self.send_status(listening && silence >= STATUS_INTERVAL_MAX).await
    }

    async fn send_status(&mut self, reply_requested: bool) -> Result<()> {
        let flushed = self.wishes.borrow().flushed;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_us = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
        let status = Status { written: self.written.max(flushed), flushed, now_us, reply_requested };
        let mut out = BytesMut::new();
        status.encode(&mut out);
        let sent = timeout(SEND_TIMEOUT, self.session.send_bytes(&out)).await;
        sent.unwrap_or_else(|_| Err(Error::transient("the server takes no status")))?;
        self.sent = Sent { flushed, at: Instant::now() };
        self.reply_wanted = false;
        Ok(())
    }

    fn hand_over(&mut self, room: OwnedSemaphorePermit) {
        let frames = std::mem::take(&mut self.pending);
        let bytes = std::mem::take(&mut self.pending_bytes);
        // A consumer that is gone is noticed by its wishes.
        let _ = self.deliver.send(Ok(Delivery { frames, bytes, _room: room }));
    }

    /// Moves whole messages from the session to the pending frames.
    fn take_messages(&mut self) -> Result<()> {
        loop {
            let taken = self.session.take(self.body_bytes_max).map_err(|error| match error.kind() {
                ErrorKind::Config => error.remedy("raise source.postgres.message_bytes_max, or leave the column out"),
                _ => error,
            });
            let Next::Message(Message { kind, body }) = taken? else { return Ok(()) };
            match kind {
                b'd' => self.take_payload(replication::decode(body)?),
                _ => self.take_other(kind, &body)?,
            }
        }
    }

    fn take_payload(&mut self, payload: Payload) {
        match payload {
            Payload::Data { start, end, sent_at_us, message } => {
                self.written = self.written.max(start).max(end);
                self.push(Frame::Data { start, end, sent_at_us, message });
            }
            Payload::Keepalive { end, sent_at_us, reply_requested } => {
                self.written = self.written.max(end);
                // Of several in a row the last says it all.
                if let Some(Frame::Keepalive { .. }) = self.pending.last() {
                    self.pending.pop();
                    self.pending_bytes -= size_of::<Frame>();
                }
                self.push(Frame::Keepalive { end, sent_at_us });
                self.reply_wanted |= reply_requested;
            }
        }
    }

    fn take_other(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        match kind {
            b'N' => {
                let notice = ServerError::from_fields(frame::fields(body)?);
                let [severity, code, message] = [notice.severity(), notice.code(), notice.message()].map(str::to_owned);
                self.push(Frame::Notice { severity, code, message });
                Ok(())
            }
            b'E' => {
                let error = ServerError::from_fields(frame::fields(body)?).into_error();
                // A stream cannot leave one change out.
                let kind = if error.kind() == ErrorKind::Data { ErrorKind::Config } else { error.kind() };
                Err(error.with_kind(kind))
            }
            b'S' => {
                let (name, value) = frame::parameter(body)?;
                pins::check_reported(Purpose::Replication, &name, &value)
            }
            b'c' | b'C' | b'Z' => Err(Error::transient("the server ended the replication stream")),
            b'A' => Ok(()),
            other => Err(Error::transient(format!("the server sent a message out of turn: {:?}", char::from(other)))),
        }
    }

    fn push(&mut self, frame: Frame) {
        self.pending_bytes += frame.bytes();
        self.pending.push(frame);
    }

    /// The last status, the end of the stream from our side, and from the server's if it comes soon.
    async fn stop(mut self) -> Result<()> {
        self.send_status(false).await?;
        let mut out = BytesMut::new();
        frontend::copy_done(&mut out);
        self.session.send_bytes(&out).await?;
        let ended = async {
            while let Ok(Message { kind, .. }) = self.session.receive(self.body_bytes_max).await {
                if let b'Z' | b'E' = kind {
                    break;
                }
            }
        };
        if timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::info!("the server is still sending a transaction, the stream is closed without waiting for it");
        }
        self.session.close().await;
        Ok(())
    }
}
