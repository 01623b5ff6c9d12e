//! The cache of a model: a claim, and the Job that fills it.

use std::collections::BTreeMap;

use diffusion_crds::v1alpha1::Cache;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, PodSpec,
            PodTemplateSpec, Volume, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    fetch,
    labels::{self, Component, metadata},
    names, pod,
};
use crate::{settings::Settings, validate::Validated};

/// Annotation of a claim that stays when its `DiffusionService` goes.
pub const RETAIN_ANNOTATION: &str = "diffusion-operator.dev/retain";

/// A claim, and the Job that fills it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCache {
    /// The claim. To be retained it has no owner.
    pub claim: PersistentVolumeClaim,
    /// The Job. It is only ever created: its template can't be changed, and what it depends on is in its name.
    pub job: Job,
}

pub(super) fn model_cache(service: &Validated, settings: &Settings) -> Option<ModelCache> {
    let cache = service.cache()?;
    Some(ModelCache { claim: claim(service, cache), job: job(service, settings) })
}

fn claim(service: &Validated, cache: &Cache) -> PersistentVolumeClaim {
    let mut metadata = metadata(service, names::model(&service.name), Component::ModelFetch);
    if cache.retain {
        metadata.owner_references = None;
        metadata.annotations = Some(BTreeMap::from([(RETAIN_ANNOTATION.to_owned(), "true".to_owned())]));
    }
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(cache.access_modes.iter().map(|mode| mode.as_str().to_owned()).collect()),
            storage_class_name: cache.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), cache.size.clone())])),
                limits: None,
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn job(service: &Validated, settings: &Settings) -> Job {
    let claim_name = names::model(&service.name);
    Job {
        metadata: metadata(
            service,
            names::fetch_job(&service.name, &service.spec.model),
            Component::ModelFetch,
        ),
        spec: Some(JobSpec {
            // A download that breaks is taken up again in the same pod, with the kubelet's growing pauses of up to five
            // minutes: so many take years.
            backoff_limit: Some(1_000_000),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels::labels(&service.name, Component::ModelFetch)),
                    ..Default::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![fetch::container(service, settings)],
                    restart_policy: Some("OnFailure".to_owned()),
                    volumes: Some(vec![
                        pod::tmp_volume(),
                        Volume {
                            name: pod::MODEL_VOLUME.to_owned(),
                            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                                claim_name,
                                read_only: None,
                            }),
                            ..Default::default()
                        },
                    ]),
                    // Where the servers may run, too: a volume that is made for the first pod that uses it is made in that
                    // pod's zone.
                    ..pod::place(service)
                }),
            },
            ..Default::default()
        }),
        ..Default::default()
    }
}
