//! The controller that turns a `DiffusionService` into a running text-to-image service.

fn main() {
    eprintln!("error: the controller is not built yet");
    std::process::exit(1);
}
