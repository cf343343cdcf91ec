import type {
  kHashAlgorithms,
  kSampleDirections,
  kSlowPathReasons,
  NamedDropReason,
} from './names.js';
import type { kFragNames, kGroupSpecs } from './schema/compile.js';

/** A value, or a value of which only the bits set in `mask` matter. */
export type Maskable<T> = T | { readonly value: T; readonly mask: T };

/** 8-4-4-4-12 hexadecimal. */
export type Ufid = string;

/** A port by handle, name or number. */
export type PortRefLike = { readonly number: number } | string | number;

/** Turns names into port numbers and back; the datapath supplies it. */
export interface PortNames {
  /** Throws (ENODEV) for a port that does not exist. */
  number(ref: PortRefLike): number;
  name(number: number): string | undefined;
}

type Spec = (typeof kGroupSpecs)[number];

/** One option of a Geneve header. A field that is missing is wildcarded. */
export interface GeneveOption {
  readonly class?: Maskable<number>;
  readonly type?: Maskable<number>;
  /** Bytes of data, a multiple of four; by default those of `data`. Never wildcarded. */
  readonly len?: number;
  readonly data?: Maskable<Uint8Array>;
}

type FieldValue<F> = F extends { readonly kind: 'mac' | 'ipv4' | 'ipv6' }
  ? string
  : F extends { readonly kind: 'frag' }
    ? (typeof kFragNames)[number]
    : F extends { readonly kind: 'flags' }
      ? Maskable<number> | string
      : F extends { readonly size: 8 | 16 }
        ? Maskable<bigint | number>
        : F extends { readonly exact: true }
          ? number
          : Maskable<number>;

type MemberValue<F> = F extends { readonly nest: infer N extends readonly { key: string }[] }
  ? { readonly [M in N[number] as M['key']]?: MemberValue<M> }
  : F extends { readonly options: true }
    ? readonly GeneveOption[]
    : FieldValue<F>;

type EntryValue<G extends Spec> = {
  readonly [F in G['fields'][number] as F['key']]?: MemberValue<F>;
};

type GroupValue<G extends Spec> = G extends { readonly single: true }
  ? FieldValue<G['fields'][number]>
  : G extends { readonly entries: number }
    ? readonly EntryValue<G>[]
    : G extends { readonly layer: 'tag' }
      ? EntryValue<G> & { readonly any?: true }
      : EntryValue<G>;

type Settable<F> = F extends { readonly set: true } | { readonly nest: unknown } ? F : never;

/** The groups of the field table, each optional, in their typed form. */
export type FieldGroups = { readonly [G in Spec as Exclude<G['key'], 'inPort'>]?: GroupValue<G> };

/**
 * What a `set` action can write. Exactly one group must be given; a field that is left out keeps
 * its value.
 */
export type SettableGroups = {
  readonly [G in Spec as Settable<G['fields'][number]> extends never ? never : G['key']]?: G extends
    | { readonly single: true }
    | { readonly entries: number }
    ? GroupValue<G>
    : { readonly [F in Settable<G['fields'][number]> as F['key']]?: MemberValue<F> };
};

/** Groups of a header that either version of IP may carry. */
type OverIp = {
  [G in Spec as G extends { readonly layer: 'l4' }
    ? G extends { readonly ethTypes: unknown }
      ? never
      : G['key']
    : never]: true;
};
/** Groups of a header that an ICMPv6 message may carry. */
type OverIcmpv6 = { [G in Spec as G extends { readonly layer: 'nd' } ? G['key'] : never]: true };

type With<Key extends keyof FieldGroups> = {
  readonly [K in Key]-?: NonNullable<FieldGroups[K]>;
};
type Without<Groups> = { readonly [K in keyof Groups]?: undefined };

/**
 * What must be said of the headers below those that are matched: for the compiler, what
 * match/prerequisites.ts checks when the program runs.
 *
 * An object that a program writes down is one of these or does not compile. But where `ipv4` may be
 * there or not, as in a type whose values come from elsewhere, nothing can be said, and it must
 * pass. The compiler takes such a type apart, into one with `ipv4` and one where it is undefined;
 * the third alternative is for the latter. It does so only if no other alternative has a property
 * of that name in its way: hence the index signature.
 */
type Prerequisites =
  | (Pick<FieldGroups, 'ipv4'> & Without<OverIp> & Without<OverIcmpv6>)
  | (With<'ipv4'> & Without<OverIcmpv6>)
  | ({ readonly ipv4: undefined } & Without<OverIcmpv6>)
  | (MaybeIpv4 & (With<'ipv6'> | With<'ethType'> | With<'packetType'>) & Without<OverIcmpv6>)
  | (MaybeIpv4 & With<'icmpv6'> & Without<OverIp>);
