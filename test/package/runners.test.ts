// The package under the test runners of its users. Some of them run modules in a realm of its own, where
// the addon's arrays and errors are of other classes.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Project } from './project.js';

const spec = `
import { Datapath, DatapathError } from 'pollux';

const frame = new Uint8Array(60).fill(255, 0, 12);

async function failure(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('nothing failed');
}

test('text, typed flows, bytes, errors and upcalls', async () => {
  const dp = new Datapath({ topology: { numa: [[0]] } });
  try {
    const a = await dp.addPort({ name: 'a', type: 'memory' });
    const b = await dp.addPort({ name: 'b', type: 'memory' });
    dp.flows.put('in_port(b)', 'a');
    dp.flows.apply([{ put: { match: 'in_port(3),eth_type(0x0800)', actions: 'b' } }]);
    dp.flows.put({ inPort: 4 }, [{ type: 'userspace', userdata: new Uint8Array(4) }]);
    expect(dp.flows.size).toBe(3);
    expect(dp.execute(frame, 'push_vlan(vid=5,pcp=0),b').length).toBe(64);

    for (const [code, call] of [
      [/^(ENODEV|EPERM)$/, () => dp.addPort({ name: 'n', type: 'af_packet', device: 'nosuch0' })],
      [/^EEXIST$/, () => dp.addPort({ name: 'a', type: 'memory' })],
      [/^EINVAL$/, () => dp.flows.put('in_port(1),nosuch(1)', 'b')],
      [/^ABORT_ERR$/, () => dp.deletePort('a', { signal: AbortSignal.abort() })],
    ]) {
      const error = await failure(call);
      expect(error).toBeInstanceOf(DatapathError);
      expect(error).toBeInstanceOf(Error);
      expect(error.code).toMatch(code);
      if (error.code !== 'ABORT_ERR') expect(error.hint).toMatch(/\\w/);
    }

    const told = new Promise((resolve) => dp.once('error', resolve));
    let calls = 0;
    dp.onUpcall((batch) => {
      calls++;
      if (calls === 1) throw new TypeError('oops');
      for (const packet of batch) packet.install('b');
    });
    a.inject(frame);
    expect((await told).message).toMatch(/: oops$/);
    a.inject([frame]);
    await dp.settle();
    const end = Date.now() + 10000;
    let out = [];
    while (out.length === 0 && Date.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      out = b.drain();
    }
    // The one that execute() sent stands in front.
    expect(out.some((sent) => sent.length === 60)).toBe(true);
    expect(dp.flows.size).toBe(4);
  } finally {
    await dp.close();
  }
});
`;

const project = new Project({
  type: 'module',
  jest: { testMatch: ['**/*.spec.js'], transform: {} },
});
beforeAll(() => {
  project.install('jest@30', 'vitest@4');
  project.write('pollux.spec.js', spec);
  project.write('vitest.config.js', 'export default { test: { globals: true } };');
});
afterAll(() => project[Symbol.dispose]());

test('jest', () => {
  project.run(process.execPath, ['node_modules/jest/bin/jest.js', '--ci'], {
    NODE_OPTIONS: '--experimental-vm-modules --no-warnings',
  });
});

test.each(['threads', 'forks', 'vmThreads', 'vmForks'])("vitest's pool %s", (pool) => {
  const report = project.node('node_modules/vitest/vitest.mjs', 'run', `--pool=${pool}`);
  expect(report).toMatch(/Tests {2}1 passed/);
});
