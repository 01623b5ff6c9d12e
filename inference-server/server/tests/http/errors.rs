//! What is wrong with a request is said, with its field, its limit and the way out.

use hyper::Method;

use crate::harness::{Server, header, problem, request};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn every_mistake_has_its_status_and_its_words() {
    let server = Server::start(&["--max-steps", "60"]).await;
    let deep = format!(r#"{{"prompt": {}1{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let cases: [(u16, &[u8], &str); 41] = [
        (400, b"", "the body is empty"),
        (400, b"{\"prompt\": ", "ends in the middle"),
        (400, b"prompt=apple", "not JSON"),
        (400, b"[1]", "expected an object"),
        (400, b"\xff\x00", "not UTF-8"),
        (400, b"{\"prompt\": \"a\", \"prompt\": \"b\"}", "twice"),
        (400, b"{\"prompt\": NaN}", "not JSON"),
        (400, b"{\"guidance_scale\": Infinity}", "not JSON"),
        (422, b"{}", "prompt: is required"),
        (422, deep.as_bytes(), "prompt: expected a string, got a list"),
        (422, b"{\"prompt\": 7}", "prompt: expected a string, got the number 7"),
        (422, b"{\"prompt\": \"a\", \"promt\": 1}", "did you mean \"prompt\"?"),
        (422, b"{\"prompt\": \"a\", \"loras\": []}", "no such field"),
        (422, b"{\"prompt\": \"a\", \"steps\": \"ten\"}", "steps: expected a whole number, got the string"),
        (422, b"{\"prompt\": \"a\", \"steps\": 0}", "steps: must be from 1 to 60, got 0"),
        (422, b"{\"prompt\": \"a\", \"steps\": 1000000000}", "steps: must be from 1 to 60"),
        (422, b"{\"prompt\": \"a\", \"steps\": -3}", "steps: expected a whole number from 0"),
        (422, b"{\"prompt\": \"a\", \"steps\": 2.5}", "steps: expected a whole number, got 2.5"),
        (422, b"{\"prompt\": \"a\", \"seed\": -1}", "leave it out for a random seed"),
        (422, b"{\"prompt\": \"a\", \"seed\": 18446744073709551616}", "seed: 18446744073709551616 is above"),
        (422, b"{\"prompt\": \"a\", \"guidance_scale\": 1e999}", "guidance_scale: 1e999 is too large"),
        (422, b"{\"prompt\": \"a\", \"guidance_scale\": -1e300}", "guidance_scale: must be from 0"),
        (422, b"{\"prompt\": \"a\", \"guidance_rescale\": 2}", "guidance_rescale: must be from 0 to 1"),
        (422, b"{\"prompt\": \"a\", \"guidance_start\": 2}", "guidance_start: must be from 0 to 1, got 2"),
        (422, b"{\"prompt\": \"a\", \"guidance_end\": 0}", "guidance_end: must be above guidance_start"),
        (422, b"{\"prompt\": \"a\", \"cache_interval\": 11}", "cache_interval: must be from 1 (off) to 10"),
        (422, b"{\"prompt\": \"a\", \"cache_interval\": 0}", "cache_interval: must be from 1 (off) to 10"),
        (422, b"{\"prompt\": \"a\", \"cache_interval\": 1.5}", "expected a whole number, got 1.5"),
        (
            422,
            b"{\"prompt\": \"a\", \"token_merging\": 0.8}",
            "token_merging: must be from 0 to 0.75, got 0.8",
        ),
        (422, b"{\"prompt\": \"a\", \"token_merging\": \"half\"}", "token_merging: expected a number"),
        (422, b"{\"prompt\": \"a\", \"eta\": -0.1}", "eta: must be from 0 to 1"),
        (422, b"{\"prompt\": \"a\", \"width\": 63}", "width: must be a multiple of"),
        (422, b"{\"prompt\": \"a\", \"height\": 0}", "height: must be a multiple of"),
        (422, b"{\"prompt\": \"a\", \"width\": 1e15}", "width: must be at most"),
        (422, b"{\"prompt\": \"a\", \"width\": 4096, \"height\": 4096}", "1048576"),
        (422, b"{\"prompt\": \"a\", \"scheduler\": \"eular\"}", "did you mean \"euler\"?"),
        (422, b"{\"prompt\": \"a\", \"karras\": 1}", "karras: expected true or false"),
        (422, b"{\"prompt\": \"a\", \"strength\": 0.5}", "strength: needs an image"),
        (
            422,
            b"{\"prompt\": \"a\", \"image\": \"!!\"}",
            "image: expected a PNG, JPEG or WebP file in base64",
        ),
        (422, b"{\"prompt\": \"a\", \"image\": \"aGVsbG8=\"}", "image: expected a PNG, JPEG or WebP file"),
        (
            422,
            b"{\"prompt\": \"a\", \"image\": \"aGVsbG8=\", \"strength\": 1.5}",
            "strength: must be above 0",
        ),
    ];
    for (status, body, words) in cases {
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = server.send(request(Method::POST, "/generate", &[JSON], body.to_vec())).await;
        let document = problem(&answer, status);
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{start}: {detail}");
        assert_eq!(document["request_id"], header(&answer.0.headers, "x-request-id"));
        assert_eq!(document["errors"].is_array(), status == 422, "{start}");
    }
    server.is_well().await;
}

#[tokio::test]
async fn methods_paths_and_media_types() {
    let server = Server::start(&[]).await;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH] {
        let (parts, _) = server.send(request(method.clone(), "/generate", &[], "")).await;
        assert_eq!(
            (parts.status.as_u16(), header(&parts.headers, "allow")),
            (405, "POST, OPTIONS"),
            "{method}"
        );
    }
    problem(&server.send(request(Method::POST, "/", &[], "")).await, 405);
    problem(&server.send(request(Method::from_bytes(b"BREW").unwrap(), "/generate", &[], "")).await, 405);
    for path in ["/nothing", "/generate/", "/generate%00", "/../etc/passwd", "/livez"] {
        problem(&server.send(request(Method::GET, path, &[], "")).await, 404);
    }
    let body = r#"{"prompt": "a", "steps": 1}"#;
    for headers in [
        [("content-type", "application/x-www-form-urlencoded")],
        [("content-type", "text/plain")],
        [("content-type", "multipart/form-data; boundary=x")],
        [("content-type", "application/json; charset=utf-16")],
        [("content-encoding", "gzip")],
    ] {
        problem(&server.send(request(Method::POST, "/generate", &headers, body)).await, 415);
    }
    for headers in [
        &[][..],
        &[("content-type", "application/json; charset=UTF-8")],
        &[("content-type", "APPLICATION/JSON")],
    ] {
        let (parts, body) = server.send(request(Method::POST, "/generate", headers, body)).await;
        assert_eq!(parts.status, 200, "{headers:?}: {body:?}");
    }
    for accept in ["application/json", "image/gif", "image/*;q=0"] {
        let answer = server.send(request(Method::POST, "/generate", &[JSON, ("accept", accept)], body)).await;
        problem(&answer, 406);
    }
}
