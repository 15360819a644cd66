//! Reports to GossipControl what happened to a device.

use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint, Error};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

/// The messages and calls, generated from the protos.
pub mod v1 {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("gossipcontrol.v1");
}

use v1::gossip_control_client::GossipControlClient;
use v1::{Decision, NetworkChangeKind, Platform, ReportNetworkChangeRequest};

/// How long one attempt may take.
const ATTEMPT_TIME: Duration = Duration::from_secs(5);
/// Bounds the first wait between two attempts; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Bounds every wait that the service does not ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Reports over one connection. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    service: GossipControlClient<Channel>,
}

impl Client {
    /// A client of the service at an address such as `127.0.0.1:7420`. It connects with the first report.
    ///
    /// The service has no TLS of its own, and listens on loopback and a Unix socket only.
    pub fn new(address: &str) -> Result<Self, Error> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
        Ok(Self {
            service: GossipControlClient::new(channel),
        })
    }

    /// Say that something happened just now to the device on which the nodes run.
    ///
    /// Tries until `deadline` has passed: with the same request id, so that the service decides once; with the age of
    /// the change, so that a late report is known to be late. An error that another attempt cannot mend is returned at
    /// once.
    pub async fn report(
        &self,
        kind: NetworkChangeKind,
        platform: Platform,
        node_ids: &[&str],
        deadline: Duration,
    ) -> Result<Vec<Decision>, Status> {
        let happened = Instant::now();
        let message = ReportNetworkChangeRequest {
            request_id: Uuid::new_v4().to_string(),
            node_ids: node_ids.iter().map(ToString::to_string).collect(),
            kind: kind.into(),
            platform: platform.into(),
            park_unknown: true, // the node may attach later
            ..Default::default()
        };
        for attempt in 0.. {
            let mut message = message.clone();
            message.age_ms = happened.elapsed().as_millis() as u64;
            let left = deadline.saturating_sub(happened.elapsed());
            let status = match self.try_once(message, left).await {
                Ok(decisions) => return Ok(decisions),
                Err(status) => status,
            };
            let wait = wait(attempt, &status);
            if !retryable(status.code()) || happened.elapsed() + wait >= deadline {
                return Err(status);
            }
            tokio::time::sleep(wait).await;
        }
        unreachable!("the loop has no end")
    }

    async fn try_once(&self, message: ReportNetworkChangeRequest, left: Duration) -> Result<Vec<Decision>, Status> {
        let limit = left.min(ATTEMPT_TIME);
        let mut request = Request::new(message);
        request.set_timeout(limit);
        let mut service = self.service.clone();
        match tokio::time::timeout(limit, service.report_network_change(request)).await {
            Ok(response) => Ok(response?.into_inner().decisions),
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {limit:?}"))),
        }
    }
}

fn retryable(code: Code) -> bool {
    // Cancelled is what tonic calls a deadline of its own that has passed.
    matches!(
        code,
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled
    )
}

/// What the service asks for (RetryInfo), or exponential backoff with full jitter.
fn wait(attempt: u32, status: &Status) -> Duration {
    if let Some(delay) = status.get_details_retry_info().and_then(|retry| retry.retry_delay) {
        return delay;
    }
    let limit = (FIRST_WAIT * 2u32.pow(attempt.min(10))).min(LONGEST_WAIT);
    limit.mul_f64(rand::random())
}
