/** Typed actions ⇄ netlink attributes. */
import { invalid } from '../errors.js';
import { Match } from './match.js';
import { portNumber, putGroup, takeGroup } from './match-typed.js';
import { AttributeWriter, attributes, kHeaderSize, kMaxAttribute } from './nlattr.js';
import { fieldOf, type Group, groupByKey, groupOf, groups, kTagTpids } from './schema.js';
import type { Action, PortNames } from './types.js';
import { show } from './value.js';

/** OVS_ACTION_ATTR_*. */
const kOutput = 1;
const kUserspace = 2;
const kSet = 3;
const kPushVlan = 4;
const kPopVlan = 5;
const kSetMasked = 11;

/** OVS_USERSPACE_ATTR_*. */
const kPid = 1;
const kUserdata = 2;

/** Longest userdata of a `userspace` action: what fits into one attribute beside the rest. */
export const kMaxUserdata = 65512;

/** Typed names of actions that Open vSwitch has and Pollux does not, yet. */
const kUnsupported: ReadonlySet<string> = new Set([
  'lbOutput',
  'trunc',
  'sample',
  'clone',
  'checkPktLen',
  'recirc',
  'hash',
  'meter',
  'ct',
  'ctClear',
  'pushNsh',
  'popNsh',
  'pushMpls',
  'popMpls',
  'addMpls',
  'pushEth',
  'popEth',
  'tnlPush',
  'tnlPop',
  'psample',
  'decTtl',
]);

const writer = new AttributeWriter();
const tag = groupOf('vlan');
const tagTpid = fieldOf('vlan', 'tpid');

interface Arguments {
  readonly [argument: string]: unknown;
}

/** The attributes of a list of actions. An empty list drops. */
export function encodeActionList(actions: readonly Action[], names: PortNames | undefined): Buffer {
  if (!Array.isArray(actions))
    throw invalid(`actions must be an array or text, got ${show(actions)}`);
  // Resolving a name is foreign code: have it all behind us before the shared writer is in use.
  const ports = actions.map((action) =>
    action?.type === 'output' ? outputPort((action as Arguments).port, names) : -1,
  );
  writer.reset();
  for (let i = 0; i < actions.length; i++) {
    const action = actions[i] as Action & Arguments;
    if (typeof action !== 'object' || action === null)
      throw invalid(`an action must be an object, got ${show(action)}`);
    switch (action.type) {
      case 'output':
        writer.putU32(kOutput, ports[i]!);
        break;
      case 'drop':
        if (actions.length > 1) throw invalid("'drop' must be the only action");
        break;
      case 'userspace':
        encodeUserspace(action);
        break;
      case 'set':
        encodeSet(action.field);
        break;
      case 'pushVlan':
        writer.putBytes(
          kPushVlan,
          tagFromTyped(action).key.subarray(tag.slot, tag.slot + tag.size),
        );
        break;
      case 'popVlan':
        writer.put(kPopVlan, 0);
        break;
      default:
        throw invalid(
          kUnsupported.has(action.type)
            ? `not supported yet: "${action.type}"`
            : `unknown action ${show(action.type)}`,
          { hint: 'known: output, drop, userspace, set, pushVlan, popVlan' },
        );
    }
    if (writer.length + kHeaderSize > kMaxAttribute) {
      throw invalid(`actions are longer than ${kMaxAttribute - kHeaderSize} bytes`);
    }
  }
  return writer.take();
}

function outputPort(port: unknown, names: PortNames | undefined): number {
  const number = portNumber(port, names, 'output port');
  if (number === undefined) throw invalid(`no port names to find ${show(port)} in`);
  return number;
}

