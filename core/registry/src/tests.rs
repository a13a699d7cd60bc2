//! Against a stand-in that answers as it is told, and against a real registry.

mod faults;
mod real;
mod refusals;
mod stand_in;
mod tls;

use std::time::Duration;

use walbrook_config::Registry as Settings;

use crate::Registry;

const SCHEMA: &str = r#"{"type":"record","name":"Key","fields":[{"name":"id","type":"int"}]}"#;

fn settings(url: &str) -> Settings {
    Settings { url: url.to_owned(), username: None, password: None, ca_file: None, timeout: Duration::from_secs(20) }
}

/// A client whose calls may take this long.
fn client(url: &str, timeout: Duration) -> Registry {
    Registry::new(&Settings { timeout, ..settings(url) }).unwrap()
}

/// Sources and sinks hold the calls across threads.
#[test]
fn every_call_can_move_between_threads() {
    fn check<T: Send>(_: T) {}
    let registry = client("http://127.0.0.1:1", Duration::from_secs(1));
    check(registry.register("s", "\"int\""));
    check(registry.schema(1));
    check(registry.latest("s"));
}
