// Flows as text by the thousand: what the core reads by example means what the flow language says, and what is wrong
// is told as for one flow alone.
import fc from 'fast-check';
import { type Datapath, type FlowMatch, formatMatch, parseMatch } from 'pollux';
import { describe, expect, test } from 'vitest';
import { failure, makeDatapath, memoryPorts } from '../../support/datapath.js';

/** The same flows by the long way: one by one, typed. */
function ufidsOf(dp: Datapath, texts: readonly string[]): string[] {
  return texts.map((text) => {
    const ufid = dp.flows.put(parseMatch(text) as FlowMatch, 'drop');
    dp.flows.delete(ufid);
    return ufid;
  });
}

function applied(dp: Datapath, texts: readonly string[]): readonly unknown[] {
  const puts = texts.map((match) => ({ put: { match, actions: 'drop' } }));
  const ufids = dp.flows.apply(puts);
  const found = dp.flows.apply(texts.map((match) => ({ delete: match })));
  expect(found.filter((one) => one === true)).toHaveLength(new Set(ufids).size);
  return ufids;
}

const u8 = fc.integer({ min: 0, max: 255 });
const u16 = fc.integer({ min: 0, max: 65_535 });
const number = (max: number) =>
  fc
    .tuple(fc.integer({ min: 0, max }), fc.boolean())
    .map(([n, hex]) => (hex ? `0x${n.toString(16)}` : `${n}`));
const mac = fc
  .array(u8, { minLength: 6, maxLength: 6 })
  .map((bytes) => bytes.map((b) => b.toString(16)).join(':'));
const ipv4 = fc.array(u8, { minLength: 4, maxLength: 4 }).map((bytes) => bytes.join('.'));
const ipv6 = fc
  .tuple(fc.array(u16, { minLength: 8, maxLength: 8 }), u8, u8)
  .map(([words, from, size]) => {
    const text = words.map((word) => word.toString(16));
    const start = from % 8;
    const end = Math.min(8, start + (size % 5));
    if (end === start) return text.join(':');
    return `${text.slice(0, start).join(':')}::${text.slice(end).join(':')}`;
  });
const masked = (value: fc.Arbitrary<string>, ...masks: string[]) =>
  fc
    .tuple(value, fc.constantFrom('', ...masks.map((mask) => `/${mask}`)))
    .map((parts) => parts.join(''));
const port16 = masked(number(65_535), '0xff00', '0xffff', '0');

const head = fc
  .tuple(
    number(65_535),
    fc.option(number(0xffff_ffff)),
    fc.option(number(0xffff_ffff)),
    fc.option(masked(mac, 'ff:ff:ff:00:00:00')),
  )
  .map(([port, mark, recirc, src]) =>
    [
      recirc === null ? '' : `recirc_id(${recirc}),`,
      mark === null ? '' : `skb_mark(${mark}/0xffff),`,
      `in_port(${port})`,
      src === null ? '' : `,eth(src=${src})`,
    ].join(''),
  );
const l4 = fc.constantFrom('tcp', 'udp', 'sctp');
const protos: Record<string, number> = { tcp: 6, udp: 17, sctp: 132 };
const overIpv4 = fc
  .tuple(
    masked(ipv4, '8', '255.255.0.0', '0.255.0.0'),
    masked(ipv4, '24'),
    number(255),
    l4,
    port16,
    number(65_535),
  )
  .map(
    ([src, dst, ttl, name, from, to]) =>
      `eth_type(0x0800),ipv4(src=${src},dst=${dst},proto=${protos[name]},ttl=${ttl},frag=no),${name}(src=${from},dst=${to})`,
  );
const overIpv6 = fc
  .tuple(masked(ipv6, '64', 'ffff::ffff'), ipv6, number(255), number(255))
  .map(
    ([src, dst, tclass, hlimit]) =>
      `eth_type(0x86dd),ipv6(src=${src},dst=${dst},tclass=${tclass},hlimit=${hlimit})`,
  );
