// What leaves by a port leaves in the order in which it came, whatever flows it belongs to and whatever they do.
import { describe, expect, test } from 'vitest';
import { makeDatapath, memoryPorts, udpFrame } from '../../support/datapath.js';

/** 64 frames of several flows in no regular turn, each with its number in its last byte. */
function frames(): Buffer[] {
  return Array.from({ length: 64 }, (_, n) => {
    const frame = udpFrame([0, 1, 0, 2, 1, 1, 2][n % 7]!, 60 + (n % 3) * 50);
    frame[frame.length - 1] = n;
    frame[22] = n % 5 === 0 ? 1 : 64; // time to live
    frame.writeUInt16BE(0, 24);
    return frame;
  });
}

describe('order of arrival', () => {
  test.each([
    ['30,31'],
    ['set(ipv4(ttl=9)),30'],
    ['set(ipv4(ttl=9)),31,30'],
    ['push_vlan(vid=5,pcp=0),30,31'],
    ['30,30'],
    ['clone(set(ipv4(ttl=3)),30),31'],
    ['clone(30),30'],
    ['dec_ttl(le_1(30)),30'],
    ['check_pkt_len(size=100,gt(30),le(31,30))'],
    ['sample(sample=50.0%,actions(30)),31,30'],
    ['trunc(50),30,31'],
    ['recirc(0x1)'],
    ['30,recirc(0x1)'],
  ])('%s', async (actions) => {
    const dp = makeDatapath();
    const [from] = await memoryPorts(dp, 'in');
    const outputs = await Promise.all(
      [30, 31].map((number) => dp.addPort({ name: `out${number}`, type: 'memory', number })),
    );
    const flow = 'eth_type(0x0800),ipv4(proto=17,frag=no)';
    // One of them only outputs, one does as the test says, and one changes what it outputs.
    for (const [source, what] of [
      [0, '30,31'],
      [1, actions],
      [2, 'set(ipv4(ttl=7)),31,30'],
    ]) {
      dp.flows.put(`in_port(${from.number}),${flow},udp(src=${source})`, `${what}`);
    }
    for (const source of [0, 1, 2]) {
      const match = `recirc_id(0x1),in_port(${from.number}),${flow},udp(src=${source})`;
      dp.flows.put(match, 'set(ipv4(ttl=5)),31,30');
    }
    const all = frames();
    // trunc cuts the number off.
    const last = (frame: Buffer) => frame[frame.length - 1]!;
    from.inject(all);
    await dp.settle();
    for (const port of outputs) {
      const left = port.drain().map(last);
      expect(left.length).toBeGreaterThan(20);
      if (actions.startsWith('trunc')) continue;
      expect(left, port.name).toEqual([...left].sort((a, b) => a - b));
    }
  });
});
