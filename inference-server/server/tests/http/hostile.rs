//! Clients that are slow, huge, or gone.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Server, post, problem, soon};

/// Writes, then reads until the server closes.
async fn raw(server: &Server, text: &[u8]) -> String {
    soon(async {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(text).await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good as an end here.
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_with_words() {
    let server = Server::start(&[]).await;
    // With a length, it is refused before it is read; without, as soon as it is too much. Either way the client that goes
    // on sending gets to read the answer.
    for head in ["content-length: 100000000", "transfer-encoding: chunked"] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let head =
            format!("POST /generate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{head}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![b' '; 1_000_000];
        for _ in 0..100 {
            if head.contains("chunked") {
                socket.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
            }
            socket.write_all(&chunk).await.unwrap();
            if head.contains("chunked") {
                socket.write_all(b"\r\n").await.unwrap();
            }
        }
        let mut answer = vec![0; 12];
        soon(socket.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 413");
    }
    // More than a request without a picture may have, but less than one with.
    let large = format!(r#"{{"prompt": "a"{}}}"#, " ".repeat(2 << 20));
    let document = problem(&server.send(post(&large)).await, 413);
    assert!(document["detail"].as_str().unwrap().contains("1048576 bytes"), "{document}");
    server.is_well().await;
}

#[tokio::test]
async fn slow_heads_and_bodies_are_cut_off() {
    let server = Server::start(&["--header-timeout", "1", "--body-timeout", "1"]).await;
    let began = Instant::now();
    for start in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"POST /generate HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        raw(&server, start).await;
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    let head = "POST /generate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    soon(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    server.is_well().await;
}

#[tokio::test]
async fn broken_http_is_no_trouble() {
    let server = Server::start(&["--header-timeout", "2"]).await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    for (text, want) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], "400"),
        (b"hello\r\n\r\n", "400"),
        (b"GET / HTTP/9.9\r\n\r\n", "HTTP/1.1"),
        (long.as_bytes(), "HTTP/1.1 4"),
        (many.as_bytes(), "HTTP/1.1 4"),
        (b"POST /generate HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", "400"),
        (b"POST /generate HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", "400"),
        (b"POST /generate HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage that is no frame", ""),
    ] {
        let answer = raw(&server, text).await;
        assert!(
            answer.contains(want),
            "{:?}: {answer:?}",
            String::from_utf8_lossy(&text[..text.len().min(40)])
        );
    }
    server.is_well().await;
}

#[tokio::test]
async fn a_half_closed_socket_counts_as_gone() {
    let server = Server::start(&[]).await;
    let body = r#"{"prompt": "a", "steps": 150}"#;
    let text = format!(
        "POST /generate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    server.wait_for_metric("diffusion_requests_in_flight", |n| n == 1.0).await;
    socket.shutdown().await.unwrap();
    server.wait_for_metric("diffusion_cancelled_total", |n| n == 1.0).await;
    let mut rest = Vec::new();
    // The server closes: nothing hangs.
    let _ = soon(socket.read_to_end(&mut rest)).await;
    server.is_well().await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_work() {
    let server = Server::start(&[]).await;
    let body = r#"{"prompt": "a", "steps": 150, "width": 128, "height": 128}"#;
    for accept in ["image/png", "text/event-stream"] {
        let cancelled = server.metric("diffusion_cancelled_total").await;
        let text = format!(
            "POST /generate HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\nx-request-id: leaver\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        server.wait_for_metric("diffusion_requests_in_flight", |n| n == 1.0).await;
        drop(socket);
        server.wait_for_metric("diffusion_cancelled_total", |n| n == cancelled + 1.0).await;
        server.wait_for_metric("diffusion_requests_in_flight", |n| n == 0.0).await;
    }
    let line = server.log_line("leaver").await;
    assert_eq!(line["client_gone"], true, "{line}");
    server.is_well().await;
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_their_turn() {
    let server = Server::start(&["--max-connections", "2", "--header-timeout", "1"]).await;
    let idle: Vec<_> =
        [TcpStream::connect(server.address).await, TcpStream::connect(server.address).await].into();
    // Both places are taken by clients that say nothing; when their time is over, the next one is served.
    server.is_well().await;
    drop(idle);
}
