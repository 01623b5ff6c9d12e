//! The thread's loop: take in, choose a size, begin, step, finish.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use diffusion_pipeline::{Error, ImageFormat, LoadError, Request};

use super::estimate::{Work, per_evaluation, pixels};
use super::lanes::{Active, Lane, Lanes};
use super::{Drawn, EngineError, Failure, Model, Options, Order, Phase, Preview, Progress, Shared};
use crate::previews::is_due;

/// Steps of the warm-up picture: every part of the model runs, and the second step is no longer a cold one.
const WARM_UP_STEPS: usize = 2;

pub(super) fn run<M: Model>(
    load: impl FnOnce() -> Result<M, LoadError>,
    options: &Options,
    shared: Arc<Shared>,
    orders: Receiver<Order>,
) -> Result<(), EngineError> {
    let began = Instant::now();
    let model = {
        let _busy = shared.status.busy();
        guarded(load).map_err(EngineError::Thread)??
    };
    let info = shared.info.get_or_init(|| model.info().clone()).clone();
    tracing::info!(model = info.name, parameters = info.parameters, seconds = seconds(began), "model loaded");
    let mut worker = Worker {
        model,
        shared,
        max_batch: options.max_batch.max(1),
        rest_after: options.rest_after,
        lanes: Lanes::new(),
        panicked: false,
    };
    let request = Request { steps: WARM_UP_STEPS, ..info.defaults("warm-up") };
    worker.warm_up(&request, Phase::WarmingUp)?;
    tracing::info!(seconds = seconds(began), "ready");
    let end = worker.serve(&request, &orders);
    for order in worker.lanes.drain().chain(orders.try_iter()) {
        order.fail(Failure::Stopped);
    }
    end
}

struct Worker<M: Model> {
    model: M,
    shared: Arc<Shared>,
    max_batch: usize,
    rest_after: Duration,
    lanes: Lanes<M::Job>,
    panicked: bool,
}

impl<M: Model> Worker<M> {
    fn serve(&mut self, test_picture: &Request, orders: &Receiver<Order>) -> Result<(), EngineError> {
        loop {
            if self.lanes.is_empty() {
                // All handles gone: the end.
                let Some(order) = self.wait(orders) else { return Ok(()) };
                self.lanes.push(order);
            }
            for order in orders.try_iter() {
                self.lanes.push(order);
            }
            let cancelled = self.lanes.drop_cancelled();
            self.shared.metrics.cancelled(cancelled);
            if let Some(lane) = self.lanes.next() {
                let mut turn = Turn { model: &self.model, shared: &self.shared, panicked: false };
                turn.begin(lane, self.max_batch);
                turn.step(lane);
                turn.preview(lane);
                turn.finish(lane);
                self.panicked = turn.panicked;
            }
            if std::mem::take(&mut self.panicked) {
                self.warm_up(test_picture, Phase::Recovering)?;
            }
        }
    }

    /// The next order; none will come when all who could place one are gone.
    fn wait(&self, orders: &Receiver<Order>) -> Option<Order> {
        match orders.recv_timeout(self.rest_after) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => {
                self.model.rest();
                orders.recv().ok()
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Draws a picture, which also tells how fast this machine is.
    fn warm_up(&self, request: &Request, phase: Phase) -> Result<(), EngineError> {
        self.shared.status.set(phase);
        let _busy = self.shared.status.busy();
        let model = &self.model;
        let draw = || {
            let began = Instant::now();
            let mut job = model.start(request)?;
            let mut coded = began.elapsed();
            let mut step = Duration::ZERO;
            while !is_done::<M>(&job) {
                let began = Instant::now();
                model.step(&mut [&mut job])?;
                step = began.elapsed();
            }
            let began = Instant::now();
            model.finish(&mut job)?;
            coded += began.elapsed();
            let began = Instant::now();
            // A model whose previews fail still draws pictures.
            let preview = preview(model, &job).is_ok().then(|| began.elapsed());
            Ok::<_, Error>((coded, step, preview))
        };
        let (coded, step, preview) = guarded(draw)
            .map_err(EngineError::WarmUp)?
            .map_err(|error| EngineError::WarmUp(error.to_string()))?;
        self.shared.ledger.measured(|rates| {
            rates.stepped(per_evaluation(request), step);
            rates.coded(pixels(request), coded);
            if let Some(preview) = preview {
                rates.previewed(pixels(request), preview);
            }
        });
        self.shared.status.set(Phase::Ready);
        Ok(())
    }
}

/// One round with one lane.
struct Turn<'a, M: Model> {
    model: &'a M,
    shared: &'a Shared,
    panicked: bool,
}

impl<M: Model> Turn<'_, M> {
    /// Fills the lane's batch from those that wait.
    fn begin(&mut self, lane: &mut Lane<M::Job>, max_batch: usize) {
        while lane.active.len() < max_batch {
            let Some(order) = lane.waiting.pop_front() else { return };
            let queued = order.accepted.elapsed();
            match self.call(|model| model.start(&order.request)) {
                Ok(job) => {
                    let active = Active { order, job, queued, previews: Duration::ZERO };
                    active.tell::<M>();
                    lane.active.push(active);
                }
                Err(failure) => order.fail(failure),
            }
        }
    }

