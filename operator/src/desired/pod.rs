//! The server's pods.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, Container, EmptyDirVolumeSource, KeyToPath, Lifecycle, LifecycleHandler,
        PersistentVolumeClaimVolumeSource, PodAffinity, PodAffinityTerm, PodSpec, PodTemplateSpec,
        SecretVolumeSource, SleepAction, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use diffusion_crds::v1alpha1::AccessMode;

use super::{
    deployment, environment, fetch,
    labels::{self, Component, label_selector},
    names, probes, resources, security,
};
use crate::{settings::Settings, source::Source, validate::Validated};

/// Name of the server's container.
pub const SERVER_CONTAINER: &str = "server";

/// Where the model's folder is mounted.
pub(super) const MODELS: &str = "/models";

/// Volume of the model.
pub(super) const MODEL_VOLUME: &str = "model";

const TMP_VOLUME: &str = "tmp";
const KEYS_VOLUME: &str = "api-keys";

/// The template of the Deployment's pods.
pub(super) fn template(service: &Validated, settings: &Settings) -> PodTemplateSpec {
    let model = model_volume(service);
    let scratch: Vec<&str> = model
        .iter()
        .filter(|volume| volume.empty_dir.is_some())
        .map(|volume| volume.name.as_str())
        .chain([TMP_VOLUME])
        .collect();
    let annotations = BTreeMap::from([
        ("kubectl.kubernetes.io/default-container".to_owned(), SERVER_CONTAINER.to_owned()),
        // Nothing in these is worth keeping a node for.
        ("cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes".to_owned(), scratch.join(",")),
    ]);
    let mut volumes = vec![tmp_volume()];
    volumes.extend(model);
    volumes.extend(keys_volume(service));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::labels(&service.name, Component::Server)),
            annotations: Some(annotations),
            ..Default::default()
        }),
        spec: Some(PodSpec {
            init_containers: service.fetches_in_pod().then(|| vec![fetch::container(service, settings)]),
            containers: vec![server(service, settings)],
            volumes: Some(volumes),
            termination_grace_period_seconds: Some(deployment::termination_seconds(service)),
            topology_spread_constraints: Some(spread(service)).filter(|all| !all.is_empty()),
            runtime_class_name: service
                .spec
                .runtime_class_name
                .clone()
                .or_else(|| service.device.as_ref().map(|_| "nvidia".to_owned())),
            ..place(service)
        }),
    }
}

