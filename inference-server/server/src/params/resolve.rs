//! From [`Fields`] to a request that this model and these limits allow.

use diffusion_pipeline::{ModelInfo, Request, SchedulerKind};

use super::numbers::short;
use super::{Defaults, FieldProblem, Fields, Limits, nearest};
use crate::previews;

/// How much of a picture is replaced when the request does not say; diffusers' default.
const STRENGTH: f64 = 0.8;
/// Above this, pictures are noise; the bound only keeps nonsense out.
const MAX_GUIDANCE: f64 = 1000.0;

/// A request that was checked, with what the pipeline does not need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// What to draw; [`Request::init`] is still empty.
    pub request: Request,
    /// The file to start from, not decoded yet, and how much of it is replaced.
    pub image: Option<(Vec<u8>, f64)>,
    /// Whether the picture carries its parameters.
    pub metadata: bool,
    /// How many previews are wanted while it is drawn.
    pub previews: usize,
}

/// Checks `fields` and fills in what they do not say. `random_seed` is used when they have no seed.
///
/// # Errors
/// Every field that cannot be used.
pub fn resolve(
    fields: Fields,
    model: &ModelInfo,
    limits: &Limits,
    defaults: &Defaults,
    random_seed: u64,
) -> Result<Drawing, Vec<FieldProblem>> {
    let mut check = Check { problems: Vec::new() };
    let prompt = check.prompt("prompt", fields.prompt, limits);
    let negative = fields.negative_prompt.or_else(|| defaults.negative_prompt.clone());
    let negative = check.prompt("negative_prompt", Some(negative.unwrap_or_default()), limits);

    let steps = fields.steps.or(defaults.steps).unwrap_or(model.steps as u64);
    let most = limits.steps.min(model.train_timesteps as u64);
    if steps == 0 || steps > most {
        check.add("steps", format!("must be from 1 to {most}, got {steps}"));
    }
    let guidance = fields.guidance_scale.or(defaults.guidance_scale).unwrap_or(model.guidance_scale);
    check.range("guidance_scale", guidance, 0.0, MAX_GUIDANCE);
    let rescale = fields.guidance_rescale.unwrap_or(0.0);
    check.range("guidance_rescale", rescale, 0.0, 1.0);
    let start = fields.guidance_start.unwrap_or(0.0);
    let end = fields.guidance_end.unwrap_or(1.0);
    check.interval(start, end);
    let cache_interval = fields.cache_interval.unwrap_or(1);
    let most = Request::MAX_CACHE_INTERVAL;
    if cache_interval == 0 || cache_interval > most as u64 {
        check.add("cache_interval", format!("must be from 1 (off) to {most}, got {cache_interval}"));
    }
    let token_merging = fields.token_merging.unwrap_or(0.0);
    check.range("token_merging", token_merging, 0.0, Request::MAX_TOKEN_MERGING);
    let eta = fields.eta.unwrap_or(0.0);
    check.range("eta", eta, 0.0, 1.0);

    let width = fields.width.or(defaults.width).unwrap_or(model.width as u64);
    let height = fields.height.or(defaults.height).unwrap_or(model.height as u64);
    let multiple = (model.size_multiple as u64).max(1);
    let sides = check.side("width", width, multiple, limits) & check.side("height", height, multiple, limits);
    if sides && width.saturating_mul(height) > limits.pixels {
        let problem =
            format!("{width} x {height} pixels are more than the {} that are allowed", limits.pixels);
        check.add("width", problem);
    }

    let scheduler = match fields.scheduler {
        Some(name) => check.scheduler(&name, model),
        None => defaults.scheduler,
    };
    let strength = fields.strength.unwrap_or(STRENGTH);
    if fields.strength.is_some() && fields.image.is_none() {
        check.add(
            "strength",
            "needs an image to start from: send \"image\" too, or leave strength out".into(),
        );
    } else if !(strength > 0.0 && strength <= 1.0) {
        check.add("strength", format!("must be above 0 and at most 1, got {strength}"));
    }
    if fields.image.is_some() && !model.image_to_image {
        check.add(
            "image",
            format!("the model {} has no VAE encoder, so it cannot start from one", model.name),
        );
    }

    let previews = fields.previews.unwrap_or(0);
    if previews > previews::MOST {
        check.add("previews", format!("must be from 0 to {}, got {previews}", previews::MOST));
    }

    if !check.problems.is_empty() {
        return Err(check.problems);
    }
    let request = Request {
        prompt,
        negative_prompt: negative,
        seed: fields.seed.unwrap_or(random_seed),
        steps: steps as usize,
        guidance_scale: guidance,
        guidance_rescale: rescale,
        guidance_start: start,
        guidance_end: end,
        cache_interval: cache_interval as usize,
        token_merging,
        width: width as usize,
        height: height as usize,
        scheduler,
        karras: fields.karras,
        eta,
        init: None,
    };
    let image = fields.image.map(|file| (file, strength));
    let metadata = defaults.metadata.unwrap_or(true) && fields.metadata.unwrap_or(true);
    Ok(Drawing { request, image, metadata, previews: previews as usize })
}

