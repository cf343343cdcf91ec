// The comparison in memory as a drawing (SVG): for each row a bar of ours, one of Open vSwitch at its best, a mark where Open
// vSwitch is as it comes, and the ratio to its best.
import { compare, describe, gain } from './report.mjs';
import { rows as memoryRows } from './rows.mjs';

const width = 860;
const labelEnd = 270;
const barsEnd = 720;
const rowHeight = 34;
const groupGap = 10;
const bar = 11;

const style = `
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
  .small { font-size: 11px; fill: #57606a }
  .head { font-weight: 600 }
  .ratio { font-weight: 600; font-variant-numeric: tabular-nums }
  .ours { fill: #0f7b6c } .best { fill: #b6bec9 } .mark { stroke: #57606a; stroke-width: 2 }
  .grid { stroke: #d0d7de; stroke-width: 1 } .range { stroke: #24292f; stroke-opacity: .45 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #8d96a0 }
    .ours { fill: #2dbfa8 } .best { fill: #57606a } .mark { stroke: #b6bec9 }
    .grid { stroke: #30363d } .range { stroke: #e6edf3 }
  }`;

const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const text = (x, y, words, { at = 'start', kind = '' } = {}) =>
  `<text x="${x}" y="${y}" text-anchor="${at}" class="${kind}">${escaped(words)}</text>`;
const line = (kind, x1, y1, x2, y2) =>
  `<line class="${kind}" x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}"/>`;
const box = (kind, x, y, w, h) =>
  `<rect class="${kind}" x="${x}" y="${y}" width="${w.toFixed(1)}" height="${h}" rx="2"/>`;
const five = (n) =>
  n >= 1_000_000 ? `${n / 1_000_000} M` : n >= 1_000 ? `${n / 1_000} k` : String(n);
const mpps = (x) => (x >= 10 ? x.toFixed(0) : x.toFixed(1));

/** A round step that makes four to eight lines. */
function gridStep(most) {
  for (const step of [1, 2, 5, 10, 20, 50]) if (most / step <= 8) return step;
  return 100;
}

function oneRow({ y, words, flows, pollux, best, asItComes }, scale) {
  const parts = [text(labelEnd - 12, y + 17, `${words} · ${five(flows)}`, { at: 'end' })];
  const both = [
    ['ours', pollux, y + 3],
    ['best', best, y + 4 + bar],
  ];
  for (const [kind, result, top] of both) {
    if (result === undefined || result.void !== undefined) continue;
    const end = labelEnd + scale(result.median);
    parts.push(box(kind, labelEnd, top, scale(result.median), bar));
    const middle = top + bar / 2;
    parts.push(
      line('range', labelEnd + scale(result.min), middle, labelEnd + scale(result.max), middle),
    );
    const after = Math.max(end, labelEnd + scale(result.max)) + 5;
    parts.push(text(after, top + bar - 1.5, mpps(result.median), { kind: 'small' }));
  }
  if (asItComes !== undefined && asItComes !== best && asItComes.void === undefined) {
    const x = labelEnd + scale(asItComes.median);
    parts.push(line('mark', x, y + 3 + bar, x, y + 5 + 2 * bar));
  }
  const ratio = gain(pollux, best);
  if (Number.isFinite(ratio)) {
    parts.push(text(width - 24, y + 17, `${ratio.toFixed(1)}×`, { at: 'end', kind: 'ratio' }));
  }
  return parts.join('\n');
}

/** The drawing of results with rows in memory. */
export function plot({ machine, versions, rows }) {
  const ids = [...new Set(rows.filter((one) => one.bench === 'memory').map((one) => one.row))];
  const list = ids.map((id) => {
    const row = memoryRows.get(id);
    return { words: describe(row).replaceAll('`', ''), flows: row.flows, ...compare(rows, id) };
  });
  const most = Math.max(
    1,
    ...list.flatMap(({ pollux, best }) => [pollux?.max ?? 0, best?.max ?? 0]),
  );
  const scale = (x) => (x / most) * (barsEnd - labelEnd);
  // A little room where other flows begin.
  let y = 84;
  for (const [i, row] of list.entries()) {
    if (i > 0 && row.words !== list[i - 1].words) y += groupGap;
    row.y = y;
    y += rowHeight;
  }
  const bottom = y;
  const height = bottom + 46;
  const peer = versions['Open vSwitch'];
  const parts = [
    text(24, 28, 'Million packets a second, one core, frames written into every buffer', {
      kind: 'head',
    }),
    box('ours', 24, 44, 14, bar),
    text(44, 54, 'Pollux'),
    text(labelEnd - 12, 72, 'flows · five-tuples', { at: 'end', kind: 'small' }),
  ];
  if (peer !== undefined) {
    parts.push(
      box('best', 104, 44, 14, bar),
      text(124, 54, `Open vSwitch ${peer} with DPDK, best of its caches`),
    );
    parts.push(line('mark', 500, 42, 500, 58), text(508, 54, 'as it comes'));
    parts.push(text(width - 24, 72, 'ratio to its best', { at: 'end', kind: 'small' }));
  }
  for (let x = 0, step = gridStep(most); x <= most; x += step) {
    const at = labelEnd + scale(x);
    parts.push(line('grid', at, 78, at, bottom + 4));
    parts.push(text(at, bottom + 18, String(x), { at: 'middle', kind: 'small' }));
  }
  for (const row of list) parts.push(oneRow(row, scale));
  const where = `${machine.date.slice(0, 10)}, commit ${machine.commit}, ${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}; medians, thin lines: least to most`;
  parts.push(text(24, height - 10, where, { kind: 'small' }));
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<title>Million packets a second: Pollux and its peers</title>
<style>${style}
</style>
${parts.join('\n')}
</svg>
`;
}