/** The arguments of a `userspace` action, checked. */
export function userspaceArguments(action: Arguments): { pid: number; userdata?: Uint8Array } {
  const { pid = 0, userdata } = action;
  if (typeof pid !== 'number' || !Number.isInteger(pid) || pid < 0 || pid > 0xffffffff) {
    throw invalid(`userspace pid must be an integer from 0 to 4294967295, got ${show(pid)}`);
  }
  if (userdata === undefined) return { pid };
  if (!(userdata instanceof Uint8Array)) {
    throw invalid(`userspace userdata must be a Uint8Array, got ${show(userdata)}`);
  }
  if (userdata.length > kMaxUserdata) {
    throw invalid(`userspace userdata is at most ${kMaxUserdata} bytes, got ${userdata.length}`);
  }
  return { pid, userdata };
}

function encodeUserspace(action: Arguments): void {
  const { pid, userdata } = userspaceArguments(action);
  const start = writer.begin(kUserspace);
  writer.putU32(kPid, pid);
  if (userdata !== undefined) writer.putBytes(kUserdata, userdata);
  writer.end(start, kUserspace);
}

/** A Match with only the group that a `set` action writes. */
export function setFromTyped(field: unknown): { match: Match; group: Group } {
  if (typeof field !== 'object' || field === null) {
    throw invalid(`a set action needs a field, like { ipv4: { ttl: 64 } }, got ${show(field)}`);
  }
  const given = Object.entries(field).filter(([, value]) => value !== undefined);
  if (given.length !== 1) {
    throw invalid(`a set action writes exactly one field group, got ${given.length}`);
  }
  const [name, value] = given[0] as [string, unknown];
  const group = groupByKey.get(name);
  if (group === undefined || !group.settable) {
    throw invalid(`cannot set ${show(name)}`, { hint: kSettableHint });
  }
  const match = new Match();
  putGroup(match, group, value);
  for (const part of group.fields) {
    if (part.set !== true && !match.wild(part)) throw invalid(`cannot set ${part.label}`);
  }
  maskValues(match, group);
  return { match, group };
}

export const kSettableHint = `settable: ${groups
  .filter((group) => group.settable)
  .map((group) => group.key)
  .join(', ')}`;

/** Zero the bits that are not written, as the kernel demands. */
export function maskValues(match: Match, group: Group): void {
  for (let i = group.slot; i < group.slot + group.size; i++) {
    match.key[i] = match.key[i]! & match.mask[i]!;
  }
}

function isFullGroup(match: Match, group: Group): boolean {
  return group.fullMask.every((byte, i) => match.mask[group.slot + i] === byte);
}

function encodeSet(field: unknown): void {
  const { match, group } = setFromTyped(field);
  const end = group.slot + group.size;
  const key = match.key.subarray(group.slot, end);
  if (isFullGroup(match, group)) {
    const start = writer.begin(kSet);
    writer.putBytes(group.attribute, key);
    writer.end(start, kSet);
  } else {
    // Value and mask stand in one attribute, without padding between them.
    const start = writer.begin(kSetMasked);
    writer.putBytes(group.attribute, key, match.mask.subarray(group.slot, end));
    writer.end(start, kSetMasked);
  }
}

/** A Match with only the tag that a `pushVlan` action pushes, every field exact. */
export function tagFromTyped(action: Arguments): Match {
  const { type: _, pcp, ...fields } = action;
  if (fields.vid === undefined) throw invalid('pushVlan needs a vid');
  const match = new Match();
  putGroup(match, tag, { ...fields, pcp: pcp ?? 0 });
  checkPushedTag(match, (message) => {
    throw invalid(message);
  });
  return match;
}

/** What may be pushed: a tag without masks, of a known TPID. `complain` must throw. */
export function checkPushedTag(match: Match, complain: (message: string) => never): void {
  for (const field of tag.fields) {
    if (match.exact(field) === undefined)
      complain(`${field.name} of a pushed tag cannot be masked`);
  }
  if (!kTagTpids.includes(match.exact(tagTpid) as number)) {
    const known = kTagTpids.map((tpid) => `0x${tpid.toString(16)}`).join(', ');
    complain(`tpid of a pushed tag must be one of ${known}`);
  }
}

