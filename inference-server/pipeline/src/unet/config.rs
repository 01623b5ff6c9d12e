//! `unet/config.json`.

use serde::Deserialize;

use super::block::{BlockShape, LayerShape};
use super::transformer::TransformerShape;
use crate::LoadError;
use crate::blocks::ResnetShape;
use crate::checkpoint::ConfigFile;
use crate::ops::{Activation, Padding};

/// diffusers' default for a model that does not say.
const DEFAULT_WIDTHS: [usize; 4] = [320, 640, 1280, 1280];

/// A number for all blocks, or one for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrEach<T> {
    One(T),
    Each(Vec<T>),
}

impl<T: Copy> OneOrEach<T> {
    /// One for each of `blocks`.
    fn spread(self, config: &ConfigFile, field: &str, blocks: usize) -> Result<Vec<T>, LoadError> {
        match self {
            Self::One(value) => Ok(vec![value; blocks]),
            Self::Each(values) if values.len() == blocks => Ok(values),
            Self::Each(values) => {
                let problem = format!("has {} entries, but there are {blocks} blocks", values.len());
                Err(config.field_error(field, problem))
            }
        }
    }
}

/// What the config says, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub inputs: usize,
    pub outputs: usize,
    /// Height and width of the latents in training.
    pub sample_size: Option<(usize, usize)>,
    pub center_input_sample: bool,
    pub flip_sin_to_cos: bool,
    pub freq_shift: f64,
    /// Channels of every block on the way down.
    pub widths: Vec<usize>,
    pub time_width: usize,
    pub context: usize,
    pub activation: Activation,
    pub groups: usize,
    pub eps: f64,
    pub conv_in_kernel: usize,
    pub conv_out_kernel: usize,
    /// Whether a block has attention.
    down_attention: Vec<bool>,
    up_attention: Vec<bool>,
    only_cross: Vec<bool>,
    layers: Vec<usize>,
    heads: Vec<usize>,
    depths: Vec<usize>,
    padding: usize,
    linear: bool,
    upcast: bool,
}

impl Config {
    pub(super) fn read(config: ConfigFile) -> Result<Self, LoadError> {
        config.only("_class_name", &["UNet2DConditionModel"])?;
        let widths: Vec<usize> = config.or("block_out_channels", DEFAULT_WIDTHS.into())?;
        let blocks = widths.len();
        let each = |field: &str, default: usize| {
            config.or(field, OneOrEach::One(default))?.spread(&config, field, blocks)
        };
        let context = each("cross_attention_dim", 1280)?;
        let (sides, first) =
            (config.get::<OneOrEach<usize>>("sample_size")?, widths.first().copied().unwrap_or(0));
        let read = Self {
            inputs: config.or("in_channels", 4)?,
            outputs: config.or("out_channels", 4)?,
            sample_size: match sides.map(|s| s.spread(&config, "sample_size", 2)).transpose()?.as_deref() {
                Some([height, width]) => Some((*height, *width)),
                _ => None,
            },
            center_input_sample: config.or("center_input_sample", false)?,
            flip_sin_to_cos: config.or("flip_sin_to_cos", true)?,
            freq_shift: config.or("freq_shift", 0.0)?,
            time_width: config.or("time_embedding_dim", 4 * first)?,
            context: context.first().copied().unwrap_or_default(),
            activation: Activation::read(&config, "act_fn", "silu")?,
            groups: config.or("norm_num_groups", 32)?,
            eps: config.or("norm_eps", 1e-5)?,
            conv_in_kernel: config.or("conv_in_kernel", 3)?,
            conv_out_kernel: config.or("conv_out_kernel", 3)?,
            down_attention: attention(
                &config,
                "down_block_types",
                "CrossAttnDownBlock2D",
                "DownBlock2D",
                blocks,
            )?,
            up_attention: attention(&config, "up_block_types", "CrossAttnUpBlock2D", "UpBlock2D", blocks)?,
            only_cross: config.or("only_cross_attention", OneOrEach::One(false))?.spread(
                &config,
                "only_cross_attention",
                blocks,
            )?,
            layers: each("layers_per_block", 2)?,
            heads: each("attention_head_dim", 8)?,
            depths: each("transformer_layers_per_block", 1)?,
            padding: config.or("downsample_padding", 1)?,
            linear: config.or("use_linear_projection", false)?,
            upcast: config.or("upcast_attention", false)?,
            widths,
        };
        read.check(&config, &context)?;
        config.only("mid_block_type", &["UNetMidBlock2DCrossAttn"])?;
        config.only("mid_block_scale_factor", &[1.0])?;
        config.only("resnet_out_scale_factor", &[1.0])?;
        config.only("resnet_time_scale_shift", &["default"])?;
        config.only("time_embedding_type", &["positional"])?;
        config.only("attention_type", &["default"])?;
        for off in ["dual_cross_attention", "resnet_skip_time_act", "class_embeddings_concat"] {
            config.only(off, &[false])?;
        }
        for absent in [
            "reverse_transformer_layers_per_block",
            "encoder_hid_dim",
            "encoder_hid_dim_type",
            "num_attention_heads",
            "class_embed_type",
            "addition_embed_type",
            "addition_time_embed_dim",
            "num_class_embeds",
            "time_embedding_act_fn",
            "timestep_post_act",
            "time_cond_proj_dim",
            "projection_class_embeddings_input_dim",
            "cross_attention_norm",
        ] {
            config.only::<bool>(absent, &[])?;
        }
        // No bearing on what this kind of block computes when drawing.
        config.ignore(&["dropout", "addition_embed_type_num_heads", "mid_block_only_cross_attention"]);
        config.finish()?;
        Ok(read)
    }

