// What control.mjs measures of Pollux, of Open vSwitch: flows into the datapath, upcalls, ports.
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ranNs, rateBetween } from './processes.mjs';
import { datapathFlows, rows as memoryRows } from './rows.mjs';
import { Series } from './series.mjs';

async function timed(action) {
  const begin = performance.now();
  await action();
  return performance.now() - begin;
}

/** Thousands of flows a second by one `dpctl/add-flows`, with the PMD thread at full speed. */
async function flows({ ovs, ports, traffic }, rounds) {
  const count = 20_000;
  const [from, to] = ports;
  const file = `${ovs.dir}/flows`;
  const each = memoryRows.get('each/1/100000/64/uniform');
  // Of a port that nothing comes in at; the rule behind them agrees with them.
  await ovs.setRules(['in_port=1,actions=output:2', 'in_port=2,actions=output:1']);
  traffic.run(memoryRows.get('port/1/1/64/uniform'));
  const lines = [...datapathFlows(each, to, from)].slice(0, count).map((words) => words.join(' '));
  writeFileSync(file, lines.join('\n'));
  const rates = new Series();
  const { pid } = ovs.daemon;
  for (let round = 0; round < rounds; round++) {
    const before = ranNs(pid, pid);
    await ovs.appctl('dpctl/add-flows', file);
    rates.add((count * 1e6) / (ranNs(pid, pid) - before)); // Of the time of its main thread.
    await ovs.appctl('dpctl/del-flows');
    await sleep(200);
  }
  await traffic.stop();
  const row = { unit: 'thousand/s', ...rates.summary(), by: 'dpctl/add-flows' };
  return ['apply(), flows as text', 'apply(), flows as objects'].map((what) => ({ what, ...row }));
}

/** A rule that gives every five-tuple a flow of its own. */
const exact =
  'in_port=1,udp,actions=multipath(symmetric_l3l4+udp,0,modulo_n,1,0,NXM_NX_REG0[]),output:2';

/** Thousands of new five-tuples a second that get a flow each, by the processor time that one takes of the PMD thread. */
async function upcalls({ ovs, traffic }, rounds) {
  const flows = 8_000;
  const rates = new Series();
  await ovs.set(['pmd-perf-metrics=true']);
  for (let round = 0; round < rounds; round++) {
    await ovs.setRules([exact]);
    await sleep(500);
    await ovs.appctl('dpif-netdev/pmd-stats-clear');
    traffic.run({ size: 60, flows, masks: 1, order: 'turn' });
    await sleep(1_500);
    await traffic.stop();
    const text = await ovs.appctl('dpif-netdev/pmd-perf-show');
    const us = Number(text.match(/Upcalls:.*?([\d.]+) us\/upcall/)?.[1]);
    if (us > 0) rates.add(1e3 / us);
  }
  await ovs.set(['pmd-perf-metrics=false']);
  const how = { flows, by: 'time of the PMD thread' };
  return {
    what: 'new five-tuples to flows in force',
    unit: 'thousand/s',
    ...rates.summary(),
    ...how,
  };
}

/** 50,000 new five-tuples at full speed: million packets a second, three seconds after the first. */
async function flood({ ovs, traffic }, rounds) {
  const rates = new Series();
  for (let round = 0; round < Math.min(3, rounds); round++) {
    await ovs.setRules([exact]);
    await sleep(500);
    traffic.run({ size: 60, flows: 50_000, masks: 1, order: 'turn' });
    await sleep(3_000);
    const sample = () => ({ packets: traffic.written, ns: ovs.ranNs(), at: performance.now() });
    const before = sample();
    await sleep(500);
    rates.add(rateBetween(before, sample()).mpps);
    await traffic.stop();
  }
  return {
    what: '50,000 new five-tuples at full speed, 3 s later',
    unit: 'Mpps',
    ...rates.summary(),
  };
}

/** Milliseconds for adding and deleting a null port, as the tool takes; and what the tool takes to do nothing. */
async function ports({ ovs }, rounds) {
  const added = new Series();
  const deleted = new Series();
  const nothing = new Series();
  for (let i = 0; i < 2 * rounds; i++) {
    nothing.add(await timed(() => ovs.vsctl('get', 'Open_vSwitch', '.', '_uuid')));
    const third = ['add-port', 'br0', 'third', '--', 'set', 'interface', 'third', 'type=dpdk'];
    const device = `options:dpdk-devargs=net_null${100 + i}`;
    added.add(await timed(() => ovs.vsctl(...third, device)));
    deleted.add(await timed(() => ovs.vsctl('del-port', 'br0', 'third')));
  }
  const toolMs = nothing.summary().median;
  return [
    {
      what: 'addPort() memory, at rest',
      unit: 'ms',
      ...added.summary(),
      by: 'ovs-vsctl, null port',
      toolMs,
    },
    {
      what: 'deletePort() memory, at rest',
      unit: 'ms',
      ...deleted.summary(),
      by: 'ovs-vsctl, null port',
      toolMs,
    },
  ];
}

/** Rows of an OvsDpdk that is not in use otherwise. */
export async function ovsControl(dpdk, rounds) {
  dpdk.resume();
  await dpdk.setCache('emc');
  const rows = [
    ...(await flows(dpdk, rounds)),
    await upcalls(dpdk, rounds),
    await flood(dpdk, rounds),
    ...(await ports(dpdk, rounds)),
  ];
  dpdk.suspend();
  return rows.map((row) => ({ bench: 'control', name: 'OVS', ...row }));
}
