//! A real etcd and a real kube-apiserver on loopback, for the tests of one run. No node, no controllers: what the kubelet and
//! the Deployment controller would do, a test does by hand and so decides what the operator sees.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use kube::{Client, Config, config::AuthInfo};
use tokio::sync::OnceCell;

/// The programs and how to reach the API server.
pub(crate) struct Plane {
    pub(crate) url: String,
    pub(crate) kubeconfig: PathBuf,
    directory: PathBuf,
}

const TOKEN: &str = "admin-of-the-tests";

/// The one of this test run; it ends with the process.
pub(crate) async fn plane() -> &'static Plane {
    static PLANE: OnceCell<Plane> = OnceCell::const_new();
    PLANE.get_or_init(Plane::start).await
}

impl Plane {
    pub(crate) async fn start() -> Self {
        let bin = programs();
        let directory = tempfile::Builder::new().prefix("diffusion-operator-api-").tempdir().unwrap().keep();
        let (etcd, peer, api) = (free_port(), free_port(), free_port());
        key(&directory.join("sa.key"));
        fs::write(directory.join("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\n")).unwrap();
        let path = |name: &str| directory.join(name).display().to_string();
        spawn(
            "etcd",
            Path::new("etcd"),
            &directory,
            vec![
                format!("--data-dir={}", path("etcd")),
                format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
                format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                "--unsafe-no-fsync".into(),
            ],
        );
        spawn(
            "kube-apiserver",
            &bin.join("kube-apiserver"),
            &directory,
            vec![
                format!("--etcd-servers=http://127.0.0.1:{etcd}"),
                "--bind-address=127.0.0.1".into(),
                format!("--secure-port={api}"),
                format!("--cert-dir={}", path("certificates")),
                format!("--token-auth-file={}", path("tokens.csv")),
                format!("--service-account-key-file={}", path("sa.key")),
                format!("--service-account-signing-key-file={}", path("sa.key")),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                "--authorization-mode=RBAC".into(),
                "--service-cluster-ip-range=10.0.0.0/16".into(),
                "--endpoint-reconciler-type=none".into(),
                "--allow-privileged=true".into(),
            ],
        );
        let plane = Self {
            url: format!("https://127.0.0.1:{api}"),
            kubeconfig: directory.join("kubeconfig"),
            directory: directory.clone(),
        };
        fs::write(&plane.kubeconfig, kubeconfig(&plane.url, TOKEN)).unwrap();
        plane.wait().await;
        plane
    }

    async fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let answer =
                tokio::time::timeout(Duration::from_secs(2), self.client().apiserver_version()).await;
            if matches!(answer, Ok(Ok(_))) {
                break;
            }
            assert!(Instant::now() < end, "the API server does not answer; see {}", self.directory.display());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A client of its own: one belongs to the runtime of the test that made it.
    pub(crate) fn client(&self) -> Client {
        Client::try_from(self.config()).unwrap()
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(self.url.parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo { token: Some(TOKEN.to_owned().into()), ..AuthInfo::default() };
        config
    }

    /// A kubeconfig in a file, for another address or another user.
    pub(crate) fn kubeconfig_for(&self, name: &str, url: &str, token: &str) -> PathBuf {
        let path = self.directory.join(format!("kubeconfig-{name}"));
        fs::write(&path, kubeconfig(url, token)).unwrap();
        path
    }

    pub(crate) fn token(&self) -> &'static str {
        TOKEN
    }

    /// Where the programs log, for a message.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

fn kubeconfig(url: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: \"{url}\", insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: u, user: {{token: \"{token}\"}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    )
}

/// The folder of the Kubernetes programs, which `make kube` builds.
pub(crate) fn programs() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let module = fs::read_to_string(repository.join("e2e/cluster/kube/go.mod")).unwrap();
    let version = module
        .lines()
        .filter_map(|l| l.trim().strip_prefix("k8s.io/kubernetes "))
        .find_map(|v| v.split_whitespace().next())
        .unwrap();
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    let bin = cache.join("diffusion-operator/kube").join(version).join("bin");
    assert!(
        bin.join("kube-apiserver").exists(),
        "the tests need kube-apiserver in {}: run `make kube`, which builds it",
        bin.display()
    );
    bin
}

fn key(path: &Path) {
    let made = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
        .arg(path)
        .status()
        .expect("openssl is needed: run `make deps`");
    assert!(made.success());
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a program that ends when this process does, whatever way it ends: the kernel kills it when the thread that
/// started it is gone, and that thread waits for ever.
fn spawn(name: &'static str, program: &Path, directory: &Path, arguments: Vec<String>) {
    let log = fs::File::create(directory.join(format!("{name}.log"))).unwrap();
    // setpriv asks the kernel for that signal, then becomes the program.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).args(arguments).process_group(0);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let (told, tell) = mpsc::channel();
    std::thread::spawn(move || {
        let started: Result<Child, String> = command.spawn().map_err(|e| e.to_string());
        let _ = told.send(started.as_ref().map(Child::id).map_err(Clone::clone));
        if let Ok(mut child) = started {
            let _ = child.wait();
        }
    });
    tell.recv().unwrap().unwrap_or_else(|e| panic!("{name} does not start: {e}; run `make deps`"));
}
