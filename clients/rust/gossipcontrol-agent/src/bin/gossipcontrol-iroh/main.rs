//! `gossipcontrol-iroh`: a real iroh-gossip node with its agent, the reference node in Rust.

mod heartbeat;
mod key;
mod lines;
mod sync;
mod topic;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use gossipcontrol_agent::{v1::PeerState, Agent, AgentEvent, PeerChange};
use heartbeat::Heartbeat;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey};
use iroh_gossip::net::Gossip;
use lines::Lines;
use serde_json::json;
use sync::Stores;
use topic::{Node, Topic};

/// Most bytes of one message.
const LARGEST: usize = 65536;

/// Run one real iroh-gossip node beside the service until SIGTERM or SIGINT.
#[derive(Parser, Debug)]
#[command(name = "gossipcontrol-iroh", version)]
struct Options {
    /// Store to replicate; may be given several times.
    #[arg(long = "store", required = true)]
    stores: Vec<String>,
    /// A peer to join through; repeatable.
    #[arg(long = "peer", value_name = "NODEID[@IP:PORT]", value_parser = peer)]
    peers: Vec<EndpointAddr>,
    /// The service: unix:/path, host:port or tls:host:port; several with commas: the one that serves is found.
    #[arg(long)]
    address: Option<String>,
    /// Keeps the node's id over restarts.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// Host the node runs on, as its watcher names it.
    #[arg(long, default_value = "")]
    host_id: String,
    /// What people call the node, such as kitchen-laptop; shown beside its id.
    #[arg(long, default_value = "")]
    name: String,
    /// Seconds between two broadcasts.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    heartbeat: f64,
    /// Bytes to pad each broadcast to, as large as an app's messages are.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=LARGEST as i64))]
    size: u32,
    /// Attach to the service (the default).
    #[arg(long, overrides_with = "no_control")]
    control: bool,
    /// Run the bare node, without an agent.
    #[arg(long, overrides_with = "control")]
    no_control: bool,
    /// Follow this host's network (the default).
    #[arg(long, overrides_with = "no_watch")]
    watch: bool,
    /// Do not follow this host's network.
    #[arg(long, overrides_with = "watch")]
    no_watch: bool,
    /// Also have iroh-gossip itself join the known peers whenever there is no neighbour, as many apps do. The bare node
    /// always does.
    #[arg(long, hide = true)]
    own_joins: bool,
    /// Interfaces to watch that are ignored by default; a pattern.
    #[arg(long)]
    include: Vec<String>,
    /// Further interfaces to ignore; a pattern.
    #[arg(long)]
    ignore: Vec<String>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gossipcontrol-iroh: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: Options) -> Result<(), String> {
    let key = match &options.key_file {
        Some(path) => key::read(path)?,
        None => SecretKey::generate(),
    };
    let lines = Arc::new(Lines::new(options.json));
    let known = MemoryLookup::from_endpoint_info(options.peers.iter().cloned());
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(key)
        .relay_mode(RelayMode::Disabled)
        .address_lookup(known)
        .bind()
        .await
        .map_err(|error| error.to_string())?;
    let gossip = Gossip::builder().max_message_size(LARGEST).spawn(endpoint.clone());
    let stores = Stores::new(&options.stores, on_sync(lines.clone()));
    let router = Router::builder(endpoint.clone())
        .accept(iroh_gossip::ALPN, gossip.clone())
        .accept(sync::ALPN, stores.clone())
        .spawn();
    let node = Node {
        agent: start(&options, &lines, &endpoint, &gossip, &stores)?,
        endpoint,
        gossip,
        stores,
        lines,
    };
    let ended = serve(&options, &node).await;
    router.shutdown().await.ok();
    ended
}

async fn serve(options: &Options, node: &Node) -> Result<(), String> {
    let id = node.endpoint.id().to_string();
    let addresses = node.agent.addresses();
    let text = format!("node {id} at {}", addresses.join(", "));
    let fields = [("node", json!(id)), ("addresses", json!(addresses))];
    node.lines.say("node", &text, &fields);
    for store in &options.stores {
        let topic = Topic::of(store, options.peers.clone());
        if options.no_control {
            node.run_bare(topic).await?;
        } else {
            if options.own_joins {
                node.join_too(&topic).await?;
            }
            node.run(topic).await?;
        }
        tokio::spawn(topic::beat(
            node.clone(),
            store.clone(),
            options.heartbeat,
            options.size as usize,
        ));
    }
    stopped().await;
    node.agent.leave().await;
    Ok(())
}

