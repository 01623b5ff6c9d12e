//! A model comes whole, and only what is needed of it.

use std::fs;

use crate::harness::{REPO, UNET, World, checkpoint, copy, program};

/// Draws with what was fetched.
fn draws(world: &World) {
    let output = program()
        .args(["generate", "a", "--steps", "1", "--output"])
        .arg(world.out().with_file_name("a.png"))
        .args(["--force", "--model"])
        .arg(world.out())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_model_is_fetched_and_can_be_served() {
    let world = World::with(|settings| settings.page = 4, |_| {}).await;
    let done = world.fetched(REPO, &[]).await;
    world.same_as("org/tiny");
    draws(&world);

    let commit = world.hub.commit("org/tiny", "main").unwrap();
    let marker = world.marker();
    assert_eq!(
        (&marker["source"], &marker["revision"]),
        (&"hf://org/tiny@main".into(), &commit.as_str().into())
    );
    let report = done.report;
    assert_eq!((&report["source"], &report["revision"]), (&REPO.into(), &commit.as_str().into()));
    assert_eq!((&report["files"], &report["filesDone"]), (&12.into(), &12.into()));
    assert!(report["bytes"].as_u64().unwrap() > 700_000);
    assert_eq!(report["bytes"], report["bytesDone"]);
    assert!(report["error"].is_null());
    // The listing came page by page, and large files from elsewhere.
    let seen = world.hub.seen();
    assert!(seen.iter().filter(|seen| seen.path.contains("/tree/")).count() >= 3, "{seen:?}");
    assert_eq!(seen.iter().filter(|seen| seen.cdn).count(), 3);
}

#[tokio::test]
async fn what_is_there_is_not_fetched_again() {
    let world = World::new().await;
    let commit = world.hub.commit("org/tiny", "main").unwrap();
    let pinned = format!("{REPO}@{commit}");
    world.fetched(&pinned, &[]).await;
    world.hub.seen();
    // A commit does not change: nobody has to be asked.
    let done = world.fetched(&pinned, &["--endpoint", "http://127.0.0.1:1"]).await;
    assert!(done.stderr.contains("already"), "{}", done.stderr);
    assert_eq!((&done.report["revision"], &done.report["filesDone"]), (&commit.as_str().into(), &12.into()));
    assert_eq!(world.hub.seen(), []);

    // The same files under the name of a branch are another source; nothing of them comes again.
    world.fetched(REPO, &[]).await;
    assert!(world.hub.seen().iter().all(|seen| seen.path.starts_with("/api/models/")));
    world.fetched(REPO, &[]).await;
    let seen = world.hub.seen();
    assert_eq!(seen.len(), 1, "one look at the branch: {seen:?}");
    world.same_as("org/tiny");

    // A file that went missing, or was changed, comes again.
    fs::remove_file(world.out().join("vae/config.json")).unwrap();
    fs::write(world.out().join("unet/config.json"), "{}").unwrap();
    world.fetched(&pinned, &[]).await;
    world.same_as("org/tiny");
}

#[tokio::test]
async fn a_hub_that_is_down_does_not_stop_a_complete_model() {
    let world = World::new().await;
    world.fetched(REPO, &[]).await;
    let down = ["--endpoint", "http://127.0.0.1:1", "--retries", "0"];
    let done = world.fetched(REPO, &down).await;
    assert!(done.stderr.contains("going on with what is there"), "{}", done.stderr);
    fs::remove_file(world.out().join(UNET)).unwrap();
    let done = world.fetch(REPO, &down).await;
    assert!(done.code == Some(1) && done.stderr.contains("cannot be reached"), "{}", done.stderr);
}

#[tokio::test]
async fn another_revision_replaces_the_first_one() {
    let world = World::new().await;
    let next = world.repo("org/tiny@refs_pr_1");
    copy(&world.repo("org/tiny"), &next);
    let mut unet = fs::read(next.join(UNET)).unwrap();
    *unet.last_mut().unwrap() ^= 1;
    fs::write(next.join(UNET), unet).unwrap();
    fs::remove_file(next.join("tokenizer/special_tokens_map.json")).unwrap();
    fs::write(next.join("generation_config.json"), r#"{"num_inference_steps": 2}"#).unwrap();

    world.fetched(REPO, &[]).await;
    fs::write(world.out().join("mine.txt"), "not the hub's").unwrap();
    world.hub.seen();
    world.fetched(&format!("{REPO}@refs/pr/1"), &[]).await;
    // Of the large files only the one that changed came.
    assert_eq!(world.hub.seen().iter().filter(|seen| seen.cdn).count(), 1);
    assert_eq!(fs::read(world.out().join("mine.txt")).unwrap(), b"not the hub's");
    fs::remove_file(world.out().join("mine.txt")).unwrap();
    world.same_as("org/tiny@refs_pr_1");
    draws(&world);
    world.fetched(REPO, &[]).await;
    world.same_as("org/tiny");
}

#[tokio::test]
async fn half_size_weights_are_taken_where_they_do() {
    let world = World::with(
        |_| {},
        |repo| {
            let half = |name: &str| name.replace(".safetensors", ".fp16.safetensors");
            for name in [UNET, "text_encoder/model.safetensors"] {
                let mut file = fs::read(repo.join(name)).unwrap();
                *file.last_mut().unwrap() ^= 1;
                fs::write(repo.join(half(name)), file).unwrap();
            }
        },
    )
    .await;
    world.fetched(REPO, &["--precision", "bf16"]).await;
    world.same_as("org/tiny");
    let files = world.files();
    assert!(files.contains(&"unet/diffusion_pytorch_model.fp16.safetensors".into()), "{files:?}");
    assert!(files.contains(&"vae/diffusion_pytorch_model.safetensors".into()), "{files:?}");
    assert!(!files.contains(&UNET.into()), "{files:?}");
    draws(&world);
    // Another precision is another set: the first one is no longer there to be loaded by mistake.
    world.fetched(REPO, &["--precision", "f32"]).await;
    world.same_as("org/tiny");
    assert!(world.files().contains(&UNET.into()) && !world.files().iter().any(|f| f.contains("fp16")));
    draws(&world);
}

#[tokio::test]
async fn shards_come_with_their_index() {
    let world = World::new().await;
    copy(&checkpoint("shards"), &world.repo("org/shards"));
    // As half-size shards are named.
    let unet = world.repo("org/shards").join("unet");
    let index = |name: &str| unet.join(format!("diffusion_pytorch_model.safetensors.index{name}.json"));
    fs::rename(index(""), index(".fp16")).unwrap();
    world.fetched("hf://org/shards", &["--precision", "f16"]).await;
    world.same_as("org/shards");
    assert_eq!(
        world.files().iter().filter(|path| path.starts_with("unet/") && path.contains("-of-")).count(),
        8
    );
    draws(&world);
}

#[tokio::test]
async fn json_is_for_programs() {
    let world = World::new().await;
    let mut command = world.command(REPO, &["--log-format", "json"]);
    command.env("HF_TOKEN", " \n");
    let done = world.run(command).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let lines: Vec<serde_json::Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.first().unwrap()["state"], "fetching");
    assert_eq!(lines.last().unwrap(), &done.report);
    assert_eq!(done.report["state"], "done");
    for line in done.stderr.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[tokio::test]
async fn a_renamed_repository_is_followed() {
    let moved = |settings: &mut diffusion_test_hub::Settings| {
        settings.moved.insert("old/name".into(), "org/tiny".into());
    };
    let world = World::with(moved, |_| {}).await;
    world.fetched("hf://old/name", &[]).await;
    world.same_as("org/tiny");
}
