//! An app that has an endpoint and iroh-gossip, and attaches its node to GossipControl.

use std::error::Error;
use std::{env, str};

use gossipcontrol_agent::Agent;
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, RelayMode};
use iroh_gossip::api::Event;
use iroh_gossip::net::Gossip;
use iroh_gossip::proto::TopicId;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = env::args().nth(1).ok_or("usage: attach STORE [NODEID@IP:PORT]")?;
    let mut peers = Vec::new();
    if let Some((id, place)) = env::args().nth(2).as_deref().and_then(|peer| peer.split_once('@')) {
        peers.push(EndpointAddr::new(id.parse()?).with_ip_addr(place.parse()?));
    }

    // What the app has anyway.
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .bind()
        .await?;
    let gossip = Gossip::builder().spawn(endpoint.clone());
    let router = Router::builder(endpoint.clone())
        .accept(iroh_gossip::ALPN, gossip.clone())
        .spawn();

    // What attaches it.
    let agent = Agent::builder(&endpoint, &gossip).name("kitchen-laptop").start()?;
    let topic = TopicId::from_bytes(*blake3::hash(store.as_bytes()).as_bytes());
    let mut store = agent.join(&store, topic, peers).await?;

    println!("node {} at {}", endpoint.id(), agent.addresses().join(", "));
    while let Some(event) = store.next().await {
        match event {
            Event::NeighborUp(_) => store.broadcast("hello").await?,
            Event::Received(message) => println!("{}", str::from_utf8(&message.content)?),
            Event::NeighborDown(_) | Event::Lagged => {}
        }
    }
    router.shutdown().await?;
    Ok(())
}
