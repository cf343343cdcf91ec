// The process that forwards between f0 and f1 with Pollux, in its parent's namespace: two af_packet ports, one PMD thread,
// two flows. It does what veth.mjs asks for, and ends when that does.
import { Datapath } from '../../dist/index.js';

const core = Number(process.argv[2]);
const datapath = new Datapath({ pmdCpus: [core], maxIdleMs: 0 });

process.on('disconnect', () => process.exit());
process.on('SIGINT', () => {}); // for the parent

const verbs = {
  async attach() {
    await datapath.addPort({ name: 'f0', type: 'af_packet', number: 1 });
    await datapath.addPort({ name: 'f1', type: 'af_packet', number: 2 });
    datapath.flows.put('in_port(1)', '2');
    datapath.flows.put('in_port(2)', '1');
  },
  async detach() {
    await datapath.deletePort('f0');
    await datapath.deletePort('f1');
  },
  stats() {
    const { ports, drops } = datapath.stats();
    const lost = Object.entries(drops).map(([reason, n]) => [reason, Number(n)]);
    return {
      rx: Number(ports.f0.rxPackets),
      ring: Number(ports.f0.rxDropped + ports.f0.rxErrors),
      tx: Number(ports.f1.txPackets),
      drops: Object.fromEntries(lost),
    };
  },
};

process.on('message', async ({ call, verb }) => {
  try {
    process.send({ call, result: await verbs[verb]() });
  } catch (error) {
    process.send({ call, error: `${error.message}${error.hint ? ` (${error.hint})` : ''}` });
  }
});
process.send('ready');
