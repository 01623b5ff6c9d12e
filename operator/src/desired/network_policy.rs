//! The NetworkPolicies: of the server's pods, and of those that fetch a cached model.

use diffusion_crds::v1alpha1::ServiceType;
use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use std::collections::BTreeMap;

use super::{
    labels::{self, Component, label_selector, metadata},
    names,
    probes::{ADMIN_PORT, HTTP_PORT},
};
use crate::validate::Validated;

pub(super) fn network_policy(service: &Validated) -> Option<NetworkPolicy> {
    let ingress = vec![
        NetworkPolicyIngressRule { ports: Some(vec![named(HTTP_PORT)]), from: clients(service) },
        NetworkPolicyIngressRule { ports: Some(vec![named(ADMIN_PORT)]), from: Some(admins(service)) },
    ];
    let mut egress = if service.fetches_in_pod() { model_source(service) } else { Vec::new() };
    egress.extend(service.spec.network_policy.egress.iter().cloned());
    policy(service, names::child(&service.name), Component::Server, ingress, egress)
}

pub(super) fn model_network_policy(service: &Validated) -> Option<NetworkPolicy> {
    service.cache()?;
    let mut egress = model_source(service);
    egress.extend(service.spec.network_policy.egress.iter().cloned());
    policy(service, names::model(&service.name), Component::ModelFetch, Vec::new(), egress)
}

/// Whether the policy lets clients in by their address, which must then arrive as it is.
pub(super) fn filters_by_address(service: &Validated) -> bool {
    let wanted = &service.spec.network_policy;
    wanted.enabled && wanted.from.is_empty() && !ranges(service).is_empty()
}

fn policy(
    service: &Validated,
    name: String,
    component: Component,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> Option<NetworkPolicy> {
    service.spec.network_policy.enabled.then(|| NetworkPolicy {
        metadata: metadata(service, name, component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(label_selector(service, component)),
            // Both, always: a direction without rules is closed.
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress).filter(|rules| !rules.is_empty()),
            egress: Some(egress).filter(|rules| !rules.is_empty()),
        }),
    })
}

/// Who may connect to the serving port; none for everybody.
fn clients(service: &Validated) -> Option<Vec<NetworkPolicyPeer>> {
    let from = &service.spec.network_policy.from;
    if !from.is_empty() {
        return Some(from.clone());
    }
    let blocks: Vec<_> = ranges(service)
        .iter()
        .map(|cidr| NetworkPolicyPeer {
            ip_block: Some(IPBlock { cidr: cidr.clone(), except: None }),
            ..Default::default()
        })
        .collect();
    Some(blocks).filter(|blocks| !blocks.is_empty())
}

fn ranges(service: &Validated) -> &[String] {
    let wanted = &service.spec.service;
    match (wanted.type_, &wanted.load_balancer_source_ranges) {
        (ServiceType::LoadBalancer, Some(ranges)) => ranges,
        _ => &[],
    }
}

/// Who may read health and metrics. The kubelet needs no rule: a node may always connect to its pods.
fn admins(service: &Validated) -> Vec<NetworkPolicyPeer> {
    let operator = BTreeMap::from([("app.kubernetes.io/name".to_owned(), labels::MANAGER.to_owned())]);
    let mut peers = service.spec.network_policy.monitoring_from.clone();
    peers.push(NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(LabelSelector { match_labels: Some(operator), ..Default::default() }),
        ..Default::default()
    });
    peers
}

/// DNS, and the ports of the model's server.
fn model_source(service: &Validated) -> Vec<NetworkPolicyEgressRule> {
    let dns = vec![numbered("UDP", 53), numbered("TCP", 53)];
    let server = service.endpoint.ports.iter().map(|port| numbered("TCP", *port)).collect();
    [dns, server].into_iter().map(|ports| NetworkPolicyEgressRule { ports: Some(ports), to: None }).collect()
}

fn named(port: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::String(port.to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}

fn numbered(protocol: &str, port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port.into())),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}
