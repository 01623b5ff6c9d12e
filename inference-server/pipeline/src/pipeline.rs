//! The pipeline: load once, then start jobs, step them, finish them.

mod preview;
mod step;

use std::sync::OnceLock;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use crate::cache::Cache;
use crate::checkpoint::{Checkpoint, ModelIndex, Weights};
use crate::guidance::Guidance;
use crate::noise::TorchGenerator;
use crate::options::Placement;
use crate::preview::{PreviewDecoder, Projection};
use crate::scheduler::{Scheduler, SchedulerConfig};
use crate::text_encoder::TextEncoder;
use crate::tokenizer::Tokenizer;
use crate::unet::UNet;
use crate::vae::Vae;
use crate::{
    Error, Evaluated, FieldError, Job, LoadError, LoadOptions, ModelInfo, Picture, Precision, Request,
    SchedulerKind, Source,
};
use crate::{image, request};

/// A loaded model. `Send`, used by one thread at a time.
pub struct Pipeline {
    tokenizer: Tokenizer,
    text_encoder: TextEncoder,
    unet: UNet,
    vae: Vae,
    preview: Option<PreviewDecoder>,
    /// What previews are made with where there is no decoder for them.
    projection: OnceLock<Projection>,
    scheduler: SchedulerConfig,
    device: Device,
    info: ModelInfo,
}

impl Pipeline {
    /// Loads a checkpoint.
    ///
    /// # Errors
    /// Names the file, field or tensor that is wrong.
    pub fn load(source: &Source, options: &LoadOptions) -> Result<Self, LoadError> {
        diffusion_kernels::Level::check().map_err(LoadError::CpuFeatures)?;
        let Placement { device, weights: dtype } = Placement::choose(options)?;
        let checkpoint = Checkpoint::open(source)?;
        let index = ModelIndex::read(&checkpoint)?;
        let scheduler = SchedulerConfig::read(checkpoint.config("scheduler/scheduler_config.json")?)?
            .for_stable_diffusion();

        let text_weights = checkpoint.weights("text_encoder", dtype, &device)?;
        let text_encoder = TextEncoder::load(checkpoint.config("text_encoder/config.json")?, &text_weights)?;
        let unet_weights = checkpoint.weights("unet", dtype, &device)?;
        let unet = UNet::load(checkpoint.config("unet/config.json")?, &unet_weights)?;
        // Half precision overflows in the decoders of Stable Diffusion 1 and 2.
        let vae_dtype = if dtype == DType::F16 { DType::F32 } else { dtype };
        let vae_weights = checkpoint.weights("vae", vae_dtype, &device)?;
        let vae = Vae::load(checkpoint.config("vae/config.json")?, &vae_weights)?;
        let preview = PreviewDecoder::load(&checkpoint, vae.channels(), vae_dtype, &device)?;
        // Up to here only names, shapes and types have been looked at, and small tensors read.
        let components = [&text_weights, &unet_weights, &vae_weights];
        let (tokenizer, packed) = rayon::join(
            || Tokenizer::load(&checkpoint, text_encoder.max_tokens()),
            || components.into_iter().try_for_each(Weights::pack),
        );
        let tokenizer = tokenizer?;
        packed?;
        check_parts(&text_encoder, &tokenizer, &unet, &vae)?;

        let factor = vae.factor();
        let (height, width) = unet.sample_size().unwrap_or((512 / factor, 512 / factor));
        let info = ModelInfo {
            name: source.name(),
            scheduler: scheduler.kind(),
            schedulers: SchedulerKind::ALL.into(),
            width: width * factor,
            height: height * factor,
            size_multiple: factor,
            steps: index.defaults.steps,
            guidance_scale: index.defaults.guidance_scale,
            max_tokens: tokenizer.max_tokens(),
            train_timesteps: scheduler.train_timesteps(),
            image_to_image: vae.has_encoder(),
            precision: Precision::of(dtype),
            parameters: components.iter().map(|weights| weights.parameters()).sum(),
        };
        let projection = OnceLock::new();
        Ok(Self { tokenizer, text_encoder, unet, vae, preview, projection, scheduler, device, info })
    }

