'use strict';
// The report's views. What is shown is in the data; names are only ever set as text.
(() => {
const DATA = JSON.parse(document.getElementById('data').textContent);
const A = DATA.assessment, FAIL_ON = DATA.fail_on;
const SEVERITIES = ['critical', 'high', 'medium', 'low', 'info'];
const GLYPHS = { critical: '◆', high: '▲', medium: '●', low: '▽', info: '○' };
const ORIGINS = { first_party: 'first party', platform: 'platform', third_party: 'third party', unknown: 'unknown' };
// Told apart with any colour vision; each also stands beside its name.
const PALETTE = { light: ['#0b6bb0', '#c24f00', '#0a7f5c', '#b0568c', '#8a6a00', '#6a4fb3', '#20808f', '#87542b'], dark: ['#5fb0ee', '#ff9355', '#45c79b', '#e598c6', '#e0b93a', '#b39cf0', '#5ccbd9', '#d0a075'] };
const TONES = [
  { id: 'not_enforced', label: 'denied, not enforced', stroke: 'thick' }, { id: 'denied', label: 'denied', stroke: 'dashed' },
  { id: 'blocked', label: 'blocked', stroke: 'dotted' }, { id: 'unrestricted', label: 'no policy', stroke: 'dotted' },
  { id: 'allowed', label: 'allowed', stroke: '' }, { id: 'other', label: 'refused, failed, not judged', stroke: '' }, { id: 'possible', label: 'could reach (not seen)', stroke: 'dotted' },
];
const TONE_OF = { policy_not_enforced: 'not_enforced', denied_attempt: 'denied', blocked_though_allowed: 'blocked', blocked_unexplained: 'blocked', unrestricted: 'unrestricted', allowed: 'allowed' };
const CLASSES = { policy_not_enforced: 'denied, not enforced', denied_attempt: 'denied', blocked_though_allowed: 'blocked though allowed', blocked_unexplained: 'blocked, unexplained', unrestricted: 'no policy', allowed: 'allowed', refused: 'refused', failed: 'failed', undetermined: 'not judged' };
const MOST = 150;

// ---- building blocks
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') for (const [event, does] of Object.entries(value)) element.addEventListener(event, does);
    else if (name === 'vars') for (const [key, set] of Object.entries(value)) element.style.setProperty(key, set);
    else element.setAttribute(name === 'cls' ? 'class' : name, value === true ? '' : value);
  }
  put(element, children);
  return element;
}
function put(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === '') continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}
const byId = (id) => document.getElementById(id);
const number = (value) => (value === undefined || value === null ? '–' : Number(value).toLocaleString('en-US'));
const plural = (value, one, many) => `${number(value)} ${value === 1 ? one : many || one + 's'}`;
const moment = (text) => (text ? text.replace('T', ' ').replace(/(:\d\d)(\.\d+)?Z$/, '$1 UTC') : '–');
const day = (text) => (text ? text.slice(0, 10) : '–');
function bytes(value) {
  for (const [unit, size] of [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]]) if (value >= size) return (value / size).toFixed(1) + ' ' + unit;
  return number(value) + ' B';
}
const joined = (list, between = ' · ') => list.filter(Boolean).join(between);
const tell = (text) => { byId('told').textContent = text; };
const severity = (id) => h('span', { cls: 'sev ' + id }, h('span', { cls: 'glyph', 'aria-hidden': 'true' }, GLYPHS[id]), id);
const dark = () => document.documentElement.dataset.theme === 'dark';

// ---- what the data says
function nameOf(place) {
  switch (place.kind) {
    case 'workload': return `${place.namespace}/${place.workload_kind}/${place.name}`;
    case 'service': return `${place.namespace}/Service/${place.name}`;
    case 'node': return place.name ? 'node ' + place.name : 'a node';
    case 'external': return place.name || place.ip || place.network || 'outside the cluster';
    case 'local': return 'itself';
    default: return place.ip ? place.ip + ' (not known)' : 'not known';
  }
}
const ROLES = { kubernetes_api: 'Kubernetes API', metadata: 'metadata address', kubelet: 'kubelet', node: 'node' };
const shortOf = (actor) => (actor.role && actor.role !== 'node' ? ROLES[actor.role] : actor.place.kind === 'workload' ? actor.place.name : nameOf(actor.place));
const NAMES = A.actors.map((actor) => nameOf(actor.place));
const INDEX = new Map(A.actors.map((actor, index) => [JSON.stringify(sorted(actor.place)), index]));
function sorted(value) { return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))); }
const policyName = (policy) => `${policy.kind} ${policy.namespace ? policy.namespace + '/' : ''}${policy.name}${policy.rule === undefined ? '' : ', rule ' + policy.rule}`;
const portOf = (one) => (one.port === undefined ? one.protocol : `${one.protocol}/${one.port}`);
// Of what could be reached: a range, or where none is named every port.
const reachOf = (one) => (one.port === undefined ? `${one.protocol}, every port` : portOf(one) + (one.last === undefined ? '' : `-${one.last}`));
const vendorKey = (vendor) => vendor.name === undefined ? (vendor.origin === 'unknown' ? '?' : '-') : vendor.name;
const vendorName = (vendor) => vendor.name === undefined ? (vendor.origin === 'unknown' ? 'Origin unknown' : 'No vendor known') : vendor.name;
const VENDORS = A.vendors.map((vendor, place) => ({ ...vendor, key: vendorKey(vendor), label: vendorName(vendor), place }));
const colour = (vendor) => (vendor && vendor.name !== undefined ? PALETTE[dark() ? 'dark' : 'light'][vendor.place % 8] : dark() ? '#a3adbd' : '#4f5a6b');
const VENDOR_OF = new Map();
for (const vendor of VENDORS) for (const index of [...vendor.workloads, ...vendor.outside]) VENDOR_OF.set(index, vendor);
function subject(finding) {
  const about = finding.subject;
  switch (about.about) {
    case 'place': return nameOf(about.place);
    case 'namespace': return 'namespace ' + about.name;
    case 'policy': return policyName(about.policy);
    default: return about.image;
  }
}
function namespaceOf(finding) {
  const about = finding.subject;
  return about.about === 'place' ? about.place.namespace : about.about === 'namespace' ? about.name : about.about === 'policy' ? about.policy.namespace : undefined;
}
const actorOf = (finding) => (finding.subject.about === 'place' ? INDEX.get(JSON.stringify(sorted(finding.subject.place))) : undefined);
const ALL = [...A.findings, ...A.suppressed].map((finding, place) => ({
  ...finding, place, hidden: place >= A.findings.length, namespace: namespaceOf(finding), actor: actorOf(finding),
  text: joined([finding.id, finding.title, finding.summary, subject(finding), finding.object, finding.vendor], ' ').toLowerCase(),
}));
const OPEN = ALL.filter((finding) => !finding.hidden);
const touches = (finding, vendor) => finding.vendor === vendor.name && vendor.name !== undefined
  || vendor.workloads.includes(finding.actor) || vendor.name === undefined && finding.subject.about === 'image' && A.images.some((image) => image.image === finding.subject.image && image.vendor === undefined && image.origin === vendor.origin);
const fails = (finding) => FAIL_ON && !finding.hidden && SEVERITIES.indexOf(finding.severity) <= SEVERITIES.indexOf(FAIL_ON);

