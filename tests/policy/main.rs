//! Declared policy: the oracle and the engine against the shared cases, and cases at random and by hand for what is held against it.

#[cfg(test)]
mod engine;
#[cfg(test)]
mod inputs;
#[cfg(test)]
mod lint;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod random;
#[cfg(test)]
mod reach;
#[cfg(test)]
mod reasons;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod suggest;
