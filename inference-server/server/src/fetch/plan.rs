//! What is fetched: the files that the pipeline reads, and no others.

use diffusion_pipeline::checkpoint::layout::{
    self, COMPONENTS, CONFIGS, INDEX, OPTIONAL, PREVIEW_DECODER, TOKENIZERS, Variant, WeightsFile,
};

use super::FetchError;
use super::hub::{Entry, Listing};
use super::source::HubSource;

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) entry: Entry,
}

/// Chooses from a listing.
pub(super) struct Planner<'a> {
    pub(super) source: &'a HubSource,
    pub(super) listing: &'a Listing,
    pub(super) variant: Variant,
}

impl Planner<'_> {
    /// `model_index.json`, which is looked at before anything else.
    pub(super) fn index(&self) -> Result<Wanted, FetchError> {
        self.find(INDEX).ok_or_else(|| {
            let checkpoint = |path: &&String| path.ends_with(".safetensors") || path.ends_with(".ckpt");
            self.layout(match self.listing.keys().find(checkpoint) {
                Some(path) => format!(
                    "there is no {INDEX}: this is not a model in diffusers layout (a single file such as {path} must be \
                     converted to it first)"
                ),
                None => format!("there is no {INDEX}: this is not a model in diffusers layout"),
            })
        })
    }

    /// Everything but weights and the index.
    pub(super) fn configs(&self) -> Result<Vec<Wanted>, FetchError> {
        let mut files = Vec::new();
        for path in CONFIGS {
            files.push(self.require(path)?);
        }
        files.extend(OPTIONAL.iter().filter_map(|path| self.find(path)));
        let tokenizer = TOKENIZERS
            .iter()
            .find_map(|set| set.iter().map(|path| self.find(path)).collect::<Option<Vec<_>>>());
        files.extend(tokenizer.ok_or_else(|| {
            self.layout("there is no tokenizer: tokenizer.json, or vocab.json and merges.txt".into())
        })?);
        Ok(files)
    }

    /// One set of weights for each component: the files themselves, and indexes whose shards are not known yet.
    pub(super) fn weights(&self) -> Result<(Vec<Wanted>, Vec<Wanted>), FetchError> {
        let (mut files, mut indexes) = (Vec::new(), Vec::new());
        for component in self.components() {
            let places = layout::weights(component, self.variant);
            let found = places.iter().find_map(|place| Some((place, self.find(place.path())?)));
            match found {
                Some((WeightsFile::Single(_), file)) => files.push(file),
                Some((WeightsFile::Index(_), file)) => indexes.push(file),
                None => return Err(self.no_weights(component)),
            }
        }
        Ok((files, indexes))
    }

    /// The files that an index of weights names.
    pub(super) fn shards(&self, index: &str, text: &[u8]) -> Result<Vec<Wanted>, FetchError> {
        let paths = layout::shards(index, text)?;
        paths.iter().map(|path| self.require(path)).collect()
    }

    /// Files that the pipeline would load instead of what was chosen, were they in the folder.
    pub(super) fn rivals(&self, chosen: &[Wanted]) -> Vec<String> {
        let mut rivals = Vec::new();
        for component in self.components() {
            let places = layout::weights(component, Variant::Full).into_iter();
            let is_chosen = |path: &str| chosen.iter().any(|file| file.path == path);
            let before = places.map(|place| place.path().to_owned()).take_while(|path| !is_chosen(path));
            rivals.extend(before);
        }
        let tokenizer =
            TOKENIZERS.iter().take_while(|set| !chosen.iter().any(|file| set.contains(&&*file.path)));
        rivals.extend(tokenizer.flat_map(|set| set.iter().map(|path| (*path).to_owned())));
        rivals
    }

    /// Parts with weights, those that few models have only where they are.
    fn components(&self) -> impl Iterator<Item = &'static str> {
        let is_there = |part: &&str| self.find(&format!("{part}/config.json")).is_some();
        COMPONENTS.into_iter().chain([PREVIEW_DECODER].into_iter().filter(is_there))
    }

    fn find(&self, path: &str) -> Option<Wanted> {
        self.listing.get(path).map(|entry| Wanted { path: path.into(), entry: entry.clone() })
    }

    fn require(&self, path: &str) -> Result<Wanted, FetchError> {
        self.find(path).ok_or_else(|| self.layout(format!("{path} is missing from the repository")))
    }

    fn no_weights(&self, component: &str) -> FetchError {
        let pickled = |path: &&String| {
            path.starts_with(&format!("{component}/")) && (path.ends_with(".bin") || path.ends_with(".ckpt"))
        };
        self.layout(match self.listing.keys().find(pickled) {
            Some(path) => format!(
                "{component} has only pickled weights ({path}), which are not loaded because they can run code; look for \
                 another revision with safetensors, or convert the model with diffusers' save_pretrained(..., \
                 safe_serialization=True)"
            ),
            None => format!("{component} has no safetensors weights"),
        })
    }

    fn layout(&self, problem: String) -> FetchError {
        FetchError::Layout { given: self.source.to_string(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::hash::Expected;

    /// The repository of Stable Diffusion 1.4, which has a little of everything.
    const SD: [&str; 36] = [
        ".gitattributes",
        "README.md",
        "feature_extractor/preprocessor_config.json",
        "model_index.json",
        "safety_checker/config.json",
        "safety_checker/model.fp16.safetensors",
        "safety_checker/model.safetensors",
        "safety_checker/pytorch_model.bin",
        "safety_checker/pytorch_model.fp16.bin",
        "scheduler/scheduler_config.json",
        "sd-v1-4.ckpt",
        "sd-v1-4.safetensors",
        "text_encoder/config.json",
        "text_encoder/flax_model.msgpack",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/model.onnx",
        "text_encoder/model.safetensors",
        "text_encoder/pytorch_model.bin",
        "text_encoder/pytorch_model.fp16.bin",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_flax_model.msgpack",
        "vae/config.json",
        "vae/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.fp16.bin",
        "vae/diffusion_pytorch_model.safetensors",
        "vae/diffusion_flax_model.msgpack",
        "vae_decoder/model.onnx",
    ];

    fn listing<'a>(paths: impl IntoIterator<Item = &'a str>) -> Listing {
        let entry = || Entry { size: 1, hash: Expected::git(&"0".repeat(40)).unwrap() };
        paths.into_iter().map(|path| (path.to_owned(), entry())).collect()
    }

    fn plan(listing: &Listing, variant: Variant) -> Result<Vec<String>, FetchError> {
        let source = HubSource { repo: "a/b".into(), revision: "main".into() };
        let planner = Planner { source: &source, listing, variant };
        let mut all = vec![planner.index()?];
        all.extend(planner.configs()?);
        let (files, indexes) = planner.weights()?;
        all.extend(files.into_iter().chain(indexes));
        Ok(all.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn only_what_is_loaded_is_fetched() {
        let small = [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "unet/config.json",
            "vae/config.json",
            "tokenizer/special_tokens_map.json",
            "tokenizer/tokenizer_config.json",
            "tokenizer/vocab.json",
            "tokenizer/merges.txt",
        ];
        let full = [
            "text_encoder/model.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
        ];
        // The VAE has no half-size safetensors.
        let half = [
            "text_encoder/model.fp16.safetensors",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
        ];
        let sd = listing(SD);
        assert_eq!(plan(&sd, Variant::Full).unwrap(), [&small[..], &full].concat());
        assert_eq!(plan(&sd, Variant::Fp16).unwrap(), [&small[..], &half].concat());
        assert_eq!(plan(&sd, Variant::Bf16).unwrap(), [&small[..], &half].concat());
    }

    #[test]
    fn a_preview_decoder_is_fetched_where_there_is_one() {
        let config = "preview_decoder/config.json";
        let weights = "preview_decoder/diffusion_pytorch_model.safetensors";
        let all = plan(&listing(SD.into_iter().chain([config, weights])), Variant::Full).unwrap();
        assert!(all.iter().any(|path| path == config) && all.iter().any(|path| path == weights), "{all:?}");
        let error = plan(&listing(SD.into_iter().chain([config])), Variant::Full).unwrap_err().to_string();
        assert!(error.contains("preview_decoder has no safetensors weights"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let without = |gone: &[&str]| listing(SD.into_iter().filter(|path| !gone.contains(path)));
        for (gone, words) in [
            (&["model_index.json"][..], "single file such as safety_checker/model.fp16.safetensors"),
            (&["vae/config.json"], "vae/config.json is missing"),
            (&["tokenizer/merges.txt"], "no tokenizer"),
            (
                &["vae/diffusion_pytorch_model.safetensors"],
                "only pickled weights (vae/diffusion_pytorch_model.bin)",
            ),
            (
                &[
                    "vae/diffusion_pytorch_model.safetensors",
                    "vae/diffusion_pytorch_model.bin",
                    "vae/diffusion_pytorch_model.fp16.bin",
                ],
                "vae has no safetensors weights",
            ),
        ] {
            let error = plan(&without(gone), Variant::Full).unwrap_err().to_string();
            assert!(error.starts_with("hf://a/b@main: ") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn rivals_are_what_would_be_loaded_instead() {
        let source = HubSource { repo: "a/b".into(), revision: "main".into() };
        let sd = listing(SD);
        let planner = Planner { source: &source, listing: &sd, variant: Variant::Fp16 };
        let mut chosen = planner.weights().unwrap().0;
        chosen.extend(planner.configs().unwrap());
        let rivals = planner.rivals(&chosen);
        assert!(rivals.contains(&"unet/diffusion_pytorch_model.safetensors".into()), "{rivals:?}");
        assert!(rivals.contains(&"tokenizer/tokenizer.json".into()), "{rivals:?}");
        assert!(!rivals.contains(&"unet/diffusion_pytorch_model.fp16.safetensors".into()), "{rivals:?}");
        assert!(!rivals.contains(&"vae/diffusion_pytorch_model.safetensors".into()), "{rivals:?}");
        assert!(!rivals.contains(&"tokenizer/vocab.json".into()), "{rivals:?}");
    }
}
