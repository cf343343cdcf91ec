/**
 * The `tnl_push` action: the headers of a tunnel, outermost first, as Open vSwitch prints them. The
 * datapath cannot do it yet.
 *
 * `size` and `type` in the text follow from the headers; the typed form has neither, nor what else
 * the headers say twice (`dl_type`).
 */
import { checkInteger, kMaxU32 } from '../../check.js';
import { invalid, show } from '../../errors.js';
import {
  formatOptions,
  hasMasks,
  optionsFromTyped,
  readOptions,
  typedFromOptions,
} from '../match/geneve.js';
import { kEthTypeIpv4, kEthTypeIpv6 } from '../schema/compile.js';
import { formatAddress, readAddress } from '../text/address.js';
import type { KnownAction } from '../types.js';
import type { GeneveBytes } from '../values/match.js';
import { portWord, readPort } from '../values/port-ref.js';
import type { Scanner } from '../values/scan.js';
import { type ActionKind, checkKeys, type Given, type Printer, type Reader } from './kind.js';
import {
  type ArgumentSpec,
  compileLayout,
  type Layout,
  printLayout,
  readLayout,
  takeLayout,
} from './layout.js';

const kClose = 41;

/** A header and its text. */
interface Part {
  /** ODP name, and name in the typed form. */
  readonly name: string;
  /** From behind the name, which stands at `start`. */
  read(reader: Reader, start: number): Given;
  /** With parentheses, but without the name. */
  print(given: Given, printer: Printer): string;
  /** Bytes of the header. */
  size(given: Given): number;
}

function layoutOf(name: string, size: number, fields: readonly ArgumentSpec[]): Layout {
  return compileLayout({ name, key: `tnlPush.header.${name}`, size, fields });
}

function plain(name: string, size: number, fields: readonly ArgumentSpec[]): Part {
  const layout = layoutOf(name, size, fields);
  return {
    name,
    read: (reader, start) => takeLayout(layout, readLayout(layout, reader, start)),
    print: (given, printer) => `(${printLayout(layout, given, printer)})`,
    size: () => size,
  };
}

// These layouts say where fields lie in the headers themselves.
const eth = plain('eth', 14, [
  { name: 'dst', key: 'dst', offset: 0, size: 6, kind: 'mac' },
  { name: 'src', key: 'src', offset: 6, size: 6, kind: 'mac' },
  { name: 'dl_type', key: 'dlType', offset: 12, size: 2, kind: 'ethType' },
]);
const ipv4 = plain('ipv4', 20, [
  { name: 'src', key: 'src', offset: 12, size: 4, kind: 'ipv4' },
  { name: 'dst', key: 'dst', offset: 16, size: 4, kind: 'ipv4' },
  { name: 'proto', key: 'proto', offset: 9, size: 1, kind: 'dec' },
  { name: 'tos', key: 'tos', offset: 1, size: 1, kind: 'hex' },
  { name: 'ttl', key: 'ttl', offset: 8, size: 1, kind: 'dec' },
  { name: 'frag', key: 'frag', offset: 6, size: 2, kind: 'padded' },
]);
const ipv6 = plain('ipv6', 40, [
  { name: 'src', key: 'src', offset: 8, size: 16, kind: 'ipv6' },
  { name: 'dst', key: 'dst', offset: 24, size: 16, kind: 'ipv6' },
  { name: 'label', key: 'label', offset: 0, size: 4, bits: 20, shift: 0, kind: 'dec' },
  { name: 'proto', key: 'proto', offset: 6, size: 1, kind: 'dec' },
  { name: 'tclass', key: 'tclass', offset: 0, size: 4, bits: 8, shift: 20, kind: 'padded' },
  { name: 'hlimit', key: 'hlimit', offset: 7, size: 1, kind: 'dec' },
]);
const udp = plain('udp', 8, [
  { name: 'src', key: 'src', offset: 0, size: 2, kind: 'dec' },
  { name: 'dst', key: 'dst', offset: 2, size: 2, kind: 'dec' },
  { name: 'csum', key: 'csum', offset: 6, size: 2, kind: 'padded' },
]);
const vni = { name: 'vni', key: 'vni', offset: 4, size: 4, bits: 24, shift: 8 } as const;
const vxlan = plain('vxlan', 8, [
  { name: 'flags', key: 'flags', offset: 0, size: 4, kind: 'padded' },
  { ...vni, kind: 'padded' },
]);
const gtpu = plain('gtpu', 8, [
  { name: 'flags', key: 'flags', offset: 0, size: 1, kind: 'hex' },
  { name: 'msgtype', key: 'msgtype', offset: 1, size: 1, kind: 'dec' },
  { name: 'teid', key: 'teid', offset: 4, size: 4, kind: 'padded' },
]);

