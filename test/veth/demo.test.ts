/** The demo: what it says when it ends by itself, and that nothing of it stays however else it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { hasNamespaces } from '../support/netns.js';

const program = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url));
let child: ChildProcess;
let output = '';
afterEach(() => child.kill('SIGKILL'));

function start(...args: string[]): Promise<{ code: number | null; signal: string | null }> {
  output = '';
  child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  return new Promise((resolve) => {
    child.on('exit', (code, signal) => resolve({ code, signal }));
  });
}

/** Processes that a process has started, and those that they have, as far as they live. */
function descendants(pid: number): number[] {
  const file = `/proc/${pid}/task/${pid}/children`;
  if (!existsSync(file)) return [];
  const children = readFileSync(file, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  return children.flatMap((one) => [one, ...descendants(one)]);
}

/** A process that has ended and waits for its parent to look is no process any more. */
function lives(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('on memory ports: nothing is lost', async () => {
  const { code } = await start('--memory', '--seconds=1');
  expect(output).toMatch(/^ {2}lost +0$/m);
  expect(output).toMatch(/Nothing was lost/);
  expect(code).toBe(0);
});

describe.skipIf(!hasNamespaces)('leaves no process behind, and so no namespace', () => {
  const waiting = { timeout: 15_000, interval: 50 };

  async function underWay() {
    const ended = start();
    // ping and TCP run, ports come and go.
    await vi.waitFor(() => expect(output).toMatch(/\n +\d+ s +ping/), waiting);
    const all = descendants(child.pid!);
    expect(all.length).toBeGreaterThanOrEqual(3); // the middle and two hosts
    return { all, ended };
  }
  const nothingLives = (all: readonly number[]) =>
    vi.waitFor(() => expect(all.filter(lives)).toEqual([]), waiting);

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('after %s', async (signal, expected) => {
    const { all, ended } = await underWay();
    child.kill(signal);
    expect((await ended).code).toBe(expected);
    await nothingLives(all);
  });

  test('after SIGKILL', async () => {
    const { all, ended } = await underWay();
    child.kill('SIGKILL');
    expect((await ended).signal).toBe('SIGKILL');
    await nothingLives(all);
  });

  test('after SIGKILL of the one in the middle', async () => {
    const { all, ended } = await underWay();
    process.kill(all[0]!, 'SIGKILL');
    expect((await ended).code).toBe(1);
    await nothingLives(all);
  });
});
