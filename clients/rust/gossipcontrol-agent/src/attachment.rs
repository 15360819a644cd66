//! One stream from the agent to the service, from its registration to its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout, Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::address::Address;
use crate::backoff;
use crate::clock;
use crate::event::AgentEvent;
use crate::obey;
use crate::service;
use crate::shared::{lock, Shared};
use crate::v1::attach_request::Frame as ToService;
use crate::v1::attach_response::Frame as ToAgent;
use crate::v1::gossip_control_client::GossipControlClient;
use crate::v1::{AttachRequest, AttachResponse, Goodbye, ListStoresRequest, LivenessAck, Registered};

/// Time that the service has to answer after the network changed.
const PROBE: Duration = Duration::from_secs(1);
/// Time that the service has to acknowledge a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Bounds of the time between two reports, whatever the service asks for.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Time after which a report that was never answered holds up the next one of its store no more.
const UNANSWERED: Duration = Duration::from_secs(60);
/// Age above which the result of a sync is dropped: it says that two *are* in sync, which does not last.
const STALE: Duration = Duration::from_secs(5);
/// Frames that wait for the transport.
const FRAMES: usize = 4;
/// Most bytes of a message of the service.
const LARGEST: usize = 16 * 1024 * 1024;

/// What the stream has seen so far.
#[derive(Debug)]
struct Seen {
    /// Commands received, and when the newest came; before the first, when the node was registered.
    commands: u32,
    command_at: Duration,
    interval: Duration,
    /// When the report of each store was sent that the service has not answered yet.
    unanswered: HashMap<String, Instant>,
}

impl Seen {
    fn new() -> Self {
        Self {
            commands: 0,
            command_at: clock::now(),
            interval: Duration::from_secs(10),
            unanswered: HashMap::new(),
        }
    }

    fn set_interval(&mut self, milliseconds: u32) {
        let asked = Duration::from_millis(milliseconds.into());
        self.interval = asked.clamp(INTERVALS.0, INTERVALS.1);
    }

    fn may_report(&self, store: &str) -> bool {
        self.unanswered
            .get(store)
            .is_none_or(|sent| sent.elapsed() > UNANSWERED)
    }
}

/// Attach until the agent leaves, or the stream ends; returns why. Without an address there is no service.
pub(crate) async fn attach(shared: &Arc<Shared>, address: Option<&Address>) -> Result<(), String> {
    let Some(address) = address else {
        return std::future::pending().await;
    };
    let mut network = shared.network.subscribe();
    network.mark_unchanged();
    let (answer, connected) = (backoff::answer(shared.ignored.load(Relaxed)), AtomicBool::new(false));
    let registering = async {
        let channel = service::connect(address, &shared.options.credentials).await?;
        connected.store(true, Relaxed);
        let attachment = Attachment::register(shared.clone(), &channel).await?;
        Ok::<_, String>((channel, attachment))
    };
    let (channel, (mut attachment, incoming)) = tokio::select! {
        registered = timeout(answer, registering) => registered.map_err(|_| {
            shared.ignored.fetch_add(connected.load(Relaxed).into(), Relaxed);
            format!("no answer within {answer:?}")
        })??,
        // An attempt over the network of before is not worth waiting for.
        _ = network.changed() => return Err("the network changed while connecting".into()),
    };
    shared.ignored.store(0, Relaxed);
    let reader = attachment.reader();
    tokio::select! {
        ended = reader.read(incoming) => ended,
        ended = attachment.write() => ended,
        ended = probe(shared, channel), if address.is_remote() => ended,
    }
}

/// After a change of the network, end unless the service answers on this connection.
async fn probe(shared: &Shared, channel: Channel) -> Result<(), String> {
    let mut network = shared.network.subscribe();
    let mut service = GossipControlClient::new(channel);
    while network.changed().await.is_ok() {
        let question = ListStoresRequest {
            page_size: 1,
            ..Default::default()
        };
        // Any answer will do, also a refusal by the service; only the connection itself may be at fault.
        let answer = timeout(PROBE, service.list_stores(question)).await;
        let is_dead = match answer {
            Ok(Err(status)) => status.code() == tonic::Code::Unavailable,
            Ok(Ok(_)) => false,
            Err(_) => true,
        };
        if is_dead && !shared.is_leaving() {
            return Err("no answer since the network changed".into());
        }
    }
    Ok(())
}

