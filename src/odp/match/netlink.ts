/**
 * Match ⇄ netlink attributes, once for the key and once for the mask.
 *
 * Both have the same attributes, except inside `tunnel`. There, what the mask has and the key has
 * not is matched as zero: a flag is an attribute without payload, which says in the mask that the
 * flag is matched and in the key that it is set. The flag "key" is the attribute of the tunnel's
 * id.
 */
import { invalid } from '../../errors.js';
import {
  fieldOf,
  type Group,
  groupOf,
  groups,
  kEthTypeNone,
  kKeyEncap,
  kKeyEthertype,
  kKeyVlan,
  kMatchSize,
  kTunnelFlagAttributes,
  kTunnelFlagNames,
  kTunnelGeneve,
  type PartSpec,
  tags,
} from '../schema/compile.js';
import { type Attribute, align, attributes, kHeaderSize, putHeader } from '../text/nlattr.js';
import { acquire, Match, readInteger, writeInteger } from '../values/match.js';
import { decodeOptions, kMaxOptions } from './geneve.js';
import { dropSilent } from './prerequisites.js';

const ethType = groupOf('ethType');
const inPort = groupOf('inPort');
const tunnel = groupOf('tunnel');
const tunnelFlags = fieldOf('tunnel', 'flags');
const kTunnelId = kTunnelFlagAttributes[kTunnelFlagNames.indexOf('key')];
const kTunnelTtl = 4;

/** One of the two encodings in the making. */
class Side {
  readonly bytes = new Uint8Array(kMaxSize);
  at = 0;

  put(type: number, from: Uint8Array, start: number, size: number): void {
    const { bytes } = this;
    let { at } = this;
    putHeader(bytes, at, kHeaderSize + size, type);
    at += kHeaderSize;
    for (let i = 0; i < size; i++) bytes[at + i] = from[start + i]!;
    const end = at + align(size);
    for (at += size; at < end; at++) bytes[at] = 0;
    this.at = end;
  }

  /** Start an attribute that holds attributes; hand the answer to `end`. */
  begin(): number {
    const start = this.at;
    this.at += kHeaderSize;
    return start;
  }

  end(start: number, type: number): void {
    putHeader(this.bytes, start, this.at - start, type);
  }

  take(): Buffer {
    return Buffer.from(this.bytes.subarray(0, this.at));
  }
}

// Every attribute's header and padding; for each tag those of ETHERTYPE and ENCAP besides; for each
// part up to two; the tunnel's flags and options.
const partCount = groups.reduce((sum, { parts = [] }) => sum + parts.length, 0);
const kMaxSize =
  kMatchSize +
  2 * kHeaderSize * (groups.length + 2 * tags.length + 2 * partCount) +
  kHeaderSize * (kTunnelFlagAttributes.length + 1) +
  kMaxOptions;
const keySide = new Side();
const maskSide = new Side();

function put(type: number, match: Match, slot: number, size: number): void {
  keySide.put(type, match.key, slot, size);
  maskSide.put(type, match.mask, slot, size);
}

/**
 * Encode a complete Match. `places`: by `Group.index`, is told where in the key the bytes of each
 * group stand that are there as they are in the Match.
 */
export function encode(match: Match, places?: Int32Array): { key: Buffer; mask: Buffer } {
  const keyEncaps: number[] = [];
  const maskEncaps: number[] = [];
  keySide.at = 0;
  maskSide.at = 0;
  for (let i = 0; i < groups.length; i++) {
    const count = match.present[i]!;
    if (count === 0) continue;
    const group = groups[i]!;
    const { slot, size } = group;
    if (group.attribute === kKeyVlan && match.leavesOpen(group)) {
      maskSide.put(kKeyVlan, match.mask, slot, 2);
    } else if (group.attribute === kKeyVlan) {
      put(kKeyEthertype, match, slot, 2);
      put(kKeyVlan, match, slot + 2, 2);
      keyEncaps.push(keySide.begin());
      maskEncaps.push(maskSide.begin());
    } else if (group.parts !== undefined) {
      encodeParts(match, group, group.parts);
    } else {
      if (places !== undefined) places[i] = keySide.at + kHeaderSize;
      put(group.attribute, match, slot, group.entries === undefined ? size : 4 * count);
    }
  }
  for (const start of keyEncaps) keySide.end(start, kKeyEncap);
  for (const start of maskEncaps) maskSide.end(start, kKeyEncap);
  return { key: keySide.take(), mask: maskSide.take() };
}

