/** Processes for tests of what a process of its own does, or has. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Runs a module in a process of its own; what it printed and how it ended. */
export async function child(text: string, ...flags: string[]) {
  const args = [...flags, '--input-type=module', '--eval', text];
  const options = { timeout: 10_000, cwd: fileURLToPath(new URL('../..', import.meta.url)) };
  try {
    const { stdout, stderr } = await run(process.execPath, args, options);
    return { code: 0, signal: null, stdout: stdout.trim(), stderr };
  } catch (error) {
    const { code, signal, stdout, stderr } = error as any;
    return { code, signal, stdout: String(stdout).trim(), stderr: String(stderr) };
  }
}
