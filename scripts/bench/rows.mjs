// The rows of the comparison in memory: what the frames are, what the flows are, and what is wanted of Pollux.
//
// Frames are those of native/netdev/generator.h: flow f is of class f % masks, and a rule that looks at the first c + 1 of the
// class bits finds class c alone. So every class takes a mask of its own, and each is hit by as many packets.

/** The class bits, in order: the low ones of each field. */
const classBits = [
  ['src', 20],
  ['dst', 20],
  ['tpDst', 14],
  ['ethDst', 24],
  ['ethSrc', 24],
];

const ones = (n) => 2 ** n - 1;
const add = (fields, name, value, mask) => {
  const [v, m] = fields[name] ?? [0, 0];
  fields[name] = [(v | value) >>> 0, (m | mask) >>> 0];
};

/** Fields as [value, mask]: those that find class c. */
function ofClass(c) {
  const fields = {};
  let first = 0;
  for (const [name, width] of classBits) {
    const looked = Math.min(width, c + 1 - first);
    if (looked <= 0) break;
    const value = c - first < width ? 2 ** (width - 1 - (c - first)) : 0;
    add(fields, name, value, ones(looked) * 2 ** (width - looked));
    first += width;
  }
  return fields;
}

/** One mask that reads all of the five-tuple, and which every flow fits. */
const tuple = {
  src: [0x0a000000, 0xff000000],
  dst: [0x0a000000, 0xff000000],
  tpSrc: [0x4000, 0xc000],
  tpDst: [0x4000, 0xc000],
};

/** Flow f alone, by the class's mask and what tells the flows of a class apart. */
function ofFlow(f, masks) {
  const fields = ofClass(f % masks);
  add(fields, 'src', ((f >>> 14) & 15) << 20, 15 << 20);
  add(fields, 'dst', ((f >>> 18) & 15) << 20, 15 << 20);
  add(fields, 'tpSrc', (f & 0x3fff) | ((((f >>> 22) ^ 1) & 3) << 14), 0xffff);
  return fields;
}

/** What the flows of a row look at, one after the other. `undefined`: nothing but the port. */
export function* fieldsOf({ rules, masks, flows }) {
  if (rules === 'port') yield undefined;
  else if (rules === 'each') for (let f = 0; f < flows; f++) yield ofFlow(f, masks);
  else if (masks === 1) yield tuple;
  else for (let c = 0; c < masks; c++) yield ofClass(c);
}

// ------------------------------------------------------------------------------------------------------------ spelling

const ip = (x) => [24, 16, 8, 0].map((shift) => (x >>> shift) & 255).join('.');
const mac = (x) =>
  `00:00:00:${[16, 8, 0].map((shift) => ((x >>> shift) & 255).toString(16).padStart(2, '0')).join(':')}`;
const hex = (x) => `0x${x.toString(16)}`;

const spell = (fields, names) =>
  names
    .filter(([field]) => fields[field] !== undefined)
    .map(([field, name, word]) => `${name}=${word(fields[field][0])}/${word(fields[field][1])}`);
const group = (name, words) => (words.length > 0 ? `,${name}(${words.join(',')})` : '');

/** A match as datapaths write it: Pollux and `dpctl`. */
function datapathMatch(fields, inPort, ttl) {
  if (fields === undefined) return `in_port(${inPort})`;
  const eth = spell(fields, [
    ['ethSrc', 'src', mac],
    ['ethDst', 'dst', mac],
  ]);
  const ipv4 = spell(fields, [
    ['src', 'src', ip],
    ['dst', 'dst', ip],
  ]);
  const udp = spell(fields, [
    ['tpSrc', 'src', hex],
    ['tpDst', 'dst', hex],
  ]);
  const fixed = ['proto=17', ...(ttl ? ['ttl=64'] : []), 'frag=no'];
  return `in_port(${inPort})${group('eth', eth)},eth_type(0x0800)${group('ipv4', [...ipv4, ...fixed])}${group('udp', udp)}`;
}

/** A match that every generated frame fits, and that reads its five-tuple. */
export const fiveTuple = (inPort) => datapathMatch(tuple, inPort);

const rewrite = {
  datapath:
    'set(eth(src=02:00:00:00:00:11,dst=02:00:00:00:00:12)),set(ipv4(dst=30.0.0.1,ttl=63)),set(udp(dst=9)),',
  openflow:
    'mod_dl_src:02:00:00:00:00:11,mod_dl_dst:02:00:00:00:00:12,dec_ttl,mod_nw_dst:30.0.0.1,mod_tp_dst:9,',
};

/**
 * [match, actions] of each flow, in the datapath's words.
 * @returns {Generator<[string, string]>}
 */
