// Flow lines of any kind through the text parsers and, if they parse, through the core's decoders:
//   node test/fuzz/text_fuzz.mjs --seconds=60 --seed=1 [--corpus=FOLDER]
// An input is a match, a tab, and actions. What parses must print, and what was printed must parse to
// the same; what the core takes must come back as it was said; whatever is refused is refused with a
// DatapathError of a known code. No input may take long.
//
// Inputs are made from the corpus by splicing: pieces of lines between brackets, commas and equals
// signs are exchanged, repeated, cut and damaged, so that most inputs get past the first character.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  Datapath,
  DatapathError,
  formatActions,
  formatMatch,
  parseActions,
  parseMatch,
} from 'pollux';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    corpus: { type: 'string', default: new URL('corpus/text', import.meta.url).pathname },
  },
});

/** xorshift: one seed, one run. */
function generator(seed) {
  let state = seed * 2654435761 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const corpus = readdirSync(values.corpus).flatMap((file) =>
  readFileSync(`${values.corpus}/${file}`, 'utf8')
    .split('\n')
    .filter((line) => line !== ''),
);
const tokens = [
  ...new Set(corpus.flatMap((line) => line.split(/(?<=[(),=/{}|+\-\t])|(?=[(),=/{}|+\-\t])/))),
];
const numbers = [
  '0',
  '1',
  '255',
  '256',
  '65535',
  '65536',
  '4294967295',
  '4294967296',
  '-1',
  '0x',
  '1e9',
  '08',
];
const random = generator(Number(values.seed));
const oneOf = (list) => list[random(list.length)];

/** From an opening bracket to the one that closes it. */
function bracket(line) {
  const start = line.indexOf('(', random(line.length + 1));
  if (start < 0) return [0, line.length];
  let depth = 0;
  for (let i = start; i < line.length; i++) {
    if (line[i] === '(') depth++;
    else if (line[i] === ')' && --depth === 0) return [start, i + 1];
  }
  return [start, line.length];
}

const mutations = [
  (line) => line.slice(0, random(line.length + 1)),
  (line) => {
    const at = random(line.length + 1);
    return line.slice(0, at) + oneOf(tokens) + line.slice(at);
  },
  (line) => {
    const at = random(line.length + 1);
    return (
      line.slice(0, at) +
      String.fromCharCode(random(4) === 0 ? random(0x3000) : 32 + random(95)) +
      line.slice(at + 1)
    );
  },
  (line) => {
    const [start, end] = bracket(line);
    const other = oneOf(corpus);
    const [from, to] = bracket(other);
    return line.slice(0, start) + other.slice(from, to) + line.slice(end);
  },
  (line) => {
    const [start, end] = bracket(line);
    return `${line.slice(0, end)},${line.slice(start, end).repeat(1 + random(3))}${line.slice(end)}`;
  },
  (line) => {
    const [start, end] = bracket(line);
    return line.slice(0, start) + line.slice(end);
  },
  (line) => line.replace(/\d+/g, (digits) => (random(6) === 0 ? oneOf(numbers) : digits)),
  (line) => {
    // Deep or long.
    const wrap = oneOf([
      'clone(',
      'sample(sample=50%,actions(',
      'encap(',
      'check_pkt_len(size=9,gt(',
    ]);
    const n = 1 + random(40);
    const close = ')'.repeat(n * (wrap.split('(').length - 1));
    const [match, actions = ''] = line.split('\t');
    return `${match}\t${wrap.repeat(n)}${actions}${close}`;
  },
  (line) => (random(50) === 0 ? `${line},${oneOf(tokens).repeat(random(5_000))}` : line),
];

function nextInput() {
  let line = oneOf(corpus);
  for (let n = random(4); n >= 0; n--) line = oneOf(mutations)(line);
  return line;
}

const kCodes = new Set(['EINVAL', 'ENODEV', 'ERR_NOT_SUPPORTED', 'E2BIG', 'EEXIST', 'ENOSPC']);
/** The value, or undefined if it was refused as it should be. */
function refusable(job) {
  try {
    return job();
  } catch (error) {
    if (!(error instanceof DatapathError) || !kCodes.has(error.code)) throw error;
    return undefined;
  }
}

/**
 * A match as far as it can be said without parsing addresses: values outside of their masks are no part of it, nor is
 * the presence of an Ethernet header that is not looked at.
 */
function masked(part) {
  if (typeof part === 'string') return part.replace(/^.*\//, '/');
  if (typeof part !== 'object' || part === null || part instanceof Uint8Array) return part;
  if (Array.isArray(part)) return part.map(masked);
  const { value, mask } = part;
  if (mask instanceof Uint8Array) return { value: value.map((byte, i) => byte & mask[i]), mask };
  if (typeof mask === 'bigint' || typeof mask === 'number') {
    return { value: BigInt(value) & BigInt(mask), mask: BigInt(mask) };
  }
  return Object.fromEntries(
    Object.entries(part)
      .filter(([key, inner]) => key !== 'eth' || Object.keys(inner).length > 0)
      .map(([key, inner]) => [key, masked(inner)]),
  );
}

const datapath = new Datapath({ clock: 'manual', maxIdleMs: 0 });
const counts = { inputs: 0, matches: 0, actions: 0, installed: 0 };

function check(line) {
  const [matchText, actionText = ''] = line.split('\t');
  const match = refusable(() => parseMatch(matchText));
  if (match !== undefined) {
    counts.matches++;
    const text = formatMatch(match);
    assert.deepEqual(parseMatch(text), match, text);
    assert.equal(formatMatch(text), text);
  }
  const actions = refusable(() => parseActions(actionText));
  if (actions !== undefined) {
    counts.actions++;
    const text = formatActions(actions);
    assert.deepEqual(parseActions(text), actions, text);
  }
  if (match === undefined || actions === undefined || typeof match.inPort === 'string') return;
  const ufid = refusable(() => datapath.flows.put(match, actions));
  if (ufid === undefined) return;
  counts.installed++;
  const flow = datapath.flows.get(ufid);
  assert.deepEqual(masked(flow.match), masked(match));
  assert.deepEqual(flow.actions, actions);
  assert.equal(datapath.flows.put(flow.match, flow.actions), ufid);
  assert.equal(datapath.flows.delete(match), true);
}

const end = performance.now() + Number(values.seconds) * 1000;
const kSlowMs = 2_000; // Long for 64 KiB of text, also on a machine that is busy.
while (performance.now() < end) {
  const line = nextInput();
  const start = performance.now();
  try {
    check(line);
  } catch (error) {
    console.log(`input ${JSON.stringify(line)}`);
    throw error;
  }
  const took = performance.now() - start;
  assert.ok(
    took < kSlowMs,
    `${took} ms for ${JSON.stringify(line.slice(0, 200))}… (${line.length} characters)`,
  );
  if (++counts.inputs % 256 === 0) await new Promise(setImmediate);
}
await datapath.close();
console.log(
  Object.entries(counts)
    .map(([name, n]) => `${name} ${n}`)
    .join(', '),
);