/// The agent; of the bare node it does nothing, since no store is joined with it.
fn start(
    options: &Options,
    lines: &Arc<Lines>,
    endpoint: &Endpoint,
    gossip: &Gossip,
    stores: &Stores,
) -> Result<Agent, String> {
    let (on_event, on_peer) = (lines.clone(), lines.clone());
    let (syncing, dialling) = (stores.clone(), endpoint.clone());
    let mut builder = Agent::builder(endpoint, gossip)
        .host_id(&options.host_id)
        .name(&options.name)
        .follow_network(!options.no_watch && !options.no_control)
        .interfaces(options.include.clone(), options.ignore.clone())
        .author(|message| Heartbeat::parse(&message.content).map(|beat| beat.author))
        .sync(move |store, peer| {
            let (stores, endpoint) = (syncing.clone(), dialling.clone());
            async move { stores.sync(&endpoint, &store, peer).await }
        })
        .on_event(move |event| say_event(&on_event, &event))
        .on_peer(move |change| say_peer(&on_peer, &change));
    if options.no_control {
        builder = builder.without_service();
    } else if let Some(address) = &options.address {
        builder = builder.address(address);
    }
    builder.start().map_err(|error| error.to_string())
}

fn on_sync(lines: Arc<Lines>) -> sync::OnSync {
    Arc::new(move |store, peer, newer| {
        let text = format!("{store}: synced with {}, {newer} newer heartbeats", short(peer));
        lines.say("synced", &text, &[("store", json!(store)), ("peer", json!(peer))]);
    })
}

fn say_event(lines: &Lines, event: &AgentEvent) {
    let parts = [event.what, &event.store_id, &event.rejoin_id, short(&event.peer_id)];
    let subject: Vec<&str> = parts.into_iter().filter(|one| !one.is_empty()).collect();
    let text = format!("{}: {}", subject.join(" "), event.detail);
    let fields = [
        ("store", json!(event.store_id)),
        ("rejoin", json!(event.rejoin_id)),
        ("peer", json!(event.peer_id)),
        ("detail", json!(event.detail)),
    ];
    lines.say(event.what, &text, &fields);
}

fn say_peer(lines: &Lines, change: &PeerChange) {
    let state = change.state.map_or("absent".into(), word);
    let (store, peer) = (&change.store_id, &change.peer_id);
    let fields = [("store", json!(store)), ("peer", json!(peer)), ("state", json!(state))];
    let text = format!("{store}: {} is {state}", short(peer));
    lines.say("presence", &text, &fields);
}

fn word(state: PeerState) -> String {
    state.as_str_name().trim_start_matches("PEER_STATE_").to_lowercase()
}

/// As much of an id as people need.
pub(crate) fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

/// Wait for SIGTERM, SIGINT, or Ctrl-C.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{signal, SignalKind};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    tokio::signal::ctrl_c().await.ok();
}

fn peer(text: &str) -> Result<EndpointAddr, String> {
    let (id, place) = text
        .split_once('@')
        .map_or((text, None), |(id, place)| (id, Some(place)));
    let id: EndpointId = id.parse().map_err(|_| format!("{id:?} is no id of a node"))?;
    let address = EndpointAddr::new(id);
    match place {
        None => Ok(address),
        Some(place) => place
            .parse()
            .map(|socket| address.with_ip_addr(socket))
            .map_err(|_| format!("{place:?} is no IP address with a port")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=86_400.0 * 365.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be a number of seconds of at least 0.001".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["gossipcontrol-iroh"], arguments].concat())
    }

    #[test]
    fn a_peer_is_an_id_perhaps_with_an_address() {
        let id = SecretKey::from_bytes(&[1; 32]).public();
        assert_eq!(peer(&id.to_string()).unwrap(), EndpointAddr::new(id));
        assert_eq!(peer(&format!("{id}@10.0.0.1:7")).unwrap().ip_addrs().count(), 1);
        assert!(peer("x@10.0.0.1:7").is_err() && peer(&format!("{id}@x")).is_err());
    }

    #[test]
    fn the_last_of_two_opposite_options_counts() {
        assert!(
            options(&["--store", "s", "--control", "--no-control"])
                .unwrap()
                .no_control
        );
        assert!(!options(&["--store", "s", "--no-watch", "--watch"]).unwrap().no_watch);
        assert!(options(&[]).is_err(), "a store is needed");
        assert!(options(&["--store", "s", "--heartbeat", "0"]).is_err());
        assert!(options(&["--store", "s", "--heartbeat", "nan"]).is_err());
    }
}
