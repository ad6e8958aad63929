//! A broker: queues that deliver at least once, and every now and then twice, late, in another order, or to
//! somebody else because a connection was lost.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use jiff::Timestamp;
use turnup_core::message::{Claim, ClaimAnswer, Due, Stage, StateChange};

use crate::{
    store::Job,
    world::{Ms, OUTSIDE, Process, Signal, World, trace},
};

/// After so long without a word the broker takes a connection for dead.
const HEARTBEAT: Ms = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Queue {
    Due,
    Deploy(usize),
    State(u8),
    Claim,
}

/// Where an answer to a claim goes.
#[derive(Clone)]
pub(crate) struct ReplyTo {
    pub(crate) answer: Rc<RefCell<Option<ClaimAnswer>>>,
    pub(crate) arrived: Signal,
}

#[derive(Clone)]
pub(crate) enum Body {
    Due(Due),
    Work { job: Rc<Job>, stage: Stage, attempt: i32 },
    Report(Box<StateChange>),
    Claim(Claim, ReplyTo),
}

#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) body: Body,
    /// Marked as one that may have been published before.
    pub(crate) republished: bool,
    pub(crate) redelivered: bool,
    /// Its timestamp, by the clock of who has sent it.
    pub(crate) published_at: Timestamp,
}

/// What is not acknowledged yet, by delivery.
type Unacked = BTreeMap<u64, (Queue, Message)>;

/// A connection of a process, as both ends see it.
pub(crate) struct Connection {
    process: Process,
    /// Whether the broker has it.
    open: Cell<bool>,
    /// Whether the client believes so.
    believed: Cell<bool>,
    unacked: RefCell<Unacked>,
    /// What it reads from.
    queues: Vec<Queue>,
    /// What the broker has sent while the process was frozen.
    inbox: RefCell<VecDeque<Delivery>>,
}

impl Connection {
    /// Whether what was delivered over it is still ours, as far as the client knows.
    pub(crate) fn is_believed(&self) -> bool {
        self.believed.get()
    }
}

/// A message in a receiver's hands.
pub(crate) struct Delivery {
    pub(crate) message: Message,
    pub(crate) received_at: Ms,
    pub(crate) connection: Rc<Connection>,
    tag: u64,
}

/// Why a publish is not known to have worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unconfirmed {
    /// It may be in the queue all the same.
    pub(crate) maybe_published: bool,
}

/// How likely the broker does harm.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Roughness {
    pub(crate) duplicate: f64,
    pub(crate) reorder: f64,
    pub(crate) delay: f64,
    pub(crate) lose: f64,
    pub(crate) unconfirmed: f64,
}

struct Inner {
    world: World,
    queues: RefCell<BTreeMap<Queue, Vec<Message>>>,
    connections: RefCell<Vec<Rc<Connection>>>,
    changed: Signal,
    tags: Cell<u64>,
    rough: Roughness,
}

/// The broker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Broker(Rc<Inner>);

impl Broker {
    pub(crate) fn new(world: &World, rough: Roughness) -> Self {
        Self(Rc::new(Inner {
            world: world.clone(),
            queues: RefCell::default(),
            connections: RefCell::default(),
            changed: Signal::new(world),
            tags: Cell::new(0),
            rough,
        }))
    }

    /// A new connection that reads from these queues.
    pub(crate) fn connect(&self, process: Process, queues: &[Queue]) -> Rc<Connection> {
        let connection = Rc::new(Connection {
            process,
            open: Cell::new(true),
            believed: Cell::new(true),
            unacked: RefCell::default(),
            queues: queues.to_vec(),
            inbox: RefCell::default(),
        });
        self.0.connections.borrow_mut().push(Rc::clone(&connection));
        connection
    }

    pub(crate) fn depth(&self, queue: Queue) -> usize {
        self.0.queues.borrow().get(&queue).map_or(0, Vec::len)
    }

    /// Whether nothing is in any queue or hand.
    pub(crate) fn is_empty(&self) -> bool {
        let queues = self.0.queues.borrow().values().all(Vec::is_empty);
        queues && self.0.connections.borrow().iter().all(|c| c.unacked.borrow().is_empty())
    }

