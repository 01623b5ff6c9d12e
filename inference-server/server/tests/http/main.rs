//! The real program, over real sockets.

mod cli;
mod drain;
mod drawing;
mod errors;
mod events;
mod harness;
mod hostile;
mod queue;
