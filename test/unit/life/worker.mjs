import { parentPort, workerData } from 'node:worker_threads';
import { traffic } from './traffic.mjs';

// How it ends by itself, if it does.
const end = {
  exit: () => process.exit(0),
  throw: () => {
    throw new Error('thrown on purpose');
  },
}[workerData?.end];

await traffic({
  onUpcall: () => end?.(),
  onRound: (round) => round === 3 && parentPort.postMessage('at work'),
});
