"""Holds what is deployed against what it is deployed to: `cargo xtask deploy` runs this.

The kustomizations are rendered, and the chart with the values that should give the same; both are compared, every object
is held against the API's schemas, and the whole against checkov, whose findings are either mended or have their reason in
place. What the agent answers over HTTP is read by two parsers that are not ours; dashboard and alerts show nothing else
(`dashboards.py`). kubectl is given the binary as its plugin.
Logs are summed up by two engines that are not ours (`edges.py`), and brought elsewhere by rsyslog (`shippers.py`); stores are told of its fields (`siem.py`). Templates for pipelines are held against their schemas.
"""

import argparse
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import dashboards
import edges
import helm_python
import kubernetes_validate
import shippers
import siem
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

HERE = pathlib.Path(__file__).resolve().parent.parent
CHART = HERE / "helm" / "flowlog"
NAME = "flowlog"

# The oldest version that the chart takes, and the newest that the schemas are there for.
VERSIONS = ["1.27", "1.37"]

# Kinds of other makers, for which there are no schemas.
FOREIGN = {"SecurityContextConstraints"}

# Labels of nodes that are no machines: no pod is to wait for one of them.
FOREIGN_NODES = [("eks.amazonaws.com/compute-type", "fargate"), ("type", "virtual-kubelet")]

# A kustomization, and the values that make the same of the chart: as text, since what people write is read as YAML.
PAIRS = {
    "base": "",
    "overlays/minimal": "{pin: false, metrics: {listen: none}}",
    "overlays/with-metrics": "{metrics: {listen: node}}",
    "overlays/openshift": "{openshift: true}",
    "components/node-scope": "{clusterScope: node}",
    "components/log-file": "{logFolder: /var/log/flowlog}",
    "components/selinux": "{seLinuxOptions: {type: spc_t}}",
    "components/outputs": """
outputs:
- to: splunk+https://siem.example.com:8088
  ca_file: /run/flowlog-outputs/ca.pem
  token_file: /run/flowlog-outputs/token
  spool: {folder: /var/lib/flowlog/siem}
outputsSecret: flowlog-outputs
spoolFolder: /var/lib/flowlog-spool
""",
    "components/cri-o": "{seccompProfile: {type: Unconfined}}",
}

# Kustomizations without a like in the chart.
ALONE = ["overlays/detach"]

# Everything that has no kustomization of its own.
FULL = """
image: {digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
imagePullSecrets: [{name: registry}]
clusterName: production
clusterScope: node
log: {level: "flowlog=debug", format: json}
logFolder: /var/log/flowlog
logStdout: true
outputs:
- to: splunk+https://192.0.2.7
  ca_file: /run/flowlog-outputs/ca.pem
  token_file: /run/flowlog-outputs/token
  spool: {folder: /var/lib/flowlog/siem}
outputsSecret: siem
spoolFolder: /var/lib/flowlog-spool
config: {each: true, networks: {office: [198.51.100.0/24]}, range_files: [/lists/aws.json], asn_file: /lists/asn.tsv}
vendors: {first_party: {images: [registry.example.com/]}}
listsFolder: /var/lib/flowlog-lists
priorityClass: {create: false, name: system-node-critical}
podAnnotations: {team: net}
openshift: true
seccompProfile: {type: Localhost, localhostProfile: flowlog.json}
isolateNamespace: true
extraCapabilities: [SYS_RESOURCE]
maxUnavailable: 1
"""

# What the values' schema has to refuse.
REFUSED = [{"pods": 1}, {"metrics": {"listen": "everywhere"}}, {"metrics": {"listen": False}},
           {"log": {"format": "yaml"}}, {"image": {"digest": "sha256:1"}}, {"config": {"pin": "/x"}}, {"clusterScope": "pod"},
           {"config": {"cluster_scope": "node"}}, {"outputs": ["stdout"]}, {"outputs": [{"spool": {}}]}]

# Keys of the configuration file that the pod cannot serve: without the volume, or the capability.
NO_VOLUME = ["debug_socket", "kubeconfig", "context", "manifests", "trial_policies", "vendors", "asn_file", "range_files"]
REFUSED += [{"config": {key: "/x"}} for key in NO_VOLUME]
REFUSED += [{"config": {"process_exe": True}}]


