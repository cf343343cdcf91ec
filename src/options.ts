/** The options of a datapath: their public form, and the checked, flat form that the core takes. */
import { addon, type NativeOptions } from './binding.js';
import { checkChoice, checkInteger, checkList, checkObject, checkText, kMaxU32 } from './check.js';
import { invalid, show } from './errors.js';

/** A layout of cores that replaces the machine's own. */
export interface Topology {
  /**
   * Cores of each NUMA node: [[0, 1], [2, 3]] is two nodes of two cores. Threads are then not
   * pinned, so that placement can be tested on any machine.
   */
  readonly numa: readonly (readonly number[])[];
}

export interface DatapathOptions {
  /** For messages. Default "pollux". */
  readonly name?: string;
  /**
   * Cores that get a PMD thread: OVS mask text ("0x6") or a list. Default: one core of each NUMA
   * node.
   */
  readonly pmdCpus?: string | readonly number[];
  readonly topology?: Topology;
  /**
   * 'manual': time stands still until `advance()`; for tests of timeouts and aging. Default
   * 'system'.
   */
  readonly clock?: 'system' | 'manual';
  /**
   * Flows at most. Default 200_000. When the table is full, a new flow takes the place of the one
   * least recently used; a limit that is lowered removes flows down to it. Both are told of by
   * `flowsRemoved`. Flows with `idleTimeoutMs: 0` stay.
   */
  readonly flowLimit?: number;
  /** Flows unused for this many milliseconds are removed; 0 = never. Default 10_000. */
  readonly maxIdleMs?: number;
  /**
   * How likely a flow that was looked up is to enter the exact-match cache: 0 = never, 1 = always, n = once in n
   * times. Default 100.
   */
  readonly emcInsertInvProb?: number;
  /**
   * How long, in microseconds, packets may wait for others to the same port. Default 0: until the
   * burst's end.
   */
  readonly txFlushIntervalUs?: number;
  /**
   * Longest sleep of an idle PMD thread in microseconds; 0 = spin. Of all threads, or by core: {1: 0,
   * 2: 500}. A port may ask for less. Default: until something arrives.
   */
  readonly pmdSleepMaxUs?: number | Readonly<Record<number, number>>;
  readonly upcall?: {
    /** Packets of one port that may wait for a verdict. Default 1024. */
    readonly queueLength?: number;
    /** Bytes of the frame that the handler sees (the packet itself stays whole). Default: all. */
    readonly snapLength?: number;
    /** Says what becomes of a packet that finds the queue full. Default 'drop'. */
    readonly whenFull?: 'drop' | 'flood';
  };
}

const kMaxCore = 4095;
/** A sleep without an end of its own. */
const kUntilWoken = kMaxU32;

/** A mask text or a list, as a list. */
function readCores(value: unknown, what: string): readonly number[] {
  if (typeof value !== 'string') {
    const cores = checkList(value, what).map((core, i) =>
      checkInteger(core, `${what}[${i}]`, 0, kMaxCore),
    );
    if (new Set(cores).size !== cores.length) throw invalid(`${what} names a core twice`);
    return cores;
  }
  const digits = value.replace(/^0x/i, '');
  if (!/^[0-9a-f]{1,1024}$/i.test(digits)) {
    throw invalid(`${what} must be a hexadecimal mask or a list of cores, got ${show(value)}`, {
      hint: '"0x6" is cores 1 and 2; the same as a list: [1, 2]',
    });
  }
  const mask = BigInt(`0x${digits}`);
  const cores: number[] = [];
  for (let core = 0; mask >> BigInt(core) !== 0n; core++) {
    if ((mask >> BigInt(core)) & 1n) cores.push(core);
  }
  return cores;
}

function readTopology(value: unknown): NativeOptions['topology'] {
  const { numa } = checkObject(value, 'topology', ['numa']);
  const nodes = checkList(numa, 'topology.numa').map((node, i) =>
    readCores(checkList(node, `topology.numa[${i}]`), `topology.numa[${i}]`),
  );
  const cores = nodes.flat();
  if (cores.length === 0) throw invalid('topology.numa has no core');
  if (new Set(cores).size !== cores.length) throw invalid('topology.numa names a core twice');
  return nodes;
}

