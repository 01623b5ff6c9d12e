//! The engine with a model that fails on purpose: what a real one does once in a million pictures.

use std::sync::Mutex;

use diffusion_pipeline::Error;
use image::RgbImage;

use super::*;
use crate::params::tests::model as info;

/// What the model saw: sizes of its batches by width.
type Seen = Arc<Mutex<Vec<(usize, usize)>>>;

struct Fake {
    info: ModelInfo,
    seen: Seen,
    /// Is told of every rest.
    rests: mpsc::Sender<()>,
    /// Lets a test hold the engine in the middle of a step.
    gate: Option<mpsc::Receiver<()>>,
    /// The same for the steps of the warm-up.
    warm_up: Option<mpsc::Receiver<()>>,
    pause: Duration,
}

struct FakeJob {
    request: Request,
    done: usize,
}

impl Model for Fake {
    type Job = FakeJob;

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn start(&self, request: &Request) -> Result<FakeJob, Error> {
        match request.prompt.as_str() {
            "panic at start" => panic!("as asked"),
            "wrong" => Err(Error::Request(FieldError { field: "steps", problem: "is wrong".into() })),
            _ => Ok(FakeJob { request: request.clone(), done: 0 }),
        }
    }

    fn step(&self, jobs: &mut [&mut FakeJob]) -> Result<(), Error> {
        if jobs[0].request.prompt != "warm-up" {
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            self.seen.lock().unwrap().push((jobs[0].request.width, jobs.len()));
        } else if let Some(warm_up) = &self.warm_up {
            let _ = warm_up.recv();
        }
        std::thread::sleep(self.pause);
        for job in jobs {
            assert!(job.request.prompt != "panic at step", "as asked");
            job.done += 1;
        }
        Ok(())
    }

    fn finish(&self, job: &mut FakeJob) -> Result<Picture, Error> {
        match job.request.prompt.as_str() {
            "panic at finish" => panic!("as asked"),
            "not finite" => Err(Error::NotFinite { stage: "VAE decoder" }),
            _ => Ok(Picture { pixels: RgbImage::new(job.request.width as u32, job.request.height as u32) }),
        }
    }

    fn preview(&self, job: &FakeJob) -> Result<Picture, Error> {
        assert!(job.request.prompt != "panic at preview", "as asked");
        match job.request.prompt.as_str() {
            "previews are not finite" => Err(Error::NotFinite { stage: "VAE decoder" }),
            _ => Ok(Picture { pixels: RgbImage::new(16, 8) }),
        }
    }

    fn rest(&self) {
        // A test that does not wait for it has no receiver.
        let _ = self.rests.send(());
    }

    fn progress(job: &FakeJob) -> (usize, usize) {
        (job.done, job.request.steps)
    }

    fn timings(_: &FakeJob) -> Timings {
        Timings::default()
    }

    fn warnings(_: &FakeJob) -> Vec<String> {
        Vec::new()
    }
}

const REST_AFTER: Duration = Duration::from_millis(20);

struct Bench {
    engine: Engine,
    thread: Option<JoinHandle<Result<(), EngineError>>>,
    seen: Seen,
    gate: mpsc::Sender<()>,
    rested: mpsc::Receiver<()>,
}

impl Bench {
    /// `gated`: every step waits for a token.
    async fn new(gated: bool, max_queue: usize) -> Self {
        let (gate, receiver) = mpsc::channel();
        let (rests, rested) = mpsc::channel();
        let seen = Seen::default();
        let fake = Fake {
            info: info(),
            seen: Arc::clone(&seen),
            rests,
            gate: gated.then_some(receiver),
            warm_up: None,
            pause: Duration::ZERO,
        };
        let bounds = Bounds { max_queue, max_queue_time: Duration::from_secs(1000) };
        let options = Options { max_batch: 2, bounds, rest_after: REST_AFTER };
        let (engine, thread) = Engine::start(|| Ok(fake), options, Arc::new(Metrics::new("fake"))).unwrap();
        engine.phase().wait_for(|phase| *phase == Phase::Ready).await.unwrap();
        Self { engine, thread: Some(thread), seen, gate, rested }
    }

