//! The agent: keeps a node attached to the service, reports what it hears, and carries out rejoins.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use iroh::{Endpoint, EndpointAddr, EndpointId};
use iroh_gossip::api::Message;
use iroh_gossip::net::Gossip;
use iroh_gossip::proto::TopicId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::attachment::attach;
use crate::backoff;
use crate::credentials::Credentials;
use crate::event::AgentEvent;
use crate::host::{self, Filter};
use crate::presence::PeerChange;
use crate::shared::{lock, Options, Shared};
use crate::store::{self, Store};
use crate::v1::PeerView;
use crate::Error;

/// Time after which a stream counts as having worked: one that ends sooner makes the next wait longer.
const STEADY: Duration = Duration::from_secs(10);
/// Time over which the agents of one server go to others.
const SPREAD: Duration = Duration::from_secs(2);
/// Time that the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// Most bytes that the service accepts.
const ID_BYTES: usize = 128;
const NAME_BYTES: usize = 64;

/// Makes an agent; see [`Agent::builder`].
pub struct Builder {
    endpoint: Endpoint,
    gossip: Gossip,
    address: Option<String>,
    is_bare: bool,
    follows_network: bool,
    filter: Filter,
    options: Options,
}

impl Builder {
    /// Where the service is: `unix:/path`, `host:port`, or `tls:host:port` (feature `tls`); several replicas with
    /// commas, of which the one that serves is found. By default `GOSSIPCONTROL_ADDRESS`, else the socket of a service
    /// on this machine, else `127.0.0.1:7420`.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Run without a service: the node still pauses while there is no network, and joins again by itself.
    pub fn without_service(mut self) -> Self {
        self.is_bare = true;
        self
    }

    /// What the agent shows over TLS; by default what the environment names.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.options.credentials = credentials;
        self
    }

    /// The host that the node runs on, as its watcher names it: a change of its network concerns the node.
    pub fn host_id(mut self, host_id: impl Into<String>) -> Self {
        self.options.host_id = host_id.into();
        self
    }

    /// What people call the node, such as kitchen-laptop: at most 64 bytes, shown beside its id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// The ALPN of an iroh-gossip that was built with another than the usual one.
    pub fn alpn(mut self, alpn: impl Into<Vec<u8>>) -> Self {
        self.options.alpn = alpn.into();
        self
    }

    /// Who wrote a message. iroh-gossip only tells who delivered it, which is the author for neighbours' own messages;
    /// an app whose messages name their author makes the service's view complete with this.
    pub fn author(mut self, author: impl Fn(&Message) -> Option<EndpointId> + Send + Sync + 'static) -> Self {
        self.options.author = Some(Arc::new(author));
        self
    }

    /// How the app brings a store in sync with a peer directly, not through the overlay. With it, the service has
    /// pairs sync that never become neighbours, and finds out whether the other side of a partition can be reached.
    pub fn sync<F>(mut self, sync: impl Fn(String, EndpointAddr) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.options.sync = Some(Arc::new(move |store, peer| Box::pin(sync(store, peer))));
        self
    }

    /// Called with what a person may want to see.
    pub fn on_event(mut self, on_event: impl Fn(AgentEvent) + Send + Sync + 'static) -> Self {
        self.options.on_event = Some(Arc::new(on_event));
        self
    }

    /// Called whenever the service sees a peer's presence change.
    pub fn on_peer(mut self, on_peer: impl Fn(PeerChange) + Send + Sync + 'static) -> Self {
        self.options.on_peer = Some(Arc::new(on_peer));
        self
    }

    /// Whether the agent looks at this host's interfaces itself (the default). An app that knows better, as on a phone,
    /// says `false`, and calls [`Agent::suspend`], [`Agent::resume`] and [`Agent::network_changed`].
    pub fn follow_network(mut self, follow: bool) -> Self {
        self.follows_network = follow;
        self
    }

    /// Interfaces that count although they are those of containers and tunnels, and further ones that do not; `*` in a
    /// pattern stands for anything.
    pub fn interfaces(mut self, include: Vec<String>, ignore: Vec<String>) -> Self {
        self.filter = Filter { include, ignore };
        self
    }

    /// Start the agent. It needs a Tokio runtime, and goes on until its last clone is dropped or [`Agent::leave`] is
    /// called. Whatever the service does or does not answer, it survives, and tries again.
    pub fn start(mut self) -> Result<Agent, Error> {
        self.options.addresses = match (self.is_bare, &self.address) {
            (true, _) => Vec::new(),
            (false, Some(addresses)) => Address::parse_all(addresses).map_err(Error)?,
            (false, None) => Address::default().map_err(Error)?,
        };
        check("host_id", &self.options.host_id, 0, ID_BYTES)?;
        check("name", &self.options.name, 0, NAME_BYTES)?;
        let shared = Arc::new(Shared::new(self.endpoint, self.gossip, self.options));
        let mut tasks = JoinSet::new();
        tasks.spawn(run(shared.clone()));
        if self.follows_network {
            tasks.spawn(host::follow(shared.clone(), self.filter));
        }
        let tasks = Arc::new(Mutex::new(tasks));
        Ok(Agent { shared, tasks })
    }
}

