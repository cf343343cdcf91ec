/**
 * The field table of the flow language. metadata.ts and headers.ts are the table itself, columns.ts says what
 * its columns mean.
 *
 * A flow match exists in three forms: the typed object of the API (`{ inPort: 1, ipv4: { ttl: 64 }
 * }`), the text of Open vSwitch's datapath, "ODP" (`in_port(1),eth_type(0x0800),ipv4(ttl=64)`), and
 * the netlink attributes that cross into the core (OVS_KEY_ATTR_* of linux/openvswitch.h, once for
 * the key and once for the mask). The table says, once, what there is to match: groups, and in each
 * group fields. The types of the API are computed from it; parsing, printing, encoding and decoding
 * are loops over it. A new field is a line there and, if its notation is new, a case in `values/value.ts`.
 *
 *                     text                             netlink
 *                match/text.ts                    match/netlink.ts
 *                          \                      /
 *     typed ------------- Match (values/match.ts): key bytes and mask bytes
 *         match/typed.ts      |
 *                      match/prerequisites.ts
 *
 * A group is one netlink attribute. Its fields lie in the attribute's payload at fixed offsets,
 * most significant byte first, except where `host` says that it is the machine's order
 * (little-endian on every machine that Pollux runs on). Groups stand in the order in which Open
 * vSwitch prints them.
 *
 * Some groups hold more than a row of fields:
 *
 * - The attribute of `tunnel` and `nsh` holds attributes. What stands in them lies one after the
 *   other in the group's bytes, and `parts` says which bytes are which attribute. A part that is
 *   wildcarded has no attribute.
 * - `vxlan`, `erspan` and `gtpu` are members of `tunnel` with members of their own (`nest`).
 * - `mpls` is a list of up to three label stack entries (`entries`); a Match counts them.
 * - Geneve options are a list of any contents, up to 252 bytes. They have no place in the fixed
 *   bytes; see match/geneve.ts.
 *
 * VLAN tags are the exception to "one group, one attribute". On the wire of the key a tag is three
 * attributes: the tag's TPID as ETHERTYPE, its TCI as VLAN, and ENCAP around everything behind it.
 * In the table a tag is one group of four bytes, TPID then TCI (the layout of `struct
 * ovs_action_push_vlan`), so that the typed form stays flat: `vlan` is the outer tag, `cvlan` the
 * inner one, and `ethType` always the type of the payload behind the tags. No tag group means
 * "untagged", exactly; the core reads the absence of VLAN that way. In place of a tag may stand
 * "any" (`vlan(any)`, `vlan: { any: true }`): from there on tags are not looked at, there may be none or as
 * many as there are. Its encoding is an attribute VLAN of no bits in the mask and none in the key.
 *
 * Masks. A field that is not mentioned is wildcarded, unless it has an `implied` value, which is
 * then matched exactly. A group all of whose fields are wildcarded says nothing and is left out of
 * the canonical form, save for `eth`, whose presence says that the packet has an Ethernet header,
 * and the tags.
 */
import type { FieldSpec, GroupSpec, MemberSpec, PartSpec } from './columns.js';
import { kGroupSpecs } from './field-table.js';

export * from './columns.js';
export * from './field-table.js';
export * from './numbers.js';

/** A field with everything the loops need, worked out once. */
export interface Field extends FieldSpec {
  /** Offset in a Match's key and mask. */
  readonly at: number;
  /** Place among its siblings. */
  readonly order: number;
  /** Largest value of an integer field; its full mask too. 0 for addresses and bigints. */
  readonly max: number;
  readonly shift: number;
  /** The bits are the whole integer. */
  readonly whole: boolean;
  readonly little: boolean;
  /** A bigint. */
  readonly big: boolean;
  /** For messages: "ipv4.ttl". */
  readonly label: string;
}

/** Fields in a parenthesis of their own. */
export interface Nest extends Members {
  readonly kind: 'nest';
  readonly name: string;
  readonly key: string;
  readonly order: number;
  readonly label: string;
}

/** The Geneve options. */
export interface Options {
  readonly kind: 'options';
  readonly name: string;
  readonly key: string;
  readonly order: number;
  readonly label: string;
}

export type Member = Field | Nest | Options;

interface Members {
  /** Members in the order in which they are written. */
  readonly members: readonly Member[];
  /** All fields, also those of nests. */
  readonly fields: readonly Field[];
  readonly byKey: ReadonlyMap<string, Member>;
  readonly byName: ReadonlyMap<string, Member>;
}

export interface Group extends Omit<GroupSpec, 'fields' | 'entries'>, Members {
  readonly index: number;
  /** Offset in a Match's key and mask. */
  readonly slot: number;
  /** The members of each entry where there may be several; those of the group are the first's. */
  readonly entries: readonly Members[] | undefined;
  /** Mask of an exact match; zero in padding. */
  readonly fullMask: Uint8Array;
  /** A `set` action may write some of it. */
  readonly settable: boolean;
  /** Some field has an `implied` value. */
  readonly implies: boolean;
}

