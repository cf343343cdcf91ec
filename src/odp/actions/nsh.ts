/**
 * The `push_nsh` action: a network service header with metadata of type 1, the words `c1` to `c4`,
 * or of type 2, the bytes `md2`.
 */
import { isUint8Array } from 'node:util/types';
import { invalid, show } from '../../errors.js';
import { groupOf, kNshMdType1 } from '../schema/compile.js';
import { attributes } from '../text/nlattr.js';
import type { KnownAction } from '../types.js';
import type { Scanner } from '../values/scan.js';
import { printNumber, readNumber } from './bytes.js';
import { type ActionKind, checkSize, type Given } from './kind.js';
import {
  compileLayout,
  fieldsOf,
  type Layout,
  layOut,
  printLayout,
  readLayout,
  takeLayout,
} from './layout.js';

/** OVS_ACTION_ATTR_PUSH_NSH. */
const kPushNsh = 17;
/** OVS_KEY_ATTR_NSH, around all of it. */
const kNsh = groupOf('nsh').attribute;
/** OVS_NSH_KEY_ATTR_*. */
const kBase = 1;
const kMd1 = 2;
const kMd2 = 3;

const kMdType2 = 2;
const kBaseSize = 8;
const kMd1Size = 16;
/** The header's length has six bits and counts words. */
const kMaxMd2 = 63 * 4 - kBaseSize;

/** The base header and metadata of type 1. What is left out is as in Open vSwitch. */
const fields = fieldsOf('nsh', {
  flags: { bits: 2, shift: 0, implied: 0 },
  ttl: { bits: 6, shift: 0, implied: 63 },
  mdtype: { implied: kNshMdType1, oneOf: [kNshMdType1, kMdType2] },
  np: { implied: 3 },
  spi: { implied: 0 },
  si: { implied: 255 },
  c1: { implied: 0 },
  c2: { implied: 0 },
  c3: { implied: 0 },
  c4: { implied: 0 },
});
const withMd1 = compileLayout({
  name: 'push_nsh',
  key: 'pushNsh',
  size: kBaseSize + kMd1Size,
  fields,
});
const withMd2 = compileLayout({
  name: 'push_nsh',
  key: 'pushNsh',
  size: kBaseSize,
  fields: fields.filter(({ offset }) => offset < kBaseSize),
});

type PushNsh = Extract<KnownAction<number>, { type: 'pushNsh' }>;

/** `bytes` may have metadata of type 1 behind the base header; `md2` is that of type 2. */
function pushNshOf(bytes: Uint8Array, md2: Uint8Array | undefined): PushNsh {
  const layout = bytes[2] === kNshMdType1 ? withMd1 : withMd2;
  return {
    type: 'pushNsh',
    ...takeLayout(layout, bytes),
    ...(md2 === undefined || md2.length === 0 ? {} : { md2: Buffer.from(md2) }),
  };
}

function layoutOf({ mdtype, md2 }: Given): Layout {
  if (mdtype !== kMdType2) {
    if (md2 !== undefined) throw invalid('pushNsh.md2 needs an mdtype of 2');
    return withMd1;
  }
  if (md2 !== undefined) {
    if (!isUint8Array(md2)) {
      throw invalid(`pushNsh.md2 must be a Uint8Array, got ${show(md2)}`);
    }
    if (md2.length > kMaxMd2 || md2.length % 4 !== 0) {
      throw invalid(`pushNsh.md2 is at most ${kMaxMd2} bytes, a multiple of 4, got ${md2.length}`);
    }
  }
  return withMd2;
}

export const pushNsh: ActionKind = {
  name: 'push_nsh',
  type: 'pushNsh',
  keys: [...withMd1.keys, 'md2'],
  read(reader, start) {
    const scanner: Scanner = reader.scanner;
    let md2: Buffer | undefined;
    let md2At = 0;
    const bytes = readLayout(withMd1, reader, start, (name, at) => {
      if (name !== 'md2') return false;
      if (md2 !== undefined) scanner.fail('"md2" of "push_nsh" is given twice', at);
      scanner.equals(name);
      md2At = at;
      md2 = readNumber(scanner, name, kMaxMd2, 4);
      return true;
    });
    if (bytes[2] === kNshMdType1) {
      if (md2 !== undefined) scanner.fail('"md2" of "push_nsh" needs mdtype=2', md2At);
    } else if (bytes.subarray(kBaseSize).some((byte) => byte !== 0)) {
      scanner.fail('"c1" to "c4" of "push_nsh" need mdtype=1', start);
    }
    return pushNshOf(bytes, md2);
  },
  write(action, printer) {
    const { md2, ...rest } = action;
    const base = printLayout(layoutOf(action), rest, printer);
    const more = isUint8Array(md2) && md2.length > 0 ? `,md2=${printNumber(md2)}` : '';
    return `push_nsh(${base}${more})`;
  },
  wire: {
    attributes: [kPushNsh],
    encode(action, { writer, names }) {
      const { md2, ...rest } = action;
      const bytes = layOut(layoutOf(action), rest, names);
      const start = writer.begin(kPushNsh);
      const header = writer.begin(kNsh);
      writer.putBytes(kBase, bytes.subarray(0, kBaseSize));
      if (bytes.length > kBaseSize) writer.putBytes(kMd1, bytes.subarray(kBaseSize));
      if (isUint8Array(md2) && md2.length > 0) writer.putBytes(kMd2, md2);
      writer.end(header, kNsh);
      writer.end(start, kPushNsh);
    },
    decode({ start: from, end: to }, { bytes }) {
      const header = new Uint8Array(kBaseSize + kMd1Size);
      let md2: Uint8Array | undefined;
      const [nsh, more] = attributes(bytes, from, to);
      if (nsh?.type !== kNsh || more !== undefined) {
        throw invalid('a push_nsh attribute holds one other, the header');
      }
      for (const attribute of attributes(bytes, nsh.start, nsh.end)) {
        const { type, start, end } = attribute;
        if (type === kBase) {
          checkSize('nsh base', attribute, kBaseSize);
          header.set(bytes.subarray(start, end));
        } else if (type === kMd1) {
          checkSize('nsh md1', attribute, kMd1Size);
          header.set(bytes.subarray(start, end), kBaseSize);
        } else if (type === kMd2) {
          md2 = bytes.subarray(start, end);
        } else {
          throw invalid(`unknown nsh attribute ${type}`);
        }
      }
      return pushNshOf(header, md2);
    },
  },
};