class Wrong(Exception):
    """A check that found something."""


def objects(text):
    """The objects of a stream of documents, by kind and name."""
    found = {}
    for one in yaml.safe_load_all(text):
        if one is not None:
            key = (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
            if key in found:
                raise Wrong(f"{key} is there twice")
            found[key] = one
    return found


def kustomize(name, out):
    folder = HERE / "kustomize" / name
    if name.startswith("components/"):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        up = os.path.relpath(HERE / "kustomize", folder)
        text = yaml.safe_dump({"resources": [f"{up}/base"], "components": [f"{up}/{name}"]})
        (folder / "kustomization.yaml").write_text(text)
    return subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True).stdout


def render(chart, text, name=NAME, namespace=NAME):
    values = yaml.safe_load(text) or {}
    try:
        chart.validate_schema(values)
    except helm_python.HelmError as error:
        raise Wrong(f"the values' schema refuses {text!r}, which YAML reads as {values}: {error}") from error
    files = chart.render(values, name=name, namespace=namespace)
    return "\n---\n".join(text for path, text in sorted(files.items()) if path.endswith(".yaml"))


def compare(name, one, other):
    """Raise where the two differ, and say in what."""
    if one.keys() != other.keys():
        raise Wrong(f"{name}: objects that only one has: {one.keys() ^ other.keys()}")
    for key, left in one.items():
        differing = sorted(differences(left, other[key]))
        if differing:
            raise Wrong(f"{name}: {key}, kustomize against chart:\n  " + "\n  ".join(differing))


def differences(one, other, place=""):
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{place}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other)):
            yield from differences(left, right, f"{place}/{number}")
    elif one != other:
        yield f"{place}: {one!r} != {other!r}"


def known_by_content(found):
    """The same, with the configuration's file read, and without what makes a changed one a new pod: kustomize puts a hash to its
    name, the chart to an annotation."""
    found = json.loads(re.sub(r"(\bflowlog)-[a-z0-9]{10}(?=\")", r"\1", json.dumps([[*key, one] for key, one in found.items()])))
    found = {tuple(key): one for *key, one in found}
    for one in found.values():
        if one["kind"] == "ConfigMap":
            one["data"] = {name: yaml.safe_load(text) for name, text in one["data"].items()}
        if one["kind"] == "DaemonSet":
            meta = one["spec"]["template"]["metadata"]
            notes = {name: text for name, text in meta.pop("annotations", {}).items() if name != "flowlog/config"}
            if notes:
                meta["annotations"] = notes
    return found


def validate(name, found):
    for key, one in found.items():
        if key[0] in FOREIGN:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise Wrong(f"{name}: {key} against Kubernetes {version}: {error}") from error


