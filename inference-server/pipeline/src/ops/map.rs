//! Feature maps in the layout that the device computes with.

use candle_core::{Result, Tensor};

use crate::profile;

/// Numbers of every pixel. On a CPU the channels are last, which makes a map and its tokens the same thing; elsewhere
/// they are first, as candle's operations have them. Nothing outside of this folder knows which.
#[derive(Debug, Clone)]
pub(crate) struct FeatureMap {
    /// `(batch, height, width, channels)` on a CPU, else `(batch, channels, height, width)`.
    pub(super) tensor: Tensor,
    pub(super) shape: MapShape,
}

/// The sides of a feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapShape {
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl MapShape {
    /// As they lie in memory.
    pub(super) fn dims(self, channels_last: bool) -> [usize; 4] {
        let Self { batch, channels, height, width } = self;
        if channels_last { [batch, height, width, channels] } else { [batch, channels, height, width] }
    }
}

impl FeatureMap {
    /// From `(batch, channels, height, width)`.
    pub(crate) fn new(x: &Tensor) -> Result<Self> {
        let (batch, channels, height, width) = x.dims4()?;
        let shape = MapShape { batch, channels, height, width };
        let tensor =
            if super::on_kernels(x.device()) { x.permute((0, 2, 3, 1))?.contiguous()? } else { x.clone() };
        Ok(Self { tensor, shape })
    }

    /// As `(batch, channels, height, width)`.
    pub(crate) fn into_tensor(self) -> Result<Tensor> {
        if self.channels_last() { self.tensor.permute((0, 3, 1, 2))?.contiguous() } else { Ok(self.tensor) }
    }

    pub(super) fn channels_last(&self) -> bool {
        super::on_kernels(self.tensor.device())
    }

    /// `max(x, 0)` of every number.
    pub(crate) fn relu(&self) -> Result<Self> {
        Ok(Self { tensor: super::activation::relu(&self.tensor)?, shape: self.shape })
    }

    /// Height and width.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.shape.height, self.shape.width)
    }

    /// `(batch, height x width, channels)`.
    pub(crate) fn tokens(&self) -> Result<Tensor> {
        let MapShape { batch, channels, height, width } = self.shape;
        match self.channels_last() {
            true => self.tensor.reshape((batch, height * width, channels)),
            false => self.tensor.flatten_from(2)?.transpose(1, 2)?.contiguous(),
        }
    }

    /// A map of this one's height and width from `(batch, height x width, channels)`.
    pub(crate) fn with_tokens(&self, tokens: &Tensor) -> Result<Self> {
        let (batch, _, channels) = tokens.dims3()?;
        let shape = MapShape { batch, channels, ..self.shape };
        let tensor = match self.channels_last() {
            true => tokens.reshape(&shape.dims(true))?,
            false => tokens.transpose(1, 2)?.contiguous()?.reshape(&shape.dims(false))?,
        };
        Ok(Self { tensor, shape })
    }

    /// `rows` rows of the batch from `first` on, in memory of their own: a view would keep the whole batch alive.
    pub(crate) fn rows(&self, first: usize, rows: usize) -> Result<Self> {
        if rows == self.shape.batch {
            return Ok(self.clone());
        }
        let tensor = self.tensor.narrow(0, first, rows)?.force_contiguous()?;
        Ok(Self { tensor, shape: MapShape { batch: rows, ..self.shape } })
    }

    /// See [`super::repeat_rows`].
    pub(crate) fn repeat_rows(&self, copies: &[usize]) -> Result<Self> {
        let batch = copies.iter().sum();
        Ok(Self {
            tensor: super::repeat_rows(&self.tensor, copies)?,
            shape: MapShape { batch, ..self.shape },
        })
    }

    /// How many rows the batch has.
    pub(crate) fn batch(&self) -> usize {
        self.shape.batch
    }

    /// The rows of all, one map's after the other's.
    pub(crate) fn join(maps: &[Self]) -> Result<Self> {
        let [first, ..] = maps else { candle_core::bail!("no maps to join") };
        if maps.len() == 1 {
            return Ok(first.clone());
        }
        let tensors: Vec<&Tensor> = maps.iter().map(|map| &map.tensor).collect();
        let batch = maps.iter().map(|map| map.shape.batch).sum();
        Ok(Self { tensor: Tensor::cat(&tensors, 0)?, shape: MapShape { batch, ..first.shape } })
    }

    /// The channels of both, one map's after the other's.
    pub(crate) fn beside(&self, other: &Self) -> Result<Self> {
        let axis = if self.channels_last() { 3 } else { 1 };
        let cat = || Tensor::cat(&[&self.tensor, &other.tensor], axis);
        let tensor = profile::timed(profile::Kind::Join, 0, cat)?;
        let channels = self.shape.channels + other.shape.channels;
        Ok(Self { tensor, shape: MapShape { channels, ..self.shape } })
    }
}