// ---------- geneve: options behind the header

const geneveLayout = layoutOf('geneve', 8, [
  { name: 'oam', key: 'oam', offset: 1, size: 1, bits: 1, shift: 7, kind: 'flag', implied: 0 },
  { name: 'crit', key: 'crit', offset: 1, size: 1, bits: 1, shift: 6, kind: 'flag', implied: 0 },
  { ...vni, kind: 'padded' },
]);

/** The bytes of typed options. What an option does not say is zero. */
function optionsOf({ options }: Given): GeneveBytes | undefined {
  if (options === undefined) return undefined;
  const label = 'tnlPush.header.geneve.options';
  const bytes = optionsFromTyped(options, label);
  if (bytes !== undefined && hasMasks(bytes)) throw invalid(`${label} cannot be masked`);
  return bytes;
}

const geneve: Part = {
  name: 'geneve',
  read(reader, start) {
    const scanner: Scanner = reader.scanner;
    let options: unknown;
    const bytes = readLayout(geneveLayout, reader, start, (name, at) => {
      if (name !== 'options') return false;
      if (options !== undefined) scanner.fail('"options" of "geneve" is given twice', at);
      scanner.open(name);
      const read = readOptions(scanner);
      scanner.close(name);
      if (read !== undefined && hasMasks(read)) {
        scanner.fail('"options" of "geneve" cannot be masked', at);
      }
      options = read === undefined ? [] : typedFromOptions(read);
      return true;
    });
    const typed = takeLayout(geneveLayout, bytes);
    return options === undefined ? typed : { ...typed, options };
  },
  print(given, printer) {
    const { options: _, ...rest } = given;
    const options = optionsOf(given);
    const more = options === undefined ? '' : `,options(${formatOptions(options)})`;
    return `(${printLayout(geneveLayout, rest, printer)}${more})`;
  },
  size: (given) => 8 + (optionsOf(given)?.key.length ?? 0),
};

// ---------- gre: what follows depends on flags

const greLayout = layoutOf('gre', 4, [
  { name: 'flags', key: 'flags', offset: 0, size: 2, kind: 'padded' },
  { name: 'proto', key: 'proto', offset: 2, size: 2, kind: 'padded' },
]);
/** Words behind the base header, each there if its flag is set, in their order. */
const greWords = [
  { name: 'csum', flag: 0x8000, max: 0xffff },
  { name: 'key', flag: 0x2000, max: kMaxU32 },
  { name: 'seq', flag: 0x1000, max: kMaxU32 },
] as const;

/** `complain` must throw. */
function checkGreWords(given: Given, complain: (message: string) => never): void {
  for (const { name, flag } of greWords) {
    const flagged = (Number(given.flags) & flag) !== 0;
    if (flagged === (given[name] !== undefined)) continue;
    const bit = `0x${flag.toString(16)}`;
    complain(`"gre" has "${name}" if, and only if, its flags have ${bit}`);
  }
}

const gre: Part = {
  name: 'gre',
  read(reader, start) {
    const scanner: Scanner = reader.scanner;
    scanner.open('gre');
    // The base header has parentheses of its own.
    const given = takeLayout(greLayout, readLayout(greLayout, reader, start));
    scanner.endItem();
    while (scanner.next() && !scanner.is(kClose)) {
      const at = scanner.at;
      const name = scanner.token();
      const word = greWords.find((candidate) => candidate.name === name);
      if (word === undefined) scanner.fail(`"gre" has no argument ${scanner.found(at)}`, at);
      if (given[name] !== undefined) scanner.fail(`"${name}" of "gre" is given twice`, at);
      scanner.equals(name);
      given[name] = scanner.number(name, word.max);
      scanner.endItem();
    }
    scanner.close('gre');
    checkGreWords(given, (message) => scanner.fail(message, start));
    return given;
  },
  print(given, printer) {
    const { csum: _, key: __, seq: ___, ...base } = given;
    const parts = [`(${printLayout(greLayout, base, printer)})`];
    checkGreWords(given, refuse);
    for (const { name, max } of greWords) {
      if (given[name] === undefined) continue;
      const value = checkInteger(given[name], `tnlPush.header.gre.${name}`, 0, max);
      parts.push(`${name}=0x${value.toString(16)}`);
    }
    return `(${parts.join(',')})`;
  },
  size: (given) => 4 + 4 * greWords.filter(({ name }) => given[name] !== undefined).length,
};

