//! What keys do.

const KEYS: [(&str, &str); 25] = [
    ("1 … 6", "rows by source, destination, pair, vendor, policy, class"),
    ("Enter, →", "open the row: its other end, then its flows, then one record in full"),
    ("Esc, ←", "back; at the top Esc takes the filter away"),
    ("↑ ↓ k j", "up, down; also PgUp, PgDn, Home, End, g, G"),
    ("f", "the flows of all rows that are shown"),
    ("/", "filter: words that must be there, !words that must not, KEY=VALUE as --not has them"),
    ("", "class=denied_attempt !source.namespace=kube-* destination.port=5432 vendor=third_party"),
    ("s S", "sort by the next column, by the one before; r turns the order round"),
    ("w", "window: 1m, 5m, 15m, all that was read"),
    ("a", "rows of what is as it should be, too"),
    ("p, Space", "pause: the picture stands still, reading goes on"),
    ("n", "notices: what is missing from the log, nodes that are quiet"),
    ("Ctrl-Z", "into the background; fg comes back. Ctrl-L draws anew"),
    ("q, Ctrl-C", "quit"),
    ("", ""),
    ("NOT-ENF", "attempts that the policies deny and that got through all the same"),
    ("DENIED", "attempts that the policies deny and that did not get through"),
    ("BLOCKED", "allowed, and something blocked them"),
    ("UNKN", "unknown: the policies' answer is mixed or not known: nothing is claimed"),
    ("OTHER", "allowed and through, refused, failed"),
    ("/MIN", "attempts of the last minute; repeats are logged every 10 to 60 s"),
    ("~", "settling: a policy of it had changed a moment before"),
    ("(others)", "what is not kept apart, counted together: there are too many names"),
    ("lost, gaps", "what the agents lost; lines that are missing. Whatever the filters"),
    ("perhaps twice", "attempts that an agent that was killed may have told before"),
];

pub(super) fn lines() -> Vec<(String, String)> {
    KEYS.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}
