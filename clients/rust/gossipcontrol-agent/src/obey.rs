//! Carries out the service's commands: each attempt once, within its deadline.

use std::sync::Arc;
use std::time::Duration;

use iroh::EndpointId;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::commands::{error_text, Begin};
use crate::event::AgentEvent;
use crate::peers::parse_address;
use crate::reach::join_through;
use crate::shared::{lock, Order, Shared};
use crate::v1::{BootstrapPeer, Cause, RejoinCommand, RejoinResult, Rung, SyncResult, SyncWithPeer};

/// Time that peers have to be reached: an attempt must end within the 4 s after which the service takes it for lost.
const REACH: Duration = Duration::from_millis(3500);
/// Time that iroh has to take a change of the network in.
const REBIND: Duration = Duration::from_secs(1);
/// Time that iroh-gossip has to leave a topic; nothing says when it has.
const LEAVE: Duration = Duration::from_millis(50);
/// Time that one sync may take; the service probes across a partition every 2 s.
const SYNC: Duration = Duration::from_millis(1500);

/// A rejoin that cannot be carried out, ever.
struct Failure {
    error: String,
    permanent: bool,
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self {
            error,
            permanent: false,
        }
    }
}

/// Carry out a command in the background, or give the result of the one that was carried out already.
pub(crate) fn rejoin(shared: &Arc<Shared>, command: RejoinCommand) {
    let mut event = AgentEvent::new("command", described(&command));
    event.store_id = command.store_id.clone();
    event.rejoin_id = command.rejoin_id.clone();
    shared.emit_event(event);
    let began = lock(&shared.commands).begin(&command);
    match began {
        Begin::UnderWay => {}
        Begin::Done(result) => answer(shared, result),
        Begin::New => {
            lock(&shared.awaiting_proof).insert(command.store_id.clone());
            let shared = shared.clone();
            tokio::spawn(async move {
                let result = attempt(&shared, &command).await;
                lock(&shared.commands).end(&result);
                answer(&shared, result);
            });
        }
    }
}

fn answer(shared: &Shared, result: RejoinResult) {
    shared.queue().rejoins.push_back(result);
    shared.wanted.notify_one();
}

async fn attempt(shared: &Arc<Shared>, command: &RejoinCommand) -> RejoinResult {
    let deadline = Duration::from_millis(command.deadline_ms.into());
    let work = async {
        let _slot = shared.rejoins.acquire().await;
        carry_out(shared, command).await
    };
    let outcome = match timeout(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::from(format!("not done within {deadline:?}"))),
    };
    let mut result = RejoinResult {
        rejoin_id: command.rejoin_id.clone(),
        attempt: command.attempt,
        ok: outcome.is_ok(),
        ..Default::default()
    };
    if let Err(failure) = outcome {
        result.error = error_text(&failure.error);
        result.permanent = failure.permanent;
    }
    result
}

async fn carry_out(shared: &Arc<Shared>, command: &RejoinCommand) -> Result<(), Failure> {
    let store = &command.store_id;
    if shared.store(store).is_none() {
        return Err(Failure {
            error: format!("the node has no store {store}"),
            permanent: true,
        });
    }
    let hints = learn(shared, &command.bootstrap);
    shared.resume().await;
    match command.rung() {
        Rung::Rejoin => {}
        Rung::Rebind => {
            timeout(REBIND, shared.endpoint.network_change()).await.ok();
        }
        Rung::Resubscribe => {
            let (left, wait) = oneshot::channel();
            shared.order(store, Order::Leave(left)).await;
            wait.await.ok();
            sleep(LEAVE).await;
            shared.order(store, Order::Subscribe).await;
        }
        other => {
            return Err(Failure {
                error: format!("the node cannot carry out the rung {}", other.as_str_name()),
                permanent: true,
            });
        }
    }
    let causes: Vec<Cause> = command.causes().collect();
    let peers = shared.candidates(store).for_rejoin(&hints, &causes);
    if peers.is_empty() && shared.store(store).is_some_and(|one| *one.neighbors.borrow() > 0) {
        return Ok(());
    }
    join_through(shared, store, &peers, REACH).await?;
    Ok(())
}

/// Remember the hints; returns those whose id is a key of another node. A wrong one must not fail the rejoin.
fn learn(shared: &Shared, bootstrap: &[BootstrapPeer]) -> Vec<EndpointId> {
    let mut hints = Vec::new();
    for peer in bootstrap {
        let Ok(id) = peer.peer_id.parse::<EndpointId>() else {
            continue;
        };
        if id != shared.endpoint.id() {
            let addresses = peer.addresses.iter().filter_map(|one| parse_address(one));
            lock(&shared.peers).remember(id, addresses);
            hints.push(id);
        }
    }
    hints
}

fn described(command: &RejoinCommand) -> String {
    let causes: Vec<String> = command
        .causes()
        .map(|cause| word(cause.as_str_name(), "CAUSE_"))
        .collect();
    let rung = word(command.rung().as_str_name(), "RUNG_");
    format!("{rung} because of {}", causes.join(", "))
}

fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

/// Sync with a peer in the background; a sync that is under way already answers for both.
pub(crate) fn sync(shared: &Arc<Shared>, command: SyncWithPeer) {
    let key = (command.store_id.clone(), command.peer_id.clone());
    if !lock(&shared.syncing).insert(key.clone()) {
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        let outcome = sync_once(&shared, &command).await;
        lock(&shared.syncing).remove(&key);
        let result = SyncResult {
            store_id: command.store_id,
            peer_id: command.peer_id,
            ok: outcome.is_ok(),
            error: error_text(outcome.err().as_deref().unwrap_or("")),
            node_id: String::new(),
            nonce: command.nonce,
        };
        shared.queue().syncs.push_back((clock::now(), result));
        shared.wanted.notify_one();
    });
}

async fn sync_once(shared: &Shared, command: &SyncWithPeer) -> Result<(), String> {
    let sync = shared.options.sync.as_ref().ok_or("the node cannot sync")?;
    let peer: EndpointId = command.peer_id.parse().map_err(|_| "the peer's id is no key")?;
    let addresses = command.addresses.iter().filter_map(|one| parse_address(one));
    lock(&shared.peers).remember(peer, addresses);
    let address = shared.address_of(peer);
    let work = async {
        let _slot = shared.syncs.acquire().await;
        sync(command.store_id.clone(), address).await
    };
    timeout(SYNC, work)
        .await
        .unwrap_or_else(|_| Err(format!("not done within {SYNC:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_described_in_words() {
        let command = RejoinCommand {
            rung: Rung::Rejoin.into(),
            causes: vec![Cause::NetworkChange.into(), Cause::Isolated.into()],
            ..Default::default()
        };
        assert_eq!(described(&command), "rejoin because of network_change, isolated");
    }
}
