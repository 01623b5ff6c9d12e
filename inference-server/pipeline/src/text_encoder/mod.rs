//! CLIP's text model (Radford et al. 2021): token ids to embeddings.

#[cfg(test)]
mod tests;

use candle_core::{D, DType, Result, Tensor};

use crate::LoadError;
use crate::checkpoint::{ConfigFile, Table, Weights};
use crate::ops::{Activation, LayerNorm, Linear, Sees, attention};

/// The text encoder of a checkpoint.
pub(crate) struct TextEncoder {
    /// `(vocabulary, width)`.
    tokens: Table,
    /// `(positions, width)`.
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    compute: DType,
}

struct Layer {
    heads: usize,
    activation: Activation,
    norm1: LayerNorm,
    /// Queries, keys and values.
    projections: Linear,
    out: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl TextEncoder {
    /// Builds the model that `config` describes.
    pub(crate) fn load(config: ConfigFile, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let width: usize = config.or("hidden_size", 512)?;
        let inner: usize = config.or("intermediate_size", 2048)?;
        let depth: usize = config.or("num_hidden_layers", 12)?;
        let heads: usize = config.or("num_attention_heads", 8)?;
        let vocabulary: usize = config.or("vocab_size", 49408)?;
        let positions: usize = config.or("max_position_embeddings", 77)?;
        let eps: f64 = config.or("layer_norm_eps", 1e-5)?;
        let activation = Activation::read(&config, "hidden_act", "quick_gelu")?;
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(
                config.unsupported("num_attention_heads", &format!("a divisor of hidden_size {width}"))
            );
        }
        config.ignore(&[
            // Names and training-only options; padding is never masked, as in diffusers.
            "architectures",
            "attention_dropout",
            "bos_token_id",
            "dropout",
            "dtype",
            "eos_token_id",
            "initializer_factor",
            "initializer_range",
            "model_type",
            "pad_token_id",
            "projection_dim",
            "torch_dtype",
            "transformers_version",
            "gradient_checkpointing",
            "use_cache",
            "output_hidden_states",
        ]);
        config.finish()?;

        let weights =
            if weights.has_prefix("text_model") { weights.pp("text_model") } else { weights.clone() };
        let embeddings = weights.pp("embeddings");
        let layers = (0..depth)
            .map(|i| Layer::load(&weights.pp("encoder.layers").pp(i), width, inner, heads, eps, activation));
        Ok(Self {
            tokens: embeddings.table("token_embedding.weight", [vocabulary, width])?,
            positions: embeddings.tensor("position_embedding.weight", &[positions, width])?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            norm: LayerNorm::load(&weights.pp("final_layer_norm"), width, eps)?,
            compute: weights.dtype(),
        })
    }

    /// Tokens that a prompt may have.
    pub(crate) fn max_tokens(&self) -> usize {
        self.positions.dim(0).unwrap_or(0)
    }

    /// Tokens that there are.
    pub(crate) fn vocabulary(&self) -> usize {
        self.tokens.rows()
    }

    /// Numbers in an embedding.
    pub(crate) fn width(&self) -> usize {
        self.positions.dim(1).unwrap_or(0)
    }

    /// `(batch, tokens)` ids to `(batch, tokens, width)`, the final layer norm applied. A token sees those before it.
    pub(crate) fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        let rows = self.tokens.select(&ids.flatten_all()?.to_vec1()?)?.to_dtype(self.compute)?;
        let positions = self.positions.narrow(0, 0, tokens)?.to_dtype(self.compute)?;
        let mut x = rows.reshape((batch, tokens, ()))?.broadcast_add(&positions)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.norm.forward(&x)
    }
}

impl Layer {
    fn load(
        weights: &Weights,
        width: usize,
        inner: usize,
        heads: usize,
        eps: f64,
        activation: Activation,
    ) -> std::result::Result<Self, LoadError> {
        let attention = weights.pp("self_attn");
        let parts = ["q_proj", "k_proj", "v_proj"].map(|name| attention.pp(name));
        Ok(Self {
            heads,
            activation,
            norm1: LayerNorm::load(&weights.pp("layer_norm1"), width, eps)?,
            projections: Linear::joined(&parts, width, width, true)?,
            out: Linear::load(&attention.pp("out_proj"), width, width)?,
            norm2: LayerNorm::load(&weights.pp("layer_norm2"), width, eps)?,
            up: Linear::load(&weights.pp("mlp.fc1"), width, inner)?,
            down: Linear::load(&weights.pp("mlp.fc2"), inner, width)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        let all = self.projections.forward(&self.norm1.forward(x)?)?;
        let part = |i| all.narrow(D::Minus1, i * width, width);
        let seen = attention(&part(0)?, &part(1)?, &part(2)?, self.heads, Sees::Before)?;
        let x = self.out.forward_onto(&seen, x)?;
        let y = self.up.forward_with(&self.norm2.forward(&x)?, self.activation)?;
        self.down.forward_onto(&y, &x)
    }
}
