//! The presence of a store's peers, as every answer to a report brings it.

use std::collections::{BTreeMap, HashMap};

use crate::v1::{PeerState, PeerView, StoreView};

#[derive(Debug, Default)]
struct View {
    version: u64,
    peers: BTreeMap<String, PeerView>,
}

/// A peer of a store came, went or changed; `state` is absent when it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// The store.
    pub store_id: String,
    /// The peer.
    pub peer_id: String,
    /// Its presence now.
    pub state: Option<PeerState>,
}

/// The views of all stores.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    views: HashMap<String, View>,
}

impl Presence {
    /// The version that is held of a store, so that the answer to a report brings differences only; 0: none.
    pub(crate) fn version(&self, store: &str) -> u64 {
        self.views.get(store).map_or(0, |view| view.version)
    }

    /// The peers of a store, by id.
    pub(crate) fn peers(&self, store: &str) -> Vec<PeerView> {
        let view = self.views.get(store);
        view.map_or_else(Vec::new, |view| view.peers.values().cloned().collect())
    }

    /// Lay an answer over what is held; returns what changed.
    pub(crate) fn apply(&mut self, view: StoreView) -> Vec<PeerChange> {
        let store_id = view.store_id;
        let held = self.views.entry(store_id.clone()).or_default();
        let before: BTreeMap<String, i32> = held.peers.iter().map(|(id, one)| (id.clone(), one.state)).collect();
        if !view.delta {
            held.peers.clear();
        }
        for id in view.removed_peer_ids {
            held.peers.remove(&id);
        }
        held.peers
            .extend(view.peers.into_iter().map(|one| (one.peer_id.clone(), one)));
        held.version = view.version;
        let mut changes: Vec<PeerChange> = held
            .peers
            .values()
            .filter(|one| before.get(&one.peer_id) != Some(&one.state))
            .map(|one| change(&store_id, &one.peer_id, Some(one.state())))
            .collect();
        let gone = before.keys().filter(|id| !held.peers.contains_key(*id));
        changes.extend(gone.map(|id| change(&store_id, id, None)));
        changes
    }
}

fn change(store_id: &str, peer_id: &str, state: Option<PeerState>) -> PeerChange {
    PeerChange {
        store_id: store_id.into(),
        peer_id: peer_id.into(),
        state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(version: u64, delta: bool, peers: &[(&str, PeerState)], removed: &[&str]) -> StoreView {
        StoreView {
            store_id: "notes".into(),
            version,
            delta,
            peers: peers
                .iter()
                .map(|(id, state)| PeerView {
                    peer_id: id.to_string(),
                    state: (*state).into(),
                    ..Default::default()
                })
                .collect(),
            removed_peer_ids: removed.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn differences_are_laid_over_a_view_and_a_whole_one_replaces_it() {
        let (online, offline) = (PeerState::Online, PeerState::Offline);
        let mut presence = Presence::default();
        assert_eq!(presence.version("notes"), 0);
        let changes = presence.apply(view(1, false, &[("a", online), ("b", online)], &[]));
        assert_eq!(changes.len(), 2);
        let changes = presence.apply(view(2, true, &[("a", offline)], &["b"]));
        assert_eq!(
            changes,
            vec![change("notes", "a", Some(offline)), change("notes", "b", None)]
        );
        assert_eq!(presence.version("notes"), 2);
        assert!(presence.apply(view(3, false, &[("a", offline)], &[])).is_empty());
        assert_eq!(presence.peers("notes").len(), 1);
    }
}
