//! The end: nothing that was accepted is lost.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Server, header, http1, http2, post, problem, request, soon};

const LONG: &str = r#"{"prompt": "a", "steps": 100, "width": 128, "height": 128}"#;

#[tokio::test]
async fn sigterm_finishes_what_was_accepted_and_exits_with_0() {
    let mut server = Server::start(&[]).await;
    let address = server.address;
    let drawing = tokio::spawn(async move { crate::harness::send(address, post(LONG)).await });
    server.wait_for_metric("diffusion_requests_in_flight", |n| n == 1.0).await;
    server.signal("TERM");
    let began = Instant::now();
    loop {
        let ready = server.admin("/readyz").await;
        if ready.0.status == 503 {
            assert!(problem(&ready, 503)["detail"].as_str().unwrap().contains("shutting down"));
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(server.admin("/livez").await.0.status, 200);
    let refused = server.generate(r#"{"prompt": "b"}"#).await;
    assert!(problem(&refused, 503)["detail"].as_str().unwrap().contains("shutting down"));
    assert!(header(&refused.0.headers, "retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(header(&refused.0.headers, "connection"), "close");

    let (parts, file) = drawing.await.unwrap();
    assert_eq!(parts.status, 200);
    assert!(image::load_from_memory(&file).is_ok());
    assert_eq!(server.exit().await.code(), Some(0));
}

/// Has a long request inside, and says that it drains.
async fn draining(server: &Server) -> tokio::task::JoinHandle<u16> {
    let address = server.address;
    let drawing =
        tokio::spawn(async move { crate::harness::send(address, post(LONG)).await.0.status.as_u16() });
    server.wait_for_metric("diffusion_requests_in_flight", |n| n == 1.0).await;
    server.signal("TERM");
    while server.admin("/readyz").await.0.status != 503 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drawing
}

#[tokio::test]
async fn a_connection_that_is_kept_open_is_told_to_go_elsewhere() {
    let mut server = Server::start(&[]).await;
    let mut kept = http1(server.address).await;
    let quick = || post(r#"{"prompt": "a", "steps": 1}"#);
    let response = soon(kept.send_request(quick())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("connection"));
    response.into_body().collect().await.unwrap();

    let drawing = draining(&server).await;
    // The request is answered, not cut off: the client knows that it was not accepted and may try elsewhere.
    let (parts, body) = soon(kept.send_request(quick())).await.unwrap().into_parts();
    let answer = (parts, body.collect().await.unwrap().to_bytes());
    assert_eq!(problem(&answer, 503)["type"], "urn:diffusion-operator:problem:draining");
    assert_eq!(header(&answer.0.headers, "connection"), "close");
    assert!(header(&answer.0.headers, "retry-after").parse::<u64>().unwrap() >= 1);
    assert!(soon(kept.ready()).await.is_err(), "the connection is closed after it");
    assert_eq!(drawing.await.unwrap(), 200);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn an_accepted_request_gets_its_picture_and_the_connection_ends() {
    let mut server = Server::start(&[]).await;
    let mut kept = http1(server.address).await;
    let drawing = tokio::spawn(async move {
        let (parts, body) = kept.send_request(post(LONG)).await.unwrap().into_parts();
        (parts, body.collect().await.unwrap().to_bytes(), kept)
    });
    server.wait_for_metric("diffusion_requests_in_flight", |n| n == 1.0).await;
    server.signal("TERM");
    let (parts, file, mut kept) = soon(drawing).await.unwrap();
    assert_eq!((parts.status.as_u16(), header(&parts.headers, "connection")), (200, "close"));
    assert!(image::load_from_memory(&file).is_ok());
    assert!(soon(kept.ready()).await.is_err());
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_that_is_half_sent_when_it_begins_is_refused_with_words() {
    let server = Server::start(&[]).await;
    let body = r#"{"prompt": "a", "steps": 1}"#;
    let head = format!("POST /generate HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&body.as_bytes()[..5]).await.unwrap();
    let drawing = draining(&server).await;
    socket.write_all(&body.as_bytes()[5..]).await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("connection: close"), "{answer}");
    assert_eq!(drawing.await.unwrap(), 200);
}

#[tokio::test]
async fn http2_is_told_to_go_elsewhere_and_its_streams_are_finished() {
    let mut server = Server::start(&[]).await;
    let mut sender = soon(http2(server.address)).await;
    let uri = format!("http://{}/generate", server.address);
    let long = request(Method::POST, &uri, &[("content-type", "application/json")], LONG);
    let mut other = sender.clone();
    let drawing = tokio::spawn(async move {
        let response = other.send_request(long).await.unwrap();
        (response.status().as_u16(), response.into_body().collect().await.unwrap().to_bytes())
    });
    server.wait_for_metric("diffusion_requests_in_flight", |n| n == 1.0).await;
    server.signal("TERM");
    // The connection takes no new streams from some moment on, though the old one is still being drawn.
    let began = Instant::now();
    while sender.ready().await.is_ok() {
        let again = request(Method::POST, &uri, &[("content-type", "application/json")], LONG);
        match soon(sender.send_request(again)).await {
            // Before the GOAWAY arrives.
            Ok(response) => assert_eq!(response.status(), 503),
            Err(_) => break,
        }
        assert!(began.elapsed() < Duration::from_secs(20), "no GOAWAY");
    }
    assert!(!drawing.is_finished(), "the test shows nothing: the picture was done first");
    let (status, file) = soon(drawing).await.unwrap();
    assert!(status == 200 && image::load_from_memory(&file).is_ok());
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn what_comes_as_it_ends_is_drawn_or_refused_with_words() {
    // Requests come all the time, and the signal somewhere among them: each gets a picture, a 503, or no connection.
    for wait in [0, 15, 40, 90] {
        let mut server = Server::start(&[]).await;
        let address = server.address;
        let clients: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn(async move {
                    let mut drawn = 0;
                    while let Ok(socket) = TcpStream::connect(address).await {
                        let mut socket = socket;
                        let body = r#"{"prompt": "a", "steps": 2}"#;
                        let text = format!(
                            "POST /generate HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        if socket.write_all(text.as_bytes()).await.is_err() {
                            break;
                        }
                        let mut head = [0; 12];
                        // Cut off before any answer: it was not accepted.
                        if socket.read_exact(&mut head).await.is_err() {
                            break;
                        }
                        match &head {
                            b"HTTP/1.1 200" => drawn += 1,
                            b"HTTP/1.1 503" => {}
                            other => panic!("{:?}", String::from_utf8_lossy(other)),
                        }
                    }
                    drawn
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100 + wait)).await;
        server.signal("TERM");
        assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
        let mut drawn = 0;
        for client in clients {
            drawn += soon(client).await.unwrap();
        }
        // Every picture that was drawn arrived.
        let sent = server.log().lines().filter(|line| line.contains("\"status\":200")).count();
        assert!(drawn > 0 && sent == drawn, "{drawn} of {sent}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&[]).await;
    let address = server.address;
    tokio::spawn(async move { crate::harness::send(address, post(LONG)).await });
    server.wait_for_metric("diffusion_requests_in_flight", |n| n == 1.0).await;
    server.signal("TERM");
    while !server.log().contains("draining") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.signal("TERM");
    assert_eq!(server.exit().await.code(), Some(143));
}

#[tokio::test]
async fn the_grace_period_is_a_limit() {
    let mut server = Server::start(&["--grace-seconds", "1", "--max-steps", "1000"]).await;
    let address = server.address;
    let long = LONG.replace("100", "1000").replace("128", "256");
    tokio::spawn(async move { crate::harness::send(address, post(&long)).await });
    server.wait_for_metric("diffusion_requests_in_flight", |n| n == 1.0).await;
    server.signal("INT");
    assert_eq!(server.exit().await.code(), Some(1));
    assert!(server.log().contains("1 accepted requests were not finished"), "{}", server.log());
}

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let mut server = Server::start(&[]).await;
    server.is_well().await;
    server.signal("TERM");
    assert_eq!(server.exit().await.code(), Some(0));
}
