/**
 * Real interfaces for tests. A test hands a *scene* to `inNamespace()`: a function that runs in a child process with a network
 * namespace of its own, where Pollux sits in the middle, and builds hosts around it (scripts/demo/lab.mjs has the picture).
 *
 * The scene travels as text, so it sees nothing of its file: all it needs comes with its one argument. It may return anything
 * that JSON can hold.
 *
 * Namespaces and interfaces live as long as the child, the child as long as this process. A test that is killed half-way
 * leaves nothing for the next run to stumble over; and the machine's own interfaces are never seen.
 */
import type * as childProcess from 'node:child_process';
import type { ChildProcess, ForkOptions } from 'node:child_process';
import type * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type TestOptions, test } from 'vitest';
import * as lab from '../../scripts/demo/lab.mjs';
import type * as pollux from '../../src/index.js';

export interface Transfer {
  readonly bytes: number;
  readonly seconds: number;
  /** The receiver has got the very same bytes. */
  readonly equal: boolean;
}

/** See scripts/demo/lab.mjs. */
export interface Host {
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly pid: number;
  connect(options?: { mtu?: number }): Promise<void>;
  adopt(device: string): Promise<void>;
  call(verb: 'ping', argument: object): Promise<{ sent: number; received: number; rtts: number[] }>;
  call(verb: 'serve', argument?: object): Promise<number>;
  call(verb: 'transfer', argument: object): Promise<Transfer>;
  call(verb: 'echo', argument?: object): Promise<number>;
  call(verb: 'datagrams', argument: object): Promise<number>;
  call(verb: string, argument?: object): Promise<unknown>;
  run(command: string, ...args: string[]): Promise<string>;
  ip(text: string): Promise<string>;
  stop(): Promise<void>;
}

/** node:assert/strict, as far as scenes need it. As it is, TypeScript wants it called by a name declared with its type. */
export interface Assert {
  ok(value: unknown, message?: string): void;
  equal(actual: unknown, expected: unknown, message?: string): void;
  notEqual(actual: unknown, expected: unknown, message?: string): void;
  deepEqual(actual: unknown, expected: unknown, message?: string): void;
  match(text: string, pattern: RegExp): void;
  doesNotMatch(text: string, pattern: RegExp): void;
  rejects(promise: Promise<unknown>, check: (error: any) => boolean): Promise<void>;
}

/** What a scene gets. */
export interface Scene<Args> {
  readonly args: Args;
  readonly Datapath: typeof pollux.Datapath;
  readonly DatapathError: typeof pollux.DatapathError;
  readonly assert: Assert;
  readonly fs: typeof fs;
  readonly childProcess: typeof childProcess;
  /** Where a child process finds the package: import it from here. */
  readonly packageUrl: string;
  sleep(ms: number): Promise<void>;
  /** Waits until `condition` holds; after `limitMs` that is a failure. */
  until(what: string, condition: () => boolean | Promise<boolean>, limitMs?: number): Promise<void>;
  /** A program, in the middle; what it prints. */
  run(command: string, ...args: string[]): Promise<string>;
  /** `ip`, in the middle. */
  ip(text: string): Promise<string>;
  /** What `ip -j -d -s link` says of an interface in the middle. */
  link(device: string): Promise<any>;
  /** A host; its interface in the middle is named as it. Stopped when the scene ends. */
  host(
    name: string,
    number: number,
    options?: { own?: boolean; wired?: boolean; mtu?: number },
  ): Promise<Host>;
  /** A veth pair with both ends in the middle, up. */
  pair(one: string, other: string): Promise<void>;
  /** `ip` for many commands: carried out in turn, here or in the namespace of a process; nothing waits for them. */
  ipShell(pid?: number): { do(...lines: string[]): void };
  /** Waits for a state of a port. */
  reaches(port: pollux.Port, state: pollux.Port['state'], limitMs?: number): Promise<void>;
  /** How many this process has open. */
  descriptors(): number;
  /** An open datapath; closed when the scene ends. An `error` event fails the scene. */
  open(config?: pollux.DatapathConfig): Promise<pollux.Datapath>;
  /** Two flows: what comes in at one port goes out at the other. */
  crossed(one: number, other: number): pollux.FlowSpec[];
  /** Waits for rest, then: received + executed + copied = transmitted + dropped + queued. Returns the statistics. */
  expectLedgerCloses(datapath: pollux.Datapath): Promise<pollux.DatapathStats>;
  /** From now on, drops count; open() does this at its end. */
  startCounting(datapath: pollux.Datapath): void;
  /** What was dropped since then, by reason. */
  dropped(datapath: pollux.Datapath, stats: pollux.DatapathStats): Record<string, bigint>;
  /** Pings, then sends from one host to another and back; fails unless all arrives. */
  talk(
    from: Host,
    to: Host,
    options?: { megabytes?: number; family?: 4 | 6; pings?: number },
  ): Promise<void>;
}

type Way = 'root' | 'user';
const found = lab.wayToNamespaces() as { way?: Way; reasons?: string[] };
const fork = lab.forkInNamespace as (
  program: string,
  args: string[],
  options: ForkOptions & { way: Way | undefined },
) => ChildProcess;
export const hasNamespaces = found.way !== undefined;
if (!hasNamespaces) {
  console.log(`skipped: no network namespaces here: ${found.reasons?.join('; ')}`);
}

const program = fileURLToPath(new URL('scene.mjs', import.meta.url));

export async function inNamespace<Args, Result>(
  scene: (scene: Scene<Args>) => Promise<Result>,
  args: Args,
  limitMs: number,
): Promise<Result> {
  const stdio: ForkOptions['stdio'] = ['ignore', 'inherit', 'inherit', 'ipc'];
  const child = fork(program, [], { way: found.way, stdio });
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  try {
    return await new Promise<Result>((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (code, signal) => {
        const how =
          signal === 'SIGKILL' ? `was ended after ${limitMs} ms` : `ended: ${signal ?? code}`;
        reject(new Error(`the scene's process ${how}`));
      });
      child.on('message', (message: { result?: Result; error?: string }) => {
        if (message.error === undefined) resolve(message.result as Result);
        else reject(new Error(message.error));
      });
      child.send({ scene: scene.toString(), args });
    });
  } finally {
    clearTimeout(timer);
    if (child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      if (child.connected) child.disconnect();
      const late = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await gone;
      clearTimeout(late);
    }
  }
}

/** A test whose body is a scene. Skipped where there are no namespaces. `args`: what the scene finds as such. */
export function sceneTest<Result, Args = undefined>(
  name: string,
  scene: (scene: Scene<Args>) => Promise<Result>,
  { limitMs = 30_000, skip = false, args }: { limitMs?: number; skip?: boolean; args?: Args } = {},
): void {
  const options: TestOptions = {
    timeout: limitMs + 10_000,
    skip: skip || !hasNamespaces,
  };
  test(name, options, async () => {
    await inNamespace(scene, args as Args, limitMs);
  });
}