struct Check {
    problems: Vec<FieldProblem>,
}

impl Check {
    fn add(&mut self, field: &str, problem: String) {
        self.problems.push(FieldProblem::new(field, problem));
    }

    fn prompt(&mut self, field: &str, text: Option<String>, limits: &Limits) -> String {
        let Some(text) = text else {
            self.add(field, "is required: say what to draw".into());
            return String::new();
        };
        // Bytes are an upper bound of characters, and cheap.
        if text.len() > limits.prompt_chars {
            let chars = text.chars().count();
            if chars > limits.prompt_chars {
                let most = limits.prompt_chars;
                self.add(field, format!("has {chars} characters; at most {most} are allowed"));
            }
        }
        text
    }

    fn range(&mut self, field: &str, value: f64, least: f64, most: f64) -> bool {
        let inside = (least..=most).contains(&value);
        if !inside {
            self.add(field, format!("must be from {least} to {most}, got {value}"));
        }
        inside
    }

    /// The part of the evaluations that is guided must not be empty.
    fn interval(&mut self, start: f64, end: f64) {
        let both = self.range("guidance_start", start, 0.0, 1.0) & self.range("guidance_end", end, 0.0, 1.0);
        if both && start >= end {
            let problem = format!(
                "must be above guidance_start, which is {start}, got {end}; guidance_scale 1 turns guidance off"
            );
            self.add("guidance_end", problem);
        }
    }

    /// A side must be a positive multiple, and alone no longer than the pixels allow.
    fn side(&mut self, field: &str, value: u64, multiple: u64, limits: &Limits) -> bool {
        let longest = (limits.pixels / multiple / multiple).saturating_mul(multiple);
        let below = value / multiple * multiple;
        let problem = if value > longest {
            format!("must be at most {longest} pixels, got {value}")
        } else if value == 0 {
            format!("must be a multiple of {multiple} pixels above 0, got 0")
        } else if below == value {
            return true;
        } else if below == 0 {
            format!("must be a multiple of {multiple} pixels, got {value}; the nearest is {multiple}")
        } else {
            let above = below.saturating_add(multiple);
            format!(
                "must be a multiple of {multiple} pixels, got {value}; the nearest are {below} and {above}"
            )
        };
        self.add(field, problem);
        false
    }

    fn scheduler(&mut self, name: &str, model: &ModelInfo) -> Option<SchedulerKind> {
        let found = model.schedulers.iter().find(|kind| kind.name() == name);
        if found.is_none() {
            let names: Vec<_> = model.schedulers.iter().map(|kind| kind.name()).collect();
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("; did you mean {near:?}?"),
                None => String::new(),
            };
            let problem = format!(
                "there is no scheduler {:?}; expected one of {}{hint}",
                short(name),
                names.join(", ")
            );
            self.add("scheduler", problem);
        }
        found.copied()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use diffusion_pipeline::Precision;
    use proptest::prelude::*;

    use super::super::{list, parse};
    use super::*;

