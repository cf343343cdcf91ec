/** ODP action text ⇄ typed actions. */
import { invalid } from '../errors.js';
import {
  checkPushedTag,
  kMaxUserdata,
  kSettableHint,
  maskValues,
  pushVlanOf,
  setFromTyped,
  tagFromTyped,
  userspaceArguments,
} from './actions.js';
import { formatHex, hexDigit } from './address.js';
import { Match } from './match.js';
import { formatGroup, portText, readGroup, resolve } from './match-text.js';
import { kMaxPort, portNumber, takeGroup } from './match-typed.js';
import { parseNumber, Scanner } from './scan.js';
import { fieldOf, groupByName, groupOf, kEthTypeVlan, kUnsupportedGroups } from './schema.js';
import type { Action, PortNames } from './types.js';
import { formatValue, show } from './value.js';

/** ODP names of actions that Open vSwitch has and Pollux does not, yet. */
const kUnsupported: ReadonlySet<string> = new Set([
  'lb_output',
  'trunc',
  'sample',
  'clone',
  'check_pkt_len',
  'recirc',
  'hash',
  'meter',
  'ct',
  'ct_clear',
  'push_nsh',
  'pop_nsh',
  'push_mpls',
  'pop_mpls',
  'add_mpls',
  'push_eth',
  'pop_eth',
  'tnl_push',
  'tnl_pop',
  'psample',
  'dec_ttl',
]);

/** What else userspace() may hold in Open vSwitch. */
const kUnsupportedCookies: ReadonlySet<string> = new Set([
  'sFlow',
  'slow_path',
  'flow_sample',
  'ipfix',
  'controller',
  'actions',
  'tunnel_out_port',
]);

const kActionNames = 'a port number, drop, userspace, set, push_vlan, pop_vlan';
const kOpen = 40;
const kClose = 41;
const tag = groupOf('vlan');
const tagTpid = fieldOf('vlan', 'tpid');
const tagVid = fieldOf('vlan', 'vid');
const tagPcp = fieldOf('vlan', 'pcp');
const tagCfi = fieldOf('vlan', 'cfi');

/** The actions of a text. With `names`, a bare word may be the name of a port. */
export function readActions(text: string, names: PortNames | undefined): Action<number>[] {
  const scanner = new Scanner(text, 'actions');
  const actions: Action<number>[] = [];
  let dropAt = -1;
  while (scanner.next()) {
    const start = scanner.at;
    const word = scanner.token();
    if (word === 'drop') {
      dropAt = start;
      actions.push({ type: 'drop' });
    } else {
      actions.push(readAction(scanner, word, start, names));
    }
    scanner.endItem();
    if (scanner.is(kClose)) scanner.fail('expected "," or the end, found ")"');
    if (dropAt >= 0 && actions.length > 1) scanner.fail('"drop" must be the only action', dropAt);
  }
  return actions.length === 0 ? [{ type: 'drop' }] : actions;
}

function readAction(
  scanner: Scanner,
  word: string,
  start: number,
  names: PortNames | undefined,
): Action<number> {
  const port = parseNumber(word);
  if (port >= 0) {
    if (port > kMaxPort)
      scanner.fail(
        `a port number must be from 0 to ${kMaxPort}, found ${scanner.found(start)}`,
        start,
      );
    return { type: 'output', port };
  }
  switch (word) {
    case 'userspace':
      return readUserspace(scanner);
    case 'set':
      return readSet(scanner);
    case 'push_vlan':
      return readPushVlan(scanner, start);
    case 'pop_vlan':
      return { type: 'popVlan' };
  }
  if (kUnsupported.has(word)) scanner.fail(`not supported yet: "${word}"`, start);
  if (word !== '' && names !== undefined && !scanner.is(kOpen)) {
    return { type: 'output', port: resolve(scanner, names, word, start, 'an action or a port') };
  }
  scanner.fail(
    word === ''
      ? `expected an action, found ${scanner.found(start)}`
      : `unknown action ${scanner.found(start)}`,
    start,
    `known: ${kActionNames}`,
  );
}

