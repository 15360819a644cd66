//! Nodes in one process, without a service: a store outlives every subscription beneath it.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use gossipcontrol_agent::{Agent, Store};
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode};
use iroh_gossip::api::Event;
use iroh_gossip::net::Gossip;
use iroh_gossip::proto::TopicId;
use tokio::time::{sleep, timeout};

const TOPIC: [u8; 32] = [7; 32];
const DEADLINE: Duration = Duration::from_secs(30);
/// Time between two messages.
const EVERY: Duration = Duration::from_millis(20);

struct Node {
    agent: Agent,
    gossip: Gossip,
    address: EndpointAddr,
    router: Router,
}

async fn node() -> Node {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
    let endpoint = builder.bind().await.unwrap();
    let gossip = Gossip::builder().spawn(endpoint.clone());
    let agent = Agent::builder(&endpoint, &gossip)
        .without_service()
        .follow_network(false)
        .start()
        .unwrap();
    let bound = endpoint.bound_sockets();
    let port = bound.iter().find(|one| one.is_ipv4()).unwrap().port();
    let place = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let router = Router::builder(endpoint.clone())
        .accept(iroh_gossip::ALPN, gossip.clone())
        .spawn();
    Node {
        agent,
        gossip,
        address: EndpointAddr::new(endpoint.id()).with_ip_addr(place),
        router,
    }
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// One store speaks until the other hears it.
async fn until_heard(speaker: &Store, listener: &mut Store, text: &str) {
    let speak = async {
        loop {
            speaker.broadcast(text.to_string()).await.unwrap();
            sleep(EVERY).await;
        }
    };
    let listen = async {
        loop {
            match listener.next().await.expect("the store goes on") {
                Event::Received(message) if message.content == text.as_bytes() => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        () = speak => {}
        () = in_time(text, listen) => {}
    }
}

/// Wait until these peers have come up, or gone down, in a store.
async fn until_all(store: &mut Store, what: &str, mut peers: Vec<EndpointId>) {
    let listen = async {
        while !peers.is_empty() {
            match (store.next().await.expect("the store goes on"), what) {
                (Event::NeighborUp(peer), "up") | (Event::NeighborDown(peer), "down") => {
                    peers.retain(|one| *one != peer);
                }
                _ => {}
            }
        }
    };
    in_time(what, listen).await;
}

#[tokio::test]
async fn a_node_that_was_suspended_hears_and_is_heard_in_the_same_store() {
    let (first, second) = (node().await, node().await);
    let topic = TopicId::from_bytes(TOPIC);
    let mut one = first.agent.join("notes", topic, vec![]).await.unwrap();
    let mut other = second
        .agent
        .join("notes", topic, vec![first.address.clone()])
        .await
        .unwrap();
    assert!(
        first.agent.join("notes", topic, vec![]).await.is_err(),
        "a store is joined once"
    );
    until_heard(&one, &mut other, "before").await;

    first.agent.suspend().await;
    until_all(&mut other, "down", vec![first.address.id]).await;
    first.agent.resume().await;
    until_heard(&one, &mut other, "after").await;
    until_heard(&other, &mut one, "back").await;

    for node in [first, second] {
        node.agent.leave().await;
        node.router.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_node_that_slept_dials_also_a_neighbor_that_it_lost_before() {
    let (first, second, third) = (node().await, node().await, node().await);
    let topic = TopicId::from_bytes(TOPIC);
    let _other = second.agent.join("notes", topic, vec![]).await.unwrap();
    // An app without an agent: it dials nobody.
    let plain = third.gossip.subscribe(topic, vec![]).await.unwrap();
    let peers = vec![second.address.clone(), third.address.clone()];
    let mut one = first.agent.join("notes", topic, peers).await.unwrap();
    until_all(&mut one, "up", vec![second.address.id, third.address.id]).await;

    drop(plain);
    until_all(&mut one, "down", vec![third.address.id]).await;
    let _plain = third.gossip.subscribe(topic, vec![]).await.unwrap();
    first.agent.resume().await;
    until_all(&mut one, "up", vec![third.address.id]).await;

    for node in [first, second, third] {
        node.agent.leave().await;
        node.router.shutdown().await.unwrap();
    }
}
