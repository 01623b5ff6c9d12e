//! Ready: whether pictures can be drawn, and by pods of which generation.

use diffusion_crds::DiffusionService;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    super::{roll_out::RollOut, url},
    Finding, no, yes,
};
use crate::observe::Observed;

/// Ready holds for a generation: while pods of before still answer, it stays true for theirs.
pub(super) fn find(
    resource: &DiffusionService,
    observed: &Observed,
    roll: RollOut,
    available: &Finding,
    degraded: &Finding,
    before: &[Condition],
) -> (Finding, Option<i64>) {
    let present = resource.metadata.generation;
    if resource.spec.suspend {
        return (no("Suspended", "spec.suspend is true; set it to false to draw again"), present);
    }
    let invalid = ["InvalidSpec", "NameConflict", "ApplyFailed"].contains(&degraded.reason.as_str());
    let address = observed.service.as_ref().and_then(url::address);
    if roll.serves_only_this() && !invalid {
        let message = match address {
            Some(a) if a.external => {
                format!("{} of {} pods draw, at {}/generate", roll.ready, roll.wanted, a.url)
            }
            Some(a) if a.pending => format!(
                "{} of {} pods draw, at {}/generate inside the cluster; the load balancer has not given an address yet",
                roll.ready, roll.wanted, a.url
            ),
            Some(a) => format!(
                "{} of {} pods draw, at {}/generate inside the cluster",
                roll.ready, roll.wanted, a.url
            ),
            None => {
                return (
                    no("NoService", "pods are ready, but there is no Service in front of them"),
                    present,
                );
            }
        };
        return (yes("Serving", message), present);
    }
    if roll.ready >= 1 {
        let known = before.iter().find(|c| c.type_ == "Ready" && c.status == "True");
        if let Some(known) = known {
            let message = format!("{} pods draw, of before the last change or of after it", roll.ready);
            return (yes("RollingOut", message), known.observed_generation.or(present));
        }
    }
    let found = match (degraded.status, available.status) {
        ("True", _) => no(&degraded.reason, degraded.message.clone()),
        (_, "False") => no(&available.reason, available.message.clone()),
        _ => no("Starting", format!("{} of {} pods are ready", roll.ready, roll.wanted)),
    };
    (found, present)
}
