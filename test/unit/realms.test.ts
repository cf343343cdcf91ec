// Values of another realm, as test runners and vm contexts make them: they are what they are.
import { runInNewContext } from 'node:vm';
import type { Datapath } from 'pollux';
import { beforeEach, expect, test } from 'vitest';
import { abortError, signalOf } from '../../src/check.js';
import { fromNative } from '../../src/errors.js';
import { failure, makeDatapath, memoryPorts, udpFrame, until } from '../support/datapath.js';

const foreign = (text: string) => runInNewContext(text, { Buffer });
const foreignBytes = (bytes: Uint8Array): Uint8Array =>
  foreign(`Uint8Array.from([${bytes.join(',')}])`);

let dp: Datapath;
beforeEach(async () => {
  dp = makeDatapath();
  await memoryPorts(dp, 'a', 'b');
});

test('bytes', async () => {
  const frame = foreignBytes(udpFrame());
  expect(frame).not.toBeInstanceOf(Uint8Array);
  expect(dp.execute(frame, 'b').equals(udpFrame())).toBe(true);
  const a = dp.ports.get('a') as any;
  expect(a.inject(frame)).toBe(1);
  expect(a.inject(foreign(`[Uint8Array.from([${frame.join(',')}])]`))).toBe(1);

  const four = foreignBytes(new Uint8Array([1, 2, 3, 4]));
  dp.flows.put('in_port(a)', [{ type: 'userspace', userdata: four }]);
  expect(dp.flows.get('in_port(a)')!.actions).toEqual([
    expect.objectContaining({ userdata: Buffer.from([1, 2, 3, 4]) }),
  ]);
  const nsh = { type: 'pushNsh', mdtype: 2, md2: four } as const;
  expect(dp.execute(udpFrame(), [nsh]).length).toBe(60 + 12);
  const options = [{ class: 1, type: 2, data: four }];
  dp.flows.put({ inPort: 7, tunnel: { geneve: options } } as never, 'b');
});

test('errors', async () => {
  const text = "Object.assign(new Error('no such port'), { errno: -19, hint: 'look' })";
  const error = fromNative(foreign(text));
  expect(error).toMatchObject({ message: 'no such port', code: 'ENODEV', hint: 'look' });

  const errors: Error[] = [];
  dp.on('error', (told) => errors.push(told));
  dp.onUpcall(() => {
    throw foreign("new Error('oops')");
  });
  (dp.ports.get('a') as any).inject(udpFrame());
  await until(() => errors.length > 0, 'the error');
  expect(errors[0]!.message).toMatch(/: oops$/);
});

test('signals', async () => {
  const { signal } = runInNewContext(
    '({ signal: { aborted: true, reason: 1, addEventListener() {}, removeEventListener() {} } })',
  );
  expect(signalOf({ signal })).toBe(signal);
  expect(abortError(signal).code).toBe('ABORT_ERR');
  await failure('ABORT_ERR', () => dp.addPort({ name: 'c', type: 'memory' }, { signal }));
});
