//! Attaches an iroh-gossip node to GossipControl, which keeps its gossip alive.
#![warn(missing_docs)]

mod address;
mod agent;
mod attachment;
mod backoff;
mod clock;
mod commands;
mod credentials;
mod dialable;
mod event;
mod host;
mod obey;
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