function encodeParts(
  match: Match,
  group: Group,
  parts: readonly PartSpec[],
  isWhole = false,
): void {
  const keyStart = keySide.begin();
  const maskStart = maskSide.begin();
  for (const part of parts) {
    const at = group.slot + part.offset;
    // The TTL of a tunnel to be set is said even if it is zero: other datapaths want one.
    const isSaid = isWhole && group === tunnel && part.attribute === kTunnelTtl;
    if (!isSaid && isZero(match.mask, at, part.size)) continue;
    if (group === tunnel && part.attribute === kTunnelId) continue;
    putPart(maskSide, part, match.mask, at);
    if (isSaid || group !== tunnel || !isZero(match.key, at, part.size))
      putPart(keySide, part, match.key, at);
  }
  if (group === tunnel) encodeTunnelFlags(match);
  keySide.end(keyStart, group.attribute);
  maskSide.end(maskStart, group.attribute);
}

/** Encodes the payload of the group's attribute for a `set` of all of a group with parts. */
export function encodeWhole(match: Match, group: Group): Buffer {
  keySide.at = 0;
  maskSide.at = 0;
  encodeParts(match, group, group.parts ?? [], true);
  return keySide.take().subarray(kHeaderSize);
}

function putPart(side: Side, { attribute, inner, size }: PartSpec, from: Uint8Array, at: number) {
  if (inner === undefined) {
    side.put(attribute, from, at, size);
  } else {
    const start = side.begin();
    side.put(inner, from, at, size);
    side.end(start, attribute);
  }
}

/** The flags, the id with its flag, and the Geneve options. */
function encodeTunnelFlags(match: Match): void {
  const care = readInteger(match.mask, tunnelFlags);
  const flags = readInteger(match.key, tunnelFlags);
  kTunnelFlagAttributes.forEach((attribute, i) => {
    if (((care >> i) & 1) === 0) return;
    const size = attribute === kTunnelId ? 8 : 0;
    maskSide.put(attribute, match.mask, tunnel.slot, size);
    if ((flags >> i) & 1) keySide.put(attribute, match.key, tunnel.slot, size);
  });
  const { geneve } = match;
  if (geneve === undefined) return;
  if (geneve.key.length > 0) keySide.put(kTunnelGeneve, geneve.key, 0, geneve.key.length);
  maskSide.put(kTunnelGeneve, geneve.mask, 0, geneve.mask.length);
}

function isZero(bytes: Uint8Array, start: number, size: number): boolean {
  for (let i = start; i < start + size; i++) {
    if (bytes[i] !== 0) return false;
  }
  return true;
}

const groupByAttribute: ReadonlyMap<number, Group> = new Map(
  groups.filter((group) => group.attribute !== kKeyVlan).map((group) => [group.attribute, group]),
);

/**
 * A Match from netlink attributes. Without `mask` every attribute of the key is matched exactly.
 */
export function decode(key: Uint8Array, mask: Uint8Array | undefined): Match {
  const match = acquire();
  decodeLevel(match, 0, indexed(key, 0, key.length), mask && indexed(mask, 0, mask.length));
  if (!match.has(inPort)) throw invalid('flow key has no in_port attribute');
  dropSilent(match);
  return match;
}

/** There are fewer types of attributes; a list that is longer is no key, and takes long to search. */
const kMaxAttributes = 64;

/** Attributes, each of its own type, and the bytes they are in. */
class Attributes {
  constructor(
    readonly bytes: Uint8Array,
    readonly list: readonly Attribute[],
  ) {}

  find(type: number): Attribute | undefined {
    for (let i = 0; i < this.list.length; i++) {
      if (this.list[i]!.type === type) return this.list[i];
    }
    return undefined;
  }

