//! The stages without a kernel: observations in, what is told out.

use super::correlate::{Correlator, Origin, Surroundings, Told, Totals, Tried};
use super::exchanged::Exchanged;
use super::fold::{Folder, Intervals};
use super::judged::Judged;
use super::repeats::{Begun, Repeats};
use crate::capture::{Kind, LeftBehind, PeerCounts, Repeat, RepeatCounts, Slot, sums_of};
use crate::model::{
    Attribution, Basis, Class, Decision, Dialed, Direction, DirectionVerdict, Endpoint, Evidence, External,
    Fact, Flow, FlowId, Names, Observation, Outcome, Party, PolicyRefs, Protocol, Receipts, RoundTrip, State,
    Task, Tier, TrialVerdict, Verdict, Whose,
};
use jiff::Timestamp;
use smallvec::{SmallVec, smallvec};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const POD: u64 = 7;
const SERVER: u64 = 9;
const OPENER: &str = "10.244.1.10:40000";
const LISTENER: &str = "10.244.1.20:5432";
const SERVICE: &str = "10.96.0.10:80";

/// Cgroup 7 has 10.244.1.10, the service leads to the listener, and the listener serves its port.
struct Around;

impl Surroundings for Around {
    fn owns(&self, cgroup_id: u64, address: IpAddr) -> Option<bool> {
        Some(cgroup_id == POD && address == ip(OPENER))
    }

    fn leads_to(&self, dialed: SocketAddr, backend: SocketAddr, _: Protocol) -> bool {
        dialed == at(SERVICE) && backend == at(LISTENER)
    }

    fn is_counted(&self, _: IpAddr, _: SocketAddr) -> bool {
        false
    }

    fn counts(&self, _: u64, _: SocketAddr, _: Protocol) -> bool {
        false
    }

    fn is_service(&self, dialed: SocketAddr, _: Protocol) -> bool {
        dialed == at(SERVICE)
    }

    fn backends_of(&self, dialed: SocketAddr, _: Protocol) -> Vec<SocketAddr> {
        if dialed == at(SERVICE) { vec![at(LISTENER)] } else { Vec::new() }
    }

    fn addresses_of(&self, cgroup_id: u64) -> Vec<IpAddr> {
        match cgroup_id {
            POD => vec![ip(OPENER)],
            SERVER => vec![ip(LISTENER)],
            _ => Vec::new(),
        }
    }

    fn names_of(&self, _: u64, _: IpAddr, _: u64) -> Names {
        Names::default()
    }

    fn serves(&self, address: SocketAddr, _: Protocol) -> bool {
        address == at(LISTENER)
    }
}

/// The same, where connections of cgroup 7 to the listener are counted.
struct Counting;

impl Surroundings for Counting {
    fn owns(&self, cgroup_id: u64, address: IpAddr) -> Option<bool> {
        Around.owns(cgroup_id, address)
    }

    fn leads_to(&self, dialed: SocketAddr, backend: SocketAddr, protocol: Protocol) -> bool {
        Around.leads_to(dialed, backend, protocol)
    }

    fn is_counted(&self, opener: IpAddr, listener: SocketAddr) -> bool {
        opener == ip(OPENER) && listener == at(LISTENER)
    }

    fn counts(&self, cgroup_id: u64, listener: SocketAddr, _: Protocol) -> bool {
        cgroup_id == CGROUP && listener == at(LISTENER)
    }

    fn is_service(&self, dialed: SocketAddr, protocol: Protocol) -> bool {
        Around.is_service(dialed, protocol)
    }

    fn backends_of(&self, dialed: SocketAddr, protocol: Protocol) -> Vec<SocketAddr> {
        Around.backends_of(dialed, protocol)
    }

    fn addresses_of(&self, cgroup_id: u64) -> Vec<IpAddr> {
        Around.addresses_of(cgroup_id)
    }

    fn names_of(&self, _: u64, _: IpAddr, _: u64) -> Names {
        Names::default()
    }

    fn serves(&self, address: SocketAddr, protocol: Protocol) -> bool {
        Around.serves(address, protocol)
    }
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn ip(address: &str) -> IpAddr {
    at(address).ip()
}

fn task() -> Task {
    Task { pid: 1, comm: "curl".into() }
}

struct Seen(Observation);

fn seen(boot_ns: u64, fact: Fact) -> Seen {
    let time = Timestamp::from_nanosecond(i128::from(boot_ns)).unwrap();
    Seen(Observation {
        time,
        boot_ns,
        protocol: Protocol::Tcp,
        cgroup_id: None,
        cookie: None,
        local: None,
        remote: None,
        untold: false,
        fact,
        receipts: Receipts::untracked(),
    })
}

impl Seen {
    fn cookie(mut self, cookie: u64) -> Self {
        self.0.cookie = Some(cookie);
        self
    }

    fn cgroup(mut self, id: u64) -> Self {
        self.0.cgroup_id = Some(id);
        self
    }

    fn ends(mut self, local: &str, remote: &str) -> Self {
        self.0.local = (!local.is_empty()).then(|| at(local));
        self.0.remote = Some(at(remote));
        self
    }

    fn udp(self) -> Self {
        self.by(Protocol::Udp)
    }

    fn by(mut self, protocol: Protocol) -> Self {
        self.0.protocol = protocol;
        self
    }
}

fn existing(boot_ns: u64, cookie: u64, opened: bool, near: &str, far: &str) -> Seen {
    seen(boot_ns, Fact::Existing { task: task(), opened, connected: true })
        .cookie(cookie)
        .cgroup(if opened { POD } else { SERVER })
        .ends(near, far)
}

fn attempt(boot_ns: u64, cookie: u64, to: &str) -> Seen {
    seen(boot_ns, Fact::Attempt { task: task() }).cookie(cookie).cgroup(POD).ends("", to)
}

fn sent(boot_ns: u64, cookie: u64) -> Seen {
    let fact = Fact::Sent { task: task(), errno: None };
    seen(boot_ns, fact).cookie(cookie).cgroup(POD).ends(OPENER, LISTENER).udp()
}

fn sent_to(boot_ns: u64, to: &str) -> Seen {
    seen(boot_ns, Fact::SentTo { task: Some(task()) }).cgroup(POD).ends("0.0.0.0:40000", to).udp()
}

fn received(boot_ns: u64, from: &str) -> Seen {
    seen(boot_ns, Fact::Received { task: task(), arrived: false })
        .cgroup(SERVER)
        .ends("[::]:5432", from)
        .udp()
}

/// A datagram that was told when it came, or was to be.
fn taken(boot_ns: u64, from: &str) -> Seen {
    let mut seen = received(boot_ns, from);
    seen.0.fact = Fact::Received { task: task(), arrived: true };
    seen
}

fn arrived(boot_ns: u64, from: &str) -> Seen {
    seen(boot_ns, Fact::Arrived).cgroup(SERVER).ends(LISTENER, from).udp()
}

/// An echo that is asked for by ICMP, and the same where it is answered: by the kernel, for whoever it is.
fn asked(boot_ns: u64, from: &str, to: &str) -> [Seen; 2] {
    let question = |fact, near: &str, far: &str| seen(boot_ns, fact).ends(near, far).by(Protocol::Icmp);
    [question(Fact::SentTo { task: None }, from, to).cgroup(POD), question(Fact::Arrived, to, from)]
}

fn answered(boot_ns: u64, from: &str) -> Seen {
    seen(boot_ns, Fact::Answered).cgroup(POD).ends("0.0.0.0:40000", from).udp()
}

fn established(boot_ns: u64, cookie: u64, to: &str) -> Seen {
    seen(boot_ns, Fact::Established { syn_retries: 0 }).cookie(cookie).ends(OPENER, to)
}

fn failed(boot_ns: u64, cookie: u64, errno: Option<u16>) -> Seen {
    seen(boot_ns, Fact::Failed { errno, error_consumed: false, syn_retries: 0 })
        .cookie(cookie)
        .ends(OPENER, LISTENER)
}

fn dropped(boot_ns: u64, from: &str, to: &str) -> Seen {
    seen(boot_ns, Fact::Dropped { reason: "NETFILTER_DROP".into(), no_socket: false }).ends(from, to)
}

fn no_socket(boot_ns: u64, from: &str, to: &str) -> Seen {
    seen(boot_ns, Fact::Dropped { reason: "NO_SOCKET".into(), no_socket: true }).ends(from, to)
}

fn closed(boot_ns: u64, cookie: u64) -> Seen {
    let fact = Fact::Closed { bytes_sent: 100, bytes_received: 7, retransmits: 0, srtt_us: None };
    seen(boot_ns, fact).cookie(cookie).ends(OPENER, LISTENER)
}

/// Everything that is told of these observations until `until_ns`.
fn tell(observations: impl IntoIterator<Item = Seen>, until_ns: u64) -> Vec<Told> {
    tell_around(&Around, observations, until_ns)
}

fn tell_around(
    around: &impl Surroundings,
    observations: impl IntoIterator<Item = Seen>,
    until_ns: u64,
) -> Vec<Told> {
    let mut correlator = Correlator::new(true);
    let mut told = Vec::new();
    for Seen(observation) in observations {
        correlator.tick(observation.boot_ns, around, &mut told);
        correlator.observe(observation, around, &mut told);
    }
    correlator.tick(until_ns, around, &mut told);
    told
}

fn tried(told: Vec<Told>) -> Vec<Tried> {
    let only_tried = |told| match told {
        Told::Tried(tried) => Some(*tried),
        Told::Closed { .. } | Told::ClosedUnannounced { .. } => None,
    };
    told.into_iter().filter_map(only_tried).collect()
}

fn only(told: Vec<Told>) -> Tried {
    let mut all = tried(told);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn an_attempt_and_its_handshake_become_one_and_the_close_is_told_later() {
    let told =
        tell([attempt(1, 5, LISTENER), established(1_000, 5, LISTENER), closed(9 * SECOND, 5)], 9 * SECOND);
    assert_eq!(told.len(), 2, "{told:?}");
    let Told::Closed { totals, .. } = &told[1] else { panic!("{told:?}") };
    assert_eq!((totals.bytes_sent, totals.bytes_received), (100, 7));
    let first = only(told);
    assert_eq!(first.outcome.state, State::Established);
    assert_eq!(first.connect_ns, Some(999));
    assert_eq!(first.opener, Some(at(OPENER)));
}

#[test]
fn a_short_connection_is_told_once_with_its_sums() {
    let told = tell([attempt(1, 5, LISTENER), established(1_000, 5, LISTENER), closed(2_000, 5)], SECOND);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(only(told).closed.map(|totals| totals.bytes_sent), Some(100));
}

/// On a busy CPU a packet goes on its way after the process has closed.
#[test]
fn a_drop_that_is_seen_after_its_process_has_given_up_is_of_the_same_attempt() {
    let given_up = || [attempt(1, 5, LISTENER), failed(100, 5, None)];
    let late = [dropped(50_000_000, OPENER, LISTENER)];
    let told = only(tell(given_up().into_iter().chain(late), 10 * SECOND));
    assert_eq!((told.outcome.state, told.update), (State::Dropped, false));
    assert_eq!(told.outcome.evidence[..], [Evidence::KernelDrop, Evidence::ClosedByProcess]);
    let told = only(tell(given_up(), 10 * SECOND));
    assert_eq!(told.outcome.state, State::Aborted);
}

#[test]
fn a_drop_in_the_forward_chain_finds_its_attempt_by_who_dialed_where_it_goes() {
    let told = tell([attempt(1, 5, LISTENER), dropped(50, OPENER, LISTENER)], SECOND);
    let told = only(told);
    assert_eq!(told.outcome.state, State::Dropped);
    assert_eq!(*told.outcome.drop.unwrap().reason, *"NETFILTER_DROP");
    assert_eq!(told.opener, Some(at(OPENER)));
}

#[test]
fn a_drop_behind_a_service_address_finds_its_attempt_and_tells_the_backend() {
    let told = only(tell([attempt(1, 5, SERVICE), dropped(50, OPENER, LISTENER)], SECOND));
    assert_eq!(told.requested, at(SERVICE));
    assert_eq!(told.taken, Some(at(LISTENER)));
}

#[test]
fn a_drop_of_another_pod_is_not_taken_for_this_ones() {
    let told = tried(tell([attempt(1, 5, LISTENER), dropped(50, "10.244.1.99:40000", LISTENER)], 4 * SECOND));
    let told: Vec<_> = told.iter().map(|tried| (tried.origin, tried.outcome.state)).collect();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&(Origin::Packet, State::Dropped)), "{told:?}");
    assert!(
        told.contains(&(Origin::Opener, State::Unknown)),
        "nothing was seen of the attempt itself: {told:?}"
    );
}

