//! An estate whose flows are logged: workloads of four pods each over twenty nodes; every workload has 250 kinds of connection,
//! told by the nodes of all its pods.

use anyhow::Result;
use flowlog::model::{
    Basis, Class, Container, Decision, Dialed, Direction, DirectionVerdict, Drop, DropPlace, Endpoint,
    Evidence, External, Flow, FlowId, Labels, Name, NameSource, Names, Origin, Outcome, Party, Pod,
    PolicyKind, PolicyRef, PolicyRefs, Process, Protocol, Receipts, RoundTrip, Service, State, Tier,
    VendorSource, Verdict, Whose, Workload,
};
use jiff::{Timestamp, ToSpan};
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Nodes of the estate, each with a log.
pub(crate) const NODES: u32 = 20;

/// Pods of a workload, each on another node.
const REPLICAS: u32 = 4;

/// Kinds of connection of a workload: to others, from others, to addresses outside, by services.
const KINDS: [u32; 4] = [100, 100, 40, 10];

/// Namespaces.
const NAMESPACES: u32 = 40;

/// Records of a node from one snapshot of the cluster to the next.
const SNAPSHOT: u64 = 5_000;

/// The same numbers in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        u32::try_from(high % u64::from(sides.max(1))).unwrap_or_default()
    }
}

/// Who is there.
pub(crate) struct Estate {
    workloads: Vec<Member>,
    services: Vec<Arc<Service>>,
    /// For each namespace: no policy, an allowing one for each direction, those that isolate.
    policies: Vec<[PolicyRefs; 3]>,
}

struct Member {
    pods: Vec<Arc<Pod>>,
    whose: Whose,
    /// Names of what it reaches outside, with their addresses.
    outside: Vec<(IpAddr, Name)>,
}

impl Estate {
    /// With so many edges, more or less.
    pub(crate) fn of(edges: u32) -> Self {
        let count = (edges / KINDS.iter().sum::<u32>()).max(1);
        Self {
            workloads: (0..count).map(member).collect(),
            services: (0..count).map(|number| Arc::new(service(number))).collect(),
            policies: (0..NAMESPACES).map(policies).collect(),
        }
    }

    /// The log of a node, from its beginning.
    pub(crate) fn log(&self, node: u32) -> Log<'_> {
        let pods = (0..)
            .zip(&self.workloads)
            .flat_map(|(number, _)| (0..REPLICAS).map(move |replica| (number, replica)));
        Log {
            estate: self,
            local: pods.filter(|(number, replica)| place(*number, *replica) == node).collect(),
            dice: Dice(u64::from(node).wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15)),
            seq: 0,
            time: "2026-11-01T00:00:00Z".parse().unwrap_or(Timestamp::UNIX_EPOCH),
            open: None,
        }
    }

    fn member(&self, number: u32) -> Option<&Member> {
        self.workloads.get(usize::try_from(number).ok()?)
    }
}

/// The node of a pod.
fn place(workload: u32, replica: u32) -> u32 {
    (workload * REPLICAS + replica) % NODES
}

fn labels(pairs: &[(&str, String)]) -> Arc<Labels> {
    Arc::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
}

fn namespace(number: u32) -> String {
    format!("team-{:02}", number % NAMESPACES)
}

