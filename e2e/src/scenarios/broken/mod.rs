//! Things that are broken, all at once: most of the time is spent waiting for the kubelet's next try.

mod accelerator;
mod claim;
mod image;
mod memory;
mod name_taken;
mod secret;

use super::Run;
use crate::{
    failure::{Failure, Outcome, ensure},
    world::World,
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let all: [(&str, Run<'_>); 6] = [
        ("an image that can't be had", Box::pin(image::run(world))),
        ("a Secret that is not there", Box::pin(secret::run(world))),
        ("an accelerator that no node has", Box::pin(accelerator::run(world))),
        ("too little memory", Box::pin(memory::run(world))),
        ("a claim that is not there", Box::pin(claim::run(world))),
        ("a name that is taken", Box::pin(name_taken::run(world))),
    ];
    let (names, runs): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let results = futures::future::join_all(runs).await;
    let failed: Vec<String> = names
        .iter()
        .zip(results)
        .filter_map(|(name, result)| result.err().map(|failure| format!("{name}: {failure}")))
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure(failed.join("\n   and "))) }
}

/// It is degraded and not ready, for this reason, and says what to look at.
async fn broken(world: &World<'_>, name: &str, reason: &str, words: &[&str]) -> Outcome {
    let message = world.shows(name, "Degraded", "True", reason).await?;
    world.note(format!("{name}: {reason}: {message}"));
    for word in words {
        ensure!(message.contains(word), "{name}: the message has no {word:?}: {message}");
    }
    world.shows(name, "Ready", "False", reason).await.map(|_| ())
}

/// It draws, and nothing is wrong any more.
async fn mended(world: &World<'_>, name: &str) -> Outcome {
    world.settled(name).await?;
    world.shows(name, "Degraded", "False", "AsExpected").await.map(|_| ())
}
