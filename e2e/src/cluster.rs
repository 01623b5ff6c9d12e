//! The cluster under test: its API, kubectl and helm, and its nodes.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, Config, ResourceExt, config::KubeConfigOptions, config::Kubeconfig};

use crate::{
    command::Program,
    failure::{Failure, Outcome, ensure},
};

/// Where the operator is installed, and the name of the release.
pub(crate) const OPERATOR: &str = "diffusion-operator";
/// The local cluster's administrator, as e2e/cluster/lib.sh has it.
const KUBECONFIG: &str = "/run/diffusion-operator-cluster/admin.kubeconfig";
/// What every namespace of the suite is labelled with.
pub(crate) const MARK: &str = "diffusion-operator.dev/e2e";

/// The cluster under test.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// Client of its API.
    pub(crate) client: Client,
    /// The clone.
    pub(crate) clone: PathBuf,
    kubeconfig: PathBuf,
    programs: Option<PathBuf>,
    version: String,
}

impl Cluster {
    /// The local cluster and no other, whatever KUBECONFIG says: operators are uninstalled here, and nodes killed.
    pub(crate) async fn connect() -> Outcome<Self> {
        let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let kubeconfig = PathBuf::from(KUBECONFIG);
        ensure!(kubeconfig.exists(), "no local cluster is running: start one with `NODES=2 make cluster-up`");
        let config = Kubeconfig::read_from(&kubeconfig)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        client.apiserver_version().await.map_err(|e| {
            Failure(format!("no cluster answers ({e}): start one with `NODES=2 make cluster-up`"))
        })?;
        let programs = programs(&clone)?;
        Ok(Self { client, clone, kubeconfig, programs, version: env!("CARGO_PKG_VERSION").to_owned() })
    }

    /// Name of an image of this version, or of another tag.
    pub(crate) fn image(&self, name: &str, tag: Option<&str>) -> String {
        format!("diffusion-operator.dev/{name}:{}", tag.unwrap_or(&self.version))
    }

    /// kubectl.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Program {
        self.program("kubectl", arguments)
    }

    /// helm, in the operator's namespace.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Program {
        self.program("helm", &[&["--namespace", OPERATOR], arguments].concat())
    }

    fn program(&self, name: &str, arguments: &[&str]) -> Program {
        let path = match &self.programs {
            Some(folder) => folder.join(name).to_string_lossy().into_owned(),
            None => name.to_owned(),
        };
        Program::new(&path, arguments, &self.clone).env("KUBECONFIG", &self.kubeconfig)
    }

    /// A command inside a node of the local cluster.
    pub(crate) fn in_node(&self, node: &str, arguments: &[&str]) -> Program {
        Program::new("e2e/cluster/node-exec", &[&[node], arguments].concat(), &self.clone)
    }

    /// Pulls a node's plug, or starts it again.
    pub(crate) async fn node(&self, what: NodePower, node: &str) -> Outcome {
        let script = match what {
            NodePower::Kill => "e2e/cluster/node-kill",
            NodePower::Start => "e2e/cluster/node-start",
        };
        Program::new(script, &[node], &self.clone).text().await.map(|_| ())
    }

    /// Names of the nodes, and whether each is Ready.
    pub(crate) async fn nodes(&self) -> Outcome<Vec<(String, bool)>> {
        let nodes = Api::<Node>::all(self.client.clone()).list(&Default::default()).await?;
        let ready = |n: &Node| {
            let conditions = n.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
            conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        Ok(nodes.items.iter().map(|n| (n.name_any(), ready(n))).collect())
    }

    /// Gives an image a second name in every node.
    pub(crate) async fn tag(&self, image: &str, other: &str) -> Outcome {
        for (node, _) in self.nodes().await? {
            self.in_node(&node, &["ctr", "-n", "k8s.io", "images", "tag", "--force", image, other])
                .text()
                .await?;
        }
        Ok(())
    }
}

/// What is done to a node.
pub(crate) enum NodePower {
    /// Its plug is pulled.
    Kill,
    /// It is started again.
    Start,
}

/// The folder with the local cluster's kubectl and helm; where there is none, those on the path are used.
fn programs(clone: &Path) -> Outcome<Option<PathBuf>> {
    let modules = std::fs::read_to_string(clone.join("e2e/cluster/kube/go.mod"))?;
    let version =
        modules.lines().find_map(|l| l.trim().strip_prefix("k8s.io/kubernetes ")).unwrap_or_default();
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))
        .unwrap_or_default();
    let folder = home.join("diffusion-operator/kube").join(version.trim()).join("bin");
    Ok(folder.join("kubectl").exists().then_some(folder))
}
