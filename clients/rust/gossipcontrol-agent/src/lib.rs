//! Attaches an iroh-gossip node to GossipControl, which keeps its gossip alive.
//!
//! An app that has an [`Endpoint`](iroh::Endpoint) and a [`Gossip`](iroh_gossip::net::Gossip) makes an [`Agent`] beside
//! them and joins its topics with [`Agent::join`]. The agent registers the node with the service, counts what is sent
//! and heard, reports it, and carries out the rejoins that the service orders.
//!
//! ```
//! use gossipcontrol_agent::Agent;
//! use iroh::{endpoint::presets, protocol::Router, Endpoint, RelayMode};
//! use iroh_gossip::{net::Gossip, proto::TopicId};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).bind().await?;
//! let gossip = Gossip::builder().spawn(endpoint.clone());
//! let router = Router::builder(endpoint.clone()).accept(iroh_gossip::ALPN, gossip.clone()).spawn();
//!
//! let agent = Agent::builder(&endpoint, &gossip).address("127.0.0.1:7420").start()?;
//! let mut notes = agent.join("notes", TopicId::from_bytes([7; 32]), vec![]).await?;
//! notes.broadcast("hello").await?;
//! // `notes.next().await` gives neighbours and messages as they come.
//!
//! agent.leave().await;
//! router.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Why not subscribe with iroh-gossip itself
//!
//! iroh-gossip (0.35 to 0.101) never dials a peer again once a dial of it has failed, and `join_peers`, a new
//! subscription or [`Endpoint::network_change`](iroh::Endpoint::network_change) do not cure that. A node that was cut
//! off for a minute while it dialled stays deaf. So the agent
//!
//! - never lets iroh-gossip dial a peer that is to be joined: it dials with the protocol of gossip itself, hands the
//!   connection over, which cures the fault from one side alone, and joins then;
//! - leaves its topics while no interface of the host has had an address for 3 s, and joins them as soon as one has;
//! - takes a subscription up again that was closed or lagged: the app's [`Store`] goes on.
//!
//! # What the service orders
//!
//! | rung | what the agent does |
//! | --- | --- |
//! | `REJOIN` | dial the peers that the service names and that are no neighbours, hand over, join |
//! | `REJOIN` after a sleep or a change of the network | neighbours too, those of now and those that went down |
//! | `REBIND` | `network_change`, then the same |
//! | `RESUBSCRIBE` | leave the topic, subscribe again, then the same |
//! | sync with a peer | what the app gave [`Builder::sync`]; not declared without it |
//!
//! # Features
//!
//! `tls`: services behind `tls:host:port`. `node`: the program `gossipcontrol-iroh`, a reference node.
#![warn(missing_docs)]

mod address;
mod agent;
mod attachment;
mod backoff;
mod candidates;
mod clock;
mod commands;
mod credentials;
mod dialable;
mod event;
mod host;
mod obey;
mod owner;
mod peers;
mod presence;
mod reach;
mod reports;
mod service;
mod shared;
mod store;

/// The messages and calls of the service, generated from the protos.
pub mod v1 {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("gossipcontrol.v1");
}

pub use agent::{Agent, Builder};
pub use credentials::Credentials;
pub use event::AgentEvent;
pub use presence::PeerChange;
pub use store::{Store, StoreSender};

/// What went wrong, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
