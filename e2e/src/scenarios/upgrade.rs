//! The operator comes, goes and changes; models draw on.

use kube::ResourceExt;
use serde_json::json;

use crate::{
    cluster::OPERATOR,
    failure::{Outcome, ensure},
    load::{Client, Load},
    pods::identities,
    run::OTHER_TAG,
    wait::until,
    world::{World, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let url = world.serving("kept", fixed(2, json!({}))).await?;
    let uid = world.settled("kept").await?.uid();
    let before = identities(&world.pods("kept").await?);
    let load = Load::start(&url, &[Client::Keeps, Client::Renews], 120);
    let result = lives(world, &before).await;
    let tally = load.end_without_a_failure().await;
    result?;
    world.note(format!("{} pictures meanwhile, none lost", tally?.pictures));
    ensure!(world.get("kept").await?.uid() == uid, "the resource is another one");
    // And the operator of now does its work on what it found.
    world.kubectl(&["scale", "dsvc", "kept", "--replicas=1"]).text().await?;
    until("one pod", 60, || async { Ok((world.pods("kept").await?.len() == 1).then_some(())) }).await
}

async fn lives(world: &World<'_>, before: &[(String, String, i32)]) -> Outcome {
    let cluster = world.cluster;
    let same = async |after: &str| -> Outcome {
        // The new operator has looked at the resource.
        crate::wait::seconds(5).await;
        let now = identities(&world.pods("kept").await?);
        ensure!(now == before, "{after}: the pods were {before:?} and are {now:?}");
        world.note(format!("{after}: the same pods, no restart"));
        Ok(())
    };
    let operator = operator_image(world).await?;
    cluster.upgrade(&["podAnnotations.example\\.com/team=art", "concurrency=4"]).await?;
    same("upgrade with other values").await?;

    let tags = [format!("image.tag={OTHER_TAG}"), format!("server.image.tag={OTHER_TAG}")];
    cluster.upgrade(&tags.each_ref().map(String::as_str)).await?;
    ensure!(operator_image(world).await? != operator, "the operator's image is still {operator}");
    let message = world.shows("kept", "Progressing", "False", "UpdateWaits").await?;
    ensure!(message.contains(OTHER_TAG), "{message}");
    same("upgrade to another version").await?;

    cluster.helm(&["rollback", OPERATOR, "1", "--wait", "--timeout=3m"]).text().await?;
    ensure!(operator_image(world).await? == operator, "the operator's image is not {operator} again");
    world.shows("kept", "Progressing", "False", "Complete").await?;
    same("rollback").await?;

    cluster.uninstall().await?;
    world.get("kept").await?;
    same("uninstall").await?;
    cluster.install().await?;
    same("reinstall").await
}

async fn operator_image(world: &World<'_>) -> Outcome<String> {
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    world.cluster.kubectl(&["-n", OPERATOR, "get", "deployment", OPERATOR, "-o", path]).text().await
}
