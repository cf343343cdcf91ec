/** `pollux doctor [--json]`: exits with 1 if something is missing. */
import { parseArgs } from 'node:util';
import { doctor } from '../doctor.js';
import type { Command } from './command.js';

export const doctorCommand: Command = {
  usage: '[--json]\n\n  --json    the report for programs\n\nExits with 1 if something is missing.',
  run(args) {
    const { values } = parseArgs({ args: [...args], options: { json: { type: 'boolean' } } });
    const report = doctor();
    console.log(values.json ? JSON.stringify(report, null, 2) : `${report}`);
    const findings = report.portTypes.flatMap((type) => type.findings);
    return findings.some(({ severity }) => severity === 'missing') ? 1 : 0;
  },
};
