//! `model_index.json`: which parts a checkpoint has.

use serde::Deserialize;

use super::layout::INDEX;
use super::{Checkpoint, ConfigFile};
use crate::LoadError;

/// What every part must be: `(name in model_index.json, classes that we implement)`.
const PARTS: [(&str, &[&str]); 4] = [
    ("text_encoder", &["CLIPTextModel"]),
    ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
];

/// Pipelines whose parts and order of work are Stable Diffusion's.
const PIPELINES: [&str; 2] = ["StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"];

/// What a model draws with when the request does not say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GenerationDefaults {
    pub steps: usize,
    pub guidance_scale: f64,
}

/// A checkpoint whose parts are ones that we can load.
#[derive(Debug)]
pub(crate) struct ModelIndex {
    pub defaults: GenerationDefaults,
}

impl ModelIndex {
    /// Reads `model_index.json` and `generation_config.json` (ours, optional: `num_inference_steps`, `guidance_scale`).
    pub(crate) fn read(checkpoint: &Checkpoint) -> Result<Self, LoadError> {
        Self::check(checkpoint.config(INDEX)?)?;
        Ok(Self { defaults: Self::defaults(checkpoint)? })
    }

    /// Whether every part is one that we can load.
    pub(crate) fn check(index: ConfigFile) -> Result<(), LoadError> {
        index.only("_class_name", &PIPELINES)?;
        for (part, classes) in PARTS {
            check_class(&index, part, classes)?;
        }
        // The scheduler's class is checked where its config is read. The safety checker and its feature extractor
        // look at finished pictures; the pictures are the same without them.
        index.ignore(&["scheduler", "safety_checker", "feature_extractor", "requires_safety_checker"]);
        for unused in ["image_encoder", "transformer", "text_encoder_2"] {
            if let Some((Some(_), Some(_))) = index.get::<(Option<String>, Option<String>)>(unused)? {
                return Err(index.unsupported(unused, "[null, null]"));
            }
        }
        index.finish()
    }

    /// diffusers' own defaults for Stable Diffusion, unless the checkpoint has better ones.
    fn defaults(checkpoint: &Checkpoint) -> Result<GenerationDefaults, LoadError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            num_inference_steps: Option<usize>,
            guidance_scale: Option<f64>,
        }
        let file = "generation_config.json";
        let File { num_inference_steps, guidance_scale } = match checkpoint.read(file)? {
            None => File { num_inference_steps: None, guidance_scale: None },
            Some(text) => serde_json::from_slice(&text)
                .map_err(|e| LoadError::Malformed { file: file.into(), problem: e.to_string() })?,
        };
        Ok(GenerationDefaults {
            steps: num_inference_steps.unwrap_or(50),
            guidance_scale: guidance_scale.unwrap_or(7.5),
        })
    }
}

fn check_class(index: &ConfigFile, part: &str, classes: &[&str]) -> Result<(), LoadError> {
    let (_library, class): (Option<String>, Option<String>) = index.require(part)?;
    if class.is_some_and(|class| classes.contains(&class.as_str())) {
        return Ok(());
    }
    Err(index.unsupported(part, &classes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Source;

    fn read(change: impl Fn(String) -> String) -> Result<ModelIndex, LoadError> {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.2.2",
            "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"], "safety_checker": ["stable_diffusion", "X"],
            "image_encoder": [null, null]}"#;
        std::fs::write(folder.path().join("model_index.json"), change(text.to_owned())).unwrap();
        ModelIndex::read(&Checkpoint::open(&Source::Directory(folder.path().into())).unwrap())
    }

    #[test]
    fn stable_diffusion_is_read_and_anything_else_is_refused_by_name() {
        assert_eq!(read(|s| s).unwrap().defaults, GenerationDefaults { steps: 50, guidance_scale: 7.5 });
        for (from, to, field) in [
            ("StableDiffusionPipeline", "FluxPipeline", "_class_name"),
            ("CLIPTextModel", "T5EncoderModel", "text_encoder"),
            ("UNet2DConditionModel", "UNet2DModel", "unet"),
            ("[null, null]", r#"["transformers", "CLIPVisionModel"]"#, "image_encoder"),
            ("safety_checker", "controlnet", "controlnet"),
            ("\"vae\"", "\"_vae\"", "vae"),
        ] {
            let error = read(|s| s.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("model_index.json: {field}")), "{error}");
        }
    }
}