    /// What would otherwise be a refusal by the tensor library in the middle of a picture.
    fn check(&self, config: &ConfigFile, context: &[usize]) -> Result<(), LoadError> {
        if self.widths.is_empty() || self.widths.contains(&0) {
            return Err(
                config.field_error("block_out_channels", "needs a number above 0 for every block".into())
            );
        }
        if context.iter().any(|&width| width != self.context || width == 0) {
            return Err(config.unsupported("cross_attention_dim", "one number, or the same for every block"));
        }
        if self.layers.contains(&0) {
            return Err(config.unsupported("layers_per_block", "1 or more"));
        }
        for (field, value) in
            [("conv_in_kernel", self.conv_in_kernel), ("conv_out_kernel", self.conv_out_kernel)]
        {
            if value.is_multiple_of(2) {
                return Err(config.unsupported(field, "odd numbers"));
            }
        }
        let (down, mid, up) = (self.down_shapes(), self.mid_shape(), self.up_shapes());
        let layers = down.iter().chain(&up).flat_map(|block| &block.layers).chain([&mid]);
        // A block that does not attend may have any number of heads: the bundled model's 128 channels have 6.
        for TransformerShape { channels, heads, .. } in layers.filter_map(|layer| layer.transformer.as_ref())
        {
            if *heads == 0 || !channels.is_multiple_of(*heads) {
                let supported =
                    format!("divisors of the block's {channels} channels (it is the number of heads)");
                return Err(config.unsupported("attention_head_dim", &supported));
            }
        }
        let inputs = up.iter().flat_map(|block| block.layers.iter().map(|layer| layer.resnet.inputs));
        for channels in self.widths.iter().copied().chain(inputs) {
            if self.groups == 0 || !channels.is_multiple_of(self.groups) {
                let supported = format!("divisors of {channels}, which a normalised map of this model has");
                return Err(config.unsupported("norm_num_groups", &supported));
            }
        }
        Ok(())
    }

