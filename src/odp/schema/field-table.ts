/**
 * The table: every group of fields, in the order of Open vSwitch's output, and the numbers and names
 * that it is made of. compile.ts says what the columns mean and makes the table ready for use.
 */

/**
 * How a field is written. `hex` has no 0x in front of a zero; `padded` always has, and where masks
 * are padded to their width, but not in front of a byte, which is decimal while it has no mask (NSH
 * and a few others). `ethType` pads to four digits; `flags` are names of bits.
 */
export type FieldKind =
  | 'dec'
  | 'hex'
  | 'ethType'
  | 'padded'
  | 'flags'
  | 'mac'
  | 'ipv4'
  | 'ipv6'
  | 'frag';

export interface FieldSpec {
  /** ODP name; '' for the one field of a `single` group. */
  readonly name: string;
  /** Another spelling that Open vSwitch prints. */
  readonly alias?: string;
  /** Name in the typed form. */
  readonly key: string;
  /** Bytes from the start of the group. */
  readonly offset: number;
  /** Bytes; of the integer that contains the field if `bits` is given. Above 4, a bigint. */
  readonly size: 1 | 2 | 4 | 6 | 8 | 16;
  /** Width in bits, when narrower than `size`. */
  readonly bits?: number;
  /** Position of the lowest bit, when `bits` is given. */
  readonly shift?: number;
  readonly kind: FieldKind;
  /** Names of the bits of `flags`, lowest first. */
  readonly names?: readonly string[];
  /** Always printed as `+a-b`, even where all flags are matched. */
  readonly signed?: true;
  /** Host byte order. */
  readonly host?: true;
  /** Cannot be masked. */
  readonly exact?: true;
  /** Value that is matched, exactly, when the group is given without this field. */
  readonly implied?: number;
  /** A `set` action may write it. */
  readonly set?: true;
}

/** Fields in a parenthesis of their own: `vxlan(gbp(id=1))`, `{ vxlan: { gbp: { id: 1 } } }`. */
export interface NestSpec {
  readonly name: string;
  readonly key: string;
  readonly nest: readonly MemberSpec[];
}

/** The Geneve options. */
export interface OptionsSpec {
  readonly name: string;
  readonly key: string;
  readonly options: true;
  readonly set: true;
}

export type MemberSpec = FieldSpec | NestSpec | OptionsSpec;

/** Bytes of a group that are an attribute inside the group's. */
export interface PartSpec {
  readonly attribute: number;
  /** The attribute holds one of this type, and that holds the bytes. */
  readonly inner?: number;
  readonly offset: number;
  readonly size: number;
}

export interface GroupSpec {
  /** ODP name. */
  readonly name: string;
  /** Name in the typed form. */
  readonly key: string;
  /** OVS_KEY_ATTR_*. */
  readonly attribute: number;
  /** Bytes of payload, or of all parts. */
  readonly size: number;
  /** Where it may stand: `meta` and `l2` only outside encap(). */
  readonly layer: 'meta' | 'l2' | 'tag' | 'type' | 'l3' | 'l4' | 'nd';
  /** Integers in host byte order. */
  readonly host?: true;
  /** The attribute holds attributes. */
  readonly parts?: readonly PartSpec[];
  /** How many times the fields may be there; `size` is of all of them. */
  readonly entries?: number;
  /** A `set` action writes all of it: fields that are left out become zero, masks are refused. */
  readonly setsWhole?: true;
  /** One unnamed field: `name(VALUE)` in text, a bare value in the typed form. */
  readonly single?: true;
  /**
   * Ethernet types of the packets that have this. The first is supplied when there is only one IP
   * version to choose.
   */
  readonly ethTypes?: readonly number[];
  /** IP protocol that carries this header. */
  readonly proto?: number;
  readonly fields: readonly MemberSpec[];
}

export const kEthTypeIpv4 = 0x0800;
export const kEthTypeArp = 0x0806;
export const kEthTypeRarp = 0x8035;
export const kEthTypeVlan = 0x8100;
export const kEthTypeQinq = 0x88a8;
export const kEthTypeIpv6 = 0x86dd;
export const kEthTypeMpls = 0x8847;
export const kEthTypeMplsMulticast = 0x8848;
export const kEthTypeNsh = 0x894f;
/** Below this it is a length. */
export const kEthTypeMin = 0x0600;
/** Stands for the type of frames that have none, but a length. */
export const kEthTypeNone = 0x05ff;

/** Namespace of a packet type whose id is an Ethernet type: a packet without Ethernet header. */
export const kPacketTypeEthType = 1;

