// trace(): the path of a frame is the one that it would take, and taking it down changes nothing.
import type { Datapath, Trace, TraceStep } from 'pollux';
import { describe, expect, test } from 'vitest';
import { failure, makeDatapath, memoryPorts, udpFrame, until } from '../support/datapath.js';

const kUdp = 'in_port(a),eth_type(0x0800),ipv4(proto=17)';

/** Everything that counting could change. Pools may have grown. */
async function everything(dp: Datapath): Promise<unknown> {
  const flows: string[] = [];
  for await (const flow of dp.flows.dump()) flows.push(`${flow.ufid} ${flow}`);
  const { pmds, ...stats } = dp.stats();
  const counted = pmds.map(({ busyPercent, cyclesPerPacket, rxqs, ...pmd }) => pmd);
  return { stats, counted, flows };
}

/** Steps of one stage. */
function only<S extends TraceStep['stage']>(
  trace: Trace,
  stage: S,
): Extract<TraceStep, { stage: S }>[] {
  return trace.steps.filter((step) => step.stage === stage) as Extract<TraceStep, { stage: S }>[];
}

describe('a trace', () => {
  test('says what is found, asked and done, and with what frame', async () => {
    const dp = makeDatapath();
    await memoryPorts(dp, 'a', 'b', 'c');
    dp.flows.put('in_port(a),eth_type(0x0806)', 'c');
    const ufid = dp.flows.put(kUdp, 'set(ipv4(ttl=9)),push_vlan(vid=5,pcp=0),b');
    const trace = dp.trace(udpFrame(3), { inPort: 'a' });

    expect(trace.verdict).toBe('forwarded');
    expect(trace.steps.map(({ stage }) => stage)).toEqual([
      ...['parse', 'cache', 'tuple', 'tuple', 'flow'],
      ...['action', 'action', 'action', 'output'],
    ]);
    expect(only(trace, 'parse')[0]).toMatchObject({
      frame: udpFrame(3),
      match: { inPort: 1, ethType: 0x0800, ipv4: { dst: '10.0.0.2' }, udp: { src: 3, dst: 7 } },
    });
    expect(only(trace, 'tuple').map(({ hit, example }) => [hit, example])).toEqual([
      [false, { inPort: 1, ethType: 0x0806 }],
      [true, { inPort: 1, ethType: 0x0800, ipv4: { proto: 17 } }],
    ]);
    const [flow] = only(trace, 'flow');
    expect(flow).toMatchObject({ ufid, match: dp.flows.get(ufid)!.match });
    expect(flow?.actions).toEqual(dp.flows.get(ufid)!.actions);

    // Each action with the frame before and after: what one leaves, the next one finds.
    const actions = only(trace, 'action');
    expect(actions.map(({ action }) => action.type)).toEqual(['set', 'pushVlan', 'output']);
    const frames = [udpFrame(3), ...actions.map(({ after }) => after)];
    for (const [i, { before }] of actions.entries()) expect(before).toEqual(frames[i]);
    expect(actions[0]?.after?.[22]).toBe(9);
    expect(actions[1]?.after).toHaveLength(64);
    expect(actions[2]?.after).toBeUndefined();
    expect(trace.outputs).toEqual([{ port: 'b', frame: actions[2]?.before }]);
  });

  test('is pleasant to read', async () => {
    const dp = makeDatapath();
    await memoryPorts(dp, 'a', 'b');
    dp.flows.put('in_port(a),eth_type(0x0806)', 'drop');
    const flow = 'recirc_id(0),in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0,proto=17)';
    const actions = 'clone(push_vlan(vid=5,pcp=0),2),set(udp(src=53)),77';
    const ufid = dp.flows.put(flow, actions);
    expect(String(dp.trace(udpFrame(), { inPort: 1 }))).toBe(`\
frame    60 bytes from port 1 (a)
parse    recirc_id(0),in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800),\
ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=0,dst=7)
cache    miss
tuple    recirc_id,in_port,eth_type: miss
tuple    recirc_id,in_port,eth_type,ipv4(dst/255.0.0.0,proto): hit
flow     ufid:${ufid}, ${flow}, actions:${actions}
action   clone(push_vlan(vid=5,pcp=0),2)
action     push_vlan(vid=5,pcp=0) -> vlan(vid=5,pcp=0), 64 bytes
action     2
output       64 bytes to port 2 (b)
action   set(udp(src=53)) -> udp(src=53)
action   77
output     60 bytes to port 77, dropped as invalid_port: there is no such port
verdict  forwarded to b`);
  });

  test('agrees with what then happens, for every kind of action', async () => {
    const lists = [
      'b',
      'drop',
      'b,c',
      'set(eth(dst=02:00:00:00:00:09)),b,set(ipv4(ttl=1)),c',
      'push_vlan(vid=5,pcp=0),b,pop_vlan,c',
      'push_vlan(vid=5,pcp=0),push_vlan(vid=6,pcp=1),b',
      'push_mpls(label=5,tc=0,ttl=64,bos=1,eth_type=0x8847),b',
      'clone(set(ipv4(tos=4)),b),c',
      'trunc(20),b,c',
      'check_pkt_len(size=60,gt(b),le(set(ipv4(ttl=2)),c))',
      'check_pkt_len(size=59,gt(b),le(c))',
      'sample(sample=100%,actions(b)),c',
      'sample(sample=0%,actions(b)),c',
      'sample(sample=0%,actions(b))',
      'hash(l4(0)),recirc(0x9)',
      'push_vlan(vid=5,pcp=0),recirc(0x9)',
      'recirc(0x9),set(ipv4(ttl=3)),c',
      'recirc(0x8)',
      'recirc(0xa)',
      'userspace(pid=1)',
      'b,userspace(pid=1,userdata(0102))',
      '77',
      '77,b',
      'set(skb_mark(0x7)),b',
    ];
    const dp = makeDatapath({ clock: 'manual' });
    const [a, b, c] = await memoryPorts(dp, 'a', 'b', 'c');
    dp.flows.put('recirc_id(0x9),in_port(a)', 'c,b');
    dp.flows.put('recirc_id(0x8),in_port(a)', 'recirc(0x8)');
    for (const handled of [false, true]) {
      dp.onUpcall(handled ? () => {} : null);
      for (const actions of lists) {
        dp.flows.put(kUdp, actions);
        const before = dp.stats();
        const trace = dp.trace(udpFrame(), { inPort: a });
        a.inject(udpFrame());
        await dp.settle();
        await until(() => dp.stats().ledger.queued === 0n, 'the last verdict');
        const after = dp.stats();
        const sent = (name: string) =>
          trace.outputs.filter(({ port }) => port === name).map(({ frame }) => frame);
        expect(sent('b'), actions).toEqual(b.drain());
        expect(sent('c'), actions).toEqual(c.drain());

        const drops: Record<string, bigint> = { ...before.drops };
        const count = (reason: string) => {
          drops[reason] = (drops[reason] ?? 0n) + 1n;
        };
        for (const step of trace.steps) {
          if ('drop' in step && step.drop !== undefined) count(step.drop);
          else if (step.stage === 'upcall') count('upcall_drop'); // As the handler says.
        }
        expect(drops, actions).toEqual(after.drops);
        const verdict =
          trace.outputs.length > 0
            ? 'forwarded'
            : handled && only(trace, 'upcall').length > 0
              ? 'upcall'
              : 'dropped';
        expect(trace.verdict, actions).toBe(verdict);
      }
    }
  });

  test('follows recirculation, pass by pass, and where it has no end', async () => {
    const dp = makeDatapath();
    await memoryPorts(dp, 'a', 'b');
    dp.flows.put(kUdp, 'set(skb_mark(0x3)),recirc(0x1),b');
    dp.flows.put('recirc_id(0x1),in_port(a)', 'recirc(0x1)');
    const trace = dp.trace(udpFrame(), { inPort: 'a' });
    const parses = only(trace, 'parse');
    expect(parses.map(({ pass }) => pass)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(parses[1]?.match).toMatchObject({ recircId: 1, skbMark: 3 });
    expect(only(trace, 'drop').map(({ drop }) => drop)).toEqual(['recirc_error']);
    // The list goes on behind it.
    expect(trace.steps.at(-1)).toMatchObject({ stage: 'output', pass: 0, depth: 1 });
    expect(trace.verdict).toBe('forwarded');
    expect(only(trace, 'action').map(({ depth }) => depth)).toEqual([
      ...[0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
      0,
    ]);
  });

  test('leaves a sample to the numbers that follow from the seed', async () => {
    const dp = makeDatapath();
    await memoryPorts(dp, 'a', 'b');
    dp.flows.put(kUdp, 'sample(sample=30%,actions(b))');
    let sampled = 0;
    for (let seed = 0; seed < 300; seed++) {
      const trace = dp.trace(udpFrame(), { inPort: 'a', seed });
      expect(String(dp.trace(udpFrame(), { inPort: 'a', seed }))).toBe(String(trace));
      const [chance] = only(trace, 'chance');
      expect(chance?.percent).toBeGreaterThanOrEqual(0);
      expect(chance?.percent).toBeLessThan(100);
      const took = trace.outputs.length === 1;
      expect(took).toBe(chance!.percent < 30);
      expect(chance?.text.startsWith(took ? 'sampled: ' : 'not sampled: ')).toBe(true);
      if (took) sampled++;
      else expect(only(trace, 'drop')[0]?.drop).toBe('sample_error');
    }
    expect(sampled).toBeGreaterThan(60);
    expect(sampled).toBeLessThan(120);
  });

  test('sees the cache of the non-PMD context, which its ports share', async () => {
    const dp = makeDatapath({ emcInsertInvProb: 1 });
    await dp.addPort({ name: 'b', type: 'memory' });
    const a = await dp.addPort({ name: 'a', type: 'memory', pmd: false });
    dp.flows.put('in_port(a)', 'b');
    expect(only(dp.trace(udpFrame(), { inPort: a }), 'cache')[0]?.hit).toBe(false);
    a.inject(udpFrame());
    await dp.settle();
    const trace = dp.trace(udpFrame(), { inPort: a });
    expect(only(trace, 'cache')[0]?.hit).toBe(true);
    expect(only(trace, 'tuple')).toEqual([]);
    expect(trace.verdict).toBe('forwarded');
    dp.flows.put('in_port(a)', 'drop');
    expect(dp.trace(udpFrame(), { inPort: a }).verdict).toBe('dropped');
  });

  test('knows what a port would refuse', async () => {
    const dp = makeDatapath();
    const [a] = await memoryPorts(dp, 'a');
    await dp.addPort({ name: 'b', type: 'memory', mtu: 100 });
    dp.flows.put('in_port(a)', 'b');
    const reason = (frame: Buffer) =>
      only(dp.trace(frame, { inPort: 'a' }), 'output').map(({ drop }) => drop);
    for (let size = 110; size < 130; size++) {
      const before = dp.stats().drops.tx_mtu_exceeded!;
      a.inject(udpFrame(0, size));
      await dp.settle();
      const refused = dp.stats().drops.tx_mtu_exceeded! > before;
      expect(reason(udpFrame(0, size))).toEqual([refused ? 'tx_mtu_exceeded' : undefined]);
    }
    expect(dp.stats().drops.tx_mtu_exceeded).toBeGreaterThan(0n);
    dp.flows.put('in_port(a)', 'pop_eth,b');
    expect(reason(udpFrame())).toEqual(['tx_packet_type']);
  });

  test('asks the program, if there is one to ask', async () => {
    const dp = makeDatapath();
    await memoryPorts(dp, 'a');
    const miss = () => dp.trace(udpFrame(), { inPort: 'a' });
    expect(miss()).toMatchObject({ verdict: 'dropped', outputs: [] });
    expect(only(miss(), 'upcall')[0]).toMatchObject({ reason: 'miss', drop: 'upcall_no_handler' });
    dp.onUpcall(() => {
      throw new Error('nobody asked');
    });
    expect(miss().verdict).toBe('upcall');
    expect(only(miss(), 'upcall')[0]).toMatchObject({ reason: 'miss', drop: undefined });
  });
});

test('nothing is sent, cached, parked or counted', async () => {
  const dp = makeDatapath({ clock: 'manual', emcInsertInvProb: 1 });
  const [, b] = await memoryPorts(dp, 'a', 'b');
  dp.onUpcall(() => {
    throw new Error('nobody asked');
  });
  dp.flows.put(kUdp, 'clone(push_vlan(vid=1,pcp=0),b),sample(sample=50%,actions(b)),recirc(0x1)');
  dp.flows.put(`recirc_id(0x1),${kUdp}`, 'b,userspace(pid=1),77,set(ipv4(ttl=1))');
  await dp.settle();
  const before = await everything(dp);
  for (let seed = 0; seed < 100; seed++) {
    dp.trace(udpFrame(seed), { inPort: 'a', seed });
    dp.trace(Buffer.alloc(14), { inPort: 'b' });
  }
  expect(await everything(dp)).toEqual(before);
  expect(only(dp.trace(udpFrame(), { inPort: 'a' }), 'cache').some(({ hit }) => hit)).toBe(false);
  expect(b.drain()).toEqual([]);
});

test('any frame can be traced', async () => {
  const dp = makeDatapath();
  await memoryPorts(dp, 'a', 'b');
  dp.flows.put('in_port(a)', 'set(eth(src=02:00:00:00:00:07)),push_vlan(vid=1,pcp=0),b');
  let random = 1;
  const next = () => {
    random = (random * 1103515245 + 12345) % 2147483648;
    return random / 2147483648;
  };
  const types = [0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x8847, 0x894f, 0x0005];
  for (let i = 0; i < 2000; i++) {
    const frame = Buffer.from(
      Array.from({ length: 14 + Math.floor(next() * 120) }, () => next() * 256),
    );
    frame.writeUInt16BE(types[i % types.length]!, 12);
    if (frame.length > 20) frame[14] = i % 3 === 0 ? 0x60 : 0x45;
    const trace = dp.trace(frame, { inPort: 'a' });
    // The flow is for frames without a tag.
    const tagged = frame.length >= 18 && [0x8100, 0x88a8].includes(frame.readUInt16BE(12));
    expect(trace.verdict, frame.toString('hex')).toBe(tagged ? 'dropped' : 'forwarded');
    expect(trace.toString().split('\n')).toHaveLength(trace.steps.length + 2);
  }
});

test('what cannot be traced is refused', async () => {
  const dp = makeDatapath();
  await memoryPorts(dp, 'a');
  const cases: [code: string, call: () => unknown][] = [
    ['EINVAL', () => dp.trace(Buffer.alloc(13), { inPort: 'a' })],
    ['EINVAL', () => dp.trace(Buffer.alloc(65_536), { inPort: 'a' })],
    ['EINVAL', () => dp.trace('frame' as never, { inPort: 'a' })],
    ['EINVAL', () => dp.trace(udpFrame(), undefined as never)],
    ['EINVAL', () => dp.trace(udpFrame(), {} as never)],
    ['EINVAL', () => dp.trace(udpFrame(), { inPort: 'a', seed: -1 })],
    ['EINVAL', () => dp.trace(udpFrame(), { inPort: 'a', sed: 1 } as never)],
    ['ENODEV', () => dp.trace(udpFrame(), { inPort: 'nosuch' })],
  ];
  for (const [code, call] of cases) await failure(code, call);
});
