/** A port as a program asks for it, checked, and in the form in which the core takes it. */
import type { NativePortSpec } from '../binding.js';
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkObject,
  checkOptions,
  checkText,
  kMaxU32,
} from '../check.js';
import { invalid, show } from '../errors.js';
import { otherMeaning } from '../odp/index.js';
import type { Awaited, Generate, InNamespace, OfInterface, PortType } from './types.js';

type Read = (value: unknown, what: string) => unknown;

const u32: Read = (value, what) => checkInteger(value, what, 0, kMaxU32);
const atLeast =
  (min: number, max = kMaxU32): Read =>
  (value, what) =>
    checkInteger(value, what, min, max);

function checkName(value: unknown): string {
  const name = checkText(value, "a port's name");
  if (name.length > 128 || /[\s\p{Cc},()=/]/u.test(name)) {
    throw invalid(`${show(name)} cannot be a port's name`, {
      hint: 'at most 128 characters, without spaces, commas, parentheses, "=" and "/"',
    });
  }
  const other = otherMeaning(name);
  if (other === undefined) return name;
  throw invalid(`${show(name)} cannot be a port's name: in text it is ${other}`, {
    hint: `add something to it: ${show(`port-${name}`)}`,
  });
}

function readAffinity(value: unknown, what: string): number[] {
  return Object.entries(checkObject(value, what)).flatMap(([queue, core]) => {
    if (!/^\d{1,6}$/.test(queue)) {
      throw invalid(`${what} maps queue numbers to cores, found ${show(queue)}`);
    }
    return [Number(queue), checkInteger(core, `${what}[${queue}]`, 0, kMaxU32)];
  });
}

const kGenerate: Readonly<Record<keyof Generate, Read>> = {
  size: atLeast(14, 65_535),
  flows: atLeast(1),
  masks: atLeast(1),
  order: (value, what) => checkChoice(value, what, ['turn', 'uniform', 'zipf']),
  strangerEvery: u32,
  limit: atLeast(0, Number.MAX_SAFE_INTEGER),
};

function readGenerate(value: unknown): Partial<NativePortSpec> {
  if (typeof value === 'boolean') return { generate: value };
  const given = checkObject(value, 'generate', Object.keys(kGenerate));
  const read: Record<string, unknown> = { generate: true };
  for (const [key, reader] of Object.entries(kGenerate)) {
    if (given[key] === undefined) continue;
    read[`generate${key[0]?.toUpperCase()}${key.slice(1)}`] = reader(given[key], `generate.${key}`);
  }
  return read;
}

const kCommon: Readonly<Record<string, Read>> = {
  number: atLeast(0, 65_535),
  rxqs: atLeast(1, 1024),
  pmd: checkBoolean,
  rxqAffinity: readAffinity,
  pmdSleepMaxUs: u32,
  mtu: atLeast(68, 65_521), // the least that IPv4 allows, the most that fits into a frame
  numa: u32,
};

const kTunnel: Readonly<Record<string, Read>> = { udpPort: atLeast(1, 65_535) };

const kHotFlow = 10_000;

/** Packets a second above which flows are offloaded; 0: none are. */
function readOffloadFlows(value: unknown, what: string): number {
  if (typeof value === 'boolean') return value ? kHotFlow : 0;
  const { packetsPerSecond = kHotFlow } = checkOptions(value, what, ['packetsPerSecond']);
  return atLeast(1)(packetsPerSecond, 'packetsPerSecond') as number;
}

/** A name that an interface can have, of its own or as an altname. */
function readInterface(value: unknown, what: string): string {
  const name = checkText(value, what);
  const possible = name.length <= 127 && !/[\s/]/u.test(name) && !/^\.{0,2}$/.test(name);
  if (possible) return name;
  throw invalid(`${what} ${show(name)} cannot be an interface`, {
    hint: '`ip link` shows the interfaces; a name has neither blanks nor "/"',
  });
}

/** The path of a network namespace. */
function readNamespace(value: unknown, what: string): string {
  if (typeof value === 'number') return `/proc/${atLeast(1)(value, what)}/ns/net`;
  const path = checkText(value, what);
  if (path.startsWith('/')) return path;
  throw invalid(`${what} must be a path or the pid of a process, got ${show(value)}`, {
    hint: `that of \`ip netns add ${path}\` is /var/run/netns/${path}`,
  });
}

