//! What a pipeline is doing, for probes and people.

use std::sync::{Arc, Mutex, PoisonError};

use walbrook_model::{Checkpoint, Error, ErrorKind};

/// What a pipeline is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Opens its sink and its source.
    Starting,
    /// Moves batches.
    Running,
    /// Waits before it tries again.
    Retrying,
    /// Continuity is not proven: waits for `walbrook gap accept`.
    Gap,
    /// Ended.
    Stopped,
}

impl State {
    /// The name used in logs, metrics and probes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Gap => "gap",
            Self::Stopped => "stopped",
        }
    }
}

/// What a run knows of the sink's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The sink could not say.
    Unknown,
    /// This one, or none, when the run last heard of it.
    Held(Option<Checkpoint>),
}

/// A handle to the pipeline's state; clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    state: State,
    cause: Option<String>,
    errors: Vec<(ErrorKind, u64)>,
    seen: Seen,
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            state: State::Starting,
            cause: None,
            errors: Vec::new(),
            seen: Seen::Unknown,
        })))
    }
}

impl Health {
    /// The state, and for a state that is not well the error that led there.
    pub fn get(&self) -> (State, Option<String>) {
        let inner = self.lock();
        (inner.state, inner.cause.clone())
    }

    /// Errors so far, by kind.
    pub fn errors(&self) -> Vec<(ErrorKind, u64)> {
        self.lock().errors.clone()
    }

    /// Enters a state that is well.
    pub fn set(&self, state: State) {
        let mut inner = self.lock();
        inner.state = state;
        inner.cause = None;
    }

    /// Enters a state because of an error, which is counted.
    pub fn fail(&self, state: State, error: &Error) {
        let mut inner = self.lock();
        inner.state = state;
        inner.cause = Some(error.to_string());
        match inner.errors.iter_mut().find(|(kind, _)| *kind == error.kind()) {
            Some((_, count)) => *count += 1,
            None => inner.errors.push((error.kind(), 1)),
        }
    }

    /// What the run knows of the sink's checkpoint.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    /// The run has heard of the sink's checkpoint.
    pub(crate) fn see(&self, seen: Seen) {
        self.lock().seen = seen;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
