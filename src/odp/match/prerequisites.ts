/**
 * What must hold between the groups of a match before the core can use it: a header is matched only
 * where it is certain to be (an IPv4 header under an exact eth_type, TCP under an exact protocol),
 * and nothing is asked for twice in different ways. The typed form leaves the obvious unsaid, so
 * there it is supplied; in text everything must be written, as in Open vSwitch.
 */

import {
  type Field,
  fieldOf,
  type Group,
  groupOf,
  groups,
  kEthTypeIpv4,
  kEthTypeIpv6,
  kEthTypeMin,
  kEthTypeNone,
  kNdTypes,
  kNshMdType1,
  kPacketTypeEthType,
  kTagTpids,
  kTunnelFlagNames,
  tags,
} from '../schema/compile.js';
import { type Match, readBig, readInteger, writeInteger } from '../values/match.js';

/** Turns a violation into an error; it must throw. `group` is the one that cannot be there. */
export type Complain = (group: Group, message: string, hint?: string) => never;

const inPort = groupOf('inPort');
const recircId = groupOf('recircId');
const recircIdValue = fieldOf('recircId', '');
const ethType = groupOf('ethType');
const ethTypeValue = fieldOf('ethType', '');
const packetType = groupOf('packetType');
const packetTypeNs = fieldOf('packetType', 'ns');
const packetTypeId = fieldOf('packetType', 'id');
const tunnel = groupOf('tunnel');
const tunId = fieldOf('tunnel', 'tunId');
const tunnelFlags = fieldOf('tunnel', 'flags');
const kTunnelKey = 1 << kTunnelFlagNames.indexOf('key');
const erspanVersion = fieldOf('tunnel', 'erspan.ver');
/** Fields of an ERSPAN header, with the version that has them. */
const erspanFields = [
  [fieldOf('tunnel', 'erspan.idx'), 1],
  [fieldOf('tunnel', 'erspan.dir'), 2],
  [fieldOf('tunnel', 'erspan.hwid'), 2],
] as const;
const ctTuple4 = groupOf('ctTuple4');
const ctTuple6 = groupOf('ctTuple6');
const mpls = groupOf('mpls');
const mplsBos = (mpls.entries ?? []).map(({ byKey }) => byKey.get('bos') as Field);
const nsh = groupOf('nsh');
const nshMdType = fieldOf('nsh', 'mdtype');
const nshContext = nsh.fields.filter(({ key }) => /^c\d$/.test(key));
const eth = groupOf('eth');
const icmpv6 = groupOf('icmpv6');
const icmpv6Type = fieldOf('icmpv6', 'type');
const icmpv6Code = fieldOf('icmpv6', 'code');
const ndGroups = groups.filter((group) => group.layer === 'nd');
const l3Groups = groups.filter((group) => group.layer === 'l3');
const l4Groups = groups.filter((group) => group.layer === 'l4');
const kFragLater = 2;

interface Ip {
  readonly group: Group;
  readonly ethType: number;
  readonly proto: Field;
  readonly frag: Field;
}
const ips: readonly Ip[] = (['ipv4', 'ipv6'] as const).map((key) => ({
  group: groupOf(key),
  ethType: key === 'ipv4' ? kEthTypeIpv4 : kEthTypeIpv6,
  proto: fieldOf(key, 'proto'),
  frag: fieldOf(key, 'frag'),
}));

function hex(value: number): string {
  return `0x${value.toString(16).padStart(4, '0')}`;
}

/**
 * Check `match`, supply what follows from the rest if `supply`, and bring it into canonical form
 * (recirc_id present, groups that say nothing removed).
 */