fn member(number: u32) -> Member {
    let (namespace, app) = (namespace(number), format!("service-{number:03}"));
    let own = labels(&[
        ("app.kubernetes.io/name", app.clone()),
        ("app.kubernetes.io/version", format!("1.{}.0", number % 30)),
        ("pod-template-hash", format!("6d4cf{number:05}")),
    ]);
    let around = labels(&[("kubernetes.io/metadata.name", namespace.clone())]);
    let containers: Arc<[Container]> = [Container {
        name: "main".into(),
        id: None,
        image: format!("registry.example.com/{namespace}/{app}:1.{}.0", number % 30),
        image_digest: Some(format!("sha256:{:064x}", u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15))),
    }]
    .into();
    let workload = Arc::new(Workload { kind: "Deployment".into(), name: app.clone(), group: "apps".into() });
    let pod = |replica: u32| Pod {
        namespace: namespace.as_str().into(),
        name: format!("{app}-6d4cf{number:05}-x{replica}k2p").into(),
        uid: format!("6f0e6f52-9a1f-4c39-8f3d-{number:08x}{replica:04x}").into(),
        labels: Arc::clone(&own),
        namespace_labels: Arc::clone(&around),
        workload: Some(Arc::clone(&workload)),
        ips: vec![IpAddr::V4(Ipv4Addr::from(0x0af4_0000 + number * REPLICAS + replica))],
        containers: Arc::clone(&containers),
        service_account: Some(app.as_str().into()),
        node: Some(format!("worker-{}", place(number, replica)).into()),
        ..Pod::default()
    };
    let third_party = number.is_multiple_of(8);
    Member {
        pods: (0..REPLICAS).map(|replica| Arc::new(pod(replica))).collect(),
        whose: Whose {
            origin: Some(if third_party { Origin::ThirdParty } else { Origin::FirstParty }),
            vendor: third_party.then(|| format!("Vendor {}", number % 10).into()),
            told_by: None,
            sensitive: number.is_multiple_of(20),
        },
        outside: (0..KINDS[2]).map(|kind| outside(number, kind)).collect(),
    }
}

fn outside(workload: u32, kind: u32) -> (IpAddr, Name) {
    let number = (workload * 7 + kind) % 2_000;
    // Of 2001:db8::/32 and of 198.18.0.0/15, which are for documents and benchmarks.
    let ip = if number.is_multiple_of(10) {
        IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(number)).into())
    } else {
        IpAddr::V4(Ipv4Addr::from(0xc612_0000 + number * 5))
    };
    let name = Name {
        name: format!("api-{number}.vendor-{}.example", number % 50).into(),
        canonical: number.is_multiple_of(3).then(|| format!("edge-{}.cdn.example", number % 40).into()),
        source: NameSource::DnsAnswer,
        age_ns: 0,
        ttl_s: 0,
    };
    (ip, name)
}

fn service(number: u32) -> Service {
    Service {
        namespace: namespace(number),
        name: format!("service-{number:03}"),
        port_name: Some("http".to_owned()),
    }
}

fn policies(number: u32) -> [PolicyRefs; 3] {
    let policy = |name: &str, rule: Option<u32>| {
        Arc::new(PolicyRef {
            kind: PolicyKind::NetworkPolicy,
            namespace: Some(namespace(number)),
            name: name.to_owned(),
            rule,
        })
    };
    [
        [].into(),
        [policy("allow-from-gateway", Some(2)), policy("allow-within-team", Some(0))].into(),
        [policy("default-deny", None)].into(),
    ]
}

/// A kind of connection: what is the same in all records of it.
struct Kind {
    direction: Direction,
    source: (u32, u32),
    destination: Far,
    port: u16,
}

/// The listener.
enum Far {
    Pod(u32, u32),
    Outside(u32),
    Service(u32),
}

/// A node's log in the making.
pub(crate) struct Log<'a> {
    estate: &'a Estate,
    /// Workload and number of its own pods.
    local: Vec<(u32, u32)>,
    dice: Dice,
    seq: u64,
    time: Timestamp,
    /// An attempt that has no answer yet.
    open: Option<Flow>,
}

