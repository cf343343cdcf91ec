/** The `hash` action: `hash(l4(BASIS))`. Its result is what `dp_hash` matches. */
import { checkInteger, kMaxU32 } from '../../check.js';
import { invalid, show } from '../../errors.js';
import { kHashAlgorithms } from '../names.js';
import type { KnownAction } from '../types.js';
import { type ActionKind, checkSize, type Given, readU32, writeU32 } from './kind.js';

const kOpen = 40;
/** OVS_ACTION_ATTR_HASH. */
const kHash = 8;

const hint = `known: ${kHashAlgorithms.join(', ')}`;

function hashOf(algorithm: number, basis: number): KnownAction<number> {
  const name = kHashAlgorithms[algorithm];
  if (name === undefined) throw invalid(`unknown hash algorithm ${algorithm}`, { hint });
  return { type: 'hash', algorithm: name, ...(basis === 0 ? {} : { basis }) };
}

function argumentsOf({ algorithm, basis = 0 }: Given): { algorithm: number; basis: number } {
  const index = (kHashAlgorithms as readonly unknown[]).indexOf(algorithm);
  if (index < 0) throw invalid(`unknown hash.algorithm ${show(algorithm)}`, { hint });
  return { algorithm: index, basis: checkInteger(basis, 'hash.basis', 0, kMaxU32) };
}

export const hash: ActionKind = {
  name: 'hash',
  type: 'hash',
  keys: ['algorithm', 'basis'],
  read({ scanner }) {
    scanner.open('hash');
    const at = scanner.at;
    const word = scanner.token();
    const algorithm = (kHashAlgorithms as readonly string[]).indexOf(word);
    if (algorithm < 0) scanner.fail(`unknown hash algorithm ${scanner.found(at)}`, at, hint);
    let basis = 0;
    if (scanner.take(kOpen)) {
      basis = scanner.number(word, kMaxU32);
      scanner.close(word);
    }
    scanner.close('hash');
    return hashOf(algorithm, basis);
  },
  write(action) {
    const { algorithm, basis } = argumentsOf(action);
    return `hash(${kHashAlgorithms[algorithm]}(${basis}))`;
  },
  wire: {
    attributes: [kHash],
    encode(action, { writer }) {
      const { algorithm, basis } = argumentsOf(action);
      const bytes = new Uint8Array(8);
      writeU32(bytes, 0, algorithm);
      writeU32(bytes, 4, basis);
      writer.putBytes(kHash, bytes);
    },
    decode(attribute, { bytes }) {
      checkSize('hash', attribute, 8);
      const { start } = attribute;
      return hashOf(readU32(bytes, start), readU32(bytes, start + 4));
    },
  },
};
