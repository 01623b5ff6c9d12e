//! Runs scenarios, one after the other: they share a cluster and a machine.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    cluster::{Cluster, MARK, NodePower},
    diagnose::diagnose,
    failure::{Failure, Outcome, fail},
    scenarios::Scenario,
    wait::until,
    world::World,
};

/// No scenario takes this long; one that does hangs.
const LONGEST: Duration = Duration::from_secs(900);
/// Second tag of the images, for changes of an image that change nothing.
pub(crate) const OTHER_TAG: &str = "e2e-other";

/// What makes pods.
const OWNERS: &str = "dsvc,deployments,replicasets,jobs";

/// Runs them all, also after failures, and tells.
pub(crate) async fn run(scenarios: &[&Scenario]) -> Outcome<ExitCode> {
    let began = Instant::now();
    let cluster = Cluster::connect().await?;
    prepare(&cluster).await?;
    let (mut failed, mut unsteady) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        println!("== {}: {}", scenario.name, scenario.about);
        let began = Instant::now();
        let seconds = || began.elapsed().as_secs_f64();
        let Err(failure) = one(&cluster, scenario).await else {
            println!("   ok, {:.1} s", seconds());
            continue;
        };
        println!("   FAILED after {:.1} s, tried once more: {failure}", seconds());
        match one(&cluster, scenario).await {
            Ok(()) => unsteady.push(scenario.name),
            Err(failure) => {
                println!("   FAILED again after {:.1} s: {failure}", seconds());
                failed.push(scenario.name);
            }
        }
    }
    if !unsteady.is_empty() {
        println!("== passed at the second try only, look at what they said first: {}", unsteady.join(", "));
    }
    let (all, minutes) = (scenarios.len(), began.elapsed().as_secs_f64() / 60.0);
    if failed.is_empty() {
        println!("== {all} of {all} scenarios passed, {minutes:.1} minutes");
        return Ok(ExitCode::SUCCESS);
    }
    println!("== {} of {all} scenarios failed, {minutes:.1} minutes: {}", failed.len(), failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Takes away what an earlier run left, and installs the operator.
pub(crate) async fn prepare(cluster: &Cluster) -> Outcome {
    let began = Instant::now();
    if cluster.nodes().await?.len() < 2 {
        fail!("the suite needs two nodes, one of them dies: NODES=2 make cluster-up");
    }
    power(cluster).await?;
    clean(cluster).await?;
    if cluster.is_installed().await? {
        cluster.uninstall().await?;
    }
    for image in ["operator", "server"] {
        cluster.tag(&cluster.image(image, None), &cluster.image(image, Some(OTHER_TAG))).await?;
    }
    println!("== cluster is clean, {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    cluster.install().await?;
    println!("== helm install --wait, {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

async fn one(cluster: &Cluster, scenario: &Scenario) -> Outcome {
    let world = World::new(cluster, scenario.name).await?;
    let began = Instant::now();
    let result = tokio::time::timeout(LONGEST, (scenario.run)(&world)).await;
    let result = result.unwrap_or_else(|_| Err(Failure(format!("not done after {} s", LONGEST.as_secs()))));
    if let Err(failure) = &result {
        println!("   failed: {failure}");
        diagnose(&world, began.elapsed().as_secs()).await;
    }
    let began = Instant::now();
    power(cluster).await?;
    clean(cluster).await?;
    cluster.restore().await?;
    println!("   cleaned up, {:.1} s", began.elapsed().as_secs_f64());
    result
}

/// Starts the nodes that are dead.
async fn power(cluster: &Cluster) -> Outcome {
    for (node, ready) in cluster.nodes().await? {
        if !ready {
            cluster.node(NodePower::Start, &node).await?;
        }
    }
    Ok(())
}

/// Deletes the suite's namespaces with all that is in them. Pods get a second: nobody waits for their pictures.
pub(crate) async fn clean(cluster: &Cluster) -> Outcome {
    let label = &format!("{MARK}=true");
    cluster.kubectl(&["delete", "runtimeclasses", "-l", label]).text().await?;
    let list = cluster.kubectl(&["get", "namespaces", "-l", label, "-o", "name"]).text().await?;
    let names: Vec<&str> = list.lines().filter_map(|l| l.strip_prefix("namespace/")).collect();
    // Before the namespaces: what they find on their first look, they come back for after half of its time to end, minutes.
    // Owners go first, without what they own: nobody else must tell pods to end, or they take all the time that they may.
    until("the scenarios' pods are gone", 120, || async {
        let mut left = String::new();
        for name in &names {
            let in_it = |more: &[&'static str]| cluster.kubectl(&[&["-n", name], more].concat());
            let owners = ["delete", OWNERS, "--all", "--cascade=orphan", "--wait=false"];
            // Without the definition there are no DiffusionServices.
            let _ = in_it(&owners).text().await;
            in_it(&["delete", "pods", "--all", "--grace-period=1", "--wait=false"]).text().await?;
            left += &in_it(&["get", "pods", "-o", "name"]).text().await?;
        }
        if left.trim().is_empty() { Ok(Some(())) } else { Err(Failure(left.replace('\n', " "))) }
    })
    .await?;
    cluster.kubectl(&["delete", "namespaces", "-l", label, "--wait=false"]).text().await.map(|_| ())
}
