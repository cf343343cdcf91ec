// The results as tables in Markdown: ours, the other's, and the ratio, in that order. A ratio above 1 is in our favour.

const digits = (x) =>
  Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(2);
const range = ({ median, min, max }) => `${digits(median)} (${digits(min)}–${digits(max)})`;
const ratio = (x) => (Number.isFinite(x) ? `**${x.toFixed(2)}×**` : '–');
const count = (n) => n.toLocaleString('en');

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const voided = (row, text) => (row.void === undefined ? text : `void: ${row.void}`);

function pipeline(rows) {
  const plain = (row) =>
    rows.find((r) => r.cache === 'off' && r.rules === row.rules && r.flows === row.flows);
  const body = rows
    .filter((row) => row.cache === 'on')
    .map((row) => {
      const other = plain(row);
      return [
        row.rules,
        count(row.flows),
        voided(row, range(row)),
        digits(row.ns_per_packet),
        `${row.hit_percent.toFixed(0)} %`,
        other ? voided(other, range(other)) : '–',
        ratio(row.median / other?.median),
        String(row.lost),
      ];
    });
  const share = Math.min(...rows.map((row) => row.core_percent));
  const disturbed = `\n\nOther programs ran on the thread's core: at worst it had ${share.toFixed(0)} % of the time.`;
  return `### In memory: one core, null ports, 64-byte frames

Million packets a second through generator, extraction, cache, actions and output. *Plain* is the same without the exact-match
cache (\`emcInsertInvProb: 0\`). *ns* is the thread's processor time for a packet, the generator's part included.

${table(['rules', 'five-tuples', 'Mpps', 'ns', 'cache hits', 'plain Mpps', 'ratio', 'lost'], body)}${share < 95 ? disturbed : ''}`;
}

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

${table(['part', 'ns', 'plain version', 'ns', 'ratio'], parts)}

### Reload: request to acknowledgement, in microseconds

${table(['thread', 'median', 'least', '99 %', 'n'], reloads)}`;
}

function veth(rows, ovs) {
  const find = (name, what, offloads) =>
    rows.find((r) => r.name === name && r.what === what && r.offloads === offloads);
  const peer = 'OVS userspace';
  const line = (text, what, { better, ours: mine, theirs } = {}) => {
    const ours = find('Pollux', what, mine);
    const other = find(peer, what, theirs);
    if (ours === undefined) return [];
    const gain =
      other && (better === 'less' ? other.median / ours.median : ours.median / other.median);
    const cell = (row) => (row ? voided(row, range(row)) : '–');
    return [[text, cell(ours), cell(other), better === 'none' ? '–' : ratio(gain)]];
  };
  const body = [
    ...line('64-byte frames, Mpps', 'max'),
    ...line('loss at 100,000 a second, %', 'loss', { better: 'none' }),
    ...line('ping, median µs', 'rtt', { better: 'less' }),
    ...line('ping, 99 % µs', 'rtt p99', { better: 'less' }),
    ...line('TCP, Gbit/s; offloads as they come / off', 'tcp', { ours: 'on', theirs: 'off' }),
    ...line('TCP, Gbit/s; offloads off for both', 'tcp', { ours: 'off', theirs: 'off' }),
  ];
  const max = ['Pollux', peer].map((name) => find(name, 'max')).filter(Boolean);
  const offered = max.map((row) => `${row.name} ${range(row.offered)}`).join(', ');
  return `### veth pairs: af_packet ports against Open vSwitch ${ovs ?? ''} (datapath_type=netdev)

${table(['', 'Pollux', 'OVS userspace', 'ratio'], body)}

Offered, Mpps: ${offered}. The same interfaces, generator and counter for both, in turns; the generator and the hosts on the
first core, the forwarder on the last. Open vSwitch needs the hosts' checksum and segmentation offloads turned off.`;
}

export function markdown({ machine: m, rows, ovs, skipped }) {
  const parts = ['pipeline', 'micro', 'veth'];
  const of = (bench) => rows.filter((row) => row.bench === bench);
  const text = [
    `${m.date.slice(0, 10)}, commit ${m.commit}: ${m.cpu}${m.virtual ? ' (virtual machine)' : ''}, ${m.cores} cores, Linux ${m.kernel}, ` +
      `Node ${m.node}, ${m.compiler}${ovs ? `, Open vSwitch ${ovs}` : ''}. Median (least–most) of ${windows(rows)} windows; ` +
      `load average ${m.load.toFixed(1)} at the start.`,
  ];
  if (of(parts[0]).length > 0) text.push(pipeline(of('pipeline')));
  if (of(parts[1]).length > 0) text.push(micro(rows));
  if (of(parts[2]).length > 0) text.push(veth(of('veth'), ovs));
  if (skipped.length > 0) text.push(skipped.map((why) => `Skipped: ${why}.`).join('\n'));
  return `${text.join('\n\n')}\n`;
}

function windows(rows) {
  const counts = rows.filter((row) => row.bench !== 'reload').map((row) => row.n);
  const least = Math.min(...counts);
  const most = Math.max(...counts);
  return least === most ? String(least) : `${least} to ${most}`;
}

/** What is wrong with the results, one sentence each. */
export function voids(rows) {
  return rows
    .filter((row) => row.void !== undefined)
    .map((row) => `${row.bench} ${row.name ?? row.rules} ${row.what ?? row.flows}: ${row.void}`);
}
