/**
 * The `set` action. A field group whose every field is given is OVS_ACTION_ATTR_SET; otherwise it
 * is OVS_ACTION_ATTR_SET_MASKED, with a mask that says which bits are written.
 *
 * Not all that can be matched can be written: whole groups cannot, nor the protocol of an IP header. It
 * is read and shown all the same, as Open vSwitch does, and refused where it is to be run. Such a field
 * may be given only where every field is, as Open vSwitch does it for datapaths without masks: the
 * core then checks that packets have that value already.
 *
 * Groups that `setsWhole` have no masks. Of an ICMP header all fields must be given. Of a tunnel,
 * what is not given is zero or not there, and the canonical form leaves it out.
 */
import { invalid, show } from '../../errors.js';
import { decodeOptions, hasMasks } from '../match/geneve.js';
import { decodeWhole, encodeWhole } from '../match/netlink.js';
import { checkTunnel, imply } from '../match/prerequisites.js';
import { formatGroup, formatTag, readGroup } from '../match/text.js';
import { putGroup, takeGroup } from '../match/typed.js';
import {
  type Field,
  fieldOf,
  type Group,
  groupByKey,
  groupByName,
  groupOf,
  groups,
  kTunnelFlagNames,
} from '../schema/compile.js';
import { type Attribute, attributes } from '../text/nlattr.js';
import type { KnownAction } from '../types.js';
import {
  acquire,
  isFull,
  type Match,
  readInteger,
  release,
  writeInteger,
} from '../values/match.js';
import type { Scanner } from '../values/scan.js';
import { takeValue } from '../values/value.js';
import { type ActionKind, checkSize, type Decoder, type Encoder, type Reader } from './kind.js';

/** OVS_ACTION_ATTR_*. */
const kSet = 3;
const kSetMasked = 11;

const settable = groups.filter((group) => group.settable);
const groupByAttribute: ReadonlyMap<number, Group> = new Map(
  settable.map((group) => [group.attribute, group]),
);
const hint = (name: 'name' | 'key') =>
  `settable: ${settable.map((group) => group[name]).join(', ')}`;

const tunnel = groupOf('tunnel');
const tunnelFlags = fieldOf('tunnel', 'flags');
const tunId = fieldOf('tunnel', 'tunId');
const kTunnelKey = 1 << kTunnelFlagNames.indexOf('key');
const erspanVersion = fieldOf('tunnel', 'erspan.ver');
/** By version, the fields that it has not. */
const erspanForeign: Readonly<Record<number, readonly Field[]>> = {
  1: [fieldOf('tunnel', 'erspan.dir'), fieldOf('tunnel', 'erspan.hwid')],
  2: [fieldOf('tunnel', 'erspan.idx')],
};

/** Must throw. `field` is what the message is about, if that is one field. */
type Complain = (message: string, field?: Field) => never;

/** A Match with only the group that is written, in canonical form. */
interface Setting {
  readonly match: Match;
  readonly group: Group;
}

// ---------- what can be set

/** Bytes of the group's attribute. */
function sizeOf(group: Group): number {
  return group.entries === undefined ? group.size : group.size / group.entries.length;
}

/** Every bit of the group is written. */
function isWhole({ match, group }: Setting): boolean {
  return group.fields.every((field) => isFull(match.mask, field));
}

/** Check the match of a group and make it canonical. `runs`: a datapath is to write it. */
function settle(setting: Setting, runs: boolean, complain: Complain): void {
  const { match, group } = setting;
  if (match.present[group.index]! > 1) {
    complain(`only one entry of "${group.name}" can be set, the outermost`);
  }
  if (group.setsWhole === true) {
    checkUnmasked(setting, complain);
    if (group === tunnel) settleTunnel(match, complain);
    else checkComplete(setting, complain);
  } else if (runs && (group.parts !== undefined || !isWhole(setting))) {
    for (const field of group.fields) {
      if (field.set !== true && !match.wild(field)) {
        complain(`cannot set "${field.name}" of "${group.name}"`, field);
      }
    }
  }
  maskValues(setting);
}

