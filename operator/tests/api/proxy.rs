//! Stands between the operator and the API server: counts writes and makes faults.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use kube::{Client, client::Body};
use tokio::{net::TcpListener, task::JoinHandle};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It gets through.
    None,
    /// Writes are answered with 500.
    WritesFail,
    /// Nothing is ever answered.
    Hang,
    /// The status can't be written.
    StatusFails,
    /// Somebody else wrote the Deployment just before the first three writes of its number of pods.
    Race,
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    client: Client,
    fault: Mutex<Fault>,
    writes: Mutex<Vec<String>>,
    refused: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn start(client: Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            client,
            fault: Mutex::new(Fault::None),
            writes: Mutex::default(),
            refused: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let forward = service_fn(move |request| forward(Arc::clone(&state), request));
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), forward)
                        .await;
                });
            }
        });
        Self { url, state, task }
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// Writes that got through, Leases left out: method and path.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state.writes.lock().unwrap().clone()
    }

    /// Requests that a fault was made of.
    pub(crate) fn refused(&self) -> usize {
        self.state.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let write = head.method != Method::GET;
    let path = head.uri.path().to_owned();
    let fault = *state.fault.lock().unwrap();
    let hit = match fault {
        Fault::None => false,
        Fault::WritesFail => write,
        Fault::Hang => true,
        Fault::StatusFails => write && path.ends_with("/status"),
        Fault::Race => {
            let query = head.uri.query().unwrap_or_default();
            query.contains("diffusion-operator-replicas") && state.refused.load(Ordering::SeqCst) < 3
        }
    };
    if hit {
        state.refused.fetch_add(1, Ordering::SeqCst);
        if fault == Fault::Hang {
            std::future::pending::<()>().await;
        }
        let conflict = fault == Fault::Race;
        return Ok(answer(if conflict { StatusCode::CONFLICT } else { StatusCode::INTERNAL_SERVER_ERROR }));
    }
    if write && !path.contains("/leases") {
        state.writes.lock().unwrap().push(format!("{} {path}", head.method));
    }
    let mut onward = Request::builder().method(head.method).uri(head.uri.path_and_query().unwrap().as_str());
    for (name, value) in
        head.headers.iter().filter(|(n, _)| !matches!(n.as_str(), "host" | "authorization" | "connection"))
    {
        onward = onward.header(name, value);
    }
    let body = body.collect().await.map(|b| b.to_bytes().to_vec()).unwrap_or_default();
    let response = state.client.send(onward.body(Body::from(body)).unwrap()).await;
    Ok(response.unwrap_or_else(|_| answer(StatusCode::BAD_GATEWAY)))
}

fn answer(status: StatusCode) -> Response<Body> {
    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(),
        "message": "a fault of the test", "reason": "InternalError"});
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string().into_bytes()))
        .unwrap()
}