struct Attachment {
    shared: Arc<Shared>,
    seen: Arc<Mutex<Seen>>,
    frames: mpsc::Sender<AttachRequest>,
}

struct Reader {
    shared: Arc<Shared>,
    seen: Arc<Mutex<Seen>>,
}

impl Attachment {
    async fn register(shared: Arc<Shared>, channel: &Channel) -> Result<(Self, Streaming<AttachResponse>), String> {
        let (frames, outgoing) = mpsc::channel(FRAMES);
        let this = Self {
            seen: Arc::new(Mutex::new(Seen::new())),
            frames,
            shared,
        };
        this.shared.queue().registration = false; // what was wanted before belongs to this registration
        this.send(ToService::Register(this.shared.registration())).await?;
        let mut request = Request::new(ReceiverStream::new(outgoing));
        if let Some(token) = service::bearer(&this.shared.options.credentials)? {
            request.metadata_mut().insert("authorization", token);
        }
        let mut service = GossipControlClient::new(channel.clone()).max_decoding_message_size(LARGEST);
        let mut incoming = service
            .attach(request)
            .await
            .map_err(|status| text(&status))?
            .into_inner();
        let first = incoming.message().await.map_err(|status| text(&status))?;
        let (registered, epoch) = registration(first)?;
        lock(&this.shared.owner).begin(&registered.cell, epoch)?;
        this.registered(&registered);
        Ok((this, incoming))
    }

    fn registered(&self, answer: &Registered) {
        let mut seen = lock(&self.seen);
        seen.command_at = clock::now();
        seen.set_interval(answer.next_report_ms);
        drop(seen);
        // The first reports tell the present neighbours; what came and went before is of no use.
        let mut queue = self.shared.queue();
        queue.neighbors.clear();
        queue.due.extend(self.shared.store_ids());
        drop(queue);
        self.shared.attached.send_replace(true);
        let said = format!("session {}, {} unparked", answer.session_id, answer.unparked);
        self.shared.emit("attached", &said);
    }

    fn reader(&self) -> Reader {
        Reader {
            shared: self.shared.clone(),
            seen: self.seen.clone(),
        }
    }

    /// Send what is wanted at once, and every store's report once per interval, however much else is sent.
    async fn write(&mut self) -> Result<(), String> {
        let mut reported = Instant::now();
        loop {
            self.send_wanted().await?;
            if self.shared.is_leaving() {
                let reason = String::from("stopping");
                self.send(ToService::Goodbye(Goodbye { reason })).await?;
                sleep(GOODBYE).await; // the stream ends with the service's answer
                return Ok(());
            }
            let next = reported + lock(&self.seen).interval;
            tokio::select! {
                () = self.shared.wanted.notified() => {}
                () = sleep_until(next) => {
                    reported = Instant::now();
                    self.shared.look_at_addresses();
                    if !self.shared.is_paused() {
                        self.shared.queue().due.extend(self.shared.store_ids());
                    }
                }
            }
        }
    }

    async fn send_wanted(&self) -> Result<(), String> {
        if std::mem::take(&mut self.shared.queue().registration) {
            self.send(ToService::Register(self.shared.registration())).await?;
        }
        self.send_results().await?;
        // Only those that wait now: neighbours that come and go without end must not hold up reports.
        let waiting = self.shared.queue().neighbors.len();
        for _ in 0..waiting {
            if let Some(event) = self.shared.next_neighbor_event() {
                self.send(ToService::Neighbor(event)).await?;
            }
        }
        while let Some(store) = self.next_due() {
            let report = self.shared.report(&store);
            lock(&self.seen).unanswered.insert(store, Instant::now());
            self.send(ToService::Liveness(report)).await?;
        }
        Ok(())
    }

    /// A store whose report is due, and whose last one was answered: each has one under way at most.
    fn next_due(&self) -> Option<String> {
        let seen = lock(&self.seen);
        let mut queue = self.shared.queue();
        let store = queue.due.iter().find(|one| seen.may_report(one))?.clone();
        queue.due.remove(&store);
        Some(store)
    }

