/** What is said of an interface that cannot be had, and that it helps: each hint is followed. */
import { describe } from 'vitest';
import { sceneTest } from '../support/netns.js';

describe('a hint, followed', () => {
  sceneTest(
    'no privilege: a namespace of one’s own, or capabilities that root passes on',
    async ({ childProcess, packageUrl, assert }) => {
      const program = `
      const { execSync } = await import('node:child_process');
      try { execSync('ip link add near type veth peer name far', { stdio: 'ignore' }); } catch {}
      const { Datapath } = await import(${JSON.stringify(packageUrl)});
      const dp = new Datapath();
      const say = ({ code, hint, state }) => ({ code, hint, state });
      const outcomes = [];
      for (const spec of [{ name: 'near', type: 'af_packet' }, { name: 'mine', type: 'tap' }])
        outcomes.push(say(await dp.addPort(spec).catch((error) => error)));
      await dp.close();
      console.log(JSON.stringify(outcomes));`;
      const run = (...before: string[]) => {
        const [command, ...args] = [
          ...before,
          process.execPath,
          '--input-type=module',
          '--eval',
          program,
        ];
        const { stdout, stderr } = childProcess.spawnSync(command!, args, {
          encoding: 'utf8',
          timeout: 10_000,
        });
        assert.notEqual(stdout, '', stderr);
        return JSON.parse(stdout) as { code?: string; hint?: string; state?: string }[];
      };
      const withoutPower = ['setpriv', '--securebits=+noroot'];
      childProcess.execSync('ip link add near type veth peer name far');
      const refused = run(...withoutPower, '--inh-caps=-all', '--ambient-caps=-all');
      assert.deepEqual(
        refused.map(({ code }) => code),
        ['EPERM', 'EPERM'],
      );
      const [packet, tap] = refused.map(({ hint }) => hint!);
      // root, by capabilities as systemd's AmbientCapabilities= gives them.
      for (const [which, hint] of [packet!, tap!].entries()) {
        const named = hint
          .match(/cap_[a-z_,]*/)![0]
          .split(',')
          .map((name) => name.replace('cap_', '+'));
        assert.match(hint, /AmbientCapabilities=/);
        const list = named.join(',');
        const helped = run(...withoutPower, `--inh-caps=${list}`, `--ambient-caps=${list}`);
        assert.equal(helped[which]!.code, undefined, helped[which]!.hint);
        const [own] = hint.match(/unshare -\w+/)!;
        const inOwn = childProcess.spawnSync(own, { shell: true, input: 'exit' });
        if (inOwn.status !== 0) continue; // This machine lets nobody make namespaces.
        assert.equal(run(...own.split(' '))[which]!.code, undefined);
      }
    },
  );

  sceneTest('no /dev/net/tun: it is passed in', async ({ childProcess, packageUrl, assert }) => {
    const program = `
    const { Datapath } = await import(${JSON.stringify(packageUrl)});
    const dp = new Datapath();
    const { code, hint, state } = await dp.addPort({ name: 'mine', type: 'tap' }).catch((error) => error);
    await dp.close();
    console.log(JSON.stringify({ code, hint, state }));`;
    const run = (before: string) => {
      const script = `${before}; exec ${process.execPath} --input-type=module --eval "$PROGRAM"`;
      const env = { ...process.env, PROGRAM: program };
      const args = ['--mount', 'sh', '-c', script];
      const { stdout, stderr } = childProcess.spawnSync('unshare', args, {
        encoding: 'utf8',
        env,
        timeout: 10_000,
      });
      assert.notEqual(stdout, '', stderr);
      return JSON.parse(stdout);
    };
    const refused = run('mount -t tmpfs none /dev/net');
    assert.equal(refused.code, 'ENOENT');
    assert.match(refused.hint, /--device \/dev\/net\/tun/);
    // What --device does.
    const bind = 'touch /mnt/tun && mount --bind /dev/net/tun /mnt/tun';
    const passed = 'touch /dev/net/tun && mount --bind /mnt/tun /dev/net/tun';
    const helped = run(
      `mount -t tmpfs none /mnt; ${bind}; mount -t tmpfs none /dev/net; ${passed}`,
    );
    assert.equal(helped.code, undefined, helped.hint);
    assert.equal(helped.state, 'up');
  });

  sceneTest(
    'a tap that is busy, is no tap, or has other queues',
    async ({ open, ip, assert, run }) => {
      const dp = await open();
      const add = (spec: object) => dp.addPort({ name: 'mine', type: 'tap', ...spec });
      const refused =
        (code: string, hint: RegExp) => (error: { code: string; hint: string; port: string }) => {
          assert.equal(error.code, code);
          assert.match(error.hint, hint);
          assert.equal(error.port, 'mine');
          return true;
        };
      const other = await open({ ports: [{ name: 'busy', type: 'tap' }] });
      const busy = refused(
        'EBUSY',
        /another program holds this tap: choose another name, or stop that program/,
      );
      await assert.rejects(add({ device: 'busy' }), busy);
      await add({ device: 'idle' });
      await dp.deletePort('mine');
      await other.deletePort('busy');
      await add({ device: 'busy' });
      await dp.deletePort('mine');

      await ip('link add bridge0 type bridge');
      await assert.rejects(add({ device: 'bridge0' }), refused('EINVAL', /`ip -d link` shows it/));
      assert.match(await run('ip', '-d', 'link', 'show', 'dev', 'bridge0'), /\n +bridge /);
      await ip('tuntap add dev single mode tap');
      await assert.rejects(
        add({ device: 'single', rxqs: 2 }),
        refused('EINVAL', /another number of queues/),
      );
      await add({ device: 'single', rxqs: 1 });
    },
  );

  sceneTest('loopback', async ({ open, assert, run }) => {
    const dp = await open();
    let hint = '';
    const keep = (error: { code: string; hint: string }) => {
      hint = error.hint;
      return error.code === 'EINVAL';
    };
    await assert.rejects(dp.addPort({ name: 'lo', type: 'af_packet' }), keep);
    const [line] = hint.match(/ip link add \w+ type veth peer name \w+/)!;
    await run('sh', '-c', line);
    assert.equal(
      (await dp.addPort({ name: line.split(' ')[3]!, type: 'af_packet' })).state,
      'down',
    );
  });
});
