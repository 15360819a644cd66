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

/// What a look at the network calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Peers cannot be reached any longer.
    Lost,
    /// The node is to leave its topics: no peer could be reached for a while.
    Suspend,
    /// Peers can be reached again, or elsewhere; the host was asleep for so long before, unless this is zero.
    Back(Duration),
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
struct Course {
    away_since: Option<Instant>,
    /// How long the host, or this process, slept since peers could be reached for the last time.
    slept: Duration,
}

impl Course {
    /// A look at the network, so long after the last one on a clock that goes on while the host sleeps.
    fn take(&mut self, since_last: Duration, is_away: bool, has_changed: bool, now: Instant) -> Step {
        if since_last >= FROZEN {
            self.slept += since_last;
        }
        if is_away {
            return match self.away_since {
                // Also after a rejoin in vain, which resumes the node.
                Some(since) if now.duration_since(since) >= GRACE => Step::Suspend,
                Some(_) => Step::Nothing,
                None => {
                    self.away_since = Some(now);
                    Step::Lost
                }
            };
        }
        // A host that wakes may get its network a while later: its neighbours have given it up all the same.
        let slept = std::mem::take(&mut self.slept);
        let was_away = self.away_since.take().is_some();
        if was_away || has_changed || !slept.is_zero() {
            return Step::Back(slept);
        }
        Step::Nothing
    }

    /// Time until the next look.
    fn wait(&self, now: Instant) -> Duration {
        match self.away_since {
            Some(since) if now.duration_since(since) < HOPE => LOOK_AWAY,
            _ => LOOK,
        }
    }
}

/// Follow this host's network for ever: pause the node while no peer can be reached, and resume it at once after.
pub(crate) async fn follow(shared: Arc<Shared>, filter: Filter) {
    let mut network = Network::new(filter);
    network.look(&interfaces());
    let mut course = Course {
        away_since: network.is_away().then(Instant::now),
        ..Course::default()
    };
    loop {
        let looked = clock::now();
        sleep(course.wait(Instant::now())).await;
        let since_last = clock::now().saturating_sub(looked);
        let has_changed = network.look(&interfaces());
        match course.take(since_last, network.is_away(), has_changed, Instant::now()) {
            Step::Nothing => {}
            Step::Lost => shared.emit("lost", "network lost; waiting for it to come back"),
            Step::Suspend => shared.suspend().await,
            Step::Back(slept) if slept.is_zero() => {
                shared.emit("network", &summary(&network));
                shared.network_is_back(false).await;
            }
            Step::Back(slept) => {
                shared.emit("network", &format!("resumed: after {} s", slept.as_secs()));
                shared.network_is_back(true).await;
            }
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
    fn a_host_that_slept_dials_its_neighbors_anew_also_where_its_network_comes_later() {
        let (look, night) = (Duration::from_secs(1), Duration::from_secs(3600));
        let (mut course, now) = (Course::default(), Instant::now());
        assert_eq!(course.take(look, false, false, now), Step::Nothing);
        assert_eq!(
            course.take(night, false, true, now),
            Step::Back(night),
            "once, also with another address"
        );
        assert_eq!(course.take(look, false, false, now), Step::Nothing);
        assert_eq!(course.take(night, true, true, now), Step::Lost);
        assert_eq!(course.take(LOOK_AWAY, true, false, now), Step::Nothing);
        assert_eq!(course.take(LOOK_AWAY, false, true, now + look), Step::Back(night));
    }

    #[test]
    fn a_node_is_suspended_after_a_while_without_a_network() {
        let (look, now) = (Duration::from_secs(1), Instant::now());
        let mut course = Course::default();
        assert_eq!(course.take(look, true, true, now), Step::Lost);
        assert_eq!(course.wait(now + look), LOOK_AWAY);
        assert_eq!(course.take(look, true, false, now + look), Step::Nothing);
        assert_eq!(course.take(look, true, false, now + GRACE), Step::Suspend);
        assert_eq!(course.wait(now + HOPE), LOOK, "less often");
        assert_eq!(
            course.take(look, false, true, now + 2 * GRACE),
            Step::Back(Duration::ZERO)
        );
        assert_eq!(course.wait(now), LOOK);
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
