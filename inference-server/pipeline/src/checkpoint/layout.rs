//! Which files a checkpoint in diffusers layout has, and in which order they are looked for: for loading one, and for
//! downloading no more of it than is loaded.

use super::weights::ShardIndex;
use super::{ConfigFile, ModelIndex};
use crate::{LoadError, Precision};

/// The file that says which parts there are.
pub const INDEX: &str = "model_index.json";

/// Parts with weights.
pub const COMPONENTS: [&str; 3] = ["text_encoder", "unet", "vae"];

/// A part that few checkpoints have, with a config and weights: what previews are decoded with.
pub const PREVIEW_DECODER: &str = "preview_decoder";

/// What is read besides weights and the tokenizer, and has to be there.
pub const CONFIGS: [&str; 4] =
    ["scheduler/scheduler_config.json", "text_encoder/config.json", "unet/config.json", "vae/config.json"];

/// What is read where it is there.
pub const OPTIONAL: [&str; 4] = [
    "generation_config.json",
    "preview_decoder/config.json",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
];

/// A tokenizer is the first of these sets whose files are there.
pub const TOKENIZERS: [&[&str]; 2] =
    [&["tokenizer/tokenizer.json"], &["tokenizer/vocab.json", "tokenizer/merges.txt"]];

/// Which of several sets of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The ones without a name, f32 as a rule.
    Full,
    /// `fp16`.
    Fp16,
    /// `bf16`.
    Bf16,
}

impl Variant {
    /// What is worth downloading for a precision: half the bytes where no more would be kept. `auto` may turn out to be
    /// f32.
    pub fn for_precision(precision: Precision) -> Self {
        match precision {
            Precision::Auto | Precision::F32 => Self::Full,
            Precision::F16 => Self::Fp16,
            Precision::Bf16 => Self::Bf16,
        }
    }

    /// Its name in file names; empty for the full weights.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
        }
    }

    /// What to take when it is not there, too.
    fn order(self) -> [Self; 3] {
        match self {
            Self::Full => [Self::Full, Self::Fp16, Self::Bf16],
            Self::Fp16 => [Self::Fp16, Self::Full, Self::Bf16],
            Self::Bf16 => [Self::Bf16, Self::Fp16, Self::Full],
        }
    }
}

/// Where a component's weights may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsFile {
    /// All in one file.
    Single(String),
    /// An index that names the files.
    Index(String),
}

impl WeightsFile {
    /// Its path in the checkpoint.
    pub fn path(&self) -> &str {
        match self {
            Self::Single(path) | Self::Index(path) => path,
        }
    }
}

/// Where a component's weights may be, the first that is there is taken.
pub fn weights(component: &str, prefer: Variant) -> Vec<WeightsFile> {
    let mut files = Vec::new();
    for stem in ["diffusion_pytorch_model", "model"] {
        for variant in prefer.order() {
            let dotted = match variant {
                Variant::Full => String::new(),
                other => format!(".{}", other.name()),
            };
            files.push(WeightsFile::Single(format!("{component}/{stem}{dotted}.safetensors")));
            files.push(WeightsFile::Index(format!("{component}/{stem}.safetensors.index{dotted}.json")));
            if variant != Variant::Full {
                // An older form of it.
                files.push(WeightsFile::Index(format!("{component}/{stem}.safetensors{dotted}.index.json")));
            }
        }
    }
    files
}

/// The files that an index of weights names, as paths in the checkpoint.
///
/// # Errors
/// When it is not an index, or names something that is not a file beside it.
pub fn shards(index: &str, text: &[u8]) -> Result<Vec<String>, LoadError> {
    let listed = ShardIndex::parse(index, text)?;
    let folder = index.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut paths = Vec::new();
    for file in listed.files() {
        if !file.ends_with(".safetensors") || file.contains(['/', '\\']) {
            let problem = format!("names {file:?}, which is not a safetensors file beside it");
            return Err(LoadError::Malformed { file: index.into(), problem });
        }
        paths.push(format!("{folder}/{file}"));
    }
    Ok(paths)
}

/// Whether a `model_index.json` is of a model that can be loaded.
///
/// # Errors
/// Names the field that cannot be.
pub fn check_index(text: &[u8]) -> Result<(), LoadError> {
    ModelIndex::check(ConfigFile::parse(INDEX, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_looked_for_in_order() {
        let paths = |variant| -> Vec<String> {
            weights("unet", variant).iter().take(6).map(|file| file.path().to_owned()).collect()
        };
        let full = paths(Variant::Full);
        assert_eq!(full[0], "unet/diffusion_pytorch_model.safetensors");
        assert_eq!(full[1], "unet/diffusion_pytorch_model.safetensors.index.json");
        assert_eq!(full[2], "unet/diffusion_pytorch_model.fp16.safetensors");
        let half = paths(Variant::for_precision(Precision::F16));
        assert_eq!(half[0], "unet/diffusion_pytorch_model.fp16.safetensors");
        assert_eq!(half[1], "unet/diffusion_pytorch_model.safetensors.index.fp16.json");
        assert_eq!(half[3], "unet/diffusion_pytorch_model.safetensors");
        for variant in [Variant::Full, Variant::Fp16, Variant::Bf16] {
            let mut all = weights("vae", variant);
            all.sort_by(|a, b| a.path().cmp(b.path()));
            let mut same = weights("vae", Variant::Full);
            same.sort_by(|a, b| a.path().cmp(b.path()));
            assert_eq!(all, same);
        }
    }

    #[test]
    fn an_index_names_files_beside_it() {
        let index = "unet/diffusion_pytorch_model.safetensors.index.json";
        let text =
            br#"{"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors", "c": "x-1.safetensors"}}"#;
        assert_eq!(shards(index, text).unwrap(), ["unet/x-1.safetensors", "unet/x-2.safetensors"]);
        for bad in ["../x.safetensors", "/x.safetensors", "a\\x.safetensors", "x.bin", ""] {
            let text = serde_json::json!({"weight_map": {"a": bad}}).to_string();
            assert!(shards(index, text.as_bytes()).unwrap_err().to_string().starts_with(index), "{bad}");
        }
    }
}
