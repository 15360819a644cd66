//! This host's network: which addresses other hosts may be reached from, and whether there are any.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, Instant};

use crate::clock;
use crate::shared::Shared;

/// Interfaces of containers and tunnels: they come and go without changing how peers are reached.
const IGNORED: &[&str] = &[
    "lo",
    "docker*",
    "veth*",
    "br-*",
    "cni*",
    "flannel*",
    "cali*",
    "cilium*",
    "lxc*",
    "lxd*",
    "virbr*",
    "vnet*",
    "podman*",
    "kube-*",
    "tun*",
    "tap*",
    "wg*",
    "tailscale*",
    "utun*",
    "ipsec*",
    "ppp*",
    "zt*",
    "nebula*",
    "dummy*",
    "awdl*",
    "llw*",
    "gif*",
    "anpi*",
    "feth*",
    "vmenet*",
    "stf*",
    "p2p*",
    "clat*",
];
/// Time without a network before a node is paused: longer than a flap, shorter than a QUIC idle timeout.
const GRACE: Duration = Duration::from_secs(3);
/// Time between two looks at the interfaces while there is a network.
const LOOK: Duration = Duration::from_secs(1);
/// The same while there is none, for as long as `HOPE`: the node should be back at once.
const LOOK_AWAY: Duration = Duration::from_millis(25);
/// Time without a network after which it is looked for less often.
const HOPE: Duration = Duration::from_secs(600);
/// Time between two looks above which this process, or the host, slept: its peers may have given it up meanwhile.
const FROZEN: Duration = Duration::from_secs(10);

/// Which interfaces count by name: those that match a pattern of `include`, and all that match none of `ignore`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) include: Vec<String>,
    pub(crate) ignore: Vec<String>,
}

impl Filter {
    fn counts(&self, name: &str) -> bool {
        let matches = |patterns: &[String]| patterns.iter().any(|one| glob(one.as_bytes(), name.as_bytes()));
        let is_ignored = || IGNORED.iter().any(|one| glob(one.as_bytes(), name.as_bytes()));
        matches(&self.include) || !(matches(&self.ignore) || is_ignored())
    }
}

/// Whether a name matches a pattern in which `*` stands for anything.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| glob(rest, &name[skipped..])),
        Some((first, rest)) => name.first() == Some(first) && glob(rest, &name[1..]),
    }
}

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    /// Whether it is up and has a carrier.
    pub(crate) is_up: bool,
}

/// The interfaces that count now, and whether any ever did.
#[derive(Debug, Default)]
pub(crate) struct Network {
    filter: Filter,
    has_counted: bool,
    /// What other hosts may be reached from.
    pub(crate) now: BTreeSet<Interface>,
}

impl Network {
    pub(crate) fn new(filter: Filter) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }

    /// Look at all interfaces; returns whether what counts has changed.
    ///
    /// Where no interface ever counted by its name, as on a host with only a tunnel, all do.
    pub(crate) fn look(&mut self, all: &[Interface]) -> bool {
        let named = |one: &&Interface| self.filter.counts(&one.name);
        self.has_counted |= all.iter().any(|one| named(&one));
        let before = std::mem::take(&mut self.now);
        self.now = all
            .iter()
            .filter(|one| one.is_up && is_routed(one.address) && (!self.has_counted || named(one)))
            .cloned()
            .collect();
        self.now != before
    }

    /// Whether no peer can be reached at all.
    pub(crate) fn is_away(&self) -> bool {
        self.now.is_empty()
    }
}

/// Whether other hosts can be reached from this address, or reach it.
fn is_routed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_unspecified() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local()),
    }
}

/// Every address of this host's interfaces; none where the system does not tell.
pub(crate) fn interfaces() -> Vec<Interface> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.into_iter()
        .map(|one| Interface {
            address: one.ip(),
            is_up: one.is_oper_up(),
            name: one.name,
        })
        .collect()
}

/// Follow this host's network for ever: pause the node while no peer can be reached, and resume it at once after.
pub(crate) async fn follow(shared: Arc<Shared>, filter: Filter) {
    let mut network = Network::new(filter);
    network.look(&interfaces());
    let mut away_since = network.is_away().then(Instant::now);
    loop {
        let looked = clock::now();
        sleep(match away_since {
            Some(since) if since.elapsed() < HOPE => LOOK_AWAY,
            _ => LOOK,
        })
        .await;
        let slept = clock::now().saturating_sub(looked);
        let has_changed = network.look(&interfaces());
        if slept >= FROZEN && !network.is_away() {
            shared.emit("network", &format!("resumed: after {} s", slept.as_secs()));
            shared.network_is_back(true).await;
        }
        match (away_since, network.is_away()) {
            (None, true) => {
                away_since = Some(Instant::now());
                shared.emit("lost", "network lost; waiting for it to come back");
            }
            // Also after a rejoin in vain, which resumes the node.
            (Some(since), true) if since.elapsed() >= GRACE => shared.suspend().await,
            (Some(_), true) => {}
            (Some(_), false) => {
                away_since = None;
                shared.emit("network", &summary(&network));
                shared.network_is_back(false).await;
            }
            (None, false) if has_changed => {
                shared.emit("network", &summary(&network));
                shared.network_is_back(false).await;
            }
            (None, false) => {}
        }
    }
}

fn summary(network: &Network) -> String {
    let shown: Vec<String> = network
        .now
        .iter()
        .map(|one| format!("{} {}", one.name, one.address))
        .collect();
    format!("changed: {}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, address: &str, is_up: bool) -> Interface {
        Interface {
            name: name.into(),
            address: address.parse().unwrap(),
            is_up,
        }
    }

    #[test]
    fn a_host_is_away_without_an_address_on_an_interface_that_is_up() {
        let mut network = Network::default();
        assert!(network.look(&[interface("lo", "127.0.0.1", true), interface("eth0", "10.0.0.2", true)]));
        assert!(!network.is_away());
        assert!(network.look(&[interface("lo", "127.0.0.1", true), interface("eth0", "10.0.0.2", false)]));
        assert!(network.is_away(), "the link is down");
        network.look(&[
            interface("eth0", "169.254.3.4", true),
            interface("eth0", "fe80::1", true),
        ]);
        assert!(network.is_away(), "no address that is routed");
        network.look(&[interface("docker0", "172.17.0.1", true)]);
        assert!(network.is_away(), "an interface that does not count");
        network.look(&[interface("eth0", "fd00::2", true)]);
        assert!(!network.is_away());
    }

    #[test]
    fn another_address_is_a_change() {
        let mut network = Network::default();
        network.look(&[interface("eth0", "10.0.0.2", true)]);
        assert!(!network.look(&[interface("eth0", "10.0.0.2", true)]));
        assert!(network.look(&[interface("eth0", "10.0.9.2", true)]));
    }

    #[test]
    fn on_a_host_with_only_a_tunnel_the_tunnel_counts() {
        let mut network = Network::default();
        network.look(&[interface("wg0", "10.9.0.2", true)]);
        assert!(!network.is_away());
    }

    #[test]
    fn patterns_include_and_ignore() {
        let filter = Filter {
            include: vec!["wg0".into()],
            ignore: vec!["eth*".into()],
        };
        assert!(filter.counts("wg0") && filter.counts("wlan0"));
        assert!(!filter.counts("wg1") && !filter.counts("eth7") && !filter.counts("lo"));
        assert!(glob(b"a*c*", b"abcd") && !glob(b"a*c", b"abcd") && glob(b"*", b""));
    }

    #[test]
    fn this_host_has_interfaces() {
        assert!(interfaces().iter().any(|one| one.address.is_loopback()));
    }
}
