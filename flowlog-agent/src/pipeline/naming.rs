//! DNS answers become names: each is taken before what was opened after it. What is told of addresses of the cluster is
//! passed over, since those have better names.

use super::attribute::asker_of;
use crate::capture::Cgroups;
use crate::cluster::Snapshot;
use crate::inventory::{Names, read_answer};
use crate::model::{self, DnsAnswer, Endpoint, Party};
use jiff::Timestamp;
use std::collections::VecDeque;

/// The stage.
#[derive(Default)]
pub(super) struct Naming {
    pub(super) names: Names,
    /// Answers that are not taken yet, in the order of their time.
    due: VecDeque<DnsAnswer>,
    /// Answers that were read.
    pub(super) read: u64,
    /// Answers that say nothing that is believed.
    pub(super) refused: u64,
    /// Answers of a cgroup that is not known, or not told of.
    pub(super) unowned: u64,
}

/// What an answer is held against.
pub(super) struct Known<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) cgroups: &'a Cgroups,
    pub(super) host_processes: bool,
    pub(super) now: Timestamp,
}

impl Naming {
    /// Answers that came; they are taken as time goes on.
    pub(super) fn expect(&mut self, mut answers: Vec<DnsAnswer>) {
        // Two CPUs may hand theirs over in another order.
        answers.sort_by_key(|answer| answer.boot_ns);
        self.due.extend(answers);
    }

    /// Take what was answered by `boot_ns`.
    pub(super) fn take_by(&mut self, boot_ns: u64, known: &Known<'_>) {
        while let Some(answer) = self.due.pop_front_if(|answer| answer.boot_ns <= boot_ns) {
            self.take(&answer, known);
        }
    }

    fn take(&mut self, answer: &DnsAnswer, known: &Known<'_>) {
        let Some(asker) = asker_of(known.cgroups, answer.cgroup_id, known.host_processes) else {
            self.unowned += 1;
            return;
        };
        match read_answer(&answer.message, answer.whole) {
            Ok(said) => {
                self.read += 1;
                self.names.learn(asker, &said, answer.boot_ns, |ip| {
                    let endpoint = known.snapshot.inventory.resolve_address(ip, known.now);
                    matches!(endpoint, Endpoint::External(_) | Endpoint::Unknown { .. })
                });
            }
            Err(why) => {
                self.refused += 1;
                tracing::debug!(%why, asker, "a DNS answer is not believed");
            }
        }
    }
}

/// The names that a flow tells: of a destination that has no better one.
pub(super) fn names_for(destination: &Party, names: &model::Names) -> model::Names {
    match destination.endpoint {
        Endpoint::External(_) | Endpoint::Unknown { .. } => names.clone(),
        _ => model::Names::default(),
    }
}
