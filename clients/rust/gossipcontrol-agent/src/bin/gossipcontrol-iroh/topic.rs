//! One store of the node, with its agent or bare: heartbeats out, events in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gossipcontrol_agent::Agent;
use iroh::{Endpoint, EndpointAddr};
use iroh_gossip::api::{Event, GossipReceiver, GossipSender};
use iroh_gossip::net::Gossip;
use iroh_gossip::proto::TopicId;
use n0_future::StreamExt;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::heartbeat::Heartbeat;
use crate::lines::Lines;
use crate::short;
use crate::sync::{Sender, Stores};

/// Bounds of the time between two joins of a node that joins by itself while it has no neighbour.
const OWN_JOINS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A store's topic, and the peers to join it through.
pub struct Topic {
    store: String,
    id: TopicId,
    peers: Vec<EndpointAddr>,
}

impl Topic {
    /// The topic of a store.
    pub fn of(store: &str, peers: Vec<EndpointAddr>) -> Self {
        Self {
            store: store.into(),
            id: TopicId::from_bytes(*blake3::hash(store.as_bytes()).as_bytes()),
            peers,
        }
    }
}

/// The node.
#[derive(Clone)]
pub struct Node {
    pub agent: Agent,
    pub endpoint: Endpoint,
    pub gossip: Gossip,
    pub stores: Stores,
    pub lines: std::sync::Arc<Lines>,
}

impl Node {
    /// Take part in a store through the agent.
    pub async fn run(&self, topic: Topic) -> Result<(), String> {
        let joined = self.agent.join(&topic.store, topic.id, topic.peers.clone()).await;
        let mut store = joined.map_err(|error| error.to_string())?;
        self.begin(&topic, Sender::Attached(store.sender()));
        let node = self.clone();
        tokio::spawn(async move {
            while let Some(event) = store.next().await {
                node.take(&topic.store, &event);
            }
        });
        Ok(())
    }

    /// Take part in a store as an app does that has no agent: join again by itself while there is no neighbour.
    pub async fn run_bare(&self, topic: Topic) -> Result<(), String> {
        let (sender, receiver) = self.subscribe(&topic).await?;
        self.begin(&topic, Sender::Bare(sender.clone()));
        let node = self.clone();
        tokio::spawn(async move {
            let store = topic.store.clone();
            join_while_alone(sender, receiver, &topic, |event| node.take(&store, event)).await;
        });
        Ok(())
    }

    /// Join like an app without an agent, beside the agent.
    pub async fn join_too(&self, topic: &Topic) -> Result<(), String> {
        let (sender, receiver) = self.subscribe(topic).await?;
        let topic = Topic {
            store: topic.store.clone(),
            id: topic.id,
            peers: topic.peers.clone(),
        };
        tokio::spawn(async move { join_while_alone(sender, receiver, &topic, |_| ()).await });
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<(GossipSender, GossipReceiver), String> {
        let ids = topic.peers.iter().map(|peer| peer.id).collect();
        let subscribed = self.gossip.subscribe(topic.id, ids).await;
        Ok(subscribed.map_err(|error| error.to_string())?.split())
    }

    fn begin(&self, topic: &Topic, sender: Sender) {
        self.stores.with(&topic.store, |held| {
            held.sender = Some(sender);
            held.has_peers |= !topic.peers.is_empty();
        });
    }

    fn take(&self, store: &str, event: &Event) {
        match event {
            Event::NeighborUp(peer) => self.say_neighbor(store, "up", &peer.to_string()),
            Event::NeighborDown(peer) => self.say_neighbor(store, "down", &peer.to_string()),
            Event::Lagged => {
                let detail = "the subscription lagged and lost events";
                let fields = [("store", json!(store)), ("detail", json!(detail))];
                self.lines.say("error", &format!("{store}: {detail}"), &fields);
            }
            Event::Received(message) => {
                let beat = Heartbeat::parse(&message.content);
                let author = beat.map_or(message.delivered_from, |beat| beat.author).to_string();
                if let Some(beat) = beat {
                    self.stores
                        .with(store, |held| held.newest.learn(&author, beat.position));
                }
                if self.lines.shows_heard(store, &author) {
                    let direct = author == message.delivered_from.to_string();
                    let fields = [
                        ("store", json!(store)),
                        ("peer", json!(author)),
                        ("direct", json!(direct)),
                    ];
                    self.lines
                        .say("heard", &format!("{store}: heard {}", short(&author)), &fields);
                }
            }
        }
    }

    fn say_neighbor(&self, store: &str, what: &str, peer: &str) {
        self.stores.with(store, |held| {
            held.neighbors = if what == "up" {
                held.neighbors + 1
            } else {
                held.neighbors.saturating_sub(1)
            };
            held.has_peers = true;
        });
        let fields = [("store", json!(store)), ("peer", json!(peer))];
        let text = format!("{store}: neighbour {} is {what}", short(peer));
        self.lines.say(what, &text, &fields);
    }
}

/// Pass events on; while there is no neighbour, join the known peers after 1 s, 2 s, 4 s and so on.
async fn join_while_alone(
    sender: GossipSender,
    mut receiver: GossipReceiver,
    topic: &Topic,
    mut take: impl FnMut(&Event),
) {
    let mut wait = OWN_JOINS.0;
    loop {
        let event = if receiver.is_joined() {
            wait = OWN_JOINS.0;
            receiver.next().await
        } else {
            match timeout(wait, receiver.next()).await {
                Ok(event) => event,
                Err(_) => {
                    wait = (2 * wait).min(OWN_JOINS.1);
                    let peers = topic.peers.iter().map(|peer| peer.id).collect();
                    sender.join_peers(peers).await.ok();
                    continue;
                }
            }
        };
        match event {
            Some(Ok(event)) => take(&event),
            Some(Err(_)) | None => return,
        }
    }
}

/// Broadcast heartbeats for ever.
pub async fn beat(node: Node, store: String, every: f64, size: usize) {
    let life = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64;
    let author = node.endpoint.id();
    loop {
        let next = node.stores.with(&store, |held| {
            held.broadcasts += 1;
            let position = (life, held.broadcasts);
            held.newest.learn(&author.to_string(), position);
            if held.neighbors > 0 {
                held.held = held.broadcasts;
            }
            let unsynced = if held.has_peers { held.broadcasts - held.held } else { 0 };
            (Heartbeat { author, position }, held.sender.clone(), unsynced)
        });
        let Some((beat, Some(sender), unsynced)) = next else {
            return;
        };
        sender.broadcast(beat.message(size)).await;
        node.agent.unsynced_writes(&store, unsynced);
        sleep(Duration::from_secs_f64(every)).await;
    }
}
