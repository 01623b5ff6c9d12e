//! Both pods of a pair draw.

use kube::ResourceExt;

use crate::{
    failure::{Outcome, ensure},
    http::{Ask, Http},
    load::small,
    wait::until,
    world::{World, pair},
};

const REQUESTS: u64 = 24;

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let url = world.serving("pair", pair()).await?;
    world.settled("pair").await?;
    let pods = world.pods("pair").await?;
    let nodes: Vec<_> = pods.iter().filter_map(|p| p.spec.as_ref()?.node_name.clone()).collect();
    ensure!(nodes.len() == 2 && nodes[0] != nodes[1], "two pods on two nodes, please: {nodes:?}");
    let mut http = Http::new(&url, false);
    let ids: Vec<String> = (0..REQUESTS).map(|n| format!("pair-{n}")).collect();
    for (seed, id) in (0..).zip(&ids) {
        let answer = http.send(&Ask { id: Some(id.clone()), ..Ask::picture(small(seed)) }).await?;
        ensure!(answer.is_png(), "{answer}");
    }
    let shares = until("every request in a pod's log", 20, || async {
        let mut drawn = Vec::new();
        for pod in &pods {
            drawn.push(world.drawn_by(&pod.name_any()).await?);
        }
        let found = ids.iter().all(|id| drawn.iter().filter(|d| d.contains(id)).count() == 1);
        Ok(found.then(|| drawn.iter().map(Vec::len).collect::<Vec<_>>()))
    })
    .await?;
    // 24 fair coins all fall on one side once in eight million times.
    ensure!(shares.iter().all(|s| *s > 0), "one pod drew everything: {shares:?}");
    world.note(format!("{REQUESTS} requests: {shares:?} drawn by the two pods"));
    Ok(())
}
