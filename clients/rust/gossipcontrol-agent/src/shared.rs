//! What the parts of an agent share, from one stream to the next.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use iroh::{Endpoint, EndpointAddr, EndpointId};
use iroh_gossip::api::Message;
use iroh_gossip::net::Gossip;
use n0_future::boxed::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch, Notify, Semaphore};

use crate::address::Address;
use crate::candidates::Candidates;
use crate::clock;
use crate::commands::Commands;
use crate::credentials::Credentials;
use crate::dialable::Dialable;
use crate::event::AgentEvent;
use crate::host;
use crate::owner::Owner;
use crate::peers::PeerBook;
use crate::presence::{PeerChange, Presence};
use crate::reach::join_through;
use crate::reports::Reports;
use crate::v1::{Capability, LivenessReport, NeighborEvent, Register, RejoinResult, SyncResult};

/// Most neighbour events that wait; the oldest are dropped first, and the next report makes up for them.
const EVENTS: usize = 1000;
/// Most rejoins carried out side by side.
const REJOINS: usize = 64;
/// Most syncs carried out side by side.
const SYNCS: usize = 8;
/// Time for which a store without neighbours is joined again once the network is back.
const RECONNECT: Duration = Duration::from_secs(6);

pub(crate) type AuthorOf = Arc<dyn Fn(&Message) -> Option<EndpointId> + Send + Sync>;
pub(crate) type SyncWith = Arc<dyn Fn(String, EndpointAddr) -> BoxFuture<Result<(), String>> + Send + Sync>;
pub(crate) type OnEvent = Arc<dyn Fn(AgentEvent) + Send + Sync>;
pub(crate) type OnPeer = Arc<dyn Fn(PeerChange) + Send + Sync>;

/// What the app chose.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) addresses: Vec<Address>,
    pub(crate) credentials: Credentials,
    pub(crate) alpn: Vec<u8>,
    pub(crate) host_id: String,
    pub(crate) name: String,
    pub(crate) author: Option<AuthorOf>,
    pub(crate) sync: Option<SyncWith>,
    pub(crate) on_event: Option<OnEvent>,
    pub(crate) on_peer: Option<OnPeer>,
}

/// Whom a broadcast is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliverTo {
    All,
    Neighbors,
}

/// What a store's task is to do.
pub(crate) enum Order {
    /// Broadcast a message to all, or to the neighbours only.
    Broadcast(Bytes, DeliverTo),
    /// Join through peers that are connected.
    Join(Vec<EndpointId>),
    /// Leave the topic, then answer.
    Leave(oneshot::Sender<()>),
    /// Subscribe to the topic again, if it was left.
    Subscribe,
}

/// A store, as the other parts see it.
#[derive(Clone)]
pub(crate) struct StoreHandle {
    pub(crate) orders: mpsc::Sender<Order>,
    /// Number of its neighbours.
    pub(crate) neighbors: watch::Receiver<usize>,
}

/// What waits to be sent to the service, whichever stream will send it.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) neighbors: VecDeque<(String, String, bool, Duration)>,
    /// Stores whose report must not wait for its interval.
    pub(crate) due: BTreeSet<String>,
    pub(crate) registration: bool,
    pub(crate) rejoins: VecDeque<RejoinResult>,
    pub(crate) syncs: VecDeque<(Duration, SyncResult)>,
}

/// Dials under way, by peer.
#[derive(Default)]
pub(crate) struct Dials(Arc<Mutex<HashMap<EndpointId, usize>>>);

/// A dial under way; dropped, it is over.
pub(crate) struct Dial(Arc<Mutex<HashMap<EndpointId, usize>>>, EndpointId);

impl Dials {
    /// Begin a dial unless so many are under way.
    pub(crate) fn begin(&self, peer: EndpointId, most: usize) -> Option<Dial> {
        let mut dials = lock(&self.0);
        let count = dials.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Dial(self.0.clone(), peer))
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        let mut dials = lock(&self.0);
        if let Some(count) = dials.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                dials.remove(&self.1);
            }
        }
    }
}

