//! The task that owns one confirm channel. Only one task may publish on a channel: with several,
//! lapin reports messages as confirmed that were lost.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::error::{BrokerError, PublishError};
use crate::link::{Opened, rpc};
use crate::publisher::{Command, Encoded, Shared, Ticket};
use crate::pulse::Pulse;
use crate::retry::Retry;
use crate::window::{Confirm, Returned, Window};

/// How long lapin may take to reject what was in flight on a dead channel.
const WIND_UP: Duration = Duration::from_secs(1);

/// Publishes what comes in until every handle is gone and everything is settled.
pub(crate) async fn run(shared: Arc<Shared>, inbox: mpsc::Receiver<Command>) {
    let mut inbox = Inbox { commands: inbox, carried: VecDeque::new() };
    let mut retry = Retry::new();
    while !inbox.finished() {
        match open(&shared).await {
            Ok(opened) => {
                shared.set_obstacle(None);
                let mut session = Session::new(&shared, opened);
                let Err(reason) = session.serve(&mut inbox).await else { return };
                if session.confirmed {
                    retry.reset();
                }
                tracing::warn!(reason, "lost the channel for publishing");
                shared.set_obstacle(Some(reason));
            }
            Err(e) => {
                shared.link.health.lost();
                tracing::warn!(error = %e, "can't publish: no connection to the broker");
                shared.set_obstacle(Some(e.to_string()));
            }
        }
        sleep(retry.next()).await;
    }
}

async fn open(shared: &Shared) -> Result<Opened, BrokerError> {
    let opened = shared.link.open().await?;
    let limit = shared.settings.rpc_timeout();
    rpc("confirm.select", limit, opened.channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(opened)
}

/// Commands not yet written, over sessions.
struct Inbox {
    commands: mpsc::Receiver<Command>,
    /// Received but not written before the last channel died.
    carried: VecDeque<Command>,
}

impl Inbox {
    fn finished(&self) -> bool {
        self.carried.is_empty() && self.commands.is_closed() && self.commands.is_empty()
    }
}

/// How one publish ended, as lapin sees it.
enum End {
    Confirmed(Confirm),
    /// Rejected before its last byte was written: the broker can't have it.
    NotWritten(lapin::Error),
    /// Written, then the channel died.
    Lost(lapin::Error),
}

type InFlight = BoxFuture<'static, (u64, End)>;

enum Event {
    Ended(Vec<(u64, End)>),
    Commands,
    Closed,
}

/// One life of the channel.
struct Session<'a> {
    shared: &'a Shared,
    opened: Opened,
    window: Window<Ticket>,
    in_flight: FuturesUnordered<InFlight>,
    woken: Arc<Woken>,
    /// Since when something has been outstanding without any confirm.
    waiting_since: Option<Instant>,
    pulse: Pulse,
    /// Whether this channel was ever of use.
    confirmed: bool,
    blocked: bool,
}

/// Why a channel is of no use any more.
struct Broken {
    reason: String,
    /// What lapin said; `None` when it is we who give up.
    error: Option<lapin::Error>,
}

impl Broken {
    fn by_us(reason: String) -> Self {
        Self { reason, error: None }
    }
}

