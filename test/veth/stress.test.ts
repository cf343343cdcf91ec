/**
 * Everything that a program may do, from several flows of control at once, at random, while packets move and interfaces come and
 * go. What must hold: every call is answered, with what it says or a DatapathError; the ledger closes; descriptors come back.
 * `npm run stress` does it for longer, and under sanitizers. The core's own, test/native/stress_test.cc, has many more threads.
 */
import { describe } from 'vitest';
import { sceneTest } from '../support/netns.js';

const seconds = Number(process.env.POLLUX_STRESS_SECONDS ?? 15);
const seed = Number(process.env.POLLUX_STRESS_SEED ?? 1);

describe('stress', () => {
  sceneTest(
    'all of the API at once, and nothing is lost or stays',
    async ({
      args: { seconds, seed },
      Datapath,
      DatapathError,
      assert,
      ip,
      descriptors,
      sleep,
      until,
    }) => {
      type Spec = import('../../src/index.js').PortSpec;
      type Memory = import('../../src/index.js').MemoryPort;
      let state = seed;
      /** Below `n`: the same numbers for the same seed (xorshift32). */
      const random = (n: number): number => {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        return (state >>> 0) % n;
      };
      const any = <T>(of: readonly T[]): T => of[random(of.length)]!;
      const counts = { answered: 0, refused: 0, upcalls: 0 };
      /** A call may be refused, but only in the way that is documented. */
      const attempt = async (call: () => unknown) => {
        try {
          await call();
          counts.answered++;
        } catch (error) {
          assert.ok(
            error instanceof DatapathError || (error as Error).name === 'AbortError',
            String((error as Error).stack),
          );
          counts.refused++;
        }
      };

      const before = descriptors();
      const dp = new Datapath({
        topology: { numa: [[0, 1]] },
        upcall: { queueLength: 64 },
        maxIdleMs: 2000,
      });
      for (const event of [
        'error',
        'warning',
        'portTrouble',
        'flowsRemoved',
        'upcallOverflow',
      ] as const)
        dp.on(event as 'error', () => {});
      const end = performance.now() + seconds * 1000;
      const running = () => performance.now() < end;

      const name = () => `p${random(12)}`;
      const number = () => 1 + random(24);
      const spec = (): Spec => {
        const one = {
          name: name(),
          ...(random(2) === 0 && { number: number() }),
          ...(random(4) === 0 && { pmd: false }),
        };
        return any<() => Spec>([
          () => ({ ...one, type: 'memory', rxqs: 1 + random(3) }),
          () => ({ ...one, type: 'memory', queueLength: 64 }),
          () => ({ ...one, type: 'null', generate: { limit: 2000, flows: 100 } }),
          () => ({ ...one, type: 'tap', device: 't0' }),
          () => ({
            ...one,
            type: 'af_packet',
            device: any(['v0', 'v2']),
            wait: random(2) === 0,
            promiscuous: random(2) === 0,
          }),
          () => ({ ...one, type: 'af_xdp', device: 'v0', offloadFlows: true }),
        ])();
      };
      const port = () => any([...dp.ports.values()]) ?? { name: 'none' };
      const match = () =>
        any([
          () => `in_port(${number()})`,
          () => `in_port(${number()}),vlan(any)`,
          () =>
            `in_port(${number()}),eth_type(0x0800),ipv4(dst=10.0.${random(256)}.${random(256)})`,
          () => ({ inPort: number(), ipv4: { src: `10.0.0.${random(256)}`, proto: 17 } }),
        ])();
      const actions = () =>
        any([
          () => String(number()),
          () => `${number()},${number()}`,
          () => `push_vlan(vid=${random(4095)},pcp=0),${number()}`,
          () => 'set(ipv4(ttl=1)),1',
          () => `userspace(pid=0,userdata(${random(90) + 10}))`,
          () => 'recirc(1)',
          () => [{ type: 'output' as const, port: number() }],
        ])();
      const frame = () => {
        const bytes = Buffer.alloc(60 + random(1400), random(256));
        if (random(2) === 0) Buffer.from('080045000028', 'hex').copy(bytes, 12);
        return bytes;
      };
      const changes = () =>
        Array.from({ length: random(300) }, () =>
          random(3) !== 0 ? { put: { match: match(), actions: actions() } } : { delete: match() },
        );

      const actors: (() => Promise<void>)[] = [
        () => attempt(() => dp.addPort(spec())),
        () => attempt(() => dp.deletePort(port().name)),
        () => attempt(() => dp.renumberPort(port().name, number())),
        async () => {
          const ports = Array.from(new Set(Array.from({ length: random(4) }, name)), (name) => ({
            name,
            type: 'memory' as const,
          }));
          await sleep(random(50));
          await attempt(() =>
            dp.configure(
              { ports, pmdCpus: random(2) === 0 ? [0] : [0, 1] },
              { dryRun: random(4) !== 0 },
            ),
          );
        },
        () => attempt(() => dp.flows.put(match(), actions(), { ifExists: 'replace' })),
        () => attempt(() => dp.flows.apply(changes(), { atomic: random(4) === 0 })),
        () => attempt(() => dp.flows.delete(match())),
        async () => {
          await attempt(async () => {
            for await (const flow of dp.flows.dump()) if (random(50) === 0) dp.flows.delete(flow);
          });
          if (random(10) === 0) dp.flows.clear();
          await sleep(random(20));
        },
        async () => {
          await attempt(() =>
            dp.onUpcall(
              random(4) === 0
                ? null
                : (batch) => {
                    for (const upcall of batch) {
                      counts.upcalls++;
                      if (random(3) === 0) upcall.install(actions());
                      else if (random(2) === 0) upcall.execute(actions());
                    }
                  },
            ),
          );
          await sleep(random(10));
        },
        () =>
          attempt(() => {
            const one = port() as Memory;
            if (one.type !== 'memory') return;
            one.inject(Array.from({ length: random(64) }, frame));
            one.drain();
          }),
        () => attempt(() => dp.execute(frame(), actions(), { inPort: port().name })),
        () =>
          attempt(() => JSON.stringify([dp.stats(), dp.trace(frame(), { inPort: port().name })])),
        () => attempt(() => dp.settle({ signal: AbortSignal.timeout(random(30)) })),
        () => attempt(() => dp.reload()),
        async () => {
          // Some of it fails, as things stand.
          await ip(
            any([
              'link add v0 type veth peer name v1',
              'link add v2 type veth peer name v3',
              'link set v0 up',
              'link set v2 up',
              'link set v1 up',
              'link set v1 down',
              'link set v2 mtu 1400',
              'link del v0',
              'link del v2',
            ]),
          ).catch(() => {});
          await sleep(20);
        },
      ];
      await Promise.all(
        actors.map(async (act) => {
          while (running()) {
            await act();
            // Others get their turn, also when nothing was waited for.
            await new Promise(setImmediate);
          }
        }),
      );

      dp.onUpcall(null);
      for (const one of [...dp.ports.keys()]) await dp.deletePort(one);
      await dp.reload();
      const { ledger, drops } = dp.stats();
      assert.equal(
        ledger.received + ledger.executed + ledger.copied,
        ledger.transmitted + ledger.dropped + ledger.queued,
      );
      assert.equal(
        Object.values(drops).reduce((sum, n) => sum + n, 0n),
        ledger.dropped,
      );
      assert.ok(ledger.received > 0n && ledger.executed > 0n);
      assert.ok(
        counts.answered > counts.refused / 20 && counts.upcalls > 0,
        JSON.stringify(counts),
      );
      // What was queued at the end is refused or carried out, never left.
      const late = [dp.addPort(spec()), dp.reload(), dp.settle()].map((one) =>
        one.then(
          () => 'ok',
          (error) => error.code,
        ),
      );
      await dp.close();
      for (const how of await Promise.all(late)) assert.ok(typeof how === 'string');
      await until('all descriptors are back', () => descriptors() <= before);
      console.log(`stress: ${JSON.stringify(counts)}, ${ledger.received} packets received`);
    },
    { limitMs: seconds * 2000 + 60_000, args: { seconds, seed } },
  );
});
