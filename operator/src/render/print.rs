//! Writes objects as YAML, in the order in which they are applied.

use serde::Serialize;
use serde_saphyr::SerializerOptions;

use crate::{
    desired::{DeploymentPlan, ModelCache, Objects, Replicas},
    validate::Validated,
};

/// Appends the objects of one service, each as a document.
pub(super) fn print(
    service: &Validated,
    objects: Objects,
    out: &mut String,
) -> Result<(), serde_saphyr::ser::Error> {
    let Objects {
        service_account,
        deployment: DeploymentPlan { mut deployment, replicas, spec_hash: _, template_hash: _ },
        service: front,
        autoscaler,
        disruption_budget,
        network_policy,
        model_network_policy,
        cache,
        monitor,
    } = objects;
    let (claim, job) = cache.map(|ModelCache { claim, job }| (claim, job)).unzip();
    let note = match replicas {
        Replicas::Fixed(count) => {
            deployment.spec.replicas = Some(count);
            None
        }
        Replicas::Autoscaled { min, max } => {
            Some(format!("# The HorizontalPodAutoscaler sets spec.replicas, from {min} to {max}.\n"))
        }
    };

    out.push_str(&format!(
        "# DiffusionService {}/{}. In the cluster the objects also have it as their owner, by its uid.\n",
        service.namespace, service.name
    ));
    document(Some(&service_account), None, out)?;
    document(network_policy.as_ref(), None, out)?;
    document(model_network_policy.as_ref(), None, out)?;
    document(claim.as_ref(), None, out)?;
    document(job.as_ref(), None, out)?;
    document(Some(&front), None, out)?;
    document(Some(&deployment), note, out)?;
    document(autoscaler.as_ref(), None, out)?;
    document(disruption_budget.as_ref(), None, out)?;
    document(monitor.as_ref(), None, out)
}

fn document(
    object: Option<&impl Serialize>,
    note: Option<String>,
    out: &mut String,
) -> Result<(), serde_saphyr::ser::Error> {
    let Some(object) = object else { return Ok(()) };
    out.push_str("---\n");
    out.push_str(&note.unwrap_or_default());
    serde_saphyr::to_fmt_writer_with_options(out, object, options())
}

/// Lists as kubectl indents them, and long texts on one line.
fn options() -> SerializerOptions {
    serde_saphyr::ser_options! { compact_list_indent: true, folded_wrap_chars: 100_000 }
}
