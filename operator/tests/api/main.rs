//! The operator's binary against a real kube-apiserver and etcd.

#[cfg(test)]
mod charts;
#[cfg(test)]
mod children;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod plane;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scaling;
#[cfg(test)]
mod specs;
#[cfg(test)]
mod status;
#[cfg(test)]
mod upgrade;