/// The parts of an agent that outlive its streams.
pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) gossip: Gossip,
    pub(crate) node_id: String,
    pub(crate) options: Options,
    pub(crate) incarnation: String,
    pub(crate) reports: Mutex<Reports>,
    pub(crate) presence: Mutex<Presence>,
    pub(crate) peers: Mutex<PeerBook>,
    pub(crate) commands: Mutex<Commands>,
    pub(crate) owner: Mutex<Owner>,
    pub(crate) syncing: Mutex<HashSet<(String, String)>>,
    /// Stores in which a rejoin began, and no message was received since.
    pub(crate) awaiting_proof: Mutex<HashSet<String>>,
    pub(crate) queue: Mutex<Queue>,
    /// Something was added to the queue.
    pub(crate) wanted: Notify,
    /// Counts the changes of the network.
    pub(crate) network: watch::Sender<u64>,
    pub(crate) attached: watch::Sender<bool>,
    /// Streams in a row that a connected service did not answer.
    pub(crate) ignored: AtomicU32,
    pub(crate) dials: Dials,
    pub(crate) rejoins: Semaphore,
    pub(crate) syncs: Semaphore,
    stores: Mutex<BTreeMap<String, StoreHandle>>,
    dialable: Mutex<Dialable>,
    registered: Mutex<Option<Vec<String>>>,
    paused: AtomicBool,
    suspended: AtomicBool,
    leaving: AtomicBool,
}

impl Shared {
    pub(crate) fn new(endpoint: Endpoint, gossip: Gossip, options: Options) -> Self {
        Self {
            node_id: endpoint.id().to_string(),
            endpoint,
            gossip,
            options,
            incarnation: uuid::Uuid::new_v4().simple().to_string(),
            reports: Mutex::default(),
            presence: Mutex::default(),
            peers: Mutex::default(),
            commands: Mutex::default(),
            owner: Mutex::default(),
            syncing: Mutex::default(),
            awaiting_proof: Mutex::default(),
            queue: Mutex::default(),
            wanted: Notify::new(),
            network: watch::Sender::new(0),
            ignored: AtomicU32::new(0),
            attached: watch::Sender::new(false),
            dials: Dials::default(),
            rejoins: Semaphore::new(REJOINS),
            syncs: Semaphore::new(SYNCS),
            stores: Mutex::default(),
            dialable: Mutex::default(),
            registered: Mutex::default(),
            paused: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        }
    }

    // What the app sees.

    /// Give an event to the app; what its code does with it ends here.
    pub(crate) fn emit_event(&self, event: AgentEvent) {
        tracing::debug!(target: "gossipcontrol", what = event.what, detail = event.detail, "agent");
        if let Some(on_event) = &self.options.on_event {
            catch_unwind(AssertUnwindSafe(|| on_event(event))).ok();
        }
    }

    pub(crate) fn emit(&self, what: &'static str, detail: &str) {
        self.emit_event(AgentEvent::new(what, detail));
    }

    pub(crate) fn emit_in(&self, what: &'static str, store: &str, detail: &str) {
        let mut event = AgentEvent::new(what, detail);
        event.store_id = store.into();
        self.emit_event(event);
    }

    pub(crate) fn emit_change(&self, change: PeerChange) {
        if let Some(on_peer) = &self.options.on_peer {
            catch_unwind(AssertUnwindSafe(|| on_peer(change))).ok();
        }
    }

    // Peers.

    pub(crate) fn address_of(&self, peer: EndpointId) -> EndpointAddr {
        lock(&self.peers).address(peer)
    }

    /// Remember where a peer can be dialled.
    pub(crate) fn know(&self, peer: EndpointAddr) {
        if peer.id != self.endpoint.id() {
            lock(&self.peers).remember(peer.id, peer.addrs);
        }
    }

