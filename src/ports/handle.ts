/** Ports: what one asks for, and the handle one gets. */
import { inspect } from 'node:util';
import { isUint8Array } from 'node:util/types';
import type { NativeDatapath, NativePortSpec, PortId } from '../binding.js';
import {
  checkBoolean,
  checkBytes,
  checkChoice,
  checkInteger,
  checkObject,
  checkOptions,
  checkText,
  kMaxU32,
} from '../check.js';
import { entries } from '../entry.js';
import { DatapathError, fromNative, invalid, show } from '../errors.js';
import { otherMeaning } from '../odp/index.js';
import { type PortStats, portStatsOf } from '../stats.js';

/** 0..65535; 0 is reserved for LOCAL, the host's own tap. */
export type PortNumber = number;
/** A port by handle, name or number. */
export type PortRef = Port | string | PortNumber;

interface PortCommon {
  /**
   * Unique within the datapath. Not what means something else where the text of a flow names ports: a
   * number ('2', '0x1f') or an action ('drop').
   */
  readonly name: string;
  /** Default: the lowest free from 1. 0 is LOCAL, the host's own tap: only a `tap` may ask for it. */
  readonly number?: PortNumber;
  /** Receive queues. Default 1. */
  readonly rxqs?: number;
  /** Polled by PMD threads, or by the non-PMD thread; the default is the type's own. */
  readonly pmd?: boolean;
  /** Queue -> core. EINVAL for a core that this machine or process does not have. */
  readonly rxqAffinity?: Readonly<Record<number, number>>;
  /**
   * Longest sleep, in microseconds, of PMD threads that poll the port while it is idle; 0 = they
   * spin. Default: the datapath's own.
   */
  readonly pmdSleepMaxUs?: number;
  /** Bytes above the Ethernet header. Default: what the device has. */
  readonly mtu?: number;
  /** NUMA node of the device. Default: what the kernel says, else 0. */
  readonly numa?: number;
}

/** What a `null` port generates. */
export interface Generate {
  /** Bytes of a frame, without FCS. Default 60. */
  readonly size?: number;
  /** Distinct five-tuples, at most 2²⁴. Default 1. */
  readonly flows?: number;
  /**
   * Into how many equal classes the flows fall, of which each takes a mask of its own; at most 102.
   * Default 1.
   */
  readonly masks?: number;
  /** Which flow comes next: each in turn, any with the same chance, or by Zipf's law. Default 'turn'. */
  readonly order?: 'turn' | 'uniform' | 'zipf';
  /** One frame in so many has random addresses and ports; 0: none. Default 0. */
  readonly strangerEvery?: number;
  /** Frames in all; 0: endless. Default 0. */
  readonly limit?: number;
}

/** Of ports that are an interface of the kernel's. */
interface OfInterface {
  /** The interface, by any of its names (`ip link property add … altname`); default: `name`. */
  readonly device?: string;
  /**
   * What is sent is seen by taps of the host, such as tcpdump: it goes through packet sockets and the
   * interface's qdisc, more slowly. `mode` says 'visible'. Default false: taps see what arrives, and of
   * what is sent next to nothing.
   */
  readonly visible?: boolean;
  /**
   * Frames leave past the interface's qdisc, unless somebody has put one there (`tc qdisc add`): then
   * all go through it, `mode` says 'qdisc', and follows when it changes. 'bypass': none do, whatever
   * there is, and frames to be segmented are segmented by Pollux if there is one; `mode` says
   * 'qdisc-bypass'. Default 'use'.
   */
  readonly qdisc?: 'use' | 'bypass';
  /** The interface takes frames for any address; false: for its own and broadcasts. Default true. */
  readonly promiscuous?: boolean;
}

/** Where the interface of a port is. */
interface InNamespace {
  /**
   * Another network namespace than the process's own: a path (`/var/run/netns/NAME`, `/proc/PID/ns/net`)
   * or the pid of a process in it. One process so serves many containers. Takes CAP_SYS_ADMIN. The
   * namespace lives at least as long as the port.
   */
  readonly netns?: string | number;
}

/** Of an interface that somebody else makes. */
interface Awaited {
  /**
   * The interface may come later: instead of ENODEV the port is there, 'gone' (`mode` says 'waiting'), drops
   * what is sent to it, and comes up as soon as the interface does. Default false.
   */
  readonly wait?: boolean;
}

