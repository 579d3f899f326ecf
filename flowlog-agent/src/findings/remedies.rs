//! Policies that mend what is found: of a workload what it was observed to do, and no more.

use super::Input;
use super::estate::METADATA;
use crate::model::{Edge, Finding, Limit, Place};
use crate::policy::suggest::{self, Suggester};
use crate::policy::{BlockScope, PolicySet};
use foldhash::HashMap;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// So many workloads of a vendor have their policies told beside it.
const MOST_OF_VENDOR: usize = 40;

/// Said of a workload that was seen where no remedy lets it go on.
const WITHOUT_METADATA: &str =
    "# It was seen at the cloud's metadata address, which this policy does not allow.\n";

/// What policies are made from.
pub(super) struct Basis<'a> {
    /// What was observed, without what no remedy allows; none without records: what nobody watched cannot be told from what
    /// nobody needs.
    edges: Option<Cow<'a, [Edge]>>,
    /// Who was seen at the cloud's metadata address.
    at_metadata: BTreeSet<Place>,
    /// What is declared where no objects were given. Addresses of pods are not known then, and no block is theirs.
    nothing: PolicySet,
}

impl<'a> Basis<'a> {
    pub(super) fn new(input: &Input<'a>) -> Self {
        let is_kept = |edge: &Edge| !is_metadata(&edge.destination);
        let edges = input.observed.map(|observed| &observed.edges[..]);
        let left_out = edges.into_iter().flatten().filter(|edge| !is_kept(edge));
        let at_metadata: BTreeSet<Place> = left_out.map(|edge| edge.source.clone()).collect();
        let edges = edges.map(|edges| match at_metadata.is_empty() {
            true => Cow::Borrowed(edges),
            false => edges.iter().filter(|edge| is_kept(edge)).cloned().collect(),
        });
        Self { edges, at_metadata, nothing: PolicySet::new([], BlockScope::OutsidePods) }
    }
}

fn is_metadata(place: &Place) -> bool {
    matches!(place, Place::External { ip: Some(ip), .. } if METADATA.contains(ip))
}

/// Policies out of what was observed, each made once.
pub(super) struct Remedies<'a> {
    at_metadata: &'a BTreeSet<Place>,
    suggester: Option<Suggester<'a>>,
    made: BTreeMap<Place, Option<String>>,
    limits: Vec<Limit>,
}

impl<'a> Remedies<'a> {
    /// Out of what the input tells.
    pub(super) fn new(input: &Input<'a>, basis: &'a Basis<'_>) -> Self {
        let made = |edges| {
            let cluster = input.cluster;
            let (mut pods, mut nodes) = (Vec::new(), Vec::new());
            if let Some(cluster) = cluster {
                pods = cluster.inventory.pods().cloned().collect();
                nodes = cluster.inventory.nodes().cloned().collect();
            }
            let now = input.now;
            Suggester::new(suggest::Input {
                edges,
                pods,
                nodes,
                backing: Box::new(move |namespace, name, protocol, port| {
                    cluster.map_or_else(Vec::new, |cluster| {
                        cluster.inventory.service_backends(namespace, name, port, protocol, now)
                    })
                }),
                declared: cluster.map_or(&basis.nothing, |cluster| cluster.policies),
                // Peers outside are named by their addresses.
                networks: &[],
                ranges: &[],
            })
        };
        Self {
            at_metadata: &basis.at_metadata,
            suggester: basis.edges.as_deref().map(made),
            made: BTreeMap::new(),
            limits: Vec::new(),
        }
    }

    /// The policy of this workload; nothing where it did nothing that counts, or no policy can select it.
    pub(super) fn of(&mut self, place: &Place) -> Option<String> {
        let suggester = self.suggester.as_ref()?;
        if let Some(made) = self.made.get(place) {
            return made.clone();
        }
        let made = suggester.of_workload(place).unwrap_or_else(|error| {
            self.limits.push(Limit { ids: Vec::new(), what: format!("no policy for {place}: {error}") });
            None
        });
        let at_metadata = self.at_metadata.contains(place);
        let made =
            made.map(|policy| if at_metadata { format!("{WITHOUT_METADATA}{policy}") } else { policy });
        self.made.insert(place.clone(), made.clone());
        made
    }

    /// Those of all workloads of a vendor, as one file; nothing where there is none.
    pub(super) fn of_all<'p>(&mut self, places: impl IntoIterator<Item = &'p Place>) -> Option<String> {
        let mut whole = String::new();
        let mut more = 0_usize;
        for (number, place) in places.into_iter().enumerate() {
            if number >= MOST_OF_VENDOR {
                more += 1;
                continue;
            }
            // Workloads that no label tells apart have one policy.
            let policy = self.of(place).filter(|policy| !whole.contains(policy.as_str()));
            if let Some(policy) = policy {
                let between = if whole.is_empty() { "" } else { "---\n" };
                let _ = write!(whole, "{between}{policy}");
            }
        }
        if more > 0 && !whole.is_empty() {
            let _ = writeln!(whole, "# {more} workloads more: `flowlog policy suggest` makes theirs, too.");
        }
        (!whole.is_empty()).then_some(whole)
    }

    /// Gives each finding its policy: of those that one policy mends, the first one has it, and the others say so.
    pub(super) fn add(&mut self, findings: &mut [Finding], restrict: &HashMap<String, Place>) {
        let mut told: HashMap<&Place, String> = HashMap::default();
        for finding in findings {
            let Some(place) = restrict.get(&finding.fingerprint) else { continue };
            if let Some(where_told) = told.get(place) {
                finding.remedy.text.push_str(where_told);
            } else if let Some(policy) = self.of(place) {
                let _ = write!(
                    finding.remedy.text,
                    " The policy allows what {place} was observed to do, and no more: take out what it should not do."
                );
                finding.remedy.policy = Some(policy);
                told.insert(
                    place,
                    format!(" The policy of {place} is that of {} of {}.", finding.id, finding.subject),
                );
            }
        }
    }

    /// Policies that could not be made.
    pub(super) fn into_limits(self) -> Vec<Limit> {
        self.limits
    }
}
