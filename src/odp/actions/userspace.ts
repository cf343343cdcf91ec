/**
 * The `userspace` action. What it hands to the program is a string of bytes, `userdata`. Open
 * vSwitch's own is a structure, its "cookie", and is written as what it means: `sFlow(…)`. Its
 * bytes are those of `struct user_action_cookie` of Open vSwitch 3.1. A cookie with more in it than
 * its text can say (the bridge it came from, for one) is written as bytes, so that nothing is lost.
 */
import { isUint8Array } from 'node:util/types';
import { checkInteger, kMaxU32 } from '../../check.js';
import { invalid, show } from '../../errors.js';
import { kSampleDirections, kSlowPathReasons } from '../names.js';
import { formatHex } from '../text/address.js';
import { type Attribute, attributes } from '../text/nlattr.js';
import { parseNumber } from '../text/number.js';
import type { KnownAction, PortNames, UserspaceCookie } from '../types.js';
import { portOf, portWord, readPort } from '../values/port-ref.js';
import type { Scanner } from '../values/scan.js';
import { readBytes } from './bytes.js';
import {
  type ActionKind,
  checkKeys,
  type Decoder,
  type Given,
  type Printer,
  type Reader,
  readU32,
  takeU32,
  writeU32,
} from './kind.js';
import {
  type ArgumentSpec,
  compileLayout,
  layOut,
  printLayout,
  readLayout,
  takeLayout,
} from './layout.js';

const kClose = 41;

/** OVS_ACTION_ATTR_USERSPACE. */
const kUserspace = 2;
/** OVS_USERSPACE_ATTR_*. */
const kPid = 1;
const kUserdata = 2;
const kEgressTunPort = 3;
const kActions = 4;

/** Longest userdata: what fits into one attribute beside the rest, as in Open vSwitch. */
const kMaxUserdata = 65512;
const kMaxUserdataWithPort = 65508;

// ---------- cookies

/** `struct user_action_cookie`: type, OpenFlow port, UUID of the bridge, then a union. */
const kCookieSize = 48;
const kInPortAt = 4;
const kBodyAt = 24;
const kReasonAt = kBodyAt + 4;
/** No OpenFlow port. */
const kOfppNone = 0xffff;

/** A type of cookie. All bytes but those of the union are the same in each: no port, no bridge. */
interface CookieKind {
  /** ODP name. */
  readonly name: string;
  /** `type` in the typed form. */
  readonly type: string;
  /** USER_ACTION_COOKIE_*. */
  readonly number: number;
  /** The union's bytes, with those before it zero. */
  read(reader: Reader, start: number): Uint8Array;
  put(cookie: Given, names: PortNames | undefined): Uint8Array;
  /** Returns the text inside the parentheses. */
  print(cookie: Given, printer: Printer): string;
  take(bytes: Uint8Array): Record<string, unknown>;
}

function structure(
  name: string,
  type: string,
  number: number,
  fields: readonly ArgumentSpec[],
  finish: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes,
): CookieKind {
  const layout = compileLayout({
    name,
    key: type,
    size: kCookieSize,
    fields: fields.map((field) => ({ implied: 0, ...field, offset: kBodyAt + field.offset })),
  });
  return {
    name,
    type,
    number,
    read: (reader, start) => finish(readLayout(layout, reader, start)),
    put: (cookie, names) => finish(layOut(layout, cookie, names)),
    print: (cookie, printer) => printLayout(layout, cookie, printer),
    take: (bytes) => takeLayout(layout, bytes),
  };
}

/** A VLAN tag that is there has its CFI bit set. */
function markTag(bytes: Uint8Array): Uint8Array {
  if (bytes[kBodyAt] !== 0 || bytes[kBodyAt + 1] !== 0) bytes[kBodyAt] = bytes[kBodyAt]! | 0x10;
  return bytes;
}

