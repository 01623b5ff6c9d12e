//! hyper in front, the pipeline behind.

fn main() {
    eprintln!("error: the server is not built yet");
    std::process::exit(1);
}
