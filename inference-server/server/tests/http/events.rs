//! Server-sent events.

use base64::Engine as _;
use hyper::Method;
use serde_json::Value;

use crate::harness::{Server, header, model, request, tiny_model};

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
    let file = image(picture);

    let plain = [HEADERS[0], ("accept", "image/jpeg")];
    let (_, same) = server.send(request(Method::POST, "/generate", &plain, body)).await;
    assert_eq!(file, same);
}

fn image(event: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(event["image"].as_str().unwrap()).unwrap()
}

/// Every preview's step, each of the size that it says, and the picture's file.
async fn previews(server: &Server, body: &str) -> (Vec<u64>, (u32, u32), Value) {
    let (parts, text) = server.send(request(Method::POST, "/generate", &HEADERS, body.to_owned())).await;
    assert_eq!(parts.status, 200, "{text:?}");
    let events = events(std::str::from_utf8(&text).unwrap());
    let mut steps = Vec::new();
    let mut size = (0, 0);
    for (_, preview) in events.iter().filter(|(name, _)| name == "preview") {
        assert_eq!(preview["media_type"], "image/jpeg");
        let file = image(preview);
        assert_eq!(image::guess_format(&file).unwrap(), image::ImageFormat::Jpeg);
        size = image::load_from_memory(&file).unwrap().to_rgb8().dimensions();
        assert_eq!(
            (preview["width"].as_u64(), preview["height"].as_u64()),
            (Some(size.0.into()), Some(size.1.into()))
        );
        assert!(preview["step"].as_u64() < preview["of"].as_u64(), "{preview}");
        steps.push(preview["step"].as_u64().unwrap());
    }
    let (name, picture) = events.into_iter().next_back().unwrap();
    assert_eq!(name, "picture");
    (steps, size, picture)
}

#[tokio::test]
async fn previews_come_and_the_picture_is_the_same() {
    // With a preview decoder, and without one: two pixels for each latent.
    for (model, side, size) in [
        (model(), "", (128, 128)),
        (tiny_model(), "", (16, 16)),
        (tiny_model(), r#", "width": 64, "height": 96"#, (16, 24)),
    ] {
        let server = Server::with_model(&model, &[]).await;
        let body = |previews: &str| {
            format!(
                r#"{{"prompt": "a red apple", "steps": 8, "seed": 9, "scheduler": "ddim"{side}{previews}}}"#
            )
        };
        let (none, _, without) = previews(&server, &body("")).await;
        assert!(none.is_empty() && without["timings"]["previews_ms"].is_null());
        let (steps, dimensions, with) = previews(&server, &body(r#", "previews": 3"#)).await;
        assert_eq!((steps, dimensions), (vec![2, 4, 6], size), "{model}");
        assert!(with["timings"]["previews_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(image(&with), image(&without), "{model}");
        let (steps, _, most) = previews(&server, &body(r#", "previews": 20"#)).await;
        assert_eq!(steps, (1..8).collect::<Vec<_>>(), "one after every evaluation but the last");
        assert_eq!(image(&most), image(&without), "{model}");
        assert_eq!(server.metric("diffusion_preview_seconds_count").await, 10.0);
    }
}

#[tokio::test]
async fn previews_without_events_or_too_many_are_refused() {
    let server = Server::start(&[]).await;
    let ask = async |accept: &str, previews: &str| {
        let body = format!(r#"{{"prompt": "a", "steps": 2, "previews": {previews}}}"#);
        server.send(request(Method::POST, "/generate", &[HEADERS[0], ("accept", accept)], body)).await
    };
    for (accept, previews, words) in [
        ("image/png", "1", "previews: come as events: accept text/event-stream"),
        ("text/event-stream", "21", "previews: must be from 0 to 20, got 21"),
        ("text/event-stream", "-1", "previews: "),
        ("text/event-stream", "1.5", "expected a whole number, got 1.5"),
        ("text/event-stream", "true", "previews: "),
    ] {
        let problem = crate::harness::problem(&ask(accept, previews).await, 422);
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        assert_eq!(problem["errors"][0]["field"], "previews");
    }
    for previews in ["0", "null"] {
        assert_eq!(ask("image/png", previews).await.0.status, 200);
    }
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
