/** trace(): the path of one frame, as the core wrote it down, made readable. */
import { inspect } from 'node:util';
import type { NativeTraceStep } from './binding.js';
import type { Action, FlowMatch } from './flows/types.js';
import { forJson } from './json.js';
import {
  decodeActions,
  decodeMatch,
  formatActions,
  formatMatch,
  formatUfid,
  type KnownAction,
  type PortNames,
  type Ufid,
} from './odp/index.js';
import type { DropReason } from './stats.js';

interface StepBase {
  /** One line. */
  readonly text: string;
  /** The number of times that the frame was recirculated before. */
  readonly pass: number;
  /** The depth inside of actions: what an action does is one deeper than the action. */
  readonly depth: number;
}

/** One step of a trace; `stage` tells what else it has. */
export type TraceStep = StepBase &
  (
    | {
        /** The parser's result, every field exact. It is the first step of each pass. */
        readonly stage: 'parse';
        readonly match: FlowMatch;
        readonly frame: Buffer;
      }
    /**
     * An exact-match cache was asked: that of the non-PMD context, which ports have that are polled there. A
     * PMD thread has one of its own, which it writes without a lock and nobody else can look into; so a
     * packet of its ports may hit where this says it misses. The flow is the same, with one exception: where
     * flows overlap, under a `ufid` of their own, the thread goes on with the one that it cached.
     */
    | { readonly stage: 'cache'; readonly hit: boolean }
    | {
        /** A tuple of the classifier was asked: all flows with one mask. */
        readonly stage: 'tuple';
        readonly hit: boolean;
        /** One of them. */
        readonly example: FlowMatch;
      }
    | {
        readonly stage: 'flow';
        readonly ufid: Ufid;
        readonly match: FlowMatch;
        readonly actions: readonly Action[];
      }
    | {
        readonly stage: 'action';
        readonly action: Action;
        readonly before: Buffer;
        /** undefined: it goes no further in this list. */
        readonly after: Buffer | undefined;
      }
    /** A sample is left to chance; here, to the numbers that follow from the seed. */
    | { readonly stage: 'chance'; readonly percent: number }
    | {
        readonly stage: 'output';
        readonly port: number;
        readonly frame: Buffer;
        /** Why it would not be sent. */
        readonly drop: DropReason | undefined;
      }
    | {
        readonly stage: 'upcall';
        readonly reason: 'miss' | 'action';
        readonly frame: Buffer;
        /** Why nobody would be asked. */
        readonly drop: DropReason | undefined;
      }
    | { readonly stage: 'drop'; readonly drop: DropReason; readonly frame: Buffer }
  );

/** The outcome of executing one frame. */
export interface Execution {
  /** The frame as the last action left it. */
  readonly frame: Buffer;
  /** The frames that were sent, by port name, in order; recirculated or not. */
  readonly outputs: readonly { readonly port: string; readonly frame: Buffer }[];
  /** Why it, or a copy, went no further: empty if nothing was dropped. */
  readonly dropped: readonly DropReason[];
}

export function executionOf(
  frame: Buffer,
  steps: readonly NativeTraceStep[],
  ports: PortNames,
): Execution {
  const outputs: Execution['outputs'][number][] = [];
  const dropped: DropReason[] = [];
  for (const step of steps) {
    if (step.drop !== undefined) dropped.push(step.drop);
    else if (step.kind === 'output') {
      const port = ports.name(step.number) ?? String(step.number);
      outputs.push({ port, frame: step.frame as Buffer });
    }
  }
  return { frame, outputs, dropped };
}

/** The path of a frame. */
export interface Trace {
  readonly steps: readonly TraceStep[];
  /** 'forwarded' if anything is sent; else 'upcall' if the program is asked. */
  readonly verdict: 'forwarded' | 'dropped' | 'upcall';
  /** The frames that are sent, by port name, in order. */
  readonly outputs: readonly { readonly port: string; readonly frame: Buffer }[];
  /** A line for each step. */
  toString(): string;
  /** Numbers of more than 53 bits as decimal strings. */
  toJSON(): object;
}

/** Explains reasons in a trace; those of `drop` actions speak for themselves. */
const kWhy: Readonly<Record<DropReason, string>> = {
  action_drop: 'the flow says so',
  invalid_port: 'there is no such port',
  no_memory: 'no memory for a copy',
  no_output: 'the actions end here',
  nsh_decap_error: 'no NSH header to take off, or unknown contents',
  recirc_error: 'recirculated too often',
  rewrite_error: 'the action does not fit the packet',
  sample_error: 'not sampled, and no action follows',
  tx_mtu_exceeded: "longer than the port's MTU",
  tx_packet_type: 'it has no Ethernet header',
  tx_port_down: 'the port is down',
  upcall_no_handler: 'nobody handles upcalls',
};

