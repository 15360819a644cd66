//! One store's topic: its subscription, which is taken up again whatever ends it, its neighbours, what is heard in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iroh::EndpointId;
use iroh_gossip::api::{Event, GossipReceiver, GossipSender, GossipTopic};
use iroh_gossip::proto::TopicId;
use n0_future::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until, Instant};

use crate::backoff;
use crate::clock;
use crate::reach::join_through;
use crate::shared::{lock, DeliverTo, Order, Shared, StoreHandle};
use crate::Error;

/// Most events that wait for the app; further ones are dropped, and the app is told that it lagged.
const EVENTS: usize = 2048;
/// Most orders that wait.
const ORDERS: usize = 64;
/// Time that iroh-gossip has to name the neighbours of a subscription that replaces another.
const SETTLE: Duration = Duration::from_secs(1);
/// Time before another try to subscribe.
const SUBSCRIBE_AGAIN: Duration = Duration::from_secs(1);
/// Time that the first try has to reach the peers that were named at the start.
const FIRST_JOIN: Duration = Duration::from_secs(5);
/// Time that a lone node's try to reach a peer has.
const LONE_JOIN: Duration = Duration::from_secs(2);
/// Time after which a peer that was reached should be a neighbour.
const UP: Duration = Duration::from_millis(500);

/// A store that the node takes part in. Dropped, the node leaves it.
#[derive(Debug)]
pub struct Store {
    id: String,
    events: mpsc::Receiver<Event>,
    sender: StoreSender,
}

/// Broadcasts in a store. Clones share it; they do not keep the store alive.
#[derive(Clone, Debug)]
pub struct StoreSender {
    orders: mpsc::Sender<Order>,
}

impl StoreSender {
    /// Broadcast a message to all nodes of the store. Dropped while the node is suspended because it has no network.
    pub async fn broadcast(&self, message: impl Into<Bytes>) -> Result<(), Error> {
        self.send(message.into(), DeliverTo::All).await
    }

    /// Broadcast a message to the node's neighbours only.
    pub async fn broadcast_neighbors(&self, message: impl Into<Bytes>) -> Result<(), Error> {
        self.send(message.into(), DeliverTo::Neighbors).await
    }

    async fn send(&self, message: Bytes, to: DeliverTo) -> Result<(), Error> {
        let sent = self.orders.send(Order::Broadcast(message, to)).await;
        sent.map_err(|_| Error("the store was left".into()))
    }
}

impl Store {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The next event; `None` once the agent has left. An app that reads too slowly gets `Event::Lagged`, and no gap
    /// closes its subscription.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// What broadcasts in the store, for use beside `next`.
    pub fn sender(&self) -> StoreSender {
        self.sender.clone()
    }

    /// Broadcast a message to all nodes of the store.
    pub async fn broadcast(&self, message: impl Into<Bytes>) -> Result<(), Error> {
        self.sender.broadcast(message).await
    }
}

/// Begin a store: subscribe, and join through these peers.
pub(crate) async fn begin(
    shared: &Arc<Shared>,
    id: &str,
    topic: TopicId,
    peers: Vec<EndpointId>,
) -> Result<(Store, impl std::future::Future<Output = ()> + Send + 'static), Error> {
    let (orders, receiver) = mpsc::channel(ORDERS);
    let (to_app, events) = mpsc::channel(EVENTS);
    let (count, neighbors) = watch::channel(0);
    let handle = StoreHandle {
        orders: orders.clone(),
        neighbors: neighbors.clone(),
    };
    if !shared.add_store(id, handle) {
        return Err(Error(format!("the node has a store {id:?} already")));
    }
    let mut task = Task {
        shared: shared.clone(),
        id: id.into(),
        topic,
        orders: receiver,
        to_app,
        live: None,
        neighbors: HashMap::new(),
        before: HashMap::new(),
        settled: Instant::now(),
        has_lagged: false,
        count,
    };
    if !shared.is_suspended() {
        if let Err(error) = task.subscribe().await {
            shared.remove_store(id);
            return Err(error);
        }
    }
    let (shared, store_id) = (shared.clone(), id.to_string());
    let run = async move {
        tokio::select! {
            () = task.run() => {}
            () = stay_joined(shared.clone(), store_id.clone(), peers, neighbors) => {}
        }
        shared.remove_store(&store_id);
    };
    let store = Store {
        id: id.into(),
        events,
        sender: StoreSender { orders },
    };
    Ok((store, run))
}

/// Join through the first peers; later, whenever there is no neighbour left, try one peer after another.
///
/// The service orders rejoins as well. This one works without it, and costs a lone node one dial each few seconds.
async fn stay_joined(
    shared: Arc<Shared>,
    store: String,
    first: Vec<EndpointId>,
    mut neighbors: watch::Receiver<usize>,
) {
    if !first.is_empty() && !shared.is_suspended() {
        join_through(&shared, &store, &first, FIRST_JOIN).await.ok();
    }
    let mut failures = 0;
    loop {
        if neighbors.wait_for(|count| *count == 0).await.is_err() {
            return std::future::pending().await;
        }
        sleep(backoff::wait(failures) + UP).await;
        if *neighbors.borrow() > 0 {
            failures = 0;
            continue;
        }
        failures += 1;
        let strangers: Vec<EndpointId> = shared.candidates(&store).strangers().take(64).collect();
        if shared.is_suspended() || strangers.is_empty() {
            continue;
        }
        let chosen = strangers[rand::random_range(0..strangers.len())];
        join_through(&shared, &store, &[chosen], LONE_JOIN).await.ok();
    }
}

