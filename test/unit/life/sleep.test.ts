// How long idle PMD threads sleep. A thread that spins is always running or runnable; one that sleeps is seen sleeping.
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { makeDatapath, until } from '../../support/datapath.js';

const kCores = [61, 62]; // Made up: names no other test's threads have.
const topology = { numa: [kCores] };

/** 'S' sleeps, 'R' runs or could. */
function stateOf(core: number): string {
  for (const task of readdirSync('/proc/self/task')) {
    const [, comm, state] = /\((.*)\) (\w)/.exec(statOf(task)) ?? [];
    if (comm === `pmd-c${core}`) return state ?? '';
  }
  return 'none';
}
function statOf(task: string): string {
  try {
    return readFileSync(`/proc/self/task/${task}/stat`, 'utf8');
  } catch {
    return ''; // Some other thread, which has just ended.
  }
}
const sleeps = (core: number) => until(() => stateOf(core) === 'S');
function spins(core: number): void {
  for (let i = 0; i < 50; i++) expect(stateOf(core)).toBe('R');
}

const port = (name: string, core: number) =>
  ({ name, type: 'memory', rxqAffinity: { 0: core } }) as const;

test('threads sleep by default, and spin where the datapath says so, core by core', async () => {
  const dp = makeDatapath({ topology, pmdCpus: kCores, pmdSleepMaxUs: { 61: 0 } });
  await dp.addPort(port('a', 61));
  await dp.addPort(port('b', 62));
  await sleeps(62);
  spins(61);

  const changes = await dp.configure({ pmdSleepMaxUs: { 62: 0 } });
  expect(changes.changed).toEqual(['pmdSleepMaxUs']);
  await sleeps(61);
  spins(62);

  await dp.configure({ pmdSleepMaxUs: 0 });
  spins(61);
  spins(62);
});

test('a thread sleeps no longer than the ports it polls want', async () => {
  const dp = makeDatapath({ topology, pmdCpus: kCores });
  await dp.addPort(port('a', 61));
  await sleeps(61);
  await dp.addPort({ ...port('urgent', 61), pmdSleepMaxUs: 0 });
  spins(61);
  await dp.deletePort('urgent');
  await sleeps(61);
});