// ---- where one is: the hash
function here() {
  const [view, query] = location.hash.replace(/^#/, '').split('?');
  const [name, ...rest] = view.split('/');
  let of; try { of = rest.length ? decodeURIComponent(rest.join('/')) : undefined; } catch { of = undefined; }
  return { view: VIEWS[name] ? name : 'summary', of, query: new URLSearchParams(query || '') };
}
function link(view, query = {}, of) {
  const set = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== '' && value !== null));
  return '#' + view + (of === undefined ? '' : '/' + encodeURIComponent(of)) + (String(set) ? '?' + set : '');
}
function keep(view, query, of) { history.replaceState(null, '', link(view, query, of)); }
const vendorLink = (vendor) => h('a', { href: link('vendor', {}, vendor.key) }, h('span', { cls: 'dot', 'aria-hidden': 'true', vars: { '--tone': colour(vendor) } }), vendor.label);
const actorLink = (index) => h('a', { cls: 'name', href: link('map', { sel: index }) }, NAMES[index]);
const shown = (index) => [actorLink(index), A.actors[index].sensitive !== undefined && [' ', h('span', { cls: 'tag note', title: A.actors[index].sensitive }, '★ sensitive')]];

// ---- parts
// A table: columns are { head, number, sort(row), cell(row) }.
function table(caption, columns, rows, options = {}) {
  const state = { by: options.by, down: options.down !== false, most: options.most || 60 };
  const body = h('tbody');
  const heads = columns.map((column, at) => h('th', { scope: 'col', cls: column.number && 'number' }, column.sort ? h('button', { type: 'button', on: { click: () => { state.down = state.by === at ? !state.down : !!column.number; state.by = at; fill(); } } }, column.head) : column.head));
  const more = h('button', { type: 'button', cls: 'quiet more nowhere', on: { click: () => { state.most += 500; fill(); } } });
  function fill() {
    const sort = state.by === undefined ? undefined : columns[state.by].sort;
    const list = sort ? [...rows].sort((a, b) => { const x = sort(a), y = sort(b); return (x < y ? -1 : x > y ? 1 : 0) * (state.down ? -1 : 1); }) : rows;
    body.replaceChildren(...list.slice(0, state.most).map((row) => h('tr', {}, columns.map((column) => h('td', { cls: joined([column.number && 'number', column.keep && 'keep'], ' ') || undefined }, column.cell(row))))));
    heads.forEach((head, at) => { if (state.by === at) head.setAttribute('aria-sort', state.down ? 'descending' : 'ascending'); else head.removeAttribute('aria-sort'); });
    more.hidden = list.length <= state.most; more.textContent = `Show more (${number(list.length - state.most)} left)`;
  }
  fill();
  return [h('div', { cls: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption }, h('table', {}, h('caption', { cls: options.quiet ? 'unseen' : undefined }, caption), h('thead', {}, h('tr', {}, heads)), body)), more];
}
const card = (title, ...inside) => h('section', { cls: 'card' }, h('h2', {}, title), inside);
const hush = (text) => h('p', { cls: 'hush' }, text);
function yaml(text) {
  const button = h('button', { type: 'button', cls: 'quiet', on: { click: async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = 'Copied'; }
    catch { const range = document.createRange(); range.selectNodeContents(pre); getSelection().removeAllRanges(); getSelection().addRange(range); button.textContent = 'Selected'; }
    tell(button.textContent);
  } } }, 'Copy');
  const pre = h('pre', { tabindex: '0', 'aria-label': 'Policy as YAML' }, text);
  return h('div', { cls: 'yaml' }, pre, button);
}
function gapBar(vendor) {
  if (vendor.reachable === undefined) return undefined;
  const used = Math.max(0, vendor.reachable - (vendor.unused || 0));
  return h('div', { cls: 'gap', role: 'img', 'aria-label': `${number(used)} of ${number(vendor.reachable)} used`, vars: { '--part': (vendor.reachable ? Math.min(100, used * 100 / vendor.reachable) : 0) + '%' } }, h('i'));
}
const DRIFTS = { new: 'warn', worse: 'warn', known: '' };
function proof(one) {
  const from = (text) => h('span', { cls: 'from' }, text);
  switch (one.type) {
    case 'records': return h('li', {}, one.what, from([plural(one.count, 'attempt'), ' · ', moment(one.first), ' to ', moment(one.last), ' · ', h('code', {}, one.example.file + (one.example.line === undefined ? '' : ':' + one.example.line))]));
    case 'policy': return h('li', {}, one.what, from(policyName(one.policy)));
    case 'clue': return h('li', {}, h('code', {}, one.clue.value), ' matches ', h('code', {}, one.clue.rule), from(joined([one.clue.vendor || ORIGINS[one.clue.origin], one.clue.confidence + ' confidence'])));
    case 'scan': return h('li', {}, one.what, from(one.report));
    default: return h('li', {}, one.what, from({ baseline: 'by the baseline', inventory: "by the cluster's objects", absence: 'what is missing' }[one.type] || one.type));
  }
}
function inside(finding) {
  const part = (title, ...content) => h('div', {}, h('h3', {}, title), content);
  return h('div', { cls: 'inside' },
    finding.suppressed && part('Suppressed', h('p', {}, finding.suppressed.reason, finding.suppressed.expires && ` (until ${finding.suppressed.expires})`)),
    part('Why it matters', h('p', {}, finding.why)),
    part('Evidence', h('ul', { cls: 'evidence' }, finding.evidence.map(proof), finding.more_evidence > 0 && h('li', { cls: 'soft' }, `and ${number(finding.more_evidence)} more`))),
    part('What mends it', h('p', {}, finding.remedy.text), finding.remedy.policy && yaml(finding.remedy.policy)),
    h('p', { cls: 'foot' },
      finding.actor !== undefined && h('a', { cls: 'nowhere', href: link('map', { sel: finding.actor }) }, 'Show on the map'),
      h('a', { cls: 'nowhere', href: link('findings', { open: finding.fingerprint, hidden: finding.hidden ? 1 : undefined }) }, 'Link to this finding'),
      h('span', {}, 'Fingerprint ', h('code', {}, finding.fingerprint))));
}
function findingRow(finding, open) {
  const details = h('details', { cls: 'finding ' + finding.severity, id: 'f-' + finding.fingerprint },
    h('summary', {}, h('span', { cls: 'id' }, finding.id), h('span', { cls: 'title' }, finding.title),
      h('span', { cls: 'marks' }, finding.hidden && h('span', { cls: 'tag' }, 'suppressed'), fails(finding) && h('span', { cls: 'tag warn' }, 'fails'), finding.drift && finding.drift !== 'known' && h('span', { cls: 'tag note' }, finding.drift), finding.vendor && h('span', { cls: 'tag' }, cut(finding.vendor, 40))),
      h('span', { cls: 'what clamp' }, finding.summary)));
  const fill = () => { if (details.childElementCount === 1) details.append(inside(finding)); };
  details.addEventListener('toggle', () => { if (details.open) fill(); });
  if (open) { fill(); details.open = true; }
  return details;
}
const cut = (text, most) => { const letters = [...text]; return letters.length > most ? letters.slice(0, most - 1).join('') + '…' : text; };
function findingGroups(list, options = {}) {
  let left = options.most || Infinity;
  return SEVERITIES.map((id) => {
    const of = list.filter((finding) => finding.severity === id);
    if (!of.length || left <= 0) return undefined;
    const take = of.slice(0, left); left -= take.length;
    return h('section', { cls: 'group', 'aria-label': id }, h('h2', {}, severity(id), plural(of.length, 'finding')), take.map((finding) => findingRow(finding, options.open === true || options.open === finding.fingerprint)));
  });
}