  has(type: number): boolean {
    return this.find(type) !== undefined;
  }
}

function indexed(bytes: Uint8Array, start: number, end: number): Attributes {
  const list = attributes(bytes, start, end);
  if (list.length > kMaxAttributes) throw invalid(`flow key has ${list.length} attributes`);
  const found = new Attributes(bytes, list);
  for (const attribute of list) {
    if (found.find(attribute.type) !== attribute) {
      throw invalid(`key attribute ${attribute.type} appears twice`);
    }
  }
  return found;
}

/** An attribute that is not there. */
const kNone = { start: 0, end: 0 };

/** The attributes inside one; none if it is not there. */
function inside(attributes: Attributes, type: number): Attributes {
  const { start, end } = attributes.find(type) ?? kNone;
  return indexed(attributes.bytes, start, end);
}

/**
 * Read an attribute into the bytes of `group` at `slot`. An attribute that the mask lacks is
 * wildcarded; one that the key lacks is zero.
 */
function take(
  match: Match,
  group: Group,
  slot: number,
  size: number,
  type: number,
  keys: Attributes,
  masks: Attributes | undefined,
): void {
  const key = checked(keys, type, size, 'key');
  const mask = masks && checked(masks, type, size, 'mask');
  const fullAt = slot - group.slot;
  for (let i = 0; i < size; i++) {
    if (key !== undefined) match.key[slot + i] = keys.bytes[key.start + i]!;
    const full = group.fullMask[fullAt + i]!;
    if (masks === undefined) match.mask[slot + i] = key === undefined ? 0 : full;
    else if (mask !== undefined) match.mask[slot + i] = masks.bytes[mask.start + i]! & full;
  }
}

function checked(
  attributes: Attributes,
  type: number,
  size: number,
  what: 'key' | 'mask',
): Attribute | undefined {
  const found = attributes.find(type);
  if (found !== undefined && found.end - found.start !== size) {
    throw invalid(`${what} attribute ${type} has ${found.end - found.start} bytes, not ${size}`);
  }
  return found;
}

function decodeLevel(
  match: Match,
  depth: number,
  keys: Attributes,
  masks: Attributes | undefined,
): void {
  const tagged = keys.has(kKeyVlan) || keys.has(kKeyEncap);
  let shared = 0;
  for (const { type } of keys.list) {
    if (masks?.has(type)) shared++;
    if (!tagged || (type !== kKeyVlan && type !== kKeyEthertype && type !== kKeyEncap)) {
      decodeGroup(match, type, keys, masks);
    }
  }
  if (masks !== undefined && masks.list.length > shared) {
    decodeMaskAlone(match, keys, masks);
    const tag = tags[depth];
    if (tag !== undefined && !keys.has(kKeyVlan) && isZeroVlan(masks)) match.leaveOpen(tag);
  }
  if (tagged) decodeTag(match, depth, keys, masks);
}

/** Says whether the attribute of a tag is there, and has no bits. */
function isZeroVlan(masks: Attributes): boolean {
  const vlan = checked(masks, kKeyVlan, 2, 'mask');
  return vlan !== undefined && isZero(masks.bytes, vlan.start, 2);
}

/**
 * What the mask has and the key has not: metadata, which is matched as zero, and the type of frames
 * that have none.
 */
function decodeMaskAlone(match: Match, keys: Attributes, masks: Attributes): void {
  for (const { type } of masks.list) {
    if (keys.has(type) || type === kKeyVlan || type === kKeyEncap) continue;
    decodeGroup(match, type, keys, masks);
    const group = groupByAttribute.get(type) as Group;
    if (group === ethType) {
      writeInteger(match.key, ethType.fields[0]!, kEthTypeNone);
    } else if (group.layer !== 'meta' && !match.wildGroup(group)) {
      throw invalid(`key attribute ${type} is in the mask but not in the flow key`);
    }
  }
}