export function complete(match: Match, supply: boolean, complain: Complain): void {
  if (!match.has(inPort)) {
    const name = supply ? inPort.key : inPort.name;
    complain(inPort, `"${name}" is missing`, 'every flow belongs to one port');
  }
  if (!match.has(recircId)) match.setExact(recircId, recircIdValue, 0);
  const type = match.exact(ethTypeValue);
  if (type !== undefined && type < kEthTypeMin) match.setExact(ethType, ethTypeValue, kEthTypeNone);
  if (match.has(tunnel)) checkTunnel(match, complain);
  if (match.has(packetType)) checkPacketType(match, complain);
  for (const group of ndGroups) {
    if (match.has(group)) checkNd(match, group, supply, complain);
  }
  checkL4(match, supply, complain);
  checkL3(match, supply, complain);
  checkCtTuples(match, supply, complain);
  checkTags(match, supply, complain);
  dropSilent(match);
}

/** Remove the groups that say nothing. */
export function dropSilent(match: Match): void {
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i]!;
    if (match.present[i] === 0 || group.layer === 'tag') continue;
    if (group.entries !== undefined) trimEntries(match, group);
    if (!match.wildGroup(group)) continue;
    // A packet type says whether there is an Ethernet header; without one, the presence of `eth`
    // does.
    if (group !== eth || match.has(packetType)) match.remove(group);
  }
}

/**
 * The flag "key" says that the tunnel has an id. On the wire it is that attribute, so an id that is
 * matched is one that must be there, and a packet without has the id 0.
 */
export function checkTunnel(match: Match, complain: Complain): void {
  const care = readInteger(match.mask, tunnelFlags);
  const flags = readInteger(match.key, tunnelFlags);
  if (!match.wild(tunId)) {
    if ((care & kTunnelKey) === 0) {
      writeInteger(match.mask, tunnelFlags, care | kTunnelKey);
      writeInteger(match.key, tunnelFlags, flags | kTunnelKey);
    } else if ((flags & kTunnelKey) === 0 && readBig(match.key, tunId) !== 0n) {
      complain(tunnel, '"tun_id" of "tunnel" needs the flag "key"');
    }
  }
  for (const [field, version] of erspanFields) {
    if (match.wild(field)) continue;
    if (match.wild(erspanVersion)) match.setExact(tunnel, erspanVersion, version);
    if (match.exact(erspanVersion) !== version) {
      complain(tunnel, `"${field.name}" of "erspan" needs an exact ver=${version}`);
    }
  }
  if (!match.wild(erspanVersion) && !((match.exact(erspanVersion) ?? Infinity) <= 2)) {
    complain(tunnel, '"ver" of "erspan" must be 1, 2 or, for no ERSPAN header, 0, and not masked');
  }
}

function checkNsh(match: Match, supply: boolean, complain: Complain): void {
  const context = nshContext.find((field) => !match.wild(field));
  if (context === undefined) return;
  if (supply && match.wild(nshMdType)) match.setExact(nsh, nshMdType, kNshMdType1);
  // Other types have none, which reads as zero.
  const type = match.exact(nshMdType);
  if (
    type !== undefined &&
    type !== kNshMdType1 &&
    nshContext.every((f) => isZeroOrWild(match, f))
  ) {
    for (const field of nshContext) writeInteger(match.mask, field, 0);
    return;
  }
  if (match.exact(nshMdType) !== kNshMdType1) {
    complain(nsh, `"${context.name}" of "nsh" needs an exact mdtype=${kNshMdType1}`);
  }
}

function isZeroOrWild(match: Match, field: Field): boolean {
  return (readInteger(match.key, field) & readInteger(match.mask, field)) === 0;
}

/** The bottom of the stack is nowhere but in its last entry. */
function checkMpls(match: Match, complain: Complain): void {
  trimEntries(match, mpls);
  const last = match.present[mpls.index]! - 1;
  for (const bos of mplsBos.slice(0, last)) {
    if (match.exact(bos) === 1) complain(mpls, '"mpls" has an entry behind one with bos=1');
  }
}

/** Entries behind the last one that is matched say nothing. */
function trimEntries(match: Match, group: Group): void {
  let count = match.present[group.index]!;
  while (count > 1 && group.entries![count - 1]!.fields.every((field) => match.wild(field)))
    count--;
  match.present[group.index] = count;
}

/** Returns the Ethernet type that the packet type gives, for packets that begin with another header. */
function typeOfPacket(match: Match): number | undefined {
  if (match.exact(packetTypeNs) !== kPacketTypeEthType) return undefined;
  return match.exact(packetTypeId);
}

