// The process that is Pollux in a comparison: one datapath, one PMD thread. It does what PolluxChild asks for, and ends when
// that does.
//   node pollux-child.mjs TOOLCORE,PMDCORE
import { Datapath } from '../../dist/index.js';
import { confine, ranNs, readCores, threads } from './processes.mjs';
import { datapathFlows, rows } from './rows.mjs';

const { toolCore, core } = readCores(process.argv[2]);
const datapath = new Datapath({ pmdCpus: [core], maxIdleMs: 0, flowLimit: 2_000_000 });

process.on('disconnect', () => process.exit());
process.on('SIGINT', () => {}); // For the parent.

let pmd; // Its thread.

/** Once there are ports: everything but the PMD thread stays on its core. */
async function settleThreads() {
  if (pmd !== undefined) return;
  [[pmd]] = threads(process.pid, 'pmd-');
  await confine(toolCore, 'pmd-');
}

// ------------------------------------------------------------------------------------------------------ between two nulls

let flowsOf; // The row whose flows are there.
let before; // What was counted before this turn.
let lostBefore = 0;

function putFlows(row) {
  if (row.id === flowsOf) return;
  datapath.flows.clear();
  let changes = [];
  for (const [match, actions] of datapathFlows(row, 1, 2)) {
    changes.push({ put: { match, actions } });
    if (changes.length === 4096) datapath.flows.apply(changes);
    if (changes.length === 4096) changes = [];
  }
  datapath.flows.apply(changes);
  flowsOf = row.id;
}

async function run(id) {
  const row = rows.get(id);
  if (!datapath.ports.has('to')) await datapath.addPort({ name: 'to', type: 'null', number: 2 });
  putFlows(row);
  const { size, flows, masks, order } = row;
  const generate = { size, flows, masks, order };
  await datapath.addPort({ name: 'from', type: 'null', number: 1, generate });
  await settleThreads();
  before = pmdCounters();
}

function sample() {
  return {
    packets: Number(datapath.ports.get('from').stats().rxPackets),
    ns: ranNs(process.pid, pmd),
    at: performance.now(),
  };
}

const pmdCounters = () => {
  const { pmds, flows } = datapath.stats();
  return { ...pmds.find((one) => one.core === core), ...flows };
};

/** Where the packets of this turn found their flows, in percent; what one costs, in cycles. */
function details() {
  const { packets, emcHits, megaflowHits, cyclesPerPacket, size, masks } = pmdCounters();
  const share = (n, n0) =>
    Math.round(Number((1000n * (n - n0)) / (packets - before.packets || 1n))) / 10;
  return {
    cache: share(emcHits, before.emcHits),
    classifier: share(megaflowHits, before.megaflowHits),
    ...{ cyclesPerPacket, flows: size, masks },
  };
}

/** The source goes; what did not come out. */
async function stop() {
  await datapath.deletePort('from');
  await datapath.settle();
  const { received, transmitted } = datapath.stats().ledger;
  const lost = Number(received - transmitted) - lostBefore;
  lostBefore += lost;
  return lost;
}

// ---------------------------------------------------------------------------------------------------- between two veths

/** Taps are made by this; other types take the interfaces there are. */
const portNames = (type) => (type === 'tap' ? ['t0', 't1'] : ['f0', 'f1']);
let attached;

async function attach({ type, spins, offloadFlows }) {
  flowsOf = undefined;
  attached = portNames(type);
  for (const [i, name] of attached.entries()) {
    await datapath.addPort({
      ...{ name, type, number: i + 1, pmd: true },
      ...(spins && { pmdSleepMaxUs: 0 }),
      ...(offloadFlows && { offloadFlows }),
    });
  }
  await settleThreads();
  datapath.flows.put('in_port(1)', '2');
  datapath.flows.put('in_port(2)', '1');
}

async function detach() {
  for (const name of attached) await datapath.deletePort(name);
}

/** Another port, added and deleted; milliseconds. */
async function third({ device, type }) {
  const begin = performance.now();
  const port = await datapath.addPort({ name: device, type, number: 3 });
  const between = performance.now();
  await datapath.deletePort(port);
  return { added: between - begin, deleted: performance.now() - between };
}

function stats() {
  const { ports, drops } = datapath.stats();
  const lost = Object.entries(drops).map(([reason, n]) => [reason, Number(n)]);
  return {
    ring: Number(ports[attached[0]].rxDropped + ports[attached[0]].rxErrors),
    drops: Object.fromEntries(lost),
  };
}

const verbs = { run, sample, details, stop, attach, detach, third, stats };

process.on('message', async ({ call, verb, argument }) => {
  try {
    process.send({ call, result: await verbs[verb](argument) });
  } catch (error) {
    process.send({ call, error: `${error.message}${error.hint ? ` (${error.hint})` : ''}` });
  }
});
process.send('ready');