function decodeTag(
  match: Match,
  depth: number,
  keys: Attributes,
  masks: Attributes | undefined,
): void {
  const tag = tags[depth];
  if (tag === undefined) throw invalid(`flow key has more than ${tags.length} VLAN tags`);
  // Where no further tag can be, an empty ENCAP and none mean the same.
  const needed = [kKeyVlan, kKeyEthertype, ...(depth + 1 < tags.length ? [kKeyEncap] : [])];
  if (!needed.every((type) => keys.has(type))) {
    throw invalid('flow key has a VLAN tag without all of ETHERTYPE, VLAN and ENCAP');
  }
  match.present[tag.index] = 1;
  take(match, tag, tag.slot, 2, kKeyEthertype, keys, masks);
  take(match, tag, tag.slot + 2, 2, kKeyVlan, keys, masks);
  decodeLevel(match, depth + 1, inside(keys, kKeyEncap), masks && inside(masks, kKeyEncap));
}

function decodeGroup(
  match: Match,
  type: number,
  keys: Attributes,
  masks: Attributes | undefined,
): void {
  const group = groupByAttribute.get(type);
  if (group === undefined) throw invalid(`unknown key attribute ${type}`);
  if (group.parts !== undefined) {
    match.present[group.index] = 1;
    decodeParts(match, group, inside(keys, type), masks && inside(masks, type));
  } else {
    const size = group.entries === undefined ? group.size : entriesSize(group, keys, masks);
    match.present[group.index] = group.entries === undefined ? 1 : size / 4;
    take(match, group, group.slot, size, type, keys, masks);
  }
}

/** Bytes of an attribute that has one entry or more. */
function entriesSize(group: Group, keys: Attributes, masks: Attributes | undefined): number {
  const { start, end } = keys.find(group.attribute) ?? masks?.find(group.attribute) ?? kNone;
  const size = end - start;
  if (size === 0 || size % 4 !== 0 || size > group.size) {
    throw invalid(`key attribute ${group.attribute} has ${size} bytes, not 4 to ${group.size}`);
  }
  return size;
}

function decodeParts(
  match: Match,
  group: Group,
  keys: Attributes,
  masks: Attributes | undefined,
): void {
  const known = new Set<number>(group === tunnel ? [...kTunnelFlagAttributes, kTunnelGeneve] : []);
  for (const { attribute, inner, offset, size } of group.parts ?? []) {
    known.add(attribute);
    if (!keys.has(attribute) && !masks?.has(attribute)) continue;
    const at = group.slot + offset;
    if (inner === undefined) {
      take(match, group, at, size, attribute, keys, masks);
    } else {
      take(
        match,
        group,
        at,
        size,
        inner,
        inside(keys, attribute),
        masks && inside(masks, attribute),
      );
    }
  }
  for (const { type } of [...keys.list, ...(masks?.list ?? [])]) {
    if (!known.has(type)) throw invalid(`unknown attribute ${type} in "${group.name}"`);
  }
  if (group === tunnel) decodeTunnelFlags(match, keys, masks);
}

/** The reverse of `encodeWhole`. */
export function decodeWhole(group: Group, bytes: Uint8Array, start: number, end: number): Match {
  const match = new Match();
  match.present[group.index] = 1;
  decodeParts(match, group, indexed(bytes, start, end), undefined);
  return match;
}

function decodeTunnelFlags(match: Match, keys: Attributes, masks: Attributes | undefined): void {
  let flags = 0;
  let care = 0;
  kTunnelFlagAttributes.forEach((attribute, i) => {
    if (masks === undefined || masks.has(attribute)) care |= 1 << i;
    if (keys.has(attribute)) flags |= 1 << i;
  });
  writeInteger(match.key, tunnelFlags, flags & care);
  writeInteger(match.mask, tunnelFlags, care);
  if (!(masks ?? keys).has(kTunnelGeneve)) return;
  match.geneve = decodeOptions(
    payload(keys, kTunnelGeneve),
    masks && payload(masks, kTunnelGeneve),
  );
}

/** The bytes of an attribute; none if it is not there. */
function payload(attributes: Attributes, type: number): Uint8Array {
  const { start, end } = attributes.find(type) ?? kNone;
  return attributes.bytes.slice(start, end);
}
