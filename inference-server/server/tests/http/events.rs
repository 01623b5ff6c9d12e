//! Server-sent events.

use base64::Engine as _;
use hyper::Method;
use serde_json::Value;

use crate::harness::{Server, header, request};

const HEADERS: [(&str, &str); 2] =
    [("content-type", "application/json"), ("accept", "text/event-stream, image/jpeg")];

fn events(text: &str) -> Vec<(String, Value)> {
    let read = |block: &str| {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        (field("event: ").to_owned(), serde_json::from_str(field("data: ")).unwrap())
    };
    text.split("\n\n").filter(|block| block.starts_with("event: ")).map(read).collect()
}

#[tokio::test]
async fn steps_are_told_and_then_the_picture_comes() {
    let server = Server::start(&[]).await;
    let body = r#"{"prompt": "a", "steps": 5, "seed": 9, "scheduler": "ddim"}"#;
    let (parts, text) = server.send(request(Method::POST, "/generate", &HEADERS, body)).await;
    assert_eq!(header(&parts.headers, "content-type"), "text/event-stream");
    assert_eq!(header(&parts.headers, "x-seed"), "9");
    let events = events(std::str::from_utf8(&text).unwrap());
    assert_eq!((events[0].0.as_str(), &events[0].1["seed"]), ("queued", &9.into()));
    let steps: Vec<_> = events.iter().filter(|(name, _)| name == "step").map(|(_, data)| data).collect();
    assert!(!steps.is_empty() && steps.iter().all(|step| step["of"] == 5), "{steps:?}");
    assert!(steps.windows(2).all(|pair| pair[0]["step"].as_u64() < pair[1]["step"].as_u64()), "{steps:?}");
    assert_eq!(steps.last().unwrap()["step"], 5);
    let (name, picture) = events.last().unwrap();
    assert_eq!((name.as_str(), &picture["media_type"]), ("picture", &"image/jpeg".into()));
    assert!(picture["timings"]["denoise_ms"].as_f64().unwrap() > 0.0);
    let file = base64::engine::general_purpose::STANDARD.decode(picture["image"].as_str().unwrap()).unwrap();

    let plain = [HEADERS[0], ("accept", "image/jpeg")];
    let (_, same) = server.send(request(Method::POST, "/generate", &plain, body)).await;
    assert_eq!(file, same);
}

#[tokio::test]
async fn what_is_wrong_from_the_start_is_a_plain_problem() {
    let server = Server::start(&[]).await;
    let answer = server.send(request(Method::POST, "/generate", &HEADERS, r#"{"prompt": 1}"#)).await;
    crate::harness::problem(&answer, 422);
}

#[tokio::test]
async fn what_goes_wrong_later_is_an_event() {
    let server = Server::start(&["--request-timeout", "1", "--max-steps", "1000"]).await;
    let body = r#"{"prompt": "a", "steps": 1000, "width": 256, "height": 256}"#;
    let (_, text) = server.send(request(Method::POST, "/generate", &HEADERS, body)).await;
    let events = events(std::str::from_utf8(&text).unwrap());
    let (name, problem) = events.last().unwrap();
    assert_eq!((name.as_str(), &problem["status"]), ("error", &503.into()));
    assert!(problem["detail"].as_str().unwrap().contains("--request-timeout"), "{problem}");
    server.wait_for_metric("diffusion_requests_in_flight", |n| n == 0.0).await;
}
