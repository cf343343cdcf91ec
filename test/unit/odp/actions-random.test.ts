// Actions in their three forms, each way: at random, with lists in lists.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { actionKinds } from '../../../src/odp/actions/table.js';
import {
  type Action,
  decodeActions,
  encodeActions,
  formatActions,
  parseActions,
} from '../../../src/odp/index.js';
import { type Field, type Group, groupOf, groups } from '../../../src/odp/schema/compile.js';
import { formatAddress, prefixOf } from '../../../src/odp/text/address.js';
import { check, type Known, seeded } from './actions-samples.js';
import { noNames } from './refusals.js';

const kAddressBytes = { mac: 6, ipv4: 4, ipv6: 16 } as const;
const u = (bits: number) => fc.integer({ min: 0, max: 2 ** bits - 1 });
const positive = (bits: number) => fc.integer({ min: 1, max: 2 ** bits - 1 });
const big = (bits: number) => fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n });
const buffer = (options: fc.IntArrayConstraints) =>
  fc.uint8Array(options).map((bytes) => Buffer.from(bytes));

function bytesAsAddress(kind: keyof typeof kAddressBytes): fc.Arbitrary<string> {
  const size = kAddressBytes[kind];
  return fc
    .uint8Array({ minLength: size, maxLength: size })
    .map((bytes) => formatAddress(kind, bytes, 0));
}

const nonzero = (kind: 'ipv4' | 'ipv6') =>
  bytesAsAddress(kind).filter((address) => /[^0.:]/.test(address));

/** An address of which only the bits that matter are there. */
function maskedAddress(kind: keyof typeof kAddressBytes): fc.Arbitrary<string> {
  const size = kAddressBytes[kind];
  const raw = fc.uint8Array({ minLength: size, maxLength: size });
  return fc
    .tuple(
      raw,
      raw.filter((mask) => mask.some((byte) => byte !== 0)),
    )
    .map(([value, mask]) => {
      const address = formatAddress(
        kind,
        value.map((byte, i) => byte & mask[i]!),
        0,
      );
      const prefix = kind === 'mac' ? -1 : prefixOf(mask, 0, size);
      if (prefix === size * 8) return address;
      return `${address}/${prefix < 0 ? formatAddress(kind, mask, 0) : prefix}`;
    });
}

/** The canonical value of a field in a set action, masked if it may be. */
function fieldValue(field: Field, masks: boolean): fc.Arbitrary<unknown> {
  const { kind } = field;
  if (kind === 'mac' || kind === 'ipv4' || kind === 'ipv6') {
    return masks && field.exact !== true
      ? fc.oneof(bytesAsAddress(kind), maskedAddress(kind))
      : bytesAsAddress(kind);
  }
  if (field.big) return big(8 * field.size);
  const exact = fc.integer({ min: 0, max: field.max });
  if (!masks || field.exact === true || field.max === 1) return exact;
  const masked = fc
    .record({ value: exact, mask: fc.integer({ min: 1, max: field.max - 1 }) })
    .map(({ value, mask }) => ({ value: (value & mask) >>> 0, mask }));
  return fc.oneof(exact, masked);
}

function someFields(fields: readonly Field[], masks: boolean, all = false) {
  const parts = fields
    .filter((field) => field.set === true)
    .map((field) => [field.key, fieldValue(field, masks)] as const);
  return fc.record(Object.fromEntries(parts), all ? {} : { requiredKeys: [] });
}

const geneveOption = fc
  .tuple(u(16), u(8), fc.integer({ min: 0, max: 4 }))
  .chain(([cls, type, words]) =>
    buffer({ minLength: 4 * words, maxLength: 4 * words }).map((data) => ({
      class: cls,
      type,
      len: 4 * words,
      ...(words === 0 ? {} : { data }),
    })),
  );
const erspan = fc.oneof(
  fc.record({ ver: fc.constant(1), idx: u(32) }),
  fc.record({ ver: fc.constant(2), dir: u(1), hwid: u(6) }),
);
const tunnel = fc
  .record(
    {
      tunId: big(64),
      src: nonzero('ipv4'),
      dst: nonzero('ipv4'),
      ipv6Src: nonzero('ipv6'),
      ipv6Dst: nonzero('ipv6'),
      tos: positive(8),
      ttl: positive(8),
      tpSrc: positive(16),
      tpDst: positive(16),
      vxlan: fc.record({ gbp: fc.record({ id: positive(16), flags: positive(8) }) }),
      geneve: fc.array(geneveOption, { minLength: 1, maxLength: 4 }),
      erspan,
      gtpu: fc.record({ flags: positive(8), msgtype: positive(8) }),
      flags: fc.integer({ min: 1, max: 15 }),
    },
    { requiredKeys: [] },
  )
  .map(({ tunId, flags = 0, ...rest }) => {
    // The id and the flag "key" are one.
    const all = tunId === undefined ? flags & ~8 : flags | 8;
    return {
      ...rest,
      ...(tunId === undefined ? {} : { tunId }),
      ...(all === 0 ? {} : { flags: all }),
    };
  });

