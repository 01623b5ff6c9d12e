//! Starting the program and talking to it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A small checkpoint with random weights: pictures of noise, but quickly.
pub(crate) fn tiny_model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline/tests/checkpoints/sd1").display().to_string()
}

/// The model that the drawing tests use.
pub(crate) fn model() -> String {
    "bundled://emoji".into()
}

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Server {
    /// Starts the program on the tiny model and waits until it is ready.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        Self::with_model(&tiny_model(), flags).await
    }

    pub(crate) async fn with_model(model: &str, flags: &[&str]) -> Self {
        Self::spawn(model, flags).await.wait_until_ready().await
    }

    async fn wait_until_ready(self) -> Self {
        let began = Instant::now();
        while self.admin("/readyz").await.0.status != StatusCode::OK {
            assert!(began.elapsed() < PATIENCE, "never ready; log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// As [`Self::start`], started by another program.
    pub(crate) async fn start_within(prefix: &[&str], flags: &[&str]) -> Self {
        let mut command = Command::new(prefix[0]);
        command.args(&prefix[1..]).arg(program().get_program());
        Self::spawn_command(command, &tiny_model(), flags).await.wait_until_ready().await
    }

    /// Starts the program and waits until its sockets are bound.
    pub(crate) async fn spawn(model: &str, flags: &[&str]) -> Self {
        Self::spawn_command(program(), model, flags).await
    }

    async fn spawn_command(mut command: Command, model: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = folder.path().join("ports");
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut child = command
            .args(["serve", "--model", model, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--port-file"])
            .arg(&ports)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(&ports) {
                break text;
            }
            let end = child.try_wait().unwrap();
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
            assert!(end.is_none() && began.elapsed() < PATIENCE, "it did not start: {log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let find = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap()
        };
        let (address, admin) = (find("LISTEN"), find("ADMIN_LISTEN"));
        Self { child, folder, address, admin }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits for the log line of a request.
    pub(crate) async fn log_line(&self, id: &str) -> Value {
        let began = Instant::now();
        loop {
            let log = self.log();
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = lines.find(|line| line["id"] == id) {
                return line;
            }
            assert!(began.elapsed() < PATIENCE, "no line of {id} in\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.unwrap().success());
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not exit; log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn admin(&self, path: &str) -> (Parts, Bytes) {
        send(self.admin, get(path)).await
    }

    /// A metric's value.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.admin("/metrics").await;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    pub(crate) async fn wait_for_metric(&self, name: &str, right: impl Fn(f64) -> bool) {
        let began = Instant::now();
        loop {
            let value = self.metric(name).await;
            if right(value) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{name} is {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> (Parts, Bytes) {
        send(self.address, request).await
    }

    pub(crate) async fn generate(&self, json: &str) -> (Parts, Bytes) {
        self.send(post(json)).await
    }

    /// It is still there and well: after whatever a test did to it.
    pub(crate) async fn is_well(&self) {
        let (parts, body) = self.generate(r#"{"prompt": "still there", "steps": 1}"#).await;
        assert_eq!(parts.status, StatusCode::OK, "{body:?}\n{}", self.log());
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diffusion-server"));
    // What the person who runs the tests has set for other purposes.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DIFFUSION_")) {
        command.env_remove(name);
    }
    command
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "test").body(Full::default()).unwrap()
}

pub(crate) fn post(json: &str) -> Request<Full<Bytes>> {
    request(Method::POST, "/generate", &[("content-type", "application/json")], json.to_owned())
}

pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "test");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into())).unwrap()
}

/// One request on a connection of its own.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> (Parts, Bytes) {
    soon(async {
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        (parts, body.collect().await.unwrap().to_bytes())
    })
    .await
}

/// One HTTP/1 connection that is kept open.
pub(crate) async fn http1(address: SocketAddr) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// One HTTP/2 connection, with prior knowledge.
pub(crate) async fn http2(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("no {name} in {headers:?}")).to_str().unwrap()
}

/// A problem document with this status; its members.
pub(crate) fn problem((parts, body): &(Parts, Bytes), status: u16) -> Value {
    let text = String::from_utf8_lossy(body);
    assert_eq!(parts.status.as_u16(), status, "{text}");
    assert_eq!(header(&parts.headers, "content-type"), "application/problem+json");
    let document: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(document["status"], status, "{text}");
    for member in ["type", "title", "detail", "request_id"] {
        assert!(document[member].is_string(), "{member} in {text}");
    }
    document
}
