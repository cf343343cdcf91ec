/**
 * Match ⇄ netlink attributes, once for the key and once for the mask, with the same attributes at
 * the same places.
 */
import { invalid } from '../errors.js';
import { acquire, type Match } from './match.js';
import { type Attribute, align, attributes, kHeaderSize, putHeader } from './nlattr.js';
import { dropSilent } from './prerequisites.js';
import {
  type Group,
  groupOf,
  groups,
  kKeyEncap,
  kKeyEthertype,
  kKeyVlan,
  kMatchSize,
  tags,
} from './schema.js';

// Every attribute's header, and for each tag those of ETHERTYPE and ENCAP besides, and their
// padding.
const kMaxSize = kMatchSize + kHeaderSize * groups.length + tags.length * 4 * kHeaderSize;
const keyBytes = new Uint8Array(kMaxSize);
const maskBytes = new Uint8Array(kMaxSize);

/** Encode a complete Match. */
export function encode(match: Match): { key: Buffer; mask: Buffer } {
  const { key, mask } = match;
  const encaps: number[] = [];
  let at = 0;

  const put = (type: number, slot: number, size: number) => {
    putHeader(keyBytes, at, kHeaderSize + size, type);
    putHeader(maskBytes, at, kHeaderSize + size, type);
    at += kHeaderSize;
    for (let i = 0; i < size; i++) {
      keyBytes[at + i] = key[slot + i]!;
      maskBytes[at + i] = mask[slot + i]!;
    }
    const end = at + align(size);
    for (at += size; at < end; at++) {
      keyBytes[at] = 0;
      maskBytes[at] = 0;
    }
  };

  for (let i = 0; i < groups.length; i++) {
    if (match.present[i] !== 1) continue;
    const group = groups[i]!;
    if (group.attribute === kKeyVlan) {
      put(kKeyEthertype, group.slot, 2);
      put(kKeyVlan, group.slot + 2, 2);
      encaps.push(at);
      at += kHeaderSize;
    } else {
      put(group.attribute, group.slot, group.size);
    }
  }
  for (const start of encaps) {
    putHeader(keyBytes, start, at - start, kKeyEncap);
    putHeader(maskBytes, start, at - start, kKeyEncap);
  }
  return {
    key: Buffer.from(keyBytes.subarray(0, at)),
    mask: Buffer.from(maskBytes.subarray(0, at)),
  };
}

const groupByAttribute: ReadonlyMap<number, Group> = new Map(
  groups.filter((group) => group.attribute !== kKeyVlan).map((group) => [group.attribute, group]),
);

/**
 * A Match from netlink attributes. Without `mask` every attribute of the key is matched exactly.
 */
export function decode(key: Uint8Array, mask: Uint8Array | undefined): Match {
  const match = acquire();
  decodeLevel(match, 0, key, index(key, 0, key.length), mask, mask && index(mask, 0, mask.length));
  if (!match.has(groupOf('inPort'))) throw invalid('flow key has no in_port attribute');
  dropSilent(match);
  return match;
}

type Attributes = ReadonlyMap<number, Attribute>;

function index(bytes: Uint8Array, start: number, end: number): Attributes {
  const found = new Map<number, Attribute>();
  for (const attribute of attributes(bytes, start, end)) {
    if (found.has(attribute.type)) throw invalid(`key attribute ${attribute.type} appears twice`);
    found.set(attribute.type, attribute);
  }
  return found;
}

function decodeLevel(
  match: Match,
  depth: number,
  key: Uint8Array,
  keys: Attributes,
  mask: Uint8Array | undefined,
  masks: Attributes | undefined,
): void {
  const tagged = keys.has(kKeyVlan) || keys.has(kKeyEncap);

  const take = (attribute: Attribute, group: Group, slot: number, size: number) => {
    if (attribute.end - attribute.start !== size) {
      throw invalid(
        `key attribute ${attribute.type} has ${attribute.end - attribute.start} bytes, not ${size}`,
      );
    }
    match.present[group.index] = 1;
    for (let i = 0; i < size; i++) match.key[slot + i] = key[attribute.start + i]!;
    const fullAt = slot - group.slot;
    if (mask === undefined) {
      for (let i = 0; i < size; i++) match.mask[slot + i] = group.fullMask[fullAt + i]!;
      return;
    }
    // An attribute that the mask lacks is wildcarded.
    const bits = masks?.get(attribute.type);
    if (bits === undefined) return;
    if (bits.end - bits.start !== size) {
      throw invalid(
        `mask attribute ${attribute.type} has ${bits.end - bits.start} bytes, not ${size}`,
      );
    }
    for (let i = 0; i < size; i++)
      match.mask[slot + i] = mask[bits.start + i]! & group.fullMask[fullAt + i]!;
  };

  const tag = tags[depth];
  for (const attribute of keys.values()) {
    if (tagged && (attribute.type === kKeyVlan || attribute.type === kKeyEthertype)) {
      if (tag === undefined) throw invalid(`flow key has more than ${tags.length} VLAN tags`);
      take(attribute, tag, attribute.type === kKeyVlan ? tag.slot + 2 : tag.slot, 2);
    } else if (attribute.type !== kKeyEncap) {
      const group = groupByAttribute.get(attribute.type);
      if (group === undefined) throw invalid(`unknown key attribute ${attribute.type}`);
      take(attribute, group, group.slot, group.size);
    }
  }
  if (!tagged) return;
  const encap = keys.get(kKeyEncap);
  if (encap === undefined || !keys.has(kKeyVlan) || !keys.has(kKeyEthertype)) {
    throw invalid('flow key has a VLAN tag without all of ETHERTYPE, VLAN and ENCAP');
  }
  const bits = masks?.get(kKeyEncap);
  decodeLevel(
    match,
    depth + 1,
    key,
    index(key, encap.start, encap.end),
    mask,
    mask && bits && index(mask, bits.start, bits.end),
  );
}
