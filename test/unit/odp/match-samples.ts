/**
 * Matches made from the field table: for every field and every shape of mask, and at random. All
 * are in canonical typed form, so that each conversion must give back what went in.
 */
import fc from 'fast-check';
import type { FlowMatch, GeneveOption } from '../../../src/odp/index.js';
import {
  type Field,
  type Group,
  groupOf,
  groups,
  kFragNames,
} from '../../../src/odp/schema/compile.js';
import { formatAddress, prefixOf, writePrefix } from '../../../src/odp/text/address.js';

type Typed = Record<string, unknown>;
type Masked = { readonly value: number; readonly mask: number };

// ---------- values of one field

const kAddressBytes = { mac: 6, ipv4: 4, ipv6: 16 } as const;

export function isAddress(field: Field): field is Field & { kind: keyof typeof kAddressBytes } {
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

/** Masks of that many bits: one bit at each end and in the middle, prefixes, suffixes, patterns. */
function maskShapes(bits: number): bigint[] {
  const all = (1n << BigInt(bits)) - 1n;
  const bit = (at: number) => 1n << BigInt(at);
  const low = bit(bits >> 1) - 1n;
  const shapes = [
    bit(0),
    bit(bits - 1),
    bit(bits >> 1),
    all - 1n,
    all >> 1n,
    low,
    all - low,
    BigInt(`0x${'5'.repeat(33)}`) & all,
    BigInt(`0x${'a'.repeat(33)}`) & all,
  ];
  return [...new Set(shapes)].filter((mask) => mask > 0n && mask < all);
}

function bytesOf(value: bigint, size: number): Uint8Array {
  return Buffer.from(value.toString(16).padStart(2 * size, '0'), 'hex');
}

function addressSamples(kind: keyof typeof kAddressBytes): string[] {
  const size = kAddressBytes[kind];
  const value = Uint8Array.from({ length: size }, (_, i) => 16 * i + 5);
  const masks = maskShapes(8 * size).map((mask) => bytesOf(mask, size));
  return [
    formatAddress(kind, new Uint8Array(size), 0),
    formatAddress(kind, new Uint8Array(size).fill(255), 0),
    formatAddress(kind, value, 0),
    ...masks.map((mask) => addressText(kind, value, mask)),
  ];
}

/** Values to try for a field: exact at both ends and within, masked in every shape. */
export function samples(field: Field): unknown[] {
  if (field.kind === 'frag') return [...kFragNames];
  if (isAddress(field)) return addressSamples(field.kind);
  if (field.label.endsWith('.tpid')) return [0x88a8, 0x9100];
  if (field.label === 'tunnel.erspan.ver') return [0, 1, 2];
  const bits = field.big ? 8 * field.size : Math.log2(field.max + 1);
  const all = (1n << BigInt(bits)) - 1n;
  const number = (value: bigint) => (field.big ? value : Number(value));
  const exact = [field.kind === 'ethType' ? 0x0600n : 0n, all / 3n + 1n, all].map(number);
  if (field.exact === true) return exact;
  const masked = maskShapes(bits).map((mask) => ({
    // Flags that are not matched have no notation and are zero; other bits stay.
    value: number(field.kind === 'flags' ? mask & (all / 3n) : all),
    mask: number(mask),
  }));
  return [...exact, ...masked];
}

/** A value of which no bit matters. */
export function wildcarded(field: Field): unknown {
  const [value] = samples(field).slice(-1);
  if (isAddress(field)) {
    const [address = ''] = String(value).split('/');
    return `${address}/${formatAddress(field.kind, new Uint8Array(field.size), 0)}`;
  }
  return field.big ? { value: 1n, mask: 0n } : { value: 1, mask: 0 };
}

/** The typed form of a group with only that field. */
export function groupWith(group: Group, field: Field, value: unknown): Typed {
  if (group.single === true) return { [group.key]: value };
  const path = field.label.slice(field.label.indexOf('.') + 1).split('.');
  const typed = path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
  return { [group.key]: group.entries === undefined ? typed : [typed] };
}

/** What must be said besides, in canonical form, for a match of that field. */
function company(group: Group, field: Field): Typed {
  if (group.key === 'cvlan') return { vlan: {} };
  if (group.layer === 'nd') {
    return { ethType: 0x86dd, ipv6: { proto: 58 }, icmpv6: { type: 135, code: 0 } };
  }
  const ethType = group.ethTypes?.[0] ?? (group.layer === 'l4' ? 0x86dd : undefined);
  const base: Typed = ethType === undefined ? {} : { ethType };
  if (group.proto !== undefined) {
    base[ethType === 0x0800 ? 'ipv4' : 'ipv6'] = { proto: group.proto };
  }
  if (/^nsh\.c\d$/.test(field.label)) base.nsh = { mdtype: 1 };
  if (field.label === 'tunnel.tunId') base.tunnel = { flags: { value: 8, mask: 8 } };
  if (field.label === 'tunnel.erspan.idx') base.tunnel = { erspan: { ver: 1 } };
  if (/^tunnel\.erspan\.(dir|hwid)$/.test(field.label)) base.tunnel = { erspan: { ver: 2 } };
  return base;
}

/** Puts what is in both together, level by level. */
function merged(a: Typed, b: Typed): Typed {
  const out: Typed = { ...a };
  for (const [key, value] of Object.entries(b)) {
    const old = out[key];
    out[key] =
      typeof old === 'object' && typeof value === 'object' && !Array.isArray(value)
        ? merged(old as Typed, value as Typed)
        : value;
  }
  return out;
}

/** A match of that one field with that value; undefined if the value cannot stand. */
export function matchOf(group: Group, field: Field, value: unknown): FlowMatch<number> | undefined {
  if (value !== undefined && value === field.implied) return undefined;
  if (group.key === 'inPort') return { inPort: Math.min(value as number, 0xffff) };
  if (field.label === 'packetType.ns') {
    const { value: ns, mask } = (typeof value === 'object' ? value : { value, mask: -1 }) as Masked;
    if ((ns & mask) > 1) return undefined;
  }
  const typed = groupWith(group, field, value);
  if (group.layer === 'tag' && field.key === 'cfi') typed[group.key] = { vid: 0, pcp: 0, cfi: 0 };
  return { inPort: 1, ...merged(company(group, field), typed) } as unknown as FlowMatch<number>;
}

// ---------- at random

const u32 = fc.integer({ min: 1, max: 0xffffffff });

function integer(field: Field): fc.Arbitrary<unknown> {
  const exact = fc.integer({ min: 0, max: field.max });
  if (field.exact === true) return exact;
  if (field.max === 1) return exact;
  const masked = fc
    .record({ value: exact, mask: fc.integer({ min: 1, max: field.max - 1 }) })
    .map(({ value, mask }) => ({ value: field.kind === 'flags' ? value & mask : value, mask }));
  return fc.oneof(exact, masked);
}

function big(field: Field): fc.Arbitrary<unknown> {
  const all = (1n << BigInt(8 * field.size)) - 1n;
  const exact = fc.bigInt({ min: 0n, max: all });
  return fc.oneof(exact, fc.record({ value: exact, mask: fc.bigInt({ min: 1n, max: all - 1n }) }));
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

export function fieldValue(field: Field): fc.Arbitrary<unknown> {
  if (field.kind === 'frag') return fc.constantFrom('no', 'first');
  if (isAddress(field)) return address(field.kind);
  return field.big ? big(field) : integer(field);
}

function says(typed: Typed): boolean {
  return Object.keys(typed).length > 0;
}

interface Members {
  readonly members: Group['members'];
}

/** Some members, perhaps none. */
function someMembers({ members }: Members, fixed: Typed = {}): fc.Arbitrary<Typed> {
  const parts: Record<string, fc.Arbitrary<unknown>> = {};
  for (const member of members) {
    if (member.key in fixed) continue;
    if (member.kind === 'options') parts[member.key] = options;
    else if (member.kind === 'nest') parts[member.key] = someMembers(member).filter(says);
    else if (member.implied === undefined) parts[member.key] = fieldValue(member);
  }
  return fc.record(parts, { requiredKeys: [] }).map((some) => ({ ...some, ...fixed }));
}

/** Some fields of a group, at least one. */
export function groupValue(group: Group, fixed: Typed = {}): fc.Arbitrary<Typed> {
  return someMembers(group, fixed).filter(
    (some) => says(some) || group.layer === 'tag' || group.key === 'eth',
  );
}

const option: fc.Arbitrary<GeneveOption> = fc
  .tuple(
    fc.record(
      { class: integer({ max: 0xffff } as Field), type: integer({ max: 0xff } as Field) },
      { requiredKeys: [] },
    ),
    fc.integer({ min: 0, max: 3 }).chain((words) => {
      const raw = fc.uint8Array({ minLength: 4 * words, maxLength: 4 * words });
      const bytes = raw.map((some) => Buffer.from(some));
      const partly = bytes.filter(
        (mask) => mask.some((byte) => byte !== 0) && mask.some((byte) => byte !== 255),
      );
      if (words === 0) return fc.constant({ len: 0 });
      return fc.oneof(
        fc.constant({ len: 4 * words }),
        bytes.map((data) => ({ len: 4 * words, data })),
        fc.record({ value: bytes, mask: partly }).map((data) => ({ len: 4 * words, data })),
      );
    }),
  )
  .map(([numbers, data]) => ({ ...numbers, ...data }) as GeneveOption);
const options = fc.array(option, { maxLength: 4 });

const kKeyFlag = 8;

/** What a tunnel's id says of its flags, and an ERSPAN header's version of its fields. */
const tunnel = someMembers(groupOf('tunnel'))
  .map((typed) => {
    const { flags, erspan, ...rest } = typed as { flags?: unknown; erspan?: Typed };
    const out: Typed = { ...rest };
    const given = typeof flags === 'number' ? { value: flags, mask: 15 } : flags;
    const { value, mask } = (given ?? { value: 0, mask: 0 }) as Masked;
    if ('tunId' in rest) {
      const full = (mask | kKeyFlag) === 15;
      const set = value | kKeyFlag;
      out.flags = full ? set : { value: set, mask: mask | kKeyFlag };
    } else if (flags !== undefined) {
      out.flags = flags;
    }
    if (erspan !== undefined) {
      const { idx, dir, hwid } = erspan;
      const second = {
        ...(dir === undefined ? {} : { dir }),
        ...(hwid === undefined ? {} : { hwid }),
      };
      if (says(second)) out.erspan = { ver: 2, ...second };
      else out.erspan = idx === undefined ? { ver: 1 } : { ver: 1, idx };
    }
    return out;
  })
  .filter(says);

const mpls = fc
  .array(someMembers(groupOf('mpls')), { minLength: 1, maxLength: 3 })
  .map((entries) =>
    entries.map((entry, i) =>
      i < entries.length - 1 && 'bos' in entry ? { ...entry, bos: 0 } : entry,
    ),
  )
  .filter((entries) => says(entries.at(-1) ?? {}));

const nsh = groupValue(groupOf('nsh')).map((typed) =>
  Object.keys(typed).some((key) => /^c\d$/.test(key)) ? { ...typed, mdtype: 1 } : typed,
);

function headers(l3: 'ipv4' | 'ipv6'): fc.Arbitrary<Typed> {
  const ethType = l3 === 'ipv4' ? 0x0800 : 0x86dd;
  const bare = groupValue(groupOf(l3)).map((ip) => ({ ethType, [l3]: ip }));
  const tracked = groupValue(groupOf(l3 === 'ipv4' ? 'ctTuple4' : 'ctTuple6')).map((tuple) => ({
    ethType,
    [l3 === 'ipv4' ? 'ctTuple4' : 'ctTuple6']: tuple,
  }));
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
  return fc.oneof(bare, tracked, ...upper);
}

const nd = fc
  .tuple(
    groupValue(groupOf('ipv6'), { proto: 58 }),
    fc.constantFrom(135, 136),
    fc
      .record(
        { nd: groupValue(groupOf('nd')), ndExt: groupValue(groupOf('ndExt')) },
        { requiredKeys: [] },
      )
      .filter(says),
  )
  .map(([ipv6, type, body]) => ({ ethType: 0x86dd, ipv6, icmpv6: { type, code: 0 }, ...body }));

const typedHeaders: fc.Arbitrary<Typed> = fc.oneof(
  groupValue(groupOf('arp')).map((arp) => ({ ethType: 0x0806, arp })),
  fc
    .tuple(fc.constantFrom(0x8847, 0x8848), mpls)
    .map(([ethType, labels]) => ({ ethType, mpls: labels })),
  nsh.map((header) => ({ ethType: 0x894f, nsh: header })),
  headers('ipv4'),
  headers('ipv6'),
  nd,
);

const behindTags: fc.Arbitrary<Typed> = fc.oneof(
  fc.constant({}),
  integer(groupOf('ethType').fields[0]!)
    .filter((type) => type !== 0x8100 && type !== 0x88a8)
    .filter((type) => typeof type !== 'number' || type >= 0x0600)
    .map((ethType) => ({ ethType })),
  typedHeaders,
  typedHeaders,
);

const tagGroup = fc
  .tuple(groupValue(groupOf('vlan')), fc.constantFrom({}, { tpid: 0x88a8 }, { tpid: 0x9100 }))
  .map(([tag, tpid]) => ({ ...tag, ...tpid }));

const kMetadata = [
  'dpHash',
  'skbPriority',
  'skbMark',
  'ctState',
  'ctZone',
  'ctMark',
  'ctLabel',
] as const;

const metadata: fc.Arbitrary<Typed> = fc.record(
  {
    recircId: u32,
    tunnel,
    ...Object.fromEntries(kMetadata.map((key) => [key, fieldValue(groupOf(key).fields[0]!)])),
  },
  { requiredKeys: [] },
);

const ethernet: fc.Arbitrary<Typed> = fc
  .tuple(
    fc.oneof(
      fc.constant({}),
      groupValue(groupOf('eth')).map((eth) => ({ eth })),
      fc.constant({ packetType: { ns: 0, id: 0 } }),
      fieldValue(groupOf('packetType').byKey.get('id') as Field).map((id) => ({
        packetType: { id },
      })),
    ),
    fc.oneof(
      fc.constant({}),
      fc.record({ vlan: tagGroup }),
      fc.record({ vlan: tagGroup, cvlan: tagGroup }),
      fc.constant({ vlan: { any: true } }),
      fc.record({ vlan: tagGroup, cvlan: fc.constant({ any: true }) }),
    ),
    behindTags,
  )
  .map((parts) => Object.assign({}, ...parts) as Typed);

/** Packets that begin with something else than an Ethernet header. */
const noEthernet: fc.Arbitrary<Typed> = typedHeaders.map((typed) => ({
  packetType: { ns: 1, id: typed.ethType },
  ...typed,
}));

export const anyMatch: fc.Arbitrary<FlowMatch<number>> = fc
  .tuple(
    fc.record({ inPort: fc.integer({ min: 0, max: 0xffff }) }),
    metadata,
    fc.oneof({ weight: 4, arbitrary: ethernet }, { weight: 1, arbitrary: noEthernet }),
  )
  .map((parts) => Object.assign({}, ...parts) as FlowMatch<number>);