export type PortSpec =
  /**
   * Frames in and out by the program itself. `queueLength`: frames that each receive queue, and
   * the queue of frames to be drained, hold (default 1024 and 4096, up to 4,194,304); all receive
   * queues of the port together at most 16,777,216. Each queue also keeps to half of the packet
   * memory, so that a port nobody drains leaves some to others; what does not fit is dropped
   * (`rxDropped`, `tx_queue_full`). `openDelayMs`: a device that is slow to open, for tests.
   */
  | (PortCommon & {
      readonly type: 'memory';
      readonly queueLength?: number;
      readonly openDelayMs?: number;
    })
  /** Swallows; with `generate`, a source for benchmarks. */
  | (PortCommon & { readonly type: 'null'; readonly generate?: boolean | Generate })
  /**
   * An interface of the kernel, through packet sockets. `hostStack`: what arrives also enters the
   * host's own network stack, as it does beside a capture; default false: it is Pollux's alone.
   * `mode` says 'ingress-drop' where that is so, 'host-stack' where it is not, because you asked for
   * it or because the kernel cannot (tcx, Linux 6.6); and 'xsk-tx' where ordinary frames are sent
   * through an AF_XDP socket, which is faster and leaves no room for another one on queue 0.
   */
  | (PortCommon &
      OfInterface &
      InNamespace &
      Awaited & { readonly type: 'af_packet'; readonly hostStack?: boolean })
  | (PortCommon &
      OfInterface &
      InNamespace &
      Awaited & {
        readonly type: 'af_xdp';
        /** The best that the device offers by default; `port.mode` says what was obtained. */
        readonly mode?: 'best' | 'zerocopy' | 'native' | 'generic';
        /**
         * The thread that polls also does what the driver does to receive, which an interrupt does
         * otherwise, perhaps on another core. For cards whose interrupts come to the thread's own core;
         * best with `napi_defer_hard_irqs` and `gro_flush_timeout` set in /sys/class/net/DEVICE (2 and
         * 200000, say), since then a busy card raises none. Costs a system call each time there is nothing
         * to receive; on a veth pair it takes work over that was the sender's. `port.mode` says 'busy-poll',
         * or 'no-busy-poll' where it cannot be had: it takes Linux 5.11 and CAP_NET_ADMIN. Default: false.
         */
        readonly busyPoll?: boolean;
        /**
         * Flows with more packets a second (default 10,000) may be forwarded by the port's own XDP
         * program, several times as fast as by a thread. So far: flows that drop, or output to one port
         * of type af_xdp or af_packet whose far end takes redirected frames (of a veth pair, when GRO is
         * on there: `ethtool -K … gro on`), and of these the TCP and UDP packets over plain IPv4;
         * everything else goes the usual way. Flows change and end as ever: what they were is no longer
         * done when `put()` or `delete()` returns. If such a flow was offloaded, that takes some tens of
         * milliseconds.
         *
         * All of it is counted as if a thread had forwarded it; `offloaded` of a flow and
         * `offloadedPackets` of the port's statistics tell it apart. What a full queue of the far end
         * loses the kernel tells nobody: it counts as sent. Default: false.
         *
         * `port.mode` says 'flow-offload', or 'no-flow-offload' where it cannot be had: it takes mode
         * 'native' and Linux 6.3.
         */
        readonly offloadFlows?: boolean | { readonly packetsPerSecond?: number };
      })
  | (PortCommon & InNamespace & { readonly type: 'tap'; readonly device?: string })
  /**
   * Replays a capture file (pcap or pcapng, of Ethernet; frames of other link types in pcapng are rx errors,
   * and check sequences that the file announces are left out), records what is sent to it in another, or
   * both. '-' is standard input or output; a named pipe will do, too. When all is read the port goes
   * down.
   */
  | (PortCommon & {
      readonly type: 'pcap';
      readonly read?: string;
      /**
       * A new file, or emptied; pcapng, or pcap if the name ends in '.pcap'. A record has the time at which
       * its packet arrived and its length on the wire, where the port it came from tells (af_packet the
       * time, pcap both); else it is of the moment when it was sent.
       */
      readonly write?: string;
      /** Again and again. Default false. */
      readonly loop?: boolean;
      /** As fast as possible, or with the gaps of the time stamps. Default 'asap'. */
      readonly pace?: 'asap' | 'timestamps';
    })
  | (PortCommon & { readonly type: 'dpdk'; readonly devargs: string })
  | (PortCommon & { readonly type: 'vxlan' | 'geneve' | 'gre'; readonly udpPort?: number });

export type PortType = PortSpec['type'];

/**
 * A handle; a copy of it (`{ ...port }`) is a snapshot of its fields. It stays what it is when the port is renumbered, and says 'closed' when the port is
 * deleted.
 */
export interface Port {
  readonly name: string;
  readonly number: PortNumber;
  readonly type: PortType;
  readonly pmd: boolean;
  readonly state: 'up' | 'down' | 'gone' | 'closed';
  /** What is really obtained now, words, e.g. 'tpacket-v2 vnet-hdr ingress-drop'. */
  readonly mode: string;
  /** Throws ENODEV once the port is deleted. */
  stats(): PortStats;
}

export interface MemoryPort extends Port {
  readonly type: 'memory';
  /**
   * Hand frames, one or any that can be iterated over, to the datapath as if they had arrived. Returns how many the queue took; the others
   * are counted as rxDropped, or rxErrors for a frame that is empty or longer than 65,535 bytes.
   * ENODEV: deleted; EINVAL: no such queue.
   */
  inject(frames: Uint8Array | Iterable<Uint8Array>, options?: { readonly rxq?: number }): number;
  /** Take up to `max` frames that the datapath has sent, oldest first. Default: all. */
  drain(max?: number): Buffer[];
}

