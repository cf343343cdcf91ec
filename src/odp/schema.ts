/**
 * The field table of the flow language.
 *
 * A flow match exists in three forms: the typed object of the API (`{ inPort: 1, ipv4: { ttl: 64 }
 * }`), the text of Open vSwitch's datapath, "ODP" (`in_port(1),eth_type(0x0800),ipv4(ttl=64)`), and
 * the netlink attributes that cross into the core (OVS_KEY_ATTR_* of linux/openvswitch.h, once for
 * the key and once for the mask). This file says, once, what there is to match: groups, and in each
 * group fields. The types of the API are computed from the table; parsing, printing, encoding and
 * decoding are loops over it. A new field is a line here and, if its notation is new, a case in
 * `value.ts`.
 *
 *                     text                             netlink
 *                match-text.ts                    match-netlink.ts
 *                          \                      /
 *     typed ------------- Match (match.ts): key bytes and mask bytes
 *         match-typed.ts      |
 *                      prerequisites.ts
 *
 * A group is one netlink attribute. Its fields lie in the attribute's payload at fixed offsets,
 * most significant byte first, except in the groups marked `host`, which are 32-bit integers in the
 * machine's order (little-endian on every machine that Pollux runs on). Groups stand in the order
 * in which Open vSwitch prints them.
 *
 * VLAN tags are the exception to "one group, one attribute". On the wire of the key a tag is three
 * attributes: the tag's TPID as ETHERTYPE, its TCI as VLAN, and ENCAP around everything behind it.
 * In the table a tag is one group of four bytes, TPID then TCI (the layout of `struct
 * ovs_action_push_vlan`), so that the typed form stays flat: `vlan` is the outer tag, `cvlan` the
 * inner one, and `ethType` always the type of the payload behind the tags. No tag group means
 * "untagged", exactly; the core reads the absence of VLAN that way.
 *
 * Masks. A field that is not mentioned is wildcarded, unless it has an `implied` value, which is
 * then matched exactly. A group all of whose fields are wildcarded says nothing and is left out of
 * the canonical form, save for `eth`, whose presence says that the packet has an Ethernet header,
 * and the tags.
 */

/**
 * How a field is written. `hex4` pads to four digits, as Ethernet types are printed; `flags` are
 * names of bits.
 */
export type FieldKind = 'dec' | 'hex' | 'hex4' | 'flags' | 'mac' | 'ipv4' | 'ipv6' | 'frag';

export interface FieldSpec {
  /** ODP name; '' for the one field of a `single` group. */
  readonly name: string;
  /** Name in the typed form. */
  readonly key: string;
  /** Bytes from the start of the payload. */
  readonly offset: number;
  /** Bytes; of the integer that contains the field if `bits` is given. */
  readonly size: 1 | 2 | 4 | 6 | 16;
  /** Width in bits, when narrower than `size`. */
  readonly bits?: number;
  /** Position of the lowest bit, when `bits` is given. */
  readonly shift?: number;
  readonly kind: FieldKind;
  /** Cannot be masked. */
  readonly exact?: true;
  /** Value that is matched, exactly, when the group is given without this field. */
  readonly implied?: number;
  /** A `set` action may write it. */
  readonly set?: true;
}

export interface GroupSpec {
  /** ODP name. */
  readonly name: string;
  /** Name in the typed form. */
  readonly key: string;
  /** OVS_KEY_ATTR_*. */
  readonly attribute: number;
  /** Bytes of payload. */
  readonly size: number;
  /** Where it may stand: `meta` and `l2` only outside encap(). */
  readonly layer: 'meta' | 'l2' | 'tag' | 'type' | 'l3' | 'l4' | 'nd';
  /** Integers in host byte order. */
  readonly host?: true;
  /** One unnamed field: `name(VALUE)` in text, a bare value in the typed form. */
  readonly single?: true;
  /**
   * Ethernet types that carry this header. The first is supplied when there is only one IP version
   * to choose.
   */
  readonly ethTypes?: readonly number[];
  /** IP protocol that carries this header. */
  readonly proto?: number;
  readonly fields: readonly FieldSpec[];
}