    fn submit(&self, prompt: &str, width: usize, steps: usize) -> Ticket {
        self.engine.submit(Request { width, steps, ..info().defaults(prompt) }).unwrap()
    }

    fn steps(&self, n: usize) {
        for _ in 0..n {
            self.gate.send(()).unwrap();
        }
    }
}

/// No test may hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

#[tokio::test]
async fn pictures_are_drawn_and_progress_is_told() {
    let bench = Bench::new(false, 10).await;
    let mut ticket = bench.submit("a", 64, 5);
    let drawn = soon(ticket.picture()).await.unwrap();
    assert_eq!(drawn.picture.pixels.dimensions(), (64, 64));
    assert_eq!(*ticket.progress().borrow(), Progress { started: true, done: 5, total: 5 });
    soon(bench.engine.idle()).await;
    assert_eq!(bench.engine.unfinished(), 0);
}

#[tokio::test]
async fn an_engine_without_requests_rests_once_until_the_next_one() {
    let bench = Bench::new(false, 10).await;
    bench.rested.recv_timeout(Duration::from_secs(20)).unwrap();
    for _ in 0..2 {
        soon(bench.submit("a", 64, 5).picture()).await.unwrap();
        bench.rested.recv_timeout(Duration::from_secs(20)).unwrap();
        // What is awaited is that nothing comes.
        assert!(bench.rested.recv_timeout(5 * REST_AFTER).is_err());
    }
}

#[tokio::test]
async fn previews_wait_for_those_who_read_them_and_the_engine_does_not() {
    let bench = Bench::new(false, 10).await;
    let request = Request { steps: 40, ..info().defaults("a") };
    let mut ticket = bench.engine.submit_with_previews(request.clone(), 20).unwrap();
    // Nobody has read a preview when the picture is there.
    let drawn = soon(ticket.picture()).await.unwrap();
    assert!(drawn.previews > Duration::ZERO);
    let mut previews = ticket.previews();
    let mut read = Vec::new();
    while let Some(preview) = soon(previews.recv()).await {
        assert_eq!((preview.width, preview.height, preview.total), (16, 8, 40));
        assert_eq!(image::load_from_memory(&preview.file).unwrap().to_rgb8().dimensions(), (16, 8));
        read.push(preview.done);
    }
    assert_eq!(read, (1..=20).map(|n| (n * 40usize).div_ceil(21)).collect::<Vec<_>>());
    assert!(soon(ticket.previews().recv()).await.is_none(), "they come once");

    let mut without = bench.engine.submit(request).unwrap();
    assert_eq!(soon(without.picture()).await.unwrap().previews, Duration::ZERO);
    assert!(soon(without.previews().recv()).await.is_none());

    assert!(bench.engine.shared.metrics.text().contains("diffusion_preview_seconds_count 20"));
}

#[tokio::test]
async fn previews_that_nobody_wants_are_not_drawn() {
    // The gate holds the first step until the reader has left.
    let bench = Bench::new(true, 10).await;
    let request = Request { steps: 40, ..info().defaults("a") };
    let mut careless = bench.engine.submit_with_previews(request, 20).unwrap();
    drop(careless.previews());
    bench.steps(40);
    assert_eq!(soon(careless.picture()).await.unwrap().previews, Duration::ZERO);
    assert!(bench.engine.shared.metrics.text().contains("diffusion_preview_seconds_count 0"));
}

