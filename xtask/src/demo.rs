//! `cargo xtask demo`: a node of namespaces, real traffic, the real agent, its real lines.
//!
//! Lines go to stdout, everything else to stderr, so that `cargo xtask demo | jq` works. The demo is also a
//! check of itself: it fails where a step or its record comes to something else than the scenario says.

use crate::command::{need_root, say};
use crate::interrupt::Interrupt;
use crate::{build, setup};
use anyhow::{Context, Result, bail};
use clap::Args;
use flowlog_tests::scenario::Act;
use flowlog_tests::{Agent, Ended, Scenario, World, agent, matching};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::time::Duration;

/// How long a record may take after its step ended.
const RECORD: Duration = Duration::from_secs(5);

/// Classes as the table shows them: what matters most first.
const CLASSES: [&str; 9] = [
    "policy_not_enforced",
    "denied_attempt",
    "blocked_though_allowed",
    "blocked_unexplained",
    "undetermined",
    "unrestricted",
    "refused",
    "failed",
    "allowed",
];

/// Arguments of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Another scenario folder (`manifests/`, `node.nft`, `traffic.yaml`; `trial/` if there are policies in trial, `vendors.yaml` if
    /// it tells whose images are whose).
    #[arg(long)]
    scenario: Option<PathBuf>,
}

/// Play the scenario.
pub(crate) fn demo(args: &DemoArgs) -> Result<()> {
    need_root("the demo")?;
    setup::setup()?;
    // The build that the tests use: a newcomer waits for one, not for two.
    let program = build::agent(false)?;
    build::traffic()?;
    let interrupt = Interrupt::hold()?;
    let scenario = args.scenario.as_deref().map_or_else(Scenario::demo, Scenario::read)?;
    say("building a node: namespaces, cgroups, services, enforcement");
    let (world, servers) = scenario.stage().inspect_err(|_| drop(interrupt.check()))?;
    interrupt.check()?;
    let agent = start(&scenario, &world, program)?;
    let played = play(&scenario, &world, &agent, &interrupt);
    let wrong = match played {
        Ok(wrong) => wrong,
        Err(error) => return interrupt.check().and(Err(error)),
    };
    let ended = agent.stop()?;
    drop(servers);
    drop(world);
    table(&ended)?;
    conclude(&scenario, &wrong)
}

fn start(scenario: &Scenario, world: &World, program: PathBuf) -> Result<Agent> {
    let manifests = scenario.manifests();
    let mut arguments: Vec<std::ffi::OsString> = vec![
        "run".into(),
        "--each".into(),
        "--node".into(),
        scenario.node().into(),
        "--manifests".into(),
        manifests.into_os_string(),
        "--cgroup-root".into(),
        world.cgroup_root().into_os_string(),
    ];
    if let Some(folder) = scenario.trial_policies() {
        arguments.extend(["--trial-policies".into(), folder.into_os_string()]);
    }
    if let Some(file) = scenario.vendors() {
        arguments.extend(["--vendors".into(), file.into_os_string()]);
    }
    // A reader that went away (`| head`) is no fault; the demo goes on to remove what it made.
    let show = |line: &str| drop(writeln!(stdout(), "{line}"));
    agent::Start::new(arguments).program(program).echo(show).start()
}

/// Do every step and wait for its record; what came out otherwise than written.
fn play(scenario: &Scenario, world: &World, agent: &Agent, interrupt: &Interrupt) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for act in scenario.acts() {
        interrupt.check()?;
        announce(act);
        let first = agent.count();
        let answer = act.perform(world)?;
        if answer.outcome != act.sees.outcome || answer.errno != act.sees.errno {
            wrong.push(format!("{}: the process saw {answer:?}, not {:?}", act.about, act.sees));
        }
        wrong.extend(await_record(act, agent, first)?);
    }
    Ok(wrong)
}

/// A flow may be told again with the same id when more is known (`pending`, then what became of it).
fn await_record(act: &Act, agent: &Agent, first: usize) -> Result<Option<String>> {
    let part = act.record();
    let told = |lines: &[Value]| -> Vec<Value> {
        lines.iter().skip(first).filter(|line| act.is_told_by(line)).cloned().collect()
    };
    let find = |lines: &[Value]| told(lines).iter().any(|line| matching::contains(line, &part)).then_some(());
    Ok(match agent.wait_until(RECORD, find)? {
        Ok(()) => None,
        Err(lines) => {
            Some(format!("{}: expected {part}; {}", act.about, matching::nearest(&told(&lines), &part)))
        }
    })
}

fn announce(act: &Act) {
    let to = act.step.target().map_or_else(String::new, |to| format!(" → {to}"));
    let line = format!("# {}{to} ({})", act.at, act.about);
    if stderr().is_terminal() {
        eprintln!("\x1b[2m{line}\x1b[0m");
    } else {
        eprintln!("{line}");
    }
}