// ---- summary
function verdict() {
  const count = (id) => A.counts[id] || 0;
  const grave = count('critical') + count('high');
  if (grave) return `${joined([count('critical') && plural(count('critical'), 'critical finding'), count('high') && plural(count('high'), 'high finding')], ' and ')} need${grave === 1 ? 's' : ''} attention`;
  if (OPEN.length) return 'Nothing critical or high was found';
  return 'Nothing was found';
}
function leadText() {
  const third = VENDORS.filter((vendor) => vendor.origin === 'third_party'), unknown = VENDORS.filter((vendor) => vendor.origin === 'unknown');
  const sum = (list, field) => list.reduce((total, vendor) => total + (vendor[field] || 0), 0), workloads = (list) => list.reduce((total, vendor) => total + vendor.workloads.length, 0);
  const known = VENDORS.some((vendor) => vendor.reachable !== undefined);
  const lost = workloads(unknown);
  return joined([
    `${plural(third.length, 'vendor')} run${third.length === 1 ? 's' : ''} ${plural(workloads(third), 'workload')} here${lost ? `; of ${plural(lost, 'more workload')} nothing tells whose ${lost === 1 ? 'it is' : 'they are'}` : ''}.`,
    `They reached ${plural(sum(VENDORS, 'reached'), 'target port')}`.concat(known ? `; the declared policies would let them reach ${number(sum(VENDORS, 'reachable'))}, of which ${number(sum(VENDORS, 'unused'))} ${sum(VENDORS, 'unused') === 1 ? 'was' : 'were'} never used.` : '; what they could reach was not looked at: no objects of the cluster were given.'),
  ], ' ');
}
function tiles() {
  return h('div', { cls: 'tiles' }, SEVERITIES.map((id) => h('a', { cls: `tile ${id}${A.counts[id] ? '' : ' none'}`, href: link('findings', { sev: id }) }, h('b', {}, number(A.counts[id] || 0)), h('span', {}, h('span', { cls: 'glyph', 'aria-hidden': 'true' }, GLYPHS[id]), ' ', id))));
}
function worstOf(vendor) { return SEVERITIES.find((id) => OPEN.some((finding) => finding.severity === id && touches(finding, vendor))); }
function vulnerabilitiesOf(vendor) {
  const of = new Set(vendor.workloads.flatMap((index) => A.actors[index].images || []));
  const known = [...of].map((index) => A.images[index]).filter((image) => image && image.vulnerabilities);
  if (!known.length) return undefined;
  return known.reduce((sum, image) => ({ critical: sum.critical + image.vulnerabilities.critical, high: sum.high + image.vulnerabilities.high }), { critical: 0, high: 0 });
}
function vendorTable() {
  if (!VENDORS.length) return hush('No workload of a third party was seen.');
  return table('Pairs of target and port, observed and possible', [
    { head: 'Vendor', sort: (vendor) => vendor.label.toLowerCase(), cell: (vendor) => [h('span', { cls: 'clamp' }, vendorLink(vendor)), h('div', { cls: 'soft small' }, joined([ORIGINS[vendor.origin], vendor.category]))] },
    { head: 'Workloads', number: true, sort: (vendor) => vendor.workloads.length, cell: (vendor) => number(vendor.workloads.length) },
    { head: 'Reached', number: true, sort: (vendor) => vendor.reached, cell: (vendor) => number(vendor.reached) },
    { head: 'Could reach', number: true, sort: (vendor) => vendor.reachable ?? -1, cell: (vendor) => number(vendor.reachable) },
    { head: 'Never used', sort: (vendor) => vendor.unused ?? -1, cell: (vendor) => vendor.unused === undefined ? h('span', { cls: 'soft' }, 'not known') : [number(vendor.unused), gapBar(vendor)] },
    { head: 'Sensitive', sort: (vendor) => vendor.sensitive_reached.length * 1e4 + vendor.sensitive_reachable.length, cell: (vendor) => [vendor.sensitive_reached.length > 0 && h('span', { cls: 'tag warn' }, `${number(vendor.sensitive_reached.length)} reached`), ' ', vendor.sensitive_reachable.length > 0 && h('span', { cls: 'tag note' }, `${number(vendor.sensitive_reachable.length)} possible`), !vendor.sensitive_reached.length && !vendor.sensitive_reachable.length && h('span', { cls: 'soft' }, 'none')] },
    { head: 'Vulnerabilities', sort: (vendor) => { const known = vulnerabilitiesOf(vendor); return known ? known.critical * 1e5 + known.high : -1; }, cell: (vendor) => { const known = vulnerabilitiesOf(vendor); return known ? h('span', { cls: 'keep' }, `${number(known.critical)} critical, ${number(known.high)} high`) : h('span', { cls: 'soft' }, 'no report'); } },
    { head: 'Worst finding', keep: true, sort: (vendor) => -SEVERITIES.indexOf(worstOf(vendor) || 'none') - (worstOf(vendor) ? 0 : 9), cell: (vendor) => { const worst = worstOf(vendor); return worst ? severity(worst) : h('span', { cls: 'soft' }, 'none'); } },
  ], VENDORS, { most: 40 });
}
function firstThings() {
  const seen = new Set(), list = [];
  for (const finding of OPEN) {
    const key = finding.id + subject(finding);
    if (seen.has(key) || finding.severity === 'info') continue;
    seen.add(key); list.push(finding);
    if (list.length === 5) break;
  }
  if (!list.length) return hush('Nothing to mend.');
  return h('ol', { cls: 'first' }, list.map((finding) => h('li', {}, severity(finding.severity), h('div', {}, h('a', { cls: 'clamp', href: link('findings', { open: finding.fingerprint }) }, finding.summary), h('p', { cls: 'clamp' }, finding.remedy.text)))));
}
function driftCard() {
  const drift = A.drift;
  if (!drift) return undefined;
  const list = (title, items) => items.length ? h('div', {}, h('h3', { cls: 'soft' }, title), h('ul', { cls: 'plainlist' }, items.slice(0, 12).map((item) => h('li', {}, item)), items.length > 12 && h('li', { cls: 'soft' }, `and ${number(items.length - 12)} more`))) : undefined;
  return card(`Since the baseline${drift.since ? ' of ' + day(drift.since) : ''}`,
    h('div', { cls: 'stack' },
      h('p', {}, h('a', { href: link('findings', { drift: 'new' }) }, plural(drift.new, 'new finding')), ` · `, h('a', { href: link('findings', { drift: 'worse' }) }, `${number(drift.worse)} worse`), ` · ${number(drift.known)} as before · ${number(drift.gone.length)} gone`),
      list('Gone', drift.gone.map((gone) => [h('span', { cls: 'soft' }, gone.id), ' ', gone.summary])),
      list('New workloads', drift.workloads_new), list('Workloads gone', drift.workloads_gone),
      list("Third parties' images changed", drift.images_changed.map((change) => [change.workload, ' ', change.container, h('div', { cls: 'soft small' }, h('code', {}, change.before), ' → ', h('code', {}, change.after))]))));
}
function limitsList() { return h('ul', { cls: 'plainlist' }, A.limits.map((limit) => h('li', {}, limit.ids && limit.ids.length > 0 && h('span', { cls: 'soft' }, limit.ids.join(', ') + ' '), limit.what))); }
function trustCard() {
  const problems = (A.inputs.problems || []).length + (A.inputs.more_problems || 0);
  const read = A.inputs.records;
  return card('How far this can be relied on', h('div', { cls: 'stack' },
    h('dl', { cls: 'facts' },
      read && [h('dt', {}, 'Window'), h('dd', {}, read.first ? `${moment(read.first)} to ${moment(read.last)}` : 'no flow record')],
      read && [h('dt', {}, 'Records'), h('dd', {}, number(sumOf(read.lines)), read.lost + read.missing + read.unreadable > 0 && h('span', { cls: 'tag note' }, joined([read.lost && plural(read.lost, 'attempt') + ' lost', read.missing && plural(read.missing, 'line') + ' missing', read.unreadable && number(read.unreadable) + ' unreadable'], ', ')))],
      A.inputs.objects && [h('dt', {}, 'Objects'), h('dd', {}, joined([plural(A.inputs.objects.workloads, 'workload'), plural(A.inputs.objects.policies, 'policy', 'policies')], ', '))],
      [h('dt', {}, 'Input'), h('dd', {}, problems ? h('a', { href: link('coverage') }, plural(problems, 'problem')) : 'no problem')],
      A.suppressed.length > 0 && [h('dt', {}, 'Suppressed'), h('dd', {}, h('a', { href: link('findings', { hidden: 1 }) }, plural(A.suppressed.length, 'finding')))]),
    A.limits.length > 0 && h('div', {}, h('h3', { cls: 'soft' }, 'What this look could not tell'), limitsList())));
}
const sumOf = (map) => Object.values(map || {}).reduce((sum, one) => sum + one, 0);
function summary() {
  return [h('div', { cls: 'head' }, h('div', {}, h('h1', {}, verdict()), h('p', { cls: 'lead' }, leadText()))),
    h('div', { cls: 'stack' }, tiles(), card('Third parties', vendorTable()),
      h('div', { cls: 'split' }, card('What to do first', firstThings()), h('div', { cls: 'stack' }, driftCard(), trustCard())))];
}

