//! One line that says how the pipeline is, for a person at a terminal.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use walbrook_engine::health::State;

use crate::ends::{SinkStatus, SourceStatus};
use crate::run::Pipeline;

/// Prints the line every few seconds while standard error is a terminal.
pub(crate) fn show(pipeline: &Pipeline) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let pipeline = pipeline.clone();
    tokio::spawn(async move {
        while !pipeline.stop.asked() {
            tokio::time::sleep(Duration::from_secs(5)).await;
            eprintln!("{}", line(&pipeline));
        }
    });
}

/// Rows in the lake's upsert tables; none of another sink.
pub(crate) fn lake_rows(pipeline: &Pipeline) -> u64 {
    match pipeline.watched().sink {
        SinkStatus::Lake(lake) => lake.tables().values().map(|table| table.live_rows).sum(),
        SinkStatus::Kafka(_) => 0,
    }
}

/// Such as `streaming   lag 12 kB   lake 10,250 rows   fresh to 0.8 s ago`.
pub(crate) fn line(pipeline: &Pipeline) -> String {
    let watched = pipeline.watched();
    let (state, cause) = pipeline.health.get();
    let mut line = match (state, cause) {
        (State::Running, _) => watched.source.state().to_owned(),
        (state, Some(cause)) => format!("{}: {cause}", state.as_str()),
        (state, None) => state.as_str().to_owned(),
    };
    match &watched.source {
        SourceStatus::Postgres(source) => {
            if let Some(slot) = source.slot() {
                let _ = write!(line, "   lag {}", bytes(slot.lag_bytes));
            }
        }
        SourceStatus::Topics(source) => {
            let lag = source.topics().values().filter_map(|topic| topic.lag_messages).sum();
            let _ = write!(line, "   lag {} messages", grouped(lag));
        }
    }
    let _ = match &watched.sink {
        SinkStatus::Lake(_) => write!(line, "   lake {} rows", grouped(lake_rows(pipeline))),
        SinkStatus::Kafka(kafka) => {
            let messages = kafka.tables().values().map(|table| table.messages).sum();
            write!(line, "   produced {} messages", grouped(messages))
        }
    };
    if let Some(until) = watched.sink.complete_until_us() {
        let seconds = seconds_since(until);
        let _ = write!(line, "   fresh to {seconds:.1} s ago");
    }
    line
}

/// Seconds from a moment (microseconds since 1970 UTC) to now by this machine's clock; never negative.
#[allow(clippy::cast_precision_loss, reason = "seconds, for people")]
pub(crate) fn seconds_since(moment_us: i64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    now.saturating_sub(moment_us).max(0) as f64 / 1e6
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1_000),
        10_000_000..10_000_000_000 => format!("{} MB", count / 1_000_000),
        _ => format!("{} GB", count / 1_000_000_000),
    }
}

/// A number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(9_999), "9999 B");
        assert_eq!(bytes(12_345), "12 kB");
        assert_eq!(bytes(99_000_000), "99 MB");
    }
}
