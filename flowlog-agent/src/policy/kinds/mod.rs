//! The kinds of policies, one file each: how an object is read, and how its kind decides.

pub mod network_policy;
pub mod not_understood;
