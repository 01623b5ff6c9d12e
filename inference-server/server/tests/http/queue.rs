//! The bounded queue.

use crate::harness::{Server, header, http2, post, problem, request, soon};

#[tokio::test]
async fn beyond_the_queue_there_is_429_with_an_honest_time() {
    for flags in [["--max-queue", "2"], ["--max-queue-seconds", "0"]] {
        let server = Server::start(&flags).await;
        let sender = soon(http2(server.address)).await;
        let long = r#"{"prompt": "a", "steps": 150, "width": 128, "height": 128}"#;
        let drawing: Vec<_> = (0..2)
            .map(|_| {
                let mut sender = sender.clone();
                let uri = format!("http://{}/generate", server.address);
                let request =
                    request(hyper::Method::POST, &uri, &[("content-type", "application/json")], long);
                tokio::spawn(async move { sender.send_request(request).await })
            })
            .collect();
        server.wait_for_metric("diffusion_requests_in_flight", |n| n >= 1.0).await;
        if flags[0] == "--max-queue" {
            server.wait_for_metric("diffusion_requests_in_flight", |n| n == 2.0).await;
        }
        let answer = server.send(post(r#"{"prompt": "b", "steps": 1}"#)).await;
        let document = problem(&answer, 429);
        assert!(document["detail"].as_str().unwrap().contains(flags[0]), "{document}");
        let seconds: u64 = header(&answer.0.headers, "retry-after").parse().unwrap();
        assert!((1..=600).contains(&seconds), "{seconds}");
        assert!(server.metric("diffusion_queue_seconds").await > 0.0);
        for task in drawing {
            task.abort();
        }
        // Reset streams free their places.
        server.wait_for_metric("diffusion_requests_in_flight", |n| n == 0.0).await;
        server.is_well().await;
    }
}
