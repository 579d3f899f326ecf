// A mapping for lines of ECS on standard input: which of its fields have another type than ECS gives them. What is under `flowlog` is
// ours. The first argument names the installed package.

const { EcsFlat } = require(process.argv[2]);

const OWN = "flowlog";
// A word is a word, a moment has its nanoseconds.
const TYPES = { keyword: "keyword", constant_keyword: "keyword", wildcard: "keyword", match_only_text: "keyword", date: "date_nanos" };

function* fields(properties, at = "") {
  for (const [name, field] of Object.entries(properties)) {
    const path = at === "" ? name : `${at}.${name}`;
    if (field.properties) yield* fields(field.properties, path);
    else yield [path, field.type];
  }
}

const { template } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const { [OWN]: _, ...theirs } = template.mappings.properties;
for (const [path, type] of fields(theirs)) {
  const field = EcsFlat[path];
  if (!field) console.log(`${path}: no field of ECS`);
  else if ((TYPES[field.type] || field.type) !== type) console.log(`${path}: ${type}, where ECS has ${field.type}`);
}
