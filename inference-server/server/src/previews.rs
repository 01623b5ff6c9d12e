//! When previews of a picture are drawn.

/// The most that one picture may have.
pub(crate) const MOST: u64 = 20;

/// Whether a preview is due after `done` of `total` evaluations, when `count` are wanted. They are spread evenly, none at the
/// end, where the picture itself comes; where there are fewer evaluations, every one but the last has one.
pub(crate) fn is_due(done: usize, total: usize, count: usize) -> bool {
    // In parts of the walk, one more than there are previews: one is due where a part has just ended.
    let parts = |done: usize| done.saturating_mul(count + 1) / total.max(1);
    0 < count && 0 < done && done < total && parts(done) > parts(done - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due(total: usize, count: usize) -> Vec<usize> {
        (0..=total).filter(|done| is_due(*done, total, count)).collect()
    }

    #[test]
    fn they_are_spread_evenly() {
        assert!(due(20, 0).is_empty());
        assert_eq!(due(20, 1), [10]);
        assert_eq!(due(20, 3), [5, 10, 15]);
        assert_eq!(due(51, 3), [13, 26, 39]);
        assert_eq!(due(4, 3), [1, 2, 3]);
        assert_eq!(due(4, 20), [1, 2, 3]);
        assert!(due(1, 5).is_empty());
        assert!(due(0, 5).is_empty());
    }

    proptest! {
        #[test]
        fn there_are_as_many_as_were_wanted(total in 1usize..1100, count in 0usize..=20) {
            let due = due(total, count);
            prop_assert_eq!(due.len(), count.min(total - 1));
            let gaps = due.windows(2).map(|pair| pair[1] - pair[0]);
            let even = total / (count + 1);
            prop_assert!(gaps.clone().all(|gap| gap >= even.max(1) && gap <= even + 1), "{:?}", due);
        }
    }
}