struct Task {
    shared: Arc<Shared>,
    id: String,
    topic: TopicId,
    orders: mpsc::Receiver<Order>,
    to_app: mpsc::Sender<Event>,
    live: Option<(GossipSender, GossipReceiver)>,
    /// Since when each neighbour is one.
    neighbors: HashMap<EndpointId, Duration>,
    /// Neighbours before a subscription that replaces another, until they are named again or `settled` has come.
    before: HashMap<EndpointId, Duration>,
    settled: Instant,
    /// Whether the app lost an event, and has not been told.
    has_lagged: bool,
    count: watch::Sender<usize>,
}

impl Task {
    async fn run(&mut self) {
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                event = next(&mut self.live) => self.take(event).await,
                () = sleep_until(self.settled), if !self.before.is_empty() => self.settle(),
                () = self.to_app.closed() => return,
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Broadcast(message, to) => {
                if let Some((sender, _)) = &self.live {
                    let sent = match to {
                        DeliverTo::All => sender.broadcast(message).await,
                        DeliverTo::Neighbors => sender.broadcast_neighbors(message).await,
                    };
                    if sent.is_ok() {
                        lock(&self.shared.reports).sent(&self.id);
                    }
                }
            }
            Order::Join(peers) => {
                if let Some((sender, _)) = &self.live {
                    sender.join_peers(peers).await.ok();
                }
            }
            Order::Leave(left) => {
                self.live = None;
                self.before.clear();
                for peer in std::mem::take(&mut self.neighbors).into_keys() {
                    self.gone(peer);
                }
                left.send(()).ok();
            }
            Order::Subscribe => {
                if self.live.is_none() {
                    self.subscribe_again().await;
                }
            }
        }
    }

    async fn take(&mut self, event: Option<Event>) {
        match event {
            Some(Event::NeighborUp(peer)) => self.up(peer),
            Some(Event::NeighborDown(peer)) => {
                self.before.remove(&peer);
                if self.neighbors.remove(&peer).is_some() {
                    self.gone(peer);
                }
            }
            Some(Event::Received(message)) => {
                let author = match &self.shared.options.author {
                    Some(author) => author(&message),
                    None => message.scope.is_direct().then_some(message.delivered_from),
                };
                if let Some(author) = author {
                    let is_direct = author == message.delivered_from;
                    self.shared.heard(&self.id, &author.to_string(), is_direct);
                }
                self.tell(Event::Received(message));
            }
            Some(Event::Lagged) => {
                self.tell(Event::Lagged);
                self.replace("the subscription lagged").await;
            }
            None => self.replace("the subscription was closed").await,
        }
    }

    fn up(&mut self, peer: EndpointId) {
        let renewed = self.before.remove(&peer);
        let is_new = self
            .neighbors
            .insert(peer, renewed.unwrap_or_else(clock::now))
            .is_none();
        if renewed.is_some() || !is_new {
            return; // it was one all the time
        }
        lock(&self.shared.peers).remember(peer, []);
        self.shared.neighbor_up(&self.id, peer, clock::now());
        self.count.send_replace(self.neighbors.len());
        self.tell(Event::NeighborUp(peer));
    }

    fn gone(&mut self, peer: EndpointId) {
        self.shared.neighbor_down(&self.id, peer);
        self.count.send_replace(self.neighbors.len());
        self.tell(Event::NeighborDown(peer));
    }

    /// Subscribe beside the present subscription, then drop that: the topic is not left meanwhile.
    async fn replace(&mut self, reason: &str) {
        self.shared
            .emit_in("error", &self.id, &format!("{reason}; it is taken up again"));
        let replaced = self.live.take();
        self.before.extend(self.neighbors.drain());
        self.settled = Instant::now() + SETTLE;
        self.subscribe_again().await;
        drop(replaced);
    }

    async fn subscribe_again(&mut self) {
        while self.subscribe().await.is_err() && !self.to_app.is_closed() {
            sleep(SUBSCRIBE_AGAIN).await;
        }
    }

    /// Without peers: a dial of iroh-gossip's own that fails makes it deaf to that peer.
    async fn subscribe(&mut self) -> Result<(), Error> {
        let subscribed = self.shared.gossip.subscribe(self.topic, Vec::new()).await;
        let topic: GossipTopic = subscribed.map_err(|error| Error(format!("cannot subscribe: {error}")))?;
        self.live = Some(topic.split());
        Ok(())
    }

    /// The neighbours from before that were not named again went down.
    fn settle(&mut self) {
        for peer in std::mem::take(&mut self.before).into_keys() {
            self.gone(peer);
        }
    }

    fn tell(&mut self, event: Event) {
        if self.has_lagged {
            match self.to_app.try_send(Event::Lagged) {
                Ok(()) => self.has_lagged = false,
                Err(_) => return,
            }
        }
        self.has_lagged = self.to_app.try_send(event).is_err();
    }
}

/// The next event of a subscription; `None` when it ended. Where there is none, this waits for ever.
async fn next(live: &mut Option<(GossipSender, GossipReceiver)>) -> Option<Event> {
    match live {
        Some((_, receiver)) => receiver.next().await.and_then(Result::ok),
        None => std::future::pending().await,
    }
}
