#!/usr/bin/env node
/** `pollux COMMAND`: one file a command, loaded when it is to run. */
import { readFileSync } from 'node:fs';
import { DatapathError } from '../errors.js';
import type { Command } from './command.js';

interface Entry {
  readonly summary: string;
  load(): Promise<Command>;
}

const commands: Readonly<Record<string, Entry>> = {
  doctor: {
    summary: 'what this machine offers each port type, and what to type for what is missing',
    load: async () => (await import('./doctor.js')).doctorCommand,
  },
};

function usage(): string {
  const lines = Object.entries(commands).map(
    ([name, { summary }]) => `  ${name.padEnd(10)}${summary}`,
  );
  return [
    'usage: pollux COMMAND [OPTION…]',
    '',
    ...lines,
    '',
    'pollux COMMAND --help says what a command takes, pollux --version which version this is.',
  ].join('\n');
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8')).version;
}

async function main([name = '--help', ...args]: readonly string[]): Promise<number> {
  if (name === '--help' || name === '-h' || name === 'help') {
    console.log(usage());
    return 0;
  }
  if (name === '--version' || name === '-v') {
    console.log(version());
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    console.error(`pollux: there is no command ${JSON.stringify(name)}\n${usage()}`);
    return 2;
  }
  try {
    const { usage: options, run } = await command.load();
    if (!args.includes('--help') && !args.includes('-h')) return await run(args);
    console.log(`usage: pollux ${name} ${options}\n\n${command.summary}`);
    return 0;
  } catch (error) {
    const { message } = error as Error;
    const hint = error instanceof DatapathError ? error.hint : undefined;
    console.error(`pollux ${name}: ${message}${hint === undefined ? '' : `\n${hint}`}`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