const slowPath: CookieKind = {
  name: 'slow_path',
  type: 'slowPath',
  number: 2,
  read(reader) {
    const scanner: Scanner = reader.scanner;
    let bits = 0;
    scanner.open('slow_path');
    while (scanner.next() && !scanner.is(kClose)) {
      let at = scanner.at;
      for (const word of scanner.token().split('|')) {
        const bit = (kSlowPathReasons as readonly string[]).indexOf(word);
        const value = bit >= 0 ? 1 << bit : parseNumber(word);
        if (value < 0 || value > kMaxU32) {
          const hint = `known: ${kSlowPathReasons.join(', ')}`;
          scanner.fail(`expected a reason for "slow_path", found ${scanner.found(at)}`, at, hint);
        }
        bits |= value;
        at += word.length + 1;
      }
      scanner.endItem();
    }
    scanner.close('slow_path');
    return reasonBytes(bits);
  },
  put(cookie) {
    checkKeys('slowPath', cookie, ['reasons']);
    return reasonBytes(reasonBits(cookie.reasons));
  },
  print(cookie) {
    checkKeys('slowPath', cookie, ['reasons']);
    const reasons = reasonNames(reasonBits(cookie.reasons));
    const words = reasons.map((reason) =>
      typeof reason === 'number' ? `0x${reason.toString(16)}` : reason,
    );
    return words.length === 0 ? '0' : words.join(',');
  },
  take(bytes) {
    return { reasons: reasonNames(readU32(bytes, kReasonAt)) };
  },
};

function reasonBytes(bits: number): Uint8Array {
  const bytes = new Uint8Array(kCookieSize);
  writeU32(bytes, kReasonAt, bits);
  return bytes;
}

function reasonBits(reasons: unknown): number {
  if (reasons !== undefined && !Array.isArray(reasons)) {
    throw invalid(`slowPath.reasons must be an array, got ${show(reasons)}`);
  }
  let bits = 0;
  for (const reason of reasons ?? []) {
    const bit = kSlowPathReasons.indexOf(reason);
    const value = bit >= 0 ? 1 << bit : reason;
    if (!Number.isInteger(value) || value < 0 || value > kMaxU32) {
      throw invalid(`slowPath.reasons holds names and numbers, got ${show(reason)}`, {
        hint: `known: ${kSlowPathReasons.join(', ')}`,
      });
    }
    bits |= value;
  }
  return bits >>> 0;
}

/** The names of the bits, and as one number those without a name. */
function reasonNames(bits: number): (string | number)[] {
  const names: (string | number)[] = kSlowPathReasons.filter((_, bit) => (bits >> bit) & 1);
  const rest = (bits & ~((1 << kSlowPathReasons.length) - 1)) >>> 0;
  return rest === 0 ? names : [...names, rest];
}

const cookieKinds: readonly CookieKind[] = [
  structure(
    'sFlow',
    'sFlow',
    1,
    [
      { name: 'vid', key: 'vid', offset: 0, size: 2, bits: 12, shift: 0, kind: 'dec' },
      { name: 'pcp', key: 'pcp', offset: 0, size: 2, bits: 3, shift: 13, kind: 'dec' },
      { name: 'output', key: 'output', offset: 4, size: 4, kind: 'dec', host: true },
    ],
    markTag,
  ),
  slowPath,
  structure('flow_sample', 'flowSample', 3, [
    { name: 'probability', key: 'probability', offset: 0, size: 2, kind: 'dec', host: true },
    {
      name: 'collector_set_id',
      key: 'collectorSetId',
      offset: 4,
      size: 4,
      kind: 'dec',
      host: true,
    },
    { name: 'obs_domain_id', key: 'obsDomainId', offset: 8, size: 4, kind: 'dec', host: true },
    { name: 'obs_point_id', key: 'obsPointId', offset: 12, size: 4, kind: 'dec', host: true },
    { name: 'output_port', key: 'outputPort', offset: 16, size: 4, kind: 'port', host: true },
    {
      name: 'direction',
      key: 'direction',
      offset: 20,
      size: 4,
      kind: 'word',
      host: true,
      words: kSampleDirections,
    },
  ]),
  structure('ipfix', 'ipfix', 4, [
    { name: 'output_port', key: 'outputPort', offset: 0, size: 4, kind: 'port', host: true },
  ]),
  structure('controller', 'controller', 5, [
    { name: 'reason', key: 'reason', offset: 2, size: 2, kind: 'dec', host: true },
    { name: 'dont_send', key: 'dontSend', offset: 0, size: 1, bits: 1, shift: 0, kind: 'dec' },
    {
      name: 'continuation',
      key: 'continuation',
      offset: 1,
      size: 1,
      bits: 1,
      shift: 0,
      kind: 'dec',
    },
    { name: 'recirc_id', key: 'recircId', offset: 4, size: 4, kind: 'dec', host: true },
    { name: 'rule_cookie', key: 'ruleCookie', offset: 8, size: 8, kind: 'hex' },
    { name: 'controller_id', key: 'controllerId', offset: 16, size: 2, kind: 'dec', host: true },
    { name: 'max_len', key: 'maxLen', offset: 18, size: 2, kind: 'dec', host: true },
  ]),
];