const arp = fc
  .tuple(ipv4, masked(ipv4, '16'), mac)
  .map(([sip, tip, sha]) => `eth_type(0x0806),arp(sip=${sip},tip=${tip},op=1,sha=${sha})`);
const behind = fc.oneof(overIpv4, overIpv6, arp);
const text = fc
  .tuple(head, fc.option(behind), fc.boolean(), u16)
  .map(([first, rest, tagged, vid]) => {
    if (rest === null) return first;
    return tagged
      ? `${first},eth_type(0x8100),vlan(vid=${vid & 4095},pcp=0),encap(${rest})`
      : `${first},${rest}`;
  });

describe('texts that come by the thousand', () => {
  test('mean what they mean one by one', () => {
    const dp = makeDatapath({ maxIdleMs: 0 });
    const plain = makeDatapath({ maxIdleMs: 0 });
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 60 }), (texts) => {
        const usable = texts.filter((_, i) => i < 60);
        // Flows of one port must not overlap: one after the other, like the long way.
        const fast = usable.map((one) => applied(dp, [one])[0]);
        expect(fast).toEqual(ufidsOf(plain, usable));
        // By now each has been an example.
        expect(usable.map((one) => applied(dp, [one])[0])).toEqual(fast);
      }),
      { numRuns: 60 },
    );
  });

  test('in one call, with texts between them that are like no other', () => {
    const dp = makeDatapath({ maxIdleMs: 0 });
    const texts = Array.from({ length: 5_000 }, (_, i) =>
      i % 7 === 0
        ? `in_port(${1 + (i >> 12)}),skb_priority(${i}),eth_type(0x0800),ipv4(src=10.0.0.${i & 255}/${8 + (i % 25)})`
        : `in_port(${100 + (i % 3)}),eth_type(0x0800),ipv4(src=10.1.${i >> 8}.${i & 255},proto=17),udp(dst=${i})`,
    );
    const exact = texts.filter((one) => !one.includes('/'));
    expect(applied(dp, exact)).toEqual(ufidsOf(makeDatapath(), exact));
    for (const one of texts.filter((one) => one.includes('/'))) {
      expect(applied(dp, [one])).toEqual(ufidsOf(makeDatapathOnce(), [one]));
    }
  });

  let once: Datapath | undefined;
  const makeDatapathOnce = () => {
    if (once === undefined || once.state !== 'open') once = makeDatapath();
    return once;
  };

  test('and are shown as what they are', async () => {
    const dp = makeDatapath({ maxIdleMs: 0 });
    const texts = Array.from(
      { length: 300 },
      (_, i) =>
        `recirc_id(0),in_port(7),eth_type(0x0800),ipv4(src=10.0.${i >> 8}.${i & 255},proto=6,frag=no),tcp(dst=${i})`,
    );
    dp.flows.apply(texts.map((match) => ({ put: { match, actions: '2,3' } })));
    const shown: string[] = [];
    for await (const flow of dp.flows.dump()) shown.push(formatMatch(flow.match));
    expect(shown.toSorted()).toEqual(texts.map((one) => formatMatch(one)).toSorted());
  });

  test('the first that is wrong is told of, where it is wrong, and nothing is done', async () => {
    const dp = makeDatapath({ maxIdleMs: 0 });
    const good = Array.from({ length: 2_000 }, (_, i) => ({
      put: {
        match: `in_port(1),eth_type(0x0800),ipv4(src=10.0.${i >> 8}.${i & 255})`,
        actions: '2',
      },
    }));
    const wrong = 'in_port(1),eth_type(0x0800),ipv4(src=10.0.0.256)';
    const alone = await failure('EINVAL', () => dp.flows.put(wrong, '2'));
    const tries: [number, unknown][] = [
      [0, { put: { match: wrong, actions: '2' } }],
      [999, { put: { match: wrong, actions: '2' } }],
      [1_999, { delete: wrong }],
    ];
    for (const [place, change] of tries) {
      const changes = [...good.slice(0, place), change, ...good.slice(place)] as typeof good;
      // What is wrong with later ones is not told, whatever it is.
      for (const later of [{}, null, { put: { match: 'in_port(', actions: '2' } }]) {
        const error = await failure('EINVAL', () => dp.flows.apply([...changes, later as never]));
        expect(error).toMatchObject({
          message: alone.message,
          position: alone.position,
          hint: alone.hint,
        });
      }
      expect(dp.flows.size).toBe(0);
    }
    const actions = await failure('EINVAL', () =>
      dp.flows.apply([
        ...good,
        { put: { match: 'in_port(1)', actions: '2,x(' } },
        { delete: wrong },
      ]),
    );
    expect(actions.message).toContain('bad actions');
    const both = await failure('EINVAL', () =>
      dp.flows.apply([...good, { put: { match: wrong, actions: 'x(' } }]),
    );
    expect(both.message).toBe(alone.message);
    expect(dp.flows.size).toBe(0);
  });

  test('names of ports are looked up each time, in matches and actions', async () => {
    const dp = makeDatapath({ maxIdleMs: 0 });
    const [a] = await memoryPorts(dp, 'a', 'b');
    const put = () => dp.flows.apply([{ put: { match: 'in_port(a)', actions: 'b,drops' } }]);
    const error = await failure('ENODEV', put);
    expect(error.position).toBe(2);
    dp.flows.apply([{ put: { match: 'in_port(a)', actions: 'b' } }]);
    expect(dp.flows.get('in_port(1)')?.actions).toEqual([{ type: 'output', port: 2 }]);
    await dp.renumberPort('b', 9);
    await dp.renumberPort(a, 8);
    dp.flows.clear();
    dp.flows.apply([{ put: { match: 'in_port(a)', actions: 'b' } }]);
    expect(dp.flows.get('in_port(8)')?.actions).toEqual([{ type: 'output', port: 9 }]);
  });

  test('what is not ASCII is read like everything else', async () => {
    const dp = makeDatapath({ maxIdleMs: 0 });
    await memoryPorts(dp, 'größe', '端口');
    const changes = [
      { put: { match: 'in_port(5)', actions: '端口' } },
      { put: { match: 'in_port(größe)', actions: '端口' } },
      { put: { match: 'in_port(6)', actions: '1' } },
      { put: { match: 'in_port(端口)', actions: 'größe' } },
    ];
    for (let i = 0; i < 3; i++) dp.flows.apply(changes);
    expect(dp.flows.size).toBe(4);
    expect(dp.flows.get('in_port(2)')?.actions).toEqual([{ type: 'output', port: 1 }]);
    const error = await failure('ENODEV', () =>
      dp.flows.apply([...changes, { put: { match: 'in_port(７)', actions: '1' } }]),
    );
    expect(error.position).toBe(8);
  });

  test('with ufids in front, of puts and of deletions', () => {
    const dp = makeDatapath({ maxIdleMs: 0 });
    const ufid = (i: number) => `00000000-0000-0000-0000-${String(i).padStart(12, '0')}`;
    const puts = Array.from({ length: 100 }, (_, i) => ({
      put: { match: `ufid:${ufid(i)},in_port(${i + 1})`, actions: '2' },
    }));
    expect(dp.flows.apply(puts)).toEqual(puts.map((_, i) => ufid(i)));
    const deletions = puts.map((_, i) => ({
      delete: i % 2 === 0 ? ` ${ufid(i)} ` : `ufid:${ufid(i)},in_port(1)`,
    }));
    expect(dp.flows.apply(deletions)).toEqual(puts.map(() => true));
    // Given twice, the one of the call counts.
    dp.flows.put(`ufid:${ufid(1)},in_port(1)`, '2', { ufid: ufid(2) });
    expect(dp.flows.get('in_port(1)')?.ufid).toBe(ufid(2));
  });
});
