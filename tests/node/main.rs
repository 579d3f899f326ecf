//! The node that tests stand on: does it behave as one?

#[cfg(test)]
mod estate;
#[cfg(test)]
mod world;
