//! The Service in front of the pods.

use diffusion_crds::v1alpha1::ServiceType;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    labels::{self, Component, metadata},
    names,
    network_policy::filters_by_address,
};
use crate::validate::Validated;

pub(super) fn service(service: &Validated) -> Service {
    let wanted = &service.spec.service;
    // The API server refuses these two for other types.
    let balanced = wanted.type_ == ServiceType::LoadBalancer;
    let mut metadata = metadata(service, names::child(&service.name), Component::Server);
    metadata.annotations = Some(wanted.annotations.clone()).filter(|annotations| !annotations.is_empty());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(wanted.type_.as_str().to_owned()),
            selector: Some(labels::selector(&service.name, Component::Server)),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: wanted.port,
                target_port: Some(IntOrString::String("http".to_owned())),
                protocol: Some("TCP".to_owned()),
                ..Default::default()
            }]),
            publish_not_ready_addresses: Some(false),
            load_balancer_class: wanted.load_balancer_class.clone().filter(|_| balanced),
            load_balancer_source_ranges: wanted.load_balancer_source_ranges.clone().filter(|_| balanced),
            // By default nodes hand connections on under their own address, and the NetworkPolicy could not tell
            // who is in the ranges: it would let nobody in.
            external_traffic_policy: filters_by_address(service).then(|| "Local".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}