export function* datapathFlows(row, from, to) {
  const actions = `${row.rules === 'rewrite' ? rewrite.datapath : ''}${to}`;
  for (const fields of fieldsOf(row)) {
    yield [datapathMatch(fields, from, row.rules === 'rewrite'), actions];
  }
}

/** The same as OpenFlow rules; from them Open vSwitch makes those flows itself. */
export function* openflowRules(row, from, to) {
  const actions = `${row.rules === 'rewrite' ? rewrite.openflow : ''}output:${to}`;
  for (const fields of fieldsOf(row)) {
    const words = [`in_port=${from}`];
    if (fields !== undefined) {
      words.push(
        'udp',
        ...spell(fields, [
          ['ethSrc', 'dl_src', mac],
          ['ethDst', 'dl_dst', mac],
          ['src', 'nw_src', ip],
          ['dst', 'nw_dst', ip],
          ['tpSrc', 'tp_src', hex],
          ['tpDst', 'tp_dst', hex],
        ]),
      );
    }
    yield `${words.join(',')},actions=${actions}`;
  }
}

// ---------------------------------------------------------------------------------------------------------------- rows

const frame = (wire) => wire - 4; // Without the check sequence, as frames are in memory.
const row = (rules, masks, flows, goal, { wire = 64, order = 'uniform', full = false } = {}) => ({
  id: [rules, masks, flows, wire, order].join('/'),
  ...{ rules, masks, flows: Math.max(flows, masks), wire, size: frame(wire), order, goal, full },
});

/**
 * goal: the ratio to Open vSwitch at its best that is asked for at least, and aimed at; `default`: to Open vSwitch as it comes;
 * `testpmd`: to testpmd's forwarding without a look at the frames.
 */
const defaults = [
  row('port', 1, 1, { best: [2, 3.5], testpmd: [0.7, 1] }),
  row('port', 1, 1_000_000, { best: [2, 3.5] }),
  row('masks', 1, 1, { best: [1.8, 2.2] }),
  row('masks', 1, 1_000, { best: [2, 2.5] }),
  row('masks', 1, 10_000, { best: [3, 4] }),
  row('masks', 1, 100_000, { best: [3, 4] }),
  row('masks', 1, 1_000_000, { best: [3, 4] }),
  row('masks', 20, 1_000, { best: [3, 4] }),
  row('masks', 20, 100_000, { best: [2, 3], default: [8, 12] }),
  row('masks', 20, 1_000_000, { best: [2, 3.5] }),
  row('masks', 100, 1_000, { best: [2.3, 3] }),
  row('masks', 100, 100_000, { best: [2, 3], default: [35, 50] }),
  row('masks', 100, 1_000_000, { best: [4, 8] }),
  row('rewrite', 1, 1, { best: [2, 2.5] }),
  row('rewrite', 1, 10_000, { best: [3, 4] }),
  row('each', 1, 1_000),
  row('each', 1, 100_000),
  row('each', 20, 100_000),
  row('masks', 1, 100_000, undefined, { order: 'zipf' }),
  row('masks', 20, 100_000, undefined, { order: 'zipf' }),
  row('port', 1, 1, undefined, { wire: 512 }),
  row('port', 1, 1, undefined, { wire: 1518 }),
  row('masks', 1, 10_000, undefined, { wire: 512 }),
  row('masks', 1, 10_000, undefined, { wire: 1518 }),
];

function* everything() {
  for (const wire of [64, 512, 1518]) {
    for (const order of ['uniform', 'zipf']) {
      for (const flows of [1, 1_000, 10_000, 100_000, 1_000_000]) {
        const how = { wire, order, full: true };
        yield row('port', 1, flows, undefined, how);
        for (const masks of [1, 20, 100]) yield row('masks', masks, flows, undefined, how);
        if (flows > 1)
          for (const masks of [1, 20, 100]) yield row('each', masks, flows, undefined, how);
        yield row('rewrite', 1, flows, undefined, how);
      }
    }
  }
}

/** All rows by id; the default ones first. */
export const rows = new Map();
for (const one of [...defaults, ...everything()]) if (!rows.has(one.id)) rows.set(one.id, one);

const few = new Set(
  [
    'port/1/1',
    'masks/1/1',
    'masks/1/10000',
    'masks/20/100000',
    'masks/100/1000',
    'rewrite/1/1',
  ].map((id) => `${id}/64/uniform`),
);

/**
 * The rows to measure: those of the goals, a few of them, or the full cross product.
 * @param {{ quick?: boolean, full?: boolean, only?: string }} wanted
 */
export function chosenRows({ quick, full, only }) {
  return [...rows.values()]
    .filter((one) => full || !one.full)
    .filter((one) => !quick || few.has(one.id))
    .filter((one) => only === undefined || one.id.includes(only));
}
