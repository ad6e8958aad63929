//! What the tests on a real broker share: a prefix of one's own that is cleaned up whatever
//! happens, and a TCP proxy between us and the broker that can be cut and frozen.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use turnup_broker::topology::{Options, Table, Target};
use turnup_broker::{Broker, Settings, declare, delete};

pub(crate) const SECONDS_30: Duration = Duration::from_secs(30);
pub(crate) const REGION: &str = "eu-west";

/// Where RabbitMQ is, for tests: `TURNUP_TEST_AMQP` as `user:password@host:port`.
fn authority() -> String {
    std::env::var("TURNUP_TEST_AMQP").unwrap_or_else(|_| "guest:guest@127.0.0.1:5672".to_owned())
}

pub(crate) fn settings(prefix: &str) -> Settings {
    Settings {
        prefix: prefix.to_owned(),
        ladder_levels: 3,
        ..Settings::new(format!("amqp://{}/%2f", authority()))
    }
}

/// A prefix of one's own.
pub(crate) struct Scope {
    pub(crate) broker: Broker,
    pub(crate) table: Table,
}

impl Scope {
    /// The part of the topology that the queues named so need (names without prefix).
    pub(crate) fn only(&self, queues: &[&str]) -> Table {
        let wanted =
            |name: &str| queues.iter().any(|q| name == format!("{}.{q}", self.broker.names().prefix()));
        let mut table = self.table.clone();
        table.queues.retain(|q| wanted(&q.name));
        table.bindings.retain(|b| match &b.target {
            Target::Queue(queue) => wanted(queue),
            Target::Exchange(_) => true,
        });
        table
    }

    /// The broker's URL, for tests that must speak AMQP themselves.
    pub(crate) fn amqp_url(&self) -> String {
        format!("amqp://{}/%2f", authority())
    }

    /// A second handle whose connections go through the proxy.
    pub(crate) fn through(&self, proxy: &Proxy) -> Broker {
        let authority = authority();
        let user = authority.split('@').next().unwrap();
        let url = format!("amqp://{user}@{}/%2f", proxy.address);
        // Impatient, so that a silent connection is noticed soon.
        let impatient = Settings { heartbeat_s: 1, rpc_timeout_ms: 2_000, ..self.broker.settings().clone() };
        Broker::new(Settings { url: url.into(), ..impatient }).unwrap()
    }

    pub(crate) async fn depth(&self, queue: &str) -> u32 {
        self.broker.depth(queue).await.unwrap().messages
    }

    /// Waits until the queue has so many ready messages.
    pub(crate) async fn wait_depth(&self, queue: &str, wanted: u32) {
        wait(&format!("{queue} to have {wanted} messages"), async || self.depth(queue).await == wanted).await;
    }
}

/// Waits for a condition.
pub(crate) async fn wait(what: &str, condition: impl AsyncFn() -> bool) {
    let until = tokio::time::Instant::now() + SECONDS_30;
    while !condition().await {
        assert!(tokio::time::Instant::now() < until, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a test under a prefix of its own and removes everything of it afterwards, also when the
/// test fails. `queues` (without prefix) are declared with what they need; none means all.
pub(crate) fn run(queues: &[&str], test: impl AsyncFnOnce(Arc<Scope>)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let broker = Broker::new(settings(&format!("test-{}", &id[20..]))).unwrap();
        let options = Options { regions: vec![REGION.to_owned()], ladder_levels: 3, ..Options::default() };
        let table = Table::new(broker.names(), &options);
        let scope = Arc::new(Scope { broker, table });
        let declared = if queues.is_empty() { scope.table.clone() } else { scope.only(queues) };
        declare(&scope.broker, &declared).await.unwrap();
        let test = tokio::time::timeout(Duration::from_secs(60), test(Arc::clone(&scope)));
        let outcome = AssertUnwindSafe(test).catch_unwind().await;
        delete(&scope.broker, &scope.table).await.unwrap();
        match outcome {
            Ok(in_time) => in_time.expect("the test took too long"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

/// A TCP proxy to the broker.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    open: Arc<AtomicBool>,
    cut: Arc<Notify>,
    frozen: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = authority();
        let target = authority.split('@').nth(1).unwrap().to_owned();
        let (frozen, watch) = watch::channel(false);
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::new(AtomicBool::new(true)),
            cut: Arc::default(),
            frozen,
        };
        let (open, cut) = (Arc::clone(&proxy.open), Arc::clone(&proxy.cut));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&target).await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (cut, watch) = (Arc::clone(&cut), watch.clone());
                tokio::spawn(async move {
                    let (client_in, client_out) = client.into_split();
                    let (server_in, server_out) = server.into_split();
                    tokio::select! {
                        () = cut.notified() => {}
                        () = copy(client_in, server_out, watch.clone()) => {}
                        () = copy(server_in, client_out, watch) => {}
                    }
                });
            }
        });
        proxy
    }

    /// Closes every connection; new ones are accepted.
    pub(crate) fn cut(&self) {
        self.cut.notify_waiters();
    }

    /// Closes every connection and takes no new ones until [`Self::reopen`].
    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.cut();
    }

    pub(crate) fn reopen(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Lets nothing through, but closes nothing.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send(frozen).unwrap();
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else { return };
        if frozen.wait_for(|f| !f).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