/**
 * TPIDs that a tag may carry, matched or pushed. Behind one the core always finds a tag, so as a
 * payload type they make no sense while there is room for another.
 */
export const kTagTpids: readonly number[] = [kEthTypeVlan, kEthTypeQinq, 0x9100];

/** Neighbour solicitation and advertisement, the ICMPv6 types that carry `nd` and `nd_ext`. */
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

/** Names of the bits of a connection's state, lowest first. */
export const kCtStateNames = ['new', 'est', 'rel', 'rpl', 'inv', 'trk', 'snat', 'dnat'] as const;

/** Names of the tunnel flags, lowest first. */
export const kTunnelFlagNames = ['oam', 'df', 'csum', 'key'] as const;
/**
 * OVS_TUNNEL_KEY_ATTR_* of each tunnel flag. They have no payload; that of `key` is the tunnel's
 * id.
 */
export const kTunnelFlagAttributes = [7, 5, 6, 0] as const;
/** OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS. */
export const kTunnelGeneve = 8;

/** Metadata of an NSH header of this type is four words. */
export const kNshMdType1 = 1;

const kTag = [
  { name: 'tpid', key: 'tpid', offset: 0, size: 2, kind: 'ethType', exact: true, implied: 0x8100 },
  { name: 'vid', key: 'vid', offset: 2, size: 2, bits: 12, shift: 0, kind: 'dec' },
  { name: 'pcp', key: 'pcp', offset: 2, size: 2, bits: 3, shift: 13, kind: 'dec' },
  { name: 'cfi', key: 'cfi', offset: 2, size: 2, bits: 1, shift: 12, kind: 'dec', implied: 1 },
] as const satisfies readonly FieldSpec[];

const kPorts = [
  { name: 'src', key: 'src', offset: 0, size: 2, kind: 'dec', set: true },
  { name: 'dst', key: 'dst', offset: 2, size: 2, kind: 'dec', set: true },
] as const satisfies readonly FieldSpec[];