def check_reach(name, found):
    """Nothing reaches beyond the agent: neither another pod of its namespace, nor a node that is none."""
    [agent] = [one["spec"]["template"] for (kind, *_), one in found.items() if kind == "DaemonSet"]
    for (kind, *_), one in found.items():
        if kind not in ["NetworkPolicy", "DaemonSet", "Service"]:
            continue
        selector = one["spec"]["podSelector" if kind == "NetworkPolicy" else "selector"]
        selected = selector if kind == "Service" else selector.get("matchLabels", {})
        if not selected:
            raise Wrong(f"{name}: the {kind} selects every pod of the namespace that it is put into")
        if not selected.items() <= agent["metadata"]["labels"].items():
            raise Wrong(f"{name}: the {kind} does not select the agent: {selected}")
    affinity = agent["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [{}])
    for label, value in FOREIGN_NODES:
        refuses = {"key": label, "operator": "NotIn", "values": [value]}
        if not all(refuses in term.get("matchExpressions", []) for term in terms):
            raise Wrong(f"{name}: a pod waits for a node with {label}={value}, which never starts it")


def check_profile(name, found):
    """What SELinux's and seccomp's profiles the pod asks for, its SecurityContextConstraints allow."""
    allowed = [one["seccompProfiles"] for (kind, *_), one in found.items() if kind == "SecurityContextConstraints"]
    [pod] = [one["spec"]["template"]["spec"] for (kind, *_), one in found.items() if kind == "DaemonSet"]
    profile = pod["securityContext"]["seccompProfile"]
    words = {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined"}
    word = words.get(profile["type"]) or f"localhost/{profile['localhostProfile']}"
    [container] = [one for one in pod["containers"] if one["name"] == NAME]
    for one in found.values():
        wanted = set(container["securityContext"]["capabilities"]["add"])
        if one["kind"] == "SecurityContextConstraints" and not wanted <= set(one["allowedCapabilities"]):
            raise Wrong(f"{name}: the SecurityContextConstraints does not allow the pod's {wanted}")
    if any(word not in profiles for profiles in allowed):
        raise Wrong(f"{name}: the SecurityContextConstraints does not allow the pod's {word}")


def check_elsewhere(chart):
    """A release of any name, in any namespace, is all of that namespace."""
    found = objects(render(chart, "{metrics: {listen: node}, openshift: true}", name="a", namespace="b"))

    def namespaces(value):
        if isinstance(value, dict):
            yield from (one for key, one in value.items() if key == "namespace")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        for one in inner:
            yield from namespaces(one)

    for key, one in found.items():
        if set(namespaces(one)) - {"b"}:
            raise Wrong(f"release a in namespace b: {key} names {set(namespaces(one))}")
        if not key[2].startswith("a"):
            raise Wrong(f"release a in namespace b: {key} would be every release's")
        if one["kind"] == "SecurityContextConstraints" and one["users"] != ["system:serviceaccount:b:a"]:
            raise Wrong(f"release a in namespace b: {one['users']}")
    check_reach("release a in namespace b", found)


def check_words(schema, place="values"):
    """What the values' schema lists is text where it is written without quotes, too."""
    if isinstance(schema, dict):
        for word in schema.get("enum", []):
            if yaml.safe_load(word) != word:
                raise Wrong(f"{place}: YAML reads {word} as {yaml.safe_load(word)!r}")
        for key, inner in schema.items():
            check_words(inner, f"{place}.{key}")


def hold_against_agent(name, found, agent):
    """Every flag is one of the agent's, and every variable."""
    for (kind, *_), one in found.items():
        if kind != "DaemonSet":
            continue
        pod = one["spec"]["template"]["spec"]
        [container] = [one for one in pod["containers"] + pod.get("initContainers", []) if one["name"] == NAME]
        command, *flags = container["args"]
        told = subprocess.run([agent, command, "--help"], check=True, capture_output=True, text=True).stdout
        if command != "run":
            container["env"] = []
        words = [flag.split("=")[0] for flag in flags] + [variable["name"] for variable in container["env"]]
        for word in words:
            if word != "NODE_IP" and not re.search(rf"{re.escape(word)}\b", told):
                raise Wrong(f"{name}: `flowlog {command}` knows no {word}")


def check_config(name, found, agent, out):
    """The agent reads the configuration's file to its end: what it lacks then are the files that the Secret has."""
    for (kind, *_), one in found.items():
        if kind != "ConfigMap" or "flowlog.yaml" not in one["data"]:
            continue
        path = out / "config" / "flowlog.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(one["data"]["flowlog.yaml"])
        done = subprocess.run([agent, "run", "--config", path, "--manifests", DEMO], capture_output=True, text=True, timeout=60)
        wanted = {part for output in yaml.safe_load(path.read_text())["outputs"] for part in [output["to"], output["spool"]["folder"]]}
        if done.returncode != 2 or not any(one in done.stderr for one in wanted) or "No such file" not in done.stderr:
            raise Wrong(f"{name}: flowlog.yaml: {done.returncode} {done.stderr}")


def check_rights(found):
    """The agent's rights are those to what it watches, and no other."""
    kinds = HERE.parent / "flowlog-agent" / "src" / "cluster" / "watch" / "kinds.rs"
    watched = set(re.findall(r'"/apis?/(?:([a-z0-9.]+)/)?v1[a-z0-9]*/([a-z]+)"', kinds.read_text()))
    [role] = [one for (kind, *_), one in found.items() if kind == "ClusterRole"]
    given = set()
    for rule in role["rules"]:
        if sorted(rule["verbs"]) != ["list", "watch"]:
            raise Wrong(f"the agent lists and watches; it is given {rule['verbs']}")
        given |= {(group, resource) for group in rule["apiGroups"] for resource in rule["resources"]}
    if given != watched or not watched:
        raise Wrong(f"rights without use: {given - watched}; watched without a right: {watched - given}")


def check_chart():
    check_words(json.loads((CHART / "values.schema.json").read_text()))
    report = helm_python.lint(CHART, {}, strict=True, kube_version="v1.37.0")
    # An icon is recommended; a log agent has none.
    findings = [one for one in report["messages"] if "icon is recommended" not in one["error"]]
    if findings or report["errors"]:
        raise Wrong(f"helm lint: {findings} {report['errors']}")
    with helm_python.Chart.load(CHART) as chart:
        for values in REFUSED:
            try:
                chart.validate_schema(values)
            except helm_python.HelmError:
                continue
            raise Wrong(f"the values' schema takes {values}")


def check_manifests(out, agent):
    rendered = out / "rendered"
    rendered.mkdir(exist_ok=True)
    count = 0
    with helm_python.Chart.load(CHART) as chart:
        for name, values in PAIRS.items():
            text = kustomize(name, out)
            found = objects(text)
            # Helm installs into a namespace that is there before its objects: it is made and labelled by hand.
            [namespace] = [key for key in found if key[0] == "Namespace"]
            apart = {key: one for key, one in found.items() if key != namespace}
            compare(name, *map(known_by_content, [apart, objects(render(chart, values))]))
            validate(name, found)
            check_reach(name, found)
            check_profile(name, found)
            hold_against_agent(name, found, agent)
            check_config(name, found, agent, out)
            check_rights(found)
            (rendered / f"{name.replace('/', '-')}.yaml").write_text(text)
            count += len(found)
        for name in ALONE:
            text = kustomize(name, out)
            found = objects(text)
            validate(name, found)
            hold_against_agent(name, found, agent)
            (rendered / f"{name.replace('/', '-')}.yaml").write_text(text)
        check_elsewhere(chart)
        text = render(chart, FULL)
        found = objects(text)
        check_profile("all values", found)
        validate("all values", found)
        hold_against_agent("all values", found, agent)
        (rendered / "all-values.yaml").write_text(text)
    print(f"{len(PAIRS)} kustomizations and the chart make the same {count} objects, by the schemas of {VERSIONS}")
    return rendered


def check_findings(rendered, checkov):
    command = [checkov, "--framework", "kubernetes", "--directory", rendered, "--output", "json", "--compact"]
    done = subprocess.run(command + ["--quiet", "--skip-download"], capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except ValueError as error:
        raise Wrong(f"checkov: {done.stdout}{done.stderr}") from error
    failed = report["results"]["failed_checks"]
    if failed or report["summary"]["parsing_errors"]:
        told = {f"{one['check_id']} {one['resource']}: {one['check_name']}" for one in failed}
        raise Wrong("checkov:\n  " + "\n  ".join(sorted(told)))
    print(f"checkov: {report['summary']['passed']} passed, {report['summary']['skipped']} left with their reason")


def ask(place, path, accept):
    """One question to the agent's socket."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(10)
        stream.connect(str(place))
        stream.sendall(f"GET {path} HTTP/1.1\r\nhost: flowlog\r\naccept: {accept}\r\n\r\n".encode())
        answer = b""
        while part := stream.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def check_metrics(out, agent, promtool):
    place = out / "debug.sock"
    demo = HERE.parent / "tests" / "fixtures" / "clusters" / "demo" / "manifests"
    command = [agent, "run", "--log", "warn", "--manifests", demo, "--node", "demo-node", "--output", out / "flows.json"]
    running = subprocess.Popen(command + ["--metrics-listen=0", "--debug-socket", place])
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                status, told = ask(place, "/readyz", "*/*")
                if status == 200:
                    break
            except OSError as error:
                told = error
            if time.monotonic() > deadline or running.poll() is not None:
                raise Wrong(f"the agent does not get ready: {told}")
            time.sleep(0.1)
        _, text = ask(place, "/metrics", "*/*")
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise Wrong(f"promtool check metrics:\n{done.stdout}{done.stderr}")
        _, text = ask(place, "/metrics", "application/openmetrics-text;version=1.0.0")
        families = list(text_string_to_metric_families(text))
        # A rate is known from the first loss on where its series was there before.
        for name in ["flowlog_losses", "flowlog_sink_lost_attempts", "flowlog_attempts_lost"]:
            if not any(one.samples for one in families if one.name == name):
                raise Wrong(f"{name} has no series before the first loss")
        print(f"metrics: {len(families)} families, {sum(len(one.samples) for one in families)} series")
        return [one.name for one in families]
    finally:
        running.terminate()
        if running.wait(30) != 0:
            raise Wrong(f"the agent ended with {running.returncode}")


def check_dashboards(out, promtool, exposed):
    """Dashboard and alerts show what the agent exposes."""
    try:
        print(f"dashboards: {dashboards.check(out, promtool, exposed)}")
    except dashboards.Broken as broken:
        raise Wrong(str(broken)) from None


def check_shippers(out, rsyslog):
    """What brings the log elsewhere brings all of it."""
    try:
        print(f"shippers: {shippers.check(out, rsyslog)}")
    except (shippers.Broken, TimeoutError, yaml.YAMLError) as broken:
        raise Wrong(f"shippers: {broken}") from None


def check_siem(out, appinspect, packages):
    """Stores and searches are told of the fields that there are."""
    try:
        print(f"siem: {siem.check(out, appinspect, packages)}")
    except siem.Broken as broken:
        raise Wrong(f"siem: {broken}") from None


def check_plugin(out, agent):
    """The real kubectl finds the binary as its plugin, starts it, and completes its words."""
    folder = out / "plugin"
    folder.mkdir(exist_ok=True)
    for name, place in [("kubectl-flowlog", agent), ("kubectl_complete-flowlog", HERE / "kubectl" / "kubectl_complete-flowlog")]:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(place.resolve())
    variables = {**os.environ, "PATH": f"{folder.resolve()}:{os.environ['PATH']}", "KUBECONFIG": str(out / "nowhere")}

    def kubectl(*words):
        done = subprocess.run(["kubectl", *words], env=variables, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    for words, code, part in [
        (["plugin", "list"], 0, f"{folder.resolve()}/kubectl-flowlog"),
        (["flowlog", "--help"], 0, "Usage: kubectl flowlog <COMMAND>"),
        (["flowlog", "run"], 2, "does not run from here"),
        (["flowlog", "policy", "explain", "--from=a", "--to=b", "--port=1"], 2, "there is no kubeconfig"),
        (["__complete", "flowlog", ""], 0, "check\nobserve\ntop\npolicy\nvendors\nassess\nsimulate\nhelp\n:4\n"),
        (["__complete", "flowlog", "policy", "ex"], 0, "explain\n:4\n"),
        (["__complete", "flowlog", "policy", "explain", "--man"], 0, "--manifests\n:4\n"),
        (["__complete", "flowlog", "policy", "explain", "--manifests", ""], 0, ":0\n"),
    ]:
        found, told, error = kubectl(*words)
        if found != code or part not in told + error:
            raise Wrong(f"kubectl {' '.join(words)}: {found}, without {part!r}:\n{told}{error}")
    print("plugin: kubectl finds it, starts it and completes its words")


DEMO = HERE.parent / "tests" / "fixtures" / "clusters" / "demo" / "manifests"


def flow(number, source, destination, port, protocol="tcp"):
    """A line of a flow that went through."""
    side = {"decision": "allow", "basis": "unselected"}
    return json.dumps({
        "v": 1, "seq": number, "kind": "flow", "time": "2026-11-30T08:00:00Z", "node": "demo-node", "run": "0123456789abcdef",
        "flow": {"id": f"{number:032x}", "direction": "egress", "protocol": protocol, "count": 1,
                 "first": "2026-11-30T08:00:00Z", "last": "2026-11-30T08:00:00Z"},
        "source": source, "destination": {**destination, "port": port},
        "verdict": {"decision": "allow", "egress": side, "ingress": side},
        "outcome": {"state": "established"}, "class": "unrestricted",
    })


def of_pod(one):
    """A pod of the manifests, as a record has it, owned by nobody."""
    meta = one["metadata"]
    return {"kind": "pod", "namespace": meta["namespace"], "pod": meta["name"], "labels": meta["labels"]}


def check_suggestions(out, agent):
    """What `policy suggest` prints, the API takes, and the names and labels in it are the words that they were."""
    listed = [one for path in sorted(DEMO.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]
    listed = [inner for one in listed for inner in one.get("items", [one])]
    pods = [of_pod(one) for one in listed if one["kind"] == "Pod"]
    # Words that YAML takes for something else.
    odd = [{"kind": "pod", "namespace": "on", "pod": word, "labels": {"app": word}}
           for word in ["true", "1e3", "null", "2026-11-30", "0777", "no"]]
    outside = [{"kind": "external", "ip": "198.51.100.7"}, {"kind": "external", "ip": "2001:db8::7"}]
    ends = pods + odd
    pairs = [(ends[place], (ends + outside)[(place * 3 + step) % (len(ends) + 2)]) for place in range(len(ends)) for step in range(4)]
    lines = [flow(number, source, destination, 53 + number % 3, ["tcp", "udp"][number % 2])
             for number, (source, destination) in enumerate(pairs) if source != destination]
    logs = out / "suggest.json"
    logs.write_text("\n".join(lines) + "\n")
    count = 0
    for words in [[], ["--manifests", DEMO], ["--per", "namespace", "--manifests", DEMO, "--external", "any"],
                  ["--default-deny", "--manifests", DEMO, "--merge", "--direction", "egress", "--dns", "any"]]:
        done = subprocess.run([agent, "policy", "suggest", "--logs", logs, *words], capture_output=True, text=True)
        # 1: something cannot be said in a policy.
        if done.returncode not in [0, 1] or not done.stdout:
            raise Wrong(f"policy suggest {words}: {done.returncode}\n{done.stderr}")
        found = objects(done.stdout)
        validate(f"policy suggest {words}", found)
        for one in found.values():
            if one["apiVersion"] != "networking.k8s.io/v1" or len(one["metadata"]["name"]) > 63:
                raise Wrong(f"policy suggest {words}: {one}")
        count += len(found)
        named = {json.dumps(one["spec"]["podSelector"].get("matchLabels")) for one in found.values()}
        if not words and not all(any(f'"app": "{one["labels"]["app"]}"' in name for name in named) for one in odd):
            raise Wrong(f"policy suggest: labels are no longer what they were: {named}")
    print(f"suggestions: {count} policies that the API takes")


def check_edges(out, agent):
    """Flow logs are summed up as two engines sum them up that are not ours."""
    wrong, (lines, found) = edges.check(out, agent)
    if wrong:
        raise Wrong("\n".join([f"{len(wrong)} edges differ", *wrong[:5]]))
    print(f"edges: {found} of {lines} lines, the same by flowlog, DuckDB and ClickHouse")


def check_templates():
    """The templates for pipelines, by the schemas that their makers publish."""
    templates = {
        "github-actions.yaml": ["--builtin-schema", "vendor.github-workflows"],
        "gitlab-ci.yaml": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
    }
    for name, words in templates.items():
        command = [sys.executable, "-m", "check_jsonschema", *words, HERE / "ci" / name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Wrong(f"{name}:\n{done.stdout}{done.stderr}")
    print(f"pipelines: {len(templates)} templates by their makers' schemas")


def main():
    options = argparse.ArgumentParser()
    for name in ["out", "agent", "promtool", "rsyslog", "checkov", "appinspect", "packages"]:
        options.add_argument(f"--{name}", type=pathlib.Path, required=True)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        check_chart()
        rendered = check_manifests(given.out, given.agent)
        check_findings(rendered, given.checkov)
        check_suggestions(given.out, given.agent)
        check_templates()
        check_plugin(given.out, given.agent)
        check_dashboards(given.out, given.promtool, check_metrics(given.out, given.agent, given.promtool))
        check_shippers(given.out, given.rsyslog)
        check_siem(given.out, given.appinspect, given.packages)
        check_edges(given.out, given.agent)
    except Wrong as wrong:
        raise SystemExit(f"error: {wrong}") from None


if __name__ == "__main__":
    main()
