"""OCSF lines on standard input: which of them the schema of their class, with their profiles, refuses, and why."""

import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"


def main():
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    validators = {}
    for number, line in enumerate(sys.stdin, 1):
        event = json.loads(line)
        metadata = event.get("metadata", {})
        if metadata.get("version") != VERSION:
            print(f"{number}: metadata.version is {metadata.get('version')}", flush=True)
            continue
        key = (event.get("class_uid"), tuple(metadata.get("profiles", [])))
        if key not in validators:
            try:
                name = schemas.lookup_class_name_from_uid(class_uid=key[0])
                schema = schemas.get_class_schema(class_name=name, profiles=list(key[1]))
            except (KeyError, TypeError, ValueError) as error:
                print(f"{number}: class_uid {key[0]}: {error}", flush=True)
                continue
            validators[key] = Draft202012Validator(schema)
        # Whatever is deep in a choice is told by the choice alone.
        for error in validators[key].iter_errors(event):
            print(f"{number}: {'.'.join(map(str, error.path))}: {error.message[:200]}", flush=True)
        # What no JSON Schema of it says: the number of the type is made of two others, and numbers are signed.
        if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
            print(f"{number}: type_uid is not class_uid * 100 + activity_id", flush=True)


main()
