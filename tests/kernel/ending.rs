//! However the agent ends, nothing of it stays in the kernel.

use crate::stage::{API, Family, Net, SOON, Stage, check, do_step, missing_hooks, small, told};
use aya::programs::{loaded_links, loaded_programs};
use flowlog_tests::{Agent, Outcome, Step, wait};
use nix::sys::signal::Signal;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;

/// Programs and links by id.
#[derive(Debug, Default, PartialEq, Eq)]
struct Attached {
    programs: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Attached {
    /// What this process holds, as the kernel tells of its open files.
    fn of(agent: &Agent) -> Self {
        let mut attached = Self::default();
        for entry in fs::read_dir(format!("/proc/{}/fdinfo", agent.pid())).unwrap() {
            let Ok(text) = fs::read_to_string(entry.unwrap().path()) else { continue };
            let field = |name: &str| -> Option<u32> {
                text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            };
            attached.programs.extend(field("prog_id:"));
            attached.links.extend(field("link_id:"));
        }
        attached
    }

    /// What of it the kernel has still.
    fn remaining(&self) -> Self {
        let programs = loaded_programs().filter_map(|program| Some(program.ok()?.id()));
        let links = loaded_links().filter_map(|link| Some(link.ok()?.id()));
        Self {
            programs: programs.filter(|id| self.programs.contains(id)).collect(),
            links: links.filter(|id| self.links.contains(id)).collect(),
        }
    }
}

/// Programs that stay attached, where a kernel has all.
const HOOKS: usize = 14;

/// As many as this kernel takes: what it lacks beside hooks is read once, or from another hook's context.
fn hooks() -> usize {
    HOOKS - missing_hooks().filter(|missing| !["existing", "answers"].contains(missing)).count()
}

#[track_caller]
fn hold(agent: &Agent) -> Attached {
    let attached = Attached::of(agent);
    assert_eq!((attached.programs.len(), attached.links.len()), (hooks(), hooks()), "{attached:?}");
    assert_eq!(attached.remaining(), attached, "the kernel has what the agent holds");
    attached
}

/// The kernel frees programs a moment after their last user went.
#[track_caller]
fn nothing_remains(attached: &Attached) {
    wait::until("nothing of the agent is left in the kernel", SOON, || {
        Ok(attached.remaining() == Attached::default())
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", attached.remaining()));
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_signal_ends_it_in_order_and_takes_everything_out() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let net = Net::new();
        let mut stage = Stage::new(net, &small(net));
        let _server = stage.serve_api();
        let mut agent = stage.agent(&[]);
        let attached = hold(&agent);
        do_step(
            &mut stage.actor("client"),
            &Step::connect(net.at(Family::V4, API, 8080)),
            Outcome::Established,
        );
        // At once: what the hooks saw is drained and told before it ends.
        agent.signal(signal).unwrap();
        let ended = agent.ended().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{signal}: {}", ended.stderr);
        check(&ended);
        assert_eq!(ended.stop_record().unwrap()["agent"]["reason"], "signal");
        let flows =
            ended.matching(&json!({"source": {"pod": "client"}, "outcome": {"state": "established"}}));
        assert_eq!(flows.len(), 1, "{flows:#?}");
        nothing_remains(&attached);
    }
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_kill_takes_everything_out_too() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let mut agent = stage.agent(&[]);
    let attached = hold(&agent);
    agent.signal(Signal::SIGKILL).unwrap();
    let ended = agent.ended().unwrap();
    assert_eq!(ended.status.code(), None);
    nothing_remains(&attached);
    // And the next one starts as if there had been none.
    let next = stage.agent(&[]);
    do_step(&mut stage.actor("client"), &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    told(&next, &json!({"source": {"pod": "client"}, "outcome": {"state": "established"}}));
    crate::stage::end(next);
}

/// Two agents at one cgroup do not disturb each other: links stand side by side.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn two_agents_see_the_same_and_one_can_go() {
    let net = Net::new();
    let mut stage = Stage::new(net, &small(net));
    let _server = stage.serve_api();
    let (one, other) = (stage.agent(&["--each"]), stage.agent(&["--each"]));
    let mut client = stage.actor("client");
    do_step(&mut client, &Step::connect(net.at(Family::V4, API, 8080)), Outcome::Established);
    let seen = json!({"source": {"pod": "client"}, "destination": {"pod": "api"}, "outcome": {"state": "established"}});
    told(&one, &seen);
    told(&other, &seen);
    crate::stage::end(one);
    do_step(&mut client, &Step::connect(net.at(Family::V6, API, 8080)), Outcome::Established);
    told(&other, &json!({"source": {"pod": "client"}, "flow": {"family": "ipv6"}}));
    crate::stage::end(other);
}
