//! Who may have a model, and what is said to those who may not.

use diffusion_test_hub::Access;

use crate::harness::{REPO, World};

const TOKEN: &str = "hf_right";

#[tokio::test]
async fn a_token_goes_to_the_hub_and_nowhere_else() {
    let world = World::with(|settings| settings.access = Access::Private(TOKEN.into()), |_| {}).await;
    let mut command = world.command(REPO, &[]);
    // As it comes out of a Secret that somebody wrote with an editor.
    command.env("HF_TOKEN", format!("{TOKEN}\n"));
    let done = world.run(command).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    world.same_as("org/tiny");
    let (cdn, hub): (Vec<_>, Vec<_>) = world.hub.seen().into_iter().partition(|seen| seen.cdn);
    assert!(hub.len() > 10 && cdn.len() == 3);
    assert!(hub.iter().all(|seen| seen.authorization.as_deref() == Some("Bearer hf_right")), "{hub:?}");
    assert!(cdn.iter().all(|seen| seen.authorization.is_none()), "{cdn:?}");
    assert!(!done.stderr.contains(TOKEN) && !done.report.to_string().contains(TOKEN));
}

#[tokio::test]
async fn the_flag_is_before_the_variables() {
    let world = World::with(|settings| settings.access = Access::Private(TOKEN.into()), |_| {}).await;
    let mut command = world.command(REPO, &[]);
    command.env("HF_TOKEN", "hf_other").env("DIFFUSION_TOKEN", TOKEN);
    assert_eq!(world.run(command).await.code, Some(0));
    let mut command = crate::harness::program();
    command.args(["fetch", REPO, "--output"]).arg(world.out()).env("HF_ENDPOINT", world.hub.url());
    command.env("HF_TOKEN", "").env("DIFFUSION_TOKEN", "");
    let done = world.run(command).await;
    assert!(done.code == Some(1) && done.stderr.contains("give a token"), "{}", done.stderr);
}

#[tokio::test]
async fn a_private_repository_asks_for_a_token() {
    let world = World::with(|settings| settings.access = Access::Private(TOKEN.into()), |_| {}).await;
    world.refused(REPO, &[], "give a token (HF_TOKEN) if it is private").await;
    world.refused(REPO, &["--token", "hf_other"], "the token's account may read it").await;
    let done = world.refused(REPO, &["--token", "mistyped"], "does not know the token").await;
    assert!(
        done.stderr.contains("/settings/tokens") && !done.stderr.contains("mistyped;"),
        "{}",
        done.stderr
    );
    world.refused(REPO, &["--token", "a b\u{7f}"], "--token (HF_TOKEN)").await;
}

#[tokio::test]
async fn a_gated_repository_asks_for_its_licence_to_be_accepted() {
    let world = World::with(|settings| settings.access = Access::Gated(TOKEN.into()), |_| {}).await;
    let page = format!("{}/org/tiny", world.hub.url());
    let done = world.refused(REPO, &[], "org/tiny is gated: accept its licence at").await;
    assert!(done.stderr.contains(&page), "{}", done.stderr);
    let done = world.refused(REPO, &["--token", "hf_other"], "org/tiny is gated: the token's account").await;
    assert!(done.stderr.contains(&page), "{}", done.stderr);
    world.fetched(REPO, &["--token", TOKEN]).await;
}

#[tokio::test]
async fn what_does_not_exist_is_said_at_once() {
    let world = World::new().await;
    for (source, words) in [
        ("hf://org/nothing", "there is no org/nothing at http://127.0.0.1:"),
        ("hf://org/tiny@v7", "org/tiny has no revision \"v7\""),
        (&format!("hf://org/tiny@{}", "0".repeat(40)), "org/tiny has no revision \"0000"),
        ("org/tiny", "write hf://"),
        ("hf://tiny", "ORGANISATION/NAME"),
    ] {
        let done = world.refused(source, &["--token", TOKEN], words).await;
        assert!(!done.stderr.contains("trying again"), "{}", done.stderr);
    }
}

#[tokio::test]
async fn what_is_not_a_hub_is_said_to_be_none() {
    let world = World::new().await;
    // A server, but not under this path.
    let elsewhere = format!("{}/mirror", world.hub.url());
    for (endpoint, words) in
        [(elsewhere.as_str(), "is --endpoint (HF_ENDPOINT) right?"), ("hub.example", "expected an address")]
    {
        world.refused(REPO, &["--endpoint", endpoint], words).await;
    }
    let page = diffusion_test_hub::Answer {
        body: "<html>Welcome</html>".into(),
        ..diffusion_test_hub::Answer::status(200)
    };
    world.hub.faults().answers.push_back(page);
    world.refused(REPO, &[], "not the expected JSON").await;
    let odd = diffusion_test_hub::Answer {
        body: r#"{"sha": "v1"}"#.into(),
        ..diffusion_test_hub::Answer::status(200)
    };
    world.hub.faults().answers.push_back(odd);
    world.refused(REPO, &[], "the commit is \"v1\"").await;
}
