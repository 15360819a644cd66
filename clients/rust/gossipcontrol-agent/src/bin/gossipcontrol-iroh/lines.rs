//! What the node prints: a line for people, or one JSON object.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{json, Map, Value};

/// Time between two lines about messages of one peer, in the output for people.
const HEARD_EVERY: Duration = Duration::from_secs(10);
/// Most peers remembered for that.
const PEERS: usize = 1000;

/// Prints what happens.
#[derive(Debug)]
pub struct Lines {
    as_json: bool,
    heard: Mutex<HashMap<(String, String), Instant>>,
}

impl Lines {
    /// Lines for people, or for programs.
    pub fn new(as_json: bool) -> Self {
        Self {
            as_json,
            heard: Mutex::default(),
        }
    }

    /// Print one line, which stays one line of readable text whatever strangers put into ids and errors.
    pub fn say(&self, what: &str, text: &str, fields: &[(&str, Value)]) {
        let line = if self.as_json {
            event_line(what, fields)
        } else {
            printable(text)
        };
        let mut output = std::io::stdout().lock();
        writeln!(output, "{line}").ok(); // nobody may be reading any longer
    }

    /// Whether to print that a peer was heard.
    pub fn shows_heard(&self, store: &str, peer: &str) -> bool {
        if self.as_json {
            return true;
        }
        let mut heard = self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (store.to_string(), peer.to_string());
        if heard.get(&key).is_some_and(|at| at.elapsed() < HEARD_EVERY) {
            return false;
        }
        if heard.len() >= PEERS {
            heard.clear();
        }
        heard.insert(key, Instant::now());
        true
    }
}

fn event_line(what: &str, fields: &[(&str, Value)]) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = Map::new();
    line.insert("version".into(), json!(1));
    line.insert("ts".into(), json!(since.as_secs_f64()));
    line.insert("event".into(), json!(what));
    line.extend(fields.iter().map(|(name, value)| (name.to_string(), value.clone())));
    ascii(&Value::Object(line).to_string())
}

/// JSON with everything beyond ASCII escaped.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    let mut units = [0; 2];
    for one in json.chars() {
        if one.is_ascii() && one != '\u{7f}' {
            escaped.push(one);
        } else {
            let encoded = one.encode_utf16(&mut units);
            escaped.extend(encoded.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    escaped
}

fn printable(text: &str) -> String {
    let shown = |one: char| if one.is_control() { '\u{fffd}' } else { one };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_in_ascii() {
        let line = event_line("up", &[("store", json!("n\u{f6}tes\n\u{1f600}"))]);
        assert!(line.is_ascii() && !line.contains('\n'));
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["event"], &read["version"]), (&json!("up"), &json!(1)));
        assert_eq!(read["store"], json!("n\u{f6}tes\n\u{1f600}"));
        assert!(read["ts"].as_f64().unwrap() > 1.7e9);
    }

    #[test]
    fn no_control_character_reaches_a_terminal() {
        assert_eq!(printable("a\x1b[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
    }

    #[test]
    fn people_see_a_peer_heard_once_in_a_while() {
        let lines = Lines::new(false);
        assert!(lines.shows_heard("notes", "a") && !lines.shows_heard("notes", "a"));
        assert!(lines.shows_heard("notes", "b"));
        assert!(Lines::new(true).shows_heard("notes", "a"));
    }
}