/// One row a class, from the last that openers' records say of each flow, and the sum of attempts.
fn table(ended: &Ended) -> Result<()> {
    let openers =
        ended.lines.iter().filter(|line| line["kind"] == "flow" && line["flow"]["direction"] == "egress");
    let mut flows: Vec<&Value> = Vec::new();
    for line in openers {
        match flows.iter_mut().find(|flow| flow["flow"]["id"] == line["flow"]["id"]) {
            Some(earlier) => *earlier = line,
            None => flows.push(line),
        }
    }
    let mut rows = vec![["class", "flows", "example", "declared", "outcome", "drop"].map(str::to_owned)];
    for class in CLASSES {
        let of_class: Vec<_> = flows.iter().filter(|line| line["class"] == class).collect();
        if let Some(example) = of_class.first() {
            rows.push(row(class, of_class.len(), example));
        }
    }
    eprint!("\n{}", aligned(&rows));
    eprint!("\n{}", aligned(&third_parties(&flows)));
    let attempts = &ended.stop_record()?["agent"]["counters"]["attempts"];
    let count = |key: &str| attempts[key].as_u64().with_context(|| format!("the stop record has no {key}"));
    let (seen, recorded) = (count("seen")?, count("recorded")?);
    let (lost, out_of_scope) = (count("lost")?, count("out_of_scope")?);
    eprintln!("\n{seen} attempts seen = {recorded} recorded + {lost} lost + {out_of_scope} out of scope");
    Ok(())
}

/// One row a third party: how much of what it tried got through, and what of it matters most.
fn third_parties(flows: &[&Value]) -> Vec<[String; 5]> {
    let mut found: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| flow["source"]["origin"] == "third_party") {
        found.entry(flow["source"]["vendor"].as_str().unwrap_or("?")).or_default().push(flow);
    }
    let mut rows = vec![["third party", "flows", "got through", "stopped", "example"].map(str::to_owned)];
    rows.extend(found.into_iter().map(|(vendor, flows)| {
        let through = flows.iter().filter(|flow| flow["outcome"]["state"] == "established").count();
        let rank = |flow: &Value| CLASSES.iter().position(|class| flow["class"] == *class);
        let example = flows.iter().min_by_key(|flow| rank(flow).unwrap_or(CLASSES.len()));
        let example = example.map_or_else(String::new, |flow| {
            let class = flow["class"].as_str().unwrap_or("?");
            format!("{} → {}: {class}", end(&flow["source"], false), end(&flow["destination"], true))
        });
        let stopped = (flows.len() - through).to_string();
        [vendor.to_owned(), flows.len().to_string(), through.to_string(), stopped, example]
    }));
    rows
}

fn row(class: &str, count: usize, line: &Value) -> [String; 6] {
    let text = |value: &Value| value.as_str().unwrap_or("–").to_owned();
    [
        class.to_owned(),
        count.to_string(),
        format!("{} → {}", end(&line["source"], false), end(&line["destination"], true)),
        text(&line["verdict"]["decision"]),
        text(&line["outcome"]["state"]),
        text(&line["outcome"]["drop"]["reason"]),
    ]
}

/// A pod by its workload's name, another by its address.
fn end(end: &Value, with_port: bool) -> String {
    let name = match (end["namespace"].as_str(), end["workload"]["name"].as_str().or(end["pod"].as_str())) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ => end["ip"].as_str().unwrap_or("?").to_owned(),
    };
    match end["port"].as_u64().filter(|_| with_port) {
        Some(port) => format!("{name} :{port}"),
        None => name,
    }
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    rows.iter()
        .map(|row| {
            let cells: Vec<_> =
                row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

fn conclude(scenario: &Scenario, wrong: &[String]) -> Result<()> {
    if !wrong.is_empty() {
        bail!(
            "{} of {} steps came out otherwise than written:\n{}",
            wrong.len(),
            scenario.acts().len(),
            wrong.join("\n")
        );
    }
    say(&format!(
        "all {} steps came out as written; everything that was made has been removed",
        scenario.acts().len()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_names_both_ends_as_people_do() {
        let line = json!({
            "source": {"namespace": "shop", "pod": "frontend-1-2", "workload": {"name": "frontend"}, "ip": "10.1.1.1", "port": 4000},
            "destination": {"kind": "external", "ip": "2001:db8::20", "port": 8443},
            "verdict": {"decision": "allow"},
            "outcome": {"state": "dropped", "drop": {"reason": "NETFILTER_DROP"}},
        });
        let expected =
            ["failed", "2", "shop/frontend → 2001:db8::20 :8443", "allow", "dropped", "NETFILTER_DROP"];
        assert_eq!(row("failed", 2, &line), expected);
    }

    #[test]
    fn third_parties_are_told_with_what_matters_most() {
        let flow = |vendor: Option<&str>, class: &str, state: &str| {
            json!({
                "source": {"namespace": "a", "pod": "b", "origin": if vendor.is_some() { "third_party" } else { "first_party" },
                    "vendor": vendor},
                "destination": {"ip": "198.51.100.1", "port": 443}, "class": class, "outcome": {"state": state},
            })
        };
        let flows = [
            flow(Some("Lumenwatch"), "unrestricted", "established"),
            flow(Some("Lumenwatch"), "denied_attempt", "dropped"),
            flow(None, "policy_not_enforced", "established"),
        ];
        let rows = third_parties(&flows.iter().collect::<Vec<_>>());
        assert_eq!(
            rows[1..],
            [["Lumenwatch", "2", "1", "1", "a/b → 198.51.100.1 :443: denied_attempt"].map(str::to_owned)]
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest() {
        let rows = [
            ["a", "b", "→", "", "", "x"].map(str::to_owned),
            ["aaa", "b", "c", "", "", ""].map(str::to_owned),
        ];
        assert_eq!(aligned(&rows), "a    b  →      x\naaa  b  c\n");
    }
}