#[test]
fn a_rejected_attempt_is_told_once_with_both_facts() {
    let told =
        tell([attempt(1, 5, LISTENER), dropped(50, OPENER, LISTENER), failed(60, 5, Some(111))], SECOND);
    let told = only(told);
    assert_eq!(told.outcome.state, State::Rejected);
    assert_eq!(told.outcome.evidence[..], [Evidence::KernelDrop, Evidence::Reset]);
}

#[test]
fn an_error_that_the_process_took_before_it_closed_is_still_the_reason() {
    for (errno, expected) in [(Some(113), Some(113)), (None, None)] {
        let error = seen(55, Fact::Error { errno }).cookie(5).ends(OPENER, LISTENER);
        let told = only(tell(
            [attempt(1, 5, LISTENER), dropped(50, OPENER, LISTENER), error, failed(60, 5, None)],
            SECOND,
        ));
        assert_eq!((told.outcome.state, told.outcome.errno), (State::Rejected, expected));
        assert_eq!(told.outcome.evidence[..], [Evidence::KernelDrop, Evidence::IcmpError]);
    }
}

#[test]
fn repeats_of_a_dropped_syn_are_not_told_again() {
    let drops = (0..4).map(|n| dropped(50 + n * SECOND, OPENER, LISTENER));
    let told = tell([attempt(1, 5, LISTENER)].into_iter().chain(drops), 10 * SECOND);
    assert_eq!(only(told).outcome.state, State::Dropped);
}

#[test]
fn pending_is_told_after_the_first_retransmission_and_what_became_of_it_as_an_update() {
    let retransmitted = seen(SECOND, Fact::SynRetransmitted).cookie(5).ends(OPENER, LISTENER);
    let told =
        tried(tell([attempt(1, 5, LISTENER), retransmitted, failed(20 * SECOND, 5, Some(110))], 30 * SECOND));
    let states: Vec<_> = told.iter().map(|tried| (tried.outcome.state, tried.update)).collect();
    assert_eq!(states, [(State::Pending, false), (State::Dropped, true)]);
    assert_eq!(told[0].id, told[1].id);
}

#[test]
fn a_connection_that_comes_about_and_closes_after_it_was_told_pending_is_told_again() {
    let retransmitted = seen(SECOND, Fact::SynRetransmitted).cookie(5).ends(OPENER, LISTENER);
    let told = tried(tell(
        [
            attempt(1, 5, LISTENER),
            retransmitted,
            established(2 * SECOND, 5, LISTENER),
            closed(2 * SECOND + 1_000, 5),
        ],
        3 * SECOND,
    ));
    let states: Vec<_> = told.iter().map(|tried| (tried.outcome.state, tried.update)).collect();
    assert_eq!(states, [(State::Pending, false), (State::Established, true)]);
    assert_eq!(told[1].closed.map(|totals| totals.bytes_sent), Some(100));
}

#[test]
fn without_hooks_that_would_show_a_syn_none_is_said_to_be_missing() {
    for (sees_syns, evidence) in [(true, Evidence::NoSynSent), (false, Evidence::None)] {
        let mut correlator = Correlator::new(sees_syns);
        let mut told = Vec::new();
        correlator.observe(attempt(1, 5, LISTENER).0, &Around, &mut told);
        correlator.tick(4 * SECOND, &Around, &mut told);
        assert_eq!(only(told).outcome.evidence[..], [evidence]);
    }
}

#[test]
fn times_of_what_is_merged_stay_in_order() {
    let told = only(tell([dropped(10, OPENER, LISTENER).udp(), sent(30, 5)], SECOND));
    assert!(told.time <= told.last, "{told:?}");
}

#[test]
fn a_connection_that_comes_about_after_a_drop_is_told_again() {
    let told = tried(tell(
        [attempt(1, 5, LISTENER), dropped(50, OPENER, LISTENER), established(2 * SECOND, 5, LISTENER)],
        3 * SECOND,
    ));
    let states: Vec<_> = told.iter().map(|tried| (tried.outcome.state, tried.update)).collect();
    assert_eq!(states, [(State::Dropped, false), (State::Established, true)]);
}

#[test]
fn a_refusal_on_this_node_says_that_the_far_end_had_no_socket() {
    let told =
        tell([attempt(1, 5, LISTENER), no_socket(40, OPENER, LISTENER), failed(50, 5, Some(111))], SECOND);
    let told = only(told);
    assert_eq!(told.outcome.state, State::Refused);
    assert_eq!(told.outcome.evidence[..], [Evidence::FarEndNoSocket, Evidence::Reset]);
}

#[test]
fn the_listeners_side_of_an_opener_on_this_node_is_not_a_second_flow() {
    let inbound = seen(1_100, Fact::Inbound).cookie(6).cgroup(8).ends(LISTENER, OPENER);
    let told = tell(
        [
            attempt(1, 5, SERVICE),
            established(1_000, 5, SERVICE),
            inbound,
            closed(3 * SECOND, 6),
            closed(4 * SECOND, 5),
        ],
        5 * SECOND,
    );
    assert_eq!(told.iter().filter(|told| matches!(told, Told::Closed { .. })).count(), 1);
    let first = only(told);
    assert_eq!(first.taken, Some(at(LISTENER)), "the backend that was taken");
    assert_eq!(first.outcome.evidence[..], [Evidence::Handshake, Evidence::Accepted]);
}