/** The typed action that pushes a tag. What has its usual value is left out. */
export function pushVlanOf(match: Match): Action<number> {
  const { vid, pcp, ...unusual } = takeGroup(match, tag) as { vid: number; pcp: number };
  return { type: 'pushVlan', vid, ...(pcp === 0 ? {} : { pcp }), ...unusual };
}

const groupByAttribute: ReadonlyMap<number, Group> = new Map(
  groups.filter((group) => group.settable).map((group) => [group.attribute, group]),
);

/**
 * The canonical typed form of attributes that `encodeActionList` made. Throws EINVAL for any other.
 */
export function decodeActionList(bytes: Uint8Array): Action<number>[] {
  const actions = attributes(bytes, 0, bytes.length).map(({ type, start, end }): Action<number> => {
    switch (type) {
      case kOutput:
        return { type: 'output', port: readU32(bytes, start, end) };
      case kUserspace:
        return decodeUserspace(bytes, start, end);
      case kSet:
      case kSetMasked:
        return { type: 'set', field: decodeSet(bytes, start, end, type === kSetMasked) };
      case kPushVlan:
        return decodePushVlan(bytes, start, end);
      case kPopVlan:
        return { type: 'popVlan' };
      default:
        throw invalid(`unknown action attribute ${type}`);
    }
  });
  return actions.length === 0 ? [{ type: 'drop' }] : actions;
}

function checkSize(what: string, start: number, end: number, size: number): void {
  if (end - start !== size)
    throw invalid(`${what} attribute has ${end - start} bytes, not ${size}`);
}

function readU32(bytes: Uint8Array, start: number, end: number): number {
  checkSize('a 32-bit', start, end, 4);
  return (
    (bytes[start]! |
      (bytes[start + 1]! << 8) |
      (bytes[start + 2]! << 16) |
      (bytes[start + 3]! << 24)) >>>
    0
  );
}

function decodeUserspace(bytes: Uint8Array, from: number, to: number): Action<number> {
  let pid = 0;
  let userdata: Buffer | undefined;
  for (const { type, start, end } of attributes(bytes, from, to)) {
    if (type === kPid) pid = readU32(bytes, start, end);
    else if (type === kUserdata) userdata = Buffer.from(bytes.subarray(start, end));
    else throw invalid(`unknown userspace attribute ${type}`);
  }
  return {
    type: 'userspace',
    ...(pid === 0 ? {} : { pid }),
    ...(userdata === undefined ? {} : { userdata }),
  };
}

function decodeSet(
  bytes: Uint8Array,
  from: number,
  to: number,
  masked: boolean,
): Record<string, unknown> {
  const [attribute, more] = attributes(bytes, from, to);
  const group = attribute && groupByAttribute.get(attribute.type);
  if (attribute === undefined || group === undefined || more !== undefined) {
    throw invalid('a set attribute holds exactly one field that can be set');
  }
  checkSize(group.name, attribute.start, attribute.end, masked ? 2 * group.size : group.size);
  const match = new Match();
  match.present[group.index] = 1;
  for (let i = 0; i < group.size; i++) {
    match.key[group.slot + i] = bytes[attribute.start + i]!;
    match.mask[group.slot + i] = masked
      ? bytes[attribute.start + group.size + i]!
      : group.fullMask[i]!;
  }
  // A single value with nothing to write still has to be named.
  const value = takeGroup(match, group) ?? { value: 0, mask: 0 };
  return { [group.key]: value };
}

function decodePushVlan(bytes: Uint8Array, start: number, end: number): Action<number> {
  checkSize('push_vlan', start, end, tag.size);
  const match = new Match();
  match.key.set(bytes.subarray(start, end), tag.slot);
  match.mask.set(tag.fullMask, tag.slot);
  return pushVlanOf(match);
}
