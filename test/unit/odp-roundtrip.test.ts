// Conversions between the three forms lose nothing: for every field of the table and every shape of
// mask, then at random.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatAddress, prefixOf, writePrefix } from '../../src/odp/address.js';
import {
  type Action,
  decodeActions,
  decodeMatch,
  encodeActions,
  encodeMatch,
  type FlowMatch,
  formatActions,
  formatMatch,
  type PortNames,
  parseActions,
  parseMatch,
} from '../../src/odp/index.js';
import { type Field, type Group, groupOf, groups, kFragNames } from '../../src/odp/schema.js';

const ports: PortNames = {
  number: () => {
    throw new Error('no names here');
  },
  name: () => undefined,
};
const seeded = { seed: 20160412, numRuns: 150 };

// ---------- values of one field, in canonical typed form

const kAddressBytes = { mac: 6, ipv4: 4, ipv6: 16 } as const;

function isAddress(field: Field): field is Field & { kind: keyof typeof kAddressBytes } {
  return field.kind in kAddressBytes;
}

function addressText(
  kind: keyof typeof kAddressBytes,
  value: Uint8Array,
  mask: Uint8Array,
): string {
  const address = formatAddress(kind, value, 0);
  if (mask.every((byte) => byte === 255)) return address;
  const prefix = prefixOf(mask, 0, mask.length);
  return `${address}/${prefix < 0 || kind === 'mac' ? formatAddress(kind, mask, 0) : prefix}`;
}

/** Values to try for a field: exact at both ends, masked at both ends and in the middle. */
function samples(field: Field): unknown[] {
  if (field.kind === 'frag') return [...kFragNames];
  if (isAddress(field)) {
    const size = kAddressBytes[field.kind];
    const value = Uint8Array.from({ length: size }, (_, i) => 16 * i + 5);
    const masks = [size * 8, 1, size * 8 - 1, size * 4 + 3].map((prefix) => {
      const mask = new Uint8Array(size);
      writePrefix(mask, 0, size, prefix);
      return mask;
    });
    masks.push(Uint8Array.from({ length: size }, (_, i) => (i % 2 ? 0x0f : 0xf0)));
    return [
      formatAddress(field.kind, new Uint8Array(size), 0),
      ...masks.map((mask) => addressText(field.kind, value, mask)),
    ];
  }
  const exact = [0, 1, field.max];
  if (field.name === 'tpid') return [0x88a8, 0x9100];
  if (field.exact === true) return exact;
  const masked = [1, 2 ** Math.floor(Math.log2(field.max)), field.max - 1]
    .filter((mask) => mask > 0 && mask < field.max)
    .map((mask) => ({ value: field.kind === 'flags' ? mask : field.max, mask }));
  return [...exact, ...masked];
}

/**
 * A match of that one field, with what it needs written out, in canonical form; undefined if the
 * value cannot stand.
 */
function matchOf(group: Group, field: Field, value: unknown): FlowMatch<number> | undefined {
  const part: Record<string, unknown> = {
    [group.key]: group.single === true ? value : { [field.key]: value },
  };
  const base: Record<string, unknown> = { inPort: 1 };
  if (value === field.implied) return undefined;
  if (group.key === 'inPort') return { inPort: Math.min(value as number, 0xffff) };
  if (group.key === 'cvlan') base.vlan = {};
  if (group.layer === 'tag' && field.key === 'cfi') part[group.key] = { vid: 0, pcp: 0, cfi: 0 };
  const ethType = group.ethTypes?.[0] ?? (group.layer === 'l4' ? 0x86dd : undefined);
  if (ethType !== undefined) base.ethType = ethType;
  if (group.proto !== undefined) {
    base[ethType === 0x0800 ? 'ipv4' : 'ipv6'] = { proto: group.proto };
  }
  if (group.key === 'nd') {
    Object.assign(base, { ethType: 0x86dd, ipv6: { proto: 58 }, icmpv6: { type: 135, code: 0 } });
  }
  return { ...base, ...part } as unknown as FlowMatch<number>;
}

