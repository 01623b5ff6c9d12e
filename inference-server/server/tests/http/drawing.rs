//! Pictures.

use std::io::Cursor;

use base64::Engine as _;
use hyper::Method;

use crate::harness::{Server, get, header, http2, model, post, request, soon};

fn size(file: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory(file).unwrap();
    (picture.width(), picture.height())
}

/// The `parameters` chunk of a PNG.
fn parameters(file: &[u8]) -> Option<String> {
    let reader = png::Decoder::new(Cursor::new(file)).read_info().unwrap();
    let info = reader.info();
    let latin = info.uncompressed_latin1_text.iter().find(|c| c.keyword == "parameters");
    let utf8 = info.utf8_text.iter().find(|c| c.keyword == "parameters");
    latin.map(|c| c.text.clone()).or_else(|| utf8.map(|c| c.get_text().unwrap()))
}

#[tokio::test]
async fn a_prompt_becomes_a_picture_and_the_same_seed_the_same_one() {
    let server = Server::with_model(&model(), &[]).await;
    let json =
        r#"{"prompt": "a red apple", "negative_prompt": "blur", "seed": 7, "steps": 3, "guidance_scale": 5}"#;
    let (parts, first) = server.generate(json).await;
    assert_eq!(parts.status, 200);
    assert_eq!(header(&parts.headers, "content-type"), "image/png");
    assert_eq!(header(&parts.headers, "x-seed"), "7");
    assert_eq!(header(&parts.headers, "cache-control"), "no-store");
    assert_eq!(header(&parts.headers, "transfer-encoding"), "chunked");
    let timing = header(&parts.headers, "server-timing");
    for name in ["queue;dur=", "text;dur=", "denoise;dur=", "decode;dur=", "encode;dur="] {
        assert!(timing.contains(name), "{timing}");
    }
    let (width, height) = size(&first);
    let text = parameters(&first).unwrap();
    let size = format!("Size: {width}x{height}");
    for word in ["a red apple\nNegative prompt: blur\n", "Steps: 3", "CFG scale: 5", "Seed: 7", &size] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let line = server.log_line(header(&parts.headers, "x-request-id")).await;
    assert_eq!((&line["status"], &line["seed"], &line["steps"]), (&200.into(), &7.into(), &3.into()));
    assert!(!server.log().contains("apple"), "prompts are private");

    let (_, again) = server.generate(json).await;
    assert_eq!(first, again);
    let (_, other) = server.generate(&json.replace(": 7", ": 8")).await;
    assert_ne!(first, other);
}

