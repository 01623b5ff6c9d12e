//! How far it is: a bar or lines for people, JSON for programs.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::error::size;
use crate::cli::LogFormat;

/// Time between two reports.
const INTERVAL: Duration = Duration::from_secs(3);
/// Kubernetes cuts a termination message off after 4096 bytes; escapes can double a text.
const LONGEST_ERROR: usize = 1500;

/// Where a download is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Fetching,
    Done,
    Failed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    state: State,
    source: &'a str,
    revision: Option<&'a str>,
    files_done: u64,
    files: u64,
    bytes_done: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

pub(super) struct Progress {
    source: String,
    revision: Mutex<Option<String>>,
    files_done: AtomicU64,
    files: AtomicU64,
    bytes_done: AtomicU64,
    bytes: AtomicU64,
    format: LogFormat,
    file: Option<PathBuf>,
    bar: Option<ProgressBar>,
    began: Instant,
}

impl Progress {
    pub(super) fn new(source: String, format: LogFormat, file: Option<PathBuf>) -> Self {
        let bar = (format == LogFormat::Text && io::stderr().is_terminal()).then(bar);
        Self {
            source,
            revision: Mutex::default(),
            files_done: AtomicU64::new(0),
            files: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            format,
            file,
            bar,
            began: Instant::now(),
        }
    }

    pub(super) fn revision(&self, commit: &str) {
        *self.revision.lock().unwrap_or_else(PoisonError::into_inner) = Some(commit.to_owned());
    }

    /// More is to be fetched.
    pub(super) fn expect(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    /// Bytes are there.
    pub(super) fn came(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    /// Bytes that were there have to come again.
    pub(super) fn lost(&self, bytes: u64) {
        self.bytes_done.fetch_sub(bytes, Ordering::Relaxed);
        self.show();
    }

    /// A file is complete.
    pub(super) fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
    }

    fn show(&self) {
        if let Some(bar) = &self.bar {
            bar.set_length(self.bytes.load(Ordering::Relaxed));
            bar.set_position(self.bytes_done.load(Ordering::Relaxed));
        }
    }

    /// Says something.
    pub(super) fn message(&self, text: &str) {
        match (&self.bar, self.format) {
            (Some(bar), _) => bar.suspend(|| eprintln!("{text}")),
            (None, LogFormat::Text) => eprintln!("{text}"),
            (None, LogFormat::Json) => tracing::info!("{text}"),
        }
    }

    /// Reports every few seconds, without end.
    pub(super) async fn keep_reporting(&self) {
        self.report(State::Fetching, None);
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.report(State::Fetching, None);
            if self.format == LogFormat::Text && self.bar.is_none() {
                let (done, all) =
                    (self.bytes_done.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
                eprintln!("{} of {} fetched", size(done), size(all));
            }
        }
    }

    /// The last report.
    pub(super) fn end(&self, error: Option<&str>) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let Some(error) = error else {
            self.report(State::Done, None);
            return;
        };
        self.report(State::Failed, Some(&error[..error.floor_char_boundary(LONGEST_ERROR)]));
    }

    /// Bytes of all files, and the time since the beginning.
    pub(super) fn summary(&self) -> String {
        let (files, bytes) = (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        format!("{files} files, {} in {:.0?}", size(bytes), self.began.elapsed())
    }

    fn report(&self, state: State, error: Option<&str>) {
        let revision = self.revision.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let report = Report {
            state,
            source: &self.source,
            revision: revision.as_deref(),
            files_done: self.files_done.load(Ordering::Relaxed),
            files: self.files.load(Ordering::Relaxed),
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            error,
        };
        let Ok(mut line) = serde_json::to_string(&report) else { return };
        line.push('\n');
        if self.format == LogFormat::Json {
            // Somebody who closed the pipe does not want to know.
            let _ = io::stdout().write_all(line.as_bytes());
        }
        if let Some(path) = &self.file
            && let Err(error) = write(path, line.as_bytes())
        {
            self.message(&format!("--progress-file {}: {error}", path.display()));
        }
    }
}

/// Replaces the file, so that a reader sees a whole one. A file that is mounted into a container (its termination log)
/// cannot be replaced, and its folder often not be written to: it is written in place then.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    let replaced = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    if replaced.is_ok() {
        return Ok(());
    }
    let _ = fs::remove_file(&unfinished);
    fs::write(path, text)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{bar:40} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}, {eta} left";
    // The template is constant; were it wrong, the default one would do.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_report_is_the_agreed_one_and_fits_a_termination_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let progress = Progress::new("hf://a/b@main".into(), LogFormat::Text, Some(path.clone()));
        let read = || fs::read_to_string(&path).unwrap();
        progress.expect(2, 100);
        progress.report(State::Fetching, None);
        assert_eq!(
            read(),
            "{\"state\":\"fetching\",\"source\":\"hf://a/b@main\",\"revision\":null,\"filesDone\":0,\"files\":2,\
             \"bytesDone\":0,\"bytes\":100}\n"
        );
        progress.revision("0123");
        progress.came(60);
        progress.lost(10);
        progress.file_done();
        progress.end(Some(&"\"é".repeat(3000)));
        let report: serde_json::Value = serde_json::from_str(&read()).unwrap();
        assert_eq!((&report["state"], &report["revision"]), (&"failed".into(), &"0123".into()));
        assert_eq!((&report["filesDone"], &report["bytesDone"]), (&1.into(), &50.into()));
        assert!(read().len() < 4096 && report["error"].as_str().unwrap().len() > 1000);
        progress.end(None);
        assert!(read().contains("\"state\":\"done\"") && !read().contains("error"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "a longer text than the next").unwrap();
        // Stands for what cannot be made: a folder is where the unfinished file would be.
        fs::create_dir(folder.path().join("log.tmp")).unwrap();
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let before = inode(&path);
        write(&path, b"short").unwrap();
        assert_eq!((fs::read(&path).unwrap(), inode(&path)), (b"short".to_vec(), before));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_dir(folder.path().join("log.tmp")).unwrap();
        write(&path, b"new").unwrap();
        assert_ne!(inode(&path), before);
    }
}
