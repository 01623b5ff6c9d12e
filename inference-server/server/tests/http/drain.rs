//! The end: nothing that was accepted is lost.

use std::time::{Duration, Instant};

use crate::harness::{Server, header, post, problem};

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
