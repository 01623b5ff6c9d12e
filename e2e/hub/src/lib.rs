//! A folder, served with the protocol of the Hugging Face hub: for tests, which have no internet.
//!
//! What the hub's own clients use is there: looking a revision up, listing it page by page, resolving a file (a small one
//! by a relative redirect, a large one on another port, as a CDN has them), ranges, ETags, the hub's error codes. And on
//! demand it does what networks do: [`Faults`].

mod api;
mod body;
mod faults;
mod repo;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};

use hyper::Response;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use body::Body;
use state::Shared;

pub use faults::{Answer, Faults};
pub use state::{Access, Seen, Settings};

/// A running hub; dropping it ends it.
pub struct Hub {
    /// Address of the API.
    pub address: SocketAddr,
    /// Address of large files.
    pub cdn: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

type Answering = fn(&Shared, &Parts) -> Response<Body>;

impl Hub {
    /// Binds both sockets and serves.
    ///
    /// # Errors
    /// When an address cannot be had.
    pub async fn start(settings: Settings, faults: Faults) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let cdn_listener = TcpListener::bind(settings.cdn_listen).await?;
        let (address, cdn) = (listener.local_addr()?, cdn_listener.local_addr()?);
        let shared = Arc::new(Shared::new(settings, faults, cdn));
        let tasks = [
            tokio::spawn(serve(listener, Arc::clone(&shared), false)),
            tokio::spawn(serve(cdn_listener, Arc::clone(&shared), true)),
        ];
        Ok(Self { address, cdn, shared, tasks })
    }

    /// What `HF_ENDPOINT` has to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The commit of a branch.
    ///
    /// # Errors
    /// When it cannot be read, or is not there.
    pub fn commit(&self, repo: &str, revision: &str) -> io::Result<String> {
        let found = self.shared.revision(repo, revision)?;
        found.map(|revision| revision.commit).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What goes wrong, to be changed.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.shared.faults()
    }

    /// The requests since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, cdn: bool) {
    let answer: Answering = if cdn { api::cdn } else { api::hub };
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let shared = Arc::clone(&shared);
                let parts = request.into_parts().0;
                shared.see(cdn, &parts);
                async move {
                    // Hashing a model takes a while, and other connections must not wait for it.
                    let answer = tokio::task::spawn_blocking(move || answer(&shared, &parts)).await;
                    Ok::<_, Infallible>(answer.unwrap_or_else(|_| {
                        let mut response = Response::new(body::text("the test hub panicked"));
                        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
                        response
                    }))
                }
            });
            // A client that goes away, or a connection that is broken on purpose.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}
