//! The kinds of policies, one file each: how an object is read, and how its kind decides.

pub mod admin_network_policy;
pub mod baseline_admin_network_policy;
pub mod cluster_network_policy;
pub mod cluster_object;
pub mod cluster_rules;
pub mod network_policy;
pub mod not_understood;
mod reader;