function setOf(group: Group): fc.Arbitrary<Record<string, unknown>> {
  const value =
    group === groupOf('tunnel')
      ? tunnel
      : group.single === true
        ? fieldValue(group.fields[0]!, true)
        : group.entries !== undefined
          ? someFields(group.fields, true).map((entry) => [entry])
          : someFields(group.fields, group.setsWhole !== true, group.setsWhole === true);
  return value.map((given) => ({ [group.key]: given }));
}

const settable = groups.filter((group) => group.settable);
const set = fc
  .oneof(...settable.map(setOf))
  .map((field) => ({ type: 'set', field }) as unknown as Known);

const optional = { requiredKeys: ['type'] as const } as { requiredKeys: ['type'] };
const type = <T extends string>(name: T) => fc.constant(name);

const cookie = fc.oneof(
  fc.record(
    {
      type: type('sFlow'),
      vid: fc.integer({ min: 1, max: 4095 }),
      pcp: fc.integer({ min: 1, max: 7 }),
      output: fc.integer({ min: 1, max: 0xffffffff }),
    },
    optional,
  ),
  fc.record(
    {
      type: type('controller'),
      reason: fc.integer({ min: 1, max: 0xffff }),
      dontSend: fc.constant(1),
      continuation: fc.constant(1),
      recircId: fc.integer({ min: 1, max: 0xffffffff }),
      ruleCookie: big(64).filter((value) => value !== 0n),
      controllerId: fc.integer({ min: 1, max: 0xffff }),
      maxLen: fc.integer({ min: 1, max: 0xffff }),
    },
    optional,
  ),
  fc.record(
    {
      type: type('flowSample'),
      probability: fc.integer({ min: 1, max: 0xffff }),
      collectorSetId: fc.integer({ min: 1, max: 0xffffffff }),
      obsDomainId: fc.integer({ min: 1, max: 0xffffffff }),
      obsPointId: fc.integer({ min: 1, max: 0xffffffff }),
      outputPort: fc.integer({ min: 1, max: 0xffffffff }),
      direction: fc.constantFrom('ingress', 'egress'),
    },
    optional,
  ),
);

const userspace = fc
  .record(
    {
      type: type('userspace'),
      pid: fc.integer({ min: 1, max: 0xffffffff }),
      userdata: fc.oneof(
        buffer({ maxLength: 40 }).map((userdata) => ({ userdata })),
        cookie.map((value) => ({ cookie: value })),
      ),
      actions: fc.constant(true),
      tunnelOutPort: u(32),
    },
    optional,
  )
  .map(({ userdata, ...rest }) => ({ ...rest, ...userdata }));

const label = { label: u(20), tc: fc.integer({ min: 1, max: 7 }), ttl: u(8), bos: u(1) };
const labelled = ['type', 'label', 'ttl', 'bos', 'ethType'] as const;
const mplsType = fc.constantFrom(0x8847, 0x8848);

const leaf: fc.Arbitrary<Known> = fc.oneof(
  fc.record({ type: type('output'), port: u(16) }),
  userspace,
  set,
  fc.record(
    {
      type: type('pushVlan'),
      vid: u(12),
      pcp: fc.integer({ min: 1, max: 7 }),
      tpid: fc.constantFrom(0x88a8, 0x9100),
      cfi: fc.constant(0),
    },
    { requiredKeys: ['type', 'vid'] },
  ),
  fc.record(
    { type: type('pushMpls'), ...label, ethType: mplsType },
    { requiredKeys: [...labelled] },
  ),
  fc.record(
    {
      type: type('addMpls'),
      ...label,
      ethType: mplsType,
      tunFlags: fc.integer({ min: 1, max: 0xffff }),
    },
    { requiredKeys: [...labelled] },
  ),
  fc.record({ type: type('popMpls'), ethType: u(16) }),
  fc.record({ type: type('pushEth'), src: bytesAsAddress('mac'), dst: bytesAsAddress('mac') }),
  fc.record(
    {
      type: type('pushNsh'),
      flags: fc.integer({ min: 1, max: 3 }),
      ttl: fc.integer({ min: 0, max: 62 }),
      np: fc.integer({ min: 4, max: 255 }),
      spi: fc.integer({ min: 1, max: 0xffffff }),
      si: fc.integer({ min: 0, max: 254 }),
      c1: fc.integer({ min: 1, max: 0xffffffff }),
      c4: fc.integer({ min: 1, max: 0xffffffff }),
    },
    optional,
  ),
  fc
    .integer({ min: 1, max: 61 })
    .chain((words) => buffer({ minLength: 4 * words, maxLength: 4 * words }))
    .map((md2) => ({ type: 'pushNsh' as const, mdtype: 2, md2 })),
  fc.constantFrom('popVlan', 'popEth', 'popNsh').map((name) => ({ type: name }) as Known),
  fc.record({ type: type('recirc'), id: u(32) }),
  fc.record({ type: type('trunc'), maxLen: u(32) }),
  fc.record(
    {
      type: type('hash'),
      algorithm: fc.constantFrom('l4' as const, 'sym_l4' as const),
      basis: fc.integer({ min: 1, max: 0xffffffff }),
    },
    { requiredKeys: ['type', 'algorithm'] },
  ),
) as fc.Arbitrary<Known>;