function refuse(message: string): never {
  throw invalid(message);
}

// ---------- erspan: two versions, with a GRE header of 8 bytes in front

const kErspanBase = 8 + 4;

/** The fields of both versions; each lies where no other does. */
const [ver, sid, idx, dir, hwid] = [
  { name: 'ver', key: 'ver', offset: 0, size: 1, kind: 'dec', oneOf: [1, 2] },
  { name: 'sid', key: 'sid', offset: 2, size: 2, bits: 10, shift: 0, kind: 'padded' },
  { name: 'idx', key: 'idx', offset: 4, size: 4, kind: 'padded' },
  { name: 'dir', key: 'dir', offset: 8, size: 1, bits: 1, shift: 0, kind: 'dec' },
  { name: 'hwid', key: 'hwid', offset: 9, size: 1, bits: 6, shift: 0, kind: 'hex' },
] as const satisfies readonly ArgumentSpec[];
const kErspanSize = 12;
const erspanLayouts: readonly (Layout | undefined)[] = [
  undefined,
  layoutOf('erspan', kErspanSize, [ver, sid, idx]),
  layoutOf('erspan', kErspanSize, [ver, sid, dir, hwid]),
];
/** To read with before it is known which version it is. */
const erspanOfEither = layoutOf('erspan', kErspanSize, [
  ver,
  sid,
  ...[idx, dir, hwid].map((field) => ({ ...field, implied: 0 })),
]);

const erspan: Part = {
  name: 'erspan',
  read(reader, start) {
    const bytes = readLayout(erspanOfEither, reader, start);
    const version = bytes[0]!;
    const foreign = version === 1 ? bytes.subarray(8) : bytes.subarray(4, 8);
    if (foreign.some((byte) => byte !== 0)) {
      const other = version === 1 ? '"dir" and "hwid"' : '"idx"';
      reader.scanner.fail(`"erspan" of version ${version} has no ${other}`, start);
    }
    return takeLayout(erspanLayouts[version]!, bytes);
  },
  print(given, printer) {
    const layout = erspanLayouts[Number(given.ver)];
    if (layout === undefined) {
      throw invalid(`tnlPush.header.erspan.ver must be 1 or 2, got ${show(given.ver)}`);
    }
    return `(${printLayout(layout, given, printer)})`;
  },
  size: ({ ver: version }) => kErspanBase + (version === 1 ? 4 : 8),
};

// ---------- srv6: a list of segments

const kMaxSegments = 6;

const srv6: Part = {
  name: 'srv6',
  read(reader, start) {
    const scanner: Scanner = reader.scanner;
    let left: number | undefined;
    let segments: string[] | undefined;
    scanner.open('srv6');
    while (scanner.next() && !scanner.is(kClose)) {
      const at = scanner.at;
      const name = scanner.token();
      if (name === 'segments_left' && left === undefined) {
        scanner.equals(name);
        left = scanner.number(name, kMaxSegments - 1);
      } else if (name === 'segs' && segments === undefined) {
        segments = readSegments(scanner);
      } else {
        scanner.fail(`"srv6" has "segments_left" and "segs", once, found ${scanner.found(at)}`, at);
      }
      scanner.endItem();
    }
    scanner.close('srv6');
    if (left === undefined) scanner.fail('"srv6" needs "segments_left"', start);
    if (segments === undefined) scanner.fail('"srv6" needs "segs"', start);
    if (segments.length !== left + 1) {
      scanner.fail(`"srv6" has ${segments.length} segments, but segments_left=${left}`, start);
    }
    return { segments };
  },
  print(given) {
    checkKeys('tnlPush.header.srv6', given, ['segments']);
    const { segments } = given;
    const label = 'tnlPush.header.srv6.segments';
    if (!Array.isArray(segments) || segments.length === 0 || segments.length > kMaxSegments) {
      throw invalid(`${label} must be an array of 1 to ${kMaxSegments} addresses`);
    }
    const words = segments.map((segment) => {
      const word = typeof segment === 'string' ? canonical(segment) : undefined;
      if (word === undefined) {
        throw invalid(`${label} must be IPv6 addresses, got ${show(segment)}`);
      }
      return word;
    });
    return `(segments_left=${words.length - 1},segs(${words.join(',')}))`;
  },
  size: ({ segments }) => 8 + 16 * (segments as readonly string[]).length,
};

