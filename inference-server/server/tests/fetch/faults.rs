//! What networks do.

use std::fs;

use diffusion_test_hub::Answer;

use crate::harness::{REPO, UNET, World};

/// Requests for the UNet's contents, with where they began.
fn ranges(world: &World) -> Vec<Option<String>> {
    let seen = world.hub.seen();
    let longest = seen.iter().filter(|seen| seen.cdn).map(|seen| &seen.path);
    let unet = longest.max_by_key(|path| seen.iter().filter(|seen| seen.path == **path).count());
    seen.iter().filter(|seen| Some(&seen.path) == unet).map(|seen| seen.range.clone()).collect()
}

#[tokio::test]
async fn a_connection_that_breaks_is_gone_on_with() {
    let world = World::new().await;
    // Every body breaks a few times, after 100 kB: what is smaller comes whole.
    world.hub.faults().breaks = Some((20, 100_000));
    let done = world.fetched(REPO, &[]).await;
    world.same_as("org/tiny");
    assert!(done.stderr.contains("the connection broke"), "{}", done.stderr);
    let ranges = ranges(&world);
    assert!(ranges.len() >= 4 && ranges[0].is_none(), "{ranges:?}");
    let starts: Vec<u64> = ranges[1..]
        .iter()
        .map(|range| range.as_deref().unwrap().trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap())
        .collect();
    assert!(starts.is_sorted() && starts[0] > 0, "{ranges:?}");
    assert_eq!(done.report["bytes"], done.report["bytesDone"]);
}

#[tokio::test]
async fn a_hub_without_ranges_sends_it_all_again() {
    let world = World::new().await;
    world.hub.faults().no_ranges = true;
    world.hub.faults().breaks = Some((4, 100_000));
    let done = world.fetched(REPO, &[]).await;
    world.same_as("org/tiny");
    assert_eq!(done.report["bytes"], done.report["bytesDone"]);
}