    /// Advances the lane's batch by one evaluation.
    fn step(&mut self, lane: &mut Lane<M::Job>) {
        let mut batch: Vec<&mut Active<M::Job>> =
            lane.active.iter_mut().filter(|active| !is_done::<M>(&active.job)).collect();
        if batch.is_empty() {
            return;
        }
        let work: f64 = batch.iter().map(|active| per_evaluation(&active.order.request)).sum();
        let size = batch.len();
        let began = Instant::now();
        let mut jobs: Vec<&mut M::Job> = batch.iter_mut().map(|active| &mut active.job).collect();
        let result = self.call(|model| model.step(&mut jobs));
        let time = began.elapsed();
        match result {
            Ok(()) => {
                self.shared.ledger.measured(|rates| rates.stepped(work, time));
                self.shared.metrics.stepped(size, time);
                for active in batch {
                    active.tell::<M>();
                }
            }
            // Nobody knows what state they are in.
            Err(failure) => {
                for active in lane.active.drain(..) {
                    active.order.fail(failure.clone());
                }
            }
        }
        lane.serve(work);
    }

    /// Hands out the previews that are due after a step.
    fn preview(&mut self, lane: &mut Lane<M::Job>) {
        for active in &mut lane.active {
            let (done, total) = M::progress(&active.job);
            let Order { previews, ref preview, .. } = active.order;
            if !is_due(done, total, previews) || preview.is_closed() {
                continue;
            }
            let began = Instant::now();
            let drawn = self.call(|model| self::preview(model, &active.job));
            let time = began.elapsed();
            active.previews += time;
            match drawn {
                Ok((file, (width, height))) => {
                    self.shared.ledger.measured(|rates| rates.previewed(pixels(&active.order.request), time));
                    self.shared.metrics.previewed(time);
                    // There is room; if nobody is there any more, nobody misses it.
                    let _ = active.order.preview.try_send(Preview { file, width, height, done, total });
                }
                Err(_) => {
                    tracing::warn!("that was a preview: the picture is drawn without any more of them");
                    active.order.previews = 0;
                }
            }
        }
    }

    /// Decodes and hands out those that are done.
    fn finish(&mut self, lane: &mut Lane<M::Job>) {
        let mut index = 0;
        while let Some(active) = lane.active.get(index) {
            if !is_done::<M>(&active.job) {
                index += 1;
                continue;
            }
            let Active { order, mut job, queued, previews } = lane.active.remove(index);
            if order.reply.is_closed() {
                self.shared.metrics.cancelled(1);
                continue;
            }
            match self.call(|model| model.finish(&mut job)) {
                Ok(picture) => {
                    let (timings, warnings) = (M::timings(&job), M::warnings(&job));
                    self.hand_out(order, Drawn { picture, queued, timings, previews, warnings });
                }
                Err(failure) => order.fail(failure),
            }
        }
    }

    fn hand_out(&self, order: Order, drawn: Drawn) {
        let timings = drawn.timings;
        self.shared
            .ledger
            .measured(|rates| rates.coded(pixels(&order.request), timings.text + timings.decode));
        self.shared.metrics.drawn(order.accepted.elapsed());
        order.answer(Ok(drawn));
    }

    /// Calls the model; a panic becomes a failure of this call's requests and of no others.
    fn call<T>(&mut self, call: impl FnOnce(&M) -> Result<T, Error>) -> Result<T, Failure> {
        let _busy = self.shared.status.busy();
        match guarded(|| call(self.model)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Error::Request(problem))) => Err(Failure::Request(problem)),
            Ok(Err(error)) => {
                tracing::error!(%error, "a picture failed");
                Err(Failure::Pipeline(error.to_string()))
            }
            Err(panic) => {
                tracing::error!(panic, "the pipeline panicked");
                self.shared.metrics.panicked();
                self.panicked = true;
                Err(Failure::Panicked)
            }
        }
    }
}

/// A preview as a JPEG, and its width and height.
fn preview<M: Model>(model: &M, job: &M::Job) -> Result<(Vec<u8>, (u32, u32)), Error> {
    let picture = model.preview(job)?;
    Ok((picture.encode(ImageFormat::Jpeg, None)?, picture.pixels.dimensions()))
}

fn is_done<M: Model>(job: &M::Job) -> bool {
    let (done, total) = M::progress(job);
    done >= total
}

impl<J> Active<J> {
    /// Tells the ticket and the ledger how far the job is.
    fn tell<M: Model<Job = J>>(&self) {
        let (done, total) = M::progress(&self.job);
        let left = per_evaluation(&self.order.request) * total.saturating_sub(done) as f64;
        let pixels = pixels(&self.order.request);
        let previews = (done..total).filter(|done| is_due(*done, total, self.order.previews)).count();
        self.order.permit.set(Work { steps: left, pixels, previews: pixels * previews as f64 });
        self.order.progress.send_replace(Progress { started: true, done, total });
    }
}

impl Order {
    fn fail(self, failure: Failure) {
        self.answer(Err(failure));
    }

    fn answer(self, answer: Result<Drawn, Failure>) {
        let Self { reply, permit, .. } = self;
        // If the ticket is gone, nobody wants the answer.
        let _ = reply.send(answer);
        permit.release();
    }
}

fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    // What a panic leaves half done is a job, and that is thrown away.
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without words".into())
    })
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}
