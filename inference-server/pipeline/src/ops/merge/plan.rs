//! Which tokens go together, from which tokens are similar.

/// The most similar destination of a source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Nearest {
    /// Index into [`Split::destinations`].
    pub destination: usize,
    /// How similar they are, more for a larger number.
    pub score: f32,
}

/// The tokens of a map, by their index: those that others may be merged into, one of every whole cell of 2 x 2, and the
/// rest. It is the cell's top left one: the paper's choice at random would have to be the same in every batch.
#[derive(Debug)]
pub(super) struct Split {
    pub sources: Vec<u32>,
    pub destinations: Vec<u32>,
}

impl Split {
    pub(super) fn of(height: usize, width: usize) -> Self {
        let leads = |i: usize, side: usize| i.is_multiple_of(2) && i + 1 < side;
        let is_destination =
            |&token: &u32| leads(token as usize / width, height) && leads(token as usize % width, width);
        let (destinations, sources) = (0..(height * width) as u32).partition(is_destination);
        Self { sources, destinations }
    }

    fn tokens(&self) -> usize {
        self.sources.len() + self.destinations.len()
    }

    /// How many tokens are merged into others when it is to be a part `ratio` of all: none without destinations.
    pub(super) fn removed(&self, ratio: f64) -> usize {
        match self.destinations.is_empty() {
            true => 0,
            false => ((self.tokens() as f64 * ratio) as usize).min(self.sources.len()),
        }
    }
}

/// Where every token of a row goes.
#[derive(Debug)]
pub(super) struct Plan {
    /// Index among the tokens that are left, which stay in their order.
    pub place: Vec<u32>,
    kept: usize,
}

impl Plan {
    /// Merges the `removed` sources that are most similar to a destination; of two that are as similar, the first. There is
    /// one of `nearest` for every source.
    pub(super) fn new(split: &Split, nearest: &[Nearest], removed: usize) -> Self {
        let mut pairs: Vec<(u32, Nearest)> =
            split.sources.iter().copied().zip(nearest.iter().copied()).collect();
        pairs.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        // Of every token, the one that it becomes part of: first of all itself.
        let mut into: Vec<u32> = (0..split.tokens() as u32).collect();
        for (source, Nearest { destination, .. }) in pairs.iter().take(removed) {
            if let (Some(into), Some(token)) =
                (into.get_mut(*source as usize), split.destinations.get(*destination))
            {
                *into = *token;
            }
        }
        // A token's place is the number of tokens before it that stay.
        let mut kept = 0;
        let before: Vec<u32> = (into.iter().enumerate())
            .map(|(token, &into)| {
                let place = kept;
                kept += u32::from(into as usize == token);
                place
            })
            .collect();
        let place = into.iter().map(|&into| before.get(into as usize).copied().unwrap_or_default()).collect();
        Self { place, kept: kept as usize }
    }

    /// The tokens of each that is left.
    pub(super) fn groups(&self) -> Vec<Vec<u32>> {
        let mut groups = vec![Vec::with_capacity(1); self.kept];
        for (token, &place) in self.place.iter().enumerate() {
            if let Some(group) = groups.get_mut(place as usize) {
                group.push(token as u32);
            }
        }
        groups
    }

    /// How many tokens each that is left was made of.
    pub(super) fn counts(&self) -> Vec<f32> {
        self.groups().iter().map(|group| group.len() as f32).collect()
    }
}
