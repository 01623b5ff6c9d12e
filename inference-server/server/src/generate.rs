//! `diffusion-server generate`: one picture into a file.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use diffusion_pipeline::{Error, ImageFormat, InitImage, LoadError, LoadOptions, Pipeline, Source};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{DrawArgs, GenerateArgs};
use crate::params::{self, Defaults, Drawing, FieldProblem, Fields, Limits};
use crate::previews::is_due;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Flags that cannot be used.
    #[error("{}", flags(.0))]
    Flags(Vec<FieldProblem>),
    /// A file that is there.
    #[error("{} is there already; --force writes over it, --output takes another name", .0.display())]
    Exists(PathBuf),
    /// A file that cannot be read or written.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    /// The model.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// The picture.
    #[error("{0}")]
    Draw(#[from] Error),
}

/// Runs the subcommand.
///
/// # Errors
/// Names the flag, file or part of the model that is wrong.
pub fn run(args: &GenerateArgs) -> Result<(), GenerateError> {
    crate::threads::claim(args.model.threads);
    let output = Output::choose(args)?;
    let fields = fields(args)?;
    let source = Source::parse(&args.model.model)?;
    let began = Instant::now();
    let pipeline = Pipeline::load(&source, &LoadOptions { precision: args.model.precision })?;
    let load = began.elapsed();

    let info = pipeline.info();
    // One's own machine may work as long as one likes; what is left is what the model can do.
    let limits = Limits { steps: u64::MAX, pixels: 1 << 32, prompt_chars: usize::MAX, image_pixels: 1 << 28 };
    let Drawing { mut request, image, metadata, previews } =
        params::resolve(fields, info, &limits, &Defaults::default(), crate::random::seed())
            .map_err(GenerateError::Flags)?;
    if let Some((file, strength)) = image {
        let image = params::decode_picture(&file, limits.image_pixels, request.width, request.height)
            .map_err(|problem| GenerateError::Flags(vec![FieldProblem::new("image", problem)]))?;
        request.init = Some(InitImage { image, strength });
    }
    output.check_previews(previews, args.force)?;
    pipeline.check(&request).map_err(|problem| GenerateError::Flags(vec![problem.into()]))?;

    let bar = bar(args.quiet);
    let mut job = pipeline.start(&request)?;
    for warning in job.warnings() {
        bar.suspend(|| eprintln!("warning: {warning}"));
    }
    bar.set_length(job.total() as u64);
    let mut drawn = 0;
    while !job.is_done() {
        pipeline.step(std::slice::from_mut(&mut job))?;
        bar.set_position(job.done() as u64);
        if is_due(job.done(), job.total(), previews) {
            drawn += 1;
            let file = pipeline.preview(&job)?.encode(ImageFormat::Jpeg, None)?;
            output.write_preview(drawn, &file, args.force)?;
        }
    }
    let picture = pipeline.finish(&mut job)?;
    bar.finish_and_clear();
    let parameters = metadata.then(|| request.describe(info));
    output.write(&picture.encode(output.format, parameters.as_deref())?, args.force)?;
    if !args.quiet {
        let timings = job.timings();
        eprintln!(
            "{}: {}x{}, seed {}, {} evaluations; load {load:.1?}, text {:.1?}, denoise {:.1?}, decode {:.1?}",
            output.name(),
            request.width,
            request.height,
            request.seed,
            job.total(),
            timings.text,
            timings.denoise,
            timings.decode
        );
    }
    Ok(())
}

/// Problems by the names of their flags.
fn flags(problems: &[FieldProblem]) -> String {
    let name = |field: &str| match field {
        "prompt" => "the prompt".to_owned(),
        field => format!("--{}", field.replace('_', "-")),
    };
    let lines: Vec<_> = problems.iter().map(|p| format!("{}: {}", name(&p.field), p.problem)).collect();
    lines.join("\n       ")
}

fn fields(args: &GenerateArgs) -> Result<Fields, GenerateError> {
    let DrawArgs {
        negative_prompt,
        seed,
        steps,
        guidance_scale,
        guidance_rescale,
        guidance_start,
        guidance_end,
        cache_interval,
        token_merging,
        width,
        height,
        scheduler,
        karras,
        eta,
        image,
        strength,
    } = args.draw.clone();
    let image = match image {
        Some(path) => Some(fs::read(&path).map_err(|e| GenerateError::File(path, e))?),
        None => None,
    };
    Ok(Fields {
        prompt: Some(args.prompt.clone()),
        negative_prompt,
        seed,
        steps,
        guidance_scale,
        guidance_rescale,
        guidance_start,
        guidance_end,
        cache_interval,
        token_merging,
        width,
        height,
        scheduler,
        karras,
        eta,
        image,
        strength,
        metadata: Some(!args.no_metadata),
        previews: args.previews,
    })
}