    fn put(&self, queue: Queue, message: Message, first: bool) {
        let mut queues = self.0.queues.borrow_mut();
        let queue = queues.entry(queue).or_default();
        if first {
            queue.insert(0, message)
        } else {
            queue.push(message)
        }
        drop(queues);
        self.0.changed.notify();
    }

    /// Publishes, and waits until that is confirmed.
    pub(crate) async fn publish(&self, queue: Queue, body: Body) -> Result<(), Unconfirmed> {
        let published_at = self.0.world.clock(OUTSIDE);
        self.send_out(queue, Message { body, republished: false, redelivered: false, published_at }).await
    }

    /// As [`Broker::publish`], a message with all that it says of itself.
    pub(crate) async fn send_out(&self, queue: Queue, message: Message) -> Result<(), Unconfirmed> {
        let (world, rough) = (&self.0.world, self.0.rough);
        world.sleep_between(0, 5).await;
        if world.mishap(rough.unconfirmed) {
            world.sleep_between(0, 5_000).await;
            return Err(Unconfirmed { maybe_published: world.chance(0.5) });
        }
        self.accept(queue, message);
        world.sleep_between(0, 5).await;
        if world.mishap(rough.unconfirmed) {
            world.sleep_between(0, 5_000).await;
            return Err(Unconfirmed { maybe_published: true });
        }
        Ok(())
    }

    fn accept(&self, queue: Queue, message: Message) {
        let (world, rough) = (&self.0.world, self.0.rough);
        if world.mishap(rough.lose) {
            trace!(world, "the broker LOSES a message of {queue:?}");
            return;
        }
        if world.mishap(rough.duplicate) {
            // Work that comes a second time says so; of everything else no receiver minds.
            let again = Message { republished: true, ..message.clone() };
            self.later(queue, again, world.pick(0..120_000));
        }
        if world.mishap(rough.delay) {
            self.later(queue, message, world.pick(0..90_000));
            return;
        }
        let first = world.mishap(rough.reorder);
        self.put(queue, message, first);
    }

    fn later(&self, queue: Queue, message: Message, after: Ms) {
        let broker = self.clone();
        self.0.world.spawn(OUTSIDE, async move {
            broker.0.world.sleep(after).await;
            broker.put(queue, message, false);
        });
    }

    /// The next message; none once the client knows that the connection is gone.
    pub(crate) async fn next(&self, connection: &Rc<Connection>) -> Option<Delivery> {
        let taken = self.0.changed.until(|| {
            if !connection.is_believed() {
                return Some(None);
            }
            self.take(connection).map(Some)
        });
        let delivery = taken.await?;
        self.0.world.sleep_between(0, 3).await;
        Some(delivery)
    }

    /// One more, if there is one at once.
    pub(crate) fn take(&self, connection: &Rc<Connection>) -> Option<Delivery> {
        let waiting = connection.inbox.borrow_mut().pop_front();
        let delivery = waiting.or_else(|| self.send(connection))?;
        Some(Delivery { received_at: self.0.world.now(), ..delivery })
    }

    fn send(&self, connection: &Rc<Connection>) -> Option<Delivery> {
        if !connection.open.get() {
            return None;
        }
        let mut all = self.0.queues.borrow_mut();
        let is_full = |queue: &&Queue| all.get(queue).is_some_and(|messages| !messages.is_empty());
        let queue = *connection.queues.iter().find(is_full)?;
        let message = all.get_mut(&queue)?.remove(0);
        let tag = self.0.tags.get() + 1;
        self.0.tags.set(tag);
        connection.unacked.borrow_mut().insert(tag, (queue, message.clone()));
        Some(Delivery { message, received_at: self.0.world.now(), connection: Rc::clone(connection), tag })
    }

    /// Acknowledges. Without effect if the broker has given it to somebody else.
    pub(crate) fn ack(&self, delivery: &Delivery) {
        delivery.connection.unacked.borrow_mut().remove(&delivery.tag);
    }

    /// Gives it back.
    pub(crate) fn release(&self, delivery: &Delivery) {
        let given = delivery.connection.unacked.borrow_mut().remove(&delivery.tag);
        if let Some((queue, message)) = given {
            let broker = self.clone();
            self.0.world.spawn(OUTSIDE, async move {
                broker.0.world.sleep_between(0, 1_000).await;
                broker.put(queue, Message { redelivered: true, ..message }, true);
            });
        }
    }

