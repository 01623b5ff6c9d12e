//! Sockets: accepting them, serving HTTP/1 and HTTP/2 on them, and closing them when told.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::body::Body;
use super::io::Guarded;
use crate::metrics::Metrics;

/// Bounds of connections.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Open at one time; more wait in the system's backlog.
    pub max: usize,
    /// Time for the head of a request, and for a connection to be idle.
    pub header_timeout: Duration,
    /// Time for a client to read on.
    pub write_timeout: Duration,
}

/// One listening socket and its connections.
pub struct Server {
    stage: watch::Sender<Stage>,
    accepting: tokio::task::JoinHandle<()>,
}

/// What connections are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Clients are to go elsewhere with their next request. Answers over HTTP/1 say so themselves.
    Draining,
    Closing,
}

impl Server {
    /// Serves `handler` on `listener`.
    pub fn start<H, F>(listener: TcpListener, bounds: Connections, metrics: Arc<Metrics>, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let stage = watch::Sender::new(Stage::Open);
        let acceptor = Acceptor { bounds, metrics, stage: stage.subscribe() };
        let accepting = tokio::spawn(acceptor.run(listener, handler));
        Self { stage, accepting }
    }

    /// Tells clients to open new connections, which a balancer leads to other servers. HTTP/2 has GOAWAY for that: streams
    /// that are open are finished, and a client may safely send elsewhere what came too late.
    pub fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
    }

    /// Takes no more connections, lets the requests in the open ones finish, and waits for that.
    pub async fn close(self) {
        self.stage.send_replace(Stage::Closing);
        let _ = self.accepting.await;
        // Every connection holds a receiver.
        self.stage.closed().await;
    }
}

#[derive(Clone)]
struct Acceptor {
    bounds: Connections,
    metrics: Arc<Metrics>,
    stage: watch::Receiver<Stage>,
}

impl Acceptor {
    async fn run<H, F>(self, listener: TcpListener, handler: H)
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.bounds.max));
        let mut stage = self.stage.clone();
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                // An error means that the server is gone.
                _ = stage.wait_for(|stage| *stage == Stage::Closing) => return,
                next = next => next,
            };
            match (place, accepted) {
                (Ok(place), Ok((socket, _))) => {
                    tokio::spawn(self.clone().serve(socket, place, handler.clone()));
                }
                (_, Err(error)) => {
                    // Out of file descriptors, mostly: others have to end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (Err(_), _) => return,
            }
        }
    }

    async fn serve<H, F>(mut self, socket: TcpStream, _place: OwnedSemaphorePermit, handler: H)
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let _counted = self.metrics.connection();
        let _ = socket.set_nodelay(true);
        let Connections { header_timeout, write_timeout, .. } = self.bounds;
        let builder = builder(header_timeout);
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request: Request<Incoming>| {
            let busy = Activity::enter(&activity);
            if request.version() == Version::HTTP_2 {
                activity.http2.store(true, Ordering::Relaxed);
            }
            let response = handler(request);
            async move {
                let response = response.await;
                drop(busy);
                response
            }
        });
        let io = TokioIo::new(Guarded::new(socket, header_timeout, write_timeout));
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        let mut closing = false;
        let mut seen = 0;
        let mut look = tokio::time::interval(header_timeout.max(Duration::from_secs(1)));
        look.reset();
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(error, "a connection ended early");
                    }
                    return;
                }
                // An error means that the server is gone, which is a reason to close too.
                changed = self.stage.changed(), if !closing => {
                    let draining = changed.is_ok() && *self.stage.borrow_and_update() == Stage::Draining;
                    if !draining || activity.http2.load(Ordering::Relaxed) {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
                // HTTP/1 has its own timer between requests; this one is for HTTP/2.
                _ = look.tick(), if !closing => {
                    let (begun, inside) = activity.look();
                    if inside == 0 && begun == seen {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    seen = begun;
                }
            }
        }
    }
}

fn builder(header_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(64 << 10)
        .max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(64)
        .max_header_list_size(16 << 10)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Requests of one connection: begun ever, and now inside.
#[derive(Default)]
struct Activity {
    begun: AtomicUsize,
    inside: AtomicUsize,
    http2: AtomicBool,
}

impl Activity {
    fn enter(this: &Arc<Self>) -> Inside {
        this.begun.fetch_add(1, Ordering::Relaxed);
        this.inside.fetch_add(1, Ordering::Relaxed);
        Inside(Arc::clone(this))
    }

    fn look(&self) -> (usize, usize) {
        (self.begun.load(Ordering::Relaxed), self.inside.load(Ordering::Relaxed))
    }
}

struct Inside(Arc<Activity>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}