fn bar(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    // The template is constant; were it wrong, the default one would do.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len}  {elapsed_precise}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Where the picture goes.
struct Output {
    /// Nothing is standard output.
    path: Option<PathBuf>,
    format: ImageFormat,
}

impl Output {
    /// Chosen and checked before the work begins.
    fn choose(args: &GenerateArgs) -> Result<Self, GenerateError> {
        let path = match &args.output {
            Some(path) if path.as_os_str() == "-" => {
                return Ok(Self { path: None, format: ImageFormat::Png });
            }
            Some(path) => path.clone(),
            None => format!("{}.png", slug(&args.prompt)).into(),
        };
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let format = ImageFormat::from_extension(&extension).ok_or_else(|| {
            let problem = format!("{} must end in .png, .jpg, .jpeg or .webp", path.display());
            GenerateError::Flags(vec![FieldProblem::new("output", problem)])
        })?;
        if path.exists() && !args.force {
            return Err(GenerateError::Exists(path));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let problem = format!("there is no folder {}", folder.display());
            return Err(GenerateError::Flags(vec![FieldProblem::new("output", problem)]));
        }
        Ok(Self { path: Some(path), format })
    }

    /// Whether so many previews can be written: they have names if the picture has one.
    fn check_previews(&self, previews: usize, force: bool) -> Result<(), GenerateError> {
        if previews > 0 && self.path.is_none() {
            let problem =
                "are files beside the picture's: give it a name with --output, or leave previews out";
            return Err(GenerateError::Flags(vec![FieldProblem::new("previews", problem)]));
        }
        let mut paths = (1..=previews).filter_map(|number| self.preview(number));
        match paths.find(|path| !force && path.exists()) {
            Some(path) => Err(GenerateError::Exists(path)),
            None => Ok(()),
        }
    }

    /// `apple.png` to `apple.preview-01.jpg`.
    fn preview(&self, number: usize) -> Option<PathBuf> {
        self.path.as_ref().map(|path| path.with_extension(format!("preview-{number:02}.jpg")))
    }

    fn write_preview(&self, number: usize, file: &[u8], force: bool) -> Result<(), GenerateError> {
        Self { path: self.preview(number), format: ImageFormat::Jpeg }.write(file, force)
    }

    fn name(&self) -> String {
        self.path.as_deref().map_or_else(|| "standard output".into(), |path| path.display().to_string())
    }

    fn write(&self, file: &[u8], force: bool) -> Result<(), GenerateError> {
        let Some(path) = &self.path else {
            let mut out = io::stdout().lock();
            let written = out.write_all(file).and_then(|()| out.flush());
            return written.map_err(|e| GenerateError::File("standard output".into(), e));
        };
        write(path, file, force).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => GenerateError::Exists(path.clone()),
            _ => GenerateError::File(path.clone(), e),
        })
    }
}

/// A file that appeared while the picture was being drawn is not written over either.
fn write(path: &Path, file: &[u8], force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)?.write_all(file)
}

/// `A red apple!` becomes `a-red-apple`.
fn slug(prompt: &str) -> String {
    let plain: String =
        prompt.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    let words: Vec<_> = plain.split_whitespace().collect();
    let slug: String = words.join("-").chars().take(40).collect();
    if slug.is_empty() { "picture".into() } else { slug }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_becomes_a_file_name() {
        for (prompt, want) in [
            ("A red apple!", "a-red-apple"),
            ("../../etc/passwd", "etc-passwd"),
            ("  ", "picture"),
            ("\u{1F431}", "picture"),
            ("日本 の猫", "日本-の猫"),
        ] {
            assert_eq!(slug(prompt), want);
        }
        assert_eq!(slug(&"x".repeat(100)).len(), 40);
    }

    #[test]
    fn errors_name_the_flag() {
        let problems =
            [FieldProblem::new("guidance_scale", "is odd"), FieldProblem::new("prompt", "is long")];
        assert_eq!(flags(&problems), "--guidance-scale: is odd\n       the prompt: is long");
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write(&path, b"one", false).unwrap();
        assert!(write(&path, b"two", false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"2", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
    }
}