const kTypeAndCode = [
  { name: 'type', key: 'type', offset: 0, size: 1, kind: 'dec', set: true },
  { name: 'code', key: 'code', offset: 1, size: 1, kind: 'dec', set: true },
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
    fields: [
      { name: '', key: '', offset: 0, size: 4, kind: 'hex', exact: true, implied: 0, set: true },
    ],
  },
  {
    name: 'dp_hash',
    key: 'dpHash',
    attribute: 19,
    size: 4,
    layer: 'meta',
    host: true,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 4, kind: 'hex', set: true }],
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
    // Bytes of the parts: linux/openvswitch.h, linux/erspan.h and, for gtpu, Open vSwitch.
    name: 'tunnel',
    key: 'tunnel',
    attribute: 16,
    size: 74,
    layer: 'meta',
    setsWhole: true,
    parts: [
      { attribute: 0, offset: 0, size: 8 },
      { attribute: 1, offset: 8, size: 4 },
      { attribute: 2, offset: 12, size: 4 },
      { attribute: 12, offset: 16, size: 16 },
      { attribute: 13, offset: 32, size: 16 },
      { attribute: 3, offset: 48, size: 1 },
      { attribute: 4, offset: 49, size: 1 },
      { attribute: 9, offset: 50, size: 2 },
      { attribute: 10, offset: 52, size: 2 },
      { attribute: 11, inner: 1, offset: 56, size: 4 },
      { attribute: 15, offset: 60, size: 12 },
      { attribute: 18, offset: 72, size: 2 },
    ],
    fields: [
      { name: 'tun_id', key: 'tunId', offset: 0, size: 8, kind: 'padded', set: true },
      { name: 'src', key: 'src', offset: 8, size: 4, kind: 'ipv4', set: true },
      { name: 'dst', key: 'dst', offset: 12, size: 4, kind: 'ipv4', set: true },
      { name: 'ipv6_src', key: 'ipv6Src', offset: 16, size: 16, kind: 'ipv6', set: true },
      { name: 'ipv6_dst', key: 'ipv6Dst', offset: 32, size: 16, kind: 'ipv6', set: true },
      { name: 'tos', key: 'tos', offset: 48, size: 1, kind: 'hex', set: true },
      { name: 'ttl', key: 'ttl', offset: 49, size: 1, kind: 'dec', set: true },
      { name: 'tp_src', key: 'tpSrc', offset: 50, size: 2, kind: 'dec', set: true },
      { name: 'tp_dst', key: 'tpDst', offset: 52, size: 2, kind: 'dec', set: true },
      {
        name: 'vxlan',
        key: 'vxlan',
        nest: [
          {
            name: 'gbp',
            key: 'gbp',
            nest: [
              { name: 'id', key: 'id', offset: 56, size: 2, kind: 'dec', host: true, set: true },
              { name: 'flags', key: 'flags', offset: 58, size: 1, kind: 'hex', set: true },
            ],
          },
        ],
      },
      { name: 'geneve', key: 'geneve', options: true, set: true },
      {
        name: 'erspan',
        key: 'erspan',
        nest: [
          {
            name: 'ver',
            key: 'ver',
            offset: 60,
            size: 4,
            bits: 8,
            shift: 0,
            kind: 'dec',
            host: true,
            set: true,
          },
          { name: 'idx', key: 'idx', offset: 64, size: 4, kind: 'hex', set: true },
          {
            name: 'dir',
            key: 'dir',
            offset: 70,
            size: 2,
            bits: 1,
            shift: 3,
            kind: 'dec',
            set: true,
          },
          {
            name: 'hwid',
            key: 'hwid',
            offset: 70,
            size: 2,
            bits: 6,
            shift: 4,
            kind: 'hex',
            set: true,
          },
        ],
      },
      {
        name: 'gtpu',
        key: 'gtpu',
        nest: [
          { name: 'flags', key: 'flags', offset: 72, size: 1, kind: 'hex', set: true },
          { name: 'msgtype', key: 'msgtype', offset: 73, size: 1, kind: 'dec', set: true },
        ],
      },
      {
        name: 'flags',
        key: 'flags',
        offset: 54,
        size: 2,
        bits: 4,
        shift: 0,
        kind: 'flags',
        names: kTunnelFlagNames,
        set: true,
      },
    ],
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
    name: 'ct_state',
    key: 'ctState',
    attribute: 22,
    size: 4,
    layer: 'meta',
    host: true,
    single: true,
    fields: [
      {
        name: '',
        key: '',
        offset: 0,
        size: 4,
        bits: 8,
        shift: 0,
        kind: 'flags',
        names: kCtStateNames,
        signed: true,
      },
    ],
  },
  {
    name: 'ct_zone',
    key: 'ctZone',
    attribute: 23,
    size: 2,
    layer: 'meta',
    host: true,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 2, kind: 'hex' }],
  },
  {
    name: 'ct_mark',
    key: 'ctMark',
    attribute: 24,
    size: 4,
    layer: 'meta',
    host: true,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 4, kind: 'hex' }],
  },
  {
    name: 'ct_label',
    key: 'ctLabel',
    attribute: 25,
    size: 16,
    layer: 'meta',
    host: true,
    single: true,
    fields: [{ name: '', key: '', offset: 0, size: 16, kind: 'hex' }],
  },
  {
    // 13 bytes of fields; the C structure ends on a multiple of four.
    name: 'ct_tuple4',
    key: 'ctTuple4',
    attribute: 26,
    size: 16,
    layer: 'meta',
    ethTypes: [kEthTypeIpv4],
    fields: [
      { name: 'src', key: 'src', offset: 0, size: 4, kind: 'ipv4' },
      { name: 'dst', key: 'dst', offset: 4, size: 4, kind: 'ipv4' },
      { name: 'proto', key: 'proto', offset: 12, size: 1, kind: 'dec' },
      { name: 'tp_src', key: 'tpSrc', offset: 8, size: 2, kind: 'dec' },
      { name: 'tp_dst', key: 'tpDst', offset: 10, size: 2, kind: 'dec' },
    ],
  },
  {
    // 37 bytes, likewise. Open vSwitch prints names of ports that it does not read.
    name: 'ct_tuple6',
    key: 'ctTuple6',
    attribute: 27,
    size: 40,
    layer: 'meta',
    ethTypes: [kEthTypeIpv6],
    fields: [
      { name: 'src', key: 'src', offset: 0, size: 16, kind: 'ipv6' },
      { name: 'dst', key: 'dst', offset: 16, size: 16, kind: 'ipv6' },
      { name: 'proto', key: 'proto', offset: 36, size: 1, kind: 'dec' },
      { name: 'tp_src', alias: 'src_port', key: 'tpSrc', offset: 32, size: 2, kind: 'dec' },
      { name: 'tp_dst', alias: 'dst_port', key: 'tpDst', offset: 34, size: 2, kind: 'dec' },
    ],
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
    fields: [{ name: '', key: '', offset: 0, size: 2, kind: 'ethType' }],
  },
  {
    name: 'mpls',
    key: 'mpls',
    attribute: 21,
    size: 12,
    layer: 'l3',
    entries: 3,
    ethTypes: [kEthTypeMpls, kEthTypeMplsMulticast],
    fields: [
      {
        name: 'label',
        key: 'label',
        offset: 0,
        size: 4,
        bits: 20,
        shift: 12,
        kind: 'dec',
        set: true,
      },
      { name: 'tc', key: 'tc', offset: 0, size: 4, bits: 3, shift: 9, kind: 'dec', set: true },
      { name: 'ttl', key: 'ttl', offset: 0, size: 4, bits: 8, shift: 0, kind: 'dec', set: true },
      { name: 'bos', key: 'bos', offset: 0, size: 4, bits: 1, shift: 8, kind: 'dec', set: true },
    ],
  },
  {
    name: 'nsh',
    key: 'nsh',
    attribute: 28,
    size: 24,
    layer: 'l3',
    ethTypes: [kEthTypeNsh],
    parts: [
      { attribute: 1, offset: 0, size: 8 },
      { attribute: 2, offset: 8, size: 16 },
    ],
    fields: [
      {
        name: 'flags',
        key: 'flags',
        offset: 0,
        size: 1,
        bits: 2,
        shift: 0,
        kind: 'padded',
        set: true,
      },
      {
        name: 'ttl',
        key: 'ttl',
        offset: 1,
        size: 1,
        bits: 6,
        shift: 0,
        kind: 'padded',
        set: true,
      },
      { name: 'mdtype', key: 'mdtype', offset: 2, size: 1, kind: 'padded' },
      { name: 'np', key: 'np', offset: 3, size: 1, kind: 'padded' },
      {
        name: 'spi',
        key: 'spi',
        offset: 4,
        size: 4,
        bits: 24,
        shift: 8,
        kind: 'padded',
        set: true,
      },
      { name: 'si', key: 'si', offset: 7, size: 1, kind: 'padded', set: true },
      { name: 'c1', key: 'c1', offset: 8, size: 4, kind: 'padded', set: true },
      { name: 'c2', key: 'c2', offset: 12, size: 4, kind: 'padded', set: true },
      { name: 'c3', key: 'c3', offset: 16, size: 4, kind: 'padded', set: true },
      { name: 'c4', key: 'c4', offset: 20, size: 4, kind: 'padded', set: true },
    ],
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
      { name: 'sip', key: 'sip', offset: 0, size: 4, kind: 'ipv4', set: true },
      { name: 'tip', key: 'tip', offset: 4, size: 4, kind: 'ipv4', set: true },
      { name: 'op', key: 'op', offset: 8, size: 2, kind: 'dec', set: true },
      { name: 'sha', key: 'sha', offset: 10, size: 6, kind: 'mac', set: true },
      { name: 'tha', key: 'tha', offset: 16, size: 6, kind: 'mac', set: true },
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
    fields: [
      {
        name: '',
        key: '',
        offset: 0,
        size: 2,
        bits: 12,
        shift: 0,
        kind: 'flags',
        names: kTcpFlagNames,
      },
    ],
  },
  { name: 'udp', key: 'udp', attribute: 10, size: 4, layer: 'l4', proto: 17, fields: kPorts },
  { name: 'sctp', key: 'sctp', attribute: 17, size: 4, layer: 'l4', proto: 132, fields: kPorts },
  {
    name: 'icmp',
    key: 'icmp',
    attribute: 11,
    size: 2,
    layer: 'l4',
    setsWhole: true,
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
    setsWhole: true,
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
      { name: 'target', key: 'target', offset: 0, size: 16, kind: 'ipv6', set: true },
      { name: 'sll', key: 'sll', offset: 16, size: 6, kind: 'mac', set: true },
      { name: 'tll', key: 'tll', offset: 22, size: 6, kind: 'mac', set: true },
    ],
  },
  {
    // 5 bytes of fields in a structure of 8.
    name: 'nd_ext',
    key: 'ndExt',
    attribute: 30,
    size: 8,
    layer: 'nd',
    fields: [
      { name: 'nd_reserved', key: 'ndReserved', offset: 0, size: 4, kind: 'padded', set: true },
      {
        name: 'nd_options_type',
        key: 'ndOptionsType',
        offset: 4,
        size: 1,
        kind: 'dec',
        set: true,
      },
    ],
  },
] as const satisfies readonly GroupSpec[];
