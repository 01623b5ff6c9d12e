//! What the operator reads.

use serde_json::{Value, json};

use crate::harness::{Server, model, tiny_model};

async fn status(server: &Server) -> Value {
    let (parts, body) = server.admin("/status").await;
    assert_eq!(
        (parts.status.as_u16(), crate::harness::header(&parts.headers, "content-type")),
        (200, "application/json")
    );
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn the_model_and_its_speed_are_told() {
    let server =
        Server::start(&["--default-steps", "3", "--default-scheduler", "euler", "--precision", "bf16"]).await;
    let told = status(&server).await;
    let seconds = told["secondsPerImage"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds < 60.0, "{told}");
    let mut rest = told.clone();
    rest.as_object_mut().unwrap().remove("secondsPerImage");
    let want = json!({
        "model": tiny_model(), "revision": null, "precision": "bf16", "scheduler": "euler", "steps": 3,
        "width": rest["width"], "height": rest["height"], "queueSeconds": 0.0,
    });
    assert_eq!(rest, want);
    assert!(told["width"].as_u64().unwrap() >= 8);
}

#[tokio::test]
async fn what_fetch_wrote_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(format!("{}/.", tiny_model()))
        .arg(folder.path())
        .status();
    assert!(copied.unwrap().success());
    let commit = "0123456789".repeat(4);
    let marker = json!({"source": "hf://org/tiny@main", "revision": commit, "variant": "", "files": []});
    std::fs::write(folder.path().join(".diffusion-fetch.json"), marker.to_string()).unwrap();
    let server = Server::with_model(folder.path().to_str().unwrap(), &[]).await;
    let told = status(&server).await;
    assert_eq!((&told["model"], &told["revision"]), (&"hf://org/tiny@main".into(), &commit.as_str().into()));
    assert_eq!((&told["precision"], &told["scheduler"]), (&"f32".into(), &"pndm".into()));
}

#[tokio::test]
async fn ready_means_that_a_picture_was_drawn() {
    let server = Server::spawn(&model(), &[]).await;
    let mut looks = 0;
    loop {
        // In this order: what was not drawn when it said ready must not be drawn a moment later.
        let ready = server.admin("/readyz").await.0.status == 200;
        let told = status(&server).await;
        assert_eq!(told["model"], "bundled://emoji");
        if ready {
            assert!(told["secondsPerImage"].as_f64().unwrap() > 0.0, "{told}");
            break;
        }
        looks += 1;
        assert!(looks < 6000, "never ready: {}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let log = server.log();
    let (loaded, ready) = (log.find("model loaded").unwrap(), log.find("\"ready\"").unwrap());
    assert!(loaded < ready, "{log}");
}