enum Step {
    Event(Event),
    Beat(Result<(), BrokerError>),
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, opened: Opened) -> Self {
        Self {
            shared,
            pulse: Pulse::new(&shared.settings, opened.clone(), 1),
            opened,
            window: Window::new(),
            in_flight: FuturesUnordered::new(),
            woken: Arc::default(),
            waiting_since: None,
            confirmed: false,
            blocked: false,
        }
    }

    /// Serves until every handle is gone (`Ok`) or the channel is (`Err` with the reason). Then
    /// everything that was written has its result.
    async fn serve(&mut self, inbox: &mut Inbox) -> Result<(), String> {
        let ended = self.work(inbox).await;
        let Err(Broken { reason, error }) = ended else { return Ok(()) };
        // lapin rejects all that was in flight; its answers tell what was written and what not.
        let _ = timeout(WIND_UP, async {
            while !self.in_flight.is_empty() {
                let ended = poll_fn(|cx| match drain(cx, &mut self.in_flight, &self.woken) {
                    ended if ended.is_empty() && !self.in_flight.is_empty() => Poll::Pending,
                    ended => Poll::Ready(ended),
                })
                .await;
                // That the channel is broken is known.
                let _ = self.settle(ended);
            }
        })
        .await;
        self.in_flight.clear();
        let refused = |exchange: &str| refused_exchange(error.as_ref(), exchange);
        for (ticket, result) in self.window.lost(&reason, refused) {
            metrics::counter!("turnup_broker_uncertain_total").increment(1);
            ticket.settle(result);
        }
        if !self.opened.connection.connected() || error.is_none() {
            self.shared.link.discard().await;
        }
        Err(reason)
    }

    async fn work(&mut self, inbox: &mut Inbox) -> Result<(), Broken> {
        loop {
            self.write(inbox)?;
            let step = {
                let Self { pulse, shared, in_flight, window, woken, .. } = self;
                let room = shared.settings.publish_window.saturating_sub(window.len());
                tokio::select! {
                    biased;
                    event = poll_fn(|cx| poll_event(cx, in_flight, woken, inbox, room)) => Step::Event(event),
                    beat = pulse.beat(&shared.link) => Step::Beat(beat),
                }
            };
            match step {
                Step::Event(Event::Ended(ended)) => self.settle(ended)?,
                Step::Event(Event::Commands) => {}
                Step::Event(Event::Closed) => return Ok(()),
                Step::Beat(beat) => {
                    beat.map_err(|e| Broken::by_us(e.to_string()))?;
                    self.look_at_the_clock()?;
                }
            }
        }
    }

    fn look_at_the_clock(&mut self) -> Result<(), Broken> {
        let blocked = self.opened.connection.blocked();
        if blocked && !self.blocked {
            tracing::warn!("the broker blocks publishers; look at its memory and disk alarms");
        }
        self.blocked = blocked;
        if blocked {
            // Waiting for it is no fault of the connection.
            self.waiting_since = self.waiting_since.map(|_| Instant::now());
        }
        let limit = self.shared.settings.confirm_timeout();
        if self.waiting_since.is_some_and(|since| since.elapsed() > limit) {
            return Err(Broken::by_us(format!("no confirm within {limit:?}")));
        }
        Ok(())
    }

    /// Writes what is waiting, in order.
    fn write(&mut self, inbox: &mut Inbox) -> Result<(), Broken> {
        while let Some(command) = inbox.carried.pop_front() {
            if !self.opened.channel.status().connected() {
                inbox.carried.push_front(command);
                return Err(Broken::by_us("the channel is closed".to_owned()));
            }
            let Command { message, ticket } = command;
            if ticket.broken() {
                let reason = "an earlier message of the same call was lost".to_owned();
                ticket.settle(Err(PublishError::NotSent { reason }));
            } else if ticket.take() {
                self.publish(message, ticket);
            }
        }
        Ok(())
    }

    fn publish(&mut self, message: Encoded, ticket: Ticket) {
        metrics::counter!("turnup_broker_published_total").increment(1);
        let number = self.window.sent(
            message.message_id.clone(),
            message.exchange.to_string(),
            message.routing_key.to_string(),
            ticket,
        );
        self.waiting_since.get_or_insert_with(Instant::now);
        let mut publish: InFlight = Box::pin(publish(self.opened.channel.clone(), number, message));
        // The first poll hands the frames to lapin, here and now, so that the order is ours. The
        // set polls it again with a waker of its own.
        match publish.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.in_flight.push(publish),
            Poll::Ready(end) => self.in_flight.push(Box::pin(std::future::ready(end))),
        }
    }

    /// Gives results to those who wait for them.
    fn settle(&mut self, ended: Vec<(u64, End)>) -> Result<(), Broken> {
        let mut confirms = Vec::with_capacity(ended.len());
        let mut failed = None;
        for (number, end) in ended {
            match end {
                End::Confirmed(confirm) => confirms.push((number, confirm)),
                End::NotWritten(e) => {
                    if let Some(ticket) = self.window.not_written(number) {
                        ticket.settle(Err(PublishError::NotSent { reason: e.to_string() }));
                    }
                    failed = Some(e);
                }
                // Stays in the window: its fate is that of the channel.
                End::Lost(e) => failed = Some(e),
            }
        }
        if !confirms.is_empty() {
            self.pulse.answered(&self.shared.link);
            self.confirmed = true;
            let confirmed = self.window.confirmed(confirms);
            self.waiting_since = (self.window.len() > 0).then(Instant::now);
            for (ticket, result) in confirmed {
                let name = match result {
                    Ok(()) => "turnup_broker_confirmed_total",
                    Err(PublishError::Returned { .. }) => "turnup_broker_returned_total",
                    Err(_) => "turnup_broker_nacked_total",
                };
                metrics::counter!(name).increment(1);
                ticket.settle(result);
            }
        }
        match failed {
            Some(e) => Err(Broken { reason: e.to_string(), error: Some(e) }),
            None => Ok(()),
        }
    }
}

