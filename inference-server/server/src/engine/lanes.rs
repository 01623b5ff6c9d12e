//! Who is next: one lane for each size, because only pictures of one size can be advanced together.
//!
//! Lanes share the machine evenly: the one that has had the least work done goes next (stride scheduling). Within a lane it
//! is first come, first served, `max_batch` at a time.

use std::collections::{BTreeMap, VecDeque};

use super::Order;

/// Width and height.
pub(super) type Size = (usize, usize);

/// A request that is being drawn.
pub(super) struct Active<J> {
    pub(super) order: Order,
    pub(super) job: J,
    pub(super) queued: std::time::Duration,
    /// Time that went into its previews.
    pub(super) previews: std::time::Duration,
}

pub(super) struct Lane<J> {
    pub(super) waiting: VecDeque<Order>,
    pub(super) active: Vec<Active<J>>,
    served: f64,
}

pub(super) struct Lanes<J> {
    lanes: BTreeMap<Size, Lane<J>>,
}

impl<J> Lanes<J> {
    pub(super) fn new() -> Self {
        Self { lanes: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(super) fn push(&mut self, order: Order) {
        // A new lane starts where the others are, or it would hold them up until it has caught up.
        let served = self.lanes.values().map(|lane| lane.served).reduce(f64::min).unwrap_or(0.0);
        let new = || Lane { waiting: VecDeque::new(), active: Vec::new(), served };
        let size = (order.request.width, order.request.height);
        self.lanes.entry(size).or_insert_with(new).waiting.push_back(order);
    }

    /// Takes out those whose ticket was dropped, and says how many.
    pub(super) fn drop_cancelled(&mut self) -> usize {
        let before = self.len();
        for lane in self.lanes.values_mut() {
            lane.waiting.retain(|order| !order.reply.is_closed());
            lane.active.retain(|active| !active.order.reply.is_closed());
        }
        let dropped = before - self.len();
        self.lanes.retain(|_, lane| !(lane.waiting.is_empty() && lane.active.is_empty()));
        dropped
    }

    /// The lane to go on with.
    pub(super) fn next(&mut self) -> Option<&mut Lane<J>> {
        self.lanes.values_mut().min_by(|a, b| a.served.total_cmp(&b.served))
    }

    /// Everything, for when the engine ends.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Order> {
        let lanes = std::mem::take(&mut self.lanes);
        lanes.into_values().flat_map(|lane| {
            lane.waiting.into_iter().chain(lane.active.into_iter().map(|active| active.order))
        })
    }

    fn len(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len() + lane.active.len()).sum()
    }
}

impl<J> Lane<J> {
    /// Writes down the work that was done for this lane.
    pub(super) fn serve(&mut self, work: f64) {
        self.served += work;
    }
}
