"""The records that detections are tried with, out of `cases.yaml`."""

import copy
import datetime
import pathlib

CASES = pathlib.Path(__file__).with_name("cases.yaml")


def put(record, path, value):
    """Set what stands at a path; `None` takes it out."""
    *way, last = path.split(".")
    for step in way:
        record = record[int(step)] if isinstance(record, list) else record.setdefault(step, {})
    if value is None:
        record.pop(last, None)
    else:
        record[last] = value


def records(bases, case, change):
    """The records of a case, with one change."""
    case = copy.deepcopy(case)
    put_over = dict(case["match"])
    for path, value in change.items():
        part, _, rest = path.partition(".")
        if part == "series" and rest.startswith("vary."):
            case["series"]["vary"][rest.removeprefix("vary.")] = value
        elif part == "series":
            case["series"][rest] = value
        elif part == "lines":
            number, _, rest = rest.partition(".")
            case["lines"][int(number)][rest] = value
        else:
            put_over[path] = value
    made = []
    series = case.get("series", {"repeat": 1, "every_s": 0, "vary": {}})
    for number in range(series["repeat"]):
        for line in case.get("lines", [{}]):
            record = copy.deepcopy(bases[case["base"]])
            varied = {path: text.format(number) for path, text in series["vary"].items()}
            for path, value in (put_over | line | varied).items():
                put(record, path, copy.deepcopy(value))
            if "series" in case:
                begun = datetime.datetime.fromisoformat("2026-11-30T08:00:00")
                record["time"] = (begun + datetime.timedelta(seconds=number * series["every_s"])).isoformat() + ".000000000Z"
            record["seq"] = len(made) + 1
            made.append(record)
    return made


def tries(case):
    """Each change of a case, and whether what is changed so must be found."""
    return [(True, change) for change in [{}, *case["also"]]] + [(False, change) for change in case["miss"]]
