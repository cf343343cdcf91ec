// What the demo shows: a line that moves while it runs, and a table at its end.
import * as util from 'node:util';

const colours = process.stdout.isTTY && !process.env.NO_COLOR && util.styleText !== undefined;
const paint = (style, text) => (colours ? util.styleText(style, text) : text);

const count = (n) => n.toLocaleString('en-US');
const megabytes = (bytes) => `${count(Math.round(bytes / 1e6))} MB`;

/** The value below which a share of `values` lies, as text. */
function percentile(values, share, digits, unit) {
  if (values.length === 0) return '-';
  const sorted = values.toSorted((a, b) => a - b);
  const index = Math.min(sorted.length - 1, Math.floor(share * sorted.length));
  return `${sorted[index].toFixed(digits)} ${unit}`;
}
const spread = (values, digits, unit) =>
  `p50 ${percentile(values, 0.5, digits, unit)}, p99 ${percentile(values, 0.99, digits, unit)}`;

export class Panel {
  #timer;

  /** `sample` is asked for the state of things: five times a second on a terminal, else every few seconds. */
  start(sample) {
    const show = () => {
      const line = describe(sample());
      if (!process.stdout.isTTY) console.log(line);
      else process.stdout.write(`\r\x1b[2K${line.slice(0, process.stdout.columns - 1)}`);
    };
    this.#timer = setInterval(show, process.stdout.isTTY ? 200 : 3_000);
  }

  end() {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (process.stdout.isTTY) process.stdout.write('\r\x1b[2K');
  }
}

function describe({ seconds, pings, frames, bytes, churn }) {
  const answered = pings
    ? `ping ${pings.received}/${pings.sent}`
    : `frames ${frames.received}/${frames.sent}`;
  const parts = [
    `${seconds.toFixed(0).padStart(4)} s`,
    answered,
    `${pings ? 'TCP' : 'payload'} ${megabytes(bytes)}`,
    `ports +${churn.adds} -${churn.deletes}`,
    `reloads ${churn.reloads}`,
    `CPU masks ${churn.masks}`,
  ];
  return parts.join('  ');
}

/** { text, ok }: the closing table; ok if nothing was lost. */
export function summary({ kind, seconds, carried, churn, stats, coresUsed }) {
  const { pings, tcp, frames, stream } = carried;
  const { ledger, ports } = stats;
  const at = Object.values(ports);
  const refused = at.reduce((sum, port) => sum + port.rxDropped + port.rxErrors, 0n);
  const unanswered = pings ? pings.sent - pings.received : frames.sent - frames.received;
  const lost = Number(ledger.dropped + refused) + unanswered;
  const { received, executed, copied, transmitted, dropped, queued } = ledger;
  const closes = received + executed + copied === transmitted + dropped + queued;
  const whole = (tcp ?? stream).equal;
  const ordered = !frames || frames.outOfOrder === 0;
  const ok = lost === 0 && closes && whole && ordered;

  const verdict = (good, text) => paint(good ? 'green' : 'red', text);
  const reasons = Object.entries(stats.drops).filter(([, n]) => n > 0n);
  const why = reasons.map(([reason, n]) => ` ${reason} ${n}`).join(',');
  const { bytes, seconds: took } = tcp ?? stream;
  const rate = `${((bytes * 8) / 1e9 / took).toFixed(2)} Gbit/s`;
  const sameBytes = verdict(
    whole,
    whole ? 'SHA-256 equal at both ends' : 'SHA-256 DIFFERS between the ends',
  );
  const types = Object.entries(churn.types).map(([type, n]) => `${n} ${type}`);

  const rows = [
    ['forwarded', `${count(transmitted)} packets in ${seconds.toFixed(1)} s`],
    ['lost', verdict(lost === 0, `${count(lost)}${why}`)],
    ...(pings
      ? [
          ['ping', `${count(pings.sent)} sent, ${count(pings.received)} answered`],
          ['round trip', `${spread(pings.rtts, 2, 'ms')}, beside the transfer`],
          ['TCP', `${megabytes(bytes)}, ${rate}, ${sameBytes}`],
          [
            '',
            `${count(tcp.retransmitted)} segments sent again, ${count(tcp.needlessly)} needlessly`,
          ],
        ]
      : [
          ['frames', `${count(frames.sent)} sent, ${count(frames.received)} received, in order`],
          ['payload', `${megabytes(bytes)}, ${rate} (paced by timers), ${sameBytes}`],
        ]),
    [
      'ports',
      `${count(churn.adds.length)} added, ${count(churn.deletes.length)} deleted (${types.join(', ')})`,
    ],
    ['add', spread(churn.adds, 2, 'ms')],
    ['delete', spread(churn.deletes, 2, 'ms')],
    ['reload', `${spread(churn.reloads, 0, 'us')}, of ${count(churn.reloads.length)}`],
    ['CPU mask', churn.masks > 0 ? `changed ${churn.masks} times` : 'one core: nothing to change'],
    ['CPU', `${coresUsed.toFixed(2)} cores`],
    [
      'ledger',
      `${count(received)} received + ${count(executed + copied)} made = ${count(transmitted)} sent + ${count(dropped)} dropped + ${count(queued)} queued${closes ? '' : verdict(false, ': DOES NOT CLOSE')}`,
    ],
  ];
  const shown = [
    kind === 'veth'
      ? 'real interfaces: TCP with checksum and segmentation offloads on, nothing switched off'
      : 'a datapath without privileges, on memory ports',
    'ports added and deleted under traffic: each thread has its own copy of the ports',
    'an acknowledged reload: when deletePort() resolves, no thread knows the port and its device is closed',
    'PMD threads started, stopped and moved between cores without losing a packet',
    'every packet accounted for: the ledger closes',
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const table = rows.map(([name, value]) => `  ${paint('bold', name.padEnd(width))}  ${value}`);
  const closing = ok
    ? verdict(true, 'Nothing was lost. Shown:')
    : verdict(false, 'Something was lost, or does not add up.');
  return {
    ok,
    text: ['', ...table, '', `  ${closing}`, ...(ok ? shown.map((s) => `  - ${s}`) : [])].join(
      '\n',
    ),
  };
}