#[tokio::test]
async fn a_range_that_does_not_fit_begins_again() {
    let world = World::new().await;
    world.hub.faults().no_range_fits = true;
    world.hub.faults().breaks = Some((2, 150_000));
    let done = world.fetched(REPO, &[]).await;
    world.same_as("org/tiny");
    assert!(done.stderr.contains("416"), "{}", done.stderr);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up() {
    let world = World::new().await;
    world.hub.faults().stalls = Some((1, 100_000));
    let done = world.fetched(REPO, &["--idle-timeout", "1"]).await;
    world.same_as("org/tiny");
    assert!(done.stderr.contains("nothing came for 1 s"), "{}", done.stderr);
}

#[tokio::test]
async fn a_slow_one_is_waited_for() {
    let world = World::new().await;
    // Two seconds and more for the UNet, which is longer than the silence that is allowed.
    world.hub.faults().rate = Some(200_000);
    let done = world.fetched(REPO, &["--idle-timeout", "1"]).await;
    world.same_as("org/tiny");
    assert!(!done.stderr.contains("trying again"), "{}", done.stderr);
}

#[tokio::test]
async fn a_busy_hub_is_asked_again_when_it_says() {
    let world = World::new().await;
    let answers = [
        Answer { path: "/revision/".into(), retry_after: Some(2), ..Answer::status(429) },
        Answer { path: "/tree/".into(), ..Answer::status(503) },
        Answer { path: "/resolve/".into(), ..Answer::status(500) },
    ];
    world.hub.faults().answers.extend(answers);
    let done = world.fetched(REPO, &[]).await;
    world.same_as("org/tiny");
    assert!(
        done.stderr.contains("429 Too Many Requests: on purpose; trying again in 2.0 s"),
        "{}",
        done.stderr
    );
    assert_eq!(done.stderr.matches("trying again").count(), 3, "{}", done.stderr);
}

#[tokio::test]
async fn patience_has_an_end() {
    let world = World::new().await;
    world.hub.faults().answers.extend((0..9).map(|_| Answer::status(502)));
    let done = world.refused(REPO, &["--retries", "1"], "given up after 2 tries").await;
    assert!(done.stderr.contains("502 Bad Gateway: on purpose"), "{}", done.stderr);
    world.hub.faults().answers.clear();
    let long = Answer { retry_after: Some(4000), ..Answer::status(429) };
    world.hub.faults().answers.push_back(long);
    world.refused(REPO, &[], "it asks to come back in 4000 s").await;
    world.refused(REPO, &["--endpoint", "http://127.0.0.1:1", "--retries", "0"], "cannot be reached").await;
    let unknown = ["--endpoint", "http://no-such-host.invalid", "--retries", "0"];
    world.refused(REPO, &unknown, "cannot be reached").await;
}

#[tokio::test]
async fn answers_that_will_not_change_are_not_asked_for_again() {
    let world = World::new().await;
    for (path, status, words) in [
        ("/tree/", 418, "418 I'm a teapot: on purpose"),
        ("/resolve/", 403, "or it is private"),
        ("/resolve/", 404, "404 Not Found"),
        ("/revision/", 400, "400 Bad Request: on purpose"),
    ] {
        world.hub.faults().answers.push_back(Answer { path: path.into(), ..Answer::status(status) });
        let done = world.refused(REPO, &[], words).await;
        assert!(!done.stderr.contains("trying again"), "{}", done.stderr);
    }
    world.hub.faults().redirect_loop = true;
    world.refused(REPO, &[], "too many redirects").await;
}

#[tokio::test]
async fn wrong_bytes_are_deleted() {
    let world = World::new().await;
    world.hub.faults().wrong_bytes = 100;
    let done = world.refused(REPO, &[], "do not have the git blob hash that the hub lists").await;
    assert!(done.stderr.contains("model_index.json"), "{}", done.stderr);
    assert!(world.files().is_empty() && world.leftovers().is_empty(), "{:?}", world.leftovers());

    // Small files are right, the next large one is not.
    world.hub.faults().wrong_bytes = 0;
    let unet = world.repo("org/tiny").join(UNET);
    let (right, mut wrong) = (fs::read(&unet).unwrap(), fs::read(&unet).unwrap());
    world.fetched(REPO, &[]).await;
    fs::remove_dir_all(world.out()).unwrap();
    // The file changes behind the back of the listing, which knows it by its size and time.
    let time = fs::metadata(&unet).unwrap().modified().unwrap();
    wrong[1000] ^= 1;
    fs::write(&unet, wrong).unwrap();
    fs::File::options().write(true).open(&unet).unwrap().set_modified(time).unwrap();
    world.refused(REPO, &[], "do not have the SHA-256 that the hub lists").await;
    assert!(
        !world.leftovers().iter().any(|path| path.starts_with("unet/.diffusion")),
        "{:?}",
        world.leftovers()
    );
    fs::write(&unet, right).unwrap();
    world.fetched(REPO, &[]).await;
    world.same_as("org/tiny");
}

#[tokio::test]
async fn a_hub_that_contradicts_itself_is_not_believed() {
    let world = World::new().await;
    world.hub.faults().wrong_linked_size = true;
    world.refused(REPO, &[], "the hub says that the size is").await;
}

#[tokio::test]
async fn a_damaged_beginning_is_thrown_away() {
    let world = World::new().await;
    world.hub.faults().breaks = Some((1, 100_000));
    world.fetch(REPO, &["--retries", "0"]).await;
    let partial =
        world.leftovers().into_iter().find(|path| fs::metadata(world.out().join(path)).unwrap().len() > 0);
    let partial = world.out().join(partial.expect("something was kept"));
    let mut bytes = fs::read(&partial).unwrap();
    bytes[0] ^= 1;
    fs::write(&partial, bytes).unwrap();
    let done = world.fetched(REPO, &[]).await;
    world.same_as("org/tiny");
    assert!(done.stderr.contains("damaged; starting it again"), "{}", done.stderr);
}
