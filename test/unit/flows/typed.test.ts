// Typed matches by the thousand: what goes by a plan means what it means by itself.
import { inspect } from 'node:util';
import fc from 'fast-check';
import { type FlowMatch, formatMatch } from 'pollux';
import { describe, expect, test } from 'vitest';
import { addon } from '../../../src/binding.js';
import { encodeMatch, MatchPlan } from '../../../src/odp/index.js';
import { makeDatapath } from '../../support/datapath.js';
import { anyMatch } from '../odp/match-samples.js';
import { noNames } from '../odp/refusals.js';

const learn = (match: FlowMatch) => MatchPlan.learn(match, noNames, addon.freeBytes);

/** Other values for what is a number or an address, here and there. */
function varied(match: Record<string, unknown>, random: () => number): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(match).map(([key, value]) => {
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
        return [key, varied(value as Record<string, unknown>, random)];
      }
      if (random() < 0.5) return [key, value];
      if (typeof value === 'number')
        return [key, Math.floor(random() * (value < 256 ? 300 : 70_000))];
      if (typeof value !== 'string') return [key, value];
      return [
        key,
        value.replace(/[0-9a-f]/, (digit) =>
          random() < 0.9 ? String((Number.parseInt(digit, 16) + 1) % 8) : 'g',
        ),
      ];
    }),
  );
}

const outcome = (run: () => unknown) => {
  try {
    return run();
  } catch (error) {
    return error;
  }
};

test('a plan writes what the general way encodes, or nothing', () => {
  let written = 0;
  fc.assert(
    fc.property(
      anyMatch,
      fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
      (any, stream) => {
        // Lists, and what is nested deeper, have no plans.
        const { tunnel: _, mpls: __, ...match } = any;
        const random = () => stream.next().value as number;
        const { encoded, plan } = learn(match);
        expect(encoded).toEqual(encodeMatch(match, noNames));
        if (plan === undefined) return;
        for (const other of [
          match,
          ...Array.from({ length: 5 }, () => varied(match as never, random)),
        ]) {
          const candidate = other as FlowMatch;
          if (!plan.write(candidate)) continue;
          written++;
          const whole = Buffer.from(plan.bytes);
          const key = whole.subarray(0, plan.keySize);
          const expected = outcome(() => encodeMatch(candidate, noNames)) as typeof encoded;
          expect(expected, inspect(other)).not.toBeInstanceOf(Error);
          expect(whole.subarray(plan.keySize)).toEqual(expected.mask);
          // Bits that the mask does not look at may differ.
          const matched = (bytes: Uint8Array) =>
            bytes.map((byte, i) => byte & (expected.mask[i] ?? 0));
          expect(matched(key)).toEqual(matched(expected.key));
        }
      },
    ),
    { numRuns: 400 },
  );
  expect(written).toBeGreaterThan(400);
});

describe('flows of one kind, typed', () => {
  const typed = (i: number) => ({
    inPort: 1 + (i % 3),
    eth: { src: `02:00:00:00:${(i >> 8).toString(16)}:${(i & 255).toString(16)}` },
    ethType: 0x0800,
    ipv4: { src: `10.1.${i >> 8}.${i & 255}`, dst: '10.0.0.0/8', proto: 17, ttl: i & 255 },
    udp: { src: i, dst: 0xffff - i },
  });

  test('are the flows that their texts are', () => {
    const dp = makeDatapath({ maxIdleMs: 0 });
    const all = Array.from({ length: 3_000 }, (_, i) => typed(i));
    const actions = [{ type: 'output', port: 2 }] as const;
    const ufids = dp.flows.apply(all.map((match) => ({ put: { match, actions } })));
    const texts = all.map((match) => formatMatch(match));
    expect(dp.flows.apply(texts.map((match) => ({ put: { match, actions: '2' } })))).toEqual(ufids);
    expect(dp.flows.size).toBe(3_000);
    expect(dp.flows.apply(all.map((match) => ({ delete: match })))).toEqual(ufids.map(() => true));
  });

  test('what is wrong with one of them is told as of one alone', () => {
    const dp = makeDatapath();
    const good = Array.from({ length: 20 }, (_, i) => ({ put: { match: typed(i), actions: [] } }));
    const base = typed(7);
    const wrong: unknown[] = [
      { ...base, inPort: 65_536 },
      { ...base, inPort: 1.5 },
      { ...base, ethType: 0x86dd },
      { ...base, ipv4: { ...base.ipv4, src: '10.0.0.256' } },
      { ...base, ipv4: { ...base.ipv4, ttl: 256 } },
      { ...base, ipv4: { ...base.ipv4, ttl: '7' } },
      { ...base, ipv4: { ...base.ipv4, proto: 6 } },
      { ...base, ipv4: { ...base.ipv4, dst: '10.0.0.0/33' } },
      { ...base, ipv4: null },
      { ...base, ipv4: [] },
      { ...base, udp: { ...base.udp, dst: -1 } },
      { ...base, udp: { ...base.udp, more: 1 } },
      { ...base, more: 1 },
    ];
    for (const match of wrong) {
      const alone = outcome(() => encodeMatch(match as never, noNames)) as Error;
      const error = outcome(() =>
        dp.flows.apply([...good, { put: { match: match as never, actions: [] } }]),
      ) as Error;
      expect(error, inspect(match)).toBeInstanceOf(Error);
      expect(error.message).toBe(alone.message);
      expect(dp.flows.size).toBe(0);
    }
  });

  test('fields that are undefined are not there', () => {
    const dp = makeDatapath();
    const put = (match: FlowMatch) => ({ put: { match, actions: [] } });
    const [a, b] = dp.flows.apply([
      put({ inPort: 1, ethType: 0x0800 }),
      put({ inPort: 1, ethType: 0x0800, eth: undefined } as never),
    ]);
    expect(a).toBe(b);
  });
});
