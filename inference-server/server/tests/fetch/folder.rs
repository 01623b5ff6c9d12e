//! The folder: interrupted, shared, too small, closed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::Duration;

use crate::harness::{REPO, UNET, World, list, wait_for};

/// Bytes that are there of files that are not complete.
fn partial_bytes(world: &World) -> u64 {
    world
        .leftovers()
        .iter()
        .filter_map(|path| fs::metadata(world.out().join(path)).ok())
        .map(|m| m.len())
        .sum()
}

async fn ended(mut child: Child) -> (Option<i32>, String) {
    let output = tokio::task::spawn_blocking(move || {
        let status = child.wait().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut text).unwrap();
        (status.code(), text)
    });
    tokio::time::timeout(Duration::from_secs(30), output).await.expect("it hangs").unwrap()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn whatever_ends_it_the_next_run_goes_on() {
    for (name, code) in [("TERM", Some(143)), ("INT", Some(143)), ("KILL", None)] {
        let world = World::new().await;
        world.hub.faults().rate = Some(100_000);
        let child = world.spawn(REPO, &[]);
        wait_for("a beginning", || partial_bytes(&world) > 150_000).await;
        signal(&child, name);
        let (ended, text) = ended(child).await;
        assert_eq!(ended, code, "{text}");
        if code.is_some() {
            assert!(text.contains("the next run goes on from it"), "{text}");
            let report = crate::harness::read_json(&world.report_file());
            assert_eq!(report["state"], "failed");
            assert!(report["error"].as_str().unwrap().contains(&format!("SIG{name}")), "{report}");
        }
        let kept = partial_bytes(&world);
        assert!(kept > 150_000 && world.files().is_empty());
        world.hub.faults().rate = None;
        world.hub.seen();
        let done = world.fetched(REPO, &[]).await;
        world.same_as("org/tiny");
        assert!(world.hub.seen().iter().any(|seen| seen.range.is_some()), "nothing was gone on with");
        assert_eq!(done.report["bytes"], done.report["bytesDone"]);
    }
}

#[tokio::test]
async fn while_it_runs_it_says_how_far_it_is() {
    let world = World::new().await;
    world.hub.faults().rate = Some(50_000);
    let child = world.spawn(REPO, &[]);
    let report = || crate::harness::read_json(&world.report_file());
    wait_for("progress", || {
        let report = report();
        let (done, all) = (report["bytesDone"].as_u64().unwrap_or(0), report["bytes"].as_u64().unwrap_or(0));
        report["state"] == "fetching" && done > 0 && done < all && report["files"] == 12
    })
    .await;
    assert_eq!(report()["revision"].as_str().unwrap().len(), 40);
    signal(&child, "TERM");
    let (_, text) = ended(child).await;
    assert!(text.contains("kB fetched"), "{text}");
}

#[tokio::test]
async fn two_at_one_time_are_one_download() {
    let world = World::new().await;
    world.hub.faults().rate = Some(200_000);
    let first = world.spawn(REPO, &[]);
    wait_for("a beginning", || partial_bytes(&world) > 0).await;
    let second = world.spawn(REPO, &[]);
    let ((code, text), (second_code, second_text)) = tokio::join!(ended(first), ended(second));
    assert_eq!((code, second_code), (Some(0), Some(0)), "{text}{second_text}");
    assert!(second_text.contains("waiting for it") && second_text.contains("already"), "{second_text}");
    world.same_as("org/tiny");
    assert_eq!(world.hub.seen().iter().filter(|seen| seen.cdn).count(), 3);
}