function canonical(address: string): string | undefined {
  const bytes = new Uint8Array(16);
  return readAddress('ipv6', address, bytes, 0) ? formatAddress('ipv6', bytes, 0) : undefined;
}

function readSegments(scanner: Scanner): string[] {
  const segments: string[] = [];
  scanner.open('segs');
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const segment = canonical(scanner.token());
    if (segment === undefined) {
      scanner.fail(`expected an IPv6 address for "segs", found ${scanner.found(at)}`, at);
    }
    if (segments.length === kMaxSegments) {
      scanner.fail(`"segs" has at most ${kMaxSegments} segments`, at);
    }
    segments.push(segment);
    scanner.endItem();
  }
  scanner.close('segs');
  return segments;
}

// ---------- the header

/** Headers around the tunnel's own. */
const outer = [eth, ipv4, ipv6, udp];

interface Tunnel extends Part {
  /** OVS_VPORT_TYPE_* over each version of IP. */
  readonly types: { readonly ipv4?: number; readonly ipv6?: number };
  readonly udp: boolean;
}

const tunnels: readonly Tunnel[] = [
  { ...vxlan, types: { ipv4: 4, ipv6: 4 }, udp: true },
  { ...geneve, types: { ipv4: 5, ipv6: 5 }, udp: true },
  { ...gre, types: { ipv4: 3, ipv6: 109 }, udp: false },
  { ...erspan, types: { ipv4: 107, ipv6: 108 }, udp: false },
  { ...gtpu, types: { ipv4: 110, ipv6: 110 }, udp: true },
  { ...srv6, types: { ipv6: 112 }, udp: false },
];
const parts: ReadonlyMap<string, Part> = new Map(
  [...outer, ...tunnels].map((part) => [part.name, part]),
);

type Header = Readonly<Record<string, Given | undefined>>;

interface Shape {
  readonly parts: readonly Part[];
  readonly size: number;
  readonly type: number;
  readonly dlType: number;
}

/** Describes the headers, and checks that they go together. `complain` must throw. */
function shapeOf(header: Header, complain: (message: string) => never): Shape {
  const present = [...parts.values()].filter(({ name }) => header[name] !== undefined);
  const [tunnel, ...more] = tunnels.filter(({ name }) => header[name] !== undefined);
  if (tunnel === undefined || more.length > 0) {
    complain(`a tunnel's header has one of ${tunnels.map(({ name }) => name).join(', ')}`);
  }
  if (header.eth === undefined) complain('a tunnel\'s header has "eth"');
  if ((header.ipv4 === undefined) === (header.ipv6 === undefined)) {
    complain('a tunnel\'s header has one of "ipv4" and "ipv6"');
  }
  if ((header.udp !== undefined) !== tunnel.udp) {
    complain(`"${tunnel.name}" goes ${tunnel.udp ? 'with' : 'without'} "udp"`);
  }
  const type = header.ipv4 === undefined ? tunnel.types.ipv6 : tunnel.types.ipv4;
  if (type === undefined) complain(`"${tunnel.name}" does not go with "ipv4"`);
  return {
    parts: present,
    size: present.reduce((sum, part) => sum + part.size(header[part.name] as Given), 0),
    type,
    dlType: header.ipv4 === undefined ? kEthTypeIpv6 : kEthTypeIpv4,
  };
}