    /// Whom the node knows in a store.
    pub(crate) fn candidates(&self, store: &str) -> Candidates {
        let ids = |named: Vec<String>| named.iter().filter_map(|one| one.parse().ok()).collect();
        let reports = lock(&self.reports);
        let (neighbors, lost) = (ids(reports.neighbors(store)), ids(reports.lost(store)));
        drop(reports);
        let known = lock(&self.peers).newest();
        Candidates { neighbors, lost, known }
    }

    // Stores.

    pub(crate) fn store_ids(&self) -> Vec<String> {
        lock(&self.stores).keys().cloned().collect()
    }

    pub(crate) fn store(&self, store: &str) -> Option<StoreHandle> {
        lock(&self.stores).get(store).cloned()
    }

    /// Add a store; returns whether there was none of this id.
    pub(crate) fn add_store(&self, store: &str, handle: StoreHandle) -> bool {
        let mut stores = lock(&self.stores);
        if stores.contains_key(store) {
            return false;
        }
        stores.insert(store.into(), handle);
        drop(stores);
        self.register_again();
        true
    }

    pub(crate) fn remove_store(&self, store: &str) {
        lock(&self.stores).remove(store);
        self.register_again();
    }

    pub(crate) async fn order(&self, store: &str, order: Order) {
        if let Some(handle) = self.store(store) {
            handle.orders.send(order).await.ok();
        }
    }

    // What is sent to the service.

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    pub(crate) fn register_again(&self) {
        self.queue().registration = true;
        self.wanted.notify_one();
    }

    pub(crate) fn report_now(&self, stores: impl IntoIterator<Item = String>) {
        self.queue().due.extend(stores);
        self.wanted.notify_one();
    }

    /// A neighbour came up; returns whether it counts.
    pub(crate) fn neighbor_up(&self, store: &str, peer: EndpointId, now: Duration) {
        if lock(&self.reports).up(store, &peer.to_string(), now) {
            self.queue_neighbor(store, peer, true, now);
        }
    }

    pub(crate) fn neighbor_down(&self, store: &str, peer: EndpointId) {
        if lock(&self.reports).down(store, &peer.to_string()) {
            self.queue_neighbor(store, peer, false, clock::now());
        }
    }

    /// A neighbour was reached over a new connection.
    pub(crate) fn renew_neighbor(&self, store: &str, peer: EndpointId, now: Duration) {
        let is_neighbor = lock(&self.reports).neighbors(store).contains(&peer.to_string());
        if is_neighbor {
            self.neighbor_up(store, peer, now);
        }
    }

    fn queue_neighbor(&self, store: &str, peer: EndpointId, up: bool, at: Duration) {
        let mut queue = self.queue();
        queue.neighbors.push_back((store.into(), peer.to_string(), up, at));
        if queue.neighbors.len() > EVENTS {
            queue.neighbors.pop_front();
        }
        drop(queue);
        self.wanted.notify_one();
    }

    pub(crate) fn next_neighbor_event(&self) -> Option<NeighborEvent> {
        let (store_id, peer_id, up, at) = self.queue().neighbors.pop_front()?;
        Some(NeighborEvent {
            store_id,
            peer_id,
            up,
            age_ms: clock::age_ms(at, clock::now()),
        })
    }

    /// A message of this author was received.
    pub(crate) fn heard(&self, store: &str, author: &str, direct: bool) {
        lock(&self.reports).heard(store, author, direct, clock::now());
        if lock(&self.awaiting_proof).remove(store) {
            self.report_now([store.to_string()]);
        }
    }

    pub(crate) fn report(&self, store: &str) -> LivenessReport {
        let mut report = lock(&self.reports).report(store, clock::now());
        report.known_version = lock(&self.presence).version(store);
        report.going_to_sleep = self.is_paused();
        report
    }