/// Speaks for one node. Clones share it.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Agent {
    /// An agent for the node of this endpoint and this iroh-gossip, which accepts connections already, as a `Router`
    /// has it do.
    pub fn builder(endpoint: &Endpoint, gossip: &Gossip) -> Builder {
        Builder {
            endpoint: endpoint.clone(),
            gossip: gossip.clone(),
            address: None,
            is_bare: false,
            follows_network: true,
            filter: Filter::default(),
            options: Options {
                addresses: Vec::new(),
                credentials: Credentials::from_environment(),
                alpn: iroh_gossip::ALPN.to_vec(),
                host_id: String::new(),
                name: String::new(),
                author: None,
                sync: None,
                on_event: None,
                on_peer: None,
            },
        }
    }

    /// Take part in a store: subscribe to its topic, and join through these peers. Returns at once; neighbours and
    /// messages come as events of the store.
    ///
    /// Use this instead of `Gossip::subscribe`: iroh-gossip's own dials make it deaf to a peer when they fail.
    pub async fn join(&self, store: &str, topic: TopicId, peers: Vec<EndpointAddr>) -> Result<Store, Error> {
        check("store", store, 1, ID_BYTES)?;
        let ids = peers.iter().map(|peer| peer.id).collect();
        for peer in peers {
            self.shared.know(peer);
        }
        let (store, run) = store::begin(&self.shared, store, topic, ids).await?;
        lock(&self.tasks).spawn(run);
        Ok(store)
    }

    /// Remember where a peer can be dialled.
    pub fn know(&self, peer: EndpointAddr) {
        self.shared.know(peer);
    }

    /// So many local writes are not yet known to be held by another node: the strongest suspicion there is.
    pub fn unsynced_writes(&self, store: &str, count: u64) {
        if self.shared.store(store).is_some() {
            lock(&self.shared.reports).unsynced(store, count);
        }
    }

    /// The node's silence is no failure from now on, as when the host is about to sleep. The service learns it, and
    /// nothing else is reported until [`Agent::resume`] or a rejoin.
    pub fn pause(&self) {
        self.shared.pause();
    }

    /// No peer can be reached: leave every topic, so that no dial fails, and pause.
    pub async fn suspend(&self) {
        self.shared.suspend().await;
    }

    /// Peers may be reached again, as when the app comes to the foreground: join every topic, dial the neighbours anew,
    /// for they may have given the node up meanwhile, and report.
    pub async fn resume(&self) {
        self.shared.network_is_back(true).await;
    }

    /// The network changed: connect to the service at once if there is no stream, else see whether the stream still
    /// works; join the stores in which there is no neighbour.
    pub async fn network_changed(&self) {
        self.shared.network_is_back(false).await;
    }

    /// Whether the service has the node registered.
    pub fn attached(&self) -> watch::Receiver<bool> {
        self.shared.attached.subscribe()
    }

    /// The peers of a store, as the service last saw them.
    pub fn peers(&self, store: &str) -> Vec<PeerView> {
        lock(&self.shared.presence).peers(store)
    }

    /// Where other hosts may dial the node now, as the agent announces it.
    pub fn addresses(&self) -> Vec<String> {
        self.shared.addresses()
    }

    /// Say goodbye to the service, for two seconds at most, and stop. The endpoint and iroh-gossip go on.
    pub async fn leave(&self) {
        let mut attached = self.shared.attached.subscribe();
        self.shared.leave();
        let gone = attached.wait_for(|is_attached| !is_attached);
        timeout(GOODBYE, gone).await.ok();
        lock(&self.tasks).abort_all();
    }
}

