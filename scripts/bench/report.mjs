// The results as tables in Markdown: ours, the other's, and the ratio, in that order. A ratio above 1 is in our favour.
import { controlGoals, vethGoals } from './goals.mjs';
import { rows as memoryRows } from './rows.mjs';

const digits = (x) =>
  Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(2);
const range = ({ median, min, max }) => `${digits(median)} (${digits(min)}–${digits(max)})`;
const ratio = (x) => (Number.isFinite(x) ? `**${x.toFixed(2)}×**` : '–');
const count = (n) => n.toLocaleString('en');
const percent = (x) => `${x.toFixed(0)} %`;

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const voided = (row, text) => (row.void === undefined ? text : `void: ${row.void}`);
const cell = (row) => (row === undefined ? '–' : voided(row, range(row)));

/** Whether a ratio is what was asked for: not, at least, as aimed at. */
const verdict = (x, [least, aim]) => (x >= aim ? 'aim' : x >= least ? 'met' : 'short');
const wish = ([least, aim], x) =>
  `${least}× / ${aim}×${Number.isFinite(x) ? `: ${verdict(x, [least, aim])}` : ''}`;

// -------------------------------------------------------------------------------------------------------- in memory

const flowsText = {
  port: () => '`in_port` alone',
  masks: ({ masks }) => (masks === 1 ? 'one mask, the five-tuple' : `${masks} masks`),
  rewrite: () => 'one mask, rewrite',
  each: ({ masks }) => (masks === 1 ? 'a flow each, one mask' : `a flow each, ${masks} masks`),
};
/** What a row is, in words. */
export function describe(row) {
  const words = [flowsText[row.rules](row)];
  if (row.wire !== 64) words.push(`${row.wire} bytes`);
  if (row.order !== 'uniform') words.push('Zipf');
  return words.join(', ');
}

/** The results of one row by contestant, and the best of Open vSwitch's settings. */
export function compare(rows, id) {
  const of = (name) => rows.find((one) => one.row === id && one.name === name);
  const settings = rows.filter((one) => one.row === id && one.name.startsWith('OVS '));
  const sound = settings.filter((one) => one.void === undefined);
  const best = sound.sort((a, b) => b.median - a.median)[0];
  return { pollux: of('Pollux'), best, asItComes: of('OVS emc'), testpmd: of('testpmd io') };
}

export const gain = (ours, other) =>
  ours?.void === undefined && other?.void === undefined ? ours?.median / other?.median : undefined;

function memory(rows) {
  const ids = [...new Set(rows.map((one) => one.row))];
  const body = ids.map((id) => {
    const row = memoryRows.get(id);
    const { pollux, best, asItComes, testpmd } = compare(rows, id);
    const against = { best, default: asItComes, testpmd };
    const wishes = Object.entries(row.goal ?? {}).map(
      ([peer, goal]) =>
        `${peer === 'best' ? '' : `${peer} `}${wish(goal, gain(pollux, against[peer]))}`,
    );
    const { cache } = pollux?.details ?? {};
    return [
      describe(row),
      count(row.flows),
      cell(pollux),
      digits(1e3 / pollux.median),
      cache === undefined ? '–' : percent(cache),
      best ? `${cell(best)} ${best.name.slice(4)}` : '–',
      ratio(gain(pollux, best)),
      cell(asItComes),
      ratio(gain(pollux, asItComes)),
      wishes.join('; ') || '–',
    ];
  });
  const head = ['flows', 'five-tuples', 'Pollux, Mpps', 'ns', 'cache', 'OVS at its best', 'ratio'];
  const shares = Math.min(...rows.map((row) => row.share));
  const disturbed =
    shares < 0.95
      ? `\n\nOther programs ran on the forwarding core: at worst a window had ${percent(100 * shares)} of it.`
      : '';
  return `### In memory: one core, frames written into every buffer

Million packets a second of the forwarding thread's time, the source of frames included, which is the same for all. *cache*:
packets that the exact-match cache answered. *OVS at its best*: of the exact-match cache (emc, as it comes), the signature-match
cache (smc) and neither (none). *wanted*: at least / aimed at.

${table([...head, 'OVS as it comes', 'ratio', 'wanted'], body)}${disturbed}${testpmd(rows)}`;
}