function checkMatch(match: FlowMatch<number | string>): void {
  const encoded = encodeMatch(match, ports);
  expect(decodeMatch(encoded.key, encoded.mask)).toEqual(match);
  const text = formatMatch(match);
  expect(parseMatch(text)).toEqual(match);
  expect(formatMatch(parseMatch(text))).toBe(text);
  expect(encodeMatch(text, ports)).toEqual(encoded);
  // Verbose text says the same.
  expect(parseMatch(formatMatch(match, { verbose: true }))).toEqual(match);
}

describe('every field of the table, every shape of mask', () => {
  for (const group of groups) {
    for (const field of group.fields) {
      test(field.label, () => {
        let tried = 0;
        for (const value of samples(field)) {
          const match = matchOf(group, field, value);
          if (match === undefined) continue;
          checkMatch(match);
          tried++;
        }
        expect(tried).toBeGreaterThan(0);
      });
    }
  }

  test('the bits of cfi that are not matched', () => {
    checkMatch({ inPort: 1, vlan: { vid: 3, cfi: { value: 1, mask: 0 } } });
  });

  const settable = groups.filter((group) => group.settable);
  for (const group of settable) {
    for (const field of group.fields.filter((part) => part.set === true)) {
      test(`set ${field.label}`, () => {
        for (const value of samples(field)) {
          // Bits outside the mask are zeroed in a set action: compare what comes out with what goes
          // in again.
          const typed = [
            { type: 'set', field: { [group.key]: group.single ? value : { [field.key]: value } } },
          ];
          const encoded = encodeActions(typed, ports);
          const decoded = decodeActions(encoded);
          expect(encodeActions(decoded, ports)).toEqual(encoded);
          expect(parseActions(formatActions(typed))).toEqual(decoded);
          expect(formatActions(decoded)).toBe(formatActions(typed));
        }
      });
    }
  }
});

// ---------- at random

function integer(field: Field): fc.Arbitrary<unknown> {
  const exact = fc.integer({ min: 0, max: field.max });
  if (field.exact === true || field.max === 1) return exact;
  // Flags that are not matched have no notation and are zeroed.
  const masked = fc
    .record({ value: exact, mask: fc.integer({ min: 1, max: field.max - 1 }) })
    .map(({ value, mask }) => ({ value: field.kind === 'flags' ? value & mask : value, mask }));
  return fc.oneof(exact, masked);
}

function address(kind: keyof typeof kAddressBytes): fc.Arbitrary<unknown> {
  const size = kAddressBytes[kind];
  const raw = fc.uint8Array({ minLength: size, maxLength: size });
  // Runs of zeros are what makes IPv6 text interesting.
  const sparse = fc
    .tuple(raw, fc.integer({ min: 0, max: 0xffff }))
    .map(([bytes, holes]) => bytes.map((byte, i) => ((holes >> (i % 16)) & 1 ? 0 : byte)));
  const mask = fc.oneof(
    fc.constant(new Uint8Array(size).fill(255)),
    fc.integer({ min: 1, max: size * 8 }).map((prefix) => {
      const bytes = new Uint8Array(size);
      writePrefix(bytes, 0, size, prefix);
      return bytes;
    }),
    raw.filter((bytes) => bytes.some((byte) => byte !== 0)),
  );
  return fc
    .tuple(fc.oneof(raw, sparse), mask)
    .map(([value, bits]) => addressText(kind, value, bits));
}

function fieldValue(field: Field): fc.Arbitrary<unknown> {
  if (field.kind === 'frag') return fc.constantFrom('no', 'first');
  return isAddress(field) ? address(field.kind) : integer(field);
}

/** Some fields of a group, at least one. */
function groupValue(
  group: Group,
  fixed: Record<string, unknown> = {},
): fc.Arbitrary<Record<string, unknown>> {
  const parts: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of group.fields) {
    if (!(field.key in fixed) && field.implied === undefined) parts[field.key] = fieldValue(field);
  }
  return fc
    .record(parts, { requiredKeys: [] })
    .map((some) => ({ ...some, ...fixed }))
    .filter((some) => Object.keys(some).length > 0 || group.layer === 'tag' || group.key === 'eth');
}

