#!/bin/sh
# Assesses third-party risk in a pipeline: the manifests of a change against the flows that were recorded.
#
# Takes its settings from the environment, writes every report into $OUT, and ends as flowlog does: 0 nothing new at or over
# the threshold, 1 findings, 2 it could not be made. Nothing is fetched and nothing is sent.
#
#   FLOWLOG    the program (default: flowlog)
#   MANIFESTS  folder with the rendered manifests of the change
#   LOGS       recorded flow logs: a file or a folder, compressed or not
#   SCANS      scanners' reports: a file or a folder
#   CONFIG     what is trusted, sensitive, accepted
#   BASELINE   what was accepted before; what it has does not fail
#   FAIL_ON    info, low, medium, high, critical or never (default: high)
#   STRICT     not empty: what cannot be read of the input fails, too
#   OUT        folder for the reports (default: flowlog-assessment)
set -eu

out=${OUT:-flowlog-assessment}
mkdir -p "$out"

set -- --output text --output "json=$out/assessment.json" --output "markdown=$out/summary.md" \
  --output "sarif=$out/flowlog.sarif" --output "junit=$out/junit.xml" --output "html=$out/report.html" \
  --write-baseline "$out/baseline.json" --fail-on "${FAIL_ON:-high}"
[ -z "${MANIFESTS:-}" ] || set -- "$@" --manifests "$MANIFESTS"
[ -z "${LOGS:-}" ] || set -- "$@" --logs "$LOGS"
[ -z "${SCANS:-}" ] || set -- "$@" --scans "$SCANS"
[ -z "${CONFIG:-}" ] || set -- "$@" --config "$CONFIG"
# The first run has none to compare with.
if [ -n "${BASELINE:-}" ] && [ -e "$BASELINE" ]; then
  set -- "$@" --baseline "$BASELINE"
fi
[ -z "${STRICT:-}" ] || set -- "$@" --strict

exec "${FLOWLOG:-flowlog}" assess "$@"
