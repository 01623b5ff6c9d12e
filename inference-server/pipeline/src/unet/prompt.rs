//! What the layers see of a prompt: it is the same at every step, so it is computed once for a request.

use candle_core::{Result, Tensor};

/// Keys and values of every cross-attention, in the order in which a step needs them.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    /// `(rows, tokens, 2 x width of the layer)` each.
    pub(super) layers: Vec<Tensor>,
    /// How many embeddings each of the prompts that were joined was made of.
    parts: Vec<usize>,
}

impl Prompt {
    pub(super) fn new(layers: Vec<Tensor>, rows: usize) -> Self {
        Self { layers, parts: vec![rows] }
    }

    /// The last `rows` rows: with one, the positive prompt of a guided job.
    pub(crate) fn last(&self, rows: usize) -> Result<Self> {
        let Some(first) = self.rows().checked_sub(rows).filter(|&first| first > 0) else {
            return Ok(self.clone());
        };
        let layers = self.layers.iter().map(|layer| layer.narrow(0, first, rows));
        Ok(Self { layers: layers.collect::<Result<_>>()?, parts: vec![rows] })
    }

    /// The rows of all, one prompt's after the other's.
    pub(crate) fn join(prompts: &[Self]) -> Result<Self> {
        if let [one] = prompts {
            return Ok(one.clone());
        }
        let layers = prompts.iter().map(|prompt| prompt.layers.len()).max().unwrap_or(0);
        let join = |i| {
            let parts: Vec<&Tensor> = prompts.iter().filter_map(|prompt| prompt.layers.get(i)).collect();
            Tensor::cat(&parts, 0)
        };
        let parts = prompts.iter().flat_map(|prompt| &prompt.parts).copied().collect();
        Ok(Self { layers: (0..layers).map(join).collect::<Result<_>>()?, parts })
    }

    /// Rows of embeddings.
    pub(super) fn rows(&self) -> usize {
        self.parts.iter().sum()
    }

    /// The rows of each of the prompts that were joined.
    pub(super) fn parts(&self) -> &[usize] {
        &self.parts
    }
}

/// The layers' part of one step.
pub(super) struct Layers<'a>(std::slice::Iter<'a, Tensor>);

impl<'a> Layers<'a> {
    pub(super) fn of(prompt: &'a Prompt) -> Self {
        Self(prompt.layers.iter())
    }

    /// Passes over everything but the last `left`.
    pub(super) fn skip_to_last(&mut self, left: usize) {
        if let Some(between) = self.0.len().checked_sub(left + 1) {
            self.0.nth(between);
        }
    }

    /// What the next layer sees.
    pub(super) fn take(&mut self) -> Result<&'a Tensor> {
        self.0.next().ok_or_else(|| candle_core::Error::Msg("a prompt of another model".into()))
    }
}
