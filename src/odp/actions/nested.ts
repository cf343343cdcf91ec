/** Actions that hold lists of actions: sample, clone, check_pkt_len, dec_ttl. */
import { checkInteger } from '../../check.js';
import { invalid, show } from '../../errors.js';
import { type Attribute, attributes } from '../text/nlattr.js';
import type { KnownAction } from '../types.js';
import type { Scanner } from '../values/scan.js';
import { type ActionKind, checkSize, type Decoder, type Reader, takeU32 } from './kind.js';

const kClose = 41;

/** OVS_ACTION_ATTR_*. */
const kSample = 6;
const kClone = 20;
const kCheckPktLen = 21;
const kDecTtl = 23;

/** OVS_SAMPLE_ATTR_*. */
const kSampleProbability = 1;
const kSampleActions = 2;
/** OVS_CHECK_PKT_LEN_ATTR_*. */
const kCheckLength = 1;
const kCheckGreater = 2;
const kCheckLessEqual = 3;
/** OVS_DEC_TTL_ATTR_ACTION. */
const kDecTtlAction = 1;

/** Probability of 1. */
const kAlways = 0xffffffff;
const kPercentText = /^[0-9]+(\.[0-9]*)?%$/;

/** The members of an attribute by their type, each of which must be there exactly once. */
function members(
  what: string,
  { start, end }: Attribute,
  { bytes }: Decoder,
  types: readonly number[],
): Attribute[] {
  const found = attributes(bytes, start, end);
  const inOrder = types.map((type) => found.find((member) => member.type === type));
  if (found.length !== types.length || inOrder.includes(undefined)) {
    throw invalid(`${what} attribute must hold each of its members once`);
  }
  return inOrder as Attribute[];
}

/** `name(LIST)`, `name(LIST)`, in any order, each once; then the parenthesis that closes. */
function readLists(
  reader: Reader,
  owner: string,
  start: number,
  names: readonly string[],
  other?: (name: string, at: number) => boolean,
): KnownAction<number>[][] {
  const scanner: Scanner = reader.scanner;
  const lists = new Map<string, KnownAction<number>[]>();
  scanner.open(owner);
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const name = scanner.token();
    if (names.includes(name)) {
      if (lists.has(name)) scanner.fail(`"${name}" of "${owner}" is given twice`, at);
      lists.set(name, reader.list(name, at));
    } else if (other?.(name, at) !== true) {
      scanner.fail(`"${owner}" has no argument ${scanner.found(at)}`, at);
    }
    scanner.endItem();
  }
  scanner.close(owner);
  return names.map((name) => lists.get(name) ?? scanner.fail(`"${owner}" needs "${name}"`, start));
}

// ---------- sample

/** Computes the probability as Open vSwitch does, to the bit. */
function probabilityOf(percent: number): number {
  return Math.min(kAlways, Math.floor(kAlways * (percent / 100) + 0.5));
}

/**
 * The shortest percentage, with one decimal at least, that stands for this probability. Eight
 * decimals tell all 2^32 of them apart.
 */
function percentText(probability: number): string {
  const percent = (100 * probability) / kAlways;
  for (let decimals = 1; decimals < 8; decimals++) {
    const text = percent.toFixed(decimals);
    if (probabilityOf(Number(text)) === probability) return text;
  }
  return percent.toFixed(8);
}

function checkPercent(percent: unknown): number {
  if (typeof percent !== 'number' || !(percent >= 0 && percent <= 100)) {
    throw invalid(`sample.percent must be a number from 0 to 100, got ${show(percent)}`);
  }
  return probabilityOf(percent);
}

function readPercent({ scanner }: Reader): number {
  scanner.equals('sample');
  const at = scanner.at;
  const word = scanner.token();
  const percent = kPercentText.test(word) ? Number(word.slice(0, -1)) : Number.NaN;
  if (!(percent <= 100)) {
    scanner.fail(
      `expected a percentage from 0% to 100% for "sample", found ${scanner.found(at)}`,
      at,
    );
  }
  return Number(percentText(probabilityOf(percent)));
}

export const sample: ActionKind = {
  name: 'sample',
  type: 'sample',
  keys: ['percent', 'actions'],
  read(reader, start) {
    const scanner: Scanner = reader.scanner;
    let percent: number | undefined;
    const [actions] = readLists(reader, 'sample', start, ['actions'], (name, at) => {
      if (name !== 'sample') return false;
      if (percent !== undefined) scanner.fail('"sample" of "sample" is given twice', at);
      percent = readPercent(reader);
      return true;
    });
    if (percent === undefined) scanner.fail('"sample" needs "sample", a percentage', start);
    return { type: 'sample', percent, actions: actions! };
  },
  write({ percent, actions }, printer) {
    const text = percentText(checkPercent(percent));
    return `sample(sample=${text}%,actions(${printer.list(actions, 'sample.actions')}))`;
  },
  wire: {
    attributes: [kSample],
    encode({ percent, actions }, encoder) {
      const { writer } = encoder;
      const start = writer.begin(kSample);
      writer.putU32(kSampleProbability, checkPercent(percent));
      encoder.list(kSampleActions, actions, 'sample.actions');
      writer.end(start, kSample);
    },
    decode(attribute, decoder) {
      const [probability, list] = members('sample', attribute, decoder, [
        kSampleProbability,
        kSampleActions,
      ]) as [Attribute, Attribute];
      return {
        type: 'sample',
        percent: Number(percentText(takeU32(decoder.bytes, probability))),
        actions: decoder.list(list.start, list.end),
      };
    },
  },
};