    /// Facts and defaults.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Whether a request can be drawn by this model; cheap, no tensor is touched.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self, request: &Request) -> Result<(), FieldError> {
        request::check(request, &self.info)?;
        self.schedule(request).map(drop)
    }

    /// The request's scheduler at its first evaluation.
    fn schedule(&self, request: &Request) -> Result<Box<dyn Scheduler>, FieldError> {
        let Request { scheduler, steps, karras, eta, .. } = *request;
        let mut schedule = self.scheduler.build(scheduler, steps, karras, eta)?;
        if let Some(init) = &request.init {
            let kept = (steps as f64 * init.strength) as usize;
            schedule.start_at(steps.saturating_sub(kept) * schedule.order());
        }
        Ok(schedule)
    }

    /// Encodes the prompt and draws the initial noise.
    ///
    /// # Errors
    /// When the request does not fit the model.
    pub fn start(&self, request: &Request) -> Result<Job, Error> {
        request::check(request, &self.info)?;
        let scheduler = self.schedule(request)?;
        let begin = Instant::now();
        let guidance = Guidance::of(request);
        let mut warnings = Vec::new();
        let prompt = self.unet.look_at(&self.encode_prompts(request, guidance, &mut warnings)?)?;

        let mut generator = TorchGenerator::new(request.seed);
        let factor = self.vae.factor();
        let shape = [1, self.unet.channels(), request.height / factor, request.width / factor];
        let latents = match &request.init {
            None => (generator.randn(&shape)? * scheduler.init_noise_sigma())?,
            Some(init) => {
                let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let pixels = image::resize(&init.image, side(request.width), side(request.height));
                let posterior = self.vae.encode(&image::to_tensor(&pixels, &self.device)?)?;
                let sample = posterior.sample(&generator.randn(&shape)?.to_device(&self.device)?)?;
                let clean = self.vae.scale(&sample)?.to_device(&Device::Cpu)?;
                scheduler.add_noise(&clean, &generator.randn(&shape)?)?
            }
        };
        let mut job = Job {
            latents: latents.to_device(&self.device)?,
            predicted: None,
            prompt,
            guidance,
            cache: Cache::new(request.cache_interval),
            merging: request.token_merging,
            scheduler,
            generator,
            done: 0,
            evaluated: Evaluated::default(),
            warnings,
            timings: Default::default(),
        };
        job.timings.text = begin.elapsed();
        Ok(job)
    }

    /// `(rows, tokens, width)`: the negative prompt first when guidance is on.
    fn encode_prompts(
        &self,
        request: &Request,
        guidance: Guidance,
        warnings: &mut Vec<String>,
    ) -> Result<Tensor, Error> {
        let mut prompts = vec![("prompt", &request.prompt)];
        if guidance.is_on() {
            prompts.insert(0, ("negative_prompt", &request.negative_prompt));
        }
        let mut rows = Vec::with_capacity(prompts.len());
        for (field, text) in prompts {
            let tokens = self.tokenizer.encode(text)?;
            if let Some(cut) = tokens.cut {
                let (limit, shown) = (self.tokenizer.max_tokens(), shortened(&cut));
                warnings.push(format!("{field} was cut at {limit} tokens; this part has no effect: {shown}"));
            }
            let ids = Tensor::new(tokens.ids, &Device::Cpu)?.unsqueeze(0)?;
            rows.push(self.text_encoder.forward(&ids)?);
        }
        Ok(Tensor::cat(&rows, 0)?)
    }

    /// Decodes a job's latents; a job that is not done gives the picture as it is now.
    ///
    /// # Errors
    /// When the numbers are not finite.
    pub fn finish(&self, job: &mut Job) -> Result<Picture, Error> {
        let begin = Instant::now();
        let decoded = self.vae.decode(&self.vae.unscale(&job.latents)?)?;
        let pixels = image::from_tensor(&decoded)?;
        job.timings.decode = begin.elapsed();
        Ok(Picture { pixels })
    }

    /// Draws one picture from start to finish, telling `progress` the evaluations done and their number.
    ///
    /// # Errors
    /// As [`Self::start`], [`Self::step`] and [`Self::finish`].
    pub fn generate(
        &self,
        request: &Request,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Picture, Error> {
        let mut job = self.start(request)?;
        while !job.is_done() {
            self.step(std::slice::from_mut(&mut job))?;
            progress(job.done(), job.total());
        }
        self.finish(&mut job)
    }
}

/// The beginning of a text for a message.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    let cut = text.floor_char_boundary(LONGEST);
    if cut == text.len() { format!("{text:?}") } else { format!("{:?} ...", &text[..cut]) }
}

/// Whether the parts were made for each other.
fn check_parts(
    text_encoder: &TextEncoder,
    tokenizer: &Tokenizer,
    unet: &UNet,
    vae: &Vae,
) -> Result<(), LoadError> {
    let wrong = |field: &str, problem: String| {
        Err(LoadError::Field { file: "unet/config.json".into(), field: field.into(), problem })
    };
    if unet.context_width() != text_encoder.width() {
        let (unet, text) = (unet.context_width(), text_encoder.width());
        return wrong(
            "cross_attention_dim",
            format!("is {unet}, but the text encoder's hidden_size is {text}"),
        );
    }
    if unet.channels() != vae.channels() || unet.outputs() != vae.channels() {
        let (inputs, outputs, latents) = (unet.channels(), unet.outputs(), vae.channels());
        let problem = format!(
            "{inputs} channels in and {outputs} out, but the VAE has {latents} latent_channels (inpainting and \
             upscaling models are not supported)"
        );
        return wrong("in_channels", problem);
    }
    if tokenizer.largest_id() >= text_encoder.vocabulary() {
        let (id, size) = (tokenizer.largest_id(), text_encoder.vocabulary());
        let problem = format!("has a token {id}, but the text encoder's vocab_size is {size}");
        return Err(LoadError::Malformed { file: "tokenizer/".into(), problem });
    }
    Ok(())
}
