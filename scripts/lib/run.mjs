// Running other programs, always bounded in time.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { root } from './root.mjs';

const running = new Set();
let stopping = false;

/** The child leads a process group of its own, so ending it ends what it started, and nothing else. */
function endGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // already gone
  }
}

// SIGTERM first: one of our own scripts then ends, in its turn, what it runs in groups of its own.
const patienceMs = 3_000;

const duties = [];
/** What a signal that ends this process must not keep it from doing first; `action` may return a promise. */
export const whenStopped = (action) => duties.push(action);

for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
  process.once(signal, () => {
    stopping = true;
    for (const child of running) endGroup(child, 'SIGTERM');
    let busy = true;
    Promise.allSettled(duties.map((action) => action())).then(() => {
      busy = false;
    });
    const deadline = Date.now() + patienceMs;
    setInterval(() => {
      if ((busy || running.size > 0) && Date.now() < deadline) return;
      for (const child of running) endGroup(child, 'SIGKILL');
      process.exit(code);
    }, 20);
  });
}

/**
 * Lets a program, and what it starts, have only the time that nobody else wants. Where the kernel weighs sessions against
 * each other (autogroups), the niceness of a process counts within its session only, so the session is made nice as well.
 */
function yieldAlways(pid) {
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW);
    writeFileSync(`/proc/${pid}/autogroup`, `${constants.priority.PRIORITY_LOW}`);
  } catch {
    // It has ended, or the kernel has no such groups.
  }
}

// Scripts of ours that are run so run others, in sessions of their own: the environment tells them.
const yields = { POLLUX_YIELD: '1' };

/**
 * Runs a program to its end. Resolves to { code, output, timedOut }; never rejects: a program that cannot be started
 * has code 127.
 * show: 'always' copies its output here as it comes, 'never' keeps it, 'failure' prints it only if the code is not 0.
 * yielding: it gets only the time that nobody else wants. signal: an AbortSignal that ends it.
 */
export function run(command, args, options = {}) {
  const { show = 'failure', timeoutMs = 600_000, env, cwd, signal } = options;
  const { yielding = process.env.POLLUX_YIELD === '1' } = options;
  return new Promise((resolve) => {
    if (stopping) return; // nothing new; the process is about to end
    const child = spawn(command, args, {
      cwd: cwd ?? root,
      env: { ...process.env, ...(yielding && yields), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    running.add(child);
    if (yielding && child.pid) yieldAlways(child.pid);
    let output = '';
    let timedOut = false;
    let patience;
    const keep = (target) => (chunk) => {
      output += chunk;
      if (show === 'always') target.write(chunk);
    };
    child.stdout.setEncoding('utf8').on('data', keep(process.stdout));
    child.stderr.setEncoding('utf8').on('data', keep(process.stderr));
    const end = () => {
      endGroup(child, 'SIGTERM');
      patience = setTimeout(() => endGroup(child, 'SIGKILL'), 2 * patienceMs);
    };
    const timer = setTimeout(() => {
      timedOut = true;
      end();
    }, timeoutMs);
    signal?.addEventListener('abort', end, { once: true });

    const finish = (code) => {
      if (!running.delete(child)) return;
      clearTimeout(timer);
      clearTimeout(patience);
      signal?.removeEventListener('abort', end);
      if (show === 'failure' && code !== 0) process.stdout.write(output);
      if (timedOut) console.log(`${command} was ended after ${timeoutMs / 1000} s`);
      resolve({ code, output, timedOut });
    };
    child.on('error', (error) => {
      output += `${command}: ${error.message}\n`;
      finish(127);
    });
    child.on('close', (code, by) => {
      if (by) keep(process.stdout)(`${command} was ended by ${by}\n`);
      finish(code ?? 1);
    });
    // A grandchild that outlives the program would keep the pipes, and so this promise, open.
    child.on('exit', () => endGroup(child, 'SIGTERM'));
  });
}

/** Shows a compiler's warnings, one line each, after a build that passed in silence. */
export function showWarnings(output) {
  for (const line of output.split('\n')) if (/ warning: /.test(line)) console.log(line);
}

/** Runs `job` on every item, `width` at a time (two cores is what we count on). */
export async function eachParallel(items, job, width = 2) {
  const results = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const i = next++;
      results[i] = await job(items[i]);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}