type MaybeIpv4 = { readonly [group: `ipv4${string}`]: FieldGroups['ipv4'] };

/**
 * A match in its typed form. A group or field that is missing is wildcarded, with these exceptions:
 * `recircId` is 0; no `vlan` means untagged; a tag's `tpid` is 0x8100 and its `cfi` 1. Addresses
 * may carry a prefix length or a mask after '/'; flags may be written as in text, `'+syn-ack'` or
 * `'syn|ack'`.
 *
 * `vlan` is the outer tag, `cvlan` the one inside it; `ethType` is the type behind the tags. `vlan:
 * { any: true }` is any tags or none: `{ inPort, vlan: { any: true } }` is whatever comes in there;
 * `cvlan: { any: true }` says the same of what is inside the outer tag. What a
 * group needs below it (`ipv4` an `ethType` of 0x0800, `tcp` a `proto` of 6) is supplied if it is
 * left out.
 */
export type FlowMatch<Port extends PortRefLike = PortRefLike> = {
  readonly inPort: Port;
  readonly [group: string]: unknown;
} & Omit<FieldGroups, 'ipv4'> &
  Prerequisites;

/** Typed, or ODP text. */
export type MatchLike = FlowMatch | string;

/**
 * What Open vSwitch itself puts into the userdata of a `userspace` action. Numbers that are left
 * out are 0.
 */
export type UserspaceCookie<Port extends PortRefLike = PortRefLike> =
  | {
      readonly type: 'sFlow';
      readonly vid?: number;
      readonly pcp?: number;
      readonly output?: number;
    }
  | {
      readonly type: 'slowPath';
      /** Bits without a name stand together as one number. */
      readonly reasons?: readonly ((typeof kSlowPathReasons)[number] | number)[];
    }
  | {
      readonly type: 'flowSample';
      readonly probability?: number;
      readonly collectorSetId?: number;
      readonly obsDomainId?: number;
      readonly obsPointId?: number;
      readonly outputPort?: Port;
      readonly direction?: (typeof kSampleDirections)[number];
    }
  | { readonly type: 'ipfix'; readonly outputPort?: Port }
  | {
      readonly type: 'controller';
      readonly reason?: number;
      readonly dontSend?: number;
      readonly continuation?: number;
      readonly recircId?: number;
      readonly ruleCookie?: bigint | number;
      readonly controllerId?: number;
      readonly maxLen?: number;
    };

/** The `nat` of a `ct` action. Without a side it is whatever was agreed on for the connection. */
export interface CtNat {
  readonly side?: 'src' | 'dst';
  /** A range of addresses; without `max` it is the one. */
  readonly min?: string;
  readonly max?: string;
  /** A range of ports. */
  readonly portMin?: number;
  readonly portMax?: number;
  readonly persistent?: boolean;
  readonly hash?: boolean;
  readonly random?: boolean;
}

/** Headers that a `tnlPush` puts in front of a packet: outer ones, then one of a tunnel. */
export interface TunnelHeader {
  readonly eth: { readonly dst: string; readonly src: string };
  /** One of `ipv4` and `ipv6`. */
  readonly ipv4?: {
    readonly src: string;
    readonly dst: string;
    readonly proto: number;
    readonly tos: number;
    readonly ttl: number;
    readonly frag: number;
  };
  readonly ipv6?: {
    readonly src: string;
    readonly dst: string;
    readonly label: number;
    readonly proto: number;
    readonly tclass: number;
    readonly hlimit: number;
  };
  readonly udp?: { readonly src: number; readonly dst: number; readonly csum: number };
  readonly vxlan?: { readonly flags: number; readonly vni: number };
  readonly geneve?: {
    readonly oam?: boolean;
    readonly crit?: boolean;
    readonly vni: number;
    readonly options?: readonly GeneveOption[];
  };
  /** The flags say which of the last three are there. */
  readonly gre?: {
    readonly flags: number;
    readonly proto: number;
    readonly csum?: number;
    readonly key?: number;
    readonly seq?: number;
  };
  readonly erspan?:
    | { readonly ver: 1; readonly sid: number; readonly idx: number }
    | { readonly ver: 2; readonly sid: number; readonly dir: number; readonly hwid: number };
  readonly gtpu?: { readonly flags: number; readonly msgtype: number; readonly teid: number };
  readonly srv6?: { readonly segments: readonly string[] };
}

type Nested<Port extends PortRefLike> = readonly KnownAction<Port>[];

