//! The hooks, a file each for what they observe.

pub(crate) mod answer;
pub(crate) mod cgroup;
pub(crate) mod connect;
pub(crate) mod drop;
pub(crate) mod existing;
pub(crate) mod outcome;
pub(crate) mod packet;
pub(crate) mod send;
pub(crate) mod sendmsg;
