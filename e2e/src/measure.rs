//! What the operator costs: writes to the API server at rest, memory with many resources.

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use clap::Args;
use diffusion_crds::DiffusionService;
use futures::{StreamExt, TryStreamExt, stream};
use kube::ResourceExt;
use serde_json::json;

use crate::{
    cluster::{Cluster, OPERATOR},
    failure::{Failure, Outcome},
    run::prepare,
    wait::{self, until},
    world::{World, condition, fixed},
};

/// `measure`.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// Resources while writes are counted. One of them has a pod, the others are suspended.
    #[arg(long, default_value_t = 20, value_name = "N")]
    resources: usize,
    /// Minutes of rest.
    #[arg(long, default_value_t = 10, value_name = "MINUTES")]
    minutes: u64,
    /// Resources while memory is looked at, all of them but one suspended.
    #[arg(long, default_value_t = 200, value_name = "N")]
    many: usize,
}

/// Kinds that the operator writes. At rest nobody else writes them either, so every write counts.
const WRITTEN: [&str; 11] = [
    "deployments",
    "services",
    "serviceaccounts",
    "horizontalpodautoscalers",
    "poddisruptionbudgets",
    "networkpolicies",
    "persistentvolumeclaims",
    "jobs",
    "diffusionservices",
    "events",
    "podmonitors",
];

/// Measures, and prints.
pub(crate) async fn measure(args: &MeasureArgs) -> Outcome<ExitCode> {
    let cluster = Cluster::connect().await?;
    prepare(&cluster).await?;
    let world = World::new(&cluster, "measure").await?;
    println!("operator alone: {}", memory(&cluster).await?);
    make(&world, 0..args.resources).await?;
    // What the last pod's start and the first pictures set off is over by then.
    wait::seconds(60).await;
    println!("{} resources: {}", args.resources, memory(&cluster).await?);
    let (before, versions) = (writes(&cluster).await?, versions(&world).await?);
    println!("at rest for {} minutes", args.minutes);
    wait::seconds(args.minutes * 60).await;
    let after = writes(&cluster).await?;
    let changed = versions_that_differ(&versions, &self::versions(&world).await?);
    let mut ours = 0.0;
    for ((resource, verb), count) in &after {
        let count = count - before.get(&(resource.clone(), verb.clone())).unwrap_or(&0.0);
        if count > 0.0 {
            let counts = WRITTEN.contains(&resource.as_str());
            println!(
                "  {count:>5} {verb:<7} {resource}{}",
                if counts { "" } else { " (not the operator's, or its Lease)" }
            );
            ours += if counts { count } else { 0.0 };
        }
    }
    println!("writes of the operator's kinds: {ours}; resources that changed: {changed:?}");
    make(&world, args.resources..args.many).await?;
    // metrics-server looks every 10 s.
    wait::seconds(30).await;
    println!("{} resources: {}", args.many, memory(&cluster).await?);
    crate::run::clean(&cluster).await?;
    Ok(if ours == 0.0 && changed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes resources, and waits until the operator has done its work on all of them.
async fn make(world: &World<'_>, numbers: std::ops::Range<usize>) -> Outcome {
    let (began, count) = (Instant::now(), numbers.len());
    let names: Vec<(usize, String)> = numbers.map(|n| (n, format!("m{n}"))).collect();
    stream::iter(&names)
        .map(|(number, name)| async move {
            let spec = fixed(1, json!({"suspend": *number > 0, "service": {"type": "ClusterIP"}}));
            world.apply(name, spec).await.map(|_| ())
        })
        .buffer_unordered(8)
        .try_collect::<()>()
        .await?;
    until("every resource has its status", 600, || async {
        let all = world.api::<DiffusionService>().list(&Default::default()).await?;
        let done = |r: &&DiffusionService| {
            let reason = condition(r, "Progressing").map(|c| c.reason.as_str());
            matches!(reason, Some("Suspended" | "Complete"))
        };
        let there = all.items.iter().filter(done).count();
        if there == all.items.len() { Ok(Some(())) } else { Err(Failure(format!("{there} have"))) }
    })
    .await?;
    println!("{count} resources made in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Writes until now, as the API server counts them, by resource and verb.
async fn writes(cluster: &Cluster) -> Outcome<BTreeMap<(String, String), f64>> {
    Ok(count_writes(&cluster.kubectl(&["get", "--raw", "/metrics"]).text().await?))
}

fn count_writes(metrics: &str) -> BTreeMap<(String, String), f64> {
    let mut all = BTreeMap::new();
    for line in metrics.lines().filter(|l| l.starts_with("apiserver_request_total{")) {
        let label = |name: &str| {
            let start = line.find(&format!("{name}=\""))? + name.len() + 2;
            line[start..].split('"').next()
        };
        let (Some(resource), Some(verb)) = (label("resource"), label("verb")) else { continue };
        let value: f64 = line.rsplit(' ').next().and_then(|v| v.parse().ok()).unwrap_or(0.0);
        if ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"].contains(&verb) {
            *all.entry((resource.to_owned(), verb.to_owned())).or_insert(0.0) += value;
        }
    }
    all
}

async fn versions(world: &World<'_>) -> Outcome<BTreeMap<String, String>> {
    let all = world.api::<DiffusionService>().list(&Default::default()).await?;
    Ok(all.items.iter().map(|r| (r.name_any(), r.resource_version().unwrap_or_default())).collect())
}

fn versions_that_differ(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    after
        .iter()
        .filter(|(name, version)| before.get(*name) != Some(version))
        .map(|(name, _)| name.clone())
        .collect()
}

/// What kubectl top says of the operator.
async fn memory(cluster: &Cluster) -> Outcome<String> {
    until("kubectl top knows the operator", 90, || async {
        let text = cluster.kubectl(&["-n", OPERATOR, "top", "pods", "--no-headers"]).text().await?;
        let words: Vec<&str> = text.split_whitespace().collect();
        Ok(match words[..] {
            [_, cpu, memory] => Some(format!("{memory} of memory, {cpu} of CPU")),
            _ => None,
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_summed_and_reads_left_out() {
        let metrics = "# HELP apiserver_request_total x\n\
            apiserver_request_total{code=\"200\",resource=\"services\",subresource=\"\",verb=\"APPLY\"} 3\n\
            apiserver_request_total{code=\"409\",resource=\"services\",subresource=\"status\",verb=\"APPLY\"} 2\n\
            apiserver_request_total{code=\"200\",resource=\"services\",verb=\"LIST\"} 7\n";
        let all = count_writes(metrics);
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [(("services".to_owned(), "APPLY".to_owned()), 5.0)]);
    }
}
