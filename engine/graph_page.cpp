// What the page of graph_html() is made of: its style, and the script that lays out and draws.
namespace heed {

extern char const* const graph_page_style;
extern char const* const graph_page_script;

constexpr char style[] = R"css(
:root{color-scheme:light dark;--text:#1c2330;--soft:#5b6577;--paper:#fff;--panel:#f5f7fa;--line:#d5dae3;--wire:#8a95a8;--strong:#c2410c;
--product:#cfe0f8;--reduce:#e5d9f7;--pointwise:#d6efdc;--move:#e9ecf1;--loss:#fbdcc4;--module:#f3ecd2;--variable:#fff;--edge:#8a95a8}
@media(prefers-color-scheme:dark){:root{--text:#e6e9ef;--soft:#9aa4b5;--paper:#14181f;--panel:#1b212a;--line:#333c49;--wire:#6d7b93;--strong:#fb923c;
--product:#1f3a5f;--reduce:#3a2a5c;--pointwise:#1f4430;--move:#2b323d;--loss:#5c3314;--module:#453d1d;--variable:#14181f;--edge:#6d7b93}}
*{box-sizing:border-box}html,body{height:100%}
body{margin:0;font:14px/1.45 system-ui,sans-serif;color:var(--text);background:var(--paper);display:flex;flex-direction:column}
header{padding:.7rem 1rem;border-bottom:1px solid var(--line);display:flex;gap:.4rem 1.4rem;align-items:baseline;flex-wrap:wrap}
h1{font-size:1.1rem;margin:0}header p{margin:0;color:var(--soft)}.note{color:var(--strong);font-weight:600}
button{font:inherit;color:inherit;background:var(--panel);border:1px solid var(--line);border-radius:.3rem;padding:.1rem .6rem;cursor:pointer}
main{flex:1;min-height:0;display:flex}#canvas{flex:1;overflow:auto;padding:1rem}
aside{width:19rem;padding:1rem;background:var(--panel);border-left:1px solid var(--line);overflow:auto;color:var(--soft);overflow-wrap:anywhere}
aside h2{font-size:1rem;margin:0 0 .5rem;color:var(--text)}aside dt{margin-top:.6rem;font-size:.8rem}aside dd{margin:0;color:var(--text)}
.swatch{display:inline-block;width:.9em;height:.9em;border:1px solid var(--edge);border-radius:.2em;vertical-align:-.1em;margin-right:.3em}
svg{display:block;margin:0 auto;font:12px system-ui,sans-serif}svg text{fill:var(--text)}svg .soft{fill:var(--soft);font-size:10.5px}
.box rect{stroke:var(--edge)}.box.result rect{stroke:var(--strong);stroke-width:2}.box.module{cursor:pointer}.box.module rect{stroke-dasharray:none;stroke-width:1.6}
.box:hover rect,.box.lit rect{stroke:var(--strong)}.group>rect{fill:var(--panel);stroke:var(--line)}.group>text{cursor:pointer;fill:var(--soft);font-weight:600}
.group>text:hover{fill:var(--strong)}.wire{fill:none;stroke:var(--wire);stroke-width:1.3}.wire.up{stroke-dasharray:5 3}.wire.lit{stroke:var(--strong);stroke-width:2}
)css";

constexpr char script[] = R"js(
const {boxes, arrows, note} = graph, $ = id => document.getElementById(id);
const kinds = {
  product: ['products', /^(matmul|linear|attend|scan|conv\w*|einsum|bmm|outer|tensordot|solve|inverse|cholesky|qr|svd)/],
  loss: ['losses', /(cross_entropy|loss|ctc|nll)/],
  move: ['views and copies', /^(embedding|view|reshape|permute|transpose|squeeze|unsqueeze|expand|slice|unslice|select|clone|copy|to|cat|stack|gather|scatter|index\w*|flip|roll|pad|where|diagonal|unfold|tril|triu)_?$/],
  reduce: ['reductions and norms', /^(sum|mean|prod|amax|amin|max|min|var|std|norm|logsumexp|\w*softmax|\w*norm|cum\w+)$/],
  pointwise: ['pointwise and others', /./],
};
const kindOf = name => Object.keys(kinds).find(k => kinds[k][1].test(name));
const bytes = n => n < 1e4 ? n + ' bytes' : n < 1e6 ? (n / 1e3).toFixed(1) + ' kB' : (n / 1e6).toFixed(1) + ' MB';

// Bytes kept by some boxes, each storage once.
const keptBytes = list => [...new Map(list.flatMap(b => b.keeps).map(k => [k.storage, k.bytes])).values()].reduce((sum, n) => sum + n, 0);
const count = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`;

// Modules: the paths that hold operations, each inside the longest other one that it lies in.
const groups = new Map([['', {path: '', parent: null, groups: [], boxes: [], open: true}]]);
for (const b of boxes) if (!b.variable && !groups.has(b.path)) groups.set(b.path, {path: b.path, groups: [], boxes: [], open: false});
for (const g of groups.values()) {
  if (!g.path) continue;
  let p = g.path;
  do p = p.includes('.') ? p.slice(0, p.lastIndexOf('.')) : ''; while (!groups.has(p));
  g.parent = groups.get(p);
  g.parent.groups.push(g);
}
const chain = g => g ? [...chain(g.parent), g] : [];
boxes.forEach((b, i) => { b.id = i; b.order = i; if (!b.variable) b.home = groups.get(b.path); });
// A variable stands in the innermost module that all its readers share.
for (const b of boxes) if (b.variable) {
  const readers = arrows.filter(a => a.from === b.id).map(a => chain(boxes[a.to].home));
  let depth = 0;
  while (readers.length && readers.every(r => r[depth + 1] && r[depth + 1] === readers[0][depth + 1])) ++depth;
  b.home = readers.length ? readers[0][depth] : groups.get('');
}
for (const b of boxes) b.home.boxes.push(b);
const everything = g => [...g.boxes, ...g.groups.flatMap(everything)];
for (const g of groups.values()) {
  const all = everything(g);
  g.order = Math.min(...all.filter(b => !b.variable).map(b => b.order));
  g.operations = all.filter(b => !b.variable).length;
  g.variables = all.filter(b => b.variable);
  g.kept = keptBytes(all);
  g.result = all.some(b => b.result);
}
if (boxes.length <= 40) for (const g of groups.values()) g.open = true;

const pen = document.createElement('canvas').getContext('2d');
const textWidth = (text, font) => { pen.font = font; return pen.measureText(text).width; };
const bold = '600 12px system-ui,sans-serif', plain = '10.5px system-ui,sans-serif';
const gapX = 18, gapY = 40, pad = 14, titleHeight = 22;

// A name without the path of the module around it.
const shortName = item => {
  const name = item.groups ? item.path : item.name, around = item.groups ? item.parent : item.home;
  return around.path && name.startsWith(around.path + '.') ? name.slice(around.path.length + 1) : name;
};

function lines(item) {
  if (item.groups) {
    const inner = item.operations === 1 ? everything(item).find(b => !b.variable).name : count(item.operations, 'operation');
    return [shortName(item), inner];
  }
  return item.shape ? [shortName(item), item.shape] : [shortName(item)];
}

// What stands for a box at present, with the open modules around it: [root, …, innermost open module, box or closed module].
function standing(box) {
  const path = chain(box.home), closed = path.findIndex(g => !g.open);
  return closed < 0 ? [...path, box] : path.slice(0, closed + 1);
}

// Arrows as segments, each between two things in one module: things drawn there, or ports in its frame.
function segments() {
  const inside = new Map();
  const add = (group, from, to, wire) => {
    if (!inside.has(group)) inside.set(group, new Map());
    inside.get(group).set([from.key ?? from.id ?? from.path, to.key ?? to.id ?? to.path, wire].join('|'), {from, to, wire});
  };
  const ports = new Map();
  const port = (group, wire, out) => {
    const key = `${out ? 'out' : 'in'} ${group.path} ${wire}`;
    if (!ports.has(key)) ports.set(key, {key, port: out ? 'out' : 'in', group, wire});
    return ports.get(key);
  };
  for (const a of arrows) {
    const s = standing(boxes[a.from]), t = standing(boxes[a.to]);
    if (s.at(-1) === t.at(-1)) continue;
    const source = s.at(-1), wire = `${source.id ?? 'module ' + source.path}.${a.slot}`;
    (source.shapes ??= new Set()).add(a.shape);
    let level = 0;
    while (s[level + 1] === t[level + 1]) ++level;
    for (let i = s.length - 2; i > level; --i) add(s[i], i === s.length - 2 ? s[i + 1] : port(s[i + 1], wire, true), port(s[i], wire, true), wire);
    const from = level === s.length - 2 ? s[level + 1] : port(s[level + 1], wire, true);
    const to = level === t.length - 2 ? t[level + 1] : port(t[level + 1], wire, false);
    add(s[level], from, to, wire);
    for (let i = level + 1; i < t.length - 1; ++i) add(t[i], port(t[i], wire, false), i === t.length - 2 ? t[i + 1] : port(t[i + 1], wire, false), wire);
  }
  return inside;
}

// Layers from top to bottom inside one module; sizes of open modules are known by recursion.
function layout(group, inside) {
  const nodes = new Map();
  const place = item => {
    if (item.port && item.group !== group) item = item.group;  // the frame of a module drawn here
    const key = item.key ?? (item.groups ? 'module ' + item.path : item.id);
    if (!nodes.has(key)) nodes.set(key, {key, item, order: item.port ? (item.port === 'in' ? -1 : 1e9) : item.order, into: [], out: []});
    return nodes.get(key);
  };
  for (const g of group.groups) place(g);
  for (const b of group.boxes) place(b);
  const edges = [...(inside.get(group)?.values() ?? [])].map(s => ({...s, a: place(s.from), b: place(s.to)})).filter(e => e.a !== e.b);
  for (const n of nodes.values()) measure(n, inside);
  rank(nodes, edges);
  // A variable that is read far away is drawn again beside that reader.
  for (const e of edges) if (e.a.item.variable && e.b.layer - e.a.layer > 4) {
    const key = `${e.a.key} again at ${e.b.layer}`;
    if (!nodes.has(key)) nodes.set(key, {...e.a, key, layer: e.b.layer - 1, into: [], out: []});
    e.a = nodes.get(key);
  }
  const layers = [];
  const put = n => (layers[n.layer] ??= []).push(n);
  for (const n of nodes.values()) put(n);
  for (const e of edges) {
    const {a: top, b: bottom} = e;
    e.bends = [];
    e.up = top.layer >= bottom.layer;
    if (e.up) continue;
    if (bottom.layer - top.layer <= 60)
      for (let l = top.layer + 1; l < bottom.layer; ++l) {
        const bend = {layer: l, w: 6, h: 0, order: (top.order + bottom.order) / 2, into: [], out: [], bend: true};
        e.bends.push(bend);
        put(bend);
      }
    const route = [top, ...e.bends, bottom];
    for (let i = 0; i + 1 < route.length; ++i) { route[i].out.push(route[i + 1]); route[i + 1].into.push(route[i]); }
  }
  const rows = layers.filter(l => l);
  for (const row of rows) row.sort((a, b) => a.order - b.order);
  const number = row => row.forEach((n, i) => n.place = i);
  rows.forEach(number);
  const mean = list => list.reduce((sum, x) => sum + x, 0) / list.length;
  for (let sweep = 0; sweep < 12; ++sweep) {
    const side = sweep % 2 ? 'out' : 'into';
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      for (const n of row) n.wish = n[side].length ? mean(n[side].map(m => m.place)) : n.place;
      row.sort((a, b) => a.wish - b.wish);
      number(row);
    }
  }
  for (const row of rows) { let x = 0; for (const n of row) { n.x = x + n.w / 2; x += n.w + gapX; } const middle = (x - gapX) / 2; for (const n of row) n.x -= middle; }
  // Each wishes to stand under (last: 8 is even) what it reads; variables stand aside, so that chains are straight.
  for (let sweep = 0; sweep <= 8; ++sweep)
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      const solid = row.filter(n => !n.item?.variable);
      const wish = solid.map(n => { const near = n[sweep % 2 ? 'out' : 'into'].filter(m => !m.item?.variable); return near.length ? mean(near.map(m => m.x)) : n.x; });
      const space = solid.map((n, i) => i && row.slice(solid[i - 1].place, n.place + 1).reduce((sum, m) => sum + m.w + gapX, -gapX) - (solid[i - 1].w + n.w) / 2);
      const left = [], right = [];
      solid.forEach((n, i) => left[i] = i ? Math.max(wish[i], left[i - 1] + space[i]) : wish[i]);
      for (let i = solid.length - 1; i >= 0; --i) right[i] = i + 1 < solid.length ? Math.min(wish[i], right[i + 1] - space[i + 1]) : wish[i];
      solid.forEach((n, i) => n.x = (left[i] + right[i]) / 2);
      const apart = (a, b) => (a.w + b.w) / 2 + gapX;
      row.forEach((n, i) => { if (n.item?.variable) n.x = Math.max(n.out.length ? mean(n.out.map(m => m.x)) : n.x, i ? row[i - 1].x + apart(row[i - 1], n) : -1e9); });
      for (let i = row.length - 2; i >= 0; --i) if (row[i].item?.variable) row[i].x = Math.min(row[i].x, row[i + 1].x - apart(row[i], row[i + 1]));
    }
  let y = pad + (group.parent ? titleHeight : 0) + (edges.some(e => e.up) ? 40 : 0);
  const onlyPorts = row => row?.every(n => n.item?.port || n.bend);
  rows.forEach((row, i) => {
    const height = Math.max(...row.map(n => n.h));
    for (const n of row) { n.y = y + height / 2; if (n.bend) n.h = height; }
    y += height + (onlyPorts(row) || onlyPorts(rows[i + 1]) ? 16 : gapY);
  });
  const all = rows.flat(), low = Math.min(...all.map(n => n.x - n.w / 2)), high = Math.max(...all.map(n => n.x + n.w / 2));
  const around = edges.some(e => e.up) ? 40 : 0;
  const titled = group.parent ? textWidth(shortName(group), bold) + 40 : 0, width = Math.max(high - low + 2 * around, titled) + 2 * pad;
  for (const n of all) n.x += width / 2 - (low + high) / 2;
  const height = y + around - (onlyPorts(rows.at(-1)) ? 16 : gapY - 6) + pad;
  for (const n of all) if (n.item?.port) n.y = n.item.port === 'in' ? 0 : height;
  return {group, nodes, edges, all, width, height};
}

// What leaves a box, written below it.
const shapesOf = item => item.shapes && !item.variable ? [...item.shapes].join('  ') : '';

function measure(n, inside) {
  const item = n.item;
  if (item.port) { n.w = 6; n.h = 0; return; }
  if (item.groups && item.open) { n.inner = layout(item, inside); n.w = n.inner.width; n.h = n.inner.height; return; }
  const [first, ...rest] = lines(item);
  n.box = Math.max(46, textWidth(first, bold), ...rest.map(t => textWidth(t, plain))) + 20;
  n.w = Math.max(n.box, 2 * (textWidth(shapesOf(item), plain) + 8));
  n.h = rest.length ? 38 : 26;
}

// The longest way from a source; where modules read each other, the arrow back to the earlier one goes up.
function rank(nodes, edges) {
  const waiting = new Map([...nodes.values()].map(n => [n, 0])), leaving = new Map();
  for (const e of edges) { waiting.set(e.b, waiting.get(e.b) + 1); leaving.set(e.a, [...(leaving.get(e.a) ?? []), e]); }
  for (const n of nodes.values()) n.layer = n.item.port === 'in' ? 0 : 1;
  const rest = new Set(nodes.values());
  const ready = [...rest].filter(n => waiting.get(n) === 0);
  while (rest.size) {
    const n = ready.shift() ?? [...rest].reduce((a, b) => a.order <= b.order ? a : b);
    if (!rest.delete(n)) continue;
    for (const e of leaving.get(n) ?? []) {
      if (!rest.has(e.b)) continue;
      e.b.layer = Math.max(e.b.layer, n.layer + 1);
      waiting.set(e.b, waiting.get(e.b) - 1);
      if (waiting.get(e.b) === 0) ready.push(e.b);
    }
  }
  // What nothing flows into stands right above its first reader.
  const fed = new Set(edges.map(e => e.b));
  for (const n of nodes.values()) if (!n.item.port && !fed.has(n) && leaving.has(n)) n.layer = Math.max(1, Math.min(...leaving.get(n).map(e => e.b.layer)) - 1);
  const last = Math.max(0, ...[...nodes.values()].map(n => n.layer));
  for (const n of nodes.values()) if (n.item.port === 'out') n.layer = last + 1;
}

const make = (name, attributes, parent, text) => {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
};

function draw(plan, left, top, svg) {
  const group = plan.group;
  if (group.parent) {
    const g = make('g', {class: 'group'}, svg);
    make('rect', {x: left, y: top, width: plan.width, height: plan.height, rx: 8}, g);
    const title = make('text', {x: left + 10, y: top + 17}, g, '▾ ' + shortName(group));
    title.onclick = () => { group.open = false; show(); };
    g.onmouseenter = () => tell(group);
  }
  const inner = [];
  for (const n of plan.nodes.values()) if (n.inner) inner.push(n);
  for (const n of inner) draw(n.inner, left + n.x - n.w / 2, top + n.y - n.h / 2, svg);
  const end = (n, thing, bottom) => {
    const frame = n.inner && thing.port ? n.inner.nodes.get(thing.key) : null;
    return [left + (frame ? n.x - n.w / 2 + frame.x : n.x), top + n.y + (bottom ? 1 : -1) * n.h / 2];
  };
  for (const e of plan.edges) {
    const points = [end(e.a, e.from, true), ...e.bends.flatMap(b => [-1, 1].map(side => [left + b.x, top + b.y + side * b.h / 2])), end(e.b, e.to, false)];
    let d = `M${points[0]}`;
    for (let i = 1; i < points.length; ++i) {
      const [x0, y0] = points[i - 1], [x1, y1] = points[i], h = (y1 - y0) / 2;
      // Up again to an earlier module: around at the right.
      const side = left + plan.width - 6, middle = (y0 + y1) / 2;
      d += e.up ? `C${x0},${y0 + 30} ${side},${y0 + 30} ${side},${middle}C${side},${y1 - 30} ${x1},${y1 - 30} ${x1},${y1}`
                : `C${x0},${y0 + h} ${x1},${y1 - h} ${x1},${y1}`;
    }
    const arrow = e.to.port ? {} : {'marker-end': 'url(#head)'};
    const wire = make('path', {class: e.up ? 'wire up' : 'wire', d, ...arrow}, svg);
    wire.dataset.wire = e.wire;
    wire.dataset.to = e.to.id ?? e.to.path ?? '';
  }
  for (const n of plan.nodes.values()) {
    if (n.inner || n.item.port) continue;
    const item = n.item, x = left + n.x, y = top + n.y;
    const g = make('g', {class: `box${item.groups ? ' module' : ''}${item.result ? ' result' : ''}`}, svg);
    const fill = item.groups ? 'module' : item.variable ? 'variable' : kindOf(item.name);
    make('rect', {x: x - n.box / 2, y: y - n.h / 2, width: n.box, height: n.h, rx: item.variable ? n.h / 2 : 5, style: `fill:var(--${fill})`}, g);
    const [first, second] = lines(item);
    make('text', {x, y: y + (second ? -3 : 4), 'text-anchor': 'middle', 'font-weight': 600}, g, (item.groups ? '▸ ' : '') + first);
    if (second) make('text', {x, y: y + 12, 'text-anchor': 'middle', class: 'soft'}, g, second);
    make('text', {x: x + 6, y: y + n.h / 2 + 12, class: 'soft'}, svg, shapesOf(item));
    g.onmouseenter = () => { tell(item); light(item, true); };
    g.onmouseleave = () => light(item, false);
    g.onclick = item.groups ? () => { item.open = true; show(); } : () => tell(item);
  }
}

function light(item, on) {
  const source = item.groups ? 'module ' + item.path : String(item.id), target = String(item.id ?? item.path);
  for (const wire of document.querySelectorAll('.wire'))
    if (wire.dataset.wire.replace(/\.\d+$/, '') === source || wire.dataset.to === target) wire.classList.toggle('lit', on);
}

function tell(item) {
  const facts = [];
  const add = (what, ...values) => { if (values.length && values[0] !== '') facts.push([what, values]); };
  if (item.groups) {
    add('module with', count(item.operations, 'operation'), ...item.groups.length ? [`${count(item.groups.length, 'module')} inside`] : []);
    add('variables', ...item.variables.map(v => `${v.name}  ${v.shape}`));
    add('kept for backward', bytes(item.kept));
  } else {
    add('', item.variable ? 'variable' : kinds[kindOf(item.name)][0]);
    add('module', item.path);
    add(item.result ? 'result' : 'shape', item.shape);
    add('reads', ...arrows.filter(a => a.to === item.id).map(a => `${boxes[a.from].name}  ${a.shape}`));
    add('read by', ...arrows.filter(a => a.from === item.id).map(a => `${boxes[a.to].name}${boxes[a.to].path ? ' in ' + boxes[a.to].path : ''}  ${a.shape}`));
    if (!item.variable) add('kept for backward', bytes(keptBytes([item])), ...item.keeps.map(k => k.shape));
  }
  const panel = $('details');
  panel.replaceChildren();
  const element = (tag, text) => panel.appendChild(Object.assign(document.createElement(tag), {textContent: text}));
  element('h2', item.groups ? item.path || 'everything' : item.name);
  for (const [what, values] of facts) { element('dt', what); for (const v of values) element('dd', v); }
}

function show() {
  for (const g of groups.values()) delete g.shapes;
  for (const b of boxes) delete b.shapes;
  const plan = layout(groups.get(''), segments());
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  for (const [k, v] of Object.entries({width: plan.width, height: plan.height, viewBox: `0 0 ${plan.width} ${plan.height}`, role: 'img', 'aria-label': 'The graph'})) svg.setAttribute(k, v);
  const head = make('marker', {id: 'head', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto'}, make('defs', {}, svg));
  make('path', {d: 'M0,0L8,4L0,8z', style: 'fill:var(--wire)'}, head);
  draw(plan, 0, 0, svg);
  const canvas = $('canvas'), first = !canvas.querySelector('svg');
  canvas.replaceChildren(svg);
  if (first && plan.all.length) canvas.scrollLeft = plan.all.reduce((a, b) => a.y <= b.y ? a : b).x - canvas.clientWidth / 2;
}

const root = groups.get('');
$('summary').textContent = `${count(root.operations, 'operation')}, ${count(root.variables.length, 'variable')}, ${bytes(root.kept)} kept for backward`;
if (note) $('summary').after(Object.assign(document.createElement('p'), {className: 'note', textContent: note}));
const legend = $('summary').parentNode.appendChild(document.createElement('p'));
for (const [kind, [text]] of [...Object.entries(kinds), ['module', ['folded modules']], ['variable', ['variables']]]) {
  const swatch = legend.appendChild(Object.assign(document.createElement('span'), {className: 'swatch'}));
  swatch.style.background = `var(--${kind})`;
  legend.append(text + '  ');
}
$('unfold').onclick = () => { for (const g of groups.values()) g.open = true; show(); };
$('fold').onclick = () => { for (const g of groups.values()) g.open = !g.path; show(); };
show();
)js";

char const* const graph_page_style = style;
char const* const graph_page_script = script;

}  // namespace heed