function testpmd(rows) {
  const names = [...new Set(rows.map((one) => one.name))].filter((name) =>
    name.startsWith('testpmd'),
  );
  if (names.length === 0) return '';
  const ids = [...new Set(rows.filter((one) => names.includes(one.name)).map((one) => one.row))];
  const of = (name, id) => rows.find((one) => one.name === name && one.row === id);
  const body = ids.map((id) => [
    `${memoryRows.get(id).wire} bytes`,
    cell(of('Pollux', id)),
    ...names.map((name) => cell(of(name, id))),
  ]);
  return `

What a DPDK program takes that does not classify: it moves packets (io), swaps addresses (macswap), parses and sums (csum), or
receives and frees them (rxonly).

${table(['', 'Pollux, `in_port` alone', ...names], body)}`;
}

// --------------------------------------------------------------------------------------------------------- control

function control(rows) {
  const body = rows
    .filter((row) => row.name === 'Pollux')
    .map((row) => {
      const other = rows.find((one) => one.name !== 'Pollux' && one.what === row.what);
      const goal = controlGoals[row.what];
      const theirs = other && other.median - (other.toolMs ?? 0);
      const less = ['ms', 's', 'µs', 'ns', '%'].includes(row.unit);
      const gained = other && (less ? theirs / row.median : row.median / theirs);
      const tool = other?.toolMs ? `, of it ${digits(other.toolMs)} the tool` : '';
      const extra = row.p99 === undefined ? '' : `, 99 %: ${digits(row.p99)}`;
      return [
        row.what,
        `${cell(row)} ${row.unit}${extra}`,
        other ? `${cell(other)} ${other.unit}${other.by ? ` (${other.by}${tool})` : ''}` : '–',
        ratio(gained),
        goal === undefined ? '–' : goal.text(goal.ratio ? gained : row.median),
      ];
    });
  return `### Control, new flows, attacks, threads, idleness

${table(['', 'Pollux', 'OVS', 'ratio', 'wanted'], body)}`;
}

function churn(rows) {
  const body = rows.map((row) => [
    row.name,
    `${cell(row)} µs`,
    count(row.operations),
    String(row.lost),
  ]);
  return `### What a flow at full speed notices of ports that come and go

${table(['', 'longest stop in 50 ms', 'operations', 'lost'], body)}`;
}

// ----------------------------------------------------------------------------------------------------------- parts

function micro(rows) {
  const parts = rows
    .filter((row) => row.bench === 'micro')
    .map((row) => [
      row.name,
      range(row),
      row.plain ?? '–',
      row.plain ? range({ median: row.plain_median, min: row.plain_min, max: row.plain_max }) : '–',
      row.plain ? ratio(row.plain_median / row.median) : '–',
    ]);
  const reloads = rows
    .filter((row) => row.bench === 'reload')
    .map((row) => [row.name, digits(row.median), digits(row.min), digits(row.p99), String(row.n)]);
  return `### Parts, in nanoseconds

${table(['part', 'ns', 'another version', 'ns', 'ratio'], parts)}

### Reload: request to acknowledgement, in microseconds

${table(['thread', 'median', 'least', '99 %', 'n'], reloads)}`;
}

