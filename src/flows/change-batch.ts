/**
 * Changes of flows on their way down to the core: any number in three byte strings, so that one
 * crossing carries them all. All numbers are little-endian.
 *
 *   headers   one for each change (record-layouts.ts)
 *   payload   keys, each with its mask behind it, and actions, as netlink attributes
 *   texts     matches as text
 *
 * Texts are not read here if it can be helped. The core knows texts by example: those that differ
 * from one it has seen in nothing but values. It tells which ones it does not know; these are read
 * here and become examples. So what a text means, and what is wrong with one, is decided here
 * alone.
 */
import { isUint32Array } from 'node:util/types';
import type { NativeDatapath } from '../binding.js';
import { checkIdleTimeout } from '../check.js';
import { type DatapathError, fromNative, invalid } from '../errors.js';
import {
  decodeMatch,
  formatMatch,
  type PortNames,
  parseUfid,
  readExample,
  type Ufid,
} from '../odp/index.js';
import { kRecordLayouts } from '../record-layouts.js';
import { ActionBytes } from './action-bytes.js';
import type { Attributes, Change, PutMode } from './change.js';
import { MatchPlans } from './match-plans.js';
import { outcomes, outcomesSize } from './outcomes.js';
import type { ActionsLike, FlowMatch, FlowSpec, MatchLike } from './types.js';

const { change: kHeader, changeFlags, verdict, verdictFlags } = kRecordLayouts;
const kHeaderSize = kHeader.size;
const kTimeoutAt = kHeader.timeoutMs;
const kUfidAt = kHeader.ufid;

/** Places in a header, in words. */
const kHeaderWords = kHeaderSize / 4;
const kFlags = kHeader.flags / 4;
const kKeyAt = kHeader.keyAt / 4;
const kKeySize = kHeader.keySize / 4;
const kMaskSize = kHeader.maskSize / 4;
const kActionsAt = kHeader.actionsAt / 4;
const kActionsSize = kHeader.actionsSize / 4;
const kPlaceAt = verdict.place / 4;

const kPut = changeFlags.put;
const kByUfid = changeFlags.byUfid;
const kTimeout = changeFlags.timeout;
const kReplace = changeFlags.replace;
const kCreate = changeFlags.create;
/** The key is text. */
const kText = changeFlags.text;
const kInstall = verdictFlags.install;
/** A verdict without a match: the packet's exact key. */
const kExact = verdictFlags.exact;

/** A key stands here in the payload, and its mask behind it. */
interface KeyPlace {
  readonly at: number;
  readonly size: number;
  readonly maskSize: number;
}
const kNoKey: KeyPlace = { at: 0, size: 0, maskSize: 0 };

const kNothing = new Uint8Array(0);

/** So many texts are joined at a time. */
const kJoined = 4096;

/** So many texts become examples in the first round. */
const kFirstExamples = 16;

/** After so many rounds, each with four times as many examples, all other texts are read here at once. */
const kRounds = 5;
/** Room that is kept from one call to the next, in changes, and bytes of payload for each. */
const kKept = 8192;
const kKeptPayload = 256;

export class ChangeBatch {
  readonly #ports: PortNames;
  #headers = new Uint32Array(kHeaderWords * 64);
  #doubles = new Float64Array(this.#headers.buffer);
  #bytes = new Uint8Array(this.#headers.buffer);
  #payload = new Uint8Array(4096);
  #payloadSize = 0;
  /** By place; '' for changes whose match is no text. */
  readonly #texts: string[] = [];
  #textSize = 0;
  #count = 0;
  readonly #actions: ActionBytes;
  readonly #plans = new MatchPlans();

  constructor(ports: PortNames) {
    this.#ports = ports;
    this.#actions = new ActionBytes(ports);
  }

  get length(): number {
    return this.#count;
  }

  /** The number of changes that failed when they were applied. */
  failed = 0;