export type PortOf<T extends PortSpec> = T extends { type: 'memory' } ? MemoryPort : Port;

// ------------------------------------------------------------------------------------------------------------ reading

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

/** What each type takes besides the common fields. */
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

/** What a port is that does not say otherwise. */
const kDefaults = {
  rxqs: 1,
  visible: false,
  qdiscBypass: false,
  promiscuous: true,
  hostStack: false,
  busyPoll: false,
};

/**
 * Whether a port made as `a` is what `b` asks for. A `b` without a number takes any, and that a port was
 * ready to wait for its interface matters no more once it is there.
 */
export function sameSpec(a: NativePortSpec, b: NativePortSpec): boolean {
  const text = (spec: NativePortSpec) => {
    const { number: _, wait: __, ...rest } = { ...kDefaults, device: spec.name, ...spec };
    return JSON.stringify(Object.entries(rest).sort(([x], [y]) => (x < y ? -1 : 1)));
  };
  return text(a) === text(b);
}

// ------------------------------------------------------------------------------------------------------------ handles

/** What the datapath knows of a port; the handle shows parts of it. */
export interface PortRecord {
  readonly native: () => NativeDatapath;
  readonly name: string;
  readonly type: PortType;
  id: PortId;
  number: PortNumber;
  pmd: boolean;
  mode: string;
  state: Port['state'];
  /** What it was made from; undefined while only the core knows. */
  spec: NativePortSpec | undefined;
  /** Troubles that a warning told of. */
  readonly warned: Set<string>;
}

/** As it is now; of a port that is going, as it was. */
function modeOf(record: PortRecord): string {
  if (record.state === 'closed') return record.mode;
  try {
    record.mode = record.native().port(record.id)?.mode ?? record.mode;
  } catch {
    // The datapath is closing.
  }
  return record.mode;
}

const kShown = ['name', 'number', 'type', 'pmd', 'state', 'mode'] as const;

export class DatapathPort implements Port {
  readonly #record: PortRecord;
  // Fields of its own, for whoever copies it.
  declare readonly name: string;
  declare readonly number: PortNumber;
  declare readonly type: PortType;
  declare readonly pmd: boolean;
  declare readonly state: Port['state'];
  declare readonly mode: string;

  constructor(record: PortRecord) {
    this.#record = record;
    for (const key of kShown) {
      const get = key === 'mode' ? () => modeOf(record) : () => record[key];
      Object.defineProperty(this, key, { get, enumerable: true });
    }
  }

  /** The record behind a handle, undefined for anything else. Not for users. */
  static recordOf(value: unknown): PortRecord | undefined {
    return typeof value === 'object' && value !== null && #record in value
      ? value.#record
      : undefined;
  }

  stats(): PortStats {
    return portStatsOf(ask(this, (native, id) => native.portStats(id)));
  }

  toJSON(): object {
    return { ...this };
  }

  [inspect.custom](): string {
    return `Port ${inspect(this.toJSON())}`;
  }
}

export class DatapathMemoryPort extends DatapathPort implements MemoryPort {
  declare readonly type: 'memory';

  inject(frames: Uint8Array | Iterable<Uint8Array>, options?: { readonly rxq?: number }): number {
    const { rxq = 0 } = checkOptions(options, 'the options of inject()', ['rxq']);
    const queue = checkInteger(rxq, 'rxq', 0, kMaxU32);
    const list = typeof frames === 'object' && !isUint8Array(frames) ? listOf(frames) : frames;
    if (Array.isArray(list)) {
      for (let i = 0; i < list.length; i++) checkBytes(list[i], `frames[${i}]`);
    } else {
      checkBytes(list, 'frames');
    }
    return ask(this, (native, id) => native.inject(id, queue, list));
  }

  drain(max: number = kMaxU32): Buffer[] {
    const limit = checkInteger(max, 'max', 0, kMaxU32);
    const { slab, lengths } = ask(this, (native, id) => native.drain(id, limit));
    let end = 0;
    return Array.from(lengths, (length) => {
      end += length;
      return slab.subarray(end - length, end);
    });
  }
}

entries(DatapathPort);
entries(DatapathMemoryPort);

/** Anything that can be gone through, as a list. */
function listOf(frames: Iterable<Uint8Array>): Uint8Array | readonly Uint8Array[] {
  if (Array.isArray(frames)) return frames;
  const iterable = typeof frames?.[Symbol.iterator] === 'function';
  return iterable ? [...frames] : (frames as unknown as Uint8Array);
}

/** Asks the core about a port, if it still is one. */
function ask<T>(port: DatapathPort, call: (native: NativeDatapath, id: PortId) => T): T {
  const record = DatapathPort.recordOf(port)!;
  const native = record.native();
  if (record.state === 'closed') throw deleted(record.name);
  try {
    return call(native, record.id);
  } catch (error) {
    throw fromNative(error);
  }
}

export function deleted(name: string): DatapathError {
  return new DatapathError(`port "${name}" is deleted`, {
    code: 'ENODEV',
    port: name,
    hint: 'a handle ends with its port; add the port again for a new one',
  });
}
