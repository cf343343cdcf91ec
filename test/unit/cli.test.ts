// The command `pollux`, as a person types it.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));

function pollux(...args: string[]) {
  const program = `${root}/dist/cli/pollux.js`;
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

test('says what there is', () => {
  for (const args of [[], ['--help'], ['-h'], ['help']]) {
    const { status, stdout } = pollux(...args);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^usage: pollux COMMAND/);
    expect(stdout).toMatch(/^ {2}doctor +what this machine offers/m);
  }
});

test('says its version', () => {
  for (const flag of ['--version', '-v']) {
    expect(pollux(flag)).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  }
});

test('says what a command takes, without running it', () => {
  for (const flag of ['--help', '-h']) {
    const { status, stdout, stderr } = pollux('doctor', flag);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^usage: pollux doctor \[--json\]\n/);
    expect(stdout).not.toContain('af_packet');
  }
});

test('refuses what it does not know', () => {
  expect(pollux('nosuch')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('there is no command "nosuch"'),
  });
  expect(pollux('doctor', '--nosuch').status).toBe(2);
});