// ---- findings
function findings({ query }) {
  const state = { sev: (query.get('sev') || '').split(',').filter((id) => SEVERITIES.includes(id)), id: query.get('id') || '', vendor: query.get('vendor') || '', ns: query.get('ns') || '', drift: query.get('drift') || '', q: query.get('q') || '', hidden: query.get('hidden') || '', open: query.get('open') || '', most: MOST };
  const save = () => keep('findings', { sev: state.sev.join(','), id: state.id, vendor: state.vendor, ns: state.ns, drift: state.drift, q: state.q, hidden: state.hidden, open: state.open });
  const list = h('div'), count = h('p', { cls: 'count', role: 'status' });
  const more = h('button', { type: 'button', cls: 'quiet', on: { click: () => { state.most += 500; fill(); } } });
  const select = (label, field, options) => options.length ? h('select', { 'aria-label': label, on: { change: (event) => { state[field] = event.target.value; change(); } } }, h('option', { value: '' }, label), options.map(([value, text]) => h('option', { value, selected: state[field] === value }, cut(text, 60)))) : undefined;
  const unique = (values) => [...new Set(values.filter((value) => value !== undefined))].sort();
  const titles = new Map(ALL.map((finding) => [finding.id, finding.title]));
  const search = h('input', { type: 'search', placeholder: 'Search: a name, a port, an id', 'aria-label': 'Search findings', value: state.q, on: { input: (event) => { state.q = event.target.value; change(); } } });
  const pill = (id) => { const button = h('button', { type: 'button', cls: 'pill', 'aria-pressed': String(state.sev.includes(id)), on: { click: () => { state.sev = state.sev.includes(id) ? state.sev.filter((one) => one !== id) : [...state.sev, id]; button.setAttribute('aria-pressed', String(state.sev.includes(id))); change(); } } }, h('span', { 'aria-hidden': 'true' }, GLYPHS[id]), id); return button; };
  const hidden = h('button', { type: 'button', cls: 'pill', 'aria-pressed': String(!!state.hidden), on: { click: () => { state.hidden = state.hidden ? '' : '1'; hidden.setAttribute('aria-pressed', String(!!state.hidden)); change(); } } }, 'suppressed');
  const reset = h('a', { href: link('findings') }, 'Show all');
  function change() { state.open = ''; state.most = MOST; save(); fill(); }
  function fill() {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const vendor = VENDORS.find((one) => one.key === state.vendor);
    const hits = ALL.filter((finding) => (!finding.hidden || state.hidden || finding.fingerprint === state.open) && (!state.sev.length || state.sev.includes(finding.severity)) && (!state.id || finding.id === state.id)
      && (!vendor || touches(finding, vendor)) && (!state.ns || finding.namespace === state.ns) && (!state.drift || finding.drift === state.drift) && words.every((word) => finding.text.includes(word)));
    const at = hits.findIndex((finding) => finding.fingerprint === state.open);
    if (at >= state.most) state.most = at + 1;
    list.replaceChildren(...findingGroups(hits, { most: state.most, open: state.open }).filter(Boolean));
    if (!hits.length) list.append(hush(ALL.length ? 'No finding is like that.' : 'Nothing was found.'));
    more.hidden = hits.length <= state.most; more.textContent = `Show more (${number(hits.length - state.most)} left)`;
    count.replaceChildren(`${number(hits.length)} of ${plural(OPEN.length, 'finding')}`); if (location.hash.includes('?')) count.append(reset);
  }
  fill();
  queueMicrotask(() => { const open = state.open && byId('f-' + state.open); if (open) open.scrollIntoView({ block: 'center' }); });
  return [h('h1', { cls: 'unseen' }, 'Findings'),
    h('div', { cls: 'filters', role: 'search' }, SEVERITIES.map(pill), search,
      select('Every kind', 'id', [...titles].sort().map(([id, title]) => [id, `${id} ${title}`])),
      select('Every vendor', 'vendor', VENDORS.map((vendor) => [vendor.key, vendor.label])),
      select('Every namespace', 'ns', unique(ALL.map((finding) => finding.namespace)).map((name) => [name, name])),
      A.drift && select('New and known', 'drift', [['new', 'new'], ['worse', 'worse'], ['known', 'known']]), A.suppressed.length > 0 && hidden), count, list, more];
}

