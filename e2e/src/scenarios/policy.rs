//! The NetworkPolicy, seen from other pods.

use kube::ResourceExt;
use serde_json::json;

use crate::{
    failure::{Outcome, ensure},
    wait::until,
    world::{World, fixed},
};

const BUSYBOX: &str = "diffusion-operator.dev/cluster/busybox:e2e";

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let friends = World::new(world.cluster, "policy-friends").await?;
    for place in [world, &friends] {
        place.create(&[client()]).await?;
        place.kubectl(&["wait", "pod/client", "--for=condition=Ready", "--timeout=60s"]).text().await?;
    }
    world.apply("sd", fixed(1, json!({"service": {"type": "ClusterIP"}}))).await?;
    world.wait_ready("sd").await?;
    let service = format!("sd.{}.svc 80", world.namespace);
    let pod = world.only_pod("sd").await?;
    let address = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).unwrap_or_default();
    let admin = format!("{address} 8081");

    reaches(&friends, "/", &service, true).await?;
    reaches(&friends, "/livez", &admin, false).await?;
    reaches(world, "/livez", &admin, false).await?;

    let from = |namespace: &str| {
        json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}])
    };
    let policy = json!({"from": from(&friends.namespace), "monitoringFrom": from(&friends.namespace)});
    world.apply("sd", fixed(1, json!({"service": {"type": "ClusterIP"}, "networkPolicy": policy}))).await?;
    reaches(world, "/", &service, false).await?;
    reaches(&friends, "/", &service, true).await?;
    reaches(&friends, "/livez", &admin, true).await?;
    let same = world.only_pod("sd").await?;
    ensure!(same.uid() == pod.uid(), "a change of the policy replaced the pod");
    // The operator's own look at the admin port is let through as well.
    let answer = until("the operator has read the pod's /status", 60, || async {
        Ok(world.get("sd").await?.status.and_then(|s| s.precision))
    })
    .await?;
    world.note(format!("the operator read: precision {answer}"));
    Ok(())
}

fn client() -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [
            {"name": "client", "image": BUSYBOX, "command": ["sleep", "100000"]},
        ]},
    })
}

/// Whether a page can be had; rules take a moment to be there.
async fn reaches(place: &World<'_>, path: &str, at: &str, can: bool) -> Outcome {
    let script = format!("printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {at}");
    let what = format!("{} {} {path} at {at}", place.namespace, if can { "gets" } else { "does not get" });
    until(&what, 40, || async {
        let said = place.kubectl(&["exec", "client", "--", "sh", "-c", &script]).text().await;
        let got = said.is_ok_and(|s| s.starts_with("HTTP/1.0 200") || s.starts_with("HTTP/1.1 200"));
        Ok((got == can).then_some(()))
    })
    .await
}