function readUserspace(scanner: Scanner): Action<number> {
  let pid: number | undefined;
  let userdata: Buffer | undefined;
  scanner.open('userspace');
  while (scanner.next() && !scanner.is(kClose)) {
    const start = scanner.at;
    const word = scanner.token();
    if ((word === 'pid' && pid !== undefined) || (word === 'userdata' && userdata !== undefined)) {
      scanner.fail(`"${word}" of "userspace" is given twice`, start);
    }
    if (word === 'pid') {
      scanner.equals(word);
      pid = scanner.number(word, 0xffffffff);
    } else if (word === 'userdata') {
      scanner.open(word);
      userdata = readUserdata(scanner);
      scanner.close(word);
    } else if (kUnsupportedCookies.has(word)) {
      scanner.fail(`not supported yet: "${word}" of "userspace"`, start);
    } else {
      scanner.fail(
        `"userspace" has no argument ${scanner.found(start)}`,
        start,
        'known: pid, userdata',
      );
    }
    scanner.endItem();
  }
  scanner.close('userspace');
  return {
    type: 'userspace',
    ...(pid === undefined || pid === 0 ? {} : { pid }),
    ...(userdata === undefined ? {} : { userdata }),
  };
}

function readUserdata(scanner: Scanner): Buffer {
  const start = scanner.at;
  const digits = scanner.token();
  if (digits.length % 2 !== 0)
    scanner.fail('"userdata" needs an even number of hexadecimal digits', start);
  if (digits.length / 2 > kMaxUserdata)
    scanner.fail(`"userdata" is at most ${kMaxUserdata} bytes`, start);
  const bytes = Buffer.alloc(digits.length / 2);
  for (let i = 0; i < digits.length; i++) {
    const digit = hexDigit(digits.charCodeAt(i));
    if (digit < 0)
      scanner.fail(`expected hexadecimal digits, found ${scanner.found(start + i)}`, start + i);
    bytes[i >> 1] = (bytes[i >> 1]! << 4) | digit;
  }
  return bytes;
}

function readSet(scanner: Scanner): Action<number> {
  scanner.open('set');
  const start = scanner.at;
  const name = scanner.token();
  const group = groupByName.get(name);
  if (group === undefined || !group.settable) {
    if (kUnsupportedGroups.has(name)) scanner.fail(`not supported yet: "${name}"`, start);
    scanner.fail(`cannot set ${scanner.found(start)}`, start, kSettableHint);
  }
  const match = new Match();
  readGroup(scanner, match, group, start, (field, at) => {
    if (field.set !== true) scanner.fail(`cannot set "${field.name}" of "${name}"`, at);
  });
  scanner.close('set');
  maskValues(match, group);
  return { type: 'set', field: { [group.key]: takeGroup(match, group) ?? { value: 0, mask: 0 } } };
}

function readPushVlan(scanner: Scanner, start: number): Action<number> {
  const match = new Match();
  readGroup(scanner, match, { ...tag, name: 'push_vlan' }, start);
  if (match.wild(tagVid)) scanner.fail('"push_vlan" needs a vid', start);
  if (match.wild(tagPcp)) match.setExact(tag, tagPcp, 0);
  if (match.wild(tagTpid)) match.setExact(tag, tagTpid, kEthTypeVlan);
  checkPushedTag(match, (message) => scanner.fail(message, start));
  return pushVlanOf(match);
}

/** The text of typed actions. */
export function writeActions(actions: readonly Action[], ports: PortNames | undefined): string {
  if (actions.length === 0) return 'drop';
  return actions.map((action) => writeAction(action, ports, actions.length)).join(',');
}

function writeAction(action: Action, ports: PortNames | undefined, count: number): string {
  const given = action as { readonly type: string; readonly [argument: string]: unknown };
  switch (given.type) {
    case 'output': {
      const number = portNumber(given.port, undefined, 'output port');
      return number === undefined ? String(given.port) : portText(number, ports);
    }
    case 'drop':
      if (count > 1) throw invalid("'drop' must be the only action");
      return 'drop';
    case 'userspace': {
      const { pid, userdata } = userspaceArguments(given);
      return `userspace(pid=${pid}${userdata === undefined ? '' : `,userdata(${formatHex(userdata)})`})`;
    }
    case 'set': {
      const { match, group } = setFromTyped(given.field);
      return `set(${formatGroup(match, group, false)})`;
    }
    case 'pushVlan':
      return `push_vlan(${writeTag(tagFromTyped(given))})`;
    case 'popVlan':
      return 'pop_vlan';
    default:
      throw invalid(`unknown action ${show(given.type)}`, { hint: `known: ${kActionNames}` });
  }
}

/**
 * Unlike the tag of a match, a pushed one shows its TPID where it is not the usual one, and always
 * its priority.
 */
function writeTag(match: Match): string {
  const parts = [tagVid, tagPcp];
  if (match.exact(tagTpid) !== tagTpid.implied) parts.unshift(tagTpid);
  if (match.exact(tagCfi) !== tagCfi.implied) parts.push(tagCfi);
  return parts
    .map((field) => `${field.name}=${formatValue(match.key, match.mask, field)}`)
    .join(',');
}