/** The whole cookie around its union. */
function seal(kind: CookieKind, bytes: Uint8Array): Uint8Array {
  bytes[0] = kind.number;
  writeU32(bytes, kInPortAt, kOfppNone);
  return bytes;
}

function cookieKindOf(cookie: unknown): { kind: CookieKind; given: Given } {
  if (typeof cookie !== 'object' || cookie === null) {
    throw invalid(`userspace.cookie must be an object, got ${show(cookie)}`);
  }
  const given = cookie as Given;
  const kind = cookieKinds.find((candidate) => candidate.type === given.type);
  if (kind === undefined) {
    throw invalid(`unknown type of userspace.cookie: ${show(given.type)}`, {
      hint: `known: ${cookieKinds.map((candidate) => candidate.type).join(', ')}`,
    });
  }
  return { kind, given };
}

function cookieBytes(cookie: unknown, names: PortNames | undefined): Uint8Array {
  const { kind, given } = cookieKindOf(cookie);
  return seal(kind, kind.put(given, names));
}

/** The cookie that makes exactly these bytes, if there is one. */
function cookieOf(userdata: Uint8Array): UserspaceCookie<number> | undefined {
  if (userdata.length !== kCookieSize) return undefined;
  const kind = cookieKinds.find(({ number }) => number === userdata[0]);
  if (kind === undefined) return undefined;
  const cookie = { type: kind.type, ...kind.take(userdata) };
  const same = Buffer.compare(cookieBytes(cookie, undefined), userdata) === 0;
  return same ? (cookie as unknown as UserspaceCookie<number>) : undefined;
}

// ---------- the action

type Userspace = Extract<KnownAction<number>, { type: 'userspace' }>;

/** In canonical form: what goes without saying is left out, a cookie is one. */
function userspaceOf(
  pid: number,
  userdata: Buffer | undefined,
  actions: boolean,
  tunnelOutPort: number | undefined,
): Userspace {
  const cookie = userdata && cookieOf(userdata);
  return {
    type: 'userspace',
    ...(pid === 0 ? {} : { pid }),
    ...(cookie !== undefined ? { cookie } : userdata !== undefined ? { userdata } : {}),
    ...(actions ? { actions } : {}),
    ...(tunnelOutPort === undefined ? {} : { tunnelOutPort }),
  };
}

/** The arguments but for the port, checked. */
function argumentsOf({ pid: given = 0, userdata, cookie, actions = false, tunnelOutPort }: Given): {
  readonly pid: number;
  readonly userdata: Uint8Array | undefined;
  readonly actions: boolean;
} {
  const pid = checkInteger(given, 'userspace.pid', 0, kMaxU32);
  if (typeof actions !== 'boolean') {
    throw invalid(`userspace.actions must be true or false, got ${show(actions)}`);
  }
  if (userdata === undefined) return { pid, actions, userdata };
  if (cookie !== undefined) throw invalid('userspace has either a cookie or userdata');
  if (!isUint8Array(userdata)) {
    throw invalid(`userspace.userdata must be a Uint8Array, got ${show(userdata)}`);
  }
  const max = tunnelOutPort === undefined ? kMaxUserdata : kMaxUserdataWithPort;
  if (userdata.length > max) {
    throw invalid(`userspace.userdata is at most ${max} bytes, got ${userdata.length}`);
  }
  return { pid, actions, userdata };
}

