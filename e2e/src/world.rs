//! What a scenario works with: a namespace of its own in the cluster, and what a user does and sees there.

use std::time::{Duration, Instant};

use diffusion_crds::DiffusionService;
use k8s_openapi::{
    NamespaceResourceScope, api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, MARK},
    command::Program,
    failure::{Failure, Outcome, ensure},
    http::{Answer, Ask, Http},
    wait::until,
};

/// A namespace in the cluster.
pub(crate) struct World<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: String,
}

impl<'a> World<'a> {
    /// Makes the namespace.
    pub(crate) async fn new(cluster: &'a Cluster, name: &str) -> Outcome<Self> {
        let namespace =
            json!({"metadata": {"generateName": format!("e2e-{name}-"), "labels": {MARK: "true"}}});
        let api: Api<Namespace> = Api::all(cluster.client.clone());
        let made = api.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
        Ok(Self { cluster, namespace: made.name_any() })
    }

    /// Objects of a kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// kubectl, in the namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Program {
        self.cluster.kubectl(&[&["--namespace", self.namespace.as_str()], arguments].concat())
    }

    /// Applies objects, written as JSON.
    pub(crate) async fn create(&self, objects: &[Value]) -> Outcome {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        self.kubectl(&["apply", "-f", "-"]).input(list).text().await.map(|_| ())
    }

    /// Creates or changes a DiffusionService: all of its spec.
    pub(crate) async fn apply(&self, name: &str, spec: Value) -> Outcome<DiffusionService> {
        let body = json!({
            "apiVersion": "diffusion-operator.dev/v1alpha1", "kind": "DiffusionService",
            "metadata": {"name": name}, "spec": spec,
        });
        let api = self.api::<DiffusionService>();
        Ok(api.patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&body)).await?)
    }

    /// The DiffusionService as it is now.
    pub(crate) async fn get(&self, name: &str) -> Outcome<DiffusionService> {
        Ok(self.api::<DiffusionService>().get(name).await?)
    }

    /// `kubectl wait --for=condition=Ready`.
    pub(crate) async fn wait_ready(&self, name: &str) -> Outcome<DiffusionService> {
        let object = format!("dsvc/{name}");
        self.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", &object]).text().await?;
        self.get(name).await
    }

    /// Waits until the pods are those of the present spec, and all of them are ready.
    pub(crate) async fn settled(&self, name: &str) -> Outcome<DiffusionService> {
        until(&format!("{name} settled"), 240, || async {
            let resource = self.get(name).await?;
            let generation = resource.metadata.generation;
            let is = |type_: &str, status: &str| {
                condition(&resource, type_)
                    .is_some_and(|c| c.status == status && c.observed_generation == generation)
            };
            let settled = is("Ready", "True") && is("Progressing", "False");
            if !settled {
                return Err(Failure(said(&resource)));
            }
            Ok(Some(resource))
        })
        .await
    }

    /// Waits for a condition's status and reason, and gives its message.
    pub(crate) async fn shows(&self, name: &str, type_: &str, status: &str, reason: &str) -> Outcome<String> {
        until(&format!("{name}: {type_}={status} {reason}"), 180, || async {
            let resource = self.get(name).await?;
            match condition(&resource, type_) {
                Some(c) if c.status == status && c.reason == reason => Ok(Some(c.message.clone())),
                _ => Err(Failure(said(&resource))),
            }
        })
        .await
    }

    /// Waits for the load balancer's address in the status.
    pub(crate) async fn url(&self, name: &str) -> Outcome<String> {
        until(&format!("{name}: the load balancer's address"), 60, || async {
            let resource = self.get(name).await?;
            let url = resource.status.and_then(|s| s.url);
            Ok(url.filter(|u| !u.contains(".svc")))
        })
        .await
    }

    /// Ready, and an address that answers.
    pub(crate) async fn serving(&self, name: &str, spec: Value) -> Outcome<String> {
        self.apply(name, spec).await?;
        self.wait_ready(name).await?;
        let url = self.url(name).await?;
        // The load balancer and the nodes' rules may take a moment.
        until(&format!("{url} answers"), 30, || async {
            let answer = Http::new(&url, false).patience(5).send(&Ask::get("/")).await?;
            ensure!(answer.status.as_u16() < 500, "{answer}");
            Ok(Some(()))
        })
        .await?;
        Ok(url)
    }

    /// One picture, over a connection of its own.
    pub(crate) async fn draw(&self, url: &str, json: Value) -> Outcome<Answer> {
        Ok(Http::new(url, false).send(&Ask::picture(json)).await?)
    }

    /// Tells something that is worth knowing of a run that went well.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        println!("   {}", text.as_ref());
    }

    /// Tells a time beside the bar that it should stay under. A bar is for a machine with nothing else to do; at `limit` seconds
    /// something is wrong on any machine.
    pub(crate) fn time(&self, what: &str, since: Instant, bar: f64, limit: f64) -> Outcome {
        let took = since.elapsed().as_secs_f64();
        let verdict = if took <= bar { "" } else { ", missed" };
        self.note(format!("{what}: {took:.2} s (bar {bar} s{verdict})"));
        ensure!(took <= limit, "{what} took {took:.1} s, more than {limit} s");
        Ok(())
    }
}

/// A condition, by its type.
pub(crate) fn condition<'r>(resource: &'r DiffusionService, type_: &str) -> Option<&'r Condition> {
    resource.status.as_ref()?.conditions.iter().find(|c| c.type_ == type_)
}

/// What a resource says of itself, in one line.
pub(crate) fn said(resource: &DiffusionService) -> String {
    let conditions = resource.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let lines: Vec<_> = conditions
        .iter()
        .map(|c| {
            let of = c.observed_generation.unwrap_or_default();
            format!("{}={} {} (generation {of}): {}", c.type_, c.status, c.reason, c.message)
        })
        .collect();
    format!("it is at generation {}; {}", resource.metadata.generation.unwrap_or_default(), lines.join("; "))
}

/// A small spec with the bundled model and a fixed number of pods, and more.
pub(crate) fn fixed(replicas: i32, more: Value) -> Value {
    let mut spec = json!({
        "model": {"source": "bundled://emoji"},
        "replicas": replicas,
        "autoscaling": {"enabled": false},
        "resources": {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
    });
    merge(&mut spec, more);
    spec
}

/// Two pods that must not share a node; by default they only would rather not.
pub(crate) fn pair() -> Value {
    let apart = json!([{
        "topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "matchLabelKeys": ["pod-template-hash"],
    }]);
    fixed(2, json!({"topologySpreadConstraints": apart}))
}

/// Sets fields of an object, also in objects below.
pub(crate) fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Holds a look's result for at least so long, and fails as soon as it does not hold.
pub(crate) async fn holds_for<F>(seconds: u64, mut look: impl FnMut() -> F) -> Outcome
where
    F: Future<Output = Outcome>,
{
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        look().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_set_also_below() {
        let spec =
            fixed(3, json!({"autoscaling": {"minReplicas": 3}, "resources": {"limits": {"cpu": "1"}}}));
        assert_eq!(spec["replicas"], 3);
        assert_eq!(spec["autoscaling"], json!({"enabled": false, "minReplicas": 3}));
        assert_eq!(spec["resources"]["limits"], json!({"memory": "1Gi", "cpu": "1"}));
    }
}