/** The actions there are; what parsing and decoding gives. */
export type KnownAction<Port extends PortRefLike = PortRefLike> =
  | { readonly type: 'output'; readonly port: Port }
  /**
   * Without a reason, only as the one action of a list: the same as an empty list. With one, only
   * as the last.
   */
  | { readonly type: 'drop'; readonly reason?: NamedDropReason | number }
  /**
   * `pid` is carried for the sake of OVS texts (default 0). `userdata`, or what a `cookie` stands
   * for, comes back with the upcall; at most 65512 bytes. `actions` and `tunnelOutPort` ask the
   * kernel to send something along.
   */
  | {
      readonly type: 'userspace';
      readonly pid?: number;
      readonly userdata?: Uint8Array;
      readonly cookie?: UserspaceCookie<Port>;
      readonly actions?: boolean;
      readonly tunnelOutPort?: Port;
    }
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
  /** `tc` defaults to 0; `ethType` is 0x8847 or 0x8848. */
  | {
      readonly type: 'pushMpls';
      readonly label: number;
      readonly tc?: number;
      readonly ttl: number;
      readonly bos: number;
      readonly ethType: number;
    }
  /** `ethType` is that of the packet without the label. */
  | { readonly type: 'popMpls'; readonly ethType: number }
  /**
   * The fields are those of `pushMpls`. With bit 0 of `tunFlags` the label goes behind the Ethernet header
   * instead of in front of it.
   */
  | {
      readonly type: 'addMpls';
      readonly label: number;
      readonly tc?: number;
      readonly ttl: number;
      readonly bos: number;
      readonly ethType: number;
      readonly tunFlags?: number;
    }
  | { readonly type: 'pushEth'; readonly src: string; readonly dst: string }
  | { readonly type: 'popEth' }
  /**
   * `ttl` defaults to 63, `mdtype` to 1, `np` to 3 (Ethernet), `si` to 255, all else to 0. With an
   * `mdtype` of 2 there is `md2`, up to 244 bytes, a multiple of four, in place of `c1` to `c4`.
   */
  | {
      readonly type: 'pushNsh';
      readonly flags?: number;
      readonly ttl?: number;
      readonly mdtype?: number;
      readonly np?: number;
      readonly spi?: number;
      readonly si?: number;
      readonly c1?: number;
      readonly c2?: number;
      readonly c3?: number;
      readonly c4?: number;
      readonly md2?: Uint8Array;
    }
  | { readonly type: 'popNsh' }
  | { readonly type: 'recirc'; readonly id: number }
  /** `basis` defaults to 0. */
  | {
      readonly type: 'hash';
      readonly algorithm: (typeof kHashAlgorithms)[number];
      readonly basis?: number;
    }
  /** `percent` of all packets, from 0 to 100, to one part in 2^32. */
  | { readonly type: 'sample'; readonly percent: number; readonly actions: Nested<Port> }
  | { readonly type: 'clone'; readonly actions: Nested<Port> }
  | { readonly type: 'trunc'; readonly maxLen: number }
  | {
      readonly type: 'checkPktLen';
      readonly size: number;
      readonly greater: Nested<Port>;
      readonly lessEqual: Nested<Port>;
    }
  /** `actions` are for packets whose TTL has run out. */
  | { readonly type: 'decTtl'; readonly actions: Nested<Port> }
  // The actions that follow are read and written, but no datapath will take them, yet: ERR_NOT_SUPPORTED.
  | {
      readonly type: 'ct';
      readonly commit?: boolean;
      readonly forceCommit?: boolean;
      readonly zone?: number;
      readonly mark?: Maskable<number>;
      readonly label?: Maskable<bigint | number>;
      readonly helper?: string;
      readonly timeout?: string;
      readonly nat?: CtNat;
    }
  | { readonly type: 'ctClear' }
  | { readonly type: 'meter'; readonly id: number }
  | { readonly type: 'lbOutput'; readonly bond: number }
  | {
      readonly type: 'tnlPush';
      readonly tnlPort: Port;
      readonly outPort: Port;
      readonly header: TunnelHeader;
    }
  | { readonly type: 'tnlPop'; readonly port: Port }
  /** The cookie has 1 to 16 bytes. */
  | { readonly type: 'psample'; readonly group: number; readonly cookie?: Uint8Array };

/** One ODP action; `type` is the ODP name in camelCase. */
export type Action<Port extends PortRefLike = PortRefLike> =
  | KnownAction<Port>
  | { readonly type: string; readonly [argument: string]: unknown };

/** Typed, or ODP text. */
export type ActionsLike = readonly Action[] | string;