    pub(crate) fn model() -> ModelInfo {
        ModelInfo {
            name: "tiny".into(),
            scheduler: SchedulerKind::Pndm,
            schedulers: SchedulerKind::ALL.into(),
            width: 64,
            height: 64,
            size_multiple: 8,
            steps: 20,
            guidance_scale: 7.5,
            max_tokens: 77,
            train_timesteps: 1000,
            image_to_image: true,
            parameters: 1,
            precision: Precision::F32,
        }
    }

    fn check(json: &str) -> Result<Drawing, String> {
        let fields = parse(json.as_bytes()).map_err(|e| e.to_string())?;
        resolve(fields, &model(), &Limits::default(), &Defaults::default(), 42).map_err(|e| list(&e))
    }

    #[test]
    fn what_is_not_said_comes_from_the_model() {
        let drawing = check(r#"{"prompt": "a cat"}"#).unwrap();
        assert_eq!(drawing.request, Request { seed: 42, ..model().defaults("a cat") });
        assert!(drawing.metadata && drawing.image.is_none() && drawing.previews == 0);
    }

    #[test]
    fn defaults_of_the_server_come_before_the_models_and_after_the_requests() {
        let defaults = Defaults {
            negative_prompt: Some("blur".into()),
            steps: Some(5),
            guidance_scale: Some(3.0),
            width: Some(32),
            height: Some(40),
            scheduler: Some(SchedulerKind::Ddim),
            metadata: Some(false),
        };
        let fields = parse(br#"{"prompt": "a", "steps": 7, "metadata": true}"#).unwrap();
        let drawing = resolve(fields, &model(), &Limits::default(), &defaults, 1).unwrap();
        let r = &drawing.request;
        assert_eq!((r.steps, r.width, r.height, r.guidance_scale), (7, 32, 40, 3.0));
        assert_eq!((r.negative_prompt.as_str(), r.scheduler), ("blur", Some(SchedulerKind::Ddim)));
        assert!(!drawing.metadata, "a server that leaves parameters out is not overruled");
    }

    #[test]
    fn what_cannot_be_drawn_names_field_limit_and_way_out() {
        let long = format!(r#"{{"prompt": {:?}}}"#, "é".repeat(10_001));
        for (json, word) in [
            (r#"{}"#, "prompt: is required"),
            (r#"{"prompt": null}"#, "prompt: is required"),
            (&long, "prompt: has 10001 characters; at most 10000"),
            (r#"{"prompt": "", "steps": 0}"#, "steps: must be from 1 to 150, got 0"),
            (r#"{"prompt": "", "steps": 1000000000}"#, "steps: must be from 1 to 150, got 1000000000"),
            (
                r#"{"prompt": "", "width": 100}"#,
                "width: must be a multiple of 8 pixels, got 100; the nearest are 96 and 104",
            ),
            (r#"{"prompt": "", "width": 3}"#, "the nearest is 8"),
            (r#"{"prompt": "", "height": 0}"#, "height: must be a multiple of 8 pixels above 0"),
            (r#"{"prompt": "", "width": 18446744073709551615}"#, "width: must be at most 131072 pixels"),
            (
                r#"{"prompt": "", "width": 2048, "height": 2048}"#,
                "2048 x 2048 pixels are more than the 1048576",
            ),
            (r#"{"prompt": "", "guidance_scale": -1}"#, "guidance_scale: must be from 0 to 1000, got -1"),
            (r#"{"prompt": "", "guidance_rescale": 1.5}"#, "guidance_rescale: must be from 0 to 1"),
            (r#"{"prompt": "", "guidance_start": -0.1}"#, "guidance_start: must be from 0 to 1, got -0.1"),
            (r#"{"prompt": "", "guidance_end": 1.01}"#, "guidance_end: must be from 0 to 1, got 1.01"),
            (
                r#"{"prompt": "", "guidance_start": 0.5, "guidance_end": 0.5}"#,
                "guidance_end: must be above guidance_start, which is 0.5, got 0.5",
            ),
            (
                r#"{"prompt": "", "guidance_start": 1}"#,
                "guidance_end: must be above guidance_start, which is 1",
            ),
            (r#"{"prompt": "", "cache_interval": 0}"#, "cache_interval: must be from 1 (off) to 10, got 0"),
            (r#"{"prompt": "", "cache_interval": 11}"#, "cache_interval: must be from 1 (off) to 10, got 11"),
            (r#"{"prompt": "", "token_merging": 0.76}"#, "token_merging: must be from 0 to 0.75, got 0.76"),
            (r#"{"prompt": "", "token_merging": -0.1}"#, "token_merging: must be from 0 to 0.75, got -0.1"),
            (r#"{"prompt": "", "previews": 21}"#, "previews: must be from 0 to 20, got 21"),
            (r#"{"prompt": "", "eta": 2}"#, "eta: must be from 0 to 1, got 2"),
            (r#"{"prompt": "", "scheduler": "eular"}"#, "expected one of pndm, ddim, lms, euler,"),
            (r#"{"prompt": "", "scheduler": "eular"}"#, "did you mean \"euler\"?"),
            (r#"{"prompt": "", "strength": 0.5}"#, "strength: needs an image"),
            (r#"{"prompt": "", "image": "AAAA", "strength": 0}"#, "strength: must be above 0"),
            (
                r#"{"steps": 0, "eta": 9}"#,
                "prompt: is required: say what to draw; steps: must be from 1 to 150, got 0; eta:",
            ),
        ] {
            let error = check(json).unwrap_err();
            assert!(error.contains(word), "{json}: {error}");
        }
        let no_encoder = ModelInfo { image_to_image: false, ..model() };
        let fields = parse(br#"{"prompt": "", "image": "AAAA"}"#).unwrap();
        let error = resolve(fields, &no_encoder, &Limits::default(), &Defaults::default(), 1).unwrap_err();
        assert!(list(&error).contains("image: the model tiny has no VAE encoder"));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            (0u64..2000).prop_map(Into::into),
            ".{0,20}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(".{0,8}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Whatever comes in, what comes out fits the limits or is an error with words in it.
    fn holds(body: &[u8]) {
        match parse(body) {
            Err(e) => assert!(!e.to_string().is_empty()),
            Ok(fields) => match resolve(fields, &model(), &Limits::default(), &Defaults::default(), 1) {
                Err(problems) => {
                    assert!(!problems.is_empty() && problems.iter().all(|p| !p.problem.is_empty()))
                }
                Ok(Drawing { request: r, previews, .. }) => {
                    assert!(previews <= 20);
                    assert!(
                        0.0 <= r.guidance_start && r.guidance_start < r.guidance_end && r.guidance_end <= 1.0
                    );
                    assert!((1..=10).contains(&r.cache_interval));
                    assert!((0.0..=0.75).contains(&r.token_merging));
                    assert!((1..=150).contains(&r.steps) && r.width * r.height <= 1 << 20);
                    assert!(r.width > 0 && r.height > 0 && r.width % 8 == 0 && r.height % 8 == 0);
                    assert!(
                        r.guidance_scale.is_finite() && r.eta.is_finite() && r.guidance_rescale.is_finite()
                    );
                }
            },
        }
    }

    proptest! {
        #[test]
        fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
            holds(&body);
        }

        #[test]
        fn any_json(value in json()) {
            holds(value.to_string().as_bytes());
        }

        #[test]
        fn any_values_of_known_fields(
            values in prop::collection::vec((prop::sample::select(&super::super::FIELD_NAMES[..]), json()), 0..8)
        ) {
            let fields: Vec<_> = values.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
            holds(format!("{{{}}}", fields.join(",")).as_bytes());
        }

        #[test]
        fn plain_requests_are_accepted(
            steps in 1u64..=150, width in 1u64..=64, height in 1u64..=64, seed in any::<u64>(), guidance in 0.0..1000.0f64
        ) {
            let body = serde_json::json!({"prompt": "a", "steps": steps, "width": width * 8, "height": height * 8,
                "seed": seed, "guidance_scale": guidance});
            let fields = parse(body.to_string().as_bytes()).unwrap();
            let drawing = resolve(fields, &model(), &Limits::default(), &Defaults::default(), 1).unwrap();
            prop_assert_eq!(drawing.request.seed, seed);
            prop_assert_eq!(drawing.request.guidance_scale, guidance);
        }
    }
}
