//! ModelAvailable: whether the model's files are there.

use diffusion_crds::{DiffusionService, v1alpha1::ModelStatus};

use super::{
    super::{Evidence, downloads, servers},
    Finding, no, unknown, yes,
};
use crate::observe::{Observed, fetch_report, ready};

pub(super) fn find(
    resource: &DiffusionService,
    observed: &Observed,
    evidence: &Evidence<'_>,
    model: &ModelStatus,
) -> Finding {
    let source = &resource.spec.model.source;
    if source.starts_with("bundled://") {
        return yes("Bundled", "the model is inside the server's image");
    }
    let serving = servers(&observed.pods).any(ready);
    if let Some(claim) = &observed.source_claim {
        let name = source.trim_start_matches("pvc://").split('/').next().unwrap_or_default();
        let Some(claim) = claim else {
            return no(
                "ClaimNotFound",
                format!("there is no PersistentVolumeClaim {name} in this namespace"),
            );
        };
        let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
        return match (serving, phase) {
            (true, _) => yes("Loaded", format!("the pods have loaded {source}")),
            (false, "Bound") => unknown(
                "ClaimBound",
                format!("PersistentVolumeClaim {name} is bound; no pod has loaded the model from it yet"),
            ),
            (false, phase) => no("ClaimNotBound", format!("PersistentVolumeClaim {name} is {phase}")),
        };
    }
    let revision = model.revision.as_deref().map(|r| format!(" at commit {r}")).unwrap_or_default();
    let filled = downloads(&observed.pods)
        .chain(servers(&observed.pods))
        .filter_map(fetch_report)
        .any(|r| r.state == "done");
    if observed.cache_is_filled() || serving || filled && resource.spec.model.cache.is_none() {
        return yes("Downloaded", format!("{source}{revision} is downloaded"));
    }
    if let Some(problem) = evidence.pod_problem.as_ref().filter(|p| p.download) {
        return no(&problem.reason, problem.message.clone());
    }
    if resource.spec.suspend && resource.spec.model.cache.is_none() {
        return unknown("Suspended", "each pod downloads the model when it starts");
    }
    no("Downloading", progress(model))
}

fn progress(model: &ModelStatus) -> String {
    match &model.download {
        Some(d) if d.bytes > 0 => {
            let percent = d.bytes_done.saturating_mul(100) / d.bytes;
            format!("{} of {} files, {percent} % of {} MB", d.files_done, d.files, d.bytes / 1_000_000)
        }
        _ => "the download is starting".to_owned(),
    }
}