export const kEthTypeIpv4 = 0x0800;
export const kEthTypeArp = 0x0806;
export const kEthTypeRarp = 0x8035;
export const kEthTypeVlan = 0x8100;
export const kEthTypeQinq = 0x88a8;
export const kEthTypeIpv6 = 0x86dd;

/** TPIDs that a tag may carry, matched or pushed. */
export const kTagTpids: readonly number[] = [kEthTypeVlan, kEthTypeQinq, 0x9100];
/**
 * TPIDs behind which the core's parser always finds a tag: as a payload type they make no sense.
 */
export const kParsedTpids: readonly number[] = [kEthTypeVlan, kEthTypeQinq];

/** Neighbour solicitation and advertisement, the ICMPv6 types that carry `nd`. */
export const kNdTypes: readonly number[] = [135, 136];

/** OVS_KEY_ATTR_ENCAP and the two attributes a tag is made of. */
export const kKeyEncap = 1;
export const kKeyVlan = 5;
export const kKeyEthertype = 6;

/** Values of `frag`, OVS_FRAG_TYPE_* in order. */
export const kFragNames = ['no', 'first', 'later'] as const;

/** Names of the TCP flag bits, lowest first. */
export const kTcpFlagNames = [
  'fin',
  'syn',
  'rst',
  'psh',
  'ack',
  'urg',
  'ece',
  'cwr',
  'ns',
  '[200]',
  '[400]',
  '[800]',
] as const;

const kTag = [
  { name: 'tpid', key: 'tpid', offset: 0, size: 2, kind: 'hex4', exact: true, implied: 0x8100 },
  { name: 'vid', key: 'vid', offset: 2, size: 2, bits: 12, shift: 0, kind: 'dec' },
  { name: 'pcp', key: 'pcp', offset: 2, size: 2, bits: 3, shift: 13, kind: 'dec' },
  { name: 'cfi', key: 'cfi', offset: 2, size: 2, bits: 1, shift: 12, kind: 'dec', implied: 1 },
] as const satisfies readonly FieldSpec[];

const kPorts = [
  { name: 'src', key: 'src', offset: 0, size: 2, kind: 'dec', set: true },
  { name: 'dst', key: 'dst', offset: 2, size: 2, kind: 'dec', set: true },
] as const satisfies readonly FieldSpec[];

const kTypeAndCode = [
  { name: 'type', key: 'type', offset: 0, size: 1, kind: 'dec' },
  { name: 'code', key: 'code', offset: 1, size: 1, kind: 'dec' },
] as const satisfies readonly FieldSpec[];

