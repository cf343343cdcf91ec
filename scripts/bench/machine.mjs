// Where and with what the figures were made.
import { readFileSync } from 'node:fs';
import { availableParallelism, loadavg, release } from 'node:os';
import { execute } from './processes.mjs';

const firstLine = (text) => text.trim().split('\n')[0];
const known = (promise) => promise.then(firstLine, () => 'unknown');

/** `tree`: the build tree of the native benchmarks. */
export async function machine(tree) {
  const cpu = readFileSync('/proc/cpuinfo', 'utf8');
  const cache = readFileSync(`${tree}/CMakeCache.txt`, 'utf8');
  const compiler = cache.match(/^CMAKE_CXX_COMPILER:\w+=(.*)$/m)?.[1] ?? 'c++';
  const changed = await execute('git', ['status', '--porcelain', '--', 'native', 'src']).catch(
    () => '',
  );
  return {
    date: new Date().toISOString(),
    cpu: cpu.match(/^model name\s*: (.*)$/m)?.[1] ?? process.arch,
    virtual: /^flags.*\bhypervisor\b/m.test(cpu),
    cores: availableParallelism(),
    kernel: release(),
    node: process.version,
    compiler: await known(execute(compiler, ['--version'])),
    commit: (await known(execute('git', ['rev-parse', '--short', 'HEAD']))) + (changed ? '+' : ''),
    load: loadavg()[0],
  };
}