/** A probability by the text that stands for it. */
const percent = u(32).map((probability) => {
  const bytes = encodeActions('sample(sample=1%,actions(1))', noNames);
  bytes.writeUInt32LE(probability, 8);
  return (decodeActions(bytes)[0] as Extract<Known, { type: 'sample' }>).percent;
});

const drop = fc
  .oneof(
    fc.constantFrom('of_pipeline', 'congestion', 'forwarding_disabled'),
    fc.integer({ min: 16, max: 0xffffffff }),
  )
  .map((reason) => ({ type: 'drop', reason }) as Known);

const { list } = fc.letrec<{ list: Known[]; action: Known; nested: Known }>((tie) => ({
  list: fc
    .tuple(fc.array(tie('action'), { maxLength: 4 }), fc.option(drop, { nil: undefined, freq: 4 }))
    .map(([actions, last]): Known[] => {
      const all = last === undefined ? actions : [...actions, last];
      return all.length === 0 ? [{ type: 'drop' }] : all;
    }),
  action: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    { arbitrary: leaf, weight: 4 },
    { arbitrary: tie('nested'), weight: 1 },
  ),
  nested: fc.oneof(
    tie('list').map((actions): Known => ({ type: 'clone', actions })),
    tie('list').map((actions): Known => ({ type: 'decTtl', actions })),
    fc
      .tuple(percent, tie('list'))
      .map(([p, actions]): Known => ({ type: 'sample', percent: p, actions })),
    fc
      .tuple(u(16), tie('list'), tie('list'))
      .map(
        ([size, greater, lessEqual]): Known => ({ type: 'checkPktLen', size, greater, lessEqual }),
      ),
  ),
}));

