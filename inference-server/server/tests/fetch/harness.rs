//! A hub with repositories on it, and the program to fetch them with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diffusion_test_hub::{Faults, Hub, Settings};
use serde_json::Value;
use tempfile::TempDir;

/// The repository that every world has.
pub(crate) const REPO: &str = "hf://org/tiny";
pub(crate) const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A hub, and a folder to fetch into.
pub(crate) struct World {
    pub(crate) hub: Hub,
    folder: TempDir,
}

/// How a run of the program ended.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The progress file.
    pub(crate) report: Value,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// `settings` changes the hub, `files` the repository (`ROOT/org/tiny`, a small Stable Diffusion).
    pub(crate) async fn with(settings: impl FnOnce(&mut Settings), files: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("hub");
        copy(&checkpoint("sd1"), &root.join("org/tiny"));
        files(&root.join("org/tiny"));
        let mut all = Settings::new(&root);
        settings(&mut all);
        let hub = Hub::start(all, Faults::default()).await.unwrap();
        Self { hub, folder }
    }

    /// A folder of the hub.
    pub(crate) fn repo(&self, name: &str) -> PathBuf {
        self.folder.path().join("hub").join(name)
    }

    /// Where models go.
    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub(crate) fn report_file(&self) -> PathBuf {
        self.folder.path().join("report")
    }

    pub(crate) fn command(&self, source: &str, flags: &[&str]) -> Command {
        let mut command = program();
        command.args(["fetch", source, "--output"]).arg(self.out());
        command.env("HF_ENDPOINT", self.hub.url());
        command.arg("--progress-file").arg(self.report_file()).args(flags);
        command
    }

    pub(crate) async fn fetch(&self, source: &str, flags: &[&str]) -> Done {
        self.run(self.command(source, flags)).await
    }

    /// It has to work.
    pub(crate) async fn fetched(&self, source: &str, flags: &[&str]) -> Done {
        let done = self.fetch(source, flags).await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert_eq!(done.report["state"], "done");
        done
    }

    /// It has to fail, with these words on standard error and in the report.
    pub(crate) async fn refused(&self, source: &str, flags: &[&str], words: &str) -> Done {
        let done = self.fetch(source, flags).await;
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        assert!(done.stderr.contains(words), "{words:?} is not in {}", done.stderr);
        assert_eq!(done.report["state"], "failed");
        assert!(done.report["error"].as_str().unwrap().contains(words), "{}", done.report);
        assert!(!self.out().join(".diffusion-fetch.json").exists());
        done
    }

    pub(crate) async fn run(&self, mut command: Command) -> Done {
        let report = self.report_file();
        let _ = fs::remove_file(&report);
        command.stdin(Stdio::null());
        let running = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = tokio::time::timeout(PATIENCE, running).await.expect("it hangs").unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            report: read_json(&report),
        }
    }

    /// Starts it and lets it run.
    pub(crate) fn spawn(&self, source: &str, flags: &[&str]) -> Child {
        let mut command = self.command(source, flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Every file of ours that is in the output folder, hidden ones apart, by its path.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut all = list(&self.out());
        all.retain(|path| !path.split('/').any(|piece| piece.starts_with('.')));
        all
    }

    /// Hidden files that are left behind: what is being downloaded, and notes for ourselves.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut all = list(&self.out());
        all.retain(|path| path.rsplit('/').next().unwrap().starts_with('.'));
        all.retain(|path| ![".diffusion-fetch.json", ".diffusion-fetch.lock"].contains(&path.as_str()));
        all
    }

    pub(crate) fn marker(&self) -> Value {
        read_json(&self.out().join(".diffusion-fetch.json"))
    }

    /// The fetched files are the repository's, byte by byte.
    pub(crate) fn same_as(&self, repo: &str) {
        let marker = self.marker();
        let files = marker["files"].as_array().unwrap();
        assert!(!files.is_empty());
        for file in files {
            let path = file["path"].as_str().unwrap();
            let (ours, theirs) = (fs::read(self.out().join(path)), fs::read(self.repo(repo).join(path)));
            assert!(ours.unwrap() == theirs.unwrap(), "{path} differs");
        }
        let listed: Vec<_> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
        assert_eq!(self.files(), listed);
        assert!(self.leftovers().is_empty(), "{:?}", self.leftovers());
    }
}

/// Without what the person who runs the tests has set for other purposes.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diffusion-server"));
    for (name, _) in std::env::vars() {
        let upper = name.to_uppercase();
        if upper.starts_with("DIFFUSION_") || upper.starts_with("HF_") || upper.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline/tests/checkpoints").join(name)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for path in list(from) {
        let target = to.join(&path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(&path), target).unwrap();
    }
}

/// Paths of all files below a folder, sorted; none when there is no folder.
pub(crate) fn list(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, all: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, all);
            } else {
                all.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut all = Vec::new();
    walk(folder, folder, &mut all);
    all.sort();
    all
}

pub(crate) fn read_json(path: &Path) -> Value {
    fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

pub(crate) async fn wait_for(what: &str, right: impl Fn() -> bool) {
    let began = Instant::now();
    while !right() {
        assert!(began.elapsed() < PATIENCE, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
