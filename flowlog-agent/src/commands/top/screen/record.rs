//! One record, in full: what the policies said in each direction, what the network did, who it was.

use crate::commands::observing::ends;
use crate::record::row::{EndRow, Row, SideRow};
use crate::report::shown;

/// Names and texts, in the order in which a person asks.
pub(in super::super) fn details(line: &[u8]) -> Vec<(String, String)> {
    let row = match Row::read(line) {
        Ok(row) => row,
        Err(what) => return vec![("record".to_owned(), shown::line(&what).into_owned())],
    };
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, text: String| lines.push((name.to_owned(), shown::line(&text).into_owned()));
    let class = row.class.map_or("", |class| class.as_str());
    let severity = row.severity.map_or_else(String::new, |severity| format!(" ({})", severity.as_str()));
    add("class", format!("{class}{severity}"));
    add("time", row.time.to_string());
    if let Some(flow) = &row.flow {
        let marks = [
            (flow.update, "update of what was told before"),
            (flow.existing, "open before the agent was there: no attempts"),
            (flow.replayed, "may repeat what the run before told"),
        ];
        let marks: String =
            marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| format!("; {mark}")).collect();
        add("attempts", format!("{}, from {}{marks}", flow.count, flow.first));
        let seen = match flow.direction {
            crate::model::Direction::Egress => "the opener's node",
            crate::model::Direction::Ingress => "the listener's node",
        };
        add("protocol", format!("{}, seen by {seen}", ends::word(flow.protocol)));
    }
    for (name, end) in [("source", &row.source), ("destination", &row.destination)] {
        if let Some(end) = end {
            party(&mut add, name, end);
        }
    }
    if let Some(dialed) = &row.dialed {
        add("dialed", format!("{} ({}:{})", ends::peer(dialed), dialed.ip, dialed.port));
    }
    if let Some(verdict) = &row.verdict {
        add("verdict", verdict.decision.as_str().to_owned());
        add("  egress", side(&verdict.egress));
        add("  ingress", side(&verdict.ingress));
        if verdict.settling {
            add(
                "  settling",
                "a policy of it changed a moment before: enforcement takes time to follow".to_owned(),
            );
        }
        if let Some(since) = verdict.stale_since {
            add("  stale", format!("the cluster is known as of {since}"));
        }
    }
    if let Some(outcome) = &row.outcome {
        let errno = outcome.errno.as_ref().map_or_else(String::new, |errno| format!(", {}", &**errno));
        add("outcome", format!("{}{errno}", outcome.state.as_str()));
        if let Some(drop) = &outcome.drop {
            add("  drop", format!("{} at {}", &*drop.reason, &*drop.place));
        }
        let evidence: Vec<&str> = outcome.evidence.iter().map(|fact| &**fact).collect();
        add("  evidence", evidence.join(", "));
    }
    if let Some(process) = &row.process {
        let pid = process.pid.map_or_else(String::new, |pid| format!(" pid {pid}"));
        let exe = process.exe.as_ref().map_or_else(String::new, |exe| format!(" {}", &**exe));
        add("process", format!("{}{pid}{exe}", process.comm.as_deref().unwrap_or("?")));
    }
    if let Some(flow) = &row.flow
        && let (Some(sent), Some(received)) = (flow.bytes_sent, flow.bytes_received)
    {
        add("bytes", format!("sent {sent}, received {received}"));
    }
    if let Some(how) = &row.attribution {
        let reason = how.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", &**reason));
        add("pod found", format!("{}{reason}", &*how.how));
    }
    if row.masked || !row.truncated.is_empty() {
        let parts: Vec<&str> = row.truncated.iter().map(|part| &**part).collect();
        let masked = if row.masked { "parts, by its output; " } else { "" };
        add("left out", format!("{masked}{}", parts.join(", ")));
    }
    let seq = row.seq.map_or_else(String::new, |seq| format!(", line {seq}"));
    add("told by", format!("{}, run {}{seq}", &*row.node, &*row.run));
    lines
}

fn party(add: &mut impl FnMut(&str, String), name: &str, end: &EndRow<'_>) {
    let vendor = ends::vendor(end).map_or_else(String::new, |vendor| format!(" [{vendor}]"));
    let sensitive = if end.sensitive { ", sensitive" } else { "" };
    add(name, format!("{}{vendor}{sensitive}", ends::name(end)));
    let port = end.port.map_or_else(String::new, |port| format!(" port {port}"));
    let ip = end.ip.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
    add("  address", format!("{ip}{port}"));
    if let Some(owner) = &end.workload {
        add("  workload", format!("{}/{}", &*owner.kind, &*owner.name));
    }
    let container = end.container.as_ref().map(|container| format!("{} ", &**container));
    if let Some(image) = &end.image {
        add("  image", format!("{}{}", container.unwrap_or_default(), &**image));
    }
    let labels: Vec<String> =
        end.labels.0.iter().map(|(key, value)| format!("{}={}", &**key, &**value)).collect();
    if !labels.is_empty() {
        add("  labels", labels.join(", "));
    }
    if let Some(reason) = &end.reason {
        add("  not known", reason.to_string());
    }
}

fn side(side: &SideRow<'_>) -> String {
    let policies: Vec<String> = side
        .policies
        .iter()
        .map(|policy| {
            let namespace =
                policy.namespace.as_ref().map_or_else(String::new, |name| format!("{}/", &**name));
            let rule = policy.rule.map_or_else(String::new, |rule| format!(", rule {rule}"));
            format!("{} {namespace}{}{rule}", &*policy.kind, &*policy.name)
        })
        .collect();
    let reason = side.reason.as_ref().map_or_else(String::new, |reason| format!(" ({})", &**reason));
    let by = if policies.is_empty() { String::new() } else { format!(" by {}", policies.join("; ")) };
    format!("{}, {}{by}{reason}", side.decision.as_str(), &*side.basis)
}