/// What happened first: publishes that ended (all that have so far), or new commands.
fn poll_event(
    cx: &mut Context<'_>,
    in_flight: &mut FuturesUnordered<InFlight>,
    woken: &Arc<Woken>,
    inbox: &mut Inbox,
    room: usize,
) -> Poll<Event> {
    let ended = drain(cx, in_flight, woken);
    if !ended.is_empty() {
        return Poll::Ready(Event::Ended(ended));
    }
    if room == 0 {
        return Poll::Pending;
    }
    let mut received = Vec::new();
    match inbox.commands.poll_recv_many(cx, &mut received, room) {
        Poll::Ready(0) if in_flight.is_empty() => Poll::Ready(Event::Closed),
        Poll::Ready(0) | Poll::Pending => Poll::Pending,
        Poll::Ready(_) => {
            inbox.carried.extend(received);
            Poll::Ready(Event::Commands)
        }
    }
}

/// Takes *all* publishes that have ended so far. That none is left behind is what makes a clean
/// confirm trustworthy (see [`crate::window`]); the set alone may stop early and wake itself, so
/// it is asked again until it pends without having been woken.
fn drain(
    cx: &mut Context<'_>,
    in_flight: &mut FuturesUnordered<InFlight>,
    woken: &Arc<Woken>,
) -> Vec<(u64, End)> {
    woken.outer.register(cx.waker());
    let waker = Waker::from(Arc::clone(woken));
    let mut inner = Context::from_waker(&waker);
    let mut ended = Vec::new();
    loop {
        match in_flight.poll_next_unpin(&mut inner) {
            Poll::Ready(Some(end)) => ended.push(end),
            Poll::Ready(None) => return ended,
            Poll::Pending if woken.flag.swap(false, Ordering::AcqRel) => {}
            Poll::Pending => return ended,
        }
    }
}

async fn publish(channel: Channel, number: u64, message: Encoded) -> (u64, End) {
    let options = BasicPublishOptions { mandatory: message.mandatory, immediate: false };
    let Encoded { exchange, routing_key, properties, body, .. } = message;
    let end = match channel.basic_publish(exchange, routing_key, options, &body, properties).await {
        Err(e) => End::NotWritten(e),
        Ok(confirm) => {
            drop(body);
            match confirm.await {
                Ok(Confirmation::Ack(returned)) => End::Confirmed(confirm_of(true, returned)),
                Ok(Confirmation::Nack(returned)) => End::Confirmed(confirm_of(false, returned)),
                Ok(Confirmation::NotRequested) => End::Lost(
                    lapin::ErrorKind::InvalidChannelState(
                        lapin::ChannelState::Error,
                        "the channel does not confirm",
                    )
                    .into(),
                ),
                Err(e) => End::Lost(e),
            }
        }
    };
    (number, end)
}

fn confirm_of(ack: bool, returned: Option<BasicReturnMessage>) -> Confirm {
    let returned = returned.map(|r| Returned {
        message_id: r.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
        exchange: r.exchange.to_string(),
        routing_key: r.routing_key.to_string(),
        reason: r.reply_text.to_string(),
    });
    Confirm { ack, returned }
}

/// Whether the broker closed the channel because of this exchange: it is missing (404) or
/// forbidden (403). Then it took none of the messages for it.
fn refused_exchange(error: Option<&lapin::Error>, exchange: &str) -> bool {
    let Some(lapin::ErrorKind::ProtocolError(e)) = error.map(lapin::Error::kind) else { return false };
    matches!(e.get_id(), 403 | 404) && e.get_message().as_str().contains(&format!("exchange '{exchange}'"))
}

/// A waker that remembers having been used.
#[derive(Default)]
struct Woken {
    flag: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.flag.store(true, Ordering::Release);
        self.outer.wake();
    }
}