#[test]
fn an_opener_from_elsewhere_is_told_at_the_listener() {
    let inbound = seen(1, Fact::Inbound).cookie(6).cgroup(8).ends(LISTENER, "198.51.100.7:50000");
    let told = only(tell([inbound], SECOND));
    assert_eq!((told.origin, told.opener), (Origin::Listener, Some(at("198.51.100.7:50000"))));
    assert_eq!(told.requested, at(LISTENER));
}

#[test]
fn loopback_addresses_of_different_namespaces_are_not_paired() {
    let told = tried(tell(
        [
            attempt(1, 5, "127.0.0.1:80"),
            seen(2, Fact::Established { syn_retries: 0 }).cookie(5).ends("127.0.0.1:40000", "127.0.0.1:80"),
            seen(3, Fact::Inbound).cookie(6).cgroup(8).ends("127.0.0.1:9999", "127.0.0.1:40000"),
        ],
        SECOND,
    ));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|tried| tried.taken.is_none()));
}

#[test]
fn a_datagrams_drop_and_error_come_before_its_send_returns_and_are_still_its() {
    let error = seen(20, Fact::Error { errno: Some(111) }).cookie(5).cgroup(POD).ends(OPENER, LISTENER).udp();
    let told = only(tell([dropped(10, OPENER, LISTENER).udp(), error, sent(30, 5)], SECOND));
    assert_eq!(told.outcome.state, State::Rejected);
    assert_eq!(told.origin, Origin::Opener);
}

#[test]
fn a_late_error_corrects_what_was_told_of_a_datagram() {
    let error =
        seen(2 * SECOND, Fact::Error { errno: Some(111) }).cookie(5).cgroup(POD).ends(OPENER, LISTENER).udp();
    let told = tried(tell([sent(1, 5), error], 3 * SECOND));
    let states: Vec<_> = told.iter().map(|tried| (tried.outcome.state, tried.update)).collect();
    assert_eq!(states, [(State::Sent, false), (State::Refused, true)]);
}

#[test]
fn a_socket_that_turns_to_another_peer_is_told_for_each() {
    let told = tried(tell([sent(1, 5), sent(2, 5)], SECOND));
    assert_eq!(told.len(), 2);
}

#[test]
fn an_unconnected_datagrams_drop_is_a_flow_of_its_own_and_its_repeats_are_not() {
    let told = tell((0..3).map(|n| dropped(1 + n * SECOND, OPENER, LISTENER).udp()), 5 * SECOND);
    let told = only(told);
    assert_eq!((told.origin, told.outcome.state), (Origin::Packet, State::Dropped));
}

#[test]
fn a_dropped_answer_is_no_flow() {
    assert!(
        tell([dropped(1, LISTENER, OPENER).udp()], SECOND).is_empty(),
        "from a port that its sender serves"
    );
    let told = tell([sent(1, 5), dropped(2, "10.244.1.30:53", OPENER).udp()], SECOND);
    assert_eq!(only(told).outcome.state, State::Sent, "to a socket that asked");
}

/// What is told of each, in order: who told it, what became of it, whether it was told before.
fn outcomes(told: Vec<Told>) -> Vec<(Origin, State, bool)> {
    tried(told).into_iter().map(|tried| (tried.origin, tried.outcome.state, tried.update)).collect()
}