    async fn send_results(&self) -> Result<(), String> {
        loop {
            let next = self.shared.queue().rejoins.pop_front();
            let Some(result) = next else { break };
            let mut event = AgentEvent::new("result", outcome(&result.error));
            event.rejoin_id = result.rejoin_id.clone();
            self.send(ToService::RejoinResult(result)).await?;
            self.shared.emit_event(event);
        }
        loop {
            let next = self.shared.queue().syncs.pop_front();
            let Some((at, result)) = next else { break };
            if clock::now().saturating_sub(at) > STALE {
                continue;
            }
            let mut event = AgentEvent::new("sync", outcome(&result.error));
            (event.store_id, event.peer_id) = (result.store_id.clone(), result.peer_id.clone());
            self.send(ToService::SyncResult(result)).await?;
            self.shared.emit_event(event);
        }
        Ok(())
    }

    async fn send(&self, frame: ToService) -> Result<(), String> {
        let (commands, command_at) = {
            let seen = lock(&self.seen);
            (seen.commands, seen.command_at)
        };
        let request = AttachRequest {
            frame: Some(frame),
            commands_received: Some(commands),
            command_age_ms: clock::age_ms(command_at, clock::now()),
        };
        let sent = self.frames.send(request).await;
        sent.map_err(|_| "the stream ended".into())
    }
}

impl Reader {
    /// Handle every frame until the agent leaves; the error says why the stream ended before that.
    async fn read(&self, mut incoming: Streaming<AttachResponse>) -> Result<(), String> {
        while let Some(message) = incoming.message().await.map_err(|status| text(&status))? {
            if !lock(&self.shared.owner).admits(message.owner_epoch) {
                continue; // its sender was replaced
            }
            match message.frame {
                Some(ToAgent::Rejoin(command)) => {
                    let mut seen = lock(&self.seen);
                    seen.commands += 1;
                    seen.command_at = clock::now();
                    drop(seen);
                    self.shared.unpause();
                    obey::rejoin(&self.shared, command);
                }
                Some(ToAgent::Sync(command)) => obey::sync(&self.shared, command),
                Some(ToAgent::Ack(ack)) => self.acknowledged(ack),
                Some(ToAgent::RestartAdvice(advice)) => {
                    let mut event = AgentEvent::new("restart", advice.reason);
                    (event.store_id, event.rejoin_id) = (advice.store_id, advice.rejoin_id);
                    self.shared.emit_event(event);
                }
                // The answer to a further registration, or a frame of a newer service.
                Some(ToAgent::Registered(_)) | None => {}
            }
        }
        if self.shared.is_leaving() {
            Ok(())
        } else {
            Err("the service ended the stream".into())
        }
    }

    fn acknowledged(&self, ack: LivenessAck) {
        let Some(view) = ack.view else { return };
        let mut seen = lock(&self.seen);
        seen.unanswered.remove(&view.store_id);
        seen.set_interval(ack.next_report_ms);
        drop(seen);
        if self.shared.queue().due.contains(&view.store_id) {
            self.shared.wanted.notify_one();
        }
        if self.shared.store(&view.store_id).is_some() {
            let changes = lock(&self.shared.presence).apply(view);
            for change in changes {
                self.shared.emit_change(change);
            }
        }
    }
}

/// The answer to a registration, and the epoch of its sender.
fn registration(first: Option<AttachResponse>) -> Result<(Registered, u64), String> {
    match first {
        Some(AttachResponse {
            frame: Some(ToAgent::Registered(registered)),
            owner_epoch,
        }) => Ok((registered, owner_epoch)),
        _ => Err("the service did not confirm the registration".into()),
    }
}

fn outcome(error: &str) -> &str {
    if error.is_empty() {
        "ok"
    } else {
        error
    }
}

fn text(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_report_under_way_at_most() {
        let mut seen = Seen::new();
        assert!(seen.may_report("notes"));
        seen.unanswered.insert("notes".into(), Instant::now());
        assert!(!seen.may_report("notes") && seen.may_report("photos"));
        seen.unanswered.remove("notes");
        assert!(seen.may_report("notes"));
    }

    #[test]
    fn the_interval_is_what_the_service_asks_for_within_bounds() {
        let mut seen = Seen::new();
        for (asked, taken) in [(0, 1), (2000, 2), (u32::MAX, 60)] {
            seen.set_interval(asked);
            assert_eq!(seen.interval, Duration::from_secs(taken));
        }
    }
}
