//! Counts what a node sends and hears, and builds liveness reports from it. Pure: the caller gives the time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::age_ms;
use crate::v1::{LivenessReport, Neighbor, PeersHeard};

/// Most peers remembered in one store; the one unheard for longest is dropped first.
const PEERS: usize = 1000;
/// Most neighbours remembered in one store after they went down; the one that went first is dropped first.
const LOST: usize = 16;

#[derive(Debug)]
struct Heard {
    at: Duration,
    count: u64,
    direct: bool,
}

#[derive(Debug, Default)]
struct Counts {
    peers: HashMap<String, Heard>,
    neighbors: HashMap<String, Duration>,
    lost: VecDeque<String>,
    broadcasts: u64,
    unsynced: u64,
}

/// What a node knows of its stores.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    stores: HashMap<String, Counts>,
}

impl Reports {
    /// The node broadcast a message.
    pub(crate) fn sent(&mut self, store: &str) {
        self.counts(store).broadcasts += 1;
    }

    /// The node received a message of this author; `direct` when the author itself delivered it.
    pub(crate) fn heard(&mut self, store: &str, author: &str, direct: bool, now: Duration) {
        let peers = &mut self.counts(store).peers;
        let count = peers.get(author).map_or(0, |one| one.count) + 1;
        let heard = Heard { at: now, count, direct };
        peers.insert(author.into(), heard);
        if peers.len() > PEERS {
            let silent = peers.iter().min_by_key(|(_, one)| one.at).map(|(id, _)| id.clone());
            silent.and_then(|id| peers.remove(&id));
        }
    }

    /// A neighbour came up, or was reached again; returns whether it counts.
    pub(crate) fn up(&mut self, store: &str, peer: &str, now: Duration) -> bool {
        let counts = self.counts(store);
        if counts.neighbors.len() >= PEERS && !counts.neighbors.contains_key(peer) {
            return false;
        }
        counts.neighbors.insert(peer.into(), now);
        counts.lost.retain(|one| one != peer);
        true
    }

    /// A neighbour went down; returns whether it was one.
    pub(crate) fn down(&mut self, store: &str, peer: &str) -> bool {
        let counts = self.counts(store);
        if counts.neighbors.remove(peer).is_none() {
            return false;
        }
        counts.lost.push_front(peer.into());
        counts.lost.truncate(LOST);
        true
    }

    /// The neighbours in a store.
    pub(crate) fn neighbors(&self, store: &str) -> Vec<String> {
        let counts = self.stores.get(store);
        counts.map_or_else(Vec::new, |counts| counts.neighbors.keys().cloned().collect())
    }

    /// Neighbours in a store that went down and did not come up again, the last one first.
    pub(crate) fn lost(&self, store: &str) -> Vec<String> {
        let counts = self.stores.get(store);
        counts.map_or_else(Vec::new, |counts| counts.lost.iter().cloned().collect())
    }

    /// So many local writes are not yet known to be held elsewhere.
    pub(crate) fn unsynced(&mut self, store: &str, count: u64) {
        self.counts(store).unsynced = count;
    }

    /// The report of a store.
    pub(crate) fn report(&self, store: &str, now: Duration) -> LivenessReport {
        let mut report = LivenessReport {
            store_id: store.into(),
            ..Default::default()
        };
        let Some(counts) = self.stores.get(store) else {
            return report;
        };
        let mut heard = PeersHeard::default();
        for (place, (id, one)) in counts.peers.iter().enumerate() {
            heard.peer_ids.push(id.clone());
            heard.heard_ages_ms.push(age_ms(one.at, now));
            heard.heard_counts.push(one.count);
            if one.direct {
                heard.direct.push(place as u32);
            }
        }
        report.heard = Some(heard);
        report.neighbors = counts
            .neighbors
            .iter()
            .map(|(id, up)| Neighbor {
                peer_id: id.clone(),
                up_age_ms: age_ms(*up, now),
            })
            .collect();
        report.broadcast_count = counts.broadcasts;
        report.unsynced_writes = counts.unsynced;
        report
    }

    fn counts(&mut self, store: &str) -> &mut Counts {
        self.stores.entry(store.into()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_report_says_what_was_sent_and_heard_and_how_long_ago() {
        let mut reports = Reports::default();
        reports.sent("notes");
        reports.sent("notes");
        reports.heard("notes", "a", false, SECOND);
        reports.heard("notes", "a", true, 2 * SECOND);
        assert!(reports.up("notes", "b", 3 * SECOND));
        reports.unsynced("notes", 7);
        let report = reports.report("notes", 5 * SECOND);
        let heard = report.heard.unwrap();
        assert_eq!(
            (heard.peer_ids, heard.heard_ages_ms),
            (vec!["a".to_string()], vec![3000])
        );
        assert_eq!((heard.heard_counts, heard.direct), (vec![2], vec![0]));
        assert_eq!(
            (report.neighbors[0].peer_id.as_str(), report.neighbors[0].up_age_ms),
            ("b", 2000)
        );
        assert_eq!((report.broadcast_count, report.unsynced_writes), (2, 7));
    }

    #[test]
    fn stores_are_counted_apart() {
        let mut reports = Reports::default();
        reports.sent("notes");
        assert_eq!(reports.report("photos", SECOND).broadcast_count, 0);
    }

    #[test]
    fn a_neighbor_that_went_down_is_none() {
        let mut reports = Reports::default();
        reports.up("notes", "b", SECOND);
        assert!(reports.down("notes", "b"));
        assert!(!reports.down("notes", "b"));
        assert!(reports.neighbors("notes").is_empty());
    }

    #[test]
    fn neighbors_that_went_down_are_remembered_until_they_come_up_again() {
        let mut reports = Reports::default();
        for peer in ["a", "b", "c"] {
            reports.up("notes", peer, SECOND);
        }
        reports.down("notes", "a");
        reports.down("notes", "b");
        reports.down("notes", "never one");
        assert_eq!(reports.lost("notes"), ["b", "a"]);
        reports.up("notes", "b", SECOND);
        assert_eq!(reports.lost("notes"), ["a"]);
        for number in 0..=LOST {
            reports.up("notes", &number.to_string(), SECOND);
            reports.down("notes", &number.to_string());
        }
        assert_eq!(
            (reports.lost("notes").len(), &reports.lost("notes")[0]),
            (LOST, &LOST.to_string())
        );
    }

    #[test]
    fn the_peer_unheard_for_longest_is_dropped_first() {
        let mut reports = Reports::default();
        for number in 0..=PEERS {
            reports.heard("notes", &number.to_string(), true, SECOND * number as u32);
        }
        let heard = reports.report("notes", SECOND).heard.unwrap();
        assert_eq!(heard.peer_ids.len(), PEERS);
        assert!(!heard.peer_ids.contains(&"0".to_string()));
    }

    #[test]
    fn no_report_names_more_neighbors_than_the_service_takes() {
        let mut reports = Reports::default();
        for number in 0..PEERS {
            assert!(reports.up("notes", &number.to_string(), SECOND));
        }
        assert!(!reports.up("notes", "one more", SECOND));
        assert!(reports.up("notes", "0", SECOND), "one that is there may come up again");
    }
}
