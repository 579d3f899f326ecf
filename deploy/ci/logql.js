// LogQL on standard input, a JSON text a line: what Grafana's parser of it does not understand, and what it finds in the others: label
// names of the selector, other names. The first argument names the folder of packages.

const path = require("node:path");
const modules = path.join(process.argv[2], "node_modules");
const { parser } = require(path.join(modules, "@grafana/lezer-logql"));
const { createInterface } = require("node:readline");

createInterface({ input: process.stdin, crlfDelay: Infinity }).on("line", (line) => {
  const text = JSON.parse(line);
  const found = { errors: [], labels: [], fields: [] };
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) found.errors.push(text.slice(Math.max(0, node.from - 40), node.from + 40));
      if (node.name !== "Identifier") return;
      let inSelector = false;
      for (let up = node.node.parent; up; up = up.parent) inSelector ||= up.name === "Selector";
      found[inSelector ? "labels" : "fields"].push(text.slice(node.from, node.to));
    },
  });
  console.log(JSON.stringify(found));
});
