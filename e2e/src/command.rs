//! Programs that a user would run.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Output, Stdio},
};

use tokio::{io::AsyncWriteExt, process::Command};

use crate::failure::{Failure, Outcome, fail};

/// A program with its arguments, to be run in a folder.
pub(crate) struct Program {
    command: Command,
    line: String,
    input: Vec<u8>,
}

impl Program {
    /// `name ARGUMENTS`, in `folder`.
    pub(crate) fn new(name: &str, arguments: &[&str], folder: &Path) -> Self {
        let mut command = Command::new(name);
        command.args(arguments).current_dir(folder).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = Path::new(name).file_name().and_then(OsStr::to_str).unwrap_or(name);
        Self { command, line: format!("{name} {}", arguments.join(" ")), input: Vec::new() }
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it reads.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Its standard output, if it succeeds.
    pub(crate) async fn bytes(self) -> Outcome<Vec<u8>> {
        let line = self.line.clone();
        let output = self.output().await?;
        if !output.status.success() {
            fail!("{line}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
        }
        Ok(output.stdout)
    }

    /// The same as text.
    pub(crate) async fn text(self) -> Outcome<String> {
        Ok(text(&self.bytes().await?))
    }

    /// What it says when it fails, as it should.
    pub(crate) async fn refusal(self) -> Outcome<String> {
        let line = self.line.clone();
        let output = self.output().await?;
        if output.status.success() {
            fail!("{line}: it should have been refused, but succeeded: {}", text(&output.stdout));
        }
        Ok(text(&output.stderr))
    }

    async fn output(mut self) -> Outcome<Output> {
        let failed = |e: std::io::Error| Failure(format!("{}: {e}", self.line));
        let mut child = self.command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read to the end says why by itself.
            let _ = stdin.write_all(&self.input).await;
        }
        child.wait_with_output().await.map_err(failed)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