// All fields, and all groups, are spelled out in one order: objects of one shape keep the loops
// over them fast.
export function compileField(
  group: Pick<GroupSpec, 'host'>,
  field: FieldSpec,
  slot: number,
  order: number,
  label: string,
): Field {
  const integer = field.kind !== 'mac' && field.kind !== 'ipv4' && field.kind !== 'ipv6';
  return {
    name: field.name,
    alias: field.alias as string,
    key: field.key,
    offset: field.offset,
    size: field.size,
    kind: field.kind,
    names: field.names as readonly string[],
    signed: field.signed as true,
    exact: field.exact as true,
    implied: field.implied as number,
    set: field.set as true,
    at: slot + field.offset,
    order,
    max: field.size > 4 ? 0 : 2 ** (field.bits ?? field.size * 8) - 1,
    shift: field.shift ?? 0,
    whole: field.bits === undefined,
    little: group.host === true || field.host === true,
    big: integer && field.size > 4,
    label,
  };
}

function compileMembers(
  group: GroupSpec,
  specs: readonly MemberSpec[],
  slot: number,
  label: string,
): Members {
  const members = specs.map((spec, order): Member => {
    const { name, key } = spec;
    const path = key === '' ? label : `${label}.${key}`;
    if ('nest' in spec) {
      return {
        kind: 'nest',
        name,
        key,
        order,
        label: path,
        ...compileMembers(group, spec.nest, slot, path),
      };
    }
    if ('options' in spec) return { kind: 'options', name, key, order, label: path };
    return compileField(group, spec, slot, order, path);
  });
  const named = members.flatMap((member): [string, Member][] => {
    const alias = 'alias' in member ? member.alias : undefined;
    return alias === undefined
      ? [[member.name, member]]
      : [
          [member.name, member],
          [alias, member],
        ];
  });
  return {
    members,
    fields: members.flatMap((member) => {
      if (member.kind === 'options') return [];
      return member.kind === 'nest' ? member.fields : [member];
    }),
    byKey: new Map(members.map((member) => [member.key, member])),
    byName: new Map(named),
  };
}

function compileMask(size: number, slot: number, fields: readonly Field[]): Uint8Array {
  const mask = new Uint8Array(size);
  for (const { at, size, whole, shift, max, little } of fields) {
    if (whole) {
      mask.fill(255, at - slot, at - slot + size);
      continue;
    }
    for (let i = 0; i < size; i++) {
      const byte = at - slot + (little ? i : size - 1 - i);
      mask[byte] = mask[byte]! | (((max << shift) >>> (8 * i)) & 255);
    }
  }
  return mask;
}

function compileGroup(group: GroupSpec, index: number, slot: number): Group {
  const { entries: count = 1 } = group;
  const entries = Array.from({ length: count }, (_, entry) =>
    compileMembers(
      group,
      group.fields,
      slot + (entry * group.size) / count,
      count === 1 ? group.key : `${group.key}[${entry}]`,
    ),
  );
  const { members, fields, byKey, byName } = entries[0] as Members;
  return {
    name: group.name,
    key: group.key,
    attribute: group.attribute,
    size: group.size,
    layer: group.layer,
    host: group.host as true,
    parts: group.parts as readonly PartSpec[],
    setsWhole: group.setsWhole as true,
    single: group.single as true,
    ethTypes: group.ethTypes as readonly number[],
    proto: group.proto as number,
    index,
    slot,
    members,
    fields,
    byKey,
    byName,
    entries: count === 1 ? undefined : entries,
    fullMask: compileMask(
      group.size,
      slot,
      entries.flatMap((entry) => entry.fields),
    ),
    settable: fields.some((field) => field.set === true),
    implies: fields.some((field) => field.implied !== undefined),
  };
}

let total = 0;
/** Every group in output order. */
export const groups: readonly Group[] = kGroupSpecs.map((spec: GroupSpec, index) => {
  const group = compileGroup(spec, index, total);
  total += (spec.size + 3) & ~3;
  return group;
});

/** Bytes of a Match's key, and of its mask. */
export const kMatchSize = total;

export const groupByKey: ReadonlyMap<string, Group> = new Map(
  groups.map((group) => [group.key, group]),
);
/** By ODP name; both tags are called "vlan" and the outer one is found. */
export const groupByName: ReadonlyMap<string, Group> = new Map(
  [...groups].reverse().map((group) => [group.name, group]),
);

export type GroupKey = (typeof kGroupSpecs)[number]['key'];

/** The group of that typed name. */
export function groupOf(key: GroupKey): Group {
  return groupByKey.get(key) as Group;
}

/**
 * The field of that typed name, "erspan.ver" if it is nested; '' for the value of a single group.
 */
export function fieldOf(key: GroupKey, field: string): Field {
  const { fields, entries } = groupOf(key);
  if (field === '') return fields[0] as Field;
  const label = `${entries === undefined ? key : `${key}[0]`}.${field}`;
  return fields.find((candidate) => candidate.label === label) as Field;
}

/** In place of a tag, in text and in the typed form: whatever tags there are, or none. */
export const kAny = 'any';

/** The tag groups, outermost first. */
export const tags: readonly Group[] = groups.filter((group) => group.layer === 'tag');
