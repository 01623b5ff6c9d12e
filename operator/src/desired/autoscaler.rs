//! The HorizontalPodAutoscaler.

use k8s_openapi::{
    api::autoscaling::v2::{
        CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricIdentifier,
        MetricSpec, MetricTarget, PodsMetricSource, ResourceMetricSource,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use super::{
    labels::{Component, metadata},
    names,
};
use crate::validate::Validated;

/// The pods' metric of waiting work, in seconds.
const QUEUE_METRIC: &str = "diffusion_queue_seconds";

pub(super) fn autoscaler(service: &Validated) -> Option<HorizontalPodAutoscaler> {
    let wanted = &service.spec.autoscaling;
    if !wanted.enabled || service.spec.suspend {
        return None;
    }
    let mut metrics = vec![cpu(wanted.target_cpu_utilization)];
    metrics.extend(wanted.queue.as_ref().map(|queue| waiting(queue.target_seconds)));
    Some(HorizontalPodAutoscaler {
        metadata: metadata(service, names::child(&service.name), Component::Server),
        spec: HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: names::child(&service.name),
            },
            min_replicas: Some(wanted.min_replicas),
            max_replicas: wanted.max_replicas,
            metrics: Some(metrics),
            behavior: wanted.behavior.clone(),
        },
        ..Default::default()
    })
}

fn cpu(percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent),
                ..Default::default()
            },
        }),
        ..Default::default()
    }
}

fn waiting(seconds: i32) -> MetricSpec {
    MetricSpec {
        type_: "Pods".to_owned(),
        pods: Some(PodsMetricSource {
            metric: MetricIdentifier { name: QUEUE_METRIC.to_owned(), selector: None },
            target: MetricTarget {
                type_: "AverageValue".to_owned(),
                average_value: Some(Quantity(seconds.to_string())),
                ..Default::default()
            },
        }),
        ..Default::default()
    }
}
