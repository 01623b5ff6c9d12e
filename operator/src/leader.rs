//! One of several operators writes: the one that holds the Lease.
//!
//! Whatever goes wrong with the Lease (a renewal that fails or hangs included) counts as lost: writing stops at once, and
//! the Lease is asked for anew.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::{sync::watch, task::JoinHandle};

/// Seconds that the Lease holds without a renewal.
const DURATION: u64 = 15;
/// Seconds before its end at which it is renewed.
const GRACE: u64 = 10;
const PAUSE: Duration = Duration::from_secs(2);

/// Which Lease, and as whom.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub lease: String,
    /// Who asks for it: the pod's name.
    pub identity: String,
}

/// Runs for office until `stop`; the channel says whether it is held. The Lease is given back at the end.
///
/// `client` should not retry by itself and should time out soon, so that a renewal fails before the Lease ends.
pub fn campaign(
    client: Client,
    candidate: Candidate,
    mut stop: watch::Receiver<bool>,
) -> (watch::Receiver<bool>, JoinHandle<()>) {
    let (held, holds) = watch::channel(false);
    let task = tokio::spawn(async move {
        while !*stop.borrow() {
            let result = tokio::select! {
                result = hold(&client, &candidate, &held, stop.clone()) => result,
                _ = stop.wait_for(|s| *s) => Ok(()),
            };
            held.send_replace(false);
            if let Err(error) = result {
                tracing::warn!(%error, lease = candidate.lease, "the Lease can't be held; asked for again");
                tokio::time::sleep(PAUSE).await;
            }
        }
        release(&client, &candidate).await;
    });
    (holds, task)
}

async fn manager(client: &Client, candidate: &Candidate) -> Result<LeaseManager, LeaseManagerError> {
    LeaseManagerBuilder::new(client.clone(), &candidate.lease)
        .with_namespace(&candidate.namespace)
        .with_identity(&candidate.identity)
        .with_duration(DURATION)
        .with_grace(GRACE)
        .with_field_manager("diffusion-operator")
        .build()
        .await
}

async fn hold(
    client: &Client,
    candidate: &Candidate,
    held: &watch::Sender<bool>,
    stop: watch::Receiver<bool>,
) -> Result<(), LeaseManagerError> {
    let manager = manager(client, candidate).await?;
    while !*stop.borrow() {
        let now = manager.changed().await?;
        tracing::info!(lease = candidate.lease, leader = now, "leadership");
        held.send_replace(now);
    }
    Ok(())
}

/// Gives the Lease back, so that another need not wait for its end.
async fn release(client: &Client, candidate: &Candidate) {
    let given_back = async { manager(client, candidate).await?.release().await };
    match tokio::time::timeout(Duration::from_secs(5), given_back).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be given back"),
        Err(_) => tracing::warn!("the Lease could not be given back in time"),
    }
}
