//! A pod that is killed, and a process that is.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use crate::{
    failure::{Outcome, ensure, fail},
    load::small,
    pods::{ready, restarts},
    wait::until,
    world::{World, condition, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let url = world.serving("one", fixed(1, json!({}))).await?;
    let before = world.only_pod("one").await?;
    let since = turned(world).await?;
    let name = before.name_any();
    world.kubectl(&["delete", "pod", &name, "--grace-period=0", "--force"]).text().await?;
    came_back(world, &since).await?;
    let after = world.only_pod("one").await?;
    ensure!(before.uid() != after.uid() && ready(&after), "another pod, and a ready one, please");
    let answer = world.draw(&url, small(1)).await?;
    ensure!(answer.is_png(), "{answer}");

    let since = turned(world).await?;
    kill_process(world, &after).await?;
    came_back(world, &since).await?;
    let again = world.only_pod("one").await?;
    ensure!(again.uid() == after.uid() && restarts(&again) == 1, "the same pod with one restart, please");
    let answer = world.draw(&url, small(2)).await?;
    ensure!(answer.is_png(), "{answer}");
    let events = world.kubectl(&["describe", "dsvc", "one"]).text().await?;
    world.note(format!("{} events of Ready", events.matches("Normal   Ready").count()));
    Ok(())
}

/// When Ready last turned.
async fn turned(world: &World<'_>) -> Outcome<String> {
    let resource = world.get("one").await?;
    match condition(&resource, "Ready") {
        Some(c) if c.status == "True" => Ok(format!("{:?}", c.last_transition_time)),
        other => fail!("it should be Ready: {other:?}"),
    }
}

/// Ready again, after a time in which it said that it was not.
async fn came_back(world: &World<'_>, since: &str) -> Outcome {
    until("Ready turned, and turned back", 120, || async {
        let resource = world.get("one").await?;
        let back = condition(&resource, "Ready")
            .is_some_and(|c| c.status == "True" && format!("{:?}", c.last_transition_time) != since);
        Ok(back.then_some(()))
    })
    .await
}

/// kill -9, in the node, as the out-of-memory killer does it.
async fn kill_process(world: &World<'_>, pod: &Pod) -> Outcome {
    let status = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()?.first());
    let id = status.and_then(|s| s.container_id.as_deref()?.strip_prefix("containerd://"));
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
    let (Some(id), Some(node)) = (id, node) else { fail!("the pod has no container or no node") };
    let kill = ["ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
    world.cluster.in_node(node, &kill).text().await.map(|_| ())
}
