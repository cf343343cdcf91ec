// What does not show in packets a second of established flows: how fast flows come and go, what new flows, attacks and changes
// of topology do to those that are there, two threads, and idleness. Pollux alone; the peers' side is in ovs-control.mjs.
//   started by bench.mjs: node control.mjs --out=FILE --cores=TOOLS,PMD [--quick] [--part=NAME]
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { attack } from './control/attack.mjs';
import { crossing, flows } from './control/flows.mjs';
import { idle } from './control/idle.mjs';
import { manyPorts, ports } from './control/ports.mjs';
import { stalls } from './control/stalls.mjs';
import { twoThreads } from './control/threads.mjs';
import { burst, upcalls } from './control/upcalls.mjs';
import { readCores } from './processes.mjs';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string' },
    cores: { type: 'string', default: '0,1' },
    quick: { type: 'boolean', default: false },
    part: { type: 'string' },
  },
});
const parts = {
  crossing,
  flows,
  upcalls,
  burst,
  attack,
  twoThreads,
  ports,
  manyPorts,
  stalls,
  idle,
};

const rows = [];
const skipped = [];
/** What a part is given. */
const bench = {
  cores: readCores(options.cores),
  quick: options.quick,
  rounds: options.quick ? 3 : 5,
  windowMs: options.quick ? 150 : 400,
  /** summary: of a Series. */
  row(what, unit, summary, more = {}) {
    rows.push({ bench: 'control', name: 'Pollux', what, unit, ...summary, ...more });
    console.log(`control: ${what}: ${summary.median.toPrecision(4)} ${unit}`);
  },
  skip: (why) => skipped.push(why),
};

try {
  for (const [name, part] of Object.entries(parts)) {
    if (options.part === undefined || options.part === name) await part(bench);
  }
  if (options.out !== undefined) writeFileSync(options.out, JSON.stringify({ rows, skipped }));
} catch (error) {
  console.log(`control: ${error.stack}`);
  process.exitCode = 1;
}
