//! Who may name what, as data.

use super::paths::Named;

/// A room: its name, and the rooms it may import beside itself.
struct Room {
    name: &'static str,
    may_import: &'static [&'static str],
}

const fn room(name: &'static str, may_import: &'static [&'static str]) -> Room {
    Room { name, may_import }
}

const WIRE: &str = "flowlog_common";

/// The floors, highest first. `lib.rs` declares all rooms and imports none.
const ROOMS: [Room; 20] = [
    room("main", &["commands"]),
    room("lib", &[]),
    room(
        "commands",
        &[
            "pipeline",
            "findings",
            "cluster",
            "sinks",
            "inventory",
            "policy",
            "vendor",
            "scan",
            "selection",
            "record",
            "report",
            "capture",
            "model",
            "config",
            "telemetry",
            WIRE,
        ],
    ),
    room(
        "pipeline",
        &[
            "findings",
            "cluster",
            "sinks",
            "inventory",
            "policy",
            "vendor",
            "selection",
            "record",
            "capture",
            "model",
            "config",
            "telemetry",
            WIRE,
        ],
    ),
    room("findings", &["model", "inventory", "policy", "vendor"]),
    room("cluster", &["model", "inventory", "policy"]),
    room("sinks", &["model", "record", "selection"]),
    room("inventory", &["model"]),
    room("policy", &["model"]),
    room("vendor", &["model"]),
    room("scan", &["model"]),
    room("selection", &["model"]),
    room("record", &["model"]),
    room("report", &["model"]),
    room("capture", &["model", WIRE]),
    room("model", &[]),
    room("config", &[]),
    room("telemetry", &[]),
    // Test builders take whatever they build.
    room("testkit", &["model", "inventory", "policy", "vendor", "record", "cluster", "findings"]),
    // The alias that an import of the crate itself resolves to.
    room("crate", &[]),
];

/// A library that only some files may name: a room, or a file below `src`.
const LIBRARIES: [(&str, &[&str]); 20] = [
    ("aya", &["capture"]),
    ("kube", &["cluster/watch"]),
    ("hyper_util", &["cluster/watch", "telemetry/server.rs", "sinks/remote"]),
    ("http", &["cluster/watch"]),
    ("http_body_util", &["cluster/watch", "telemetry/server.rs", "sinks/remote"]),
    ("tower", &["cluster/watch"]),
    ("k8s_openapi", &["cluster", "policy/kinds"]),
    ("clap", &["commands"]),
    ("clap_complete", &["commands"]),
    ("clap_mangen", &["commands"]),
    ("hyper", &["telemetry/server.rs", "sinks/remote"]),
    ("opentelemetry_proto", &["sinks/remote"]),
    ("prost", &["sinks/remote"]),
    ("ratatui", &["commands/top"]),
    ("rskafka", &["sinks/remote"]),
    ("rustls_native_certs", &["sinks/remote"]),
    ("socket2", &["capture/confine.rs", "sinks/remote"]),
    ("tokio_rustls", &["sinks/remote"]),
    ("prometheus_client", &["telemetry/metrics.rs"]),
    ("tokio", &["capture/ring.rs", "cluster/watch", "pipeline", "sinks", "telemetry", "commands"]),
];

/// Unsafe code lies here alone.
const UNSAFE: &str = "capture";

/// Rooms without clock, file, network, thread or process.
const PURE: [&str; 9] =
    ["model", "inventory", "policy", "vendor", "scan", "selection", "findings", "record", "report"];

/// What pure rooms may not name, as beginnings of paths.
const IMPURE: [&[&str]; 12] = [
    &["std", "fs"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "net", "TcpStream"],
    &["std", "net", "TcpListener"],
    &["std", "net", "UdpSocket"],
    &["std", "os"],
    &["nix"],
    &["tokio"],
];

/// Functions that read a clock, by their last two names.
const CLOCKS: [[&str; 2]; 4] =
    [["Timestamp", "now"], ["Zoned", "now"], ["Instant", "now"], ["SystemTime", "now"]];

/// The room that a file below `src` lies in.
pub(super) fn room_of(file: &str) -> Option<&'static str> {
    let first = file.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    ROOMS.iter().map(|room| room.name).find(|room| *room == name)
}

/// Why this file may not name that.
pub(super) fn objection(file: &str, room: &str, named: &Named) -> Option<String> {
    let path: Vec<&str> = named.path.iter().map(String::as_str).collect();
    match path[..] {
        ["unsafe", ..] => (room != UNSAFE).then(|| format!("unsafe code is for `{UNSAFE}` alone")),
        ["crate", "testkit", ..] => testkit_objection(room, named),
        ["crate", other, ..] if other != room => room_objection(room, other),
        [WIRE, ..] => room_objection(room, WIRE),
        ["crate", ..] => None,
        _ => library_objection(file, &path).or_else(|| purity_objection(room, named, &path)),
    }
}

fn room_objection(room: &str, other: &str) -> Option<String> {
    let known = ROOMS.iter().any(|room| room.name == other) || other == WIRE;
    let allowed =
        ROOMS.iter().find(|one| one.name == room).is_some_and(|one| one.may_import.contains(&other));
    // What is no room is an item of the crate's root, and has none.
    (known && !allowed).then(|| format!("`{room}` may not import `{other}`"))
}

fn testkit_objection(room: &str, named: &Named) -> Option<String> {
    (!named.in_tests && room != "testkit" && room != "lib")
        .then(|| "`testkit` is for test code alone".to_owned())
}

fn library_objection(file: &str, path: &[&str]) -> Option<String> {
    let (library, places) = LIBRARIES.iter().find(|(library, _)| path.first() == Some(library))?;
    let allowed = places.iter().any(|place| {
        file.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
    });
    (!allowed).then(|| format!("`{library}` is for {} alone", places.join(", ")))
}

fn purity_objection(room: &str, named: &Named, path: &[&str]) -> Option<String> {
    // Tests of pure rooms may read fixtures; the code itself may not.
    if named.in_tests || !PURE.contains(&room) {
        return None;
    }
    let impure = IMPURE.iter().any(|start| path.starts_with(start));
    let clock = CLOCKS.iter().any(|clock| path.ends_with(clock));
    (impure || clock).then(|| format!("`{room}` is pure: no clock, file, network, thread or process"))
}