#[tokio::test]
async fn a_preview_that_fails_costs_no_picture() {
    let bench = Bench::new(false, 10).await;
    for prompt in ["previews are not finite", "panic at preview"] {
        let request = Request { steps: 5, ..info().defaults(prompt) };
        let mut ticket = loop {
            match bench.engine.submit_with_previews(request.clone(), 3) {
                Ok(ticket) => break ticket,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(soon(ticket.picture()).await.unwrap().picture.pixels.dimensions(), (64, 64));
        assert!(soon(ticket.previews().recv()).await.is_none(), "{prompt}");
    }
    assert!(bench.engine.shared.metrics.text().contains("diffusion_panics_total 1"));
}

#[tokio::test]
async fn one_size_goes_together_and_sizes_take_turns() {
    let bench = Bench::new(true, 10).await;
    let mut tickets: Vec<_> = [64, 64, 64, 32].into_iter().map(|width| bench.submit("a", width, 2)).collect();
    bench.steps(20);
    for ticket in &mut tickets {
        soon(ticket.picture()).await.unwrap();
    }
    let seen = bench.seen.lock().unwrap().clone();
    let big: Vec<_> = seen.iter().filter(|(width, _)| *width == 64).map(|(_, n)| *n).collect();
    // The engine may have begun before the second one came, but never more than two go together.
    assert!(big.contains(&2) && big.iter().all(|n| *n <= 2), "{seen:?}");
    let first_small = seen.iter().position(|(width, _)| *width == 32).unwrap();
    let last_big = seen.iter().rposition(|(width, _)| *width == 64).unwrap();
    assert!(first_small < last_big, "the small one waited for all big ones: {seen:?}");
}

#[tokio::test]
async fn a_dropped_ticket_leaves_at_the_next_step() {
    let bench = Bench::new(true, 2).await;
    let dropped = bench.submit("a", 64, 1000);
    let mut progress = dropped.progress();
    bench.steps(1);
    soon(progress.wait_for(|p| p.done == 1)).await.unwrap();
    let waiting = bench.submit("b", 32, 1000);
    assert!(matches!(bench.engine.submit(info().defaults("c")), Err(Refused::Full { .. })));
    drop((dropped, waiting));
    // The places are free at once, though the engine is still in a step.
    assert_eq!(bench.engine.unfinished(), 0);
    let mut next = bench.submit("c", 64, 1);
    bench.steps(3);
    soon(next.picture()).await.unwrap();
    assert!(bench.seen.lock().unwrap().len() <= 3);
    assert!(bench.engine.shared.metrics.text().contains("diffusion_cancelled_total 2"));
}

#[tokio::test]
async fn a_panic_or_error_fails_its_own_requests_and_the_engine_goes_on() {
    let bench = Bench::new(false, 10).await;
    for (prompt, word) in [
        ("panic at start", "bug in the server"),
        ("panic at step", "bug in the server"),
        ("panic at finish", "bug in the server"),
        ("not finite", "not finite"),
        ("wrong", "steps: is wrong"),
    ] {
        let failure = soon(bench.submit(prompt, 64, 2).picture()).await.unwrap_err();
        assert!(failure.to_string().contains(word), "{prompt}: {failure}");
        soon(bench.engine.phase().wait_for(|phase| *phase == Phase::Ready)).await.unwrap();
        while bench.engine.ready().is_err() {
            tokio::task::yield_now().await;
        }
        loop {
            // A panic's test picture may just be on the way.
            match bench.engine.submit(Request { steps: 1, ..info().defaults("after") }) {
                Ok(mut ticket) => break assert!(soon(ticket.picture()).await.is_ok()),
                Err(refused) => assert!(matches!(refused, Refused::NotReady { .. }), "{refused}"),
            }
        }
    }
    assert!(bench.engine.shared.metrics.text().contains("diffusion_panics_total 3"));
}

#[tokio::test]
async fn it_is_ready_when_a_picture_was_drawn_and_not_before() {
    let (gate, warm_up) = mpsc::channel();
    let fake = Fake {
        info: info(),
        seen: Seen::default(),
        rests: mpsc::channel().0,
        gate: None,
        warm_up: Some(warm_up),
        pause: Duration::ZERO,
    };
    let bounds = Bounds { max_queue: 1, max_queue_time: Duration::from_secs(1) };
    let options = Options { max_batch: 1, bounds, rest_after: REST_AFTER };
    let (engine, _thread) = Engine::start(|| Ok(fake), options, Arc::new(Metrics::new("fake"))).unwrap();
    let mut phase = engine.phase();
    soon(phase.wait_for(|phase| *phase == Phase::WarmingUp)).await.unwrap();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(*phase.borrow(), Phase::WarmingUp);
        assert!(engine.ready().is_err() && engine.estimate(&info().defaults("a")).is_none());
        assert!(matches!(engine.submit(info().defaults("a")), Err(Refused::NotReady { .. })));
        gate.send(()).unwrap();
    }
    soon(phase.wait_for(|phase| *phase == Phase::Ready)).await.unwrap();
    assert!(engine.ready().is_ok() && engine.estimate(&info().defaults("a")).is_some());
}

#[tokio::test]
async fn who_comes_as_draining_begins_is_served_or_refused_and_never_forgotten() {
    for _ in 0..30 {
        let bench = Bench::new(false, 1000).await;
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let engine = bench.engine.clone();
                std::thread::spawn(move || {
                    let mut tickets = Vec::new();
                    loop {
                        match engine.submit(Request { steps: 1, ..info().defaults("a") }) {
                            Ok(ticket) => tickets.push(ticket),
                            Err(Refused::Draining { .. }) => return tickets,
                            Err(_) => std::thread::yield_now(),
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(2)).await;
        bench.engine.drain();
        let mut accepted = Vec::new();
        for client in clients {
            accepted.extend(client.join().unwrap());
        }
        // The places of those that were refused at the last moment are free: there is nobody to wait for in vain.
        soon(bench.engine.idle()).await;
        for ticket in &mut accepted {
            assert!(soon(ticket.picture()).await.is_ok());
        }
    }
}

#[tokio::test]
async fn draining_finishes_what_is_inside_and_lets_nothing_in() {
    let bench = Bench::new(true, 10).await;
    let mut ticket = bench.submit("a", 64, 3);
    bench.engine.drain();
    let refused = bench.engine.submit(info().defaults("b")).err().unwrap();
    assert!(matches!(refused, Refused::Draining { .. }) && refused.retry_after() >= 1);
    bench.steps(3);
    soon(bench.engine.idle()).await;
    assert!(soon(ticket.picture()).await.is_ok());
}

#[tokio::test]
async fn a_load_that_fails_or_panics_ends_the_thread_and_says_why() {
    let options = || {
        let bounds = Bounds { max_queue: 1, max_queue_time: Duration::from_secs(1) };
        Options { max_batch: 1, bounds, rest_after: REST_AFTER }
    };
    let metrics = Arc::new(Metrics::new("fake"));
    let wrong = || Err(LoadError::Source { given: "x".into(), problem: "is not there".into() });
    let (engine, thread) = Engine::start::<Fake, _>(wrong, options(), Arc::clone(&metrics)).unwrap();
    assert!(thread.join().unwrap().unwrap_err().to_string().contains("is not there"));
    let refused = engine.submit(info().defaults("a")).err().unwrap().to_string();
    assert!(refused.contains("is not there"), "{refused}");

    let (engine, thread) = Engine::start::<Fake, _>(|| panic!("as asked"), options(), metrics).unwrap();
    assert!(thread.join().unwrap().unwrap_err().to_string().contains("as asked"));
    assert!(engine.ready().is_err());
}

#[tokio::test]
async fn when_all_handles_are_gone_the_thread_ends() {
    let mut bench = Bench::new(false, 10).await;
    let mut ticket = bench.submit("a", 64, 3);
    let thread = bench.thread.take().unwrap();
    drop(bench);
    assert!(soon(ticket.picture()).await.is_ok());
    soon(tokio::task::spawn_blocking(|| thread.join().unwrap().unwrap())).await.unwrap();
}
