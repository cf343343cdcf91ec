/**
 * Dropping. A list that says nothing drops: `drop`, and typed `[{ type: 'drop' }]`, is the empty
 * list. With a reason, which the datapath counts by, it is an action: `drop(reason=NAME)`. Open
 * vSwitch has that action, too, but prints it without its reason and cannot read one.
 */
import { kMaxU32 } from '../../check.js';
import { invalid, show } from '../../errors.js';
import { kDropReasons, type NamedDropReason } from '../names.js';
import { parseNumber } from '../text/number.js';
import type { KnownAction } from '../types.js';
import type { Scanner } from '../values/scan.js';
import { type ActionKind, type Reader, takeU32 } from './kind.js';

const kOpen = 40;

/** OVS_ACTION_ATTR_DROP. */
const kDrop = 24;

const hint = `known: ${kDropReasons.join(', ')}`;

function reasonOf(number: number): NamedDropReason | number {
  return kDropReasons[number] ?? number;
}

function numberOf(reason: unknown): number {
  const number =
    typeof reason === 'number' ? reason : kDropReasons.indexOf(reason as NamedDropReason);
  if (!Number.isInteger(number) || number < 0 || number > kMaxU32) {
    throw invalid(`drop.reason must be a name or a number, got ${show(reason)}`, { hint });
  }
  return number;
}

function readReason({ scanner }: Reader): number {
  const at = scanner.at;
  const word = scanner.token();
  const named = kDropReasons.indexOf(word as NamedDropReason);
  const number = named >= 0 ? named : parseNumber(word);
  if (number < 0 || number > kMaxU32) {
    scanner.fail(`expected a reason for "drop", found ${scanner.found(at)}`, at, hint);
  }
  return number;
}

export const drop: ActionKind = {
  name: 'drop',
  type: 'drop',
  keys: ['reason'],
  read(reader): KnownAction<number> {
    const scanner: Scanner = reader.scanner;
    if (!scanner.take(kOpen)) return { type: 'drop' };
    const at = scanner.at;
    if (scanner.token() !== 'reason')
      scanner.fail(`expected "reason", found ${scanner.found(at)}`, at);
    scanner.equals('reason');
    const reason = reasonOf(readReason(reader));
    scanner.close('drop');
    return { type: 'drop', reason };
  },
  write({ reason }) {
    return reason === undefined ? 'drop' : `drop(reason=${reasonOf(numberOf(reason))})`;
  },
  wire: {
    attributes: [kDrop],
    encode({ reason }, { writer }) {
      if (reason !== undefined) writer.putU32(kDrop, numberOf(reason));
    },
    decode(attribute, { bytes }) {
      return { type: 'drop', reason: reasonOf(takeU32(bytes, attribute)) };
    },
  },
};