function checkPacketType(match: Match, complain: Complain): void {
  const matched = (field: Field) => readInteger(match.key, field) & readInteger(match.mask, field);
  const ns = match.exact(packetTypeNs);
  if (matched(packetTypeNs) > kPacketTypeEthType || (ns === 0 && matched(packetTypeId) !== 0)) {
    complain(packetType, '"packet_type" must be (ns=0,id=0) or (ns=1) and an Ethernet type');
  }
  if (ns !== kPacketTypeEthType) return;
  for (const group of [eth, ...tags]) {
    if (match.has(group)) {
      complain(group, `"${group.name}" is not there in packets of packet_type(ns=1)`);
    }
  }
  const type = typeOfPacket(match);
  if (type === undefined) return;
  const care = readInteger(match.mask, ethTypeValue);
  const written = readInteger(match.key, ethTypeValue);
  if (((written ^ type) & care) !== 0) {
    complain(ethType, `eth_type ${hex(written)} and the id ${hex(type)} of packet_type differ`);
  }
  match.setExact(ethType, ethTypeValue, type);
}

function checkNd(match: Match, group: Group, supply: boolean, complain: Complain): void {
  const type = match.has(icmpv6) ? match.exact(icmpv6Type) : undefined;
  if (type === undefined || !kNdTypes.includes(type)) {
    complain(
      group,
      `"${group.name}" needs an exact "icmpv6" type of 135 (solicitation) or 136 (advertisement)`,
    );
  }
  // Others have no such message.
  if (match.wild(icmpv6Code) && (supply || !match.wildGroup(group)))
    match.setExact(icmpv6, icmpv6Code, 0);
  if (match.exact(icmpv6Code) !== 0) {
    complain(group, `"${group.name}" needs an exact "icmpv6" code of 0`);
  }
}

function checkL4(match: Match, supply: boolean, complain: Complain): void {
  let header: Group | undefined;
  for (const group of l4Groups) {
    if (!match.has(group)) continue;
    if (header !== undefined && header.proto !== group.proto) {
      complain(group, `"${group.name}" and "${header.name}" exclude each other`);
    }
    header ??= group;
  }
  if (header === undefined) return;

  const proto = header.proto as number;
  const ip = findIp(match, header, supply);
  if (ip === undefined) {
    const written = ips
      .filter(({ ethType }) => carries(ethType, header))
      .map(({ group }) => (supply ? `"${group.key}"` : `${group.name}(proto=${proto})`))
      .join(' or ');
    const hint = supply ? 'an ethType of 0x0800 or 0x86dd is enough' : undefined;
    complain(header, `"${header.name}" needs ${written}`, hint);
  }
  const name = ip.group.name;
  if (!carries(ip.ethType, header)) complain(header, `"${header.name}" does not go with "${name}"`);
  if (supply && match.wild(ip.proto)) match.setExact(ip.group, ip.proto, proto);
  const found = match.exact(ip.proto);
  if (found !== proto) {
    const instead = found === undefined ? '' : `, found ${found}`;
    complain(header, `"${header.name}" needs an exact proto=${proto} in "${name}"${instead}`);
  }
  if (match.exact(ip.frag) === kFragLater) {
    complain(header, `"${header.name}" is not there in later fragments`);
  }
}

/** A header that does not name its Ethernet types goes with every version of IP. */
function carries(ethType: number, header: Group): boolean {
  return header.ethTypes === undefined || header.ethTypes.includes(ethType);
}

/** The IP group below an L4 header: the one that is given, or the only one that can be meant. */
function findIp(match: Match, header: Group, supply: boolean): Ip | undefined {
  for (const ip of ips) {
    if (match.has(ip.group)) return ip;
  }
  if (!supply) return undefined;
  const wanted = match.exact(ethTypeValue) ?? header.ethTypes?.[0];
  return ips.find(({ ethType }) => ethType === wanted);
}

