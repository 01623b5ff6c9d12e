//! hyper in front, the pipeline behind: `POST /generate` answers with a picture.
//!
//! [`params`] reads and checks what is asked for, [`engine`] owns the model on one thread, [`http`] connects the two with
//! sockets, [`serve`], [`generate`] and [`fetch`] are the program's subcommands.

pub mod cli;
pub mod engine;
pub mod fetch;
pub mod generate;
pub mod http;
mod logging;
pub mod metrics;
pub mod params;
mod previews;
mod random;
pub mod serve;
mod threads;
