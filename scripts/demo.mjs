// npm run demo: two hosts that can reach each other only through Pollux, and ports that come and go between them.
//
// This process finds out what it may do here, starts demo/run.mjs in a network namespace, and passes signals on. All that the
// demo makes (namespaces, veth pairs, sockets) is held by processes, and each ends when the one above it does: whatever
// happens, kill -9 included, nothing stays behind and nothing needs to be found and removed by the next run.
//   node scripts/demo.mjs [--seconds=N] [--memory]
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { forkInNamespace, wayToNamespaces } from './demo/lab.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '15' },
    memory: { type: 'boolean', default: false }, // as where there are no namespaces
  },
});
const program = fileURLToPath(new URL('demo/run.mjs', import.meta.url));
// A process group of its own: Ctrl-C is for this process, which then ends the others in order.
const options = { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], detached: true };

function start() {
  const { way, reasons } = values.memory ? { reasons: ['as asked'] } : wayToNamespaces();
  if (way === undefined) {
    console.log(`No network namespaces here (${reasons.join('; ')}).`);
    console.log('The same then on memory ports: a program in place of the two hosts.');
    return fork(program, ['memory', values.seconds], options);
  }
  if (way === 'user') {
    console.log('Not root, so all of it runs in a user namespace (as with unshare -Urn).');
  }
  return forkInNamespace(program, ['veth', values.seconds], { way, ...options });
}

const child = start();
const patienceMs = 5_000;
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 })) {
  process.on(signal, () => {
    child.kill('SIGTERM');
    setTimeout(() => child.kill('SIGKILL'), patienceMs).unref();
    process.exitCode ??= code;
  });
}
child.on('error', (error) => {
  console.error(`demo: ${error.message}`);
  process.exitCode = 1;
});
child.on('exit', (code, signal) => {
  if (signal !== null) console.error(`demo: ended by ${signal}`);
  process.exitCode ??= code ?? 1;
});
