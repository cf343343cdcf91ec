/** Reading packet tables; README.md has their format. */
import { readFileSync } from 'node:fs';

/** Bytes, and the expression they come from. */
export interface Frame {
  readonly expression: string;
  readonly bytes: Buffer;
}

export interface Flow {
  readonly match: string;
  /** undefined: any number. */
  readonly packets: bigint | undefined;
  readonly bytes: bigint | undefined;
  /** Letters, as in a dump; '' for none. */
  readonly flags: string;
  readonly actions: string;
  readonly line: number;
}

export interface Output {
  readonly kind: 'out';
  /** One of these. */
  readonly ports: readonly number[];
  /** Outputs of the same name leave by the same port. */
  readonly name: string | undefined;
  readonly frame: Frame;
  readonly least: number;
  readonly most: number;
}

export interface Drop {
  readonly kind: 'drop';
  readonly reason: string;
  readonly least: number;
  readonly most: number;
}

export interface Upcall {
  readonly kind: 'upcall';
  readonly reason: 'miss' | 'action';
  /** Hexadecimal; undefined if there is none. */
  readonly userdata: string | undefined;
  readonly frame: Frame;
  /** What the key says, if the table tells. */
  key: string | undefined;
}

/** How many packets a port sends in all. */
export interface Sent {
  readonly port: number;
  readonly least: number;
  readonly most: number;
}

export type Outcome = Output | Drop | Upcall;

/** A packet in, and what comes of it. */
export interface Packet {
  readonly port: number;
  readonly frame: Frame;
  readonly copies: number;
  readonly outcomes: Outcome[];
  readonly line: number;
}

export interface Table {
  /** The first sentence of the comment at its top. */
  readonly title: string;
  /** MTU by port number; undefined: none. */
  readonly ports: ReadonlyMap<number, number | undefined>;
  /** Somebody listens for upcalls. */
  readonly handler: boolean;
  readonly flows: readonly Flow[];
  readonly packets: readonly Packet[];
  readonly sent: readonly Sent[];
  /** How many expressions it has. */
  readonly frames: number;
}

/** A line with the indented lines below it. */
interface Block {
  readonly words: string;
  readonly below: readonly string[];
  readonly line: number;
}

/** Ports that every table has. */
const kPorts = [1, 2, 3];
/** Directives of one line. */
const kAlone = ['drop', 'sent', 'port', 'no'];
const kHex = /^[0-9a-f]{2,4}( [0-9a-f]{2,4})*$/;
const kFlow =
  /^flow (?<match>.+?),? packets:(?<packets>\d+|any), bytes:(?<bytes>\d+|any),?(?: used:\S+?,)?(?: flags:(?<flags>\S+?),?)? actions:(?<actions>.*)$/;

export function readTable(path: string): Table {
  return new Reader(path, readFileSync(path, 'utf8')).table();
}

class Reader {
  readonly #path: string;
  readonly #lines: readonly string[];
  readonly #ports = new Map<number, number | undefined>(kPorts.map((port) => [port, undefined]));
  readonly #flows: Flow[] = [];
  readonly #packets: Packet[] = [];
  readonly #sent: Sent[] = [];
  #handler = true;
  #frames = 0;
  #line = 0;

  constructor(path: string, text: string) {
    this.#path = path;
    this.#lines = text.split('\n');
  }

  table(): Table {
    for (const block of this.#blocks()) {
      this.#line = block.line;
      this.#read(block);
    }
    this.#endPacket();
    if (this.#packets.length === 0) this.#fail('no packet comes in');
    return {
      title: this.#title(),
      ports: this.#ports,
      handler: this.#handler,
      flows: this.#flows,
      packets: this.#packets,
      sent: this.#sent,
      frames: this.#frames,
    };
  }

  #fail(what: string): never {
    throw new Error(`${this.#path}:${this.#line}: ${what}`);
  }

