//! A way to take servers away.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::support::{Scope, amqp_url, authority};

/// A TCP proxy that can be closed: whatever is behind it is away then.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    open: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Proxy {
    pub(crate) async fn to_database(scope: &Scope) -> Self {
        Self::to(authority(&scope.database.url())).await
    }

    pub(crate) async fn to_broker() -> Self {
        Self::to(authority(&amqp_url())).await
    }

    async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::new(AtomicBool::new(true)),
            cut: Arc::default(),
        };
        let (open, cut) = (Arc::clone(&proxy.open), Arc::clone(&proxy.cut));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let (target, cut) = (target.clone(), Arc::clone(&cut));
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(&target).await.unwrap();
                    tokio::select! {
                        () = cut.notified() => {}
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        proxy
    }

    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.cut.notify_waiters();
    }

    pub(crate) fn reopen(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}