describe('at random', () => {
  test('typed, text, netlink and back, lists in lists', () => {
    fc.assert(
      fc.property(list, (actions) => {
        const text = formatActions(actions);
        check(actions, text);
        expect(formatActions(text)).toBe(text);
        const encoded = encodeActions(text, noNames);
        expect(formatActions(decodeActions(encoded))).toBe(text);
      }),
      { ...seeded, numRuns: 1000 },
    );
  });

  test('any spacing, and sub-fields in any order, mean the same', () => {
    const separators = fc.array(fc.constantFrom(',', ' ', '\t', ', ', ',,', '\r\n'), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(list, separators, fc.nat(), (actions, between, turn) => {
        const text = formatActions(actions);
        expect(parseActions(shuffle(text, between, turn))).toEqual(actions);
      }),
      seeded,
    );
  });

  test('a set that is not canonical becomes so once and for all', () => {
    const group = fc.constantFrom(
      ...settable.filter(({ single, setsWhole, entries }) => !single && !setsWhole && !entries),
    );
    const loose = group.chain((g) =>
      fc
        .record(
          Object.fromEntries(
            g.fields
              .filter(({ set: can, kind }) => can === true && !(kind in kAddressBytes))
              .map((field) => [
                field.key,
                fc.record({ value: u(1).map((b) => b * field.max), mask: u(1) }),
              ]),
          ),
          { requiredKeys: [] },
        )
        .map((field): Action => ({ type: 'set', field: { [g.key]: field } })),
    );
    fc.assert(
      fc.property(loose, (action) => {
        const encoded = encodeActions([action], noNames);
        const canonical = decodeActions(encoded);
        check(canonical, formatActions([action]));
        expect(encodeActions(canonical, noNames)).toEqual(encoded);
      }),
      seeded,
    );
  });

  test('rubbish made of words is refused with a position inside the text, never otherwise', () => {
    const words = [
      ...actionKinds.map(({ name }) => name),
      ...['(', ')', '=', '/', ',', '{', '}', '1', '0x', '-1', '9.7%', 'é', '[::1]', '[', '-', ':'],
      ...[
        'actions',
        'actions(',
        'sample=',
        'size=1',
        'gt(',
        'le(',
        'le_1(',
        'vid=1',
        'tpid=0x8100',
      ],
      ...['nat(', 'src=', 'commit', 'mark=', 'label=0x1', 'helper=', 'header(', 'gre((', 'eth('],
      ...[
        'ipv4(',
        'tunnel(',
        'geneve(',
        'geneve({',
        'flags(',
        'mpls(',
        'nsh(',
        'md2=0x0',
        'mdtype=2',
      ],
      ...['controller(', 'slow_path(', 'userdata(', 'reason=', 'constructor', '__proto__', 'l4(1)'],
    ];
    const text = fc
      .array(fc.constantFrom(...words), { maxLength: 14 })
      .map((some) => some.join(''));
    fc.assert(
      fc.property(text, (rubbish) => {
        let actions: Known[];
        try {
          actions = parseActions(rubbish);
        } catch (error) {
          expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL', errno: -22 });
          const { position } = error as { position: number };
          expect(position).toBeGreaterThanOrEqual(0);
          expect(position).toBeLessThanOrEqual(rubbish.length);
          return;
        }
        expect(parseActions(formatActions(actions))).toEqual(actions);
      }),
      { ...seeded, numRuns: 5000 },
    );
  });

  test('text with a character changed is refused with a position, or means something', () => {
    const char = fc.constantFrom(...'(),=/{}[]:-.%0x1fz \u00e9');
    fc.assert(
      fc.property(
        list.map((actions) => formatActions(actions)),
        fc.nat(),
        char,
        (text, at, other) => {
          const place = at % text.length;
          const changed = text.slice(0, place) + other + text.slice(place + 1);
          let actions: Known[];
          try {
            actions = parseActions(changed);
          } catch (error) {
            expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL' });
            const { position } = error as { position: number };
            expect(position).toBeGreaterThanOrEqual(0);
            expect(position).toBeLessThanOrEqual(changed.length);
            return;
          }
          expect(parseActions(formatActions(actions))).toEqual(actions);
        },
      ),
      { ...seeded, numRuns: 3000 },
    );
  });

  test('bytes with a byte changed are refused with EINVAL, or mean something', () => {
    fc.assert(
      fc.property(
        list.map((actions) => encodeActions(actions, noNames)),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (bytes, edits) => {
          if (bytes.length === 0) return;
          for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
          let actions: Known[];
          try {
            actions = decodeActions(bytes);
          } catch (error) {
            expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL' });
            return;
          }
          let text: string;
          try {
            text = formatActions(actions);
          } catch (error) {
            // A drop that is not the last action, or fields that need each other.
            expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL' });
            return;
          }
          expect(parseActions(text)).toEqual(actions);
        },
      ),
      { ...seeded, numRuns: 3000 },
    );
  });
});

/** Lists whose items' order means nothing, by what is in front of their parenthesis. */
const kUnordered =
  /(?:^|[^a-z_0-9])(?:userspace|push_vlan|push_mpls|add_mpls|push_eth|push_nsh|sample|check_pkt_len|ipv4|ipv6|arp|tcp|nd|tunnel|controller|flow_sample|sFlow)$/;

/** The same text in other words: items turned round where they may be, other separators. */
function shuffle(text: string, separators: readonly string[], turn: number): string {
  let out = '';
  let start = 0;
  let count = 0;
  const flush = (end: number) => {
    out += text.slice(start, end);
  };
  for (let i = 0; i < text.length; i++) {
    if (text[i] === ',' && !inBraces(text, i)) {
      flush(i);
      out += separators[count++ % separators.length];
      start = i + 1;
    } else if (text[i] === '(') {
      flush(i + 1);
      const close = matching(text, i);
      const items = split(text.slice(i + 1, close));
      const from = kUnordered.test(text.slice(0, i)) ? turn % items.length : 0;
      const turned = [...items.slice(from), ...items.slice(0, from)];
      out += turned.map((item) => shuffle(item, separators, turn)).join(separators[0]);
      i = close - 1;
      start = close;
    }
  }
  flush(text.length);
  return out;
}

function inBraces(text: string, at: number): boolean {
  return text.lastIndexOf('{', at) > text.lastIndexOf('}', at);
}

function matching(text: string, open: number): number {
  let depth = 0;
  for (let i = open; ; i++) {
    if (text[i] === '(') depth++;
    if (text[i] === ')' && --depth === 0) return i;
  }
}

function split(text: string): string[] {
  const items: string[] = [];
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    if (text[i] === '(') i = matching(text, i);
    if (i === text.length || (text[i] === ',' && !inBraces(text, i))) {
      items.push(text.slice(start, i));
      start = i + 1;
    }
  }
  return items;
}
