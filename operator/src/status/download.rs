//! What is known of the model: its commit, and how far its download is.

use diffusion_crds::v1alpha1::{Download, ModelStatus};

use super::{Evidence, downloads, servers};
use crate::observe::{FetchReport, Observed, fetch_report, ready};

/// The model's status, from the newest word on it.
pub(super) fn model(
    source: &str,
    observed: &Observed,
    evidence: &Evidence<'_>,
    before: Option<&ModelStatus>,
) -> ModelStatus {
    let mut model = before
        .filter(|b| b.source == source)
        .cloned()
        .unwrap_or_else(|| ModelStatus { source: source.to_owned(), ..ModelStatus::default() });
    if !source.starts_with("hf://") {
        model.download = None;
        model.revision = None;
        return model;
    }
    let ended: Vec<FetchReport> =
        downloads(&observed.pods).chain(servers(&observed.pods)).filter_map(fetch_report).collect();
    let serving = servers(&observed.pods).any(ready);
    let done = ended.iter().find(|r| r.state == "done");
    if let Some(report) = done.filter(|_| !serving || model.revision.is_none()) {
        model.revision = report.revision.clone().or(model.revision);
        model.download = Some(figures(report));
    } else if let Some(report) = evidence.progress.as_ref().or(ended.first()).filter(|_| !serving) {
        model.download = Some(figures(report));
    }
    // What a server that draws says is what is drawn with.
    if let Some(revision) = evidence.facts.as_ref().and_then(|f| f.revision.clone()) {
        model.revision = Some(revision);
    }
    if serving && let Some(download) = model.download.as_mut() {
        download.files_done = download.files;
        download.bytes_done = download.bytes;
    }
    model
}

fn figures(report: &FetchReport) -> Download {
    Download {
        files_done: report.files_done,
        files: report.files,
        bytes_done: report.bytes_done,
        bytes: report.bytes,
    }
}