function readHeader(reader: Reader, start: number): Header {
  const scanner: Scanner = reader.scanner;
  const header: Record<string, Given> = {};
  /** The values that the text gives, and where. */
  const said: Record<string, { readonly value: unknown; readonly at: number }> = {};
  scanner.open('header');
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const name = scanner.token();
    const part = parts.get(name);
    if (Object.hasOwn(header, name) || Object.hasOwn(said, name)) {
      scanner.fail(`"${name}" of "header" is given twice`, at);
    }
    if (name === 'size' || name === 'type') {
      scanner.equals(name);
      said[name] = { value: scanner.number(name, kMaxU32), at };
    } else if (part !== undefined) {
      const { dlType, ...given } = part.read(reader, at);
      header[name] = given;
      if (dlType !== undefined) said.dlType = { value: dlType, at };
    } else {
      const hint = `known: size, type, ${[...parts.keys()].join(', ')}`;
      scanner.fail(`"header" has no argument ${scanner.found(at)}`, at, hint);
    }
    scanner.endItem();
  }
  scanner.close('header');
  const shape = shapeOf(header, (message) => scanner.fail(message, start));
  for (const name of ['size', 'type', 'dlType'] as const) {
    const claim = said[name];
    if (claim === undefined) scanner.fail(`"header" needs "${name}"`, start);
    if (claim.value !== shape[name]) {
      const what = name === 'dlType' ? 'dl_type' : name;
      scanner.fail(`"${what}" is ${claim.value}, but the headers make it ${shape[name]}`, claim.at);
    }
  }
  return header;
}

function printHeader(given: unknown, printer: Printer): string {
  if (typeof given !== 'object' || given === null) {
    throw invalid(`tnlPush.header must be an object, got ${show(given)}`);
  }
  checkKeys('tnlPush.header', given, [...parts.keys()]);
  for (const [name, part] of Object.entries(given)) {
    if (part !== undefined && (typeof part !== 'object' || part === null)) {
      throw invalid(`tnlPush.header.${name} must be an object, got ${show(part)}`);
    }
  }
  const header = given as Header;
  const shape = shapeOf(header, refuse);
  checkKeys('tnlPush.header.eth', header.eth as Given, ['dst', 'src']);
  const words = shape.parts.map((part) => {
    const more = part === eth ? { dlType: shape.dlType } : {};
    return `${part.name}${part.print({ ...header[part.name], ...more }, printer)}`;
  });
  return `header(size=${shape.size},type=${shape.type},${words.join(',')})`;
}

// ---------- the action

const kPorts = { tnl_port: 'tnlPort', out_port: 'outPort' } as const;

function isPort(name: string): name is keyof typeof kPorts {
  return Object.hasOwn(kPorts, name);
}

export const tnlPush: ActionKind = {
  name: 'tnl_push',
  type: 'tnlPush',
  keys: ['tnlPort', 'header', 'outPort'],
  read(reader, start) {
    const scanner: Scanner = reader.scanner;
    const typed: Record<string, unknown> = { type: 'tnlPush' };
    scanner.open('tnl_push');
    while (scanner.next() && !scanner.is(kClose)) {
      const at = scanner.at;
      const name = scanner.token();
      const key = isPort(name) ? kPorts[name] : name;
      if (Object.hasOwn(typed, key)) scanner.fail(`"${name}" of "tnl_push" is given twice`, at);
      if (name === 'header') {
        typed.header = readHeader(reader, at);
      } else if (isPort(name)) {
        scanner.open(name);
        typed[key] = readPort(scanner, reader.names, name);
        scanner.close(name);
      } else {
        const hint = 'known: tnl_port, header, out_port';
        scanner.fail(`"tnl_push" has no argument ${scanner.found(at)}`, at, hint);
      }
      scanner.endItem();
    }
    scanner.close('tnl_push');
    for (const [name, key] of Object.entries({ ...kPorts, header: 'header' })) {
      if (typed[key] === undefined) scanner.fail(`"tnl_push" needs "${name}"`, start);
    }
    return typed as KnownAction<number>;
  },
  write({ tnlPort, header, outPort }, printer) {
    const into = portWord(tnlPort, printer.ports, 'tnlPush.tnlPort', kMaxU32);
    const out = portWord(outPort, printer.ports, 'tnlPush.outPort', kMaxU32);
    return `tnl_push(tnl_port(${into}),${printHeader(header, printer)},out_port(${out}))`;
  },
};
