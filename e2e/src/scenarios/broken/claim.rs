use serde_json::json;

use super::{broken, mended};
use crate::{
    command::Program,
    failure::Outcome,
    world::{World, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let source = json!({"model": {"source": "pvc://models/emoji"}});
    world.apply("claim", fixed(1, source)).await?;
    broken(world, "claim", "ClaimNotFound", &["pvc://models/emoji"]).await?;
    fill(world).await?;
    mended(world, "claim").await
}

/// The claim, with the small model's files.
async fn fill(world: &World<'_>) -> Outcome {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "200Mi"}}},
    });
    let filler = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "filler"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "filler", "image": "diffusion-operator.dev/cluster/busybox:e2e", "command": ["sleep", "100000"],
                "volumeMounts": [{"name": "models", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
        },
    });
    world.create(&[claim, filler]).await?;
    world.kubectl(&["wait", "pod/filler", "--for=condition=Ready", "--timeout=90s"]).text().await?;
    let models = world.cluster.clone.join("inference-server/models");
    let pack = ["-c", "--exclude=train", "emoji"];
    let files = Program::new("tar", &pack, &models).bytes().await?;
    world.kubectl(&["exec", "-i", "filler", "--", "tar", "-x", "-C", "/data"]).input(files).text().await.map(|_| ())
}
