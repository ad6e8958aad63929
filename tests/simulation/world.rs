//! Virtual time: an executor of one thread whose clock stands still while anything can run, and in which
//! nothing is random but what a seed says. Tasks belong to processes, and a process can be killed or frozen.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use jiff::{SignedDuration, Timestamp};

/// Milliseconds of virtual time.
pub(crate) type Ms = u64;
/// A process. The first is the world outside: networks, devices, the broker, the database.
pub(crate) type Process = usize;
/// The world outside, which neither dies nor freezes.
pub(crate) const OUTSIDE: Process = 0;

/// When it begins, by clocks that are right.
const EPOCH_S: i64 = 1_800_000_000;

/// The moment that a clock which is right tells.
pub(crate) fn since_the_epoch(at: Timestamp) -> Ms {
    u64::try_from(at.as_millisecond() - EPOCH_S * 1_000).unwrap_or(0)
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    process: Process,
    work: Option<Work>,
}

#[derive(Debug)]
struct Fate {
    name: String,
    alive: bool,
    frozen_until: Ms,
    /// How far its clock is ahead, in milliseconds.
    skew: i64,
    /// Tasks that wait for its death.
    mourners: Vec<usize>,
}

struct Inner {
    now: Cell<Ms>,
    /// Orders what happens at the same instant.
    turn: Cell<u64>,
    current: Cell<usize>,
    random: RefCell<fastrand::Rng>,
    timers: RefCell<BinaryHeap<Reverse<(Ms, u64, usize)>>>,
    ready: RefCell<VecDeque<usize>>,
    tasks: RefCell<Vec<Task>>,
    processes: RefCell<Vec<Fate>>,
    /// Whether faults may still happen.
    stormy: Cell<bool>,
    traced: bool,
    on_frost: RefCell<Option<OnFrost>>,
}

/// Who is told when a process freezes, and until when it does.
type OnFrost = Rc<dyn Fn(Process, Ms)>;

/// The world. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World(Rc<Inner>);

/// Prints what happens, where the world is traced.
macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if $world.is_traced() { $world.trace(format!($($text)*)); }
    };
}
pub(crate) use trace;

impl World {
    pub(crate) fn new(seed: u64, traced: bool) -> Self {
        let world = Self(Rc::new(Inner {
            now: Cell::new(0),
            turn: Cell::new(0),
            current: Cell::new(0),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            timers: RefCell::default(),
            ready: RefCell::default(),
            tasks: RefCell::default(),
            processes: RefCell::default(),
            stormy: Cell::new(true),
            traced,
            on_frost: RefCell::default(),
        }));
        world.process("outside", 0);
        world
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.0.traced
    }

    #[allow(clippy::print_stdout, reason = "a trace is for who replays a seed")]
    pub(crate) fn trace(&self, text: String) {
        println!("{:>9.3}  {text}", self.now() as f64 / 1000.0);
    }

    // Chance.