    /// The broker gives up a connection: what was in the client's hands goes back.
    fn close(&self, connection: &Connection) {
        if connection.open.replace(false) {
            let unacked = std::mem::take(&mut *connection.unacked.borrow_mut());
            for (_, (queue, message)) in unacked.into_iter().rev() {
                self.put(queue, Message { redelivered: true, ..message }, true);
            }
        }
    }

    fn connections_of(&self, process: Process) -> Vec<Rc<Connection>> {
        let connections = self.0.connections.borrow();
        connections.iter().filter(|c| c.process == process && c.open.get()).cloned().collect()
    }

    /// A process loses its connections. Either end may notice first.
    pub(crate) fn disconnect(&self, process: Process) {
        for connection in self.connections_of(process) {
            let (broker, world) = (self.clone(), self.0.world.clone());
            let (own, other) = (world.pick(0..HEARTBEAT), world.pick(0..HEARTBEAT));
            trace!(world, "{} LOSES its connection", world.name(process));
            let closed = Rc::clone(&connection);
            world.clone().spawn(OUTSIDE, async move {
                world.sleep(own).await;
                broker.close(&closed);
            });
            let broker = self.clone();
            self.0.world.spawn(process, async move {
                broker.0.world.sleep(other).await;
                connection.believed.set(false);
                broker.0.changed.notify();
            });
        }
    }

    /// A process has died.
    pub(crate) fn bury(&self, process: Process) {
        for connection in self.connections_of(process) {
            let broker = self.clone();
            let world = self.0.world.clone();
            let after = if world.chance(0.7) { world.pick(0..100) } else { world.pick(0..HEARTBEAT) };
            self.0.world.spawn(OUTSIDE, async move {
                world.sleep(after).await;
                broker.close(&connection);
            });
        }
    }

    /// A process is frozen. It may be sent messages all the same; and if it is frozen for long, the broker
    /// gives its connections up, which it notices some time after it has gone on.
    pub(crate) fn chill(&self, process: Process, until: Ms) {
        let world = &self.0.world;
        for connection in self.connections_of(process) {
            if world.chance(0.5) {
                let (broker, connection) = (self.clone(), Rc::clone(&connection));
                world.spawn(OUTSIDE, async move {
                    let sent = broker.0.changed.until(|| broker.send(&connection));
                    if let Some(delivery) = broker.0.world.within(until, sent).await {
                        connection.inbox.borrow_mut().push_back(delivery);
                        broker.0.world.sleep_until(until).await;
                        broker.0.changed.notify();
                    }
                });
            }
            if until < world.now() + HEARTBEAT {
                continue;
            }
            let (broker, world) = (self.clone(), world.clone());
            let noticed = until + world.pick(0..200);
            world.clone().spawn(OUTSIDE, async move {
                world.sleep(HEARTBEAT).await;
                broker.close(&connection);
                world.sleep_until(noticed).await;
                connection.believed.set(false);
                broker.0.changed.notify();
            });
        }
    }

    /// Asks the schedulers once.
    pub(crate) async fn ask(&self, claim: Claim, within: Ms) -> Result<ClaimAnswer, ()> {
        let world = &self.0.world;
        let until = world.now() + within;
        let reply = ReplyTo { answer: Rc::default(), arrived: Signal::new(world) };
        let (answer, arrived) = (Rc::clone(&reply.answer), reply.arrived.clone());
        let body = Body::Claim(claim, reply);
        let question = async {
            self.publish(Queue::Claim, body).await.map_err(|_| ())?;
            Ok(arrived.until(|| answer.borrow_mut().take()).await)
        };
        world.within(until, question).await.unwrap_or(Err(()))
    }

    /// Answers a claim.
    pub(crate) async fn reply(&self, to: &ReplyTo, answer: ClaimAnswer) {
        self.0.world.sleep_between(0, 5).await;
        if !self.0.world.mishap(self.0.rough.unconfirmed) {
            *to.answer.borrow_mut() = Some(answer);
            to.arrived.notify();
        }
    }
}