  #title(): string {
    const end = this.#lines.findIndex((line) => !line.startsWith('#'));
    const text = this.#lines.slice(0, end).map((line) => line.slice(1).trim());
    this.#line = 1;
    return (
      text.join(' ').match(/^(.+?)\.(?= |$)/)?.[1] ??
      this.#fail('a table begins with a comment that says what it shows')
    );
  }

  *#blocks(): Generator<Block> {
    let words = '';
    let below: string[] = [];
    let start = 0;
    for (const [index, line] of this.#lines.entries()) {
      if (line.startsWith('#') || line.trim() === '') continue;
      this.#line = index + 1;
      if (line.startsWith(' ')) {
        if (words === '') this.#fail('an indented line belongs to one above it');
        below.push(line.trim());
        continue;
      }
      if (words !== '') yield { words, below, line: start };
      words = line.trim();
      below = [];
      start = index + 1;
    }
    if (words !== '') yield { words, below, line: start };
  }

  #read(block: Block): void {
    const [directive = '', ...words] = block.words.split(/\s+/);
    if (block.below.length > 0 && kAlone.includes(directive)) {
      this.#fail(`nothing may stand below "${directive}"`);
    }
    switch (directive) {
      case 'flow':
        this.#flow(block);
        break;
      case 'in':
        this.#in(words, block);
        break;
      case 'out':
        this.#out(words, block);
        break;
      case 'drop':
        this.#drop(words);
        break;
      case 'upcall':
        this.#upcall(words, block);
        break;
      case 'key':
        this.#key([...words, ...block.below].join(' '));
        break;
      case 'sent': {
        const [port, times] = words;
        this.#sent.push({ port: this.#known(this.#number(port)), ...this.#times(times) });
        break;
      }
      case 'port':
        this.#port(words);
        break;
      case 'no':
        if (words.join(' ') !== 'handler') this.#fail('it is "no handler"');
        this.#handler = false;
        break;
      default:
        this.#fail(
          `"${directive}" is none of port, no handler, flow, in, out, drop, upcall, key, sent`,
        );
    }
  }

  /** `port 4` or `port 2 mtu 100`. */
  #port(words: readonly string[]): void {
    const [number, ...rest] = words;
    const [, mtu] =
      rest.join(' ').match(/^(?:mtu (\d+))?$/) ?? this.#fail('it is "port N [mtu N]"');
    this.#ports.set(this.#number(number), mtu === undefined ? undefined : Number(mtu));
  }

  #flow(block: Block): void {
    const text = [block.words, ...block.below].join(' ');
    const { match, packets, bytes, flags, actions } =
      text.match(kFlow)?.groups ??
      this.#fail('it is "flow MATCH, packets:N, bytes:N[, flags:F], actions:ACTIONS"');
    this.#flows.push({
      match: match!,
      packets: packets === 'any' ? undefined : BigInt(packets!),
      bytes: bytes === 'any' ? undefined : BigInt(bytes!),
      flags: flags ?? '',
      actions: actions!,
      line: block.line,
    });
  }

  /** `in 1` or `in 1 x1000`, and a frame. */
  #in(words: readonly string[], block: Block): void {
    this.#endPacket();
    const [port, times, ...rest] = words;
    if (rest.length > 0) this.#fail('it is "in PORT [xN]"');
    const { least, most } = this.#times(times);
    if (least !== most) this.#fail('a certain number comes in');
    this.#packets.push({
      port: this.#known(this.#number(port)),
      frame: this.#frame(block.below),
      copies: least,
      outcomes: [],
      line: block.line,
    });
  }

  /** `out 2`, `out 2 same`, `out 2|3 as NAME`, `out 2 x400..600`, and a frame unless it is the same. */
  #out(words: readonly string[], block: Block): void {
    const { groups } =
      words
        .join(' ')
        .match(/^(?<ports>[\d|]+)(?: as (?<name>\S+))?(?<same> same)?(?: (?<times>x\S+))?$/) ??
      this.#fail('it is "out PORT[|PORT] [as NAME] [same] [xN[..N]]"');
    const { ports, name, same, times } = groups!;
    this.#packet().outcomes.push({
      kind: 'out',
      ports: ports!.split('|').map((port) => this.#known(this.#number(port))),
      name,
      frame: this.#sameOr(same, block.below),
      ...this.#times(times),
    });
  }

  #drop([reason, times, ...rest]: readonly string[]): void {
    if (reason === undefined || rest.length > 0) this.#fail('it is "drop REASON [xN[..N]]"');
    this.#packet().outcomes.push({ kind: 'drop', reason, ...this.#times(times) });
  }

  /** `upcall miss`, `upcall action userdata=c0ffee`, and a frame unless it is the same. */
  #upcall(words: readonly string[], block: Block): void {
    const { groups } =
      words
        .join(' ')
        .match(/^(?<reason>miss|action)(?: userdata=(?<userdata>[0-9a-f]*))?(?<same> same)?$/) ??
      this.#fail('it is "upcall miss|action [userdata=HEX] [same]"');
    const { reason, userdata, same } = groups!;
    this.#packet().outcomes.push({
      kind: 'upcall',
      reason: reason as 'miss' | 'action',
      userdata,
      frame: this.#sameOr(same, block.below),
      key: undefined,
    });
  }

  #key(text: string): void {
    const upcall = this.#packet().outcomes.at(-1);
    if (upcall?.kind !== 'upcall') this.#fail('a key belongs to the upcall above it');
    upcall.key = text;
  }

  #endPacket(): void {
    const packet = this.#packets.at(-1);
    if (packet?.outcomes.length === 0) {
      this.#line = packet.line;
      this.#fail('the table does not say what comes of this packet');
    }
  }

  #packet(): Packet {
    return this.#packets.at(-1) ?? this.#fail('no packet came in yet');
  }

  #number(word: string | undefined): number {
    if (!/^\d+$/.test(word ?? '')) this.#fail(`"${word}" is no port number`);
    return Number(word);
  }

  #known(port: number): number {
    if (!this.#ports.has(port)) this.#fail(`there is no port ${port}`);
    return port;
  }

  #times(word: string | undefined): { least: number; most: number } {
    if (word === undefined) return { least: 1, most: 1 };
    const [, least, most] =
      word.match(/^x(\d+)(?:\.\.(\d+))?$/) ?? this.#fail(`"${word}" is neither xN nor xN..N`);
    return { least: Number(least), most: Number(most ?? least) };
  }

  #sameOr(same: string | undefined, below: readonly string[]): Frame {
    if (same === undefined) return this.#frame(below);
    if (below.length > 0) this.#fail('"same" needs no bytes');
    return this.#packet().frame;
  }

  #frame(below: readonly string[]): Frame {
    const hex = below.findIndex((line) => kHex.test(line));
    if (hex < 1 || !below.slice(hex).every((line) => kHex.test(line))) {
      this.#fail(
        'an expression and its bytes are missing here (scripts/packet-tables.mjs makes bytes)',
      );
    }
    this.#frames++;
    return {
      expression: below.slice(0, hex).join(' '),
      bytes: Buffer.from(below.slice(hex).join('').replaceAll(' ', ''), 'hex'),
    };
  }
}