function checkL3(match: Match, supply: boolean, complain: Complain): void {
  let header: Group | undefined;
  for (const group of l3Groups) {
    if (!match.has(group)) continue;
    if (header !== undefined)
      complain(group, `"${group.name}" and "${header.name}" exclude each other`);
    header = group;
  }
  if (header === undefined) return;
  if (header === nsh) checkNsh(match, supply, complain);
  if (header === mpls) checkMpls(match, complain);
  needEthType(match, header, supply, complain);
}

/** The tuple of a connection is of the family of its packets. */
function checkCtTuples(match: Match, supply: boolean, complain: Complain): void {
  if (match.has(ctTuple6) && match.has(ctTuple4)) {
    complain(ctTuple6, `"${ctTuple6.name}" and "${ctTuple4.name}" exclude each other`);
  }
  if (match.has(ctTuple4)) needEthType(match, ctTuple4, supply, complain);
  if (match.has(ctTuple6)) needEthType(match, ctTuple6, supply, complain);
}

function needEthType(match: Match, group: Group, supply: boolean, complain: Complain): void {
  const types = group.ethTypes as readonly number[];
  if (!match.has(ethType)) {
    const first = types[0] as number;
    if (!supply) complain(group, `"${group.name}" needs eth_type(${hex(first)})`);
    match.setExact(ethType, ethTypeValue, first);
  }
  const found = match.exact(ethTypeValue);
  if (found === undefined || !types.includes(found)) {
    complain(
      group,
      `"${group.name}" needs an exact eth_type of ${types.map(hex).join(' or ')}` +
        (found === undefined ? '' : `, found ${hex(found)}`),
    );
  }
}

function checkTags(match: Match, supply: boolean, complain: Complain): void {
  let depth = 0;
  for (const tag of tags) {
    if (!match.has(tag)) continue;
    if (tag !== tags[depth]) complain(tag, `"${tag.key}" needs "${tags[depth]?.key}" around it`);
    if (match.leavesOpen(tag)) {
      const inner = tags.slice(depth + 1).find((other) => match.has(other));
      if (inner === undefined) return;
      complain(inner, `"${inner.key}" needs a tag around it, and "${tag.key}" is any or none`);
    }
    depth++;
    const [tpid, vid, pcp, cfi] = tag.fields as [Field, Field, Field, Field];
    if (!kTagTpids.includes(readInteger(match.key, tpid))) {
      complain(
        tag,
        `"${tag.name}" needs an eth_type of ${kTagTpids.map(hex).join(', ')}, found ${hex(readInteger(match.key, tpid))}`,
      );
    }
    if (readInteger(match.key, cfi) === 1) continue;
    // Without the bit the TCI stands for a frame that ended inside its tag: there is nothing else
    // to match.
    if (readInteger(match.key, vid) !== 0 || readInteger(match.key, pcp) !== 0) {
      complain(
        tag,
        `"${tag.name}" with cfi=0 cannot have a vid or pcp`,
        'cfi=1 means that the tag is there',
      );
    }
    if (match.has(ethType) || (tags[depth] !== undefined && match.has(tags[depth] as Group))) {
      complain(tag, `"${tag.name}" with cfi=0 cannot have anything inside`);
    }
  }
  if (depth === tags.length || !match.has(ethType)) return;
  const type = match.exact(ethTypeValue);
  if (type === undefined || !kTagTpids.includes(type)) return;
  const missing = tags[depth]!;
  if (!supply) complain(ethType, `eth_type ${hex(type)} needs "${missing.name}" beside it`);
  complain(
    ethType,
    `ethType ${hex(type)} needs "${missing.key}"`,
    `${missing.key}: {} is the tag, ethType what is behind it`,
  );
}

/** Fill in the fields of `group` that have an implied value and were not given. */
export function imply(match: Match, group: Group, given: (field: Field) => boolean): void {
  if (!group.implies) return;
  for (const field of group.fields) {
    if (field.implied !== undefined && !given(field)) {
      writeInteger(match.key, field, field.implied);
      writeInteger(match.mask, field, field.max);
    }
  }
}