/** Zeroes the fields that the version of an ERSPAN header does not have. */
function dropForeign(match: Match): void {
  for (const field of erspanForeign[readInteger(match.key, erspanVersion)] ?? []) {
    writeInteger(match.key, field, 0);
    writeInteger(match.mask, field, 0);
  }
}

function checkUnmasked({ match, group }: Setting, complain: Complain): void {
  for (const field of group.fields) {
    if (!match.wild(field) && !isFull(match.mask, field)) {
      complain(`"${field.name}" of "${group.name}" cannot be masked in a set`, field);
    }
  }
}

function checkComplete({ match, group }: Setting, complain: Complain): void {
  const missing = group.fields.find((field) => match.wild(field));
  if (missing === undefined) return;
  complain(`"${group.name}" can only be set as a whole, and "${missing.name}" is missing`);
}

/** Zero the bits that are not written, as the kernel demands. */
function maskValues({ match, group }: Setting): void {
  for (let i = group.slot; i < group.slot + group.size; i++) {
    match.key[i] = match.key[i]! & match.mask[i]!;
  }
}

/**
 * All of an attribute is there or, if it is zero, nothing of it: that is what its absence means. The
 * id is there if its flag is.
 */
function settleTunnel(match: Match, complain: Complain): void {
  checkTunnel(match, (_, message) => complain(message));
  const flags = readInteger(match.key, tunnelFlags);
  writeInteger(match.mask, tunnelFlags, flags === 0 ? 0 : tunnelFlags.max);
  match.mask.fill((flags & kTunnelKey) !== 0 ? 255 : 0, tunId.at, tunId.at + tunId.size);
  for (const { offset, size } of tunnel.parts ?? []) {
    const at = tunnel.slot + offset;
    const said = match.key.subarray(at, at + size).some((byte) => byte !== 0);
    if (said) match.mask.set(tunnel.fullMask.subarray(offset, offset + size), at);
    else if (tunId.at !== at) match.mask.fill(0, at, at + size);
  }
  dropForeign(match);
  if (match.geneve === undefined) return;
  if (hasMasks(match.geneve)) complain('"geneve" of "tunnel" cannot be masked in a set');
  match.geneve = decodeOptions(match.geneve.key, undefined);
}

/** The typed action; the match is done with. */
function setOf({ match, group }: Setting): KnownAction<number> {
  // A single value with nothing to write still has to be named.
  const value =
    group.single === true
      ? takeValue(match.key, match.mask, group.fields[0]!)
      : takeGroup(match, group);
  release(match);
  return { type: 'set', field: { [group.key]: value } };
}

// ---------- text

function readSetting(reader: Reader): Setting {
  const scanner: Scanner = reader.scanner;
  scanner.open('set');
  const start = scanner.at;
  const group = groupByName.get(scanner.token());
  if (group === undefined || (reader.runs && !group.settable)) {
    scanner.fail(`cannot set ${scanner.found(start)}`, start, hint('name'));
  }
  const setting = { match: acquire(), group };
  const fields: Field[] = [];
  const places: number[] = [];
  readGroup(scanner, setting.match, group, start, (field, at) => {
    fields.push(field);
    places.push(at);
  });
  // In a match the TPID stands beside the tag.
  if (group.layer === 'tag') imply(setting.match, group, (field) => fields.includes(field));
  settle(setting, reader.runs, (message, field) =>
    scanner.fail(message, field === undefined ? start : (places[fields.indexOf(field)] ?? start)),
  );
  scanner.close('set');
  return setting;
}

// ---------- typed form

function settingOf(field: unknown, runs: boolean): Setting {
  if (typeof field !== 'object' || field === null) {
    throw invalid(`a set action needs a field, like { ipv4: { ttl: 64 } }, got ${show(field)}`);
  }
  const given = Object.entries(field).filter(([, value]) => value !== undefined);
  if (given.length !== 1) {
    throw invalid(`a set action writes exactly one field group, got ${given.length}`);
  }
  const [name, value] = given[0] as [string, unknown];
  const group = groupByKey.get(name);
  if (group === undefined || (runs && !group.settable)) {
    throw invalid(`cannot set ${show(name)}`, { hint: hint('key') });
  }
  const setting = { match: acquire(), group };
  putGroup(setting.match, group, value);
  settle(setting, runs, (message) => {
    throw invalid(message);
  });
  return setting;
}

