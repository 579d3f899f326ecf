//! What `flowlog run` cannot work with: each with words that say what was tried, what happened, what to do.

use crate::bin::{Place, refused};

const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: one}\n";

/// `--pin` without a folder, and the commands that take the same one, mean `flowlog` in the first bpffs.
#[test]
fn the_folder_of_pins_may_be_left_out() {
    for args in [&["run", "--pin"][..], &["detach"], &["check"]] {
        let said = Place::new().flowlog(args);
        assert!(!said.stderr.contains("a value is required"), "{args:?}: {}", said.stderr);
        let words = [said.stdout, said.stderr].concat();
        let known = ["no bpffs is mounted", "nothing is pinned in", "nothing in", "no cluster"];
        assert!(known.iter().any(|word| words.contains(word)), "{args:?}: {words}");
    }
}

/// Before anything of the kernel is touched: no privilege is needed to be told.
#[test]
fn wrong_words_are_refused_by_name() {
    let place = Place::new();
    place.write("good/node.yaml", NODE);
    place.write("unknown.yaml", "node: one\ncgroup_rot: /x\n");
    place.write("type.yaml", "node: one\neach: [1]\n");
    place.write("torn.yaml", "node: [one\n");
    place.write("only.yaml", "node: one\nonly: [denials, allow]\n");
    place.write("class.yaml", "node: one\noutputs: [stdout, {to: a.json, deny: [{class: alowed}]}]\n");
    place.write("key.yaml", "node: one\nallow: [{source: {namespce: shop}}]\n");
    place.write("empty.yaml", "node: one\noutputs: [{to: a.json, deny: [{port: 53}, {}]}]\n");
    let table: [(&str, &[&str], &[&str]); 16] = [
        (
            "no cluster at all",
            &["run"],
            &["no cluster", "--manifests", "FLOWLOG_KUBECONFIG", "KUBERNETES_SERVICE_HOST"],
        ),
        (
            "an unknown key",
            &["run", "--config", "unknown.yaml"],
            &["unknown.yaml:2:", "`cgroup_rot`", "did you mean `cgroup_root`"],
        ),
        ("a value of another type", &["run", "--config", "type.yaml"], &["type.yaml:2:"]),
        ("a configuration that is no YAML", &["run", "--config", "torn.yaml"], &["torn.yaml:"]),
        (
            "a configuration that is not there",
            &["run", "--config", "none.yaml"],
            &["none.yaml", "No such file"],
        ),
        (
            "a ring that is no power of two",
            &["run", "--manifests", "good", "--events-ring-bytes", "70000"],
            &[
                "`events_ring_bytes` is 70000",
                "--events-ring-bytes",
                "FLOWLOG_EVENTS_RING_BYTES",
                "a power of two",
            ],
        ),
        (
            "a ring that is too small",
            &["run", "--manifests", "good", "--events-ring-bytes", "4096"],
            &["`events_ring_bytes` is 4096", "from 65536"],
        ),
        (
            "a class that there is not",
            &["run", "--manifests", "good", "--only", "denied"],
            &["`only` has `denied`", "did you mean `denied_attempt`?", "there are denials, findings, all"],
        ),
        (
            "a class that there is not, in a file",
            &["run", "--manifests", "good", "--config", "only.yaml"],
            &["`only` has `allow`", "did you mean `allowed`?"],
        ),
        (
            "a class that there is not, of one output",
            &["run", "--manifests", "good", "--config", "class.yaml"],
            &["`outputs[1].deny[0].class` has `alowed`", "did you mean `allowed`?"],
        ),
        (
            "a key that there is not",
            &["run", "--manifests", "good", "--config", "key.yaml"],
            &["`allow[0].source.namespce`", "did you mean `namespace`?"],
        ),
        (
            "a condition that asks for nothing",
            &["run", "--manifests", "good", "--config", "empty.yaml"],
            &["`outputs[0].deny[1]` asks for nothing"],
        ),
        (
            "a fold interval out of range",
            &["run", "--manifests", "good", "--fold-denied-ms", "1"],
            &["`fold_denied_ms` is 1", "100 to 3600000 milliseconds"],
        ),
        (
            "a log level that is none",
            &["run", "--manifests", "good", "--log", "lots=x=y"],
            &["lots=x=y", "debug"],
        ),
        ("an unknown flag", &["run", "--manifest", "good"], &["--manifest", "--manifests"]),
        ("an unknown subcommand", &["walk"], &["walk"]),
    ];
    for (name, args, parts) in table {
        refused(name, &place.flowlog(args), parts);
    }
}

#[test]
fn a_variable_is_a_flag_and_is_named_as_its_origin() {
    let place = Place::new();
    place.write("good/node.yaml", NODE);
    let starter = ["env", "FLOWLOG_MANIFESTS=good", "FLOWLOG_EVENTS_RING_BYTES=1000"];
    refused("the ring by variable", &place.under(&starter, &["run"]), &["FLOWLOG_EVENTS_RING_BYTES", "1000"]);
}