  clear(): void {
    this.#payloadSize = 0;
    this.#texts.length = 0;
    this.#textSize = 0;
    this.#count = 0;
    this.#actions.forgetPlace();
    this.#plans.renew();
    if (this.#bytes.length > kKept * kHeaderSize) this.#setHeaders(64);
    if (this.#payload.length > kKept * kKeptPayload) this.#payload = new Uint8Array(4096);
  }

  // ------------------------------------------------------------------------------------------------------- gathering

  put(spec: FlowSpec, mode: PutMode): void {
    const at = this.#begin();
    const flags = kPut | (mode.replace ? kReplace : 0) | (mode.create ? kCreate : 0);
    this.#match(at, flags, spec.match);
    this.#putActions(at, this.#actions.of(spec.actions));
    if (spec.ufid !== undefined) this.#ufid(at, parseUfid(spec.ufid));
    const idleTimeoutMs = checkIdleTimeout(spec.idleTimeoutMs);
    if (idleTimeoutMs !== undefined) this.#timeout(at, idleTimeoutMs);
  }

  delete(match: MatchLike): void {
    this.#match(this.#begin(), 0, match);
  }

  deleteByUfid(ufid: Ufid): void {
    const at = this.#begin();
    this.#header(at, 0, kNoKey);
    this.#ufid(at, parseUfid(ufid));
  }

  /** Adds a change that is encoded already. */
  add(change: Change): void {
    const at = this.#begin();
    if ('key' in change) {
      const isPut = 'actions' in change;
      const flags = isPut ? kPut | kReplace | kCreate : 0;
      this.#header(at, flags, this.#attributes(change));
      if (isPut) {
        this.#putActions(at, change.actions);
        if (change.idleTimeoutMs !== undefined) this.#timeout(at, change.idleTimeoutMs);
      }
    } else {
      this.#header(at, 0, kNoKey);
    }
    if (change.ufid !== undefined) this.#ufid(at, change.ufid);
  }

  /**
   * Adds a verdict that installs a flow for the packet at `place` of a batch of upcalls; returns its match, if
   * one was given. Throws for what cannot be read; then there is none.
   */
  install(
    place: number,
    actions: ActionsLike,
    match: MatchLike | undefined,
    idleTimeoutMs: number | undefined,
  ): Attributes | undefined {
    // Getters of what is given may come back here: nothing is begun before all is read.
    let key = kNoKey;
    if (match !== undefined) {
      key =
        typeof match === 'string'
          ? this.#attributes(readExample(match, this.#ports))
          : this.#typed(match);
    }
    const bytes = this.#actions.of(actions);
    const at = this.#begin();
    this.#header(at, match === undefined ? kInstall | kExact : kInstall, key);
    this.#putActions(at, bytes);
    if (idleTimeoutMs !== undefined) this.#timeout(at, idleTimeoutMs);
    this.#headers[at + kPlaceAt] = place;
    if (match === undefined) return undefined;
    const behind = key.at + key.size;
    return {
      key: this.#payload.slice(key.at, behind),
      mask: this.#payload.slice(behind, behind + key.maskSize),
    };
  }

  /**
   * Adds a verdict that forwards the packet at `place` by actions alone. Throws for what cannot be read; then
   * there is none.
   */
  execute(place: number, actions: ActionsLike): void {
    const bytes = this.#actions.of(actions);
    const at = this.#begin();
    this.#header(at, 0, kNoKey);
    this.#putActions(at, bytes);
    this.#headers[at + kPlaceAt] = place;
  }

  /** Makes room for one more change; returns where its header begins, in words. */
  #begin(): number {
    const at = this.#count * kHeaderWords;
    if (at === this.#headers.length) {
      const old = this.#headers;
      this.#setHeaders(2 * this.#count);
      this.#headers.set(old);
    }
    this.#count++;
    this.#texts.push('');
    return at;
  }

  #setHeaders(count: number): void {
    this.#headers = new Uint32Array(kHeaderWords * count);
    this.#doubles = new Float64Array(this.#headers.buffer);
    this.#bytes = new Uint8Array(this.#headers.buffer);
  }