// ---- map
let drawn = null;
function ink() {
  const css = getComputedStyle(document.documentElement), of = (name) => css.getPropertyValue(name).trim();
  return { surface: of('--surface'), ground: of('--ground'), line: of('--line-strong'), ink: of('--ink'), soft: of('--soft'), focus: of('--focus'), ...toneInk() };
}
function toneInk() {
  return dark() ? { not_enforced: '#ff6b81', denied: '#ffa260', blocked: '#c9a0f5', unrestricted: '#7fb4f5', allowed: '#8d98a9', other: '#6a7484', possible: '#5fa8a0' }
    : { not_enforced: '#b3173c', denied: '#b8520a', blocked: '#7443ad', unrestricted: '#2a6cc0', allowed: '#6b7687', other: '#98a1af', possible: '#2c7d76' };
}
const tintOf = (hex) => { const part = (at) => parseInt(hex.slice(at, at + 2), 16), base = dark() ? [23, 27, 35] : [255, 255, 255]; return '#' + [1, 3, 5].map((at, i) => Math.round(base[i] * 0.86 + part(at) * 0.14).toString(16).padStart(2, '0')).join(''); };
function mapEdges() {
  const edges = new Map();
  const add = (source, target, tone, what) => { const id = `${source}-${target}-${tone}`; if (!edges.has(id)) edges.set(id, { id, source, target, tone, what: [] }); edges.get(id).what.push(what); };
  A.links.forEach((one) => add(one.source, one.destination, TONE_OF[one.class] || 'other', one));
  A.reaches.forEach((one) => { const rest = one.ports.filter((port) => !port.observed); if (rest.length) add(one.source, one.target, 'possible', { ...one, ports: rest }); });
  return edges;
}
function map({ query }) {
  const edges = mapEdges(), strange = (index) => ['third_party', 'unknown'].includes(A.actors[index].origin) && A.actors[index].place.kind === 'workload';
  const many = [...edges.values()].filter((edge) => edge.tone !== 'possible').length > 400;
  const used = new Set([...edges.values()].flatMap((edge) => [edge.source, edge.target]));
  A.actors.forEach((actor, index) => { if (actor.place.kind === 'workload') used.add(index); });
  const off = query.get('off'), state = { off: new Set(off === null ? ['possible'] : off.split(',').filter(Boolean)), scope: query.get('scope') || (many ? 'third' : 'all'), vendor: query.get('vendor') || '', sel: query.get('sel') === null ? undefined : Number(query.get('sel')), edge: query.get('edge') || undefined };
  if (!A.actors[state.sel]) state.sel = undefined;
  const save = () => keep('map', { off: [...state.off].join(',') || 'none', scope: state.scope, vendor: state.vendor, sel: state.sel, edge: state.edge });
  const isShown = (id) => {
    const edge = edges.get(id);
    if (state.off.has(edge.tone)) return false;
    if (state.scope === 'third' && !strange(edge.source) && !strange(edge.target) && edge.tone !== 'not_enforced') return false;
    if (!state.vendor) return true;
    return [edge.source, edge.target].some((index) => { const vendor = VENDOR_OF.get(index); return vendor && vendor.key === state.vendor; });
  };
  const nodes = () => [...used].sort((a, b) => a - b).map((index) => {
    const actor = A.actors[index], vendor = VENDOR_OF.get(index), tone = vendor && (actor.origin === 'third_party') ? colour(vendor) : undefined;
    return { index, box: FlowMap.boxOf(actor), label: shortOf(actor), origin: actor.origin, kind: actor.place.kind, sensitive: actor.sensitive !== undefined, tone, tint: tone && tintOf(tone) };
  });
  const canvas = h('div', { id: 'map', tabindex: '0', role: 'application', 'aria-label': 'Map of workloads and connections. Arrow keys move it, plus and minus zoom, 0 shows all. The list beside it chooses a workload.' });
  const panel = h('div', { cls: 'side', role: 'region', 'aria-label': 'What is chosen', 'aria-live': 'polite' });
  const shownCount = h('p', { cls: 'soft small' });
  function refresh() { if (drawn) drawn.show(isShown); shownCount.textContent = `${plural([...edges.keys()].filter(isShown).length, 'line')} shown, each a pair of ends`; }
  function choose(choice, center) {
    state.sel = choice.node; state.edge = choice.edge; save();
    if (drawn) { drawn.choose(choice); if (center && choice.node !== undefined) drawn.center(choice.node); }
    panel.replaceChildren(...[choice.node !== undefined ? actorPanel(choice.node) : choice.edge && edges.has(choice.edge) ? edgePanel(edges.get(choice.edge)) : worstPanel()].flat(Infinity).filter(Boolean));
    for (const button of list.children) button.setAttribute('aria-pressed', String(Number(button.dataset.index) === choice.node));
  }
  function worstPanel() {
    const bad = [...edges.values()].filter((edge) => edge.tone === 'not_enforced' || edge.tone === 'denied').sort((a, b) => TONES.findIndex((tone) => tone.id === a.tone) - TONES.findIndex((tone) => tone.id === b.tone)).slice(0, 40);
    return [h('div', {}, h('h2', {}, 'Choose a workload or a line to see what it did.'), bad.length > 0 && h('h3', {}, 'Lines that policies deny'), bad.map((edge) => h('div', { cls: 'peer' }, pickEdge(edge), h('span', { cls: 'meta' }, TONES.find((tone) => tone.id === edge.tone).label))))];
  }
  const pickEdge = (edge) => h('a', { href: '#', on: { click: (event) => { event.preventDefault(); choose({ edge: edge.id }); } } }, `${cut(NAMES[edge.source], 60)} → ${cut(NAMES[edge.target], 60)}`);
  const pickNode = (index) => h('a', { href: '#', cls: 'name', on: { click: (event) => { event.preventDefault(); choose({ node: index }, true); } } }, cut(NAMES[index], 120));
  const linkLine = (one) => h('span', { cls: 'meta' }, joined([one.ports ? one.ports.map(reachOf).slice(0, 8).join(', ') + (one.ports.length > 8 ? ` and ${one.ports.length - 8} more` : '') : portOf(one), one.class ? CLASSES[one.class] : one.unrestricted ? 'could reach, no policy' : 'could reach', one.count !== undefined && plural(one.count, 'attempt'), one.last && 'last ' + moment(one.last)]));
  function actorPanel(index) {
    const actor = A.actors[index], vendor = VENDOR_OF.get(index);
    const own = [...edges.values()].filter((edge) => edge.source === index || edge.target === index);
    const side = (title, list, other) => list.length > 0 && h('div', {}, h('h2', {}, title), list.slice(0, 60).map((edge) => h('div', { cls: 'peer' }, pickNode(edge[other]), edge.what.slice(0, 6).map(linkLine))), list.length > 60 && h('p', { cls: 'soft small' }, `and ${number(list.length - 60)} more`));
    const found = OPEN.filter((finding) => finding.actor === index);
    return [h('div', {}, h('h3', { cls: 'name' }, NAMES[index]), h('p', { cls: 'picks' }, h('span', { cls: 'tag' }, ORIGINS[actor.origin]), actor.role && h('span', { cls: 'tag note' }, ROLES[actor.role]), actor.sensitive !== undefined && h('span', { cls: 'tag note' }, '★ ' + cut(actor.sensitive || 'sensitive', 60)))),
      h('dl', { cls: 'facts' }, vendor && [h('dt', {}, 'Vendor'), h('dd', {}, vendorLink(vendor))], actor.pods !== undefined && [h('dt', {}, 'Pods'), h('dd', {}, number(actor.pods))],
        actor.clues && actor.clues.length > 0 && [h('dt', {}, 'Known by'), h('dd', {}, h('code', {}, actor.clues[0].value), h('span', { cls: 'soft' }, ` (${actor.clues[0].confidence} confidence)`))],
        actor.egress_policies && [h('dt', {}, 'Egress'), h('dd', {}, actor.egress_policies.length ? actor.egress_policies.map(policyName).join('; ') : h('span', { cls: 'tag warn' }, 'no policy'))],
        actor.ingress_policies && [h('dt', {}, 'Ingress'), h('dd', {}, actor.ingress_policies.length ? actor.ingress_policies.map(policyName).join('; ') : h('span', { cls: 'tag warn' }, 'no policy'))]),
      found.length > 0 && h('div', {}, h('h2', {}, 'Findings'), found.slice(0, 12).map((finding) => h('div', { cls: 'peer' }, severity(finding.severity), ' ', h('a', { href: link('findings', { open: finding.fingerprint }) }, finding.title)))),
      side('Opened', own.filter((edge) => edge.source === index && edge.tone !== 'possible'), 'target'), side('Was opened by', own.filter((edge) => edge.target === index && edge.tone !== 'possible'), 'source'),
      side('Could reach, never seen', own.filter((edge) => edge.source === index && edge.tone === 'possible'), 'target')];
  }
  function edgePanel(edge) {
    return [h('div', {}, h('h2', {}, TONES.find((tone) => tone.id === edge.tone).label), h('p', {}, pickNode(edge.source)), h('p', { cls: 'soft' }, '↓'), h('p', {}, pickNode(edge.target))),
      h('div', {}, edge.what.slice(0, 60).map((one) => h('div', { cls: 'peer' }, linkLine(one), one.service && h('span', { cls: 'meta' }, 'by service ' + one.service), (one.policies || []).map((policy) => h('span', { cls: 'meta' }, policyName(policy))), one.example && h('span', { cls: 'meta' }, h('code', {}, one.example.file + (one.example.line === undefined ? '' : ':' + one.example.line))))))];
  }
  const counts = {}; for (const edge of edges.values()) counts[edge.tone] = (counts[edge.tone] || 0) + 1;
  const list = h('div', { cls: 'nodes', role: 'group', 'aria-label': 'Workloads and other ends' });
  const fillList = (word) => { const hits = [...used].filter((index) => NAMES[index].toLowerCase().includes(word)).sort((a, b) => (NAMES[a] < NAMES[b] ? -1 : 1)).slice(0, 200); list.replaceChildren(...hits.map((index) => h('button', { type: 'button', 'data-index': index, 'aria-pressed': String(state.sel === index), on: { click: () => choose({ node: index }, true) } }, h('span', { cls: 'dot', 'aria-hidden': 'true', vars: { '--tone': VENDOR_OF.get(index) ? colour(VENDOR_OF.get(index)) : 'var(--line-strong)' } }), h('span', { cls: 't' }, cut(NAMES[index], 90))))); };
  fillList('');
  const side = h('div', { cls: 'side', role: 'region', 'aria-label': 'What the map shows', tabindex: '0' },
    h('div', {}, h('h2', {}, 'Connections'), TONES.filter((tone) => counts[tone.id]).map((tone) => h('label', {}, h('input', { type: 'checkbox', checked: !state.off.has(tone.id), on: { change: (event) => { if (event.target.checked) state.off.delete(tone.id); else state.off.add(tone.id); save(); refresh(); } } }), h('span', { cls: 'stroke ' + tone.stroke, 'aria-hidden': 'true', vars: { '--tone': toneInk()[tone.id] } }), tone.label, h('span', { cls: 'n' }, number(counts[tone.id])))),
      h('label', {}, h('input', { type: 'checkbox', checked: state.scope === 'third', on: { change: (event) => { state.scope = event.target.checked ? 'third' : 'all'; save(); refresh(); } } }), 'third parties’ alone'), shownCount),
    VENDORS.length > 0 && h('div', {}, h('h2', {}, 'Vendor'), h('select', { 'aria-label': 'Vendor', on: { change: (event) => { state.vendor = event.target.value; save(); refresh(); } } }, h('option', { value: '' }, 'Every vendor'), VENDORS.map((vendor) => h('option', { value: vendor.key, selected: state.vendor === vendor.key }, cut(vendor.label, 60)))),
      h('ul', { cls: 'plainlist' }, VENDORS.filter((vendor) => vendor.name !== undefined).slice(0, 16).map((vendor) => h('li', { cls: 'clamp' }, vendorLink(vendor))))),
    h('div', {}, h('h2', {}, 'Ends'), h('input', { type: 'search', placeholder: 'Find by name', 'aria-label': 'Find an end by its name', on: { input: (event) => fillList(event.target.value.toLowerCase()) } }), list),
    h('p', { cls: 'soft small' }, '★ sensitive · colour: vendor · dashed frame: origin unknown · tag shape: outside'));
  const act = { ArrowLeft: () => drawn.pan(60, 0), ArrowRight: () => drawn.pan(-60, 0), ArrowUp: () => drawn.pan(0, 60), ArrowDown: () => drawn.pan(0, -60), '+': () => drawn.zoom(1.25), '=': () => drawn.zoom(1.25), '-': () => drawn.zoom(0.8), 0: () => drawn.fit(), Escape: () => choose({}) };
  canvas.addEventListener('keydown', (event) => { if (drawn && act[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); act[event.key](); } });
  const zoomButton = (label, text, does) => h('button', { type: 'button', cls: 'quiet', 'aria-label': label, on: { click: () => drawn && does() } }, text);
  requestAnimationFrame(() => {
    if (!canvas.isConnected) return;
    drawn = FlowMap.draw(canvas, nodes(), [...edges.values()], ink(), (choice) => choose(choice));
    drawn.recolour = () => { drawn.restyle(ink()); for (const node of nodes()) if (node.tone) drawn.cy.getElementById('n' + node.index).data({ tone: node.tone, tint: node.tint }); };
    window.flowlogMap = drawn; refresh(); choose(state.sel !== undefined ? { node: state.sel } : { edge: state.edge }, true);
  });
  choose(state.sel !== undefined ? { node: state.sel } : { edge: state.edge });
  return [h('h1', { cls: 'unseen' }, 'Map'), h('div', { cls: 'mapview' }, side, h('div', { cls: 'canvas' }, canvas, h('div', { cls: 'zoom' }, zoomButton('Zoom in', '+', () => drawn.zoom(1.25)), zoomButton('Zoom out', '−', () => drawn.zoom(0.8)), zoomButton('Show all', 'Fit', () => drawn.fit()))), panel)];
}