#[test]
fn each_fate_of_an_unconnected_datagram_is_one_flow() {
    use Origin::{Listener, Opener};
    const OUTSIDE: &str = "198.51.100.9:53";
    let again = |boot_ns| dropped(boot_ns, "10.244.1.10:40001", OUTSIDE).udp();
    let late = 9 * SECOND;
    type Row = (&'static str, Vec<Seen>, Vec<(Origin, State, bool)>);
    let rows: Vec<Row> = vec![
        ("no answer", vec![sent_to(1, OUTSIDE)], vec![(Opener, State::Sent, false)]),
        (
            "answered at once",
            vec![sent_to(1, OUTSIDE), answered(2, OUTSIDE)],
            vec![(Opener, State::Answered, false)],
        ),
        (
            "answered late",
            vec![sent_to(1, OUTSIDE), answered(SECOND, OUTSIDE)],
            vec![(Opener, State::Sent, false), (Opener, State::Answered, true)],
        ),
        (
            "dropped, and dropped again from another port",
            vec![sent_to(1, OUTSIDE), dropped(2, OPENER, OUTSIDE).udp(), again(SECOND), again(2 * SECOND)],
            vec![(Opener, State::Dropped, false)],
        ),
        (
            "answered, and later dropped",
            vec![sent_to(1, OUTSIDE), answered(2, OUTSIDE), again(SECOND), again(2 * SECOND)],
            vec![(Opener, State::Answered, false), (Opener, State::Dropped, true)],
        ),
        (
            "dropped, and later answered",
            vec![sent_to(1, OUTSIDE), again(2), answered(SECOND, OUTSIDE)],
            vec![(Opener, State::Dropped, false), (Opener, State::Answered, true)],
        ),
        (
            "closed port on this node",
            vec![sent_to(1, OUTSIDE), no_socket(2, OPENER, OUTSIDE).udp()],
            vec![(Opener, State::Refused, false)],
        ),
        (
            "taken on this node, behind a service",
            vec![sent_to(1, SERVICE), received(2, OPENER)],
            vec![(Opener, State::Received, false)],
        ),
        (
            "taken late on this node",
            vec![sent_to(1, LISTENER), received(SECOND, OPENER)],
            vec![(Opener, State::Sent, false), (Opener, State::Received, true)],
        ),
        (
            "of a connected socket, taken before its send came back",
            vec![received(1, OPENER), sent(2, 5)],
            vec![(Opener, State::Received, false)],
        ),
        (
            "of a connected socket, taken after its send came back",
            vec![sent(1, 5), received(2, OPENER)],
            vec![(Opener, State::Received, false)],
        ),
        (
            "of a connected socket, answered",
            vec![sent(1, 5), received(2, OPENER), answered(3, LISTENER).cookie(5)],
            vec![(Opener, State::Answered, false)],
        ),
        (
            "of a connected socket, refused and then answered",
            vec![
                sent(1, 5),
                seen(2, Fact::Error { errno: Some(111) }).cookie(5).ends(OPENER, LISTENER).udp(),
                answered(SECOND, LISTENER).cookie(5),
            ],
            vec![(Opener, State::Refused, false), (Opener, State::Answered, true)],
        ),
        ("from elsewhere", vec![received(1, OUTSIDE)], vec![(Listener, State::Received, false)]),
        (
            "from elsewhere, and taken when it was told",
            vec![arrived(1, OUTSIDE), taken(SECOND, OUTSIDE)],
            vec![(Listener, State::Received, false)],
        ),
        ("taken long after it was told", vec![taken(1, OUTSIDE)], vec![]),
        (
            "here before its send came back, and taken after",
            vec![arrived(1, OPENER), sent(2, 5), taken(3, OPENER)],
            vec![(Opener, State::Received, false)],
        ),
        (
            "here, and taken, behind a service",
            vec![sent_to(1, SERVICE), arrived(2, OPENER), taken(3, OPENER), answered(4, SERVICE)],
            vec![(Opener, State::Answered, false)],
        ),
        (
            "an answer from a backend of the service that was asked",
            vec![sent_to(1, SERVICE), seen(2, Fact::Arrived).cgroup(POD).ends(OPENER, LISTENER).udp()],
            vec![(Opener, State::Answered, false)],
        ),
        (
            "from elsewhere, and its answer dropped",
            vec![received(1, OUTSIDE), dropped(2, "10.244.1.20:5432", "198.51.100.9:999").udp()],
            vec![(Listener, State::Received, false)],
        ),
        (
            "an answer dropped",
            vec![sent_to(1, OUTSIDE), dropped(2, OUTSIDE, OPENER).udp()],
            vec![(Opener, State::Sent, false)],
        ),
        (
            "to two, of one socket",
            vec![sent_to(1, OUTSIDE), sent_to(2, LISTENER), answered(3, LISTENER)],
            vec![(Opener, State::Answered, false), (Opener, State::Sent, false)],
        ),
        (
            "begun anew",
            vec![sent_to(1, OUTSIDE), sent_to(40 * SECOND, OUTSIDE)],
            vec![(Opener, State::Sent, false), (Opener, State::Sent, false)],
        ),
        ("an answer to nobody", vec![answered(1, OUTSIDE)], vec![]),
    ];
    for (name, observations, expected) in rows {
        assert_eq!(outcomes(tell(observations, late.max(41 * SECOND))), expected, "{name}");
    }
}

#[test]
fn what_came_and_was_taken_says_so() {
    for (name, taken, evidence, task) in [
        ("taken", vec![taken(2, "198.51.100.9:53")], Evidence::Accepted, true),
        ("not taken", vec![], Evidence::Arrived, false),
    ] {
        let told = only(tell([arrived(1, "198.51.100.9:53")].into_iter().chain(taken), SECOND));
        assert_eq!(
            (told.outcome.evidence.as_slice(), told.task.is_some()),
            (&[evidence][..], task),
            "{name}"
        );
        assert_eq!((told.opener, told.requested), (Some(at("198.51.100.9:53")), at(LISTENER)), "{name}");
    }
}

/// Type 8, code 0 stand for a port at who is asked; 77 is the number of who asks.
#[test]
fn each_fate_of_a_question_by_icmp_is_one_flow() {
    use Origin::{Opener, Packet};
    const ASKS: &str = "10.244.1.10:77";
    const ASKED: &str = "10.244.1.20:2048";
    const OUTSIDE: &str = "198.51.100.9:2048";
    const VISITOR: &str = "198.51.100.9:5";
    let by = Protocol::Icmp;
    let out = |boot_ns, to| asked(boot_ns, ASKS, to).into_iter().take(1);
    let here = |boot_ns| asked(boot_ns, VISITOR, ASKED).into_iter().skip(1);
    let answer = |boot_ns, from| seen(boot_ns, Fact::Answered).cgroup(POD).ends(ASKS, from).by(by);
    let copy = seen(3, Fact::Arrived).cgroup(SERVER).ends(ASKED, VISITOR).by(by);
    type Row = (&'static str, Vec<Seen>, Vec<(Origin, State, bool)>);
    let rows: Vec<Row> = vec![
        ("no answer", out(1, OUTSIDE).collect(), vec![(Opener, State::Sent, false)]),
        (
            "answered by another node",
            out(1, OUTSIDE).chain([answer(2, OUTSIDE)]).collect(),
            vec![(Opener, State::Answered, false)],
        ),
        (
            "answered on this node",
            asked(1, ASKS, ASKED).into_iter().chain([answer(2, ASKED)]).collect(),
            vec![(Opener, State::Answered, false)],
        ),
        (
            "dropped",
            out(1, OUTSIDE).chain([dropped(2, ASKS, OUTSIDE).by(by)]).collect(),
            vec![(Opener, State::Dropped, false)],
        ),
        ("from elsewhere", here(1).collect(), vec![(Packet, State::Received, false)]),
        (
            "from elsewhere, and a raw socket has its copy",
            here(1).chain([copy]).collect(),
            vec![(Packet, State::Received, false)],
        ),
        (
            "a datagram to the port of the same number",
            out(1, OUTSIDE).chain([sent_to(2, OUTSIDE), answer(3, OUTSIDE)]).collect(),
            vec![(Opener, State::Answered, false), (Opener, State::Sent, false)],
        ),
    ];
    for (name, observations, expected) in rows {
        assert_eq!(outcomes(tell(observations, SECOND)), expected, "{name}");
    }
}

#[test]
fn each_fate_of_an_association_is_one_flow() {
    use Origin::{Listener, Opener};
    let by = Protocol::Sctp;
    let init = || seen(1, Fact::SentTo { task: None }).cgroup(POD).ends(OPENER, LISTENER).by(by);
    let here = || seen(2, Fact::Arrived).cgroup(SERVER).ends(LISTENER, OPENER).by(by);
    let back = |fact| seen(3, fact).cgroup(POD).ends(OPENER, LISTENER).by(by);
    type Row = (&'static str, Vec<Seen>, Vec<(Origin, State, bool)>);
    let rows: Vec<Row> = vec![
        ("no answer", vec![init()], vec![(Opener, State::Sent, false)]),
        (
            "answered on this node",
            vec![init(), here(), back(Fact::Answered)],
            vec![(Opener, State::Answered, false)],
        ),
        (
            "refused by ABORT",
            vec![init(), back(Fact::Error { errno: Some(111) })],
            vec![(Opener, State::Refused, false)],
        ),
        ("dropped", vec![init(), dropped(2, OPENER, LISTENER).by(by)], vec![(Opener, State::Dropped, false)]),
        ("from elsewhere", vec![here()], vec![(Listener, State::Received, false)]),
    ];
    for (name, observations, expected) in rows {
        let told = tried(tell(observations, SECOND));
        assert!(told.iter().all(|tried| tried.peer.is_none()), "{name}: no datagrams are counted");
        let told: Vec<_> =
            told.into_iter().map(|tried| (tried.origin, tried.outcome.state, tried.update)).collect();
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn an_unconnected_sockets_address_is_that_of_its_pod() {
    let told = only(tell([sent_to(1, LISTENER)], SECOND));
    assert_eq!((told.opener, told.requested), (Some(at(OPENER)), at(LISTENER)));
    let told = only(tell([received(1, "198.51.100.9:53")], SECOND));
    assert_eq!((told.opener, told.requested), (Some(at("198.51.100.9:53")), at(LISTENER)));
    assert_eq!(told.outcome.evidence[..], [Evidence::Accepted]);
}

#[test]
fn nothing_is_kept_of_unconnected_flows_when_their_time_is_over() {
    let mut correlator = Correlator::new(true);
    let mut out = Vec::new();
    for number in 0..1_000_u64 {
        let Seen(observation) = sent_to(number, &format!("198.51.{}.{}:53", number / 250, number % 250));
        correlator.observe(observation, &Around, &mut out);
    }
    correlator.tick(SECOND, &Around, &mut out);
    assert_eq!(out.len(), 1_000);
    assert_eq!(correlator.peers_held(), 1_000);
    correlator.tick(100 * SECOND, &Around, &mut out);
    assert_eq!((out.len(), correlator.peers_held()), (1_000, 0));
}

#[test]
fn a_packet_that_found_no_socket_is_a_probe_unless_it_is_a_late_answer() {
    for seen in
        [no_socket(1, "198.51.100.9:40000", LISTENER), no_socket(1, "198.51.100.10:40000", LISTENER).udp()]
    {
        let probe = only(tell([seen], SECOND));
        assert_eq!((probe.origin, probe.requested), (Origin::Packet, at(LISTENER)));
        assert_eq!(probe.outcome.state, State::Refused);
        assert_eq!(probe.outcome.evidence[..], [Evidence::FarEndNoSocket]);
    }
    assert!(tell([no_socket(1, "198.51.100.10:53", OPENER).udp()], SECOND).is_empty());
}

#[test]
fn outcomes_of_sockets_that_were_never_seen_are_left_alone() {
    assert!(tell([established(1, 5, LISTENER), closed(2, 5)], SECOND).is_empty());
}

#[test]
fn every_attempt_is_told_at_the_end() {
    let mut correlator = Correlator::new(true);
    let mut told = Vec::new();
    for cookie in 1..=1_000 {
        correlator.observe(attempt(cookie, cookie, LISTENER).0, &Around, &mut told);
    }
    correlator.finish(&Around, &mut told);
    assert_eq!(tried(told).len(), 1_000);
}

#[test]
fn attempts_beyond_the_tables_bound_are_told_and_not_lost() {
    let mut correlator = Correlator::new(true);
    let mut told = Vec::new();
    for cookie in 1..=70_000 {
        correlator.observe(attempt(cookie, cookie, LISTENER).0, &Around, &mut told);
    }
    assert_eq!(told.len(), 70_000 - 65_536);
    correlator.finish(&Around, &mut told);
    assert_eq!(told.len(), 70_000);
}

fn untold(mut seen: Seen) -> Seen {
    seen.0.untold = true;
    seen
}

#[test]
fn what_becomes_of_a_lost_attempt_is_told_and_counts_none() {
    let mut correlator = Correlator::new(true);
    let mut out = Vec::new();
    let refused = untold(failed(SECOND, 5, Some(111)).cgroup(POD).ends(OPENER, LISTENER));
    correlator.observe(refused.0, &Around, &mut out);
    let told = only(out);
    assert_eq!((told.outcome.state, told.update, told.untold), (State::Refused, true, true));
    assert_eq!((correlator.unmatched.unannounced, correlator.unmatched.outcomes), (0, 0));
    let late = only(tell([untold(sent_to(SECOND, LISTENER))], 9 * SECOND));
    assert_eq!((late.outcome.state, late.update, late.untold), (State::Sent, true, true));
}

/// What would have shown that a SYN left may have been lost itself.
#[test]
fn no_syn_is_said_to_be_missing_where_events_were_lost_meanwhile() {
    let evidence = |gap_ns: Option<u64>| {
        let (mut correlator, mut out) = (Correlator::new(true), Vec::new());
        correlator.observe(attempt(2 * SECOND, 1, LISTENER).0, &Around, &mut out);
        if let Some(gap_ns) = gap_ns {
            correlator.note_gap(false, gap_ns, gap_ns);
        }
        correlator.tick(9 * SECOND, &Around, &mut out);
        only(out).outcome.evidence
    };
    assert_eq!(evidence(None)[..], [Evidence::NoSynSent]);
    assert_eq!(evidence(Some(SECOND))[..], [Evidence::NoSynSent], "it was over by then");
    assert_eq!(evidence(Some(3 * SECOND))[..], [Evidence::None]);
}

#[test]
fn while_attempts_are_lost_and_for_as_long_as_linux_tries_a_stray_may_belong_to_one() {
    let mut correlator = Correlator::new(true);
    let may = |correlator: &Correlator, at_ns: u64| correlator.may_be_lost(FlowId(u128::from(at_ns) << 64));
    assert!(!may(&correlator, SECOND));
    correlator.note_gap(false, 5 * SECOND, 6 * SECOND);
    assert!(!may(&correlator, 5 * SECOND), "no attempt was lost");
    correlator.note_gap(true, 9 * SECOND, 10 * SECOND);
    correlator.note_gap(true, 19 * SECOND, 20 * SECOND);
    let rows = [(8, false), (9, true), (20, true), (159, true), (161, false)];
    for (at, expected) in rows {
        assert_eq!(may(&correlator, at * SECOND), expected, "at {at} s");
    }
    correlator.note_gap(true, 500 * SECOND, 501 * SECOND);
    assert!(!may(&correlator, 300 * SECOND), "the first gap is over");
}

#[test]
fn times_to_come_are_as_few_as_what_waits_for_them() {
    let mut correlator = Correlator::new(true);
    let mut out = Vec::new();
    for number in 0..100_000_u64 {
        let port = 1_024 + number % 60_000;
        let to = format!("10.0.{}.{}:{port}", number / 60_000, number % 250);
        correlator.observe(dropped(SECOND + number, OPENER, &to).0, &Around, &mut out);
        correlator.tick(SECOND + number, &Around, &mut out);
    }
    assert!(correlator.times_held() < 80_000, "{}", correlator.times_held());
}

#[test]
fn a_kind_gives_way_once_it_came_again_and_no_longer_when_it_does_not_go_well() {
    let mut judged = Judged::new();
    let good = allowed();
    let kind =
        Repeat { cgroup_id: POD, direction: Direction::Egress, protocol: Protocol::Tcp, far: at(LISTENER) };
    let tried = told_attempt(SECOND);
    assert_eq!(judged.see(&tried, &good), None, "most come once");
    assert_eq!(judged.see(&tried, &good), Some(kind));
    judged.decide(kind, Some(Class::Allowed));
    assert_eq!(judged.take_wanted(), [(kind, Class::Allowed)]);
    assert_eq!(judged.see(&tried, &good), None, "it is known");
    let bad = Flow { class: Class::BlockedThoughAllowed, ..allowed() };
    assert_eq!(judged.see(&tried, &bad), None);
    assert_eq!(judged.take_unwanted(), [kind]);
    // By a packet that shows no socket.
    judged.see(&tried, &good);
    judged.see(&tried, &good);
    judged.decide(kind, Some(Class::Allowed));
    judged.see(&Tried { origin: Origin::Packet, cgroup_id: None, ..told_attempt(SECOND) }, &bad);
    assert_eq!((judged.take_wanted(), judged.take_unwanted()), (Vec::new(), vec![kind]));
    judged.see(&tried, &good);
    judged.see(&tried, &good);
    judged.decide(kind, None);
    assert_eq!(judged.see(&tried, &good), None, "another backend is not allowed");
    judged.clear();
    assert_eq!(judged.see(&tried, &good), None, "another snapshot begins anew");
    assert_eq!(judged.see(&tried, &good), Some(kind));
}

#[test]
fn only_what_is_allowed_whatever_is_asked_gives_way() {
    let with = |change: &dyn Fn(&mut Flow)| {
        let mut flow = allowed();
        change(&mut flow);
        flow
    };
    let trial = |decision| {
        let (egress, ingress) = (direction_verdict(), direction_verdict());
        Some(TrialVerdict { decision, egress, ingress })
    };
    let rows = [
        ("allowed", allowed(), true),
        ("unrestricted", with(&|flow| flow.class = Class::Unrestricted), true),
        ("denied", with(&|flow| flow.class = Class::DeniedAttempt), false),
        ("not enforced", with(&|flow| flow.class = Class::PolicyNotEnforced), false),
        ("not known", with(&|flow| flow.class = Class::Undetermined), false),
        ("sent, perhaps to nobody", with(&|flow| flow.class = Class::Failed), false),
        ("a policy has just changed", with(&|flow| flow.verdict.settling = true), false),
        ("allowed in trial, too", with(&|flow| flow.verdict.trial = trial(Decision::Allow)), true),
        ("denied in trial", with(&|flow| flow.verdict.trial = trial(Decision::Deny)), false),
    ];
    for (name, flow, expected) in rows {
        let mut judged = Judged::new();
        let tried = told_attempt(SECOND);
        judged.see(&tried, &flow);
        assert_eq!(judged.see(&tried, &flow).is_some(), expected, "{name}");
    }
}

#[test]
fn connections_whose_close_is_awaited_are_bounded_in_one_key_too() {
    let (mut folder, mut written) = (folder(false), Vec::new());
    for id in 0..70_000 {
        folder.fold(flow(id, Class::Unrestricted, State::Established), 0, &mut written);
    }
    assert_eq!(folder.awaited(), 65_536);
    folder.close(FlowId(1), Timestamp::UNIX_EPOCH, &Totals::default(), Receipts::untracked());
    assert_eq!(folder.closes_unmatched, 1);
}

fn direction_verdict() -> DirectionVerdict {
    DirectionVerdict {
        decision: Decision::Allow,
        basis: Basis::Unselected,
        tier: Some(Tier::Default),
        policies: PolicyRefs::default(),
        reason: None,
    }
}

fn flow(id: u128, class: Class, state: State) -> Flow {
    let party = |address: &str| Party {
        endpoint: Endpoint::External(External::default()),
        ip: Some(ip(address)),
        port: Some(at(address).port()),
    };
    let outcome = Outcome { state, errno: None, syn_retries: None, drop: None, evidence: SmallVec::new() };
    Flow {
        receipts: Receipts::untracked(),
        id: FlowId(id),
        direction: Direction::Egress,
        protocol: Protocol::Tcp,
        icmp: None,
        existing: false,
        count: 1,
        first: Timestamp::from_second(i64::try_from(id).unwrap()).unwrap(),
        last: Timestamp::from_second(i64::try_from(id).unwrap()).unwrap(),
        update: false,
        duration_ns: None,
        bytes_sent: None,
        bytes_received: None,
        datagrams_sent: None,
        datagrams_received: None,
        retransmits: None,
        srtt: RoundTrip::default(),
        connect_ns: None,
        source: party(OPENER),
        destination: party(LISTENER),
        source_whose: Whose::default(),
        destination_whose: Whose::default(),
        names: Names::default(),
        dialed: None,
        process: None,
        verdict: Verdict {
            decision: Decision::Allow,
            egress: direction_verdict(),
            ingress: direction_verdict(),
            mixed: None,
            snapshot: 1,
            as_of: Timestamp::UNIX_EPOCH,
            stale_since: None,
            settling: false,
            trial: None,
        },
        outcome,
        class,
        attribution: None,
    }
}

fn folder(each: bool) -> Folder {
    let (denied, other) = (Duration::from_secs(10), Duration::from_secs(60));
    Folder::new(Intervals { denied, other, each, own_at_once: false })
}

#[test]
fn the_first_of_a_key_is_written_at_once_and_repeats_after_the_interval_of_their_class() {
    let rows = [(Class::DeniedAttempt, State::Dropped, 10), (Class::Unrestricted, State::Established, 60)];
    for (class, state, seconds) in rows {
        let (mut folder, mut written) = (folder(false), Vec::new());
        for id in 1..=5 {
            folder.fold(flow(id, class, state), 0, &mut written);
        }
        assert_eq!(written.len(), 1, "{class:?}");
        folder.tick(seconds * SECOND - 1, &mut written);
        assert_eq!(written.len(), 1, "{class:?}");
        folder.tick(seconds * SECOND, &mut written);
        assert_eq!(written.len(), 2, "{class:?}");
        assert_eq!((written[1].count, written[1].id), (4, FlowId(2)));
        assert_eq!((written[1].first.as_second(), written[1].last.as_second()), (2, 5));
    }
}

#[test]
fn a_quiet_key_is_forgotten_and_its_next_flow_is_written_at_once() {
    let (mut folder, mut written) = (folder(false), Vec::new());
    folder.fold(flow(1, Class::DeniedAttempt, State::Dropped), 0, &mut written);
    folder.tick(10 * SECOND, &mut written);
    folder.fold(flow(2, Class::DeniedAttempt, State::Dropped), 11 * SECOND, &mut written);
    assert_eq!(written.len(), 2);
}

#[test]
fn another_state_is_another_key() {
    let (mut folder, mut written) = (folder(false), Vec::new());
    folder.fold(flow(1, Class::DeniedAttempt, State::Dropped), 0, &mut written);
    folder.fold(flow(2, Class::DeniedAttempt, State::Rejected), 0, &mut written);
    assert_eq!(written.len(), 2);
}

#[test]
fn another_answer_of_the_policies_in_trial_is_another_key() {
    let (mut folder, mut written) = (folder(false), Vec::new());
    for (id, trial) in
        [(1, None), (2, Some(Decision::Allow)), (3, Some(Decision::Deny)), (4, Some(Decision::Deny))]
    {
        let mut flow = flow(id, Class::Unrestricted, State::Established);
        let (egress, ingress) = (direction_verdict(), direction_verdict());
        flow.verdict.trial = trial.map(|decision| TrialVerdict { decision, egress, ingress });
        folder.fold(flow, 0, &mut written);
    }
    assert_eq!(written.iter().map(|flow| flow.id).collect::<Vec<_>>(), [1, 2, 3].map(FlowId));
}

#[test]
fn a_closes_sums_come_with_the_next_writing_and_count_no_attempt() {
    let (mut folder, mut written) = (folder(false), Vec::new());
    folder.fold(flow(1, Class::Unrestricted, State::Established), 0, &mut written);
    let srtt = RoundTrip { sum_us: 30, connections: 1 };
    let totals = Totals { duration_ns: Some(5), bytes_sent: 10, bytes_received: 20, retransmits: 1, srtt };
    folder.close(FlowId(1), Timestamp::from_second(9).unwrap(), &totals, Receipts::untracked());
    folder.finish(&mut written);
    assert_eq!(written.len(), 2);
    assert_eq!((written[1].count, written[1].update, written[1].bytes_sent), (0, true, Some(10)));
    assert_eq!(written[1].srtt.mean_us(), Some(30));
    assert_eq!(folder.closes_unmatched, 0);
}

/// A pool's connections stay open for hours, and nothing else is told of their key.
#[test]
fn a_connection_that_outlives_its_keys_interval_is_told_when_it_closes() {
    for each in [false, true] {
        let (mut folder, mut written) = (folder(each), Vec::new());
        folder.fold(flow(1, Class::Unrestricted, State::Established), 0, &mut written);
        folder.fold(flow(2, Class::Unrestricted, State::Established), 0, &mut written);
        (1..=200).for_each(|second| folder.tick(second * SECOND, &mut written));
        written.clear();
        folder.fold(flow(3, Class::Unrestricted, State::Established), 200 * SECOND, &mut written);
        assert_eq!(written.len(), 1, "the key was quiet: the next is written at once");
        (200..=400).for_each(|second| folder.tick(second * SECOND, &mut written));
        written.clear();
        let totals = Totals { bytes_sent: 10, ..Totals::default() };
        (1..=3)
            .for_each(|id| folder.close(FlowId(id), Timestamp::UNIX_EPOCH, &totals, Receipts::untracked()));
        folder.tick(401 * SECOND, &mut written);
        assert_eq!(written.len(), 1);
        assert_eq!((written[0].count, written[0].update, written[0].bytes_sent), (0, true, Some(30)));
        assert_eq!((folder.closes_unmatched, folder.awaited()), (0, 0));
        (401..=500).for_each(|second| folder.tick(second * SECOND, &mut written));
        assert_eq!((written.len(), folder.keys_held()), (1, 0), "forgotten when all have closed");
    }
}

#[test]
fn with_each_every_flow_is_written_on_its_own() {
    let (mut folder, mut written) = (folder(true), Vec::new());
    for id in 1..=5 {
        folder.fold(flow(id, Class::Unrestricted, State::Established), 0, &mut written);
    }
    folder.finish(&mut written);
    assert_eq!(written.iter().map(|flow| flow.count).collect::<Vec<_>>(), [1; 5]);
}

#[test]
fn no_count_is_lost_when_there_are_more_keys_than_fit() {
    let (mut folder, mut written) = (folder(false), Vec::new());
    for round in 0..2 {
        for port in 0..20_000_u16 {
            let mut flow = flow(u128::from(port) + 1, Class::DeniedAttempt, State::Dropped);
            flow.destination.port = Some(port);
            folder.fold(flow, round, &mut written);
        }
    }
    folder.finish(&mut written);
    assert_eq!(written.iter().map(|flow| flow.count).sum::<u64>(), 40_000);
}

#[test]
fn totals_of_a_listener_are_told_as_the_openers() {
    let totals = Totals { bytes_sent: 1, bytes_received: 2, ..Totals::default() };
    let opener = totals.as_opener(Direction::Ingress);
    assert_eq!((opener.bytes_sent, opener.bytes_received), (2, 1));
}

const CGROUP: u64 = 7;
const MS: u64 = 1_000_000;

/// What is told of an attempt that was established at `boot_ns`.
fn told_attempt(boot_ns: u64) -> Tried {
    only(tell([attempt(boot_ns, 5, LISTENER), established(boot_ns, 5, LISTENER)], boot_ns + SECOND))
}

fn allowed() -> Flow {
    flow(1, Class::Allowed, State::Established)
}

/// Its kind is counted in slot 0 since boot time 0; `open` are told and open.
fn counting(open: &[FlowId]) -> (Repeats, Repeat) {
    counting_since(0, open)
}

fn counting_since(since_ns: u64, open: &[FlowId]) -> (Repeats, Repeat) {
    let mut repeats = Repeats::new(true);
    repeats.consider(&told_attempt(SECOND), &allowed(), 3);
    let [wanted] = <[_; 1]>::try_from(repeats.take_wanted()).unwrap();
    let repeat = wanted.0;
    let open = open.iter().copied().collect();
    repeats.begin(wanted, Slot::from(0), &open, since_ns, Timestamp::UNIX_EPOCH);
    (repeats, repeat)
}

fn counts(established: &[u64], closed: &[u64]) -> RepeatCounts {
    let count = |times: &[u64]| u64::try_from(times.len()).unwrap();
    RepeatCounts {
        established: count(established),
        closed: count(closed),
        open_ns_sum: closed.iter().sum::<u64>().wrapping_sub(established.iter().sum()),
        srtt_us_sum: 7 * count(closed),
        bytes_sent: 10 * count(closed),
        last_ns: established.iter().copied().max().unwrap_or(0),
        ..RepeatCounts::default()
    }
}

fn sweep(repeats: &mut Repeats, now_ns: u64, counts: RepeatCounts) -> (Vec<Flow>, Vec<Slot>) {
    let now = Timestamp::from_nanosecond(i128::from(now_ns)).unwrap();
    let last = Timestamp::from_nanosecond(i128::from(counts.last_ns)).unwrap();
    let mut flows = Vec::new();
    let free = repeats.sweep((now_ns, now), |_| Some((counts, last)), &mut flows);
    (flows, free)
}

#[test]
fn only_what_went_well_several_times_and_leads_to_one_place_is_counted() {
    let backend = Some(Dialed { ip: ip(SERVICE), port: 80, service: None, note: None });
    let behind = Tried { taken: Some(at(LISTENER)), ..told_attempt(SECOND) };
    let settling = Verdict { settling: true, ..allowed().verdict };
    let node = Party { endpoint: Endpoint::Node(Arc::default()), ..allowed().destination };
    let rows: [(&str, Tried, Flow, u64, bool); 8] = [
        ("the third repeat", told_attempt(SECOND), allowed(), 3, true),
        ("the second", told_attempt(SECOND), allowed(), 2, false),
        ("refused", told_attempt(SECOND), flow(1, Class::Refused, State::Refused), 9, false),
        ("through a service", told_attempt(SECOND), Flow { dialed: backend, ..allowed() }, 9, false),
        ("translated on the way", behind, allowed(), 9, false),
        ("while a policy settles", told_attempt(SECOND), Flow { verdict: settling, ..allowed() }, 9, false),
        ("to a node", told_attempt(SECOND), Flow { destination: node, ..allowed() }, 9, false),
        (
            "found late",
            told_attempt(SECOND),
            Flow { attribution: Some(Attribution::Departed), ..allowed() },
            9,
            false,
        ),
    ];
    for (name, tried, flow, times, expected) in rows {
        let mut repeats = Repeats::new(true);
        repeats.consider(&tried, &flow, times);
        assert_eq!(!repeats.take_wanted().is_empty(), expected, "{name}");
    }
    let mut off = Repeats::new(false);
    off.consider(&told_attempt(SECOND), &allowed(), 9);
    assert!(off.take_wanted().is_empty(), "not where each is to be told");
}

#[test]
fn counts_become_flows_with_how_long_the_connections_were_open() {
    let (mut repeats, _) = counting(&[]);
    let (first, _) = sweep(&mut repeats, 100 * MS, counts(&[10 * MS, 20 * MS], &[15 * MS]));
    assert_eq!((first.len(), first[0].count, first[0].bytes_sent), (1, 2, Some(10)));
    // 5 ms of the first, and 80 of the second so far.
    assert_eq!(first[0].duration_ns, Some(85 * MS));
    assert_eq!(first[0].srtt, RoundTrip { sum_us: 7, connections: 1 });
    let (none, _) = sweep(&mut repeats, 150 * MS, counts(&[10 * MS, 20 * MS], &[15 * MS]));
    assert!(none.is_empty(), "nothing came and nothing went");
    let (last, _) = sweep(&mut repeats, 300 * MS, counts(&[10 * MS, 20 * MS], &[15 * MS, 200 * MS]));
    assert_eq!((last[0].count, last[0].update, last[0].bytes_sent), (0, true, Some(10)));
    assert_eq!(last[0].duration_ns, Some(100 * MS), "5 + 180 ms in all");
}

#[test]
fn sums_of_times_may_wrap_around() {
    let (mut repeats, _) = counting(&[]);
    let wrapped = RepeatCounts {
        established: 2,
        closed: 1,
        // Established at 10 and 40, closed at 30.
        open_ns_sum: 20_u64.wrapping_neg(),
        ..RepeatCounts::default()
    };
    assert_eq!(sweep(&mut repeats, SECOND, wrapped).0[0].duration_ns, Some(SECOND - 20));
}

/// Told before, closed in the kernel's count; and counted, but closed by an event after its kind had gone.
#[test]
fn a_connection_is_counted_once_whichever_way_its_ends_are_told() {
    let id = FlowId(u128::from(40 * MS) << 64 | 9);
    let (mut repeats, repeat) = counting(&[id]);
    let (flows, _) = sweep(&mut repeats, 100 * MS, counts(&[50 * MS], &[90 * MS]));
    assert_eq!((flows[0].count, flows[0].bytes_sent), (1, Some(10)));
    // One closed at 90 ms; of both, 50 ms + 60 ms − whichever is open until 100 ms.
    assert_eq!(flows[0].duration_ns, Some(100 * MS));
    repeats.doubt(&Tried { opener: Some(at(OPENER)), ..told_attempt(SECOND) });
    assert_eq!(repeats.take_unwanted(), [repeat]);
    repeats.left(&repeat, 100 * MS);
    let (_, early) = sweep(&mut repeats, 200 * MS, counts(&[50 * MS], &[90 * MS]));
    assert!(early.is_empty(), "a program may be counting still");
    let (_, free) = sweep(&mut repeats, 100 * MS + SECOND, counts(&[50 * MS], &[90 * MS]));
    assert_eq!(free, [Slot::from(0)]);
    let totals = Totals { bytes_sent: 3, bytes_received: 4, ..Totals::default() };
    let mut out = Vec::new();
    let at = (2 * SECOND, Timestamp::UNIX_EPOCH);
    assert!(repeats.close(&repeat, &totals, &mut Receipts::untracked(), at, &mut out));
    assert_eq!((out[0].count, out[0].bytes_sent, out[0].bytes_received), (0, Some(3), Some(4)));
    assert_eq!(out[0].duration_ns, Some(2 * SECOND - 100 * MS), "all but what was told");
}

#[test]
fn what_an_agent_before_has_counted_is_told_from_where_it_stopped() {
    let ledger = crate::model::ledger::tests::counting();
    let told = |slot| ledger.tally().unwrap().told(slot);
    let (_, repeat) = counting(&[]);
    let kind = Kind { repeat, near: Some(SocketAddr::new(ip(OPENER), 0)), accepted: true };
    let before = counts(&[MS, MS, MS], &[2 * MS]);
    let slot = Slot::from(0);
    let left = LeftBehind { kind, slot: Some(slot), told: sums_of(&before), doubtful: true, carried: 1 };
    let mut repeats = Repeats::new(true);
    repeats.ledger = Some(ledger);
    let tried = Tried::of_kind(&kind, 100 * MS, Timestamp::UNIX_EPOCH);
    assert_eq!(tried.outcome.evidence[..], [Evidence::Handshake, Evidence::Accepted]);
    repeats.take_over(&left, tried, super::fold::template(&allowed()), 100 * MS, Timestamp::UNIX_EPOCH);
    assert!(
        repeats.counts(CGROUP, at(LISTENER), Protocol::Tcp) && repeats.is_counted(ip(OPENER), at(LISTENER))
    );
    assert!(!repeats.adopt(&told_attempt(SECOND), &allowed()), "nothing more is counted");
    repeats.judge_found(|_| Some(allowed()));
    let now = counts(&[MS, MS, MS, 90 * MS], &[2 * MS, 95 * MS]);
    let (flows, early) = sweep(&mut repeats, 200 * MS, now);
    assert!(early.is_empty());
    let [flow] = <[Flow; 1]>::try_from(flows).unwrap();
    assert_eq!((flow.count, flow.bytes_sent, flow.duration_ns), (1, Some(10), None));
    assert!(flow.receipts.are_doubtful(), "an output may have it");
    assert_eq!(told(0), [0; 6], "it is not written");
    drop(flow);
    assert_eq!(told(0)[..2], [1, 1]);
    let (flows, free) = sweep(&mut repeats, 2 * SECOND, counts(&[MS; 5], &[2 * MS; 2]));
    assert_eq!((flows[0].count, flows[0].receipts.are_doubtful(), free), (1, false, vec![slot]));
    // Opened under the agent before, and closed by an event.
    let totals = Totals { bytes_sent: 3, ..Totals::default() };
    let (mut out, time) = (Vec::new(), (3 * SECOND, Timestamp::UNIX_EPOCH));
    let mut receipts = Receipts::of(ledger, 2, false);
    assert!(repeats.close(&repeat, &totals, &mut receipts, time, &mut out));
    assert_eq!((out[0].count, out[0].bytes_sent, out[0].duration_ns), (0, Some(3), None));
    assert_eq!(out[0].receipts.oldest(), Some(2), "its event is told with it");
}

#[test]
fn what_an_agent_before_has_counted_and_is_left_out_now_is_settled() {
    let ledger = crate::model::ledger::tests::counting();
    let (_, repeat) = counting(&[]);
    let kind = Kind { repeat, near: None, accepted: false };
    let left = LeftBehind { kind, slot: Some(Slot::from(1)), told: [0; 6], doubtful: false, carried: 0 };
    let mut repeats = Repeats::new(false);
    repeats.ledger = Some(ledger);
    let tried = Tried::of_kind(&kind, 0, Timestamp::UNIX_EPOCH);
    repeats.take_over(&left, tried, super::fold::template(&allowed()), 0, Timestamp::UNIX_EPOCH);
    repeats.judge_found(|_| None);
    let (flows, _) = sweep(&mut repeats, SECOND, counts(&[MS; 5], &[]));
    assert!(flows.is_empty());
    assert_eq!((repeats.left_out, ledger.tally().unwrap().told(1)[0]), (5, 5));
}

#[test]
fn a_kind_that_would_be_judged_otherwise_or_is_quiet_is_told_again() {
    let (mut repeats, repeat) = counting(&[]);
    repeats.judge_anew(|_| Some(allowed()));
    assert!(repeats.take_unwanted().is_empty());
    repeats.judge_anew(|_| Some(flow(1, Class::PolicyNotEnforced, State::Established)));
    assert_eq!(repeats.take_unwanted(), [repeat]);
    let (mut quiet, repeat) = counting(&[]);
    sweep(&mut quiet, 121 * SECOND, RepeatCounts::default());
    assert_eq!(quiet.take_unwanted(), [repeat]);
    assert!(!quiet.adopt(&told_attempt(SECOND), &flow(1, Class::Refused, State::Refused)));
}

#[test]
fn nothing_begins_to_be_counted_while_an_end_may_be_among_the_losses() {
    let mut correlator = Correlator::new(true);
    correlator.note_gap(true, SECOND, 2 * SECOND);
    assert!(correlator.is_calm(2 * SECOND), "what gave way took no end with it");
    correlator.note_refused(2 * SECOND);
    assert!(!correlator.is_calm(3 * SECOND));
    assert!(correlator.is_calm(4 * SECOND), "what was silent so long will not be counted");
}

/// The kernel passed the attempts over: what else is seen of them stands for them.
#[test]
fn an_attempt_that_was_passed_over_is_told_by_what_became_of_it() {
    let rows: [(&str, Vec<Seen>, State, bool); 3] = [
        ("refused", vec![failed(SECOND, 5, Some(111)).cgroup(CGROUP)], State::Refused, true),
        (
            "dropped, and given up",
            vec![dropped(SECOND, OPENER, LISTENER), failed(SECOND + MS, 5, None).cgroup(CGROUP)],
            State::Dropped,
            true,
        ),
        (
            "of a kind that is not counted",
            vec![failed(SECOND, 5, Some(111)).cgroup(8)],
            State::Unknown,
            false,
        ),
    ];
    for (name, seen, state, expected) in rows {
        let all = tried(tell_around(&Counting, seen, 2 * SECOND));
        assert_eq!(all.len(), usize::from(expected), "{name}: {all:#?}");
        for one in all {
            assert_eq!(
                (one.outcome.state, one.unannounced, one.cgroup_id),
                (state, true, Some(CGROUP)),
                "{name}"
            );
        }
    }
}

/// The packet was told as a flow of its own before the socket gave up: the rest is an update of that.
#[test]
fn a_drop_that_was_told_is_taken_over_by_its_attempt() {
    let dropped = dropped(SECOND, OPENER, LISTENER);
    let rejected = failed(2 * SECOND, 5, Some(113)).cgroup(CGROUP);
    let all = tried(tell_around(&Counting, [dropped, rejected], 3 * SECOND));
    assert_eq!(all.len(), 2, "{all:#?}");
    assert_eq!((all[0].origin, all[0].outcome.state), (Origin::Packet, State::Dropped));
    assert_eq!((all[1].id, all[1].update, all[1].outcome.state), (all[0].id, true, State::Rejected));
}

/// While the ring is never empty, time passes all the same; and a kind that is told again meanwhile is told.
#[test]
fn a_kind_is_looked_through_once_what_was_told_before_it_was_counted_is_known() {
    let since_ns = 5 * SECOND;
    let (mut repeats, repeat) = counting_since(since_ns, &[]);
    assert!(repeats.take_begun(Some(since_ns)).is_empty(), "more from before may come");
    repeats.left(&repeat, 7 * SECOND);
    let begun = Begun { repeat, since_ns, until_ns: 7 * SECOND };
    assert_eq!(repeats.take_begun(Some(since_ns + 1)), [begun]);
    assert!(repeats.take_begun(None).is_empty(), "once");
    let (mut repeats, _) = counting_since(since_ns, &[]);
    assert_eq!(repeats.take_begun(None).len(), 1, "the ring is empty: there is no more");
}

/// Everything from before the counting was observed; what is open then is counted, or told for itself.
#[test]
fn an_attempt_whose_kind_came_to_be_counted_meanwhile_is_not_told_twice() {
    let mut correlator = Correlator::new(true);
    let mut told = Vec::new();
    for Seen(seen) in [attempt(MS, 4, LISTENER), attempt(SECOND, 5, LISTENER), attempt(SECOND, 6, SERVICE)] {
        correlator.observe(seen, &Counting, &mut told);
    }
    correlator.pass_over(|cgroup_id, far, _, boot_ns| {
        (cgroup_id, far) == (CGROUP, at(LISTENER)) && boot_ns >= SECOND
    });
    assert_eq!(correlator.unmatched.passed_over, 1);
    correlator.finish(&Counting, &mut told);
    let left: Vec<_> = told
        .iter()
        .map(|told| match told {
            Told::Tried(tried) => (tried.requested, tried.time),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(left.len(), 2, "another kind, and what is too old to be counted: {left:?}");
    assert!(left.iter().any(|(requested, _)| *requested == at(SERVICE)), "{left:?}");
}

/// Of a connection that is older than the agent it is told that it is there, and what it came to; not since when.
#[test]
fn an_existing_connection_is_told_once_and_its_close_without_a_duration() {
    let both = [existing(SECOND, 5, true, OPENER, SERVICE), existing(SECOND, 6, false, LISTENER, OPENER)];
    let told = tell(both.into_iter().chain([closed(9 * SECOND, 5), closed(9 * SECOND, 6)]), 10 * SECOND);
    assert!(
        matches!(&told[..], [Told::Tried(_), Told::Closed { totals, .. }]
            if totals.duration_ns.is_none() && totals.bytes_sent == 100),
        "{told:#?}"
    );
    let one = only(told);
    assert!(one.existing && !one.update);
    assert_eq!((one.origin, one.requested, one.taken), (Origin::Opener, at(SERVICE), Some(at(LISTENER))));
    assert_eq!(
        (one.outcome.state, one.outcome.evidence),
        (State::Established, smallvec![Evidence::Existing])
    );

    let elsewhere = only(tell([existing(SECOND, 6, false, LISTENER, OPENER)], 2 * SECOND));
    assert!(elsewhere.existing);
    assert_eq!((elsewhere.origin, elsewhere.opener), (Origin::Listener, Some(at(OPENER))));
}

/// The walk over all sockets comes after the hooks were attached, and its records come first.
#[test]
fn a_socket_that_was_found_and_whose_attempt_was_seen_is_told_by_that_alone() {
    let mut correlator = Correlator::new(true);
    let mut told = Vec::new();
    let found = [existing(SECOND, 5, true, OPENER, LISTENER), existing(SECOND, 6, false, LISTENER, OPENER)];
    let hooks = [attempt(SECOND / 2, 5, LISTENER), established(SECOND / 2 + MS, 5, LISTENER)];
    let inbound = seen(SECOND / 2 + MS, Fact::Inbound).cookie(6).cgroup(SERVER).ends(LISTENER, OPENER);
    for Seen(seen) in found.into_iter().chain(hooks).chain([inbound]) {
        correlator.observe(seen, &Around, &mut told);
    }
    correlator.tick(2 * SECOND, &Around, &mut told);
    let one = only(told);
    assert!(!one.existing);
    assert_eq!(one.outcome.evidence[..], [Evidence::Handshake, Evidence::Accepted]);
    let unmatched = correlator.unmatched;
    assert_eq!((unmatched.existing_known, unmatched.existing_paired, unmatched.accepts_paired), (1, 1, 1));
}

/// With folding a scan is one flow for each pod and source, whatever the ports.
#[test]
fn a_scan_of_closed_ports_is_folded_into_one_flow_and_what_listens_is_not() {
    let probe = |id: u16| {
        let mut flow = flow(id.into(), Class::PolicyNotEnforced, State::Refused);
        flow.direction = Direction::Ingress;
        flow.outcome.evidence = smallvec![Evidence::FarEndNoSocket];
        flow.destination.port = Some(id);
        flow
    };
    let (mut folder, mut written) = (folder(false), Vec::new());
    for port in 1..=10_000 {
        folder.fold(probe(port), 0, &mut written);
    }
    let mut refused = probe(7);
    refused.outcome.evidence.push(Evidence::Reset);
    folder.fold(refused, 0, &mut written);
    folder.finish(&mut written);
    let counts: Vec<_> = written.iter().map(|flow| (flow.destination.port, flow.count)).collect();
    assert_eq!(counts, [(Some(1), 1), (Some(7), 1), (Some(2), 9_999)]);
}

/// No hook tells of the send: the packet that found no socket and the error that came back are one attempt's.
#[test]
fn a_refused_datagram_of_which_no_send_was_seen_is_one_flow() {
    let error = seen(2, Fact::Error { errno: Some(111) }).cookie(5).cgroup(POD).ends(OPENER, LISTENER).udp();
    let one = only(tell([no_socket(1, OPENER, LISTENER).udp(), error], SECOND));
    assert_eq!((one.cgroup_id, one.outcome.state, one.outcome.errno), (Some(POD), State::Refused, Some(111)));
    assert_eq!(one.outcome.evidence[..], [Evidence::FarEndNoSocket, Evidence::Reset]);
}

#[test]
fn datagrams_are_told_as_they_come_and_a_first_one_is_told_by_its_flow() {
    let egress =
        Repeat { cgroup_id: POD, direction: Direction::Egress, protocol: Protocol::Udp, far: at(LISTENER) };
    let mut exchanged = Exchanged::default();
    let sent = flow(1, Class::Allowed, State::Sent);
    exchanged.remember(egress, false, &sent, 0);
    let mut now_ns = 0;
    let mut look = |exchanged: &mut Exchanged, counts: Option<(u64, u64)>| {
        now_ns += 10 * SECOND;
        let counts = counts.map(|(sent, received)| PeerCounts { sent, received, ..PeerCounts::default() });
        let mut told = Vec::new();
        exchanged.sweep(now_ns, false, |_| Some((counts?, Timestamp::UNIX_EPOCH)), &mut told);
        let sums = |flow: &Flow| (flow.count, flow.datagrams_sent.unwrap(), flow.datagrams_received.unwrap());
        told.iter().map(sums).collect::<Vec<_>>()
    };
    assert_eq!(look(&mut exchanged, Some((1, 1))), [], "the flow has told of these");
    assert_eq!(look(&mut exchanged, Some((5, 4))), [(0, 5, 4)]);
    assert_eq!(look(&mut exchanged, Some((5, 4))), []);
    assert_eq!(look(&mut exchanged, Some((6, 4))), [(0, 1, 0)]);
    // It fell silent, and the next is a flow of its own, counted anew.
    exchanged.remember(egress, false, &sent, 0);
    assert_eq!(look(&mut exchanged, Some((1, 0))), []);
    assert_eq!(look(&mut exchanged, Some((9, 1))), [(0, 9, 1)]);
    // It gave way in the kernel's table and came again.
    assert_eq!(look(&mut exchanged, Some((2, 0))), [(0, 2, 0)]);
    assert_eq!(look(&mut exchanged, None), []);
    assert_eq!(look(&mut exchanged, Some((9, 9))), [], "it is forgotten");
}

#[test]
fn a_peer_that_was_silent_for_long_is_forgotten_and_the_rest_of_it_is_told() {
    let egress =
        Repeat { cgroup_id: POD, direction: Direction::Egress, protocol: Protocol::Udp, far: at(LISTENER) };
    let mut exchanged = Exchanged::default();
    exchanged.remember(egress, false, &flow(1, Class::Allowed, State::Sent), 0);
    let mut look = |now_ns: u64, sent: u64| {
        let counts = PeerCounts { sent, last_ns: SECOND, ..PeerCounts::default() };
        let mut told = Vec::new();
        exchanged.sweep(now_ns, false, |_| Some((counts, Timestamp::UNIX_EPOCH)), &mut told);
        told.len()
    };
    assert_eq!((look(100 * SECOND, 5), look(200 * SECOND, 7), look(300 * SECOND, 9)), (1, 1, 0));
}
