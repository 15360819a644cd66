//! Tells GossipControl what happened to this device: report ADDRESS NODE KIND SECONDS.

use std::error::Error;
use std::time::Duration;

use gossipcontrol_client::v1::{NetworkChangeKind, Platform};
use gossipcontrol_client::Client;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, node, kind, seconds] = arguments.as_slice() else {
        return Err("usage: report ADDRESS NODE changed|resumed|sleeping|foreground SECONDS".into());
    };
    let kind = NetworkChangeKind::from_str_name(&format!("NETWORK_CHANGE_KIND_{}", kind.to_uppercase()))
        .ok_or("no kind of change")?;
    let deadline = Duration::from_secs_f64(seconds.parse()?);
    let client = Client::new(address)?;
    for decision in client.report(kind, Platform::Linux, &[node], deadline).await? {
        println!(
            "{} {} {}",
            decision.node_id,
            decision.store_id,
            decision.kind().as_str_name()
        );
    }
    Ok(())
}
