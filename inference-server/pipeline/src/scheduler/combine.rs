//! The one tensor operation that schedulers need: a weighted sum.

use candle_core::{Result, Tensor, bail};

/// `sum of weight * tensor`, in the tensors' own precision. A weight of 0 leaves its tensor out, whatever is in it.
pub(crate) fn combine(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (weight, tensor) in terms.iter().filter(|(weight, _)| *weight != 0.0) {
        let term = if *weight == 1.0 { (*tensor).clone() } else { tensor.affine(*weight, 0.0)? };
        sum = Some(match sum {
            None => term,
            Some(sum) => (sum + term)?,
        });
    }
    match (sum, terms.first()) {
        (Some(sum), _) => Ok(sum),
        (None, Some((_, tensor))) => tensor.zeros_like(),
        (None, None) => bail!("a weighted sum of nothing"),
    }
}
