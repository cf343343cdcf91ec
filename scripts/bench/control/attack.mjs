// Tuple space explosion: 10,000 packets a second with random addresses and ports come in among those of established flows, and
// a program that answers as an access list would, with the widest flow that is right, fills the port's classifier with masks.
import { setTimeout as sleep } from 'node:timers/promises';
import { fiveTuple } from '../rows.mjs';
import { Series } from '../series.mjs';
import { Loop } from './loop.mjs';

/** A list that lets one host, one peer and two ports in: what a stranger differs in first decides how wide its flow may be. */
const allowed = { src: 0x0a000001, dst: 0x0a000002, sport: 0x4123, dport: 80 };

const attackRate = 10_000;

const ip = (x) => [24, 16, 8, 0].map((shift) => (x >>> shift) & 255).join('.');

/** [value, mask] of the shortest prefix that tells `value` from `other`. */
function prefix(value, other, width) {
  const differs = Math.clz32((value ^ other) << (32 - width));
  const length = Math.min(width, differs + 1);
  const mask = ((0xffffffff << (32 - length)) >>> (32 - width)) >>> 0;
  return [(value & mask) >>> 0, mask];
}

function dropFlow(frame) {
  const src = prefix(frame.readUInt32BE(26), allowed.src, 32);
  const dst = prefix(frame.readUInt32BE(30), allowed.dst, 32);
  const sport = prefix(frame.readUInt16BE(34), allowed.sport, 16);
  const dport = prefix(frame.readUInt16BE(36), allowed.dport, 16);
  const word = ([value, mask]) => `${ip(value)}/${ip(mask)}`;
  const half = ([value, mask]) => `0x${value.toString(16)}/0x${mask.toString(16)}`;
  return `in_port(1),eth_type(0x0800),ipv4(src=${word(src)},dst=${word(dst)},proto=17,frag=no),udp(src=${half(sport)},dst=${half(dport)})`;
}

async function attacked(bench, flows) {
  const loop = await Loop.open(bench.cores);
  const { datapath } = loop;
  await loop.sink('to', 2);
  datapath.onUpcall((batch) => {
    for (const packet of batch) packet.install('drop', { match: dropFlow(packet.frame) });
  });
  datapath.on('error', () => {}); // Two answers for the same flow.

  const peace = { flows, order: 'uniform' };
  const masks = () => datapath.stats().flows.masks;
  /** The rate of the source, once there are so many masks. */
  const measure = async (generate, wanted) => {
    await loop.source('from', 1, generate);
    await sleep(300);
    for (let i = 0; i < 200 && masks() < wanted; i++) await sleep(50);
    const rate = await loop.rate('from', bench.windowMs);
    await datapath.deletePort('from');
    return rate;
  };
  const share = new Series();
  let most = 0;
  for (let round = 0; round < bench.rounds; round++) {
    datapath.flows.clear();
    datapath.flows.put(fiveTuple(1), '2');
    const calm = await measure(peace, 1);
    const strangerEvery = Math.round((calm * 1e6) / attackRate);
    share.add((await measure({ ...peace, strangerEvery }, 501)) / calm);
    most = Math.max(most, masks());
  }
  const what = `${flows.toLocaleString('en')} established five-tuples under attack`;
  bench.row(`${what}: share of their rate without`, '', share.summary(), {
    ...{ masks: most, void: most < 500 ? `only ${most} masks came about` : undefined },
  });
  await loop.close();
}

export async function attack(bench) {
  for (const flows of [1_000, 100_000]) await attacked(bench, flows);
}