#[tokio::test]
async fn every_parameter_is_taken() {
    let server = Server::start(&["--log-prompts"]).await;
    let start = {
        let mut file = Cursor::new(Vec::new());
        image::RgbImage::from_pixel(40, 30, image::Rgb([200, 30, 30]))
            .write_to(&mut file, image::ImageFormat::Jpeg)
            .unwrap();
        base64::engine::general_purpose::STANDARD.encode(file.into_inner())
    };
    let body = serde_json::json!({
        "prompt": "a 猫 \u{1F431}", "negative_prompt": "dog", "seed": u64::MAX, "steps": 4, "guidance_scale": 3.5,
        "guidance_rescale": 0.7, "guidance_start": 0.2, "guidance_end": 0.8, "cache_interval": 2,
        "token_merging": 0.5,
        "width": 64, "height": 32, "scheduler": "ddim", "eta": 0.5, "image": start,
        "strength": 0.6, "metadata": true
    });
    let (parts, file) = server.generate(&body.to_string()).await;
    assert_eq!(parts.status, 200, "{file:?}");
    assert_eq!(header(&parts.headers, "x-seed"), u64::MAX.to_string());
    assert_eq!(size(&file), (64, 32));
    let text = parameters(&file).unwrap();
    assert!(text.starts_with("a 猫 \u{1F431}\nNegative prompt: dog"), "{text}");
    assert!(text.contains("Denoising strength: 0.6") && text.contains("Sampler: DDIM"), "{text}");
    assert!(
        text.contains("CFG interval: 0.2-0.8, DeepCache interval: 2, Token merging ratio: 0.5"),
        "{text}"
    );
    assert!(server.log_line(header(&parts.headers, "x-request-id")).await["prompt"].is_string());

    for scheduler in
        ["pndm", "lms", "euler", "euler_ancestral", "heun", "dpm_solver_multistep", "unipc_multistep"]
    {
        let json = format!(r#"{{"prompt": "a", "steps": 3, "scheduler": "{scheduler}", "metadata": false}}"#);
        let (parts, file) = server.generate(&json).await;
        assert_eq!(parts.status, 200, "{scheduler}: {file:?}");
        assert_eq!(parameters(&file), None);
    }
    let (parts, file) =
        server.generate(r#"{"prompt": "a", "steps": 3, "scheduler": "euler", "karras": true}"#).await;
    assert_eq!(parts.status, 200, "{file:?}");
}

#[tokio::test]
async fn the_format_is_negotiated_and_the_seed_random() {
    let server = Server::start(&["--default-width", "32", "--default-height", "24", "--no-metadata"]).await;
    let mut seeds = Vec::new();
    for (accept, want) in [
        ("image/jpeg", image::ImageFormat::Jpeg),
        ("image/png;q=0.1, image/webp", image::ImageFormat::WebP),
        ("*/*", image::ImageFormat::Png),
    ] {
        let headers = [("content-type", "application/json"), ("accept", accept), ("x-request-id", "mine-1")];
        let (parts, file) =
            server.send(request(Method::POST, "/generate", &headers, r#"{"prompt": "a", "steps": 1}"#)).await;
        assert_eq!(header(&parts.headers, "content-type"), want.to_mime_type());
        assert_eq!(header(&parts.headers, "x-request-id"), "mine-1");
        assert_eq!(image::guess_format(&file).unwrap(), want);
        assert_eq!(size(&file), (32, 24));
        seeds.push(header(&parts.headers, "x-seed").to_owned());
    }
    assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2], "{seeds:?}");
}

#[tokio::test]
async fn a_prompt_that_is_cut_is_drawn_with_a_warning() {
    let server = Server::start(&[]).await;
    let json = format!(r#"{{"prompt": "{}", "steps": 1}}"#, "apple é ".repeat(200));
    let (parts, _) = server.generate(&json).await;
    assert_eq!(parts.status, 200);
    assert!(header(&parts.headers, "x-warning").contains("77"), "{parts:?}");
}

#[tokio::test]
async fn http2_draws_many_at_once_on_one_connection_and_alone_or_together_is_the_same() {
    let server = Server::start(&["--max-batch", "3"]).await;
    let json = |seed: usize| format!(r#"{{"prompt": "a cat", "steps": 3, "seed": {seed}}}"#);
    let sender = soon(http2(server.address)).await;
    let mut drawing = tokio::task::JoinSet::new();
    for seed in 0..6 {
        let mut sender = sender.clone();
        let request = request(
            Method::POST,
            &format!("http://{}/generate", server.address),
            &[("content-type", "application/json")],
            json(seed),
        );
        drawing.spawn(async move {
            let response = sender.send_request(request).await.unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (200, hyper::Version::HTTP_2));
            (seed, http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes())
        });
    }
    let mut pictures = Vec::new();
    while let Some(done) = soon(drawing.join_next()).await {
        pictures.push(done.unwrap());
    }
    for (seed, file) in pictures {
        let (_, alone) = server.generate(&json(seed)).await;
        assert_eq!(file, alone, "seed {seed}");
    }
}

#[tokio::test]
async fn the_admin_port_and_the_root_say_how_it_is() {
    let server = Server::start(&[]).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(server.admin(path).await.0.status, 200, "{path}");
    }
    assert_eq!(server.admin("/generate").await.0.status, 404);
    let (parts, _) = crate::harness::send(server.admin, request(Method::POST, "/readyz", &[], "")).await;
    assert_eq!(parts.status, 405);
    server.is_well().await;
    assert!(server.metric("diffusion_picture_seconds_count").await >= 1.0);
    assert!(server.metric("diffusion_step_seconds_count").await >= 1.0);

    let (parts, body) = server.send(get("/")).await;
    let usage: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((parts.status.as_u16(), &usage["model"]["name"]), (200, &"sd1".into()));
    let (parts, body) = server.send(request(Method::HEAD, "/", &[], "")).await;
    assert_eq!((parts.status.as_u16(), body.len()), (200, 0));
    let (parts, _) = server.send(request(Method::OPTIONS, "/generate", &[], "")).await;
    assert_eq!((parts.status.as_u16(), header(&parts.headers, "allow")), (204, "POST, OPTIONS"));
}

#[tokio::test]
async fn before_the_warm_up_it_is_alive_and_not_ready() {
    let server = Server::spawn(&model(), &[]).await;
    // It may be ready by now, as the model is small; what it says must fit either way.
    let (live, _) = server.admin("/livez").await;
    assert_eq!(live.status, 200);
    let ready = server.admin("/readyz").await;
    let drawn = server.send(post(r#"{"prompt": "a", "steps": 1}"#)).await;
    if ready.0.status == 503 && drawn.0.status == 503 {
        assert!(crate::harness::problem(&drawn, 503)["detail"].as_str().unwrap().contains("not ready"));
        assert!(header(&drawn.0.headers, "retry-after").parse::<u64>().unwrap() >= 1);
    }
}
