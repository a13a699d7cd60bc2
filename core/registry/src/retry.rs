//! Calls that are repeated until the registry answers, for a bounded time.

use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry::SrSettings;
use schema_registry_converter::schema_registry_common::RegisteredSchema;
use tokio::time::{Instant, sleep, timeout_at};

use crate::answer::Answer;
use crate::client::Request;
use crate::status::{Counters, count};

/// First pause before a repeat, and the longest; each is twice the one before, less a random part.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Sends `request` again and again until it is answered; `limit` is the time for all of it.
///
/// # Errors
/// A refusal at once; that there is no usable answer, with the last cause, when the time is over.
pub(crate) async fn call(
    request: &Request<'_>,
    client: &SrSettings,
    limit: Duration,
    counters: &Counters,
) -> Result<RegisteredSchema, Answer> {
    let deadline = Instant::now() + limit;
    let mut pause = PAUSE_MIN;
    let mut last = None;
    loop {
        let cause = match timeout_at(deadline, request.send(client)).await {
            Ok(Ok(result)) => {
                count(&counters.accepted);
                return Ok(result);
            }
            Ok(Err(error)) => match Answer::of(&error) {
                Answer::Unavailable(cause) => cause,
                refused => {
                    count(&counters.refused);
                    return Err(refused);
                }
            },
            Err(_) => {
                count(&counters.unavailable);
                return Err(Answer::Unavailable(last.unwrap_or_else(|| "no answer in time".to_owned())));
            }
        };
        let wait = pause.mul_f64(rand::random_range(0.5..1.0));
        if Instant::now() + wait >= deadline {
            count(&counters.unavailable);
            return Err(Answer::Unavailable(cause));
        }
        if last.is_none() {
            tracing::warn!(%cause, "the schema registry does not answer; trying again");
        }
        sleep(wait).await;
        count(&counters.repeats);
        last = Some(cause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