/// What the server's pods and those that fetch have in common: who they are and where they may run.
pub(super) fn place(service: &Validated) -> PodSpec {
    let spec = &service.spec;
    PodSpec {
        service_account_name: Some(names::child(&service.name)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(security::pod(service)),
        image_pull_secrets: Some(spec.image_pull_secrets.clone()).filter(|all| !all.is_empty()),
        node_selector: Some(spec.node_selector.clone()).filter(|all| !all.is_empty()),
        tolerations: Some(tolerations(service)).filter(|all| !all.is_empty()),
        affinity: affinity(service),
        priority_class_name: spec.priority_class_name.clone(),
        ..Default::default()
    }
}

fn server(service: &Validated, settings: &Settings) -> Container {
    let mut mounts = vec![tmp_mount()];
    mounts.extend(model_mount(service));
    mounts.extend(service.spec.auth.as_ref().map(|_| VolumeMount {
        name: KEYS_VOLUME.to_owned(),
        mount_path: environment::API_KEYS.to_owned(),
        read_only: Some(true),
        ..Default::default()
    }));
    Container {
        name: SERVER_CONTAINER.to_owned(),
        image: Some(service.image(settings).to_owned()),
        image_pull_policy: Some(service.spec.image_pull_policy.as_str().to_owned()),
        args: Some(vec!["serve".to_owned()]),
        env: Some(environment::server(service)),
        ports: Some(probes::ports()),
        startup_probe: Some(probes::startup(service)),
        readiness_probe: Some(probes::readiness()),
        liveness_probe: Some(probes::liveness()),
        lifecycle: Some(Lifecycle {
            // The Service's proxies need a moment to stop sending connections here.
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: deployment::PRE_STOP_SECONDS }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        resources: Some(resources::server(service)),
        security_context: Some(security::container()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts),
        ..Default::default()
    }
}

fn model_volume(service: &Validated) -> Option<Volume> {
    let mut volume = Volume { name: MODEL_VOLUME.to_owned(), ..Default::default() };
    match &service.source {
        Source::Bundled { .. } => return None,
        Source::Hub { .. } if service.cache().is_none() => {
            volume.empty_dir = Some(EmptyDirVolumeSource::default());
        }
        Source::Hub { .. } => volume.persistent_volume_claim = Some(claim(names::model(&service.name))),
        Source::Claim { claim: name, .. } => volume.persistent_volume_claim = Some(claim(name.clone())),
    }
    Some(volume)
}

/// The mount is read-only and not the claim's source: a ReadWriteOnce volume is mounted once on its node, and the pod
/// that fetches has to write to it.
fn claim(claim_name: String) -> PersistentVolumeClaimVolumeSource {
    PersistentVolumeClaimVolumeSource { claim_name, read_only: None }
}

fn model_mount(service: &Validated) -> Option<VolumeMount> {
    let sub_path = match &service.source {
        Source::Bundled { .. } => return None,
        Source::Hub { .. } => None,
        Source::Claim { path, .. } => path.clone(),
    };
    Some(VolumeMount {
        name: MODEL_VOLUME.to_owned(),
        mount_path: MODELS.to_owned(),
        read_only: Some(true),
        sub_path,
        ..Default::default()
    })
}

/// One key of the Secret, in a folder: so a change of the Secret arrives without a restart.
fn keys_volume(service: &Validated) -> Option<Volume> {
    let key = &service.spec.auth.as_ref()?.api_keys_secret_ref;
    Some(Volume {
        name: KEYS_VOLUME.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(key.name.clone()),
            items: Some(vec![KeyToPath {
                key: key.key.clone(),
                path: key.key.clone(),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// The root file system is read-only; this is where temporary files go.
pub(super) fn tmp_volume() -> Volume {
    Volume {
        name: TMP_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Default::default()
    }
}

/// Mount of [`tmp_volume`].
pub(super) fn tmp_mount() -> VolumeMount {
    VolumeMount { name: TMP_VOLUME.to_owned(), mount_path: "/tmp".to_owned(), ..Default::default() }
}

fn tolerations(service: &Validated) -> Vec<Toleration> {
    let mut all = service.spec.tolerations.clone();
    if service.device.is_some() {
        let gpu = Toleration {
            key: Some("nvidia.com/gpu".to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some("NoSchedule".to_owned()),
            ..Default::default()
        };
        if !all.contains(&gpu) {
            all.push(gpu);
        }
    }
    all
}

/// The user's. A ReadWriteOnce cache also keeps all pods of the service, the fetching one too, on one node. The first
/// pod may go anywhere: the scheduler lets it pass, because the term selects itself.
fn affinity(service: &Validated) -> Option<Affinity> {
    let mut affinity = service.spec.affinity.clone();
    let one_node =
        service.cache().is_some_and(|cache| !cache.access_modes.contains(&AccessMode::ReadWriteMany));
    if one_node {
        let term = PodAffinityTerm {
            label_selector: Some(LabelSelector {
                match_labels: Some(labels::instance(&service.name)),
                ..Default::default()
            }),
            topology_key: "kubernetes.io/hostname".to_owned(),
            ..Default::default()
        };
        let pods: &mut PodAffinity = affinity.get_or_insert_default().pod_affinity.get_or_insert_default();
        pods.required_during_scheduling_ignored_during_execution.get_or_insert_default().push(term);
    }
    affinity
}

/// Over nodes and zones, each revision by itself, unless the user says how. A constraint without a selector would count no
/// pods: it gets that of the server's pods.
fn spread(service: &Validated) -> Vec<TopologySpreadConstraint> {
    let selector = label_selector(service, Component::Server);
    match &service.spec.topology_spread_constraints {
        Some(all) => all
            .iter()
            .cloned()
            .map(|mut constraint| {
                constraint.label_selector.get_or_insert_with(|| selector.clone());
                constraint
            })
            .collect(),
        None => ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
            .into_iter()
            .map(|key| TopologySpreadConstraint {
                topology_key: key.to_owned(),
                max_skew: 1,
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                label_selector: Some(selector.clone()),
                match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
                ..Default::default()
            })
            .collect(),
    }
}
