//! The real program, over real sockets.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod drawing;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod events;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod queue;