#[tokio::test]
async fn an_interrupted_replacement_is_finished() {
    let world = World::new().await;
    world.fetched(REPO, &[]).await;
    // As it is when the machine fails between the removal of one marker and the writing of the next.
    let marker = fs::read_to_string(world.out().join(".diffusion-fetch.json")).unwrap();
    let stale = marker.replace("tokenizer/merges.txt", "tokenizer/stale.txt");
    fs::rename(world.out().join(".diffusion-fetch.json"), world.out().join(".diffusion-fetch.replaced.json"))
        .unwrap();
    fs::write(world.out().join(".diffusion-fetch.replaced.json"), stale).unwrap();
    fs::write(world.out().join("tokenizer/stale.txt"), "old").unwrap();
    fs::write(world.out().join("unet/.x.0123.partial"), "old").unwrap();
    world.hub.seen();
    world.fetched(REPO, &[]).await;
    world.same_as("org/tiny");
    assert!(world.hub.seen().iter().all(|seen| !seen.cdn), "what was in place was good");
}

#[tokio::test]
async fn weights_of_somebody_else_are_not_mixed_in() {
    let world = World::with(
        |_| {},
        |repo| {
            let half = repo.join("unet/diffusion_pytorch_model.fp16.safetensors");
            fs::rename(repo.join(UNET), half).unwrap();
        },
    )
    .await;
    fs::create_dir_all(world.out().join("unet")).unwrap();
    fs::write(world.out().join(UNET), "mine").unwrap();
    world.refused(REPO, &["--precision", "f16"], "would be loaded instead of the model").await;
    assert_eq!(fs::read(world.out().join(UNET)).unwrap(), b"mine");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let world = World::new().await;
    fs::write(world.out(), "a file").unwrap();
    world.refused(REPO, &[], "out").await;
    fs::remove_file(world.out()).unwrap();
    fs::create_dir(world.out()).unwrap();
    fs::set_permissions(world.out(), fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write everywhere; in a user namespace without its name it may not.
    let command = within(&["unshare", "--user"], &world.command(REPO, &[]));
    let done = world.run(command).await;
    assert!(done.code == Some(1) && done.stderr.contains("fsGroup"), "{}", done.stderr);
}

/// The same command, started by another one.
fn within(prefix: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(prefix[0]);
    outer.args(&prefix[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// The command, with the output folder on a file system of its own that is this small; `before` runs first.
fn small_disk(world: &World, kilobytes: u32, before: &str) -> Command {
    let out = world.out().display().to_string();
    let script = format!(
        "mkdir -p {out} && mount -t tmpfs -o size={kilobytes}k tmpfs {out} && {{ {before} }} && \"$@\""
    );
    let prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    within(&prefix, &world.command(REPO, &[]))
}

#[tokio::test]
async fn a_small_disk_is_noticed_before_and_while_it_fills() {
    let world = World::new().await;
    let done = world.run(small_disk(&world, 300, "true;")).await;
    assert!(done.stderr.contains("more are needed: make the volume larger"), "{}", done.stderr);
    assert!(world.hub.seen().iter().all(|seen| !seen.cdn));

    // There is room at first, and somebody else takes it.
    world.hub.faults().rate = Some(400_000);
    let thief = format!("(sleep 1; head -c 700k /dev/zero > {}/thief 2>&1) &", world.out().display());
    let done = world.run(small_disk(&world, 1000, &thief)).await;
    assert!(done.stderr.contains("no space is left; make the volume larger"), "{}", done.stderr);
    assert_eq!((&done.report["state"], done.code), (&"failed".into(), Some(1)));
    assert!(list(&world.out()).is_empty(), "the small disk was not used");
}

#[tokio::test]
async fn where_two_models_do_not_fit_the_old_one_goes_first() {
    let world = World::new().await;
    let next = world.repo("org/tiny@v2");
    crate::harness::copy(&world.repo("org/tiny"), &next);
    let mut unet = fs::read(next.join(UNET)).unwrap();
    *unet.last_mut().unwrap() ^= 1;
    fs::write(next.join(UNET), unet).unwrap();
    let first = world.command(&format!("{REPO}@v2"), &[]);
    let words = std::iter::once(first.get_program()).chain(first.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let done = world.run(small_disk(&world, 1000, &format!("{};", words.join(" ")))).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("no room for two models"), "{}", done.stderr);
}