const kDraws = 2 ** 32;

export class FrameTrace implements Trace {
  readonly steps: readonly TraceStep[];
  readonly verdict: 'forwarded' | 'dropped' | 'upcall';
  readonly outputs: readonly { readonly port: string; readonly frame: Buffer }[];
  readonly #title: string;

  constructor(native: readonly NativeTraceStep[], inPort: number, ports: PortNames) {
    const reader = new StepReader(native, ports);
    this.steps = native.flatMap((step, i) => (step.kind === 'end' ? [] : [reader.read(step, i)]));
    this.outputs = this.steps.flatMap((step) =>
      step.stage === 'output' && step.drop === undefined
        ? [{ port: ports.name(step.port) ?? String(step.port), frame: step.frame }]
        : [],
    );
    const asks = this.steps.some((step) => step.stage === 'upcall' && step.drop === undefined);
    this.verdict = this.outputs.length > 0 ? 'forwarded' : asks ? 'upcall' : 'dropped';
    this.#title = `${native[0]!.frame!.length} bytes from port ${reader.portText(inPort)}`;
  }

  toString(): string {
    const line = (stage: string, depth: number, text: string) =>
      `${stage.padEnd(8)} ${'  '.repeat(depth)}${text}`;
    const to = this.outputs.map(({ port }) => port).join(', ');
    return [
      line('frame', 0, this.#title),
      ...this.steps.map(({ stage, depth, text }) => line(stage, depth, text)),
      line('verdict', 0, to === '' ? this.verdict : `${this.verdict} to ${to}`),
    ].join('\n');
  }

  toJSON(): object {
    return forJson({ ...this }) as object;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

class StepReader {
  readonly #steps: readonly NativeTraceStep[];
  readonly #ports: PortNames;

  constructor(steps: readonly NativeTraceStep[], ports: PortNames) {
    this.#steps = steps;
    this.#ports = ports;
  }

  portText(number: number): string {
    const name = this.#ports.name(number);
    return name === undefined ? String(number) : `${number} (${name})`;
  }

  read(step: NativeTraceStep, at: number): TraceStep {
    const { kind, pass, depth } = step;
    const frame = step.frame as Buffer;
    const drop = step.drop;
    const base = (text: string): StepBase => ({ text, pass, depth });
    switch (kind) {
      case 'parse': {
        const match = decodeMatch(step.key!);
        return { stage: kind, ...base(formatMatch(match)), match, frame };
      }
      case 'cache':
        return { stage: kind, ...base(step.hit ? 'hit' : 'miss'), hit: step.hit };
      case 'tuple': {
        const example = decodeMatch(step.key!, step.mask);
        const text = `${shapeOf(formatMatch(example))}: ${step.hit ? 'hit' : 'miss'}`;
        return { stage: kind, ...base(text), hit: step.hit, example };
      }
      case 'flow': {
        const ufid = formatUfid(step.ufid!);
        const match = decodeMatch(step.key!, step.mask);
        const actions = decodeActions(step.attributes!);
        const text = `ufid:${ufid}, ${formatMatch(match)}, actions:${formatActions(actions)}`;
        return { stage: kind, ...base(text), ufid, match, actions };
      }
      case 'action':
        return this.#readAction(step, at);
      case 'chance':
        return this.#readChance(step, at);
      case 'output': {
        const { number: port } = step;
        const text = `${frame.length} bytes to port ${this.portText(port)}`;
        return { stage: kind, ...base(text + because(drop)), port, frame, drop };
      }
      case 'upcall': {
        const what = step.reason === 'miss' ? 'no flow matches' : 'the flow asks the program';
        const text = `${what}, ${frame.length} bytes`;
        return { stage: kind, ...base(text + because(drop)), reason: step.reason!, frame, drop };
      }
      case 'drop':
        return { stage: kind, ...base(reasonText(drop!)), drop: drop!, frame };
      case 'end':
        throw new Error('the end of a list is no step of its own');
    }
  }

  #readAction(step: NativeTraceStep, at: number): TraceStep {
    const { pass, depth } = step;
    const [action] = decodeActions(step.attributes!) as [KnownAction<number>];
    const before = step.frame!;
    const next = this.#next(at);
    const after = next?.frame;
    const change = next === undefined ? '' : changeText(step, next);
    const text = formatActions([action]) + (change === '' ? '' : ` -> ${change}`);
    return { stage: 'action', text, pass, depth, action, before, after };
  }

  /** Finds the packet behind the action at `at`: before the next action of its list, or at the list's end. */
  #next(at: number): NativeTraceStep | undefined {
    const { depth } = this.#steps[at]!;
    for (const step of this.#steps.slice(at + 1)) {
      if (step.depth < depth) return undefined;
      if (step.depth === depth && (step.kind === 'action' || step.kind === 'end')) return step;
    }
    return undefined;
  }

  #readChance({ number, pass, depth }: NativeTraceStep, at: number): TraceStep {
    const percent = (100 * number) / kDraws;
    const owner = this.#steps.slice(0, at).findLast((step) => step.kind === 'action');
    const [sample] = decodeActions(owner!.attributes!);
    const below = sample?.type === 'sample' ? (sample.percent as number) : 100;
    const outcome = percent < below ? 'sampled' : 'not sampled';
    const text = `${outcome}: ${percent.toFixed(1)}% drawn, below ${below}% is`;
    return { stage: 'chance', text, pass, depth, percent };
  }
}