#[test]
fn manifests_that_cannot_be_read_are_named_with_file_and_document() {
    let place = Place::new();
    place.write("torn/cluster.yaml", &format!("{NODE}---\nkind: [oh\n"));
    place.write("typo/policy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: a, name: b}\nspec: {podSelectr: {}}\n");
    place.write("block/policy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: a, name: b}\nspec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/40}}]}]}\n");
    place.write("json/cluster.json", "{\"kind\": \"Node\"");
    place.write("text/notes.txt", "no manifest");
    std::os::unix::fs::symlink("nowhere", {
        place.write("link/node.yaml", NODE);
        place.path().join("link/pods.yaml")
    })
    .unwrap();
    let table: [(&str, &str, &[&str]); 7] = [
        ("no folder", "none", &["none", "No such file"]),
        ("a folder without manifests", "text", &["text", "no manifests", "*.yaml"]),
        ("a torn document", "torn", &["torn/cluster.yaml", "document 2"]),
        ("a misspelt field", "typo", &["typo/policy.yaml", "spec.podSelectr", "NetworkPolicy a/b"]),
        ("a block that is none", "block", &["block/policy.yaml", "10.0.0.0/40", "cidr"]),
        ("torn JSON", "json", &["json/cluster.json"]),
        ("a link that leads nowhere", "link", &["link/pods.yaml", "No such file"]),
    ];
    for (name, folder, parts) in table {
        refused(name, &place.flowlog(&["run", "--node", "one", "--manifests", folder]), parts);
    }
}

/// A file in place of the folder, and a folder that is not for everyone.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("file", "");
    refused(
        "a file for a folder",
        &place.flowlog(&["run", "--manifests", "file"]),
        &["file", "Not a directory"],
    );
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let mode = |path: &str, mode: u32| {
        let path = place.path().join(path);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    place.write("shut/node.yaml", NODE);
    place.write("open/node.yaml", NODE);
    mode("", 0o755);
    mode("shut", 0o700);
    mode("open/node.yaml", 0o600);
    for (folder, parts) in
        [("shut", ["shut", "Permission denied"]), ("open", ["open/node.yaml", "Permission denied"])]
    {
        // The binary may lie where nobody else may go: it is copied to where it can be run.
        let binary = place.path().join("flowlog");
        std::fs::copy(flowlog_tests::program::flowlog().unwrap(), &binary).unwrap();
        let words = [&nobody[..], &[binary.to_str().unwrap()]].concat();
        let said = place.alone(&words, &["run", "--node", "one", "--manifests", folder]);
        refused(folder, &said, &parts);
    }
}

#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn what_the_kernel_half_cannot_use_is_named() {
    let place = Place::new();
    place.write("good/node.yaml", NODE);
    let run =
        |more: &[&str]| place.flowlog(&[&["run", "--node", "one", "--manifests", "good"], more].concat());
    let table: [(&str, &[&str], &[&str]); 6] = [
        ("no such cgroup", &["--cgroup-root", "/nowhere"], &["/nowhere", "No such file"]),
        ("a folder that is no cgroup", &["--cgroup-root", "/tmp"], &["/tmp", "cgroup2"]),
        ("an unknown hook", &["--hook-off", "conect4"], &["conect4", "connect4", "error_report"]),
        (
            "an output whose folder is not there",
            &["--output", "no/such/flows.json"],
            &["no/such", "create it first"],
        ),
        ("an output that is a folder", &["--output", "good"], &["good", "directory"]),
        ("an output twice", &["--output", "a.json", "--output", "a.json"], &["a.json"]),
    ];
    for (name, more, parts) in table {
        refused(name, &run(more), parts);
    }
}

/// Root without a capability is told which one, whether or not the kernel's own words would.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_missing_capability_is_named() {
    let place = Place::new();
    place.write("good/node.yaml", NODE);
    for (bounds, missing) in [
        ("--bounding-set=-bpf,-sys_admin", &["CAP_BPF"][..]),
        ("--bounding-set=-perfmon,-sys_admin", &["CAP_PERFMON"]),
        ("--bounding-set=-net_admin,-sys_admin", &["CAP_NET_ADMIN"]),
        ("--bounding-set=-all", &["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]),
    ] {
        let said = place.under(&["setpriv", bounds], &["run", "--node", "one", "--manifests", "good"]);
        refused(bounds, &said, missing);
        refused(bounds, &said, &["flowlog check"]);
        for other in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"].iter().filter(|name| !missing.contains(name))
        {
            assert!(!said.stderr.contains(other), "{bounds}: {other} is there: {}", said.stderr);
        }
    }
}

/// In a mount namespace of its own, where something is not mounted or not to be seen.
#[test]
#[ignore = "kernel: root, cgroup2, BPF"]
fn a_host_without_cgroup2_btf_or_ring_buffers_is_told_what_it_lacks() {
    let place = Place::new();
    place.write("good/node.yaml", NODE);
    let table = [
        (
            "no cgroup2",
            "for mount in $(awk '$0 ~ / - cgroup2 / {print $5}' /proc/self/mountinfo); do umount -l $mount; done; exec \"$@\"",
            ["cgroup2", "mount -t cgroup2", "flowlog check"],
        ),
        (
            "no BTF",
            "mount -t tmpfs none /sys/kernel/btf; exec \"$@\"",
            ["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF", "flowlog check"],
        ),
        (
            "no ring buffer, as before 5.8",
            "LC_ALL=C sed s/BPF_MAP_TYPE_RINGBUF/BPF_MAP_TYPE_NOTHING/g /sys/kernel/btf/vmlinux >btf && mount --bind btf /sys/kernel/btf/vmlinux && exec \"$@\"",
            ["no ring buffer", "5.10", "flowlog check"],
        ),
    ];
    for (name, script, parts) in table {
        let starter = ["unshare", "--mount", "sh", "-c", script, "sh"];
        refused(name, &place.under(&starter, &["run", "--node", "one", "--manifests", "good"]), &parts);
        let check = place.under(&starter, &["check"]);
        assert_eq!(check.code, Some(2), "{name}: {check:?}");
        assert!(check.stdout.contains("flowlog cannot run here"), "{name}: {check:?}");
    }
}
