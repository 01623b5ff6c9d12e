//! Where POST /generate goes.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

/// An address of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// URL, without a path.
    pub url: String,
    /// Whether it is the load balancer's; if not, it works inside the cluster only.
    pub external: bool,
    /// Whether a load balancer is still to give an address.
    pub pending: bool,
}

/// The load balancer's address if it has one, else the one inside the cluster.
pub fn address(service: &Service) -> Option<Address> {
    let spec = service.spec.as_ref()?;
    let port = spec.ports.as_ref()?.first()?.port;
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    let given = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()?.ingress.as_ref()?.first());
    let host = given
        .filter(|_| balanced)
        .and_then(|i| i.hostname.clone().or_else(|| i.ip.as_deref().map(bracketed)));
    let external = host.is_some();
    let host = host
        .unwrap_or_else(|| format!("{}.{}.svc", service.name_any(), service.namespace().unwrap_or_default()));
    let url = if port == 80 { format!("http://{host}") } else { format!("http://{host}:{port}") };
    Some(Address { url, external, pending: balanced && !external })
}

fn bracketed(ip: &str) -> String {
    match ip.parse() {
        Ok(IpAddr::V6(six)) => format!("[{six}]"),
        _ => ip.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn url(type_: &str, port: u16, ingress: serde_json::Value) -> (String, bool, bool) {
        let service = serde_json::from_value(json!({
            "metadata": {"name": "sd", "namespace": "art"},
            "spec": {"type": type_, "ports": [{"port": port}]},
            "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap();
        let address = address(&service).unwrap();
        (address.url, address.external, address.pending)
    }

    #[test]
    fn the_load_balancers_address_comes_first() {
        let of = |u: &str, e, p| (u.to_owned(), e, p);
        assert_eq!(
            url("LoadBalancer", 80, json!([{"ip": "192.0.2.7"}])),
            of("http://192.0.2.7", true, false)
        );
        assert_eq!(
            url("LoadBalancer", 81, json!([{"ip": "2001:db8::7"}])),
            of("http://[2001:db8::7]:81", true, false)
        );
        let name = json!([{"hostname": "lb.example", "ip": "192.0.2.7"}]);
        assert_eq!(url("LoadBalancer", 80, name), of("http://lb.example", true, false));
        assert_eq!(url("LoadBalancer", 80, json!([])), of("http://sd.art.svc", false, true));
        assert_eq!(url("ClusterIP", 8080, json!([])), of("http://sd.art.svc:8080", false, false));
    }
}