// ---- vendors
function vendors() { return [h('div', { cls: 'head' }, h('div', {}, h('h1', {}, 'Third parties'), h('p', { cls: 'lead' }, leadText()))), h('section', { cls: 'card' }, vendorTable(), h('p', { cls: 'soft small more' }, h('span', { cls: 'legend' }), 'used ', h('span', { cls: 'legend rest' }), 'could be reached and never was: the least-privilege gap'))]; }
const policyCell = (one) => h('span', { cls: 'soft small' }, (one.policies || []).length ? one.policies.map(policyName).join('; ') : 'none');
function observedTable(vendor) {
  const mine = new Set(vendor.workloads), rows = A.links.filter((one) => mine.has(one.source));
  if (!rows.length) return hush('No connection was seen.');
  const rank = (one) => TONES.findIndex((tone) => tone.id === (TONE_OF[one.class] || 'other'));
  rows.sort((a, b) => Number(A.actors[b.destination].sensitive !== undefined) - Number(A.actors[a.destination].sensitive !== undefined) || rank(a) - rank(b) || b.count - a.count);
  return table(plural(rows.length, 'connection') + ' seen, sensitive targets first', [
    { head: 'To', sort: (one) => NAMES[one.destination], cell: (one) => h('span', { cls: 'clamp' }, shown(one.destination)) },
    { head: 'Port', keep: true, sort: (one) => one.port || 0, cell: portOf },
    { head: 'Result', sort: rank, cell: (one) => h('span', { cls: 'tag ' + ({ policy_not_enforced: 'warn', denied_attempt: 'note', blocked_though_allowed: 'note' }[one.class] || '') }, CLASSES[one.class] || one.class) },
    vendor.workloads.length > 1 && { head: 'From', sort: (one) => NAMES[one.source], cell: (one) => h('span', { cls: 'clamp' }, actorLink(one.source)) },
    { head: 'Attempts', number: true, sort: (one) => one.count, cell: (one) => number(one.count) },
    { head: 'Sent', number: true, sort: (one) => one.bytes_sent, cell: (one) => bytes(one.bytes_sent) },
    { head: 'Last', keep: true, sort: (one) => one.last, cell: (one) => moment(one.last) },
    { head: 'Policies', cell: policyCell },
  ].filter(Boolean), rows);
}
function possibleTable(vendor) {
  if (vendor.reachable === undefined) return hush('Not looked at: no objects of the cluster were given.');
  const mine = new Set(vendor.workloads), rows = A.reaches.filter((one) => mine.has(one.source));
  if (!rows.length) return hush('The declared policies let it reach nothing.');
  rows.sort((a, b) => Number(A.actors[b.target].sensitive !== undefined) - Number(A.actors[a.target].sensitive !== undefined));
  const unused = (one) => one.ports.filter((port) => !port.observed).length;
  return table(plural(rows.length, 'target') + ' within reach of the declared policies', [
    { head: 'Target', sort: (one) => NAMES[one.target], cell: (one) => h('span', { cls: 'clamp' }, shown(one.target)) },
    { head: 'Ports', cell: (one) => one.ports.slice(0, 12).map((port, at) => [at > 0 && ', ', h('span', { cls: port.observed ? '' : 'soft' }, reachOf(port), port.name && ` ${port.name}`, port.observed && ' ✓')]).concat(one.ports.length > 12 ? ` and ${one.ports.length - 12} more` : []) },
    { head: 'Never used', number: true, sort: unused, cell: (one) => number(unused(one)) },
    { head: 'Why', sort: (one) => (one.unrestricted ? 0 : 1), cell: (one) => one.unrestricted ? h('span', { cls: 'tag warn' }, 'no policy restricts it') : one.decision === 'unknown' ? h('span', { cls: 'tag note' }, 'not known') : h('span', { cls: 'tag' }, 'allowed') },
    vendor.workloads.length > 1 && { head: 'From', sort: (one) => NAMES[one.source], cell: (one) => h('span', { cls: 'clamp' }, actorLink(one.source)) },
    { head: 'Policies', cell: policyCell },
  ].filter(Boolean), rows, { most: 40 });
}
function imageTable(rows, caption, withVendor) {
  if (!rows.length) return hush('No image is known.');
  const yes = (good, text) => h('span', { cls: 'tag ' + (good ? 'good' : 'note') }, good ? '✓ ' : '✗ ', text);
  const weight = (image) => { const known = image.vulnerabilities; return known ? known.critical * 1e9 + known.high * 1e6 + known.medium * 1e3 + known.low : -1; };
  return table(caption, [
    { head: 'Image', sort: (image) => image.image, cell: (image) => [h('span', { cls: 'name clamp' }, image.image), image.digests.length > 1 && h('div', { cls: 'soft small' }, `${image.digests.length} digests run`)] },
    withVendor && { head: 'Vendor', sort: (image) => image.vendor || '', cell: (image) => h('span', { cls: 'clamp' }, image.vendor || h('span', { cls: 'soft' }, ORIGINS[image.origin])) },
    { head: 'Pinned', sort: (image) => Number(image.pinned), cell: (image) => yes(image.pinned, image.pinned ? 'by digest' : 'not pinned') },
    { head: 'Registry', sort: (image) => (image.trusted === undefined ? 1 : image.trusted ? 2 : 0), cell: (image) => image.trusted === undefined ? h('span', { cls: 'soft' }, 'not named') : yes(image.trusted, image.trusted ? 'trusted' : 'not trusted') },
    { head: 'Vulnerabilities', sort: weight, cell: (image) => image.vulnerabilities ? [h('span', { cls: image.vulnerabilities.critical + image.vulnerabilities.high ? '' : 'soft' }, SEVERITIES.slice(0, 4).map((id) => `${number(image.vulnerabilities[id])} ${id}`).join(' · ')), image.vulnerabilities.fixable > 0 && h('div', { cls: 'soft small' }, `${number(image.vulnerabilities.fixable)} fixable`), image.vulnerabilities.worst.length > 0 && h('div', { cls: 'soft small clamp' }, image.vulnerabilities.worst.join(', '))] : h('span', { cls: 'soft' }, 'no report') },
    { head: 'SBOM', sort: (image) => Number(image.sbom), cell: (image) => image.sbom ? yes(true, 'there') : h('span', { cls: 'soft' }, 'none') },
  ].filter(Boolean), rows);
}
function vendorBody(vendor, paper) {
  const images = [...new Set(vendor.workloads.flatMap((index) => A.actors[index].images || []))].map((index) => A.images[index]).filter(Boolean);
  const found = OPEN.filter((finding) => touches(finding, vendor));
  const tile = (value, text) => h('div', { cls: 'tile plain' }, h('b', {}, value), h('span', {}, text));
  return h('div', { cls: 'stack' },
    h('div', { cls: 'tiles' }, tile(number(vendor.workloads.length), vendor.workloads.length === 1 ? 'workload' : 'workloads'), tile(number(vendor.reached), 'target ports reached'), tile(number(vendor.reachable), 'within reach'), tile(number(vendor.unused), 'never used'), tile(number(vendor.sensitive_reached.length), 'sensitive reached')),
    vendor.policy && card('The policy that would fix it', h('p', { cls: 'soft small' }, 'Allows what its workloads were seen to do, and no more.'), yaml(vendor.policy)),
    found.length > 0 && !paper && card('Findings', findingGroups(found, { most: 40 }), found.length > 40 && h('a', { href: link('findings', { vendor: vendor.key }) }, 'All of them')),
    card('What it reached', observedTable(vendor)), card('What it could reach', possibleTable(vendor)), card('Images and their state', imageTable(images, 'Images of its workloads')),
    card('Workloads', vendor.workloads.length ? table('Workloads, and what tells whose they are', [
      { head: 'Workload', sort: (index) => NAMES[index], cell: (index) => h('span', { cls: 'clamp' }, shown(index)) }, { head: 'Pods', number: true, sort: (index) => A.actors[index].pods || 0, cell: (index) => number(A.actors[index].pods) },
      { head: 'Egress', cell: (index) => policies(A.actors[index].egress_policies) }, { head: 'Ingress', cell: (index) => policies(A.actors[index].ingress_policies) },
      { head: 'Known by', cell: (index) => { const clue = (A.actors[index].clues || [])[0]; return clue ? [h('span', { cls: 'name clamp' }, clue.value), h('div', { cls: 'soft small' }, clue.confidence + ' confidence')] : h('span', { cls: 'soft' }, 'nothing tells'); } },
    ], vendor.workloads) : hush('It runs nothing here.')));
}
const policies = (list) => (list === undefined ? h('span', { cls: 'soft' }, 'not known') : list.length ? plural(list.length, 'policy', 'policies') : h('span', { cls: 'tag warn' }, 'no policy'));
function vendorView({ of }) {
  const vendor = VENDORS.find((one) => one.key === of);
  if (!vendor) return [h('h1', {}, 'No such vendor'), hush('This report has no vendor of that name.')];
  return [h('div', { cls: 'head' }, h('div', {}, h('p', { cls: 'small' }, h('a', { href: link('vendors') }, '← Third parties')), h('h1', { cls: 'clamp' }, h('span', { cls: 'dot', 'aria-hidden': 'true', vars: { '--tone': colour(vendor) } }), vendor.label), h('p', { cls: 'lead' }, joined([ORIGINS[vendor.origin], vendor.category]))),
    h('a', { cls: 'quiet', href: link('map', { vendor: vendor.key, scope: 'all', off: 'none' }) }, 'Show on the map')), vendorBody(vendor)];
}

