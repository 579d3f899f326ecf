"""Splunk's own AppInspect looks at the app that ships; the fields that it names are the schema's, those that it makes CIM's. No Splunk
runs it."""

import configparser
import json
import pathlib
import re
import subprocess

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
APP = DEPLOY / "siem" / "splunk" / "flowlog"
# Of the data model Network Traffic (CIM 6), and three that are beside it.
CIM = set("""action app bytes bytes_in bytes_out dest dest_ip dest_port dest_zone direction duration dvc icmp_code icmp_type protocol
protocol_version response_time rule session_id src src_ip src_port src_zone transport vendor_product""".split())
BESIDE = {"dest_host", "process_id", "src_host"}
NEEDED = {"action", "app", "dest", "dest_ip", "dest_port", "src", "src_ip", "src_port", "transport", "protocol", "vendor_product"}
FUNCTIONS = {"case", "coalesce", "if", "isnotnull", "null", "mvindex", "mvdedup", "mvappend"}


class Broken(Exception):
    """A check that found something."""


def paths(schema):
    """Every field as Splunk extracts it of JSON: a list has {} behind its name."""
    def resolve(node):
        while "$ref" in node or "anyOf" in node:
            node = (schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node
                    else next(one for one in node["anyOf"] if one.get("type") != "null"))
        return node

    def walk(node, path):
        node = resolve(node)
        if "items" in node:
            return walk(node["items"], path + "{}")
        for name, inner in node.get("properties", {}).items():
            walk(inner, f"{path}.{name}" if path else name)
        if "properties" not in node:
            found[path] = set(node.get("enum", [])) | {one["const"] for one in node.get("oneOf", []) if "const" in one}

    found = {}
    for kind in schema["oneOf"]:
        walk(kind, "")
    return found


def check_props():
    parser = configparser.RawConfigParser(strict=True, delimiters=("=",))
    parser.optionxform = str
    parser.read(APP / "default" / "props.conf")
    known = paths(json.loads((DEPLOY / "schema" / "flowlog.v1.schema.json").read_text()))
    made = set()
    for name, text in parser["flowlog:json"].items():
        if not name.startswith("EVAL-"):
            continue
        made.add(name.removeprefix("EVAL-"))
        bare = re.sub(r'"[^"]*"', "", text)
        used = set(re.findall(r"'([^']*)'", bare))
        bare = re.sub(r"'[^']*'", "", bare)
        used |= set(re.findall(r"\b[a-z_]+\b(?!\s*\()", bare))
        if unknown := used - known.keys():
            raise Broken(f"props.conf, {name}: no record has {sorted(unknown)}")
        if unknown := set(re.findall(r"\b([a-z_]+)\s*\(", bare)) - FUNCTIONS:
            raise Broken(f"props.conf, {name}: no function {sorted(unknown)}")
        for field, values in re.findall(r"'?([a-z_.]+)'? (?:==|IN) (\([^)]*\)|\"[^\"]*\")", text):
            if unknown := set(re.findall(r'"([^"]*)"', values)) - known[field]:
                raise Broken(f"props.conf, {name}: {field} is never {sorted(unknown)}")
    if made - CIM - BESIDE or NEEDED - made:
        raise Broken(f"props.conf: {sorted(made - CIM - BESIDE)} are not CIM's, {sorted(NEEDED - made)} are missing")
    code = (DEPLOY.parent / "flowlog-agent" / "src" / "sinks" / "remote" / "http" / "splunk.rs").read_text()
    if (sent := set(re.findall(r'"(flowlog:\w+)"', code))) != set(parser.sections()):
        raise Broken(f"props.conf has {parser.sections()}, the agent sends {sorted(sent)}")
    return len(made - BESIDE)


def check(out, appinspect):
    """What there is, in words."""
    made = check_props()
    report = out / "appinspect.json"
    done = subprocess.run([appinspect, "inspect", APP, "--mode", "precert", "--data-format", "json", "--output-file", report],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"AppInspect: {done.stdout}{done.stderr}")
    told = json.loads(report.read_text())
    summary = told["summary"]
    if any(summary[name] for name in ["error", "failure", "future_failure", "warning"]) or not summary["success"]:
        found = [message["message"] for one in told["reports"] for group in one["groups"] for check in group["checks"]
                 if check["result"] in ("error", "failure", "future_failure", "warning") for message in check["messages"]]
        raise Broken("AppInspect:\n" + "\n".join(found))
    return f"{made} fields of CIM, {summary['success']} of AppInspect's checks"
