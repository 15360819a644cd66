//! Direct exchange between two reference nodes: over a connection of its own, not through the overlay.
//!
//! The protocol `/gossipcontrol/sync/1` is one bidirectional stream. The dialler sends a JSON object: `store` and
//! `beats` (author to [life, number], the newest heartbeat that it knows of each). The other side stores what is newer,
//! and answers with its own `beats` or an `error`; the dialler stores what is newer in turn, and both know the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use gossipcontrol_agent::StoreSender;
use iroh::endpoint::Connection;
use iroh::protocol::{AcceptError, ProtocolHandler};
use iroh::{Endpoint, EndpointAddr};
use iroh_gossip::api::GossipSender;
use serde_json::{json, Value};

use crate::heartbeat::{positions, Newest};

/// The protocol's name.
pub const ALPN: &[u8] = b"/gossipcontrol/sync/1";
/// Most bytes of one side's message.
const SIZE: usize = 256 * 1024;

/// Broadcasts in a store, through the agent or not.
#[derive(Clone, Debug)]
pub enum Sender {
    /// Through the agent.
    Attached(StoreSender),
    /// Of the bare node.
    Bare(GossipSender),
}

impl Sender {
    /// Broadcast a message; what cannot be sent is lost, as any message of a node without neighbours is.
    pub async fn broadcast(&self, message: Vec<u8>) {
        match self {
            Self::Attached(sender) => sender.broadcast(message).await.ok(),
            Self::Bare(sender) => sender.broadcast(message.into()).await.ok(),
        };
    }
}

/// A store of the node: what it knows, how much it broadcast, and how much of that others hold.
#[derive(Debug, Default)]
pub struct Held {
    /// The newest heartbeats.
    pub newest: Newest,
    /// The node's own broadcasts.
    pub broadcasts: u64,
    /// Its newest broadcast that others hold.
    pub held: u64,
    /// What broadcasts in the store.
    pub sender: Option<Sender>,
    /// The node's neighbours.
    pub neighbors: usize,
    /// Whether there is anybody who could hold its broadcasts.
    pub has_peers: bool,
}

/// Called with the store, the peer, and how many heartbeats were newer there.
pub type OnSync = Arc<dyn Fn(&str, &str, usize) + Send + Sync>;

/// The stores of the node.
#[derive(Clone)]
pub struct Stores {
    stores: Arc<Mutex<BTreeMap<String, Held>>>,
    on_sync: OnSync,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Stores")
    }
}

impl Stores {
    /// Stores of these ids, which hold nothing yet.
    pub fn new(ids: &[String], on_sync: OnSync) -> Self {
        let stores = ids.iter().map(|id| (id.clone(), Held::default())).collect();
        Self {
            stores: Arc::new(Mutex::new(stores)),
            on_sync,
        }
    }

    /// Do something with a store; `None` where there is none of this id.
    pub fn with<T>(&self, store: &str, work: impl FnOnce(&mut Held) -> T) -> Option<T> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.get_mut(store).map(work)
    }

    /// Bring a store in sync with a peer.
    pub async fn sync(&self, endpoint: &Endpoint, store: &str, peer: EndpointAddr) -> Result<(), String> {
        let none = || format!("the node has no store {store}");
        let (mine, beats) = self
            .with(store, |held| (held.broadcasts, held.newest.beats()))
            .ok_or_else(none)?;
        let id = peer.id.to_string();
        let connection = endpoint.connect(peer, ALPN).await.map_err(|error| error.to_string())?;
        let answer = ask(&connection, &json!({"store": store, "beats": beats})).await;
        connection.close(0u32.into(), b"done");
        let answer = answer?;
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            return Err(error.chars().take(200).collect());
        }
        let beats = answer.get("beats").and_then(positions).ok_or("the answer is broken")?;
        let newer = self.with(store, |held| {
            held.held = held.held.max(mine);
            held.newest.merge(&beats)
        });
        (self.on_sync)(store, &id, newer.unwrap_or(0));
        Ok(())
    }

    fn answer(&self, peer: &str, question: &[u8]) -> Value {
        let Ok(question) = serde_json::from_slice::<Value>(question) else {
            return json!({"error": "the request is broken"});
        };
        let store = question.get("store").and_then(Value::as_str).unwrap_or("");
        let Some(beats) = question.get("beats").and_then(positions) else {
            return json!({"error": "the request is broken"});
        };
        let merged = self.with(store, |held| (held.newest.merge(&beats), held.newest.beats()));
        let Some((newer, mine)) = merged else {
            return json!({"error": "the peer has no such store"});
        };
        (self.on_sync)(store, peer, newer);
        json!({"beats": mine})
    }
}

impl ProtocolHandler for Stores {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let (mut send, mut receive) = connection.accept_bi().await?;
        let question = receive.read_to_end(SIZE).await.map_err(AcceptError::from_err)?;
        let answer = self.answer(&connection.remote_id().to_string(), &question);
        let written = send.write_all(answer.to_string().as_bytes()).await;
        written.map_err(AcceptError::from_err)?;
        send.finish()?;
        connection.closed().await; // closed any sooner, it would take the answer with it
        Ok(())
    }
}

async fn ask(connection: &Connection, question: &Value) -> Result<Value, String> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    let written = send.write_all(question.to_string().as_bytes()).await;
    written.map_err(|error| error.to_string())?;
    send.finish().map_err(|error| error.to_string())?;
    let answer = receive.read_to_end(SIZE).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| format!("the answer is broken: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_with_what_is_known_or_why_not() {
        let stores = Stores::new(&["notes".into()], Arc::new(|_, _, _| ()));
        let author = iroh::SecretKey::from_bytes(&[1; 32]).public().to_string();
        let question = json!({"store": "notes", "beats": {&author: [1, 2]}}).to_string();
        assert_eq!(
            stores.answer("p", question.as_bytes()),
            json!({"beats": {&author: [1, 2]}})
        );
        let other = json!({"store": "photos", "beats": {}}).to_string();
        assert_eq!(
            stores.answer("p", other.as_bytes()),
            json!({"error": "the peer has no such store"})
        );
        assert_eq!(stores.answer("p", b"{"), json!({"error": "the request is broken"}));
    }
}