// ---- images, coverage
function images() { return [h('div', { cls: 'head' }, h('div', {}, h('h1', {}, 'Images'), h('p', { cls: 'lead' }, `${plural(A.images.length, 'image')} run; ${number(A.images.filter((image) => !image.pinned).length)} are not pinned by digest.`))), h('section', { cls: 'card' }, imageTable(A.images, 'Images, whose they are and what is known of them', true))]; }
function coverage() {
  const read = A.inputs.records, objects = A.inputs.objects, problems = A.inputs.problems || [], scans = A.inputs.scans || [];
  const fact = (name, value) => value === undefined || value === '' ? undefined : [h('dt', {}, name), h('dd', {}, value)];
  return [h('div', { cls: 'head' }, h('div', {}, h('h1', {}, 'What was read'), h('p', { cls: 'lead' }, 'What this look rests on, what it could not tell, and what of the input could not be used.'))), h('div', { cls: 'stack' },
    A.limits.length > 0 && card('What this look could not tell', limitsList()),
    h('div', { cls: 'split' }, card('Records', read ? h('dl', { cls: 'facts' }, fact('Files', `${number(read.files)} (${bytes(read.bytes)})`), fact('Window', read.first && `${moment(read.first)} to ${moment(read.last)}`), fact('Lines', Object.entries(read.lines).map(([kind, count]) => `${number(count)} ${kind}`).join(', ')), fact('Schema', Object.entries(read.versions).map(([version, count]) => `v${version}: ${number(count)}`).join(', ')), fact('Nodes', cut(read.nodes.join(', '), 600)), fact('Lost by agents', plural(read.lost, 'attempt')), fact('Missing', plural(read.missing, 'line')), fact('Unreadable', plural(read.unreadable, 'line'))) : hush('None were given.')),
      card('Objects', objects ? h('dl', { cls: 'facts' }, fact('From', objects.from), fact('Namespaces', number(objects.namespaces)), fact('Workloads', number(objects.workloads)), fact('Pods', number(objects.pods)), fact('Policies', number(objects.policies)), fact('Not read', objects.unread)) : hush('None were given.'))),
    scans.length > 0 && card('Scanners’ reports', table('Reports', [{ head: 'Report', cell: (scan) => h('span', { cls: 'name clamp' }, scan.from) }, { head: 'Format', cell: (scan) => scan.format }, { head: 'Images', number: true, cell: (scan) => number(scan.images) }], scans, { quiet: true })),
    problems.length > 0 && card('Problems of the input', table('Problems', [{ head: 'Place', cell: (problem) => h('span', { cls: 'name clamp' }, problem.file + (problem.line === undefined ? '' : ':' + problem.line)) }, { head: 'What', cell: (problem) => problem.what }], problems, { quiet: true }), A.inputs.more_problems > 0 && h('p', { cls: 'soft small' }, `and ${number(A.inputs.more_problems)} more`)),
    A.suppressed.length > 0 && card('Suppressed', table('Suppressed findings', [{ head: 'Finding', keep: true, cell: (finding) => h('a', { href: link('findings', { open: finding.fingerprint, hidden: 1 }) }, finding.id) }, { head: 'What', cell: (finding) => h('span', { cls: 'clamp' }, finding.summary) }, { head: 'Reason', cell: (finding) => finding.suppressed ? finding.suppressed.reason : '' }, { head: 'Until', keep: true, cell: (finding) => (finding.suppressed && finding.suppressed.expires) || '–' }], A.suppressed, { quiet: true })))];
}