/** Every group, in the order of Open vSwitch's output. */
export const kGroupSpecs = [
  {
    name: 'recirc_id',
    key: 'recircId',
    attribute: 20,
    size: 4,
    layer: 'meta',
    host: true,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 4, kind: 'hex', exact: true, implied: 0 }],
  },
  {
    name: 'dp_hash',
    key: 'dpHash',
    attribute: 19,
    size: 4,
    layer: 'meta',
    host: true,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 4, kind: 'hex' }],
  },
  {
    name: 'skb_priority',
    key: 'skbPriority',
    attribute: 2,
    size: 4,
    layer: 'meta',
    host: true,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 4, kind: 'hex', set: true }],
  },
  {
    name: 'in_port',
    key: 'inPort',
    attribute: 3,
    size: 4,
    layer: 'meta',
    host: true,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 4, kind: 'dec', exact: true }],
  },
  {
    name: 'skb_mark',
    key: 'skbMark',
    attribute: 15,
    size: 4,
    layer: 'meta',
    host: true,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 4, kind: 'hex', set: true }],
  },
  {
    name: 'packet_type',
    key: 'packetType',
    attribute: 29,
    size: 4,
    layer: 'meta',
    fields: [
      { name: 'ns', key: 'ns', offset: 0, size: 2, kind: 'dec' },
      { name: 'id', key: 'id', offset: 2, size: 2, kind: 'hex' },
    ],
  },
  {
    name: 'eth',
    key: 'eth',
    attribute: 4,
    size: 12,
    layer: 'l2',
    fields: [
      { name: 'src', key: 'src', offset: 0, size: 6, kind: 'mac', set: true },
      { name: 'dst', key: 'dst', offset: 6, size: 6, kind: 'mac', set: true },
    ],
  },
  { name: 'vlan', key: 'vlan', attribute: kKeyVlan, size: 4, layer: 'tag', fields: kTag },
  { name: 'vlan', key: 'cvlan', attribute: kKeyVlan, size: 4, layer: 'tag', fields: kTag },
  {
    name: 'eth_type',
    key: 'ethType',
    attribute: kKeyEthertype,
    size: 2,
    layer: 'type',
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 2, kind: 'hex4' }],
  },
  {
    name: 'ipv4',
    key: 'ipv4',
    attribute: 7,
    size: 12,
    layer: 'l3',
    ethTypes: [kEthTypeIpv4],
    fields: [
      { name: 'src', key: 'src', offset: 0, size: 4, kind: 'ipv4', set: true },
      { name: 'dst', key: 'dst', offset: 4, size: 4, kind: 'ipv4', set: true },
      { name: 'proto', key: 'proto', offset: 8, size: 1, kind: 'dec' },
      { name: 'tos', key: 'tos', offset: 9, size: 1, kind: 'hex', set: true },
      { name: 'ttl', key: 'ttl', offset: 10, size: 1, kind: 'dec', set: true },
      { name: 'frag', key: 'frag', offset: 11, size: 1, kind: 'frag', exact: true },
    ],
  },
  {
    name: 'ipv6',
    key: 'ipv6',
    attribute: 8,
    size: 40,
    layer: 'l3',
    ethTypes: [kEthTypeIpv6],
    fields: [
      { name: 'src', key: 'src', offset: 0, size: 16, kind: 'ipv6', set: true },
      { name: 'dst', key: 'dst', offset: 16, size: 16, kind: 'ipv6', set: true },
      {
        name: 'label',
        key: 'label',
        offset: 32,
        size: 4,
        bits: 20,
        shift: 0,
        kind: 'hex',
        set: true,
      },
      { name: 'proto', key: 'proto', offset: 36, size: 1, kind: 'dec' },
      { name: 'tclass', key: 'tclass', offset: 37, size: 1, kind: 'hex', set: true },
      { name: 'hlimit', key: 'hlimit', offset: 38, size: 1, kind: 'dec', set: true },
      { name: 'frag', key: 'frag', offset: 39, size: 1, kind: 'frag', exact: true },
    ],
  },
  {
    // 22 bytes of fields; the C structure ends on a multiple of four.
    name: 'arp',
    key: 'arp',
    attribute: 13,
    size: 24,
    layer: 'l3',
    ethTypes: [kEthTypeArp, kEthTypeRarp],
    fields: [
      { name: 'sip', key: 'sip', offset: 0, size: 4, kind: 'ipv4' },
      { name: 'tip', key: 'tip', offset: 4, size: 4, kind: 'ipv4' },
      { name: 'op', key: 'op', offset: 8, size: 2, kind: 'dec' },
      { name: 'sha', key: 'sha', offset: 10, size: 6, kind: 'mac' },
      { name: 'tha', key: 'tha', offset: 16, size: 6, kind: 'mac' },
    ],
  },
  { name: 'tcp', key: 'tcp', attribute: 9, size: 4, layer: 'l4', proto: 6, fields: kPorts },
  {
    name: 'tcp_flags',
    key: 'tcpFlags',
    attribute: 18,
    size: 2,
    layer: 'l4',
    proto: 6,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 2, bits: 12, shift: 0, kind: 'flags' }],
  },
  { name: 'udp', key: 'udp', attribute: 10, size: 4, layer: 'l4', proto: 17, fields: kPorts },
  { name: 'sctp', key: 'sctp', attribute: 17, size: 4, layer: 'l4', proto: 132, fields: kPorts },
  {
    name: 'icmp',
    key: 'icmp',
    attribute: 11,
    size: 2,
    layer: 'l4',
    proto: 1,
    ethTypes: [kEthTypeIpv4],
    fields: kTypeAndCode,
  },
  {
    name: 'icmpv6',
    key: 'icmpv6',
    attribute: 12,
    size: 2,
    layer: 'l4',
    proto: 58,
    ethTypes: [kEthTypeIpv6],
    fields: kTypeAndCode,
  },
  {
    name: 'nd',
    key: 'nd',
    attribute: 14,
    size: 28,
    layer: 'nd',
    fields: [
      { name: 'target', key: 'target', offset: 0, size: 16, kind: 'ipv6' },
      { name: 'sll', key: 'sll', offset: 16, size: 6, kind: 'mac' },
      { name: 'tll', key: 'tll', offset: 22, size: 6, kind: 'mac' },
    ],
  },
] as const satisfies readonly GroupSpec[];

