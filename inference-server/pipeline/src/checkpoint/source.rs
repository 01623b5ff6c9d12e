//! Finding a checkpoint's files.

use std::borrow::Cow;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use super::layout::{self, Variant, WeightsFile};
use super::shard::Shard;
use super::{ConfigFile, Weights, bundled};
use crate::LoadError;

/// Where a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `bundled://emoji`: inside this binary.
    Bundled(String),
    /// A folder in diffusers layout (`./path`, `/path` or `file:///path`).
    Directory(PathBuf),
}

impl Source {
    /// Reads `bundled://NAME` or a folder.
    ///
    /// # Errors
    /// [`LoadError::Source`] says which forms there are.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let text = text.trim();
        let wrong = |problem: String| Err(LoadError::Source { given: text.into(), problem });
        match text.split_once("://") {
            Some(("bundled", name)) if bundled::names().contains(&name) => Ok(Self::Bundled(name.into())),
            Some(("bundled", _)) => match bundled::names() {
                [] => wrong(
                    "this build has no bundled model; give the path of a folder in diffusers layout".into(),
                ),
                names => wrong(format!("the bundled models are: {}", names.join(", "))),
            },
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Directory(path.into())),
            Some(("hf", rest)) => wrong(format!(
                "is a model of the hub, which has to be on disk first: `diffusion-server fetch hf://{rest} --output DIR`, \
                 then give DIR here"
            )),
            Some((scheme, _)) => wrong(format!(
                "{scheme}:// is not a source that this server reads; use bundled://emoji or the path of a folder in \
                 diffusers layout (download a model there first)"
            )),
            None if text.is_empty() => wrong("is empty; use bundled://emoji or the path of a folder".into()),
            None => Ok(Self::Directory(text.into())),
        }
    }

    /// The model's name for people: the last part of the source.
    pub fn name(&self) -> String {
        match self {
            Self::Bundled(name) => name.clone(),
            Self::Directory(path) => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                path.file_name().map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned())
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled(name) => write!(f, "bundled://{name}"),
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

/// An opened checkpoint: its files, by their path inside it.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    root: Root,
}

#[derive(Debug, Clone)]
enum Root {
    Bundled(String, bundled::Files),
    Directory(PathBuf),
}

impl Checkpoint {
    /// Opens a source.
    ///
    /// # Errors
    /// When there is no such folder, or no such bundled model in this build.
    pub fn open(source: &Source) -> Result<Self, LoadError> {
        let wrong =
            |problem: &str| LoadError::Source { given: source.to_string(), problem: problem.to_owned() };
        let root = match source {
            Source::Bundled(name) => {
                let files =
                    bundled::find(name).ok_or_else(|| wrong("this build has no such bundled model"))?;
                Root::Bundled(name.clone(), files)
            }
            Source::Directory(path) if path.is_dir() => Root::Directory(path.clone()),
            Source::Directory(path) if path.is_file() => {
                return Err(wrong(
                    "is a file; give the folder that holds model_index.json (a single-file .safetensors or .ckpt \
                     must be converted to diffusers layout first)",
                ));
            }
            Source::Directory(_) => return Err(wrong("there is no such folder")),
        };
        Ok(Self { root })
    }

