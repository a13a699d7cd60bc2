//! Against a real broker.

use walbrook_envelope::Format;
use walbrook_model::{Op, Seq};

use crate::testing::{Reader, World, seq};

mod continuity;
mod debezium;
mod faults;
mod letters;
mod naming;
mod ordered;
mod reading;
mod sharing;
