#!/usr/bin/env node
/** `pollux COMMAND`: one file a command. */
import { doctorCommand } from './doctor.js';

/** Takes the arguments behind its name; returns the exit code. */
export type Command = {
  readonly summary: string;
  run(args: readonly string[]): number | Promise<number>;
};

const commands: Readonly<Record<string, Command>> = { doctor: doctorCommand };

function usage(): string {
  const lines = Object.entries(commands).map(
    ([name, { summary }]) => `  ${name.padEnd(10)}${summary}`,
  );
  return ['usage: pollux COMMAND [OPTION…]', '', ...lines].join('\n');
}

const [name = '--help', ...args] = process.argv.slice(2);
if (name === '--help' || name === 'help') {
  console.log(usage());
} else if (!Object.hasOwn(commands, name)) {
  console.error(`pollux: there is no command ${JSON.stringify(name)}\n${usage()}`);
  process.exitCode = 2;
} else {
  try {
    process.exitCode = await commands[name]!.run(args);
  } catch (error) {
    const { message, hint } = error as { message: string; hint?: string };
    console.error(`pollux ${name}: ${message}${hint === undefined ? '' : `\n${hint}`}`);
    process.exitCode = 2;
  }
}