const kOfInterface: Readonly<Record<keyof OfInterface | keyof InNamespace | keyof Awaited, Read>> =
  {
    device: readInterface,
    visible: checkBoolean,
    qdisc: (value, what) => checkChoice(value, what, ['use', 'bypass']),
    promiscuous: checkBoolean,
    netns: readNamespace,
    wait: checkBoolean,
  };

/** The fields that each type takes besides the common ones. */
const kTypes: Readonly<Record<PortType, Readonly<Record<string, Read>>>> = {
  memory: { queueLength: atLeast(1), openDelayMs: u32 },
  null: { generate: readGenerate },
  af_packet: { ...kOfInterface, hostStack: checkBoolean },
  af_xdp: {
    ...kOfInterface,
    mode: (value, what) => checkChoice(value, what, ['best', 'zerocopy', 'native', 'generic']),
    busyPoll: checkBoolean,
    offloadFlows: readOffloadFlows,
  },
  tap: { device: checkText, netns: readNamespace },
  pcap: {
    read: checkText,
    write: checkText,
    loop: checkBoolean,
    pace: (value, what) => checkChoice(value, what, ['asap', 'timestamps']),
  },
  dpdk: { devargs: checkText },
  vxlan: kTunnel,
  geneve: kTunnel,
  gre: kTunnel,
};

/** A PortSpec, checked. Throws EINVAL. */
export function readPortSpec(value: unknown): NativePortSpec {
  const spec = checkObject(value, 'a port');
  const type = spec.type as PortType;
  if (typeof type !== 'string' || !Object.hasOwn(kTypes, type)) {
    throw invalid(`there is no port type ${show(type)}`, {
      hint: `there are: ${Object.keys(kTypes).join(', ')}; Datapath.portTypes() says which of them work here`,
    });
  }
  const fields = { ...kCommon, ...kTypes[type] };
  checkObject(spec, `a port of type '${type}'`, ['name', 'type', ...Object.keys(fields)]);
  const read: Record<string, unknown> = { type, name: checkName(spec.name) };
  for (const [key, reader] of Object.entries(fields)) {
    const given = spec[key];
    if (given === undefined) continue;
    const value = reader(given, key);
    // Fields that are others below.
    if (key === 'generate') Object.assign(read, value);
    else if (key === 'pace') read.paced = value === 'timestamps';
    else if (key === 'offloadFlows') read.offloadFlowsAbove = value;
    else if (key === 'qdisc') read.qdiscBypass = value === 'bypass';
    else read[key] = value;
  }
  if (read.visible === true && read.qdiscBypass === true) {
    throw invalid("`visible` and `qdisc: 'bypass'` exclude each other", {
      hint: "taps see only what goes through the interface's qdisc: leave one of them out",
    });
  }
  const { rxqAffinity = [], rxqs = 1 } = read as { rxqAffinity?: number[]; rxqs?: number };
  for (let i = 0; i < rxqAffinity.length; i += 2) {
    if (rxqAffinity[i]! < rxqs) continue;
    throw invalid(`rxqAffinity names queue ${rxqAffinity[i]}, the port has ${rxqs}`, {
      hint: 'queues are numbered from 0; "rxqs" says how many there are',
    });
  }
  return read as unknown as NativePortSpec;
}

/**
 * The core's defaults (NetdevSpec, GeneratorSpec), for comparing a request that leaves a field out with one that
 * spells it out. Fields without a default of their own are missing: the device has it, or the type.
 */
const kDefaults: Partial<NativePortSpec> = {
  rxqs: 1,
  rxqAffinity: [],
  pmdSleepMaxUs: kMaxU32,
  visible: false,
  qdiscBypass: false,
  promiscuous: true,
  hostStack: false,
  mode: 'best',
  busyPoll: false,
  offloadFlowsAbove: 0,
  openDelayMs: 0,
  generate: false,
  generateSize: 60,
  generateFlows: 1,
  generateMasks: 1,
  generateOrder: 'turn',
  generateStrangerEvery: 0,
  generateLimit: 0,
  loop: false,
  paced: false,
};

/**
 * Says whether a port made as `a` is what `b` asks for. A `b` without a number takes any, and that a port was
 * ready to wait for its interface matters no more once it is there.
 */
export function sameSpec(a: NativePortSpec, b: NativePortSpec): boolean {
  const text = (spec: NativePortSpec) => {
    const { number: _, wait: __, ...rest } = { ...kDefaults, device: spec.name, ...spec };
    return JSON.stringify(Object.entries(rest).sort(([x], [y]) => (x < y ? -1 : 1)));
  };
  return text(a) === text(b);
}