const u32 = fc.integer({ min: 1, max: 0xffffffff });

function headers(l3: 'ipv4' | 'ipv6'): fc.Arbitrary<Record<string, unknown>> {
  const ethType = l3 === 'ipv4' ? 0x0800 : 0x86dd;
  const bare = groupValue(groupOf(l3)).map((ip) => ({ ethType, [l3]: ip }));
  const upper = groups
    .filter((group) => group.layer === 'l4' && (group.ethTypes ?? [ethType]).includes(ethType))
    .map((group) =>
      fc
        .tuple(
          groupValue(groupOf(l3), { proto: group.proto }),
          group.single === true ? fieldValue(group.fields[0]!) : groupValue(group),
        )
        .map(([ip, header]) => ({ ethType, [l3]: ip, [group.key]: header })),
    );
  return fc.oneof(bare, ...upper);
}

const nd = fc
  .tuple(
    groupValue(groupOf('ipv6'), { proto: 58 }),
    fc.constantFrom(135, 136),
    groupValue(groupOf('nd')),
  )
  .map(([ipv6, type, body]) => ({ ethType: 0x86dd, ipv6, icmpv6: { type, code: 0 }, nd: body }));

const behindTags: fc.Arbitrary<Record<string, unknown>> = fc.oneof(
  fc.constant({}),
  integer(groupOf('ethType').fields[0]!)
    .filter((type) => type !== 0x8100 && type !== 0x88a8)
    .map((ethType) => ({ ethType })),
  groupValue(groupOf('arp')).map((arp) => ({ ethType: 0x0806, arp })),
  headers('ipv4'),
  headers('ipv6'),
  nd,
);

const tagGroup = fc
  .tuple(groupValue(groupOf('vlan')), fc.constantFrom({}, { tpid: 0x88a8 }, { tpid: 0x9100 }))
  .map(([tag, tpid]) => ({ ...tag, ...tpid }));

const anyMatch = fc
  .tuple(
    fc.record({ inPort: fc.integer({ min: 0, max: 0xffff }) }),
    fc.record(
      {
        recircId: u32,
        dpHash: integer(groupOf('dpHash').fields[0]!),
        skbPriority: integer(groupOf('skbPriority').fields[0]!),
        skbMark: integer(groupOf('skbMark').fields[0]!),
      },
      { requiredKeys: [] },
    ),
    fc.oneof(
      fc.constant({}),
      groupValue(groupOf('eth')).map((eth) => ({ eth })),
      groupValue(groupOf('packetType')).map((packetType) => ({ packetType })),
    ),
    fc.oneof(
      fc.constant({}),
      fc.record({ vlan: tagGroup }),
      fc.record({ vlan: tagGroup, cvlan: tagGroup }),
    ),
    behindTags,
  )
  .map((parts) => Object.assign({}, ...parts) as FlowMatch<number>);

const settableGroups = groups.filter((group) => group.settable);
const anySet = fc.constantFrom(...settableGroups).chain((group) => {
  if (group.single === true)
    return fieldValue(group.fields[0]!).map((value) => ({ [group.key]: value }));
  const parts = Object.fromEntries(
    group.fields
      .filter((field) => field.set === true)
      .map((field) => [field.key, fieldValue(field)]),
  );
  return fc.record(parts, { requiredKeys: [] }).map((some) => ({ [group.key]: some }));
});

const anyAction: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ type: fc.constant('output' as const), port: fc.integer({ min: 0, max: 0xffff }) }),
  fc.record(
    {
      type: fc.constant('userspace' as const),
      pid: u32,
      userdata: fc.uint8Array({ maxLength: 40 }).map((b) => Buffer.from(b)),
    },
    { requiredKeys: ['type'] },
  ),
  anySet.map((field) => ({ type: 'set' as const, field })),
  fc.record(
    {
      type: fc.constant('pushVlan' as const),
      vid: fc.integer({ min: 0, max: 4095 }),
      pcp: fc.integer({ min: 1, max: 7 }),
      tpid: fc.constantFrom(0x88a8, 0x9100),
      cfi: fc.constant(0),
    },
    { requiredKeys: ['type', 'vid'] },
  ),
  fc.constant({ type: 'popVlan' as const }),
);

