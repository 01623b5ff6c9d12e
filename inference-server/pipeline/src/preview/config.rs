//! `preview_decoder/config.json`.

use crate::LoadError;
use crate::checkpoint::ConfigFile;

/// What the config says of the decoder, checked.
#[derive(Debug)]
pub(super) struct Config {
    /// Channels between the first and the last layer.
    pub width: usize,
    /// Residual blocks of every level, from the latents outwards; each level but the last doubles the sides.
    pub blocks: Vec<usize>,
    pub scaling_factor: f64,
    pub shift_factor: f64,
}

impl Config {
    /// Reads the config of a decoder for latents of so many channels.
    pub(super) fn read(config: ConfigFile, channels: usize) -> Result<Self, LoadError> {
        config.only("_class_name", &["AutoencoderTiny"])?;
        config.only("out_channels", &[3])?;
        config.only("act_fn", &["relu"])?;
        config.only("upsample_fn", &["nearest"])?;
        config.only("upsampling_scaling_factor", &[2])?;
        let latents: usize = config.or("latent_channels", 4)?;
        if latents != channels {
            let problem = format!("is {latents}, but the VAE's is {channels}");
            return Err(config.field_error("latent_channels", problem));
        }
        let widths = config.or("decoder_block_out_channels", vec![64; 4])?;
        let blocks = config.or("num_decoder_blocks", vec![3, 3, 3, 1])?;
        let width = match widths[..] {
            // diffusers, too, has no layer between levels of different widths.
            [width, ..] if width > 0 && widths.iter().all(|other| *other == width) => width,
            _ => return Err(config.unsupported("decoder_block_out_channels", "one width for all levels")),
        };
        if blocks.len() != widths.len() {
            let (blocks, widths) = (blocks.len(), widths.len());
            let problem = format!("has {blocks} entries, but decoder_block_out_channels has {widths}");
            return Err(config.field_error("num_decoder_blocks", problem));
        }
        let read = Self {
            width,
            blocks,
            scaling_factor: config.or("scaling_factor", 1.0)?,
            shift_factor: config.or("shift_factor", 0.0)?,
        };
        if read.scaling_factor == 0.0 || !read.scaling_factor.is_finite() {
            return Err(config.unsupported("scaling_factor", "numbers other than 0"));
        }
        // The encoder's, and how its latents are kept in files of 8 bits.
        config.ignore(&["in_channels", "encoder_block_out_channels", "num_encoder_blocks"]);
        config.ignore(&["latent_magnitude", "latent_shift"]);
        // The widths once more, and a hint for half precision.
        config.ignore(&["block_out_channels", "force_upcast"]);
        config.finish()?;
        Ok(read)
    }
}
