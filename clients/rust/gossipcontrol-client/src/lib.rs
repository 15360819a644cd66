//! Reports to GossipControl what happened to a device.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
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

mod credentials;

use credentials::Bearer;
pub use credentials::{Credentials, Error};

/// How long one attempt may take.
const ATTEMPT_TIME: Duration = Duration::from_secs(5);
/// How long it may take where there is another server to ask.
const SHORT_TIME: Duration = Duration::from_secs(2);
/// Key of the trailing metadata in which a standby says where the owner is.
const OWNER: &str = "gossipcontrol-owner";
/// Bounds the first wait between two attempts; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Bounds every wait that the service does not ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

type Service = GossipControlClient<InterceptedService<Channel, Bearer>>;

/// Reports over one connection to each server. Clones share them.
#[derive(Clone, Debug)]
pub struct Client {
    servers: Vec<(String, Service)>,
    /// Number of the server to ask next.
    current: Arc<AtomicUsize>,
}

impl Client {
    /// A client of the service at an address such as `127.0.0.1:7420`, or of the hub at `tls:hub.example.org:7443` with
    /// the credentials of the environment. It connects with the first report.
    ///
    /// Replicas are listed with commas, and the one that serves is found.
    pub fn new(address: &str) -> Result<Self, Error> {
        Self::with_credentials(address, &Credentials::from_environment())
    }

    /// The same with other credentials, which only addresses with `tls:` are shown.
    pub fn with_credentials(address: &str, shown: &Credentials) -> Result<Self, Error> {
        let connect = |one: &str| {
            let (address, channel, bearer) = match one.strip_prefix("tls:") {
                Some(hub) => {
                    let endpoint = shown.protect(Endpoint::from_shared(format!("https://{hub}"))?)?;
                    (hub, endpoint, Bearer(shown.token.clone()))
                }
                None => (one, Endpoint::from_shared(format!("http://{one}"))?, Bearer::default()),
            };
            let service = GossipControlClient::with_interceptor(channel.connect_lazy(), bearer);
            Ok::<_, Error>((address.to_owned(), service))
        };
        Ok(Self {
            servers: address
                .split(',')
                .map(|one| connect(one.trim()))
                .collect::<Result<_, _>>()?,
            current: Arc::default(),
        })
    }

    /// Say that something happened just now to the device on which the nodes run.
    ///
    /// Tries until `deadline` has passed: with the same request id, so that the service decides once; with the age of
    /// the change, so that a late report is known to be late. An error that another attempt cannot mend is returned at
    /// once; at the deadline the last one that the deadline did not cause, if there was one.
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
        let mut attempt = 0;
        let mut reason = None;
        for asked in 1.. {
            let mut message = message.clone();
            message.age_ms = happened.elapsed().as_millis() as u64;
            let left = deadline.saturating_sub(happened.elapsed());
            let number = self.current.load(Ordering::Relaxed);
            let status = match self.try_once(number, message, left).await {
                Ok(decisions) => return Ok(decisions),
                Err(status) => status,
            };
            let is_elsewhere = is_elsewhere(status.code());
            if is_elsewhere {
                let next = self.next(number, &status);
                let _ = self
                    .current
                    .compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
            }
            let is_round_over = !is_elsewhere || asked % self.servers.len() == 0;
            let wait = if is_round_over {
                wait(attempt, &status)
            } else {
                Duration::ZERO
            };
            if !retryable(status.code()) {
                return Err(status);
            }
            let is_cut = left < self.attempt_time() && is_late(status.code());
            let told = reason.take().filter(|_| is_cut).unwrap_or(status);
            if happened.elapsed() + wait >= deadline {
                return Err(told);
            }
            reason = Some(told);
            attempt += u32::from(is_round_over);
            tokio::time::sleep(wait).await;
        }
        unreachable!("the loop has no end")
    }

    /// The server that a standby named, if it is one of the client's: another address is not believed. Else the one
    /// after it.
    fn next(&self, number: usize, status: &Status) -> usize {
        let named = status.metadata().get(OWNER).and_then(|owner| owner.to_str().ok());
        let found = self
            .servers
            .iter()
            .position(|(address, _)| Some(address.as_str()) == named);
        found
            .filter(|other| *other != number)
            .unwrap_or((number + 1) % self.servers.len())
    }

    fn attempt_time(&self) -> Duration {
        if self.servers.len() > 1 {
            SHORT_TIME
        } else {
            ATTEMPT_TIME
        }
    }

    async fn try_once(
        &self,
        number: usize,
        message: ReportNetworkChangeRequest,
        left: Duration,
    ) -> Result<Vec<Decision>, Status> {
        let limit = left.min(self.attempt_time());
        let mut request = Request::new(message);
        request.set_timeout(limit);
        let mut service = self.servers[number].1.clone();
        match tokio::time::timeout(limit, service.report_network_change(request)).await {
            Ok(response) => Ok(response?.into_inner().decisions),
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {limit:?}"))),
        }
    }
}

/// Whether another server may do better.
fn is_elsewhere(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
}

fn retryable(code: Code) -> bool {
    is_late(code) || matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::Aborted)
}

/// Whether time was over; Cancelled is what tonic calls a deadline of its own that has passed.
fn is_late(code: Code) -> bool {
    matches!(code, Code::DeadlineExceeded | Code::Cancelled)
}

/// What the service asks for (RetryInfo), or exponential backoff with full jitter.
fn wait(attempt: u32, status: &Status) -> Duration {
    if let Some(delay) = status.get_details_retry_info().and_then(|retry| retry.retry_delay) {
        return delay;
    }
    let limit = (FIRST_WAIT * 2u32.pow(attempt.min(10))).min(LONGEST_WAIT);
    limit.mul_f64(rand::random())
}
