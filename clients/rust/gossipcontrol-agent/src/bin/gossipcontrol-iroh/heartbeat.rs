//! The reference node's messages: numbered heartbeats, and the newest known of each author.

use std::collections::BTreeMap;

use iroh::EndpointId;
use serde_json::{json, Map, Value};

/// Most authors remembered in one store; the one longest without a newer heartbeat is dropped first.
const AUTHORS: usize = 1000;
/// Lives and numbers below this are the same in every JSON parser.
const HIGHEST: u64 = 1 << 53;

/// Life and number: a node that restarts begins a new, greater life, and counts from 1.
pub type Position = (u64, u64);

/// One message: its author, the author's life (milliseconds since 1970 at its start), its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who broadcast it.
    pub author: EndpointId,
    /// Its life and number.
    pub position: Position,
}

impl Heartbeat {
    /// The message, padded to this size.
    pub fn message(&self, size: usize) -> Vec<u8> {
        let (life, count) = self.position;
        let content = json!({"author": self.author.to_string(), "life": life, "count": count});
        let mut message = content.to_string().into_bytes();
        message.resize(message.len().max(size), b' ');
        message
    }

    /// The heartbeat in a message; `None` when it is none.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let content: Value = serde_json::from_slice(message).ok()?;
        let author = content.get("author")?.as_str()?;
        if author.len() != 64 {
            return None;
        }
        Some(Self {
            author: author.parse().ok()?,
            position: (whole(content.get("life")?)?, whole(content.get("count")?)?),
        })
    }
}

/// Per author of a store the newest heartbeat that is known: what two nodes make equal in a sync.
#[derive(Debug, Default)]
pub struct Newest {
    known: BTreeMap<String, (Position, u64)>,
    learned: u64,
}

impl Newest {
    /// Store a heartbeat if it is newer; returns whether it was.
    pub fn learn(&mut self, author: &str, position: Position) -> bool {
        if self.known.get(author).is_some_and(|(known, _)| *known >= position) {
            return false;
        }
        self.learned += 1;
        self.known.insert(author.into(), (position, self.learned));
        if self.known.len() > AUTHORS {
            let oldest = self.known.iter().min_by_key(|(_, (_, when))| *when);
            let oldest = oldest.map(|(author, _)| author.clone());
            oldest.and_then(|author| self.known.remove(&author));
        }
        true
    }

    /// Store those that are newer; returns how many were.
    pub fn merge(&mut self, others: &[(String, Position)]) -> usize {
        let learned = others.iter().map(|(author, position)| self.learn(author, *position));
        learned.filter(|is_newer| *is_newer).count()
    }

    /// All of it, as another node is sent it.
    pub fn beats(&self) -> Value {
        let beats = self
            .known
            .iter()
            .map(|(author, (position, _))| (author.clone(), json!(position)));
        Value::Object(Map::from_iter(beats))
    }
}

/// What another node sent as its newest heartbeats; `None` where that is wrong.
pub fn positions(beats: &Value) -> Option<Vec<(String, Position)>> {
    let beats = beats.as_object().filter(|beats| beats.len() <= AUTHORS)?;
    beats
        .iter()
        .map(|(author, position)| {
            let is_key = author.len() == 64 && author.parse::<EndpointId>().is_ok();
            match position.as_array().map(Vec::as_slice) {
                Some([life, number]) if is_key => Some((author.clone(), (whole(life)?, whole(number)?))),
                _ => None,
            }
        })
        .collect()
}

fn whole(value: &Value) -> Option<u64> {
    value.as_u64().filter(|number| *number < HIGHEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> EndpointId {
        iroh::SecretKey::from_bytes(&[number; 32]).public()
    }

    #[test]
    fn a_heartbeat_is_read_as_it_was_written() {
        let beat = Heartbeat {
            author: id(1),
            position: (1_700_000_000_000, 7),
        };
        let message = beat.message(500);
        assert_eq!(message.len(), 500);
        assert_eq!(Heartbeat::parse(&message), Some(beat));
        for wrong in ["", "{}", "[1]", r#"{"author":"x","life":1,"count":1}"#] {
            assert_eq!(Heartbeat::parse(wrong.as_bytes()), None);
        }
    }

    #[test]
    fn only_newer_heartbeats_are_learned() {
        let mut newest = Newest::default();
        assert!(newest.learn("a", (1, 5)));
        assert!(!newest.learn("a", (1, 5)) && !newest.learn("a", (0, 9)));
        assert_eq!(newest.merge(&[("a".into(), (2, 1)), ("a".into(), (1, 9))]), 1);
        assert_eq!(newest.beats(), json!({"a": [2, 1]}));
    }

    #[test]
    fn what_others_send_is_checked() {
        let author = id(1).to_string();
        assert_eq!(
            positions(&json!({&author: [1, 2]})).unwrap(),
            [(author.clone(), (1, 2))]
        );
        for wrong in [
            json!({"x": [1, 2]}),
            json!({&author: [1]}),
            json!({&author: [1, -2]}),
            json!([]),
        ] {
            assert_eq!(positions(&wrong), None);
        }
    }
}