/** A number for all, or one for each core that is named: the flat form of the core. */
function readSleep(value: unknown, what: string): number[] {
  if (typeof value !== 'object') return [checkInteger(value, what, 0, kMaxU32)];
  const limits = Object.entries(checkObject(value, what)).flatMap(([core, limit]) => {
    if (!/^\d{1,4}$/.test(core)) throw invalid(`${what} maps cores to limits, found ${show(core)}`);
    return [Number(core), checkInteger(limit, `${what}[${core}]`, 0, kMaxU32)];
  });
  return [kUntilWoken, ...limits];
}

const integer = (min: number, max: number) => (value: unknown, what: string) =>
  checkInteger(value, what, min, max);

interface Option {
  readonly key: string;
  readonly native: keyof NativeOptions;
  readonly read: (value: unknown, what: string) => unknown;
}

/** Every option: its name above and below, and how it is read. "upcall.x" is x of `upcall`. */
const kOptions: readonly Option[] = [
  { key: 'name', native: 'name', read: checkText },
  { key: 'pmdCpus', native: 'pmdCpus', read: readCores },
  { key: 'topology', native: 'topology', read: readTopology },
  {
    key: 'clock',
    native: 'manualClock',
    read: (value, what) => checkChoice(value, what, ['system', 'manual']) === 'manual',
  },
  { key: 'flowLimit', native: 'flowLimit', read: integer(1, kMaxU32) },
  { key: 'maxIdleMs', native: 'maxIdleMs', read: integer(0, Number.MAX_SAFE_INTEGER) },
  { key: 'emcInsertInvProb', native: 'emcInsertInvProb', read: integer(0, kMaxU32) },
  { key: 'txFlushIntervalUs', native: 'txFlushIntervalUs', read: integer(0, kMaxU32) },
  { key: 'pmdSleepMaxUs', native: 'pmdSleepMaxUs', read: readSleep },
  { key: 'upcall.queueLength', native: 'upcallQueueLength', read: integer(1, kMaxU32) },
  { key: 'upcall.snapLength', native: 'snapLength', read: integer(14, kMaxU32) },
  {
    key: 'upcall.whenFull',
    native: 'upcallFloodWhenFull',
    read: (value, what) => checkChoice(value, what, ['drop', 'flood']) === 'flood',
  },
];

const kUpcall = 'upcall.';
const upcallKeys = kOptions
  .filter(({ key }) => key.startsWith(kUpcall))
  .map(({ key }) => key.slice(kUpcall.length));
export const optionKeys: readonly string[] = [
  ...kOptions.map(({ key }) => key).filter((key) => !key.startsWith(kUpcall)),
  'upcall',
];

/**
 * The options that are given (not undefined), checked. `more`: keys that belong to others. Throws
 * EINVAL.
 */
export function readOptions(value: unknown, more: readonly string[] = []): Partial<NativeOptions> {
  const options = checkObject(value, 'options', [...optionKeys, ...more]);
  const upcall =
    options.upcall === undefined ? {} : checkObject(options.upcall, 'options.upcall', upcallKeys);
  const read: Record<string, unknown> = {};
  for (const option of kOptions) {
    const given = option.key.startsWith(kUpcall)
      ? upcall[option.key.slice(kUpcall.length)]
      : options[option.key];
    if (given !== undefined) read[option.native] = option.read(given, option.key);
  }
  return read;
}

export function withDefaults(options: Partial<NativeOptions>): NativeOptions {
  return { ...addon.defaultOptions, ...options };
}

/**
 * Public names of the options in `given`: first those that differ from `current`, then those that
 * do not.
 */
export function compareOptions(
  current: NativeOptions,
  given: Partial<NativeOptions>,
): { changed: string[]; unchanged: string[] } {
  const changed: string[] = [];
  const unchanged: string[] = [];
  for (const { key, native } of kOptions) {
    if (given[native] === undefined) continue;
    const same = JSON.stringify(given[native]) === JSON.stringify(current[native]);
    (same ? unchanged : changed).push(key);
  }
  return { changed, unchanged };
}
