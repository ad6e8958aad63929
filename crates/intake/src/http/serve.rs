//! The server: connections with deadlines and a bound, drained at shutdown.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Pause after a connection could not be accepted, such as for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_connections: usize,
    /// For a request's head, also on a connection that is kept open.
    pub(crate) head: Duration,
    /// For requests in work at shutdown.
    pub(crate) drain: Duration,
}

/// Serves until `shutdown`, then lets requests in work end.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(bounds.max_connections));
    let connections = TaskTracker::new();
    let end = CancellationToken::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (router, shutdown, end) = (router.clone(), shutdown.clone(), end.clone());
        connections.spawn(async move {
            let _place = place;
            tokio::select! {
                () = end.cancelled() => {}
                () = connection(stream, router, bounds.head, shutdown) => {}
            }
        });
    }
    drop(listener);
    connections.close();
    if timeout(bounds.drain, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests were still in work at the end of the time to drain"
        );
        end.cancel();
        connections.wait().await;
    }
}

async fn connection(stream: TcpStream, router: Router, head: Duration, shutdown: CancellationToken) {
    // Answers are whole; waiting for more to send only makes them late.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}
