"""Holds what is deployed against what it is deployed to: `cargo xtask deploy` runs this.

The kustomizations are rendered, and the chart with the values that should give the same; both are compared, every object
is held against the API's schemas, and the whole against checkov, whose findings are either mended or have their reason in
place. What the agent answers over HTTP is read by two parsers that are not ours.
"""

import argparse
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import helm_python
import kubernetes_validate
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

HERE = pathlib.Path(__file__).resolve().parent.parent
CHART = HERE / "helm" / "flowlog"
NAME = "flowlog"

# The oldest version that the chart takes, and the newest that the schemas are there for.
VERSIONS = ["1.27", "1.37"]

# Kinds of other makers, for which there are no schemas.
FOREIGN = {"SecurityContextConstraints"}

# A kustomization, and the values that make the same of the chart.
PAIRS = {
    "base": {},
    "overlays/minimal": {"pin": False, "metrics": {"listen": "off"}},
    "overlays/with-metrics": {"metrics": {"listen": "node"}},
    "overlays/openshift": {"openshift": True},
    "log-file": {"logFolder": "/var/log/flowlog"},
}

# Everything that has no kustomization of its own.
FULL = {
    "image": {"digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "clusterName": "production",
    "config": {"each": True, "networks": {"office": ["198.51.100.0/24"]}},
    "priorityClass": {"create": False, "name": "system-node-critical"},
    "podAnnotations": {"team": "net"},
    "seccompProfile": {"type": "Localhost", "localhostProfile": "flowlog.json"},
    "maxUnavailable": 1,
}

# What the values' schema has to refuse.
REFUSED = [{"pods": 1}, {"metrics": {"listen": "everywhere"}}, {"image": {"digest": "sha256:1"}}, {"config": {"pin": "/x"}}]


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
    if name == "log-file":
        folder = out / "log-file"
        folder.mkdir(exist_ok=True)
        up = os.path.relpath(HERE / "kustomize", folder)
        text = yaml.safe_dump({"resources": [f"{up}/base"], "components": [f"{up}/components/log-file"]})
        (folder / "kustomization.yaml").write_text(text)
    return subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True).stdout


def render(chart, values):
    values = {"createNamespace": True} | values
    chart.validate_schema(values)
    files = chart.render(values, name=NAME, namespace=NAME)
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


def validate(name, found):
    for key, one in found.items():
        if key[0] in FOREIGN:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise Wrong(f"{name}: {key} against Kubernetes {version}: {error}") from error


def hold_against_agent(name, found, agent):
    """Every flag is one of the agent's, and every variable."""
    told = subprocess.run([agent, "run", "--help"], check=True, capture_output=True, text=True).stdout
    for (kind, *_), one in found.items():
        if kind != "DaemonSet":
            continue
        [container] = one["spec"]["template"]["spec"]["containers"]
        command, *flags = container["args"]
        words = [flag.split("=")[0] for flag in flags] + [variable["name"] for variable in container["env"]]
        for word in words:
            if word != "NODE_IP" and not re.search(rf"{re.escape(word)}\b", told):
                raise Wrong(f"{name}: `flowlog {command}` knows no {word}")


def check_rights(found):
    """The agent's rights are those to what it watches, and no other."""
    kinds = HERE.parent / "flowlog-agent" / "src" / "cluster" / "watch" / "kinds.rs"
    watched = set(re.findall(r'"/apis?/(?:([a-z0-9.]+)/)?v1[a-z0-9]*/([a-z]+)"', kinds.read_text()))
    [role] = [one for (kind, *_), one in found.items() if kind == "ClusterRole"]
    given = set()
    for rule in role["rules"]:
        if sorted(rule["verbs"]) != ["get", "list", "watch"]:
            raise Wrong(f"the agent gets, lists and watches; it is given {rule['verbs']}")
        given |= {(group, resource) for group in rule["apiGroups"] for resource in rule["resources"]}
    if given != watched or not watched:
        raise Wrong(f"rights without use: {given - watched}; watched without a right: {watched - given}")


def check_chart():
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
            compare(name, found, objects(render(chart, values)))
            validate(name, found)
            hold_against_agent(name, found, agent)
            check_rights(found)
            (rendered / f"{name.replace('/', '-')}.yaml").write_text(text)
            count += len(found)
        text = render(chart, FULL)
        found = objects(text)
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
                if ask(place, "/readyz", "*/*")[0] == 200:
                    break
            except OSError as error:
                if time.monotonic() > deadline or running.poll() is not None:
                    raise Wrong(f"the agent does not get ready: {error}") from error
            time.sleep(0.1)
        _, text = ask(place, "/metrics", "*/*")
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise Wrong(f"promtool check metrics:\n{done.stdout}{done.stderr}")
        _, text = ask(place, "/metrics", "application/openmetrics-text;version=1.0.0")
        families = list(text_string_to_metric_families(text))
        print(f"metrics: {len(families)} families, {sum(len(one.samples) for one in families)} series")
    finally:
        running.terminate()
        if running.wait(30) != 0:
            raise Wrong(f"the agent ended with {running.returncode}")


def main():
    options = argparse.ArgumentParser()
    for name in ["out", "agent", "promtool", "checkov"]:
        options.add_argument(f"--{name}", type=pathlib.Path, required=True)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        check_chart()
        rendered = check_manifests(given.out, given.agent)
        check_findings(rendered, given.checkov)
        check_metrics(given.out, given.agent, given.promtool)
    except Wrong as wrong:
        raise SystemExit(f"error: {wrong}") from None


if __name__ == "__main__":
    main()
