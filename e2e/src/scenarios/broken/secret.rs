use serde_json::json;

use super::{broken, mended};
use crate::{
    failure::Outcome,
    world::{World, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let auth = json!({"auth": {"apiKeysSecretRef": {"name": "the-keys", "key": "keys"}}});
    world.apply("secret", fixed(1, auth)).await?;
    broken(world, "secret", "FailedMount", &["the-keys", "not found"]).await?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "the-keys"}, "stringData": {"keys": "0123456789abcdef0123456789abcdef"},
    });
    world.create(&[secret]).await?;
    mended(world, "secret").await
}
