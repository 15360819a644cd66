//! How a peer is reached again: dial it, and hand the connection to iroh-gossip.
//!
//! iroh-gossip (0.35 to 0.101) never dials a peer again whose dial has failed once: it stays `Pending` with a queue
//! that is not empty, and only an empty one is dialled. Joining, leaving and a change of the network cure nothing. A
//! connection that is handed over does: it makes the peer active, and what is queued is sent.

use std::sync::Arc;
use std::time::Duration;

use iroh::EndpointId;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout, timeout_at, Instant};

use crate::clock;
use crate::shared::{Order, Shared};

/// Time that the first attempt has before a second one is begun beside it; each further one has twice as long. QUIC
/// itself repeats its first packet after 1 s.
const FIRST_STEP: Duration = Duration::from_millis(250);
/// Time after an attempt that failed at once, as where there is no route.
const PAUSE: Duration = Duration::from_millis(100);
/// Time that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Most attempts at one peer side by side.
const AT_ONCE: usize = 8;

/// Reach a peer within this time, and hand the connection to iroh-gossip.
///
/// An attempt that was begun is never given up before its time: its peer may take it for made already, and would lose
/// it again. One that succeeds later is handed over, too; the newest connection is used, and no message is lost.
pub(crate) async fn reach(shared: &Arc<Shared>, peer: EndpointId, within: Duration) -> Result<(), String> {
    let deadline = Instant::now() + within;
    let (ended, mut results) = mpsc::channel(AT_ONCE);
    let mut step = FIRST_STEP;
    let mut reason = String::from("no answer");
    while Instant::now() < deadline {
        if let Some(attempt) = shared.dials.begin(peer, AT_ONCE) {
            let (shared, ended) = (shared.clone(), ended.clone());
            tokio::spawn(async move {
                let result = dial(&shared, peer).await;
                drop(attempt);
                ended.send(result).await.ok();
            });
        }
        match timeout_at(deadline.min(Instant::now() + step), results.recv()).await {
            Ok(Some(Ok(()))) => return Ok(()),
            Ok(Some(Err(error))) => {
                reason = error;
                sleep(PAUSE).await;
            }
            _ => step *= 2,
        }
    }
    Err(reason)
}

async fn dial(shared: &Shared, peer: EndpointId) -> Result<(), String> {
    let address = shared.address_of(peer);
    let dialling = shared.endpoint.connect(address, &shared.options.alpn);
    match timeout(ATTEMPT, dialling).await {
        Ok(Ok(connection)) => {
            let handed = shared.gossip.handle_connection(connection).await;
            handed.map_err(|error| format!("iroh-gossip takes no connection: {error}"))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".into()),
    }
}

/// Reach these peers side by side, and join a store through each that is reached; returns once the first one is.
pub(crate) async fn join_through(
    shared: &Arc<Shared>,
    store: &str,
    peers: &[EndpointId],
    within: Duration,
) -> Result<EndpointId, String> {
    let (ended, mut results) = mpsc::channel(peers.len().max(1));
    for peer in peers.iter().copied() {
        let (shared, store, ended) = (shared.clone(), store.to_string(), ended.clone());
        tokio::spawn(async move {
            let result = join_one(&shared, &store, peer, within).await;
            ended.send(result.map(|()| peer)).await.ok();
        });
    }
    drop(ended);
    let mut reason = String::from("it knows no peer that is no neighbour");
    while let Some(result) = results.recv().await {
        match result {
            Ok(peer) => return Ok(peer),
            Err(error) => reason = format!("none of {} peers could be reached: {error}", peers.len()),
        }
    }
    Err(reason)
}

async fn join_one(shared: &Arc<Shared>, store: &str, peer: EndpointId, within: Duration) -> Result<(), String> {
    reach(shared, peer, within).await?;
    shared.order(store, Order::Join(vec![peer])).await;
    // A neighbour that was reached over a new connection is proved to be there; iroh-gossip says so of new ones only.
    shared.renew_neighbor(store, peer, clock::now());
    Ok(())
}
