//! Which tests say something only where a hook is there, and which few are enough for a look.
//!
//! A test that is about a hook cannot pass on a kernel without it, and must not pass by asserting less. The other
//! tests hold on every kernel: what they expect of one that lacks a hook they ask `FLOWLOG_HOOKS_MISSING`.

use anyhow::{Result, bail};

/// What several tests wait for.
const FOUND: &str = "connections that are older than the agent";
const NAMES: &str = "names from DNS answers";
const PROBE: &str = "the far end's NO_SOCKET";

/// Test, the hooks that it cannot do without, what it would wait for in vain.
const NEEDS: &[(&str, &[&str], &str)] = &[
    (
        "addresses::a_dual_stack_opener_is_told_by_ipv4_addresses",
        &["send", "recv"],
        "connected UDP, answered",
    ),
    ("attribution::an_attempt_that_still_waits_at_the_end_is_told", &["drop"], "a drop"),
    (
        "existing::a_datagram_socket_that_was_connected_before_is_told_from_its_next_datagram_on",
        &["existing", "send"],
        "a first send of a socket that was found",
    ),
    ("existing::an_attempt_that_is_older_than_the_agent_is_pending_until_its_end", &["existing"], FOUND),
    (
        "existing::an_existing_connection_by_a_service_has_what_was_dialed_and_the_backend",
        &["existing"],
        FOUND,
    ),
    (
        "existing::connections_that_are_older_than_the_agent_are_told_with_their_ends_and_their_end",
        &["existing"],
        FOUND,
    ),
    ("existing::existing_connections_are_folded_among_themselves", &["existing"], FOUND),
    ("existing::what_opens_while_the_agent_starts_is_told_once", &["existing"], FOUND),
    ("names::an_answer_is_found_however_it_is_taken", &["answers"], NAMES),
    ("names::an_external_address_has_the_name_that_the_c_library_asked_for", &["answers"], NAMES),
    ("names::names_are_those_of_the_pod_that_asked", &["answers"], NAMES),
    (
        "names::of_a_long_answer_the_beginning_counts_and_addresses_of_the_cluster_get_no_names",
        &["answers"],
        NAMES,
    ),
    (
        "hooks::without_the_recv_hook_no_answer_to_a_connected_socket_is_claimed",
        &["send"],
        "connected UDP as sent",
    ),
    ("hooks::without_the_send_hook_refused_datagrams_are_told_still", &["error_report"], "refused UDP"),
    ("outcomes::a_drop_is_told_within_about_a_second_and_its_repeats_are_not", &["drop"], "a drop"),
    ("outcomes::a_drop_of_a_packet_that_was_to_reach_a_pod_is_told_at_its_end", &["drop"], "a drop"),
    ("packets::each_end_of_an_association_is_told_by_its_packets", &["drop"], "a drop"),
    ("packets::errors_by_icmp_are_no_flows", &["send", "error_report"], "refused UDP"),
    ("packets::what_becomes_of_a_ping_is_told_and_what_policies_say_of_it_is_not_known", &["drop"], "a drop"),
    ("packets::what_calls_tell_is_not_told_twice", &["send", "recv"], "connected UDP, without packets"),
    ("packets::without_packets_a_dropped_association_is_told_still_and_icmp_is_not", &["drop"], "a drop"),
    ("packets::without_the_send_hook_packets_tell_of_connected_sockets", &["error_report"], "refused UDP"),
    ("probes::a_probe_of_a_closed_port_is_told_at_the_pod_that_it_reached", &["drop"], PROBE),
    ("probes::a_scan_of_many_ports_is_few_lines_unless_each_is_asked_for", &["drop"], PROBE),
    ("repeats::what_fails_among_counted_repeats_is_told_for_itself", &["drop"], "a drop"),
    (
        "resolver::a_connect_that_sends_nothing_is_no_flow_and_the_first_datagram_is",
        &["send"],
        "a first send",
    ),
    ("resolver::the_c_librarys_probes_are_no_flows", &["send"], "a first send"),
    (
        "special::a_connection_by_io_uring_is_one_flow_of_the_process_that_asked",
        // Of the same version as what it is about.
        &["existing"],
        "workers that are threads of the process",
    ),
    // Debian's 5.10 is built without MPTCP.
    ("special::a_multipath_connection_is_one_flow_and_its_subflows_are_none", &["existing"], "MPTCP"),
    ("special::a_multipath_connection_that_falls_back_to_tcp_is_one_flow", &["existing"], "MPTCP"),
    (
        "udp::a_connected_sockets_datagram_that_is_taken_on_this_node_is_one_flow",
        &["send", "recv"],
        "a first send",
    ),
];

/// Few and quick, for each kind of hook what it is there for: attaching, allowed and denied, TCP and UDP, inbound, closes,
/// pods of before and of late, names, SCTP, what outlives the agent, what is given up.
pub(super) const BRIEF: [&str; 12] = [
    "attribution::an_attempt_waits_for_its_pod_to_become_known",
    "attribution::pods_of_before_the_start_are_known_and_their_open_connections_too",
    "confine::once_attached_it_holds_no_capability_and_calls_what_it_uses_alone",
    "hooks::with_all_hooks_on_all_are_attached",
    "hooks::without_the_drop_hook_a_drop_is_inferred_and_not_proven",
    "names::names_are_those_of_the_pod_that_asked",
    "packets::sctp_of_the_kernels_own_is_told_by_its_packets",
    "restart::what_happens_without_an_agent_is_told_by_the_next_one",
    "services::a_closed_connection_tells_its_bytes_at_the_openers_count",
    "services::a_connection_from_outside_is_told_at_the_listener",
    "udp::a_denied_datagram_is_one_flow_with_the_kernels_reason",
    "udp::an_answered_datagram_on_one_node_is_one_flow_and_its_answer_is_none",
];

/// Tests that say nothing on a kernel that lacks these hooks, with the reason. A name of ours that is no test is an
/// error: it would leave out nothing, and nobody would know.
pub(super) fn left_out(names: &[String], lacks: &[&str]) -> Result<Vec<(String, String)>> {
    let ours = NEEDS.iter().map(|(name, _, _)| *name).chain(BRIEF);
    if let Some(name) = ours.into_iter().find(|name| names.iter().all(|test| test != name)) {
        bail!("there is no kernel test {name}: mend xtask/src/vm/needs.rs");
    }
    Ok(NEEDS
        .iter()
        .filter_map(|(name, hooks, what)| {
            let missing: Vec<&str> = hooks.iter().copied().filter(|hook| lacks.contains(hook)).collect();
            let reason = format!("{what}: this kernel lacks {}", missing.join(", "));
            (!missing.is_empty()).then(|| ((*name).to_owned(), reason))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{BRIEF, NEEDS, left_out};

    #[test]
    fn a_test_is_left_out_where_one_of_its_hooks_is_missing() {
        let names: Vec<String> =
            NEEDS.iter().map(|(name, _, _)| *name).chain(BRIEF).map(str::to_owned).collect();
        assert!(left_out(&names, &[]).unwrap().is_empty());
        let out = left_out(&names, &["recv"]).unwrap();
        assert_eq!(out[0].0, "addresses::a_dual_stack_opener_is_told_by_ipv4_addresses");
        assert!(out[0].1.ends_with("lacks recv"), "{out:?}");
    }

    #[test]
    fn a_name_that_is_no_test_is_refused() {
        assert!(left_out(&["something else".to_owned()], &[]).is_err());
    }
}