/**
 * ODP names of groups that exist in Open vSwitch and not here, for an error better than "unknown".
 */
export const kUnsupportedGroups: ReadonlySet<string> = new Set([
  'tunnel',
  'ct_state',
  'ct_zone',
  'ct_mark',
  'ct_label',
  'ct_tuple4',
  'ct_tuple6',
  'mpls',
  'nd_ext',
  'nsh',
]);

// ---------- the table, ready for use

/** A field with everything the loops need, worked out once. */
export interface Field extends FieldSpec {
  /** Offset in a Match's key and mask. */
  readonly at: number;
  /** Largest value of an integer field; its full mask too. */
  readonly max: number;
  readonly shift: number;
  /** The bits are the whole integer. */
  readonly whole: boolean;
  readonly little: boolean;
  /** For messages: "ipv4.ttl". */
  readonly label: string;
}

export interface Group extends GroupSpec {
  readonly index: number;
  /** Offset in a Match's key and mask. */
  readonly slot: number;
  readonly fields: readonly Field[];
  readonly byKey: ReadonlyMap<string, Field>;
  readonly byName: ReadonlyMap<string, Field>;
  /** Mask of an exact match; zero in padding. */
  readonly fullMask: Uint8Array;
  /** A `set` action may write some of it. */
  readonly settable: boolean;
  /** Some field has an `implied` value. */
  readonly implies: boolean;
}

// All fields, and all groups, are spelled out in one order: objects of one shape keep the loops
// over them fast.
function compileField(group: GroupSpec, field: FieldSpec, slot: number): Field {
  return {
    name: field.name,
    key: field.key,
    offset: field.offset,
    size: field.size,
    kind: field.kind,
    exact: field.exact as true,
    implied: field.implied as number,
    set: field.set as true,
    at: slot + field.offset,
    max: field.size > 4 ? 0 : 2 ** (field.bits ?? field.size * 8) - 1,
    shift: field.shift ?? 0,
    whole: field.bits === undefined,
    little: group.host === true,
    label: field.key === '' ? group.key : `${group.key}.${field.key}`,
  };
}

function compileMask(group: GroupSpec): Uint8Array {
  const mask = new Uint8Array(group.size);
  for (const { offset, size, bits = size * 8, shift = 0 } of group.fields) {
    for (let bit = shift; bit < shift + bits; bit++) {
      const byte = offset + size - 1 - (bit >> 3);
      mask[byte] = mask[byte]! | (1 << (bit & 7));
    }
  }
  return mask;
}

function compileGroup(group: GroupSpec, index: number, slot: number): Group {
  const fields = group.fields.map((field) => compileField(group, field, slot));
  return {
    name: group.name,
    key: group.key,
    attribute: group.attribute,
    size: group.size,
    layer: group.layer,
    host: group.host as true,
    single: group.single as true,
    ethTypes: group.ethTypes as readonly number[],
    proto: group.proto as number,
    index,
    slot,
    fields,
    byKey: new Map(fields.map((field) => [field.key, field])),
    byName: new Map(fields.map((field) => [field.name, field])),
    fullMask: compileMask(group),
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

/** The field of that typed name; '' for the value of a single group. */
export function fieldOf(key: GroupKey, field: string): Field {
  return groupOf(key).byKey.get(field) as Field;
}

/** The tag groups, outermost first. */
export const tags: readonly Group[] = groups.filter((group) => group.layer === 'tag');
