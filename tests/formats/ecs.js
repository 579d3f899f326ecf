// ECS lines on standard input: which of them have a field that ECS does not, or one that is not as ECS says, and why. What is
// under `flowlog` is ours. The first argument names the installed package.

const { EcsFlat, EcsVersion } = require(process.argv[2]);
const { createInterface } = require("node:readline");
const { isIP } = require("node:net");

const OWN = "flowlog";
const REQUIRED = ["@timestamp", "ecs.version", "event.kind", "event.dataset"];
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

const whole = (value) => Number.isInteger(value);
const text = (value) => typeof value === "string";
const TYPES = {
  keyword: text,
  constant_keyword: text,
  wildcard: text,
  match_only_text: text,
  long: whole,
  ip: (value) => text(value) && isIP(value) !== 0,
  date: (value) => text(value) && TIME.test(value) && !Number.isNaN(Date.parse(value)),
  boolean: (value) => typeof value === "boolean",
};

function* fields(object, at = "") {
  for (const [name, value] of Object.entries(object)) {
    const path = at === "" ? name : `${at}.${name}`;
    if (value !== null && typeof value === "object" && !Array.isArray(value)) yield* fields(value, path);
    else yield [path, value];
  }
}

function* errors(event) {
  const own = event[OWN];
  if (!own || !whole(own.v) || !whole(own.seq) || !text(own.run)) yield `${OWN} has no v, seq or run`;
  const { [OWN]: _, ...rest } = event;
  const found = new Map(fields(rest));
  for (const name of REQUIRED) if (!found.has(name)) yield `${name} is missing`;
  if (found.get("ecs.version") !== EcsVersion) yield `ecs.version is not ${EcsVersion}`;
  for (const [path, value] of found) {
    const field = EcsFlat[path];
    if (!field) {
      yield `${path} is no field of ECS`;
      continue;
    }
    if ((field.normalize || []).includes("array") !== Array.isArray(value)) yield `${path}: a list, or none`;
    const fits = TYPES[field.type];
    if (!fits) yield `${path}: of type ${field.type}, which nothing here checks`;
    for (const one of [].concat(value)) {
      if (fits && !fits(one)) yield `${path}: ${JSON.stringify(one)} is no ${field.type}`;
      const allowed = field.allowed_values;
      if (allowed && !allowed.some(({ name }) => name === one)) yield `${path}: ${JSON.stringify(one)} is not allowed`;
    }
  }
  // A type has to be expected of one of the categories.
  const categories = EcsFlat["event.category"].allowed_values.filter(({ name }) =>
    [].concat(found.get("event.category") || []).includes(name),
  );
  const expected = new Set(categories.flatMap((category) => category.expected_event_types || []));
  for (const type of [].concat(found.get("event.type") || [])) {
    if (categories.length > 0 && !expected.has(type)) yield `event.type ${type} goes with no event.category`;
  }
}

let number = 0;
createInterface({ input: process.stdin, crlfDelay: Infinity }).on("line", (line) => {
  number += 1;
  for (const error of errors(JSON.parse(line))) console.log(`${number}: ${error}`);
});