    /// The bytes of a small file, or `None` when it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, file: &str) -> Result<Option<Cow<'static, [u8]>>, LoadError> {
        match &self.root {
            Root::Bundled(_, files) => Ok(find(files, file).map(Cow::Borrowed)),
            Root::Directory(root) => {
                let path = root.join(file);
                match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                    Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
                    Err(source) => Err(LoadError::Io { path, source }),
                }
            }
        }
    }

    /// As [`Self::read`], for a file that must be there.
    ///
    /// # Errors
    /// [`LoadError::MissingFile`] with `hint` when it is not.
    pub fn require(&self, file: &str, hint: &str) -> Result<Cow<'static, [u8]>, LoadError> {
        self.read(file)?.ok_or_else(|| self.missing(file, hint))
    }

    /// A component's JSON config, such as `unet/config.json`.
    ///
    /// # Errors
    /// When it is absent or broken.
    pub fn config(&self, file: &str) -> Result<ConfigFile, LoadError> {
        let text = self.require(file, "a folder in diffusers layout has it; is the download complete?")?;
        ConfigFile::parse(file, &text)
    }

    /// The weights of a component (`unet`, `vae`, `text_encoder`): one safetensors file or shards with an
    /// index, memory-mapped, converted to `dtype` as they are read.
    ///
    /// # Errors
    /// When they are absent or broken.
    pub fn weights(&self, component: &str, dtype: DType, device: &Device) -> Result<Weights, LoadError> {
        let places = layout::weights(component, Variant::Full);
        for place in &places {
            match place {
                WeightsFile::Single(file) => {
                    if let Some(shard) = self.shard(file)? {
                        return Ok(Weights::new(file.clone(), vec![shard], dtype, device.clone()));
                    }
                }
                WeightsFile::Index(file) => {
                    if let Some(text) = self.read(file)? {
                        return self.sharded(file.clone(), &text, dtype, device);
                    }
                }
            }
        }
        let hint = if self.has_pickled_weights(component) {
            "only pickled weights (.bin) are here, which are not read because they can run code; convert them with \
             diffusers' save_pretrained(..., safe_serialization=True)"
        } else {
            "weights are read from safetensors files"
        };
        Err(self.missing(places.first().map_or(component, WeightsFile::path), hint))
    }

    fn sharded(
        &self,
        index: String,
        text: &[u8],
        dtype: DType,
        device: &Device,
    ) -> Result<Weights, LoadError> {
        let files = layout::shards(&index, text)?;
        let mut shards = Vec::with_capacity(files.len());
        for file in files {
            let shard = self.shard(&file)?.ok_or_else(|| {
                self.missing(&file, &format!("{index} lists it; is the download complete?"))
            })?;
            shards.push(shard);
        }
        Ok(Weights::new(index, shards, dtype, device.clone()))
    }

    fn shard(&self, file: &str) -> Result<Option<Shard>, LoadError> {
        match &self.root {
            Root::Bundled(_, files) => {
                find(files, file).map(|bytes| Shard::embedded(file, bytes)).transpose()
            }
            Root::Directory(root) => {
                let path = root.join(file);
                if path.is_file() { Shard::map(file, &path).map(Some) } else { Ok(None) }
            }
        }
    }

    fn has_pickled_weights(&self, component: &str) -> bool {
        let Root::Directory(root) = &self.root else { return false };
        let pickled = |path: &Path| path.extension().is_some_and(|e| e == "bin" || e == "ckpt" || e == "pt");
        std::fs::read_dir(root.join(component))
            .is_ok_and(|entries| entries.flatten().any(|entry| pickled(&entry.path())))
    }

    fn missing(&self, file: &str, hint: &str) -> LoadError {
        let root = match &self.root {
            Root::Bundled(name, _) => format!("bundled://{name}"),
            Root::Directory(path) => path.display().to_string(),
        };
        LoadError::MissingFile { file: file.into(), root, hint: hint.into() }
    }
}

fn find(files: bundled::Files, file: &str) -> Option<&'static [u8]> {
    files.iter().find(|(name, _)| *name == file).map(|(_, bytes)| *bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_says_what_it_understands() {
        for (text, want) in [
            ("./model", Source::Directory("./model".into())),
            ("/models/sd", Source::Directory("/models/sd".into())),
            ("file:///models/sd", Source::Directory("/models/sd".into())),
        ] {
            assert_eq!(Source::parse(text).unwrap(), want, "{text}");
        }
        for (text, word) in [
            ("", "is empty"),
            ("hf://a/b", "diffusion-server fetch hf://a/b --output DIR"),
            ("s3://a/b", "s3:// is not a source"),
            ("bundled://nope", if bundled::names().is_empty() { "no bundled model" } else { "emoji" }),
        ] {
            let error = Source::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_folder_file_or_weight_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| Checkpoint::open(&Source::Directory(path.into()));
        let error = open(&folder.path().join("nope")).unwrap_err().to_string();
        assert!(error.contains("no such folder"), "{error}");

        let checkpoint = open(folder.path()).unwrap();
        let error = checkpoint.config("unet/config.json").unwrap_err().to_string();
        assert!(error.starts_with("unet/config.json is missing"), "{error}");

        let error = checkpoint.weights("unet", DType::F32, &Device::Cpu).err().unwrap().to_string();
        assert!(error.starts_with("unet/diffusion_pytorch_model.safetensors is missing"), "{error}");
        std::fs::create_dir(folder.path().join("unet")).unwrap();
        std::fs::write(folder.path().join("unet/diffusion_pytorch_model.bin"), b"x").unwrap();
        let error = checkpoint.weights("unet", DType::F32, &Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("safe_serialization=True"), "{error}");
    }
}
