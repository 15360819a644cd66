//! Two nodes in one process, without a service: a store outlives every subscription beneath it.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use gossipcontrol_agent::{Agent, Store};
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, RelayMode};
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
        .accept(iroh_gossip::ALPN, gossip)
        .spawn();
    Node {
        agent,
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

async fn until_alone(store: &mut Store) {
    let listen = async {
        loop {
            if let Event::NeighborDown(_) = store.next().await.expect("the store goes on") {
                return;
            }
        }
    };
    in_time("the neighbour leaves", listen).await;
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
    until_alone(&mut other).await;
    first.agent.resume().await;
    until_heard(&one, &mut other, "after").await;
    until_heard(&other, &mut one, "back").await;

    for node in [first, second] {
        node.agent.leave().await;
        node.router.shutdown().await.unwrap();
    }
}
