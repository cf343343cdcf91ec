import type { kFragNames, kGroupSpecs } from './schema.js';

/** A value, or a value of which only the bits set in `mask` matter. */
export type Maskable<T> = T | { readonly value: T; readonly mask: T };

/** 8-4-4-4-12 hexadecimal. */
export type Ufid = string;

/** A port by handle, name or number. */
export type PortRefLike = { readonly number: number } | string | number;

/** How names become port numbers and back; the datapath supplies it. */
export interface PortNames {
  /** Throws (ENODEV) for a port that does not exist. */
  number(ref: PortRefLike): number;
  name(number: number): string | undefined;
}

type Spec = (typeof kGroupSpecs)[number];

type FieldValue<F> = F extends { readonly kind: 'mac' | 'ipv4' | 'ipv6' }
  ? string
  : F extends { readonly kind: 'frag' }
    ? (typeof kFragNames)[number]
    : F extends { readonly exact: true }
      ? number
      : Maskable<number>;

type GroupValue<G extends Spec> = G extends { readonly single: true }
  ? FieldValue<G['fields'][number]>
  : { readonly [F in G['fields'][number] as F['key']]?: FieldValue<F> };

type SettableField<F> = F extends { readonly set: true } ? F : never;

/** The groups of the field table, each optional, in their typed form. */
export type FieldGroups = { readonly [G in Spec as Exclude<G['key'], 'inPort'>]?: GroupValue<G> };

/**
 * What a `set` action can write. Exactly one group must be given; a field that is left out keeps
 * its value.
 */
export type SettableGroups = {
  readonly [G in Spec as SettableField<G['fields'][number]> extends never
    ? never
    : G['key']]?: G extends {
    readonly single: true;
  }
    ? FieldValue<G['fields'][number]>
    : { readonly [F in SettableField<G['fields'][number]> as F['key']]?: FieldValue<F> };
};

/**
 * A match in its typed form. A group or field that is missing is wildcarded, with these exceptions:
 * `recircId` is 0; no `vlan` means untagged; a tag's `tpid` is 0x8100 and its `cfi` 1. Addresses
 * may carry a prefix length or a mask after '/'.
 *
 * `vlan` is the outer tag, `cvlan` the one inside it; `ethType` is the type behind the tags. What a
 * group needs below it (`ipv4` an `ethType` of 0x0800, `tcp` a `proto` of 6) is supplied if it is
 * left out.
 */
export interface FlowMatch<Port extends PortRefLike = PortRefLike> extends FieldGroups {
  readonly inPort: Port;
  readonly [group: string]: unknown;
}

/** Typed, or ODP text. */
export type MatchLike = FlowMatch | string;

/** One ODP action; `type` is the ODP name in camelCase. */
export type Action<Port extends PortRefLike = PortRefLike> =
  | { readonly type: 'output'; readonly port: Port }
  /** Only as the one action of a list; the same as an empty list. */
  | { readonly type: 'drop' }
  /**
   * `pid` is carried for the sake of OVS texts (default 0); `userdata` comes back with the upcall,
   * at most 65512 bytes.
   */
  | { readonly type: 'userspace'; readonly pid?: number; readonly userdata?: Uint8Array }
  | { readonly type: 'set'; readonly field: SettableGroups | Readonly<Record<string, unknown>> }
  /** `pcp` defaults to 0, `tpid` to 0x8100, `cfi` to 1 as the kernel demands. */
  | {
      readonly type: 'pushVlan';
      readonly vid: number;
      readonly pcp?: number;
      readonly tpid?: number;
      readonly cfi?: number;
    }
  | { readonly type: 'popVlan' }
  | { readonly type: string; readonly [argument: string]: unknown };

/** Typed, or ODP text. */
export type ActionsLike = readonly Action[] | string;
