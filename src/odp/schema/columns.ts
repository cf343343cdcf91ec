/** The columns of the field table: what there is to say of a field and of a group. */

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
  /** Says where it may stand: `meta` and `l2` only outside encap(). */
  readonly layer: 'meta' | 'l2' | 'tag' | 'type' | 'l3' | 'l4' | 'nd';
  /** Integers in host byte order. */
  readonly host?: true;
  /** The attribute holds attributes. */
  readonly parts?: readonly PartSpec[];
  /** The fields may be there so many times; `size` is that of all of them. */
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
