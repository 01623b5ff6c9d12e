//! What a job keeps of a UNet evaluation for the next ones.

use candle_core::Result;

use crate::ops::FeatureMap;

/// A job's inner map, and when it is made anew (Ma et al. 2024, DeepCache).
#[derive(Debug)]
pub(crate) struct Cache {
    /// Every how many evaluations the whole UNet runs; 1 is off.
    interval: usize,
    /// Rows of the last whole evaluation, the positive prompt's last, and how often they were used again.
    kept: Option<(FeatureMap, usize)>,
}

impl Cache {
    pub(crate) fn new(interval: usize) -> Self {
        Self { interval, kept: None }
    }

    /// Whether evaluations leave something behind.
    pub(crate) fn is_on(&self) -> bool {
        self.interval > 1
    }

    /// What the next evaluation, of `rows` rows, may reuse; nothing when the whole UNet is to run: in the first
    /// evaluation, after `interval - 1` reuses, and when guidance begins and its negative row was not evaluated before.
    pub(crate) fn reusable(&self, rows: usize) -> Result<Option<FeatureMap>> {
        let Some((map, reused)) = &self.kept else { return Ok(None) };
        match map.batch().checked_sub(rows) {
            Some(first) if reused + 1 < self.interval => map.rows(first, rows).map(Some),
            _ => Ok(None),
        }
    }

    /// The map has been used once more.
    pub(crate) fn reused(&mut self) {
        if let Some((_, reused)) = &mut self.kept {
            *reused += 1;
        }
    }

    /// Keeps a whole evaluation's map, if the cache is on.
    pub(crate) fn keep(&mut self, map: FeatureMap) {
        if self.is_on() {
            self.kept = Some((map, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    fn map(rows: usize) -> FeatureMap {
        FeatureMap::new(&Tensor::zeros((rows, 2, 3, 3), DType::F32, &Device::Cpu).unwrap()).unwrap()
    }

    /// Which evaluations run the whole UNet when they need these rows.
    fn whole(interval: usize, rows: &[usize]) -> Vec<usize> {
        let mut cache = Cache::new(interval);
        let mut whole = Vec::new();
        for (index, &rows) in rows.iter().enumerate() {
            match cache.reusable(rows).unwrap() {
                Some(map) => {
                    assert_eq!(map.batch(), rows);
                    cache.reused();
                }
                None => {
                    whole.push(index);
                    cache.keep(map(rows));
                }
            }
        }
        whole
    }

    #[test]
    fn every_so_many_evaluations_are_whole() {
        assert_eq!(whole(1, &[2; 4]), [0, 1, 2, 3]);
        assert_eq!(whole(2, &[2; 6]), [0, 2, 4]);
        assert_eq!(whole(3, &[1; 8]), [0, 3, 6]);
        assert_eq!(whole(10, &[2; 5]), [0]);
    }

    #[test]
    fn rows_that_are_missing_make_an_evaluation_whole_and_rows_too_many_do_not() {
        assert_eq!(whole(4, &[2, 2, 1, 1, 1, 1]), [0, 4]);
        assert_eq!(whole(4, &[1, 1, 2, 2, 2, 2, 2]), [0, 2, 6]);
        assert_eq!(whole(4, &[1, 1, 2, 2, 1, 1, 1]), [0, 2, 6]);
    }
}