    /// One of `range`, evenly.
    pub(crate) fn pick(&self, range: std::ops::Range<u64>) -> u64 {
        self.0.random.borrow_mut().u64(range)
    }

    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.0.random.borrow_mut().f64() < probability
    }

    /// As [`World::chance`], but never once faults have stopped.
    pub(crate) fn mishap(&self, probability: f64) -> bool {
        self.0.stormy.get() && self.chance(probability)
    }

    pub(crate) fn number(&self) -> u128 {
        self.0.random.borrow_mut().u128(..)
    }

    pub(crate) fn calm_down(&self) {
        self.0.stormy.set(false);
    }

    pub(crate) fn is_stormy(&self) -> bool {
        self.0.stormy.get()
    }

    // Time.

    pub(crate) fn now(&self) -> Ms {
        self.0.now.get()
    }

    /// What the clock of a process says.
    pub(crate) fn clock(&self, process: Process) -> Timestamp {
        let skew = self.0.processes.borrow()[process].skew;
        let at = Timestamp::from_second(EPOCH_S).unwrap();
        at + SignedDuration::from_millis(i64::try_from(self.now()).unwrap() + skew)
    }

    pub(crate) fn sleep(&self, time: Ms) -> Sleep {
        self.sleep_until(self.now() + time)
    }

    /// Between these, evenly.
    pub(crate) fn sleep_between(&self, least: Ms, most: Ms) -> Sleep {
        self.sleep(self.pick(least..most + 1))
    }

    pub(crate) fn sleep_until(&self, until: Ms) -> Sleep {
        Sleep { world: self.clone(), until, is_set: false }
    }

    /// None: it took longer.
    pub(crate) async fn within<T>(&self, until: Ms, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let mut sleep = std::pin::pin!(self.sleep_until(until));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            sleep.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    // Processes.

    pub(crate) fn process(&self, name: impl Into<String>, skew: i64) -> Process {
        let mut processes = self.0.processes.borrow_mut();
        processes.push(Fate { name: name.into(), alive: true, frozen_until: 0, skew, mourners: Vec::new() });
        processes.len() - 1
    }

    pub(crate) fn name(&self, process: Process) -> String {
        self.0.processes.borrow()[process].name.clone()
    }

    pub(crate) fn is_alive(&self, process: Process) -> bool {
        self.0.processes.borrow()[process].alive
    }

    pub(crate) fn frozen_until(&self, process: Process) -> Ms {
        self.0.processes.borrow()[process].frozen_until
    }

    /// The process does nothing until then, and then goes on as if nothing had been.
    pub(crate) fn freeze(&self, process: Process, until: Ms) {
        trace!(self, "{} FREEZES until {:.3}", self.name(process), until as f64 / 1000.0);
        self.0.processes.borrow_mut()[process].frozen_until = until;
        let told = self.0.on_frost.borrow().clone();
        if let Some(told) = told {
            told(process, until);
        }
    }

    /// Who is to be told when a process freezes.
    pub(crate) fn on_frost(&self, told: impl Fn(Process, Ms) + 'static) {
        *self.0.on_frost.borrow_mut() = Some(Rc::new(told));
    }

    /// The process is no more. What it has sent is on its way all the same.
    pub(crate) fn kill(&self, process: Process) {
        trace!(self, "{} DIES", self.name(process));
        let mourners = {
            let fate = &mut self.0.processes.borrow_mut()[process];
            fate.alive = false;
            std::mem::take(&mut fate.mourners)
        };
        for mourner in mourners {
            self.wake(mourner);
        }
        let mut tasks = self.0.tasks.borrow_mut();
        let dead: Vec<Work> =
            tasks.iter_mut().filter(|t| t.process == process).filter_map(|t| t.work.take()).collect();
        drop(tasks);
        drop(dead);
    }

    /// Until the process has died.
    pub(crate) async fn until_dead(&self, process: Process) {
        std::future::poll_fn(|_| {
            let fate = &mut self.0.processes.borrow_mut()[process];
            if fate.alive {
                fate.mourners.push(self.current());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// A step of a process, at which it may die or freeze with these probabilities.
    pub(crate) async fn step_of(&self, process: Process, death: f64, frost: f64, longest: Ms) {
        if self.mishap(death) {
            self.kill(process);
            std::future::pending::<()>().await;
        }
        if self.mishap(frost) {
            self.freeze(process, self.now() + self.pick(100..longest.max(200)));
            self.sleep(1).await;
        }
    }

    pub(crate) fn spawn(&self, process: Process, work: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.tasks.borrow_mut();
        tasks.push(Task { process, work: Some(Box::pin(work)) });
        self.0.ready.borrow_mut().push_back(tasks.len() - 1);
    }

    fn current(&self) -> usize {
        self.0.current.get()
    }

    fn wake(&self, task: usize) {
        self.0.ready.borrow_mut().push_back(task);
    }

    fn alarm(&self, at: Ms, task: usize) {
        let turn = self.0.turn.get();
        self.0.turn.set(turn + 1);
        self.0.timers.borrow_mut().push(Reverse((at, turn, task)));
    }

    /// Runs until `until`, or until nothing is left to do.
    pub(crate) fn run_until(&self, until: Ms) {
        loop {
            while let Some(task) = self.next_ready() {
                self.step(task);
            }
            let next = self.0.timers.borrow().peek().map(|Reverse((at, ..))| *at);
            match next.filter(|at| *at <= until) {
                None => {
                    self.0.now.set(until);
                    return;
                }
                Some(at) => {
                    self.0.now.set(at);
                    let Some(Reverse((_, _, task))) = self.0.timers.borrow_mut().pop() else { return };
                    self.wake(task);
                }
            }
        }
    }

    fn next_ready(&self) -> Option<usize> {
        self.0.ready.borrow_mut().pop_front()
    }

    fn step(&self, task: usize) {
        let (process, work) = {
            let mut tasks = self.0.tasks.borrow_mut();
            let slot = &mut tasks[task];
            if !self.is_alive(slot.process) {
                slot.work = None;
                return;
            }
            let frozen_until = self.frozen_until(slot.process);
            if frozen_until > self.now() {
                if slot.work.is_some() {
                    self.alarm(frozen_until, task);
                }
                return;
            }
            (slot.process, slot.work.take())
        };
        let Some(mut work) = work else { return };
        self.0.current.set(task);
        let mut context = Context::from_waker(Waker::noop());
        if work.as_mut().poll(&mut context).is_pending() && self.is_alive(process) {
            self.0.tasks.borrow_mut()[task].work = Some(work);
        }
    }

    /// Forgets all tasks, which hold the world as it holds them.
    pub(crate) fn end(&self) {
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(tasks);
        self.0.ready.borrow_mut().clear();
        self.0.timers.borrow_mut().clear();
        *self.0.on_frost.borrow_mut() = None;
    }
}

/// Waits for a time.
pub(crate) struct Sleep {
    world: World,
    until: Ms,
    is_set: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.world.now() >= self.until {
            return Poll::Ready(());
        }
        if !self.is_set {
            self.is_set = true;
            self.world.alarm(self.until, self.world.current());
        }
        Poll::Pending
    }
}

/// Wakes all who wait for a change; they look for themselves whether it is the one they want.
#[derive(Clone)]
pub(crate) struct Signal {
    world: World,
    waiting: Rc<RefCell<Vec<usize>>>,
}

impl Signal {
    pub(crate) fn new(world: &World) -> Self {
        Self { world: world.clone(), waiting: Rc::default() }
    }

    pub(crate) fn notify(&self) {
        for task in self.waiting.borrow_mut().drain(..) {
            self.world.wake(task);
        }
    }

    /// Until `look` finds something.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        std::future::poll_fn(|_| match look() {
            Some(found) => Poll::Ready(found),
            None => {
                self.waiting.borrow_mut().push(self.world.current());
                Poll::Pending
            }
        })
        .await
    }
}

/// One of several things that are done at once.
pub(crate) type One<'f, T> = Pin<Box<dyn Future<Output = T> + 'f>>;

/// All of them, each going on while the others wait.
pub(crate) async fn all<T>(work: Vec<One<'_, T>>) -> Vec<T> {
    let mut work: Vec<_> = work.into_iter().map(Some).collect();
    let mut done: Vec<Option<T>> = work.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (work, done) in work.iter_mut().zip(&mut done) {
            if let Some(pending) = work
                && let Poll::Ready(result) = pending.as_mut().poll(cx)
            {
                *done = Some(result);
                *work = None;
            }
        }
        if work.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
