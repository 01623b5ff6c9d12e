//! Keys of the API.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use hyper::{HeaderMap, Method, StatusCode};

use crate::harness::{Server, get, header, problem, program, request, tiny_model};

const BODY: &str = r#"{"prompt": "a", "steps": 1}"#;

async fn draw(server: &Server, authorization: Option<&str>) -> (StatusCode, HeaderMap) {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(authorization.map(|value| ("authorization", value)));
    let answer = server.send(request(Method::POST, "/generate", &headers, BODY)).await;
    if answer.0.status != 200 {
        let document = problem(&answer, 401);
        assert_eq!(document["type"], "urn:diffusion-operator:problem:unauthorized");
    }
    (answer.0.status, answer.0.headers)
}

/// Waits until a key is known, or is not.
async fn until(server: &Server, key: &str, status: u16) {
    let began = Instant::now();
    while draw(server, Some(key)).await.0 != status {
        assert!(began.elapsed() < Duration::from_secs(30), "{key} never got {status}: {}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn without_a_key_there_is_401_and_health_stays_open() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    fs::write(&file, "# ours\nfirst\n\nsecond\n").unwrap();
    let server = Server::start(&["--api-keys-file", file.to_str().unwrap()]).await;
    for key in ["Bearer first", "bearer second"] {
        assert_eq!(draw(&server, Some(key)).await.0, 200);
    }
    let (status, headers) = draw(&server, None).await;
    assert_eq!(
        (status.as_u16(), header(&headers, "www-authenticate")),
        (401, "Bearer realm=\"diffusion-server\"")
    );
    for wrong in ["Bearer third", "Bearer ", "Basic Zmlyc3Q6", "Bearer # ours"] {
        let (status, headers) = draw(&server, Some(wrong)).await;
        assert_eq!(status, 401, "{wrong}");
        assert!(header(&headers, "www-authenticate").starts_with("Bearer realm="), "{wrong}");
    }
    problem(&server.send(get("/")).await, 401);
    problem(&server.send(get("/nothing")).await, 401);
    let (parts, _) = server.send(request(Method::OPTIONS, "/generate", &[], "")).await;
    assert_eq!(parts.status, 204);
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        assert_eq!(server.admin(path).await.0.status, 200, "{path}");
    }
    let log = server.log();
    assert!(!log.contains("first") && !log.contains("third"), "{log}");
}

#[tokio::test]
async fn a_secret_that_is_swapped_is_read_again() {
    // As the kubelet does it: the file is a link to a link to a folder, and that one is replaced.
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let swap = |name: &str, keys: Option<&str>| {
        fs::create_dir(at(name)).unwrap();
        if let Some(keys) = keys {
            fs::write(at(name).join("keys"), keys).unwrap();
        }
        symlink(name, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    swap("..1", Some("old\n"));
    symlink("..data/keys", at("keys")).unwrap();
    let server = Server::start(&["--api-keys-file", at("keys").to_str().unwrap()]).await;
    assert_eq!(draw(&server, Some("Bearer old")).await.0, 200);
    swap("..2", Some("new\n"));
    until(&server, "Bearer new", 200).await;
    assert_eq!(draw(&server, Some("Bearer old")).await.0, 401);

    // An empty file, or none, is a mistake, and nobody is locked out by it or let in.
    for (name, keys, words) in [("..3", Some("\n"), "there is no key in it"), ("..4", None, "No such file")] {
        swap(name, keys);
        let began = Instant::now();
        while !server.log().contains(words) {
            assert!(began.elapsed() < Duration::from_secs(30), "{}", server.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(draw(&server, Some("Bearer new")).await.0, 200);
        assert_eq!(draw(&server, None).await.0, 401);
    }
    swap("..5", Some("newest"));
    until(&server, "Bearer newest", 200).await;
}

#[test]
fn a_file_without_keys_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    for (text, words) in
        [(Some("# none\n"), "there is no key in it"), (None, "No such file"), (Some("a b"), "line 1")]
    {
        let _ = fs::remove_file(&file);
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let output = program()
            .args([
                "serve",
                "--model",
                &tiny_model(),
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .env("DIFFUSION_API_KEYS_FILE", &file)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && error.contains("--api-keys-file") && error.contains(words),
            "{error}"
        );
    }
}
