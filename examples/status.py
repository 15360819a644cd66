"""Who is online, without an event loop. The service: GOSSIPCONTROL_ADDRESS, else the one of this machine."""

import sys

from gossipcontrol.client import ClientError, PeerState, SyncClient


def main() -> None:
    """Print every store with its peers."""
    with SyncClient() as client:
        for store in client.list_stores():
            online = store.peer_counts.get(PeerState.ONLINE, 0)
            print(f"{store.store_id}: {online} of {store.peer_count} peers online")
            for peer in client.list_peers(store.store_id):
                heard = "never" if peer.heard_age is None else f"{peer.heard_age:.1f} s ago"
                print(f"  {peer.peer_id:<20} {peer.state:<8} heard {heard}")


if __name__ == "__main__":
    try:
        main()
    except ClientError as error:
        sys.exit(f"{error.code.name}: {error}")