// ---------- clone

export const clone: ActionKind = {
  name: 'clone',
  type: 'clone',
  keys: ['actions'],
  read(reader, start) {
    return { type: 'clone', actions: reader.list('clone', start) };
  },
  write({ actions }, printer) {
    return `clone(${printer.list(actions, 'clone.actions')})`;
  },
  wire: {
    attributes: [kClone],
    encode({ actions }, encoder) {
      encoder.list(kClone, actions, 'clone.actions');
    },
    decode({ start, end }, decoder) {
      return { type: 'clone', actions: decoder.list(start, end) };
    },
  },
};

// ---------- check_pkt_len

function checkLength(size: unknown): number {
  return checkInteger(size, 'checkPktLen.size', 0, 0xffff);
}

export const checkPktLen: ActionKind = {
  name: 'check_pkt_len',
  type: 'checkPktLen',
  keys: ['size', 'greater', 'lessEqual'],
  read(reader, start) {
    const scanner: Scanner = reader.scanner;
    let size: number | undefined;
    const [greater, lessEqual] = readLists(
      reader,
      'check_pkt_len',
      start,
      ['gt', 'le'],
      (name, at) => {
        if (name !== 'size') return false;
        if (size !== undefined) scanner.fail('"size" of "check_pkt_len" is given twice', at);
        scanner.equals(name);
        size = scanner.number(name, 0xffff);
        return true;
      },
    );
    if (size === undefined) scanner.fail('"check_pkt_len" needs "size"', start);
    return { type: 'checkPktLen', size, greater: greater!, lessEqual: lessEqual! };
  },
  write({ size, greater, lessEqual }, printer) {
    const gt = printer.list(greater, 'checkPktLen.greater');
    const le = printer.list(lessEqual, 'checkPktLen.lessEqual');
    return `check_pkt_len(size=${checkLength(size)},gt(${gt}),le(${le}))`;
  },
  wire: {
    attributes: [kCheckPktLen],
    encode({ size, greater, lessEqual }, encoder) {
      const { writer } = encoder;
      const start = writer.begin(kCheckPktLen);
      const length = checkLength(size);
      writer.putBytes(kCheckLength, Uint8Array.of(length, length >> 8));
      encoder.list(kCheckGreater, greater, 'checkPktLen.greater');
      encoder.list(kCheckLessEqual, lessEqual, 'checkPktLen.lessEqual');
      writer.end(start, kCheckPktLen);
    },
    decode(attribute, decoder) {
      const [size, greater, lessEqual] = members('check_pkt_len', attribute, decoder, [
        kCheckLength,
        kCheckGreater,
        kCheckLessEqual,
      ]) as [Attribute, Attribute, Attribute];
      checkSize('a 16-bit', size, 2);
      return {
        type: 'checkPktLen',
        size: decoder.bytes[size.start]! | (decoder.bytes[size.start + 1]! << 8),
        greater: decoder.list(greater.start, greater.end),
        lessEqual: decoder.list(lessEqual.start, lessEqual.end),
      };
    },
  },
};

// ---------- dec_ttl

/** The text is that of Open vSwitch for kernel datapaths: `le_1` is for a TTL of 1 or less. */
export const decTtl: ActionKind = {
  name: 'dec_ttl',
  type: 'decTtl',
  keys: ['actions'],
  read(reader, start) {
    const [actions] = readLists(reader, 'dec_ttl', start, ['le_1']);
    return { type: 'decTtl', actions: actions! };
  },
  write({ actions }, printer) {
    return `dec_ttl(le_1(${printer.list(actions, 'decTtl.actions')}))`;
  },
  wire: {
    attributes: [kDecTtl],
    encode({ actions }, encoder) {
      const { writer } = encoder;
      const start = writer.begin(kDecTtl);
      encoder.list(kDecTtlAction, actions, 'decTtl.actions');
      writer.end(start, kDecTtl);
    },
    decode(attribute, decoder) {
      const [list] = members('dec_ttl', attribute, decoder, [kDecTtlAction]) as [Attribute];
      return { type: 'decTtl', actions: decoder.list(list.start, list.end) };
    },
  },
};