function read(reader: Reader): Userspace {
  const scanner: Scanner = reader.scanner;
  const seen: string[] = [];
  let pid = 0;
  let userdata: Buffer | undefined;
  let userdataAt = 0;
  let tunnelOutPort: number | undefined;
  scanner.open('userspace');
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const name = scanner.token();
    if (seen.includes(name)) scanner.fail(`"${name}" of "userspace" is given twice`, at);
    seen.push(name);
    if (name === 'pid') {
      scanner.equals(name);
      pid = scanner.number(name, kMaxU32);
    } else if (name === 'tunnel_out_port') {
      scanner.equals(name);
      tunnelOutPort = readPort(scanner, reader.names, name);
    } else if (name !== 'actions') {
      const kind = name === 'userdata' ? undefined : cookieKindNamed(name, scanner, at);
      if (userdata !== undefined) scanner.fail('"userspace" has either a cookie or userdata', at);
      if (kind !== undefined) {
        userdata = Buffer.from(seal(kind, kind.read(reader, at)));
      } else {
        scanner.open(name);
        userdataAt = scanner.at;
        userdata = readBytes(scanner, name, kMaxUserdata);
        scanner.close(name);
      }
    }
    scanner.endItem();
  }
  scanner.close('userspace');
  if (tunnelOutPort !== undefined && (userdata?.length ?? 0) > kMaxUserdataWithPort) {
    const message = `"userdata" is at most ${kMaxUserdataWithPort} bytes beside "tunnel_out_port"`;
    scanner.fail(message, userdataAt);
  }
  return userspaceOf(pid, userdata, seen.includes('actions'), tunnelOutPort);
}

function cookieKindNamed(name: string, scanner: Scanner, at: number): CookieKind {
  const kind = cookieKinds.find((candidate) => candidate.name === name);
  if (kind !== undefined) return kind;
  const cookies = cookieKinds.map((candidate) => candidate.name).join(', ');
  const hint = `known: pid, ${cookies}, userdata, actions, tunnel_out_port`;
  scanner.fail(`"userspace" has no argument ${scanner.found(at)}`, at, hint);
}

function write(action: Given, printer: Printer): string {
  const { pid, userdata, actions } = argumentsOf(action);
  let out = `userspace(pid=${pid}`;
  const cookie = userdata === undefined ? action.cookie : cookieOf(userdata);
  if (cookie !== undefined) {
    const { kind, given } = cookieKindOf(cookie);
    out += `,${kind.name}(${kind.print(given, printer)})`;
  } else if (userdata !== undefined) {
    out += `,userdata(${formatHex(userdata)})`;
  }
  if (actions) out += ',actions';
  if (action.tunnelOutPort !== undefined) {
    const port = portWord(action.tunnelOutPort, printer.ports, 'userspace.tunnelOutPort', kMaxU32);
    out += `,tunnel_out_port=${port}`;
  }
  return `${out})`;
}

function decode({ start: from, end: to }: Attribute, { bytes }: Decoder): Userspace {
  let pid = 0;
  let userdata: Buffer | undefined;
  let actions = false;
  let tunnelOutPort: number | undefined;
  for (const attribute of attributes(bytes, from, to)) {
    const { type, start, end } = attribute;
    if (type === kPid) pid = takeU32(bytes, attribute);
    else if (type === kUserdata) userdata = Buffer.from(bytes.subarray(start, end));
    else if (type === kEgressTunPort) tunnelOutPort = takeU32(bytes, attribute);
    else if (type === kActions) actions = true;
    else throw invalid(`unknown userspace attribute ${type}`);
  }
  return userspaceOf(pid, userdata, actions, tunnelOutPort);
}

export const userspace: ActionKind = {
  name: 'userspace',
  type: 'userspace',
  keys: ['pid', 'userdata', 'cookie', 'actions', 'tunnelOutPort'],
  read,
  write,
  wire: {
    attributes: [kUserspace],
    encode(action, { writer, names }) {
      const { pid, userdata, actions } = argumentsOf(action);
      const { cookie, tunnelOutPort } = action;
      const start = writer.begin(kUserspace);
      writer.putU32(kPid, pid);
      if (cookie !== undefined) writer.putBytes(kUserdata, cookieBytes(cookie, names));
      else if (userdata !== undefined) writer.putBytes(kUserdata, userdata);
      if (actions) writer.put(kActions, 0);
      if (tunnelOutPort !== undefined) {
        const port = portOf(tunnelOutPort, names, 'userspace.tunnelOutPort', kMaxU32);
        writer.putU32(kEgressTunPort, port);
      }
      writer.end(start, kUserspace);
    },
    decode,
  },
};