    fn layer(&self, block: usize, inputs: usize, attends: bool) -> LayerShape {
        let of = |values: &[usize]| values.get(block).copied().unwrap_or_default();
        let outputs = of(&self.widths);
        LayerShape {
            resnet: ResnetShape {
                inputs,
                outputs,
                groups: self.groups,
                eps: self.eps,
                activation: self.activation,
                time: Some(self.time_width),
            },
            transformer: attends.then(|| TransformerShape {
                channels: outputs,
                heads: of(&self.heads),
                depth: of(&self.depths),
                context: self.context,
                groups: self.groups,
                linear: self.linear,
                only_cross: self.only_cross.get(block).copied().unwrap_or(false),
                upcast: self.upcast,
                merges: block == self.merging_level(),
            }),
        }
    }

    /// The level whose tokens can be merged: the one with the largest maps that look at themselves.
    fn merging_level(&self) -> usize {
        let (down, up) = (self.down_attention.iter(), self.up_attention.iter().rev());
        let looks_at_itself =
            |((&down, &up), &only_cross): ((&bool, &bool), &bool)| (down || up) && !only_cross;
        // Without any there is the middle, which has the last level's size.
        let last = self.widths.len().saturating_sub(1);
        down.zip(up).zip(&self.only_cross).position(looks_at_itself).unwrap_or(last)
    }

    fn width(&self, block: usize) -> usize {
        self.widths.get(block).copied().unwrap_or_default()
    }

    pub(super) fn down_shapes(&self) -> Vec<BlockShape> {
        let blocks = self.widths.len();
        let shape = |block: usize, attends: bool| {
            let outputs = self.width(block);
            let first = self.width(block.saturating_sub(1));
            let layers = self.layers.get(block).copied().unwrap_or_default();
            BlockShape {
                layers: (0..layers)
                    .map(|i| self.layer(block, if i == 0 { first } else { outputs }, attends))
                    .collect(),
                resample: block + 1 < blocks,
                padding: Padding::Same(self.padding),
                outputs,
            }
        };
        self.down_attention.iter().enumerate().map(|(block, &attends)| shape(block, attends)).collect()
    }

    /// The middle never looks at the prompt alone, whatever `only_cross_attention` says.
    pub(super) fn mid_shape(&self) -> LayerShape {
        let last = self.widths.len().saturating_sub(1);
        let mut layer = self.layer(last, self.width(last), true);
        if let Some(transformer) = &mut layer.transformer {
            transformer.only_cross = false;
        }
        layer
    }

    /// The way up mirrors the way down; every layer also takes the map that the way down left for it.
    pub(super) fn up_shapes(&self) -> Vec<BlockShape> {
        let blocks = self.widths.len();
        let shape = |index: usize, attends: bool| {
            let block = blocks.saturating_sub(index + 1);
            let outputs = self.width(block);
            let below = self.width((block + 1).min(blocks.saturating_sub(1)));
            let above = self.width(block.saturating_sub(1));
            let layers = self.layers.get(block).copied().unwrap_or_default() + 1;
            let inputs = |i: usize| {
                let from_below = if i == 0 { below } else { outputs };
                let skipped = if i + 1 == layers { above } else { outputs };
                from_below + skipped
            };
            BlockShape {
                layers: (0..layers).map(|i| self.layer(block, inputs(i), attends)).collect(),
                resample: index + 1 < blocks,
                padding: Padding::Same(self.padding),
                outputs,
            }
        };
        self.up_attention.iter().enumerate().map(|(index, &attends)| shape(index, attends)).collect()
    }
}

/// Which blocks have attention, by their class.
fn attention(
    config: &ConfigFile,
    field: &str,
    with: &str,
    without: &str,
    blocks: usize,
) -> Result<Vec<bool>, LoadError> {
    let types: Vec<String> = config.require(field)?;
    if types.len() != blocks {
        let problem = format!("has {} entries, but block_out_channels has {blocks}", types.len());
        return Err(config.field_error(field, problem));
    }
    let attends = types.iter().map(|name| match name.as_str() {
        name if name == with => Ok(true),
        name if name == without => Ok(false),
        _ => Err(config.unsupported(field, &format!("{with}, {without}"))),
    });
    attends.collect()
}
