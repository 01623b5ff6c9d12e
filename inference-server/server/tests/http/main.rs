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
mod keys;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod status;
#[cfg(test)]
mod threads;