/// Stay attached until the agent leaves.
async fn run(shared: Arc<Shared>) {
    let mut failures = 0;
    let mut last = String::new();
    let mut network = shared.network.subscribe();
    let mut servers = Servers::new(shared.options.addresses.len());
    while !shared.is_leaving() {
        network.mark_unchanged();
        let began = Instant::now();
        let address = shared.options.addresses.get(servers.current);
        let reason = attach(&shared, address).await.err().unwrap_or_else(|| "left".into());
        // Two agents of one node end each other's streams: without growing waits they would do so without end.
        let was_attached = shared.attached.send_replace(false);
        failures = if was_attached && began.elapsed() >= STEADY {
            0
        } else {
            failures + 1
        };
        let next = servers.leave(was_attached);
        if was_attached {
            last.clear();
            shared.emit("detached", &reason);
        } else if reason != last && next == Next::Again {
            shared.emit("unattached", &reason);
            last = reason;
        }
        let pause = match next {
            Next::Again => backoff::wait(failures),
            Next::Spread => SPREAD.mul_f64(rand::random()),
            Next::Other => Duration::ZERO,
        };
        if !shared.is_leaving() {
            tokio::select! {
                () = sleep(pause) => {}
                _ = network.changed() => {}
            }
        }
    }
}

/// Which of several replicas is asked: the one that served once more, then the others in turn.
#[derive(Debug)]
struct Servers {
    count: usize,
    current: usize,
    /// How many were asked in vain since the agent was attached, or waited.
    asked: usize,
    /// Whether the current one served.
    served: bool,
}

/// How an agent goes on to the next server.
#[derive(Debug, PartialEq)]
enum Next {
    /// After a growing wait, for every server was asked, or the one that served is asked again.
    Again,
    /// The agents of one server go to others over some time, and not all at once.
    Spread,
    /// At once: there are servers that were not asked yet.
    Other,
}

impl Servers {
    fn new(count: usize) -> Self {
        Self {
            count,
            current: 0,
            asked: 0,
            served: false,
        }
    }

    /// The stream to the current one ended, or there was none.
    fn leave(&mut self, was_attached: bool) -> Next {
        if was_attached || self.count < 2 {
            self.asked = 0;
            self.served = was_attached;
            return Next::Again;
        }
        let served = std::mem::replace(&mut self.served, false);
        self.current = (self.current + 1) % self.count;
        self.asked += 1;
        if self.asked == self.count {
            self.asked = 0;
            Next::Again
        } else if served {
            Next::Spread
        } else {
            Next::Other
        }
    }
}

fn check(what: &str, value: &str, least: usize, most: usize) -> Result<(), Error> {
    if (least..=most).contains(&value.len()) {
        return Ok(());
    }
    let bytes = value.len();
    Err(Error(format!("{what} must have {least} to {most} bytes, has {bytes}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_that_served_is_asked_once_more_and_then_each_other() {
        let mut servers = Servers::new(3);
        assert_eq!((servers.leave(true), servers.current), (Next::Again, 0));
        assert_eq!((servers.leave(false), servers.current), (Next::Spread, 1));
        assert_eq!((servers.leave(false), servers.current), (Next::Other, 2));
        assert_eq!((servers.leave(false), servers.current), (Next::Again, 0));
        assert_eq!((servers.leave(false), servers.current), (Next::Other, 1));
        let mut alone = Servers::new(1);
        assert_eq!((alone.leave(false), alone.current), (Next::Again, 0));
    }

    #[test]
    fn ids_have_a_bounded_length() {
        assert!(check("store", "notes", 1, ID_BYTES).is_ok());
        let error = check("store", "", 1, ID_BYTES).unwrap_err();
        assert_eq!(error.to_string(), "store must have 1 to 128 bytes, has 0");
        assert!(check("name", &"x".repeat(65), 0, NAME_BYTES).is_err());
    }
}
