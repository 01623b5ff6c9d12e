//! The operator's binary as a process, in a namespace of its own.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use diffusion_crds::DiffusionService;
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, CustomResourceExt, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::plane::{Plane, free_port, plane};

/// A namespace, and a client for what is in it.
pub(crate) struct World {
    pub(crate) plane: &'static Plane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl World {
    /// A new namespace on the API server with our definition installed.
    pub(crate) async fn new(name: &str) -> Self {
        let plane = plane().await;
        static DEFINED: OnceCell<()> = OnceCell::const_new();
        DEFINED.get_or_init(|| define(plane.client(), DiffusionService::crd())).await;
        Self::in_namespace(plane, name).await
    }

    /// The same with another API server and another definition.
    pub(crate) async fn with_definition(
        plane: &'static Plane,
        name: &str,
        crd: CustomResourceDefinition,
    ) -> Self {
        define(plane.client(), crd).await;
        Self::in_namespace(plane, name).await
    }

    async fn in_namespace(plane: &'static Plane, name: &str) -> Self {
        let client = plane.client();
        let namespace = json!({"metadata": {"generateName": format!("{name}-")}});
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let made = namespaces
            .create(&PostParams::default(), &serde_json::from_value(namespace).unwrap())
            .await
            .unwrap();
        Self { plane, client, namespace: made.name_any() }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Starts the operator for this namespace.
    pub(crate) fn operator(&self) -> Operator {
        self.operator_with(&[])
    }

    pub(crate) fn operator_with(&self, arguments: &[&str]) -> Operator {
        Operator::start(&self.plane.kubeconfig, &self.namespace, arguments)
    }

    /// Creates or changes a resource, as `kubectl apply --server-side` does.
    pub(crate) async fn apply(&self, name: &str, spec: Value) -> Result<DiffusionService, kube::Error> {
        let body = json!({
            "apiVersion": "diffusion-operator.dev/v1alpha1", "kind": "DiffusionService",
            "metadata": {"name": name}, "spec": spec,
        });
        let params = PatchParams::apply("test").force();
        self.api::<DiffusionService>().patch(name, &params, &Patch::Apply(&body)).await
    }

    /// Waits until a look gives something.
    pub(crate) async fn until<T, F>(&self, what: &str, mut look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Option<T>>,
    {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(
                Instant::now() < end,
                "{what}: not within 30 s; logs in {}",
                self.plane.directory().display()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for a condition's status and reason, and gives its message.
    pub(crate) async fn condition(&self, name: &str, type_: &str, status: &str, reason: &str) -> String {
        let api = self.api::<DiffusionService>();
        let mut last = String::new();
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let conditions = api.get(name).await.unwrap().status.map(|s| s.conditions).unwrap_or_default();
            if let Some(c) = conditions.iter().find(|c| c.type_ == type_) {
                if c.status == status && c.reason == reason {
                    return c.message.clone();
                }
                last = format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message);
            }
            assert!(Instant::now() < end, "{type_}={status} {reason}: not within 30 s, but {last:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn define(client: Client, crd: CustomResourceDefinition) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let name = crd.name_any();
    api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&crd)).await.unwrap();
    let established = kube::runtime::wait::conditions::is_crd_established();
    let wait = kube::runtime::wait::await_condition(api, &name, established);
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap().unwrap();
}

/// A running operator; it ends with the value.
pub(crate) struct Operator {
    child: Child,
    pub(crate) admin: String,
}

impl Operator {
    pub(crate) fn start(kubeconfig: &std::path::Path, namespace: &str, arguments: &[&str]) -> Self {
        let admin = format!("127.0.0.1:{}", free_port());
        let log = kubeconfig.with_file_name(format!("operator-{namespace}-{}.log", admin.replace(':', "-")));
        let file = fs::File::create(&log).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_diffusion-operator"), "run"])
            .args([
                "--namespace",
                namespace,
                "--admin-listen",
                &admin,
                "--log",
                "info,diffusion_operator=debug,kube_client=error",
            ])
            .args(if arguments.contains(&"--leader-election") {
                &[][..]
            } else {
                &["--leader-election", "false"]
            })
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, admin }
    }

    /// Status and body of a GET on the admin port; None while nothing listens.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = diffusion_operator::http::send(&self.admin, path, None, 1 << 20).await.ok()?;
        Some((answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap()))
    }

    /// SIGTERM, and its exit status.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "the operator does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Any signal, by kill(1).
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