// ---- paper: the whole report, one after another
function paper() {
  const part = (title, fresh, ...content) => h('section', { cls: fresh ? 'fresh' : undefined }, h('h2', {}, title), content);
  return [h('h1', {}, 'Third-party risk assessment'), h('p', { cls: 'lead' }, joined([A.cluster, moment(A.made)])), h('p', { cls: 'lead' }, verdict() + '. ' + leadText()),
    h('section', {}, tiles()), part('Third parties', false, vendorTable()), part('What to do first', false, firstThings()), A.drift && h('section', {}, driftCard()), h('section', {}, trustCard()),
    part('Findings', true, findingGroups(ALL, { open: true, most: 1000 }), ALL.length > 1000 && h('p', {}, `and ${number(ALL.length - 1000)} more: the JSON report has all of them`)), VENDORS.slice(0, 60).map((vendor) => part(vendor.label, true, vendorBody(vendor, true)))];
}

// ---- the frame
const VIEWS = { summary, findings, map, vendors, vendor: vendorView, images, coverage };
const TABS = [['summary', 'Summary'], ['findings', 'Findings', OPEN.length], ['map', 'Map'], ['vendors', 'Third parties', VENDORS.length], ['images', 'Images', A.images.length], ['coverage', 'What was read']];
let last = null;
function show() {
  const at = here(), main = byId('main');
  if (drawn) { drawn.end(); drawn = null; }
  main.className = at.view === 'map' ? 'wide' : '';
  main.replaceChildren(...[VIEWS[at.view](at)].flat(Infinity).filter(Boolean));
  for (const tab of byId('views').children) if (tab.dataset.view === (at.view === 'vendor' ? 'vendors' : at.view)) tab.setAttribute('aria-current', 'page'); else tab.removeAttribute('aria-current');
  const title = main.querySelector('h1'); document.title = joined([title && cut(title.textContent, 80), 'Third-party risk assessment', A.cluster && cut(A.cluster, 60)]);
  if (last !== null && last !== at.view + (at.of || '')) { if (!at.query.get('open')) scrollTo(0, 0); main.focus({ preventScroll: true }); }
  last = at.view + (at.of || '');
}
function theme(set) {
  const root = document.documentElement;
  root.dataset.theme = set;
  byId('theme').textContent = set === 'dark' ? 'Light' : 'Dark'; byId('theme').setAttribute('aria-label', set === 'dark' ? 'Light colours' : 'Dark colours');
}
function remembered() { try { return localStorage.getItem('flowlog-theme'); } catch { return null; } }
const prefers = matchMedia('(prefers-color-scheme: dark)');
theme(remembered() || (prefers.matches ? 'dark' : 'light'));
prefers.addEventListener('change', () => { if (!remembered()) { theme(prefers.matches ? 'dark' : 'light'); show(); } });
byId('theme').addEventListener('click', () => { const set = dark() ? 'light' : 'dark'; try { localStorage.setItem('flowlog-theme', set); } catch { /* not kept */ } theme(set); show(); });
byId('print').addEventListener('click', () => print());
byId('where').textContent = joined([A.cluster, day(A.made)]); byId('where').title = A.cluster ? cut(A.cluster, 400) : '';
byId('made').textContent = `Made ${moment(A.made)} by flowlog ${A.flowlog}. This file is whole: it fetches nothing and sends nothing.`;
byId('views').append(...TABS.map(([view, text, count]) => h('a', { href: link(view), 'data-view': view }, text, count !== undefined && h('span', { cls: 'n' }, number(count)))));
addEventListener('hashchange', show);
addEventListener('beforeprint', () => { const was = document.documentElement.dataset.theme; document.documentElement.dataset.theme = 'light'; byId('paper').replaceChildren(...paper().flat(Infinity).filter(Boolean)); document.documentElement.dataset.theme = was; });
addEventListener('afterprint', () => byId('paper').replaceChildren());
document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); byId('main').focus(); });
show();
})();
