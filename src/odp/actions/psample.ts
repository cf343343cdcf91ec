/** The `psample` action: `psample(group=N,cookie=0xHEX)`. The datapath cannot do it. */
import { isUint8Array } from 'node:util/types';
import { invalid, show } from '../../errors.js';
import type { KnownAction } from '../types.js';
import type { Scanner } from '../values/scan.js';
import { printNumber, readNumber } from './bytes.js';
import type { ActionKind } from './kind.js';
import { compileLayout, printLayout, readLayout, takeLayout } from './layout.js';

const kMaxCookie = 16;

const layout = compileLayout({
  name: 'psample',
  key: 'psample',
  size: 4,
  fields: [{ name: 'group', key: 'group', offset: 0, size: 4, kind: 'dec', host: true }],
});

export const psample: ActionKind = {
  name: 'psample',
  type: 'psample',
  keys: ['group', 'cookie'],
  read(reader, start) {
    const scanner: Scanner = reader.scanner;
    let cookie: Buffer | undefined;
    const bytes = readLayout(layout, reader, start, (name, at) => {
      if (name !== 'cookie') return false;
      if (cookie !== undefined) scanner.fail('"cookie" of "psample" is given twice', at);
      scanner.equals(name);
      const read = readNumber(scanner, name, kMaxCookie, 1);
      cookie = read.length === 0 ? Buffer.of(0) : read;
      return true;
    });
    const typed = takeLayout(layout, bytes);
    return {
      type: 'psample',
      ...typed,
      ...(cookie === undefined ? {} : { cookie }),
    } as unknown as KnownAction<number>;
  },
  write({ cookie, ...rest }, printer) {
    const group = printLayout(layout, rest, printer);
    if (cookie === undefined) return `psample(${group})`;
    if (!isUint8Array(cookie) || cookie.length === 0 || cookie.length > kMaxCookie) {
      throw invalid(`psample.cookie must be 1 to ${kMaxCookie} bytes, got ${show(cookie)}`);
    }
    return `psample(${group},cookie=${printNumber(cookie)})`;
  },
};