    /// The frame that registers the node; its addresses count as registered from here on.
    pub(crate) fn registration(&self) -> Register {
        let addresses = self.addresses();
        let before = lock(&self.registered).replace(addresses.clone());
        if before.is_some_and(|before| before != addresses) {
            let shown = addresses.join(", ");
            self.emit(
                "addresses",
                if shown.is_empty() {
                    "none that peers can dial"
                } else {
                    &shown
                },
            );
        }
        let mut capabilities = vec![Capability::Rebind.into(), Capability::Resubscribe.into()];
        if self.options.sync.is_some() {
            capabilities.push(Capability::SyncWithPeer.into());
        }
        Register {
            node_id: self.node_id.clone(),
            store_ids: self.store_ids(),
            host_id: self.options.host_id.clone(),
            capabilities,
            addresses,
            incarnation: self.incarnation.clone(),
            agent: concat!("gossipcontrol-agent-rust/", env!("CARGO_PKG_VERSION")).into(),
            name: self.options.name.clone(),
        }
    }

    /// Register again if the node can be dialled elsewhere now.
    pub(crate) fn look_at_addresses(&self) {
        let now = self.addresses();
        if lock(&self.registered).as_ref().is_some_and(|before| *before != now) {
            self.register_again();
        }
    }

    /// Where other hosts may dial the node now.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut network = host::Network::default();
        network.look(&host::interfaces());
        let host: BTreeSet<IpAddr> = network.now.into_iter().map(|one| one.address).collect();
        let said = self.endpoint.addr();
        let sockets = said.ip_addrs().copied();
        let mut all = lock(&self.dialable).of(&host, &self.endpoint.bound_sockets(), sockets);
        all.extend(said.relay_urls().take(1).map(ToString::to_string));
        all.truncate(16);
        all
    }

    // Its state.

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::SeqCst)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.wanted.notify_one();
        self.network.send_modify(|count| *count += 1);
    }

    /// The node's silence is no failure from now on.
    pub(crate) fn pause(&self) {
        if !self.paused.swap(true, Ordering::SeqCst) {
            self.report_now(self.store_ids());
        }
    }

    /// The node speaks again.
    pub(crate) fn unpause(&self) {
        if self.paused.swap(false, Ordering::SeqCst) {
            self.report_now(self.store_ids());
        }
    }

    /// Leave every topic while no peer can be reached, so that no dial fails.
    pub(crate) async fn suspend(&self) {
        if self.suspended.swap(true, Ordering::SeqCst) {
            return;
        }
        for store in self.store_ids() {
            let (left, wait) = oneshot::channel();
            self.order(&store, Order::Leave(left)).await;
            wait.await.ok();
        }
        self.pause();
    }

    /// Subscribe to every topic again after `suspend`.
    pub(crate) async fn resume(&self) {
        self.unpause();
        if self.suspended.swap(false, Ordering::SeqCst) {
            for store in self.store_ids() {
                self.order(&store, Order::Subscribe).await;
            }
        }
    }

    /// The way to the peers and to the service has changed: take it at once. Neighbours are left alone unless `anew`: a
    /// node that slept is one of theirs no longer.
    pub(crate) async fn network_is_back(self: &Arc<Self>, anew: bool) {
        self.resume().await;
        self.network.send_modify(|count| *count += 1);
        self.register_again();
        for store in self.store_ids() {
            let candidates = self.candidates(&store);
            if !(anew || candidates.neighbors.is_empty()) {
                continue;
            }
            let peers = candidates.after_absence();
            let shared = self.clone();
            tokio::spawn(async move { join_through(&shared, &store, &peers, RECONNECT).await.ok() });
        }
    }
}

/// Lock, also after a panic of another holder: what it guards is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_dials_of_one_peer_are_under_way() {
        let dials = Dials::default();
        let (one, other) = (
            iroh::SecretKey::from_bytes(&[1; 32]).public(),
            iroh::SecretKey::from_bytes(&[2; 32]).public(),
        );
        let first = dials.begin(one, 2);
        let second = dials.begin(one, 2);
        assert!(first.is_some() && second.is_some() && dials.begin(one, 2).is_none());
        assert!(dials.begin(other, 2).is_some());
        drop(first);
        assert!(dials.begin(one, 2).is_some());
    }
}
