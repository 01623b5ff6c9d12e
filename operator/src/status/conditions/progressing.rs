//! Progressing: whether pods are being started, added or replaced.

use diffusion_crds::DiffusionService;
use kube::ResourceExt;

use super::{
    super::{Evidence, roll_out::RollOut},
    Finding, no, yes,
};

pub(super) fn find(
    resource: &DiffusionService,
    evidence: &Evidence<'_>,
    roll: RollOut,
    available: &Finding,
) -> Finding {
    if let Some(held) = &evidence.held {
        let message = format!(
            "this version of the operator would make other pods (image {}); they are replaced when spec changes, or now by: kubectl -n {} annotate dsvc {} --overwrite diffusion-operator.dev/update=$(date +%s)",
            held.image,
            resource.namespace().unwrap_or_default(),
            resource.name_any(),
        );
        return no("UpdateWaits", message);
    }
    if roll.complete() {
        return match (resource.spec.suspend, roll.wanted, available.reason.as_str()) {
            (true, _, _) => no("Suspended", "there are no pods, as spec.suspend says"),
            (false, 0, "Downloading" | "DownloadFailed") => {
                yes("Downloading", "pods start when the model is there")
            }
            _ => no("Complete", format!("{} of {} pods are ready", roll.ready, roll.wanted)),
        };
    }
    if roll.stalled {
        return no(
            "Stalled",
            format!(
                "{} of {} pods are ready, and none became ready for a long time",
                roll.ready, roll.wanted
            ),
        );
    }
    let old = roll.total - roll.updated;
    let (reason, old) = match (roll.seen, old) {
        (true, 1..) => ("RollingOut", format!(", {old} of before are still there")),
        _ => ("Starting", String::new()),
    };
    yes(reason, format!("{} of {} pods are ready{old}", roll.ready, roll.wanted))
}