impl Log<'_> {
    /// What its next line tells of.
    pub(crate) fn next_flow(&mut self) -> Result<Flow> {
        self.seq += 1;
        let step = 1.millisecond().nanoseconds(i64::from(self.dice.below(40_000_000)));
        self.time = self.time.checked_add(step)?;
        Ok(match self.open.take() {
            // What became of it, told a few lines later in a true log.
            Some(mut flow) if self.dice.below(4) == 0 => {
                (flow.count, flow.update, flow.last) = (0, true, self.time);
                flow.outcome = outcome(State::Dropped);
                flow
            }
            open => {
                self.open = open;
                let flow = self.flow();
                if flow.outcome.state == State::Pending {
                    self.open = Some(flow.clone());
                }
                flow
            }
        })
    }

    fn flow(&mut self) -> Flow {
        let local = self.dice.below(u32::try_from(self.local.len()).unwrap_or(u32::MAX));
        let local = usize::try_from(local).ok().and_then(|place| self.local.get(place));
        let (own, replica) = local.copied().unwrap_or_default();
        let number = self.dice.below(KINDS.iter().sum());
        let kind = self.kind((own, replica), number);
        let ingress = kind.direction == Direction::Ingress;
        // What the rules say, and what becomes of it, is the same in all records of a kind.
        let told = own.wrapping_mul(31).wrapping_add(number * 17) % 100;
        let state = match told {
            0..=79 => State::Established,
            80..=86 => State::Dropped,
            87..=91 => State::Pending,
            92..=95 => State::Refused,
            _ => State::Rejected,
        };
        let denied = matches!(told, 78..=91 | 96..);
        let verdict = self.verdict(kind.source.0, &kind.destination, denied, told % 9 == 0);
        let outcome = outcome(state);
        let closed = state == State::Established;
        let some = |dice: &mut Dice, most: u32| closed.then(|| u64::from(dice.below(most)));
        let class = Class::of(&verdict, &outcome);
        let (destination, destination_whose, names, dialed) = self.destination(&kind);
        let (source, source_whose) = self.pod(kind.source, 30_000);
        let (pid, count) = (1_000 + self.dice.below(60_000), u64::from(1 + self.dice.below(20) / 15));
        let boot_ns = self.time.as_nanosecond().unsigned_abs();
        Flow {
            receipts: Receipts::untracked(),
            id: FlowId(boot_ns << 64 | u128::from(self.seq)),
            direction: kind.direction,
            protocol: Protocol::Tcp,
            icmp: None,
            existing: false,
            count,
            first: self.time,
            last: self.time,
            update: false,
            duration_ns: some(&mut self.dice, 2_000_000_000),
            bytes_sent: some(&mut self.dice, 20_000),
            bytes_received: some(&mut self.dice, 2_000_000),
            datagrams_sent: None,
            datagrams_received: None,
            retransmits: None,
            srtt: RoundTrip::of(closed.then(|| 200 + self.dice.below(20_000))),
            connect_ns: some(&mut self.dice, 20_000_000),
            source,
            destination,
            source_whose,
            destination_whose,
            names,
            dialed,
            process: Some(Process {
                pid: Some(pid),
                comm: Some("server".into()),
                exe: (!ingress).then(|| "/usr/local/bin/server".to_owned()),
                cgroup_id: u64::from(40_000 + own),
                container: Some("main".into()),
            }),
            verdict,
            outcome,
            class,
            attribution: None,
        }
    }

    fn kind(&mut self, local: (u32, u32), number: u32) -> Kind {
        let own = local.0;
        let mut replica = |of: u32| (of, self.dice.below(REPLICAS));
        let [to, from, outside, _] = KINDS;
        let count = u32::try_from(self.estate.workloads.len()).unwrap_or(u32::MAX).max(1);
        // Where there are few workloads, some are met more than once.
        let other = |step: u32| (own + 1 + 3 * step) % count;
        if number < to {
            let (other, at) = replica(other(number));
            let port = 8_000 + u16::try_from(number % 10).unwrap_or_default();
            return Kind {
                direction: Direction::Egress,
                source: local,
                destination: Far::Pod(other, at),
                port,
            };
        }
        let Some(number) = number.checked_sub(to + from) else {
            let step = number - to;
            let port = 8_000 + u16::try_from(step % 10).unwrap_or_default();
            let source = replica((own + 300 * count - 1 - 3 * step) % count);
            return Kind { direction: Direction::Ingress, source, destination: Far::Pod(own, local.1), port };
        };
        let (destination, port) =
            if number < outside { (Far::Outside(number), 443) } else { (Far::Service(other(number)), 80) };
        Kind { direction: Direction::Egress, source: local, destination, port }
    }

    fn pod(&mut self, (workload, replica): (u32, u32), port: u16) -> (Party, Whose) {
        let member = self.estate.member(workload);
        let pod = member.and_then(|member| member.pods.get(usize::try_from(replica).ok()?));
        let pod = pod.map_or_else(Arc::default, Arc::clone);
        let port = if port == 30_000 {
            port + u16::try_from(self.dice.below(30_000)).unwrap_or_default()
        } else {
            port
        };
        let party = Party { ip: pod.ips.first().copied(), port: Some(port), endpoint: Endpoint::Pod(pod) };
        (party, member.map_or_else(Whose::default, |member| member.whose.clone()))
    }

    fn destination(&mut self, kind: &Kind) -> (Party, Whose, Names, Option<Dialed>) {
        let nameless = || Names::from([]);
        match kind.destination {
            Far::Pod(workload, replica) => {
                let (party, whose) = self.pod((workload, replica), kind.port);
                (party, whose, nameless(), None)
            }
            Far::Outside(number) => {
                let member = self.estate.member(kind.source.0);
                let found = member.and_then(|member| member.outside.get(usize::try_from(number).ok()?));
                let age_ns = u64::from(self.dice.below(30_000)) * 1_000_000;
                let names: Names = found
                    .iter()
                    .map(|(_, name)| Name { age_ns, ttl_s: self.dice.below(300), ..name.clone() })
                    .collect();
                let whose = Whose {
                    origin: Some(Origin::ThirdParty),
                    vendor: Some(format!("Vendor {}", number % 10).into()),
                    told_by: Some(VendorSource::DnsName),
                    sensitive: false,
                };
                let endpoint = Endpoint::External(External { network: None });
                let ip = found.map(|(ip, _)| *ip);
                (Party { endpoint, ip, port: Some(kind.port) }, whose, names, None)
            }
            Far::Service(workload) => {
                let replica = self.dice.below(REPLICAS);
                let (party, whose) = self.pod((workload, replica), 8_080);
                let place = usize::try_from(workload).ok();
                let service = place.and_then(|place| self.estate.services.get(place));
                let dialed = Dialed {
                    ip: IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + workload)),
                    port: kind.port,
                    service: service.map(Arc::clone),
                    note: None,
                };
                (party, whose, nameless(), Some(dialed))
            }
        }
    }

    fn verdict(&self, source: u32, destination: &Far, denied: bool, unselected: bool) -> Verdict {
        let side = |workload: Option<u32>, denied: bool| {
            let policies = workload
                .and_then(|workload| self.estate.policies.get(usize::try_from(workload % NAMESPACES).ok()?));
            let (decision, basis, tier, which) = match (denied, unselected || policies.is_none()) {
                (true, _) => (Decision::Deny, Basis::Isolated, Tier::Namespace, 2),
                (_, true) => (Decision::Allow, Basis::Unselected, Tier::Default, 0),
                _ => (Decision::Allow, Basis::Policy, Tier::Namespace, 1),
            };
            let policies =
                policies.and_then(|policies| policies.get(which)).map_or_else(|| [].into(), Arc::clone);
            DirectionVerdict { decision, basis, tier: Some(tier), policies, reason: None }
        };
        let to = match destination {
            Far::Pod(workload, _) | Far::Service(workload) => Some(*workload),
            Far::Outside(_) => None,
        };
        let snapshot = 1 + self.seq / SNAPSHOT;
        // Seconds after the estate's beginning, the same for all records of a snapshot.
        let as_of = Timestamp::from_second(1_793_491_200 + i64::try_from(snapshot).unwrap_or_default() * 100);
        Verdict {
            decision: if denied { Decision::Deny } else { Decision::Allow },
            egress: side(Some(source), denied),
            ingress: side(to, false),
            mixed: None,
            snapshot,
            as_of: as_of.unwrap_or(Timestamp::UNIX_EPOCH),
            stale_since: None,
            settling: false,
            trial: None,
        }
    }
}

fn outcome(state: State) -> Outcome {
    let (errno, syn_retries, evidence): (_, _, &[Evidence]) = match state {
        State::Established => (None, None, &[Evidence::Handshake]),
        State::Pending => (None, Some(1), &[Evidence::SynRetransmitted]),
        State::Refused => (Some(111), None, &[Evidence::Reset]),
        State::Rejected => (Some(13), None, &[Evidence::IcmpError]),
        _ => (Some(110), Some(6), &[Evidence::KernelDrop, Evidence::TimedOut]),
    };
    let drop =
        (state == State::Dropped).then(|| Drop { reason: "NETFILTER_DROP".into(), place: DropPlace::Node });
    Outcome { state, errno, syn_retries, drop, evidence: SmallVec::from_slice(evidence) }
}
