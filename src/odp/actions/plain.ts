/** Actions without lists in them whose arguments are a C structure, one value, or none. */
import { kEthTypeMpls, kEthTypeMplsMulticast, kEthTypeVlan, kTagTpids } from '../schema/compile.js';
import type { KnownAction } from '../types.js';
import { portOf, portWord } from '../values/port-ref.js';
import { type ActionKind, checkSize, takeU32 } from './kind.js';
import {
  compileLayout,
  fieldsOf,
  type LayoutSpec,
  layOut,
  printLayout,
  readLayout,
  takeLayout,
} from './layout.js';

const kOpen = 40;

/** OVS_ACTION_ATTR_OUTPUT. */
const kOutput = 1;

/** The port's number or name is all its text; the loop over the list reads it. */
export const output: ActionKind = {
  name: '',
  type: 'output',
  keys: ['port'],
  read: ({ scanner }) => scanner.fail(`expected an action, found ${scanner.found()}`),
  write: ({ port }, { ports }) => portWord(port, ports, 'output port'),
  wire: {
    attributes: [kOutput],
    encode({ port }, { writer, names }) {
      writer.putU32(kOutput, portOf(port, names, 'output port'));
    },
    decode: (attribute, { bytes }) => ({ type: 'output', port: takeU32(bytes, attribute) }),
  },
};

// ---------- nothing

interface BareSpec {
  readonly name: string;
  readonly key: string;
  /** OVS_ACTION_ATTR_*, if the datapath can do it. */
  readonly attribute?: number;
  /** The text has empty parentheses; they need not be read. */
  readonly parentheses?: true;
}

function bare({ name, key, attribute, parentheses }: BareSpec): ActionKind {
  const action = { type: key } as KnownAction<number>;
  const text = parentheses === true ? `${name}()` : name;
  const kind: ActionKind = {
    name,
    type: key,
    keys: [],
    read({ scanner }) {
      if (parentheses === true && scanner.take(kOpen)) scanner.close(name);
      return { ...action };
    },
    write: () => text,
  };
  if (attribute === undefined) return kind;
  return {
    ...kind,
    wire: {
      attributes: [attribute],
      encode(_, { writer }) {
        writer.put(attribute, 0);
      },
      decode(place) {
        checkSize(name, place, 0);
        return { ...action };
      },
    },
  };
}

const bareSpecs: readonly BareSpec[] = [
  { name: 'pop_vlan', key: 'popVlan', attribute: 5 },
  { name: 'pop_eth', key: 'popEth', attribute: 15 },
  { name: 'pop_nsh', key: 'popNsh', attribute: 18, parentheses: true },
  { name: 'ct_clear', key: 'ctClear' },
];

// ---------- structures

interface StructureSpec extends LayoutSpec {
  /** OVS_ACTION_ATTR_*, if the datapath can do it. */
  readonly attribute?: number;
}

function structure(spec: StructureSpec): ActionKind {
  const { name, key, size, attribute } = spec;
  const layout = compileLayout(spec);
  const typed = (bytes: Uint8Array) =>
    ({ type: key, ...takeLayout(layout, bytes) }) as unknown as KnownAction<number>;
  const kind: ActionKind = {
    name,
    type: key,
    keys: layout.keys,
    read: (reader, start) => typed(readLayout(layout, reader, start)),
    write: (action, printer) => `${name}(${printLayout(layout, action, printer)})`,
  };
  if (attribute === undefined) return kind;
  return {
    ...kind,
    wire: {
      attributes: [attribute],
      encode(action, { writer, names }) {
        writer.putBytes(attribute, layOut(layout, action, names));
      },
      decode(place, { bytes }) {
        checkSize(name, place, size);
        return typed(bytes.subarray(place.start, place.end));
      },
    },
  };
}

/** One 32-bit number in host order. */
function number(
  key: string,
  kind: 'dec' | 'hex' | 'port',
): Pick<LayoutSpec, 'size' | 'single' | 'fields'> {
  return {
    size: 4,
    single: true,
    fields: [{ name: key, key, offset: 0, size: 4, kind, host: true }],
  };
}

const ethType = { name: 'eth_type', key: 'ethType', size: 2, kind: 'hex' } as const;
const mplsType = { ...ethType, offset: 4, oneOf: [kEthTypeMpls, kEthTypeMplsMulticast] } as const;
const labelStackEntry = fieldsOf('mpls', { tc: { implied: 0 } });

const structureSpecs: readonly StructureSpec[] = [
  { name: 'trunc', key: 'trunc', attribute: 13, ...number('maxLen', 'dec') },
  { name: 'recirc', key: 'recirc', attribute: 7, ...number('id', 'hex') },
  {
    // struct ovs_action_push_vlan
    name: 'push_vlan',
    key: 'pushVlan',
    attribute: 4,
    size: 4,
    fields: fieldsOf('vlan', {
      tpid: { implied: kEthTypeVlan, quiet: true, oneOf: kTagTpids },
      pcp: { implied: 0 },
      cfi: { implied: 1, quiet: true },
    }),
  },
  {
    // struct ovs_action_push_mpls
    name: 'push_mpls',
    key: 'pushMpls',
    attribute: 9,
    size: 8,
    fields: [...labelStackEntry, mplsType],
  },
  {
    name: 'pop_mpls',
    key: 'popMpls',
    attribute: 10,
    size: 2,
    fields: [{ ...ethType, offset: 0 }],
  },
  {
    // struct ovs_action_add_mpls. Open vSwitch neither prints nor reads its flags.
    name: 'add_mpls',
    key: 'addMpls',
    attribute: 22,
    size: 8,
    fields: [
      ...labelStackEntry,
      mplsType,
      {
        name: 'tun_flags',
        key: 'tunFlags',
        offset: 6,
        size: 2,
        kind: 'hex',
        host: true,
        implied: 0,
        quiet: true,
      },
    ],
  },
  {
    // struct ovs_action_push_eth
    name: 'push_eth',
    key: 'pushEth',
    attribute: 14,
    size: 12,
    fields: fieldsOf('eth'),
  },
  // The datapath can do none of the following, yet.
  { name: 'meter', key: 'meter', ...number('id', 'dec') },
  { name: 'lb_output', key: 'lbOutput', ...number('bond', 'dec') },
  { name: 'tnl_pop', key: 'tnlPop', ...number('port', 'port') },
];

export const plainKinds: readonly ActionKind[] = [
  output,
  ...bareSpecs.map(bare),
  ...structureSpecs.map(structure),
];
