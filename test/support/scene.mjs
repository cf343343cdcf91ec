// The process of a scene: see netns.ts.
import assert from 'node:assert/strict';
import * as childProcess from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Host, hasCarrier, ip, linkOf, prepareNamespace, run } from '../../scripts/demo/lab.mjs';

// As users import it, and from dist/: the package refers to itself by name.
const packageUrl = import.meta.resolve('pollux');
const { Datapath, DatapathError } = await import(packageUrl);

process.on('disconnect', () => process.exit());
prepareNamespace();

const hosts = [];
const datapaths = [];
const shells = [];
const dropsAtStart = new WeakMap();
let failure;

async function until(what, condition, limitMs = 5_000) {
  for (const end = Date.now() + limitMs; !(await condition()); await sleep(10)) {
    if (Date.now() > end) assert.fail(`not within ${limitMs} ms: ${what}`);
  }
}

const tools = {
  ...{ Datapath, DatapathError, assert, fs, childProcess, packageUrl, sleep, until, ip, run },
  link: linkOf,

  async host(name, number, options) {
    const host = await Host.start(name, number, options);
    hosts.push(host);
    return host;
  },

  async pair(one, other) {
    await ip(`link add ${one} type veth peer name ${other}`);
    for (const device of [one, other]) await ip(`link set ${device} up`);
    await hasCarrier(one);
  },

  // `ip` without a process for each command: `do()` returns at once, the commands are carried out in turn. `pid`: in the
  // namespace of that process. Errors of `ip` fail the scene.
  ipShell(pid) {
    const enter = pid === undefined ? [] : ['nsenter', `--net=/proc/${pid}/ns/net`];
    const [program, ...args] = [...enter, 'ip', '-batch', '-'];
    const child = childProcess.spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'] });
    child.stderr.on('data', (text) => {
      failure ??= new Error(`ip: ${text}`);
    });
    child.stdin.on('error', () => {});
    shells.push(child);
    return { do: (...lines) => child.stdin.write(lines.map((line) => `${line}\n`).join('')) };
  },

  // Waits for a state of a port.
  async reaches(port, state, limitMs = 10_000) {
    for (const end = Date.now() + limitMs; port.state !== state; await sleep(1)) {
      if (failure) throw failure;
      if (Date.now() > end)
        assert.fail(`${port.name} is ${port.state}, not ${state}, after ${limitMs} ms`);
    }
  },

  descriptors: () => fs.readdirSync('/proc/self/fd').length,

  // Flows first: a frame that the kernel sends on its own right after a port opened finds them.
  async open({ ports = [], ...config } = {}) {
    const datapath = await Datapath.open({ maxIdleMs: 0, ...config });
    datapath.on('error', (error) => {
      failure ??= error;
    });
    datapaths.push(datapath);
    for (const port of ports) await datapath.addPort(port);
    // Such a frame, from the first port before the second is there, is rightly dropped. Every
    // thread has acknowledged the last port by now, so nothing later can be of that kind.
    tools.startCounting(datapath);
    return datapath;
  },

  startCounting: (datapath) => dropsAtStart.set(datapath, datapath.stats().drops),

  // The flows that join two ports.
  crossed: (one, other) => [
    { match: `in_port(${one})`, actions: `${other}` },
    { match: `in_port(${other})`, actions: `${one}` },
  ],

  async expectLedgerCloses(datapath) {
    await datapath.settle();
    let stats;
    const difference = () => {
      stats = datapath.stats();
      const { received, executed, copied, transmitted, dropped, queued } = stats.ledger;
      return received + executed + copied - transmitted - dropped - queued;
    };
    // "At rest": a packet of the kernel's may be under way while we read.
    await until('the ledger closes', () => difference() === 0n, 3_000).catch(() => {});
    assert.equal(difference(), 0n, `the ledger does not close: ${show(stats.ledger)}`);
    const drops = Object.values(stats.drops).reduce((sum, n) => sum + n, 0n);
    assert.equal(drops, stats.ledger.dropped, 'the reasons do not add up to the drops');
    return stats;
  },

  // What was dropped since startCounting(), by reason.
  dropped(datapath, { drops }) {
    const before = dropsAtStart.get(datapath);
    const since = Object.entries(drops).map(([reason, n]) => [reason, n - before[reason]]);
    return Object.fromEntries(since.filter(([, n]) => n > 0n));
  },

  async talk(from, to, { megabytes = 5, family = 4, pings = 20 } = {}) {
    const address = (host) => (family === 6 ? host.ipv6 : host.ipv4);
    const { sent, received } = await from.call('ping', { to: address(to), count: pings });
    assert.equal(received, sent, `ping ${from.name} -> ${to.name}: ${received} of ${sent}`);
    for (const [client, server] of [
      [from, to],
      [to, from],
    ]) {
      const port = await server.call('serve', { family });
      const bytes = megabytes * 1_000_000;
      const result = await client.call('transfer', { to: address(server), port, bytes });
      assert.equal(result.bytes, bytes);
      assert.ok(result.equal, `TCP ${client.name} -> ${server.name}: other bytes arrived`);
    }
  },
};

function show(value) {
  return JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? Number(v) : v));
}

process.once('message', async ({ scene, args }) => {
  let answer;
  try {
    const text = `export default ${scene}`;
    const { default: play } = await import(`data:text/javascript,${encodeURIComponent(text)}`);
    answer = { result: (await play({ ...tools, args })) ?? null };
    for (const datapath of datapaths) await datapath.close();
    if (failure) throw failure;
  } catch (error) {
    const stack = error.stack ?? String(error);
    answer = { error: stack.replace(/data:text\/javascript,.*?(?=:\d+:\d+)/g, 'scene') };
  }
  for (const shell of shells) shell.kill();
  await Promise.all(hosts.map((host) => host.stop()));
  process.send(answer, () => process.exit());
});
