/**
 * What must hold between the groups of a match before the core can use it: a header is matched only
 * where it is certain to be (an IPv4 header under an exact eth_type, TCP under an exact protocol),
 * and nothing is asked for twice in different ways. The typed form leaves the obvious unsaid, so
 * there it is supplied; in text everything must be written, as in Open vSwitch.
 */
import { type Match, readInteger, writeInteger } from './match.js';
import {
  type Field,
  fieldOf,
  type Group,
  groupOf,
  groups,
  kEthTypeIpv4,
  kEthTypeIpv6,
  kNdTypes,
  kParsedTpids,
  kTagTpids,
  tags,
} from './schema.js';

/** How a violation becomes an error; it must throw. `group` is the one that cannot be there. */
export type Complain = (group: Group, message: string, hint?: string) => never;

const inPort = groupOf('inPort');
const recircId = groupOf('recircId');
const recircIdValue = fieldOf('recircId', '');
const ethType = groupOf('ethType');
const ethTypeValue = fieldOf('ethType', '');
const packetType = groupOf('packetType');
const eth = groupOf('eth');
const icmpv6 = groupOf('icmpv6');
const icmpv6Type = fieldOf('icmpv6', 'type');
const icmpv6Code = fieldOf('icmpv6', 'code');
const nd = groupOf('nd');
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
  if (match.has(nd)) checkNd(match, supply, complain);
  checkL4(match, supply, complain);
  checkL3(match, supply, complain);
  checkTags(match, supply, complain);
  dropSilent(match);
}

/** Remove the groups that say nothing. */
export function dropSilent(match: Match): void {
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i]!;
    if (match.present[i] === 0 || group.layer === 'tag' || !match.wildGroup(group)) continue;
    // A packet type says whether there is an Ethernet header; without one, the presence of `eth`
    // does.
    if (group !== eth || match.has(packetType)) match.remove(group);
  }
}

function checkNd(match: Match, supply: boolean, complain: Complain): void {
  const type = match.has(icmpv6) ? match.exact(icmpv6Type) : undefined;
  if (type === undefined || !kNdTypes.includes(type)) {
    complain(nd, '"nd" needs an exact "icmpv6" type of 135 (solicitation) or 136 (advertisement)');
  }
  if (supply && match.wild(icmpv6Code)) match.setExact(icmpv6, icmpv6Code, 0);
  if (match.exact(icmpv6Code) !== 0) complain(nd, '"nd" needs an exact "icmpv6" code of 0');
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
  const types = header.ethTypes as readonly number[];
  if (!match.has(ethType)) {
    const first = types[0] as number;
    if (!supply) complain(header, `"${header.name}" needs eth_type(${hex(first)})`);
    match.setExact(ethType, ethTypeValue, first);
  }
  const found = match.exact(ethTypeValue);
  if (found === undefined || !types.includes(found)) {
    complain(
      header,
      `"${header.name}" needs an exact eth_type of ${types.map(hex).join(' or ')}` +
        (found === undefined ? '' : `, found ${hex(found)}`),
    );
  }
}

function checkTags(match: Match, supply: boolean, complain: Complain): void {
  let depth = 0;
  for (const tag of tags) {
    if (!match.has(tag)) continue;
    if (tag !== tags[depth]) complain(tag, `"${tag.key}" needs "${tags[depth]?.key}" around it`);
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
  if (type === undefined || !kParsedTpids.includes(type)) return;
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
