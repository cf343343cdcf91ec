/** Whom a port shares its interface with, and what an interface keeps from it. */
import { describe } from 'vitest';
import type { PortTrouble } from '../../src/index.js';
import { sceneTest } from '../support/netns.js';

describe('an interface', () => {
  sceneTest(
    'is one port of a process, whatever its datapaths and types',
    async ({ open, pair, run, assert }) => {
      await pair('near', 'far');
      const [one, two] = [await open(), await open()];
      for (const first of ['af_packet', 'af_xdp'] as const) {
        await one.addPort({ name: 'first', type: first, device: 'near' });
        for (const type of ['af_packet', 'af_xdp'] as const) {
          await assert.rejects(two.addPort({ name: 'near', type }), (error) => {
            assert.equal(error.code, 'EBUSY');
            assert.equal(error.port, 'near');
            assert.match(error.message, /that of port "first"/);
            assert.match(error.hint, /use that one, or delete it/);
            return true;
          });
        }
        // What was refused has left nothing, and the other end is another interface.
        await two.addPort({ name: 'far', type: 'af_packet' });
        await two.deletePort('far');
        await one.deletePort('first');
        await two.addPort({ name: 'near', type: 'af_packet' });
        await two.deletePort('near');
      }
      // Another one of the same name.
      await one.addPort({ name: 'near', type: 'af_packet' });
      await run('ip', 'link', 'set', 'near', 'name', 'moved');
      await run('ip', ...'link add near type veth peer name other'.split(' '));
      await two.addPort({ name: 'second', type: 'af_packet', device: 'near' });
    },
  );

  sceneTest(
    'may go from one port to another in one step, and back if that fails',
    async ({ open, pair, ip, assert, reaches }) => {
      await pair('one', 'one-far');
      await pair('two', 'two-far');
      const ports = (a: string, b: string) =>
        [
          { name: 'a', type: 'af_packet', device: a },
          { name: 'b', type: 'af_packet', device: b },
        ] as const;
      const dp = await open({ ports: [...ports('one', 'two')] });
      await dp.configure({ ports: [...ports('two', 'one')] });
      await dp.configure({ ports: [...ports('one', 'two-far')] });
      // Said or not, what is so by default is no change.
      const said = { visible: false, qdisc: 'use', promiscuous: true, wait: true } as const;
      const same = ports('one', 'two-far').map((port) => ({ ...port, ...said }));
      assert.deepEqual((await dp.configure({ ports: same }, { dryRun: true })).changed, []);

      await ip('link del one');
      await reaches(dp.ports.get('a')!, 'gone');
      const wrong = ports('one', 'nowhere').map((port) => ({ ...port, visible: true }));
      await assert.rejects(dp.configure({ ports: wrong }), ({ code, message }) => {
        assert.doesNotMatch(message, /undone/);
        return code === 'ENODEV';
      });
      assert.deepEqual([...dp.ports.keys()].sort(), ['a', 'b']);
      await pair('one', 'one-far');
      await reaches(dp.ports.get('a')!, 'up');
    },
  );

  sceneTest(
    'that another process has as a port, too, is trouble while it lasts',
    async ({ open, pair, childProcess, packageUrl, until, assert }) => {
      await pair('near', 'far');
      const program = `
        const { Datapath } = await import(${JSON.stringify(packageUrl)});
        const dp = await Datapath.open({ ports: [{ name: 'in', type: 'af_packet', device: 'near' }] });
        console.log('open');
        process.stdin.resume().once('end', () => process.exit());`;
      const other = childProcess.spawn(
        process.execPath,
        ['--input-type=module', '--eval', program],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      );
      let said = '';
      other.stdout.on('data', (text) => {
        said += text;
      });
      await until('it has its port', () => /open/.test(said));
      const dp = await open();
      const troubles: PortTrouble[] = [];
      dp.on('portTrouble', (trouble) => troubles.push(trouble));
      await dp.addPort({ name: 'mine', type: 'af_packet', device: 'near' });
      const shared = () => troubles.find(({ reason }) => reason === 'shared');
      await until('it is told', () => shared() !== undefined);
      assert.match(shared()!.meaning, /another process has a Pollux port/);
      assert.match(shared()!.todo, /ss -xap/);
      // kill -9 leaves no name behind.
      other.kill('SIGKILL');
      await dp.deletePort('mine');
      await dp.addPort({ name: 'mine', type: 'af_packet', device: 'near' });
      await until('the name is mine', () =>
        /@pollux-port-/.test(childProcess.execFileSync('ss', ['-xa'], { encoding: 'utf8' })),
      );
      // An AF_XDP program of another process.
      const rival = childProcess.spawn(
        process.execPath,
        [
          '--input-type=module',
          '--eval',
          program.replace('af_packet', 'af_xdp').replaceAll('near', 'far'),
        ],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      );
      said = '';
      rival.stdout.on('data', (text) => {
        said += text;
      });
      await until('it has its port', () => /open/.test(said));
      await assert.rejects(
        dp.addPort({ name: 'far', type: 'af_xdp' }),
        (error) =>
          error.code === 'EBUSY' && /another process has a Pollux port there/.test(error.hint),
      );
      rival.kill('SIGKILL');
    },
  );

  sceneTest(
    'takes foreign addresses unless it is asked not to; a macvlan never does, and says so',
    async ({ open, pair, link, until, run, sleep, assert }) => {
      await pair('near', 'far');
      const dp = await open();
      const troubles: PortTrouble[] = [];
      dp.on('portTrouble', (trouble) => troubles.push(trouble));
      const promiscuity = async () => (await link('near')).promiscuity as number;
      for (const type of ['af_packet', 'af_xdp'] as const) {
        await dp.addPort({ name: 'near', type });
        assert.equal(await promiscuity(), 1);
        await dp.deletePort('near');
        await dp.addPort({ name: 'near', type, promiscuous: false });
        assert.equal(await promiscuity(), 0);
        await dp.deletePort('near');
      }
      const add = 'link add link near name above type macvlan mode bridge'.split(' ');
      const made = await run('ip', ...add).catch(() => undefined);
      if (made === undefined) return; // This kernel has none.
      await run('ip', 'link', 'set', 'above', 'up');
      await dp.addPort({ name: 'above', type: 'af_packet' });
      await until('it is told', () => troubles.some(({ reason }) => reason === 'macvlan'));
      await dp.deletePort('above');
      troubles.length = 0;
      await run('ip', 'link', 'del', 'above');
      await run('ip', ...add.slice(0, -1), 'passthru');
      await run('ip', 'link', 'set', 'above', 'up');
      await dp.addPort({ name: 'above', type: 'af_packet' });
      await sleep(1_500);
      assert.ok(!troubles.some(({ reason }) => reason === 'macvlan'));
    },
  );
});