// ---------- attributes

function encode(setting: Setting, { writer }: Encoder): void {
  const { match, group } = setting;
  const { attribute, slot, parts } = group;
  const whole = isWhole(setting) || group.setsWhole === true;
  const start = writer.begin(kSet);
  if (parts === undefined) {
    const end = slot + sizeOf(group);
    const key = match.key.subarray(slot, end);
    // Value and mask stand in one attribute, without padding between them.
    if (whole) writer.putBytes(attribute, key);
    else writer.putBytes(attribute, key, match.mask.subarray(slot, end));
  } else if (whole) {
    writer.putBytes(attribute, encodeWhole(match, group));
  } else {
    const members = writer.begin(attribute);
    for (const part of parts) {
      const [from, to] = [slot + part.offset, slot + part.offset + part.size];
      const mask = match.mask.subarray(from, to);
      if (mask.every((byte) => byte === 0)) continue;
      writer.putBytes(part.attribute, match.key.subarray(from, to), mask);
    }
    writer.end(members, attribute);
  }
  writer.end(start, whole ? kSet : kSetMasked);
}

function decode({ type, start, end }: Attribute, { bytes }: Decoder): Setting {
  const [attribute, more] = attributes(bytes, start, end);
  const group = attribute && groupByAttribute.get(attribute.type);
  if (attribute === undefined || group === undefined || more !== undefined) {
    throw invalid('a set attribute holds exactly one field that can be set');
  }
  const masked = type === kSetMasked;
  const setting = { group, match: matchOf(group, attribute, bytes, masked) };
  settle(setting, true, (message) => {
    throw invalid(message);
  });
  return setting;
}

function matchOf(group: Group, attribute: Attribute, bytes: Uint8Array, masked: boolean): Match {
  const { start, end } = attribute;
  if (group.parts !== undefined && !masked) {
    const whole = decodeWhole(group, bytes, start, end);
    dropForeign(whole);
    return whole;
  }
  const match = acquire();
  match.present[group.index] = 1;
  if (group.parts === undefined) {
    take(match, group, 0, sizeOf(group), bytes, attribute, masked);
    return match;
  }
  for (const member of attributes(bytes, start, end)) {
    const part = group.parts.find((candidate) => candidate.attribute === member.type);
    if (part === undefined) throw invalid(`unknown attribute ${member.type} in "${group.name}"`);
    take(match, group, part.offset, part.size, bytes, member, masked);
  }
  return match;
}

/** Value and mask of the `size` bytes at `offset` of a group. */
function take(
  match: Match,
  group: Group,
  offset: number,
  size: number,
  bytes: Uint8Array,
  attribute: Attribute,
  masked: boolean,
): void {
  checkSize(group.name, attribute, masked ? 2 * size : size);
  const { start } = attribute;
  const at = group.slot + offset;
  match.key.set(bytes.subarray(start, start + size), at);
  for (let i = 0; i < size; i++) {
    const full = group.fullMask[offset + i]!;
    match.mask[at + i] = masked ? bytes[start + size + i]! & full : full;
  }
}

// ---------- the action

export const set: ActionKind = {
  name: 'set',
  type: 'set',
  keys: ['field'],
  read: (reader) => setOf(readSetting(reader)),
  write({ field }) {
    const { match, group } = settingOf(field, false);
    const isTag = group.layer === 'tag';
    const text = isTag
      ? `${group.name}(${formatTag(match, group, false)})`
      : formatGroup(match, group, false);
    release(match);
    return `set(${text})`;
  },
  wire: {
    attributes: [kSet, kSetMasked],
    encode({ field }, encoder) {
      const setting = settingOf(field, true);
      encode(setting, encoder);
      release(setting.match);
    },
    decode: (attribute, decoder) => setOf(decode(attribute, decoder)),
  },
};