function reasonText(drop: DropReason): string {
  const why = kWhy[drop];
  return why === undefined ? drop : `${drop}: ${why}`;
}

function because(drop: DropReason | undefined): string {
  return drop === undefined ? '' : `, dropped as ${reasonText(drop)}`;
}

// ------------------------------------------------------------------------------------------------------ parts of texts

/** ODP text at its commas, those inside of parentheses and braces aside. */
function splitList(text: string): string[] {
  const items: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    const c = text[i];
    if (c === '(' || c === '{') depth++;
    else if (c === ')' || c === '}') depth--;
    else if (c === undefined || (c === ',' && depth === 0)) {
      if (i > start) items.push(text.slice(start, i));
      start = i + 1;
    }
  }
  return items;
}

/** Name and contents of `name(contents)`. */
function partOf(item: string): { name: string; contents: string } {
  const open = item.indexOf('(');
  return open < 0
    ? { name: item, contents: '' }
    : { name: item.slice(0, open), contents: item.slice(open + 1, -1) };
}

/**
 * What a match looks at, without the values: `in_port,ipv4(dst/255.255.255.0)`. Masks that are not
 * of all bits stay.
 */
function shapeOf(text: string): string {
  return splitList(text)
    .map((item) => {
      const { name, contents } = partOf(item);
      if (contents === '') return name;
      if (name === 'encap') return `encap(${shapeOf(contents)})`;
      const fields = splitList(contents);
      const named = fields.filter((field) => /^[a-z0-9_]+[=(]/.test(field));
      if (named.length === 0) return name + maskOf(contents);
      const shapes = named.map((field) => {
        const [key] = field.split(/[=(]/, 1) as [string];
        return key + (field[key.length] === '=' ? maskOf(field.slice(key.length + 1)) : '');
      });
      return `${name}(${shapes.join(',')})`;
    })
    .join(',');
}

function maskOf(value: string): string {
  const slash = value.indexOf('/');
  return slash < 0 ? '' : value.slice(slash);
}

/** The groups of a key by name, those behind tags as well; a second one of its name has a number. */
function partsOf(text: string, parts = new Map<string, string>()): Map<string, string> {
  const items = splitList(text);
  const tagged = items.some((item) => item.startsWith('encap('));
  for (const item of items) {
    const { name, contents } = partOf(item);
    if (name === 'encap') partsOf(contents, parts);
    else if (!tagged || item !== 'eth_type(0x8100)') {
      let unique = name;
      for (let n = 2; parts.has(unique); n++) unique = `${name} ${n}`;
      parts.set(unique, item);
    }
  }
  return parts;
}

/** Tells what an action changed: of groups that were there before, the fields that differ. */
function changeText(before: NativeTraceStep, after: NativeTraceStep): string {
  const old = partsOf(formatMatch(decodeMatch(before.key!)));
  const now = partsOf(formatMatch(decodeMatch(after.key!)));
  const changes: string[] = [];
  for (const [name, item] of now) {
    const was = old.get(name);
    if (was !== item) changes.push(was === undefined ? item : changedFields(was, item));
  }
  for (const name of old.keys()) if (!now.has(name)) changes.push(`no ${name}`);
  const from = before.frame!;
  const to = after.frame!;
  if (from.length !== to.length) changes.push(`${to.length} bytes`);
  else if (changes.length === 0 && !from.equals(to)) changes.push('other bytes of the frame');
  return changes.join(', ');
}

function changedFields(was: string, item: string): string {
  const { name, contents } = partOf(item);
  const old = new Set(splitList(partOf(was).contents));
  const fields = splitList(contents);
  const keys = new Set(fields.map((field) => field.split('=', 1)[0]));
  // Without names, or with the same name twice, the group is shown as a whole.
  if (keys.size < fields.length || !fields.every((field) => field.includes('='))) return item;
  const changed = fields.filter((field) => !old.has(field));
  return changed.length === 0 ? item : `${name}(${changed.join(',')})`;
}
