//! A node loses its power.

use std::time::Instant;

use kube::ResourceExt;

use crate::{
    cluster::NodePower,
    failure::{Failure, Outcome, ensure, fail},
    http::{Ask, Http},
    load::{Client, Load, small},
    pods::ready,
    wait::until,
    world::{World, pair},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let url = world.serving("pair", pair()).await?;
    world.settled("pair").await?;
    let pods = world.pods("pair").await?;
    let entrance = announcer(world, "pair").await?;
    let node = |p: &k8s_openapi::api::core::v1::Pod| p.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
    let Some(survivor) = pods.iter().find(|p| node(p) == entrance) else { fail!("no pod on {entrance}") };
    let Some(victim) = pods.iter().map(node).find(|n| *n != entrance) else { fail!("both pods are on {entrance}") };

    // Requests to the dead pod get no answer, and nobody can know: their clients give up after a while.
    let load = Load::start(&url, &[Client::Renews, Client::Keeps, Client::Renews, Client::Keeps], 20);
    until("pictures", 60, || async { Ok((load.pictures() > 8).then_some(())) }).await?;
    world.cluster.node(NodePower::Kill, &victim).await?;
    let died = Instant::now();
    let (pods_of_before, survivor) = (pods.len(), survivor.name_any());
    until(&format!("{victim} is NotReady"), 90, || async {
        Ok(world.cluster.nodes().await?.iter().any(|n| n.0 == victim && !n.1).then_some(()))
    })
    .await?;
    world.note(format!("{victim} was NotReady after {:.0} s", died.elapsed().as_secs_f64()));
    until("only one pod is ready", 60, || async {
        Ok((world.pods("pair").await?.iter().filter(|p| ready(p)).count() < pods_of_before).then_some(()))
    })
    .await?;
    let since = until("new requests are all answered", 60, || all_answered(&url)).await?;
    let healed = since.saturating_duration_since(died).as_secs();
    world.note(format!("from {healed} s after the death on every new request was answered"));
    let resource = world.get("pair").await?;
    let is_ready = crate::world::condition(&resource, "Ready").is_some_and(|c| c.status == "True");
    ensure!(is_ready, "one pod draws, so it should be Ready");

    let tally = load.end().await?;
    let drawn = world.drawn_by(&survivor).await?;
    let lost: Vec<_> = tally.failed.iter().filter(|(id, ..)| drawn.contains(id)).collect();
    ensure!(lost.is_empty(), "{survivor} drew pictures whose clients got no answer: {lost:?}");
    for (id, when, why) in &tally.failed {
        let of_the_dead = why.starts_with("no connection") || why.starts_with("sent, but not answered");
        ensure!(of_the_dead, "{id} after {:.1} s: {why}", when.as_secs_f64());
    }
    world.note(format!(
        "{} pictures; {} requests went to the dead pod, none to the living was lost",
        tally.pictures,
        tally.failed.len()
    ));
    ensure!(tally.pictures > 10, "only {} pictures", tally.pictures);

    world.cluster.node(NodePower::Start, &victim).await?;
    until("two ready pods again", 180, || async {
        let pods = world.pods("pair").await?;
        let count = pods.iter().filter(|p| ready(p)).count();
        if count == 2 { Ok(Some(())) } else { Err(Failure(format!("{count} of {} are", pods.len()))) }
    })
    .await?;
    world.settled("pair").await?;
    until("requests are answered with the node back", 60, || all_answered(&url)).await.map(|_| ())
}

/// Sends requests over new connections; when all are answered, gives the moment of the first.
async fn all_answered(url: &str) -> Outcome<Option<Instant>> {
    let since = Instant::now();
    for seed in 0..8 {
        let answer = Http::new(url, false).patience(15).send(&Ask::picture(small(seed))).await?;
        ensure!(answer.is_png() || answer.retry_after().is_some(), "{answer}");
    }
    Ok(Some(since))
}

/// The node that the load balancer's address leads to.
async fn announcer(world: &World<'_>, service: &str) -> Outcome<String> {
    until("the node that announces the address", 30, || async {
        let path = format!(
            "jsonpath={{range .items[?(@.status.serviceName==\"{service}\")]}}{{.status.serviceNamespace}} {{.status.node}}{{\"\\n\"}}{{end}}"
        );
        let all = world.cluster.kubectl(&["get", "servicel2statuses.metallb.io", "-A", "-o", &path]).text().await?;
        Ok(all.lines().find_map(|l| l.strip_prefix(&format!("{} ", world.namespace)).map(str::to_owned)))
    })
    .await
}
