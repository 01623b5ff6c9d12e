//! Classifier-free guidance.

use candle_core::{D, Result, Tensor};

/// How one request is guided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Guidance {
    scale: f64,
    rescale: f64,
}

impl Guidance {
    pub(crate) fn new(scale: f64, rescale: f64) -> Self {
        Self { scale, rescale }
    }

    /// Whether the negative prompt takes part; without it a step costs half. As in diffusers, a scale of 1 or less
    /// is no guidance.
    pub(crate) fn is_on(self) -> bool {
        self.scale > 1.0
    }

    /// Rows of the UNet's batch that a job needs.
    pub(crate) fn rows(self) -> usize {
        if self.is_on() { 2 } else { 1 }
    }

    /// The model's output for a job, from its rows `(rows, channels, height, width)`, negative first.
    ///
    /// `negative + scale * (positive - negative)` (Ho and Salimans 2022, equation 6), then rescaled towards the
    /// positive's standard deviation (Lin et al. 2023, equations 15 and 16).
    pub(crate) fn combine(self, rows: &Tensor) -> Result<Tensor> {
        if !self.is_on() {
            return Ok(rows.clone());
        }
        let negative = rows.narrow(0, 0, 1)?;
        let positive = rows.narrow(0, 1, 1)?;
        let guided = (&negative + ((&positive - &negative)? * self.scale)?)?;
        if self.rescale <= 0.0 {
            return Ok(guided);
        }
        let ratio = deviation(&positive)? / deviation(&guided)?;
        &guided * (self.rescale * ratio + (1.0 - self.rescale))
    }
}

/// Standard deviation of all numbers, unbiased as torch's is.
fn deviation(x: &Tensor) -> Result<f64> {
    let x = x.flatten_all()?.to_dtype(candle_core::DType::F64)?;
    let n = x.elem_count() as f64;
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    Ok((centred.sqr()?.sum_all()?.to_scalar::<f64>()? / (n - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn rows() -> Tensor {
        Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 2.0, 1.0, 5.0, 4.0], (2, 1, 2, 2), &Device::Cpu).unwrap()
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn guidance_moves_away_from_the_negative() {
        assert_eq!(values(&Guidance::new(3.0, 0.0).combine(&rows()).unwrap()), [4.0, -1.0, 9.0, 4.0]);
    }

    #[test]
    fn without_guidance_there_is_one_row_that_stays_as_it_is() {
        for scale in [1.0, 0.5, 0.0] {
            let guidance = Guidance::new(scale, 0.7);
            assert_eq!(guidance.rows(), 1);
            let row = rows().narrow(0, 1, 1).unwrap();
            assert_eq!(values(&guidance.combine(&row).unwrap()), values(&row));
        }
    }

    #[test]
    fn full_rescale_gives_the_positive_its_deviation_back() {
        let rescaled = Guidance::new(3.0, 1.0).combine(&rows()).unwrap();
        let positive = deviation(&rows().narrow(0, 1, 1).unwrap()).unwrap();
        assert!((deviation(&rescaled).unwrap() - positive).abs() < 1e-6);
    }
}
