//! Times one checkpoint, for `make bench`: `bench ours|candle CHECKPOINT INPUTS f32|bf16 short|dpm20|pndm50 PICTURE`
//! prints one line of JSON and writes the picture. INPUTS is a folder that `inference-server/bench/inputs.py` made.
//!
//! A second form needs no inputs: `bench ours CHECKPOINT f32|bf16 STEPS [PIXELS [TOKEN_MERGING]]`, a picture of PIXELS x PIXELS.
//! Without steps, 0, it times the load alone.

mod candle;
mod figures;
mod inputs;
mod ours;

use std::path::Path;

use diffusion_pipeline::memory::Allocator;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator(MiMalloc);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let figures = match args.as_slice() {
        ["ours", checkpoint, precision @ ("f32" | "bf16"), steps, options @ ..] if options.len() <= 2 => {
            let side = options.first().map(|side| side.parse()).transpose()?;
            let merging = options.get(1).map_or(Ok(0.0), |merging| merging.parse())?;
            ours::steps(Path::new(checkpoint), precision, steps.parse()?, side, merging)
        }
        ["ours", checkpoint, folder, precision, part, picture] => {
            let inputs = inputs::Inputs::read(Path::new(folder))?;
            ours::part(Path::new(checkpoint), &inputs, precision, part, Path::new(picture))
        }
        ["candle", checkpoint, folder, precision, part, picture] => {
            let inputs = inputs::Inputs::read(Path::new(folder))?;
            candle::part(Path::new(checkpoint), &inputs, precision, part, Path::new(picture))
        }
        _ => Err("usage: bench ours|candle CHECKPOINT INPUTS f32|bf16 short|dpm20|pndm50 PICTURE, or \
                  bench ours CHECKPOINT f32|bf16 STEPS [PIXELS [TOKEN_MERGING]]"
            .into()),
    }?;
    println!("{figures}");
    Ok(())
}
