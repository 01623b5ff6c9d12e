//! `diffusion-server fetch`, the real program, against a hub of our own that speaks the real protocol.

#[cfg(test)]
mod access;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod network;
#[cfg(test)]
mod repository;
#[cfg(test)]
mod whole;