  #header(at: number, flags: number, key: KeyPlace): void {
    const headers = this.#headers;
    headers[at + kFlags] = flags;
    headers[at + kKeyAt] = key.at;
    headers[at + kKeySize] = key.size;
    headers[at + kMaskSize] = key.maskSize;
    headers[at + kActionsAt] = 0;
    headers[at + kActionsSize] = 0;
  }

  #match(at: number, flags: number, match: MatchLike): void {
    if (typeof match === 'string') {
      this.#texts[this.#count - 1] = match;
      this.#header(at, flags | kText, { at: this.#textSize, size: match.length, maskSize: 0 });
      this.#textSize += match.length;
    } else {
      this.#header(at, flags, this.#typed(match));
    }
  }

  #typed(match: FlowMatch): KeyPlace {
    for (const plan of this.#plans.known) {
      if (!plan.write(match)) continue;
      this.#plans.hit(plan);
      const { bytes, keySize, maskSize } = plan;
      return { at: this.#append(bytes), size: keySize, maskSize };
    }
    return this.#attributes(this.#plans.encode(match, this.#ports));
  }

  #attributes({ key, mask }: Attributes): KeyPlace {
    const at = this.#append(key);
    this.#append(mask);
    return { at, size: key.length, maskSize: mask.length };
  }

  #putActions(at: number, actions: Uint8Array): void {
    const cache = this.#actions;
    if (cache.placed !== actions) {
      cache.placed = actions;
      cache.place = this.#append(actions);
    }
    this.#headers[at + kActionsAt] = cache.place;
    this.#headers[at + kActionsSize] = actions.length;
  }

  #ufid(at: number, ufid: Uint8Array): void {
    this.#headers[at + kFlags]! |= kByUfid;
    this.#bytes.set(ufid, 4 * at + kUfidAt);
  }

  #timeout(at: number, ms: number): void {
    this.#headers[at + kFlags]! |= kTimeout;
    this.#doubles[(4 * at + kTimeoutAt) / 8] = ms;
  }

  #append(bytes: Uint8Array): number {
    const at = this.#reserve(bytes.length);
    // A call costs more than a few bytes.
    if (bytes.length > 16) this.#payload.set(bytes, at);
    else for (let i = 0; i < bytes.length; i++) this.#payload[at + i] = bytes[i]!;
    this.#payloadSize += bytes.length;
    return at;
  }

  /** Makes room for so many bytes at the end of the payload; returns where that is. */
  #reserve(size: number): number {
    const at = this.#payloadSize;
    if (at + size > this.#payload.length) {
      const grown = new Uint8Array(Math.max(at + size, 2 * this.#payload.length));
      grown.set(this.#payload.subarray(0, at));
      this.#payload = grown;
    }
    return at;
  }

  // -------------------------------------------------------------------------------------------------------- crossing

  /**
   * A ufid for each put, whether it was there for each deletion, or why not; of atomic changes that
   * failed only the failure. Throws for a text that cannot be read; then nothing is done.
   */
  apply(native: NativeDatapath, atomic: boolean): (Ufid | boolean | DatapathError)[] {
    const out = Buffer.allocUnsafe(outcomesSize(this.#count));
    const errors = this.#cross(native, atomic, out);
    this.failed = errors?.length ?? 0;
    const failures = errors?.map((error) => this.#failure(error));
    if (atomic && failures !== undefined) return failures;
    return outcomes(out, this.#count, failures);
  }

  /** The error of a change; of one that another flow is in the way of, with both flows. */
  #failure(error: Error & { change?: number; overlaps?: Attributes }): DatapathError {
    const { change, overlaps } = error;
    const failure = fromNative(error);
    if (change === undefined || overlaps === undefined) return failure;
    const other = formatMatch(decodeMatch(overlaps.key, overlaps.mask));
    return invalid(`the flow ${this.#matchText(change)} overlaps the flow ${other}`, {
      hint: failure.hint,
    });
  }

  #matchText(place: number): string {
    const text = this.#texts[place]!;
    if (text !== '') return text.trim();
    const header = place * kHeaderWords;
    const at = this.#headers[header + kKeyAt]!;
    const end = at + this.#headers[header + kKeySize]!;
    const key = this.#payload.subarray(at, end);
    const behind = end + this.#headers[header + kMaskSize]!;
    return formatMatch(decodeMatch(key, this.#payload.subarray(end, behind)));
  }

  /** The flow record of what would be deleted. */
  find(native: NativeDatapath): Buffer | undefined {
    this.readTexts(native);
    return native.flowFind(this.#headerBytes(), this.#payloadBytes());
  }

  /** Sends verdicts; returns the errors of those that could not be carried out, by place. */
  answer(
    native: NativeDatapath,
    first: number,
    count: number,
  ): readonly [number, Error][] | undefined {
    return native.answerUpcalls(first, count, this.#headerBytes(), this.#payloadBytes());
  }

  /** Reads all texts here and now. Throws for the first that cannot be read. */
  readTexts(native?: NativeDatapath): void {
    for (let place = 0; place < this.#count; place++) {
      if ((this.#headers[place * kHeaderWords + kFlags]! & kText) !== 0)
        this.#readText(place, native);
    }
  }

  #headerBytes(): Uint8Array {
    return this.#bytes.subarray(0, kHeaderSize * this.#count);
  }

  #payloadBytes(): Uint8Array {
    return this.#payload.subarray(0, this.#payloadSize);
  }

  #cross(native: NativeDatapath, atomic: boolean, out: Buffer): Error[] | undefined {
    const texts = this.#joinTexts(native);
    for (let round = 0, examples = kFirstExamples; ; round++, examples *= 4) {
      const answer = native.flowApply(
        this.#headerBytes(),
        this.#payloadBytes(),
        texts,
        round < kRounds ? examples : this.#count,
        atomic,
        out,
      );
      if (!isUint32Array(answer)) return answer;
      for (const place of answer) this.#readText(place, native);
    }
  }

  /** Reads a text and puts attributes in its place. */
  #readText(place: number, native?: NativeDatapath): void {
    const at = place * kHeaderWords;
    const text = this.#texts[place]!;
    const example = readExample(text, this.#ports);
    const { key, mask, ufid, values } = example;
    const flags = this.#headers[at + kFlags]! & ~kText;
    const actionsAt = this.#headers[at + kActionsAt]!;
    const actionsSize = this.#headers[at + kActionsSize]!;
    this.#header(at, flags, this.#attributes(example));
    this.#headers[at + kActionsAt] = actionsAt;
    this.#headers[at + kActionsSize] = actionsSize;
    if (ufid !== undefined && (flags & kByUfid) === 0) this.#ufid(at, parseUfid(ufid));
    if (values !== undefined) native?.learnText(Buffer.from(text), values, key, mask);
  }

  /** Joins all texts to one byte string. Texts that are not ASCII are read here. */
  #joinTexts(native: NativeDatapath): Uint8Array {
    if (this.#textSize === 0) return kNothing;
    // A byte more than there are characters shows that one has several bytes.
    const joined = Buffer.allocUnsafe(this.#textSize + 4);
    let at = 0;
    for (let first = 0; first < this.#count; first += kJoined) {
      const chunk = this.#texts.slice(first, first + kJoined).join('');
      if (joined.write(chunk, at) !== chunk.length) {
        for (let i = first; i < Math.min(this.#count, first + kJoined); i++) {
          if ((this.#headers[i * kHeaderWords + kFlags]! & kText) !== 0) this.#readText(i, native);
        }
      }
      at += chunk.length;
    }
    return joined;
  }
}
