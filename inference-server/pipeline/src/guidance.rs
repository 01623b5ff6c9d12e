//! Classifier-free guidance.

use candle_core::{D, Result, Tensor};

use crate::Request;

/// How one request is guided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Guidance {
    scale: f64,
    rescale: f64,
    start: f64,
    end: f64,
}

impl Guidance {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            scale: request.guidance_scale,
            rescale: request.guidance_rescale,
            start: request.guidance_start,
            end: request.guidance_end,
        }
    }

    /// Whether the negative prompt takes part in any evaluation. As in diffusers, a scale of 1 or less is no guidance.
    pub(crate) fn is_on(self) -> bool {
        self.scale > 1.0
    }

    /// Rows of the UNet's batch that evaluation `index` of `total` needs, counted from 0. Outside of the interval the
    /// positive prompt is enough, which costs half (Kynkäänniemi et al. 2024, with parts of the evaluations in place of
    /// noise levels, which differ between schedulers).
    pub(crate) fn rows(self, index: usize, total: usize) -> usize {
        let place = index as f64 / total.max(1) as f64;
        let inside = self.start <= place && place < self.end;
        if self.is_on() && inside { 2 } else { 1 }
    }

    /// The model's output for a job, from its rows `(rows, channels, height, width)`, negative first; a single row is the
    /// positive's and stays as it is.
    ///
    /// `negative + scale * (positive - negative)` (Ho and Salimans 2022, equation 6), then rescaled towards the
    /// positive's standard deviation (Lin et al. 2023, equations 15 and 16).
    pub(crate) fn combine(self, rows: &Tensor) -> Result<Tensor> {
        if rows.dim(0)? < 2 {
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

    fn guidance(scale: f64, rescale: f64) -> Guidance {
        Guidance { scale, rescale, start: 0.0, end: 1.0 }
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn guidance_moves_away_from_the_negative() {
        assert_eq!(values(&guidance(3.0, 0.0).combine(&rows()).unwrap()), [4.0, -1.0, 9.0, 4.0]);
    }

    #[test]
    fn without_guidance_there_is_one_row_that_stays_as_it_is() {
        for scale in [1.0, 0.5, 0.0] {
            let guidance = guidance(scale, 0.7);
            assert_eq!(guidance.rows(0, 1), 1);
            let row = rows().narrow(0, 1, 1).unwrap();
            assert_eq!(values(&guidance.combine(&row).unwrap()), values(&row));
        }
    }

    #[test]
    fn an_evaluation_is_guided_from_the_start_of_the_interval_up_to_its_end() {
        let guided = |start, end, total| -> Vec<usize> {
            let guidance = Guidance { start, end, ..guidance(3.0, 0.0) };
            (0..total).filter(|&index| guidance.rows(index, total) == 2).collect()
        };
        for total in 1..=150 {
            assert_eq!(guided(0.0, 1.0, total), Vec::from_iter(0..total));
        }
        // A bound that falls on an evaluation: the start is inside, the end is not.
        assert_eq!(guided(0.2, 0.6, 10), [2, 3, 4, 5]);
        assert_eq!(guided(0.0, 0.6, 50), Vec::from_iter(0..30));
        assert_eq!(guided(0.2, 0.8, 50), Vec::from_iter(10..40));
        // Between two evaluations.
        assert_eq!(guided(0.25, 0.65, 10), [3, 4, 5, 6]);
        assert_eq!(guided(0.55, 0.56, 10), Vec::<usize>::new());
        assert_eq!(guided(0.0, f64::MIN_POSITIVE, 7), [0]);
        assert_eq!(guided(1.0 - f64::EPSILON, 1.0, 150), Vec::<usize>::new());
        // Two intervals that meet share nothing and leave nothing out.
        for total in 1..=60 {
            let both = [guided(0.0, 0.35, total), guided(0.35, 1.0, total)].concat();
            assert_eq!(both, Vec::from_iter(0..total));
        }
        let off = Guidance { start: 0.2, ..guidance(1.0, 0.0) };
        assert!((0..10).all(|index| off.rows(index, 10) == 1));
    }

    #[test]
    fn full_rescale_gives_the_positive_its_deviation_back() {
        let rescaled = guidance(3.0, 1.0).combine(&rows()).unwrap();
        let positive = deviation(&rows().narrow(0, 1, 1).unwrap()).unwrap();
        assert!((deviation(&rescaled).unwrap() - positive).abs() < 1e-6);
    }
}
