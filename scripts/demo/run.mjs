// The demo itself. Runs in the namespace in the middle (or anywhere, on memory ports); demo.mjs starts it.
import { readFileSync } from 'node:fs';
import { Datapath } from '../../dist/index.js';
import { Churn } from './churn.mjs';
import { memoryTraffic } from './memory-traffic.mjs';
import { Panel, summary } from './report.mjs';
import { vethTraffic } from './veth-traffic.mjs';

const [kind, seconds] = process.argv.slice(2);
const traffic = { veth: vethTraffic, memory: memoryTraffic }[kind]();
const panel = new Panel();
let datapath;

async function cleanUp() {
  await datapath?.close();
  await traffic.close();
}

let stopping = false;
async function stop(code) {
  if (stopping) return;
  stopping = true;
  panel.end();
  console.log('Stopped; cleaning up.');
  setTimeout(() => process.exit(code), 3_000);
  await cleanUp().catch(() => {});
  process.exit(code);
}
process.on('SIGTERM', () => stop(143));
process.on('SIGINT', () => stop(130));
process.on('disconnect', () => stop(1)); // demo.mjs is no more

/** Cores we may run on, from "0-2,5". */
function allowedCores() {
  const list = readFileSync('/proc/self/status', 'utf8').match(/^Cpus_allowed_list:\s*(\S+)/m)[1];
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

async function demo() {
  const cores = allowedCores();
  console.log(traffic.picture);
  const before = await traffic.prepare();
  if (before) console.log(before);

  // The two ports, and a flow from each to the other: whatever comes in at 1 goes out at 2. A match without vlan() is for
  // untagged packets; one without eth_type() for all of those: ARP, IPv4, IPv6.
  datapath = await Datapath.open({
    name: 'demo',
    pmdCpus: [cores[0]],
    maxIdleMs: 0,
    ports: [
      { ...traffic.left, number: 1 },
      { ...traffic.right, number: 2 },
    ],
    flows: [
      { match: 'in_port(1)', actions: '2' },
      { match: 'in_port(2)', actions: '1' },
    ],
  });
  datapath.on('error', (error) => console.error(error));

  const cpu = process.cpuUsage();
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1000;
  await traffic.start(datapath);
  const churn = new Churn(datapath, cores, traffic.spareDevices);
  panel.start(() => ({ seconds: elapsed(), ...traffic.progress(), churn: churn.counts }));

  const limitMs = 60_000 + Number(seconds) * 1_000;
  await churn.run({ done: () => elapsed() >= Number(seconds), limitMs });
  const carried = await traffic.finish();
  await datapath.settle();
  const stats = datapath.stats();
  const { user, system } = process.cpuUsage(cpu);
  const coresUsed = (user + system) / 1e6 / elapsed();
  panel.end();

  const { text, ok } = summary({ kind, seconds: elapsed(), carried, churn, stats, coresUsed });
  console.log(text);
  await cleanUp();
  return ok;
}

try {
  const ok = await demo();
  if (!stopping) process.exit(ok ? 0 : 1);
} catch (error) {
  if (!stopping) {
    panel.end();
    console.error(error);
    await Promise.race([cleanUp().catch(() => {}), new Promise((r) => setTimeout(r, 3_000))]);
    process.exit(1);
  }
}
