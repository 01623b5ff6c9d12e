//! `vae/config.json`.

use crate::LoadError;
use crate::blocks::ResnetShape;
use crate::checkpoint::ConfigFile;
use crate::ops::Activation;

/// Added to every variance before its root.
pub(super) const EPS: f64 = 1e-6;

/// What the config says, checked.
#[derive(Debug)]
pub(super) struct Config {
    /// Channels of the latents.
    pub latents: usize,
    /// Channels of every block, from the pixels inwards.
    pub widths: Vec<usize>,
    /// Residual blocks of an encoder's block; a decoder's has one more.
    pub layers: usize,
    pub groups: usize,
    pub activation: Activation,
    pub scaling_factor: f64,
    pub shift_factor: f64,
    pub quant_conv: bool,
    pub post_quant_conv: bool,
    /// Whether the pixels of the middle look at each other.
    pub attends: bool,
}

impl Config {
    pub(super) fn read(config: ConfigFile) -> Result<Self, LoadError> {
        config.only("_class_name", &["AutoencoderKL"])?;
        config.only("in_channels", &[3])?;
        config.only("out_channels", &[3])?;
        let read = Self {
            latents: config.or("latent_channels", 4)?,
            widths: config.or("block_out_channels", vec![64])?,
            layers: config.or("layers_per_block", 1)?,
            groups: config.or("norm_num_groups", 32)?,
            activation: Activation::read(&config, "act_fn", "silu")?,
            scaling_factor: config.or("scaling_factor", 0.18215)?,
            shift_factor: config.or("shift_factor", 0.0)?,
            quant_conv: config.or("use_quant_conv", true)?,
            post_quant_conv: config.or("use_post_quant_conv", true)?,
            attends: config.or("mid_block_add_attention", true)?,
        };
        for (field, class) in
            [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")]
        {
            let types: Vec<String> = config.or(field, vec![class.to_owned()])?;
            if types.iter().any(|name| name != class) {
                return Err(config.unsupported(field, class));
            }
            if types.len() != read.widths.len() {
                let (blocks, widths) = (types.len(), read.widths.len());
                let problem = format!("has {blocks} entries, but block_out_channels has {widths}");
                return Err(config.field_error(field, problem));
            }
        }
        for &width in &read.widths {
            if read.groups == 0 || width == 0 || !width.is_multiple_of(read.groups) {
                return Err(config.unsupported("norm_num_groups", &format!("divisors of {width} channels")));
            }
        }
        if read.scaling_factor == 0.0 || !read.scaling_factor.is_finite() {
            return Err(config.unsupported("scaling_factor", "numbers other than 0"));
        }
        if read.latents == 0 || read.layers == 0 {
            let field = if read.latents == 0 { "latent_channels" } else { "layers_per_block" };
            return Err(config.unsupported(field, "1 or more"));
        }
        for absent in ["latents_mean", "latents_std"] {
            config.only::<bool>(absent, &[])?;
        }
        // The size that it was trained at, and a hint for half precision, which the decoder never runs in here.
        config.ignore(&["sample_size", "force_upcast"]);
        config.finish()?;
        Ok(read)
    }

    pub(super) fn resnet(&self, inputs: usize, outputs: usize) -> ResnetShape {
        ResnetShape {
            inputs,
            outputs,
            groups: self.groups,
            eps: EPS,
            activation: self.activation,
            time: None,
        }
    }

    /// Channels of the outermost and the innermost block.
    pub(super) fn ends(&self) -> (usize, usize) {
        let end = |width: Option<&usize>| width.copied().unwrap_or_default();
        (end(self.widths.first()), end(self.widths.last()))
    }
}