const vethColumns = [
  ['64-byte frames, Mpps', 'flood'],
  ['lost at 300 k/s, %', 'loss at 300 k'],
  ['lost at 500 k/s, %', 'loss at 500 k'],
  ['ping, median µs', 'rtt'],
  ['ping, 99 % µs', 'rtt p99'],
  ['TCP, offloads on, Gbit/s', 'tcp', 'on'],
  ['TCP, offloads off, Gbit/s', 'tcp', 'off'],
  ['port added, ms', 'add'],
  ['port deleted, ms', 'delete'],
  ['port added beside a flow, ms', 'add beside a flow'],
  ['silence of that flow, ms', 'silence of that flow'],
  ['silence at rest, ms', 'its silence at rest'],
  ['longest way of a frame of it, ms', 'longest way of its frames'],
  ['way at rest, ms', 'longest way at rest'],
];

function veth(rows) {
  const find = ([name, what, offloads]) =>
    rows.find((r) => r.name === name && r.what === what && r.offloads === offloads);
  const names = [...new Set(rows.map((row) => row.name))];
  const columns = vethColumns.filter(([, ...what]) => names.some((name) => find([name, ...what])));
  const figures = names.map((name) => [
    name,
    ...columns.map(([, ...what]) => cell(find([name, ...what]))),
  ]);
  const goals = vethGoals.flatMap(({ text, ours, theirs, less, wanted }) => {
    const mine = find(ours);
    const other = theirs && find(theirs);
    if (mine === undefined || (theirs && other === undefined)) return [];
    if (theirs === undefined) {
      const word = mine.median <= wanted[1] ? 'aim' : mine.median <= wanted[0] ? 'met' : 'short';
      return [[text, digits(mine.median), '–', '–', `${wanted.join(' / ')}: ${word}`]];
    }
    const x = less ? other.median / mine.median : mine.median / other.median;
    return [
      [
        text,
        digits(mine.median),
        `${theirs[0]} ${digits(other.median)}`,
        ratio(x),
        wish(wanted, x),
      ],
    ];
  });
  return `### veth pairs, taps

${table(['', ...columns.map(([text]) => text)], figures)}

The same interfaces, generator and sink for all, in turns; the generator and the hosts on the first core, the forwarder on the
last. Who has no figure with offloads on needs the hosts' checksum and segmentation offloads, and merging, turned off.

${table(['', 'Pollux', 'the other', 'ratio', 'at least / aim'], goals)}`;
}

// -------------------------------------------------------------------------------------------------------------- all

export function markdown({ machine: m, rows, versions, skipped }) {
  const of = (...benches) => rows.filter((row) => benches.includes(row.bench));
  const peers = Object.entries(versions).map(([name, version]) => `, ${name} ${version}`);
  const text = [
    `${m.date.slice(0, 10)}, commit ${m.commit}: ${m.cpu}${m.virtual ? ' (virtual machine)' : ''}, ${m.cores} cores, Linux ${m.kernel}, ` +
      `Node ${m.node}, ${m.compiler}${peers.join('')}. Median (least–most) of ${windows(rows)} windows; ` +
      `load average ${m.load.toFixed(1)} at the start.`,
  ];
  if (of('memory').length > 0) text.push(memory(of('memory')));
  if (of('control').some((row) => row.name === 'Pollux')) text.push(control(of('control')));
  if (of('churn').length > 0) text.push(churn(of('churn')));
  if (of('micro').length > 0) text.push(micro(of('micro', 'reload')));
  if (of('veth').length > 0) text.push(veth(of('veth')));
  if (skipped.length > 0) text.push(skipped.map((why) => `Skipped: ${why}.`).join('\n'));
  return `${text.join('\n\n')}\n`;
}

function windows(rows) {
  const counts = rows
    .filter((row) => ['memory', 'micro', 'veth'].includes(row.bench))
    .map((row) => row.n);
  const least = Math.min(...counts);
  const most = Math.max(...counts);
  return least === most ? String(least) : `${least} to ${most}`;
}

/** What is wrong with the results, one sentence each. */
export function voids(rows) {
  return rows
    .filter((row) => row.void !== undefined)
    .map((row) => `${row.bench} ${row.name} ${row.what ?? row.row ?? ''}: ${row.void}`);
}
