// An error shows the line of the program that called, and is readable wherever it is printed.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect, promisify } from 'node:util';
import {
  Datapath,
  DatapathError,
  formatActions,
  formatMatch,
  type MemoryPort,
  parseActions,
  parseMatch,
} from 'pollux';
import { beforeEach, describe, expect, test } from 'vitest';
import { makeDatapath, memoryPorts, udpFrame, until } from '../support/datapath.js';

const any = (value: unknown) => value as never;
const frame = udpFrame();

let dp: Datapath;
let a: MemoryPort;
beforeEach(async () => {
  dp = makeDatapath();
  [a] = await memoryPorts(dp, 'a', 'b');
});

const firstFrame = (error: Error) => error.stack!.split('\n').find((line) => /^\s+at /.test(line));

async function thrown(call: () => unknown): Promise<DatapathError> {
  try {
    await call();
  } catch (error) {
    expect(error).toBeInstanceOf(DatapathError);
    return error as DatapathError;
  }
  throw new Error('nothing was thrown');
}

const bad = 'in_port(1),nosuch(1)';
const calls: [what: string, call: () => unknown][] = [
  ['new Datapath', () => new Datapath(any({ nosuch: 1 }))],
  ['Datapath.open', () => Datapath.open(any({ nosuch: 1 }))],
  ['Datapath.open, later', () => Datapath.open({ ports: [{ name: 'x', type: 'vxlan' }] })],
  ['addPort', () => dp.addPort(any({ name: 'n', type: 'x' }))],
  ['addPort, refused by the core', () => dp.addPort({ name: 'a', type: 'memory' })],
  ['deletePort', () => dp.deletePort('nosuch')],
  ['renumberPort', () => dp.renumberPort('a', 2)],
  ['reload', () => dp.reload(77)],
  ['configure', () => dp.configure(any({ nosuch: 1 }))],
  ['configure, planning', () => dp.configure({ flows: [{ match: bad, actions: '' }] })],
  ['execute', () => dp.execute(frame, 'nosuch(')],
  ['execute, refused by the core', () => dp.execute(frame, 'ct(commit)')],
  ['trace', () => dp.trace(frame, { inPort: 'nosuch' })],
  ['onUpcall', () => dp.onUpcall(any(5))],
  ['upcalls', () => dp.upcalls(any(5))],
  ['advance', () => dp.advance(5)],
  ['flows.put', () => dp.flows.put(bad, '1')],
  ['flows.put, refused by the core', () => dp.flows.put('in_port(1)', 'set(ipv4(ttl=1))')],
  ['flows.delete', () => dp.flows.delete(bad)],
  ['flows.get', () => dp.flows.get(bad)],
  ['flows.apply', () => dp.flows.apply([{ delete: bad }])],
  ['flows.dump', () => dp.flows.dump(any(5))],
  ['inject', () => a.inject(any('x'))],
  ['inject, refused by the core', () => a.inject(frame, { rxq: 3 })],
  ['drain', () => a.drain(-1)],
  ['parseMatch', () => parseMatch(bad)],
  ['formatMatch', () => formatMatch(bad)],
  ['parseActions', () => parseActions('nosuch(')],
  ['formatActions', () => formatActions('nosuch(')],
];

describe('the first frame is the caller of', () => {
  test.each(calls)('%s', async (_, call) => {
    const error = await thrown(call);
    expect(firstFrame(error)).toContain('stacks.test.ts');
    // What a person reads first is all that there is to know.
    expect(error.stack).toMatch(/^DatapathError: /);
    if (error.hint !== undefined) expect(error.stack).toContain(error.hint.split('\n')[0]);
  });

  test('methods of a port that is gone, of a closed datapath', async () => {
    await dp.deletePort(a);
    expect(firstFrame(await thrown(() => a.stats()))).toContain('stacks.test.ts');
    await dp.close();
    for (const call of [() => dp.stats(), () => dp.settle(), () => dp.flows.size]) {
      expect(firstFrame(await thrown(call))).toContain('stacks.test.ts');
    }
  });

  test('verdicts', async () => {
    const errors: DatapathError[] = [];
    dp.onUpcall((batch) => {
      for (const packet of batch) {
        for (const call of [
          () => packet.install('nosuch('),
          () => packet.execute(any(5)),
          () => {
            packet.drop();
            packet.drop();
          },
        ]) {
          try {
            call();
          } catch (error) {
            errors.push(error as DatapathError);
          }
        }
      }
    });
    a.inject(frame);
    await until(() => errors.length === 3, 'three errors');
    for (const error of errors) expect(firstFrame(error)).toContain('stacks.test.ts');
  });
});

test('a method that was taken off its object says so', async () => {
  const { stats, addPort } = dp;
  const { put } = dp.flows;
  const { inject } = a;
  for (const call of [() => stats(), () => put('in_port(1)', '2'), () => inject(frame)]) {
    const error = await thrown(call);
    expect(error).toMatchObject({ code: 'EINVAL' });
    expect(error.message).toMatch(/^\w+\(\) was called without its object$/);
    expect(firstFrame(error)).toContain('stacks.test.ts');
  }
  expect(await thrown(() => addPort({ name: 'n', type: 'memory' }))).toMatchObject({
    code: 'EINVAL',
    message: 'addPort() was called without its object',
  });
});

test('printed, the caret stands under what it means, and nothing is said twice', async () => {
  const error = await thrown(() => dp.flows.put(bad, '1'));
  for (const text of [inspect(error), inspect(error, { customInspect: false })]) {
    const lines = text.split('\n');
    const at = lines.findIndex((line) => line.endsWith(bad));
    expect(lines[at + 1]!.indexOf('^'), text).toBe(lines[at]!.indexOf('nosuch'));
    expect(text).not.toContain('\\n');
    expect(text).not.toContain('[cause]');
    expect(text.match(/unknown|there is no/g)).toHaveLength(1);
  }
  expect(JSON.parse(JSON.stringify(error))).toMatchObject({
    ...{ name: 'DatapathError', code: 'EINVAL', position: error.position },
    ...{ message: error.message, hint: error.hint },
  });
});

describe('uncaught, Node shows the line of the program', () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const run = async (line: string): Promise<string> => {
    // In the clone, so that it finds the package by its name.
    const folder = mkdtempSync(join(root, 'out/stacks-'));
    const file = join(folder, 'program.mjs');
    const text = `import { Datapath } from 'pollux';\nconst dp = new Datapath();\n${line}\n`;
    writeFileSync(file, text);
    try {
      await promisify(execFile)(process.execPath, [file], { timeout: 10_000 });
      return 'it ended well';
    } catch (error) {
      return (error as { stderr: string }).stderr;
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
  test.each([
    `dp.flows.put('${bad}', '1');`,
    "dp.flows.put('in_port(1)', 'set(ipv4(ttl=1))');",
    "await dp.addPort({ name: 'x', type: 'vxlan' });",
    'await dp.configure({ nosuch: 1 });',
    "new Datapath({ clock: 'atomic' });",
  ])('%s', async (line) => {
    const told = (await run(line)).split('\n');
    expect(told[0]).toMatch(/program\.mjs:3$/);
    expect(told[1]).toBe(line);
    expect(told.join('\n')).not.toMatch(/hint: '/);
  });
});
