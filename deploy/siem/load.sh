#!/bin/sh
# Tells Elasticsearch or OpenSearch of flowlog's records, before the first one comes:
#
#   deploy/siem/load.sh elastic https://elastic.example.com:9200 --header @authorization
#   deploy/siem/load.sh opensearch https://search.example.com:9200 --user admin
#
# What follows the address is handed on to curl.
set -eu
engine=$1 address=$2
shift 2
cd "$(dirname "$0")/$engine"

put() {
  path=$1 file=$2
  shift 2
  printf '%s: ' "$path"
  curl --silent --show-error --fail-with-body --request PUT --header 'content-type: application/json' --data-binary "@$file" "$@" "$address/$path"
  echo
}

case $engine in
elastic)
  put _ilm/policy/flowlog ilm.json "$@"
  put _ingest/pipeline/flowlog pipeline.json "$@"
  ;;
opensearch) put _plugins/_ism/policies/flowlog ism.json "$@" ;;
esac
for part in settings mappings mappings.ecs; do
  put "_component_template/flowlog-$part" "component-$part.json" "$@"
done
put _index_template/logs-flowlog index-template.json "$@"
put _index_template/logs-flowlog.ecs index-template.ecs.json "$@"