describe('at random', () => {
  test('match: typed, netlink, text and back', () => {
    fc.assert(fc.property(anyMatch, checkMatch), seeded);
  });

  test('what goes without saying is supplied: leaving it out gives the same bytes', () => {
    fc.assert(
      fc.property(anyMatch, (match) => {
        const { ethType, ...rest } = match as Record<string, unknown>;
        const says = ['ipv4', 'ipv6', 'arp'].some((key) => key in rest);
        const short = (says ? rest : match) as unknown as FlowMatch;
        expect(encodeMatch(short, ports)).toEqual(encodeMatch(match, ports));
      }),
      seeded,
    );
  });

  test('actions: typed, netlink, text and back', () => {
    fc.assert(
      fc.property(fc.array(anyAction, { maxLength: 6 }), (actions) => {
        const encoded = encodeActions(actions, ports);
        const canonical = decodeActions(encoded);
        expect(encodeActions(canonical, ports)).toEqual(encoded);
        const text = formatActions(canonical);
        expect(formatActions(actions)).toBe(text);
        expect(parseActions(text)).toEqual(canonical);
        expect(formatActions(parseActions(text))).toBe(text);
      }),
      seeded,
    );
  });

  test('text in any spacing and any order of items means the same', () => {
    const separator = fc.constantFrom(',', ' ', '\t', ', ', ',,', '\r\n');
    fc.assert(
      fc.property(
        anyMatch,
        fc.array(separator, { minLength: 1, maxLength: 5 }),
        fc.nat(),
        (match, separators, turn) => {
          const items = splitItems(formatMatch(match));
          const turned = items.map((_, i) => items[(i + turn) % items.length]!);
          const text = turned.map((item, i) => item + separators[i % separators.length]).join('');
          expect(parseMatch(text)).toEqual(match);
        },
      ),
      seeded,
    );
  });

  test('rubbish is refused with a position inside the text, never otherwise', () => {
    const word = fc.constantFrom(
      'in_port(1)',
      'eth_type(0x8100)',
      'vlan(vid=1)',
      'encap(',
      ')',
      '(',
      '=',
      '/',
      ',',
      'ipv4(',
      'ttl=3',
      '-1',
      '0x',
      '09',
      'recirc_id(0)',
      'tcp_flags(+syn',
      '+',
      '|',
      'ufid:',
      '\u00e9',
      'ipv6(src=::',
      'drop',
      'set(',
      'tcp(',
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 12 }), (words) => {
        const text = words.join('');
        for (const parse of [parseMatch, parseActions]) {
          try {
            parse(text);
          } catch (error) {
            expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL', errno: -22 });
            const { position } = error as { position: number };
            expect(position).toBeGreaterThanOrEqual(0);
            expect(position).toBeLessThanOrEqual(text.length);
          }
        }
      }),
      { ...seeded, numRuns: 1000 },
    );
  });

  test('bytes that are no attributes are refused with EINVAL', () => {
    fc.assert(
      fc.property(
        anyMatch,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (match, edits) => {
          const { key, mask } = encodeMatch(match, ports);
          for (const [at, byte] of edits) key[at % key.length] = byte;
          try {
            decodeMatch(key, mask);
            decodeActions(key);
          } catch (error) {
            expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL' });
          }
        },
      ),
      seeded,
    );
  });
});

/** The items of the outermost level. */
function splitItems(text: string): string[] {
  const items: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    if (text[i] === '(') depth++;
    if (text[i] === ')') depth--;
    if (i === text.length || (text[i] === ',' && depth === 0)) {
      items.push(text.slice(start, i));
      start = i + 1;
    }
  }
  return items;
}
