//! A model from a hub, which is a pod of this cluster.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    failure::{Outcome, ensure, fail},
    load::small,
    world::{World, fixed},
};

/// With one repository, test/emoji; scripts/e2e makes it.
const IMAGE: &str = "diffusion-operator.dev/e2e-hub:e2e";

pub(super) async fn run(world: &World<'_>) -> Outcome {
    // The hub has a name, but no pod yet: a broken download.
    world.create(&[service()]).await?;
    let endpoint = format!("http://hub.{}.svc", world.namespace);
    let model = |more: Value| {
        let mut model = json!({"source": "hf://test/emoji", "endpoint": endpoint});
        crate::world::merge(&mut model, more);
        json!({"model": model, "service": {"type": "ClusterIP"}})
    };
    let cached = model(json!({"cache": {"size": "200Mi"}}));
    world.apply("cached", fixed(2, cached.clone())).await?;
    let message = world.shows("cached", "ModelAvailable", "False", "DownloadFailed").await?;
    world.note(format!("without the hub: {message}"));
    ensure!(message.contains("hub."), "the message does not say which hub: {message}");
    world.shows("cached", "Degraded", "True", "DownloadFailed").await?;

    world.create(&[pod()]).await?;
    world.kubectl(&["wait", "pod/hub", "--for=condition=Ready", "--timeout=60s"]).text().await?;
    let resource = world.settled("cached").await?;
    let status = resource.status.unwrap_or_default();
    let Some(model_status) = status.model else { fail!("no status of the model") };
    let revision = model_status.revision.unwrap_or_default();
    ensure!(revision.len() == 40, "the commit is {revision:?}");
    let download = model_status.download.unwrap_or_default();
    ensure!(download.bytes > 10_000_000 && download.bytes_done == download.bytes, "the download: {download:?}");
    world.note(format!("{} files, {} MB, commit {revision}", download.files, download.bytes / 1_000_000));
    once_for_all(world).await?;
    picture(world, "cached").await?;

    // A third pod needs no hub.
    world.kubectl(&["delete", "pod", "hub", "--grace-period=1"]).text().await?;
    world.apply("cached", fixed(3, cached)).await?;
    world.settled("cached").await?;
    ensure!(world.pods("cached").await?.len() == 3, "three pods, please");

    // Without a cache, each pod fetches by itself.
    world.create(&[pod()]).await?;
    world.kubectl(&["wait", "pod/hub", "--for=condition=Ready", "--timeout=60s"]).text().await?;
    world.apply("direct", fixed(1, model(json!({})))).await?;
    world.settled("direct").await?;
    let pod = world.only_pod("direct").await?;
    let init = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref()).map_or(0, Vec::len);
    ensure!(init == 1, "{init} init containers");
    picture(world, "direct").await
}

/// One Job with one pod that did it, and servers that do not fetch.
async fn once_for_all(world: &World<'_>) -> Outcome {
    let jobs = world.kubectl(&["get", "jobs", "-o", "jsonpath={.items[*].status.succeeded}"]).text().await?;
    ensure!(jobs == "1", "succeeded downloads: {jobs:?}");
    for pod in world.pods("cached").await? {
        let init = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref()).map_or(0, Vec::len);
        ensure!(init == 0, "{} fetches by itself", pod.name_any());
    }
    Ok(())
}

/// The model from the hub draws what the model inside the image draws.
async fn picture(world: &World<'_>, name: &str) -> Outcome {
    let pod = world.pods(name).await?.first().map(ResourceExt::name_any).unwrap_or_default();
    let drawn = world.through(&pod, small(5)).await?;
    ensure!(drawn.is_png(), "{drawn}");
    let size = ["--steps", "5", "--width", "64", "--height", "64"];
    let expected = crate::picture::reference(world.cluster, &[&["a red apple", "--seed", "5"][..], &size].concat()).await?;
    let same = crate::picture::Picture::read(&drawn.body)? == crate::picture::Picture::read(&expected)?;
    ensure!(same, "{name} draws another picture than the bundled model");
    Ok(())
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "hub"},
        "spec": {"selector": {"app": "hub"}, "ports": [
            {"name": "http", "port": 80}, {"name": "files", "port": 443},
        ]},
    })
}

/// It listens on 80 and 443: a NetworkPolicy sees the ports of the pod, not those of the Service.
fn pod() -> Value {
    let arguments = ["--root=/hub", "--listen=0.0.0.0:80", "--cdn-listen=0.0.0.0:443"];
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hub", "labels": {"app": "hub"}},
        "spec": {"containers": [{
            "name": "hub", "image": IMAGE, "args": arguments,
            "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
        }]},
    })
}
