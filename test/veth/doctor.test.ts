/**
 * What `pollux doctor` says where something is missing, and that what it says to type helps: it is typed here, in a shell that
 * lacks it. Root stands for a user: without its privilege to be root (SECBIT_NOROOT) it has what it is given, as others have.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Datapath, type DoctorReport, doctor } from 'pollux';
import { describe, expect, test } from 'vitest';
import { unshare, wayToNamespaces } from '../../scripts/demo/lab.mjs';
import { documentOf } from '../support/documents.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const program = `${root}dist/cli/pollux.js`;
const command = `${process.execPath} ${program} doctor --json`;
const { way } = wayToNamespaces() as { way?: 'root' | 'user' };

/** A shell with all privileges, in a network and a mount namespace of its own. */
function shell(script: string): string {
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    [...unshare[way!], '--mount', 'bash', '-c', script],
    { encoding: 'utf8', timeout: 30_000, cwd: root },
  );
  if (status !== 0 && stdout === '') throw new Error(stderr);
  return stdout;
}
/** The reports that a script prints one after the other. */
const reports = (script: string): DoctorReport[] =>
  JSON.parse(
    `[${shell(script)
      .trim()
      .replaceAll(/^}\n(?={)/gm, '},\n')}]`,
  );

const of = (report: DoctorReport, type: string) =>
  report.portTypes.find((line) => line.type === type)!;
const missing = (report: DoctorReport, type: string) =>
  of(report, type).findings.filter(({ severity }) => severity === 'missing');

const asUser = 'setpriv --securebits=+noroot --inh-caps=-all --ambient-caps=-all';
/** The line as root types it who wants to stay root by number, but not in power. */
const typed = (line: string) =>
  line
    .replace(/^sudo /, '')
    .replace('--reuid=$(id -u) --regid=$(id -g) --init-groups', '--securebits=+noroot')
    .replace('node app.mjs', command);

describe('here', () => {
  test('every type stands in the report once, as in portTypes(), and prints', () => {
    const report = doctor();
    expect(report.portTypes.map(({ type }) => type)).toEqual(
      Datapath.portTypes().map(({ type }) => type),
    );
    for (const { type, available, findings } of report.portTypes) {
      const line = Datapath.portTypes().find((other) => other.type === type)!;
      if (available) expect(line.available).toBe(true);
      if (available) expect(findings.filter(({ severity }) => severity === 'missing')).toEqual([]);
      expect(`${report}`).toContain(type);
    }
    expect(of(report, 'memory')).toEqual({ type: 'memory', available: true, findings: [] });
    expect(report.machine.kernel).toMatch(/^\d+\.\d+/);
    expect(JSON.parse(JSON.stringify(report))).toEqual({ ...report });
  });

  test('the command: text, --json, exit codes', () => {
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
    const text = run('doctor');
    expect(text.stdout).toBe(`${doctor()}\n`);
    const json = run('doctor', '--json');
    expect(JSON.parse(json.stdout)).toEqual(JSON.parse(JSON.stringify(doctor())));
    const ill = doctor().portTypes.some(({ findings }) =>
      findings.some(({ severity }) => severity === 'missing'),
    );
    expect([text.status, json.status]).toEqual(ill ? [1, 1] : [0, 0]);
    expect(run('docter')).toMatchObject({ status: 2, stdout: '' });
    expect(run('doctor', '--jsn').status).toBe(2);
    expect(run().stdout).toMatch(/doctor +what this machine offers/);
  });
});

test.skipIf(way === undefined)('it opens no interface, and leaves no descriptor', () => {
  const program = `
    const { doctor } = await import('pollux');
    const { readdirSync } = await import('node:fs');
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const before = descriptors();
    for (let i = 0; i < 10; i++) doctor();
    console.log(descriptors() - before);`;
  const run = `${process.execPath} --input-type=module --eval "${program.replaceAll('\n', ' ')}"`;
  const links = 'ip -d link | md5sum';
  const [before, leaked, after] = shell(`${links}; ${run}; ${links}`).trim().split('\n');
  expect(leaked).toBe('0');
  expect(after).toBe(before);
});

describe.skipIf(way === undefined)('what is missing, and what to type', () => {
  test('the lines that README.md shows', () => {
    const { blocks } = documentOf('README.md');
    const sample = blocks.find(({ text }) => text.startsWith('af_packet '))!;
    expect(shell(`${asUser} ${command.replace(' --json', '')}`)).toContain(sample.text);
  });

  test('capabilities', () => {
    const [ill] = reports(`${asUser} ${command}`);
    expect(ill!.machine.capabilities).toEqual([]);
    expect(of(ill!, 'memory').available).toBe(true);
    expect(of(ill!, 'pcap').available).toBe(true);
    for (const [type, capabilities] of [
      ['af_packet', ['NET_RAW']],
      ['tap', ['NET_ADMIN']],
      ['af_xdp', ['NET_RAW', 'NET_ADMIN', 'BPF']],
    ] as const) {
      expect(of(ill!, type).available).toBe(false);
      const finding = missing(ill!, type).find(({ text }) => text.includes('lacks'))!;
      for (const name of capabilities) expect(finding.text).toContain(`CAP_${name}`);
      expect(finding.command).toMatch(/^sudo setpriv /);
      const [well] = reports(typed(finding.command!));
      expect([...well!.machine.capabilities].sort()).toEqual([...capabilities].sort());
      // In a user namespace, no capability suffices for XDP.
      const left = missing(well!, type).filter(({ text }) => !/locked|user namespace/.test(text));
      expect(left).toEqual([]);
      if (type !== 'af_xdp') expect(of(well!, type).available).toBe(true);
    }
  });

  test('capabilities that the process can have no more, as in a container', () => {
    const [ill] = reports(`setpriv --bounding-set=-all --inh-caps=-all ${command}`);
    const [finding] = missing(ill!, 'af_packet');
    const line = ill!.machine.container ? /^docker run --cap-add=NET_RAW/ : /^sudo setpriv/;
    expect(finding!.command).toMatch(line);
  });

  test('what AF_XDP does without on an old kernel, and in generic mode on any', () => {
    const advice = (report: DoctorReport) =>
      of(report, 'af_xdp').findings.filter(({ severity }) => severity === 'advice');
    const [now, old] = reports(`${command}; setarch --uname-2.6 ${command}`);
    expect(old!.machine.kernel).toMatch(/^2\.6\./);
    const [flows, tags] = advice(old!);
    expect(flows!.text).toMatch(/^offloadFlows has no effect: Linux 6\.3 /);
    expect(flows!.command).toBeUndefined();
    expect(tags!.text).toMatch(/^before Linux 6\.8 every mode loses VLAN tags/);

    const [major = 0, minor = 0] = now!.machine.kernel.split('.').map(Number.parseFloat);
    if (major < 6 || (major === 6 && minor < 8)) return;
    expect(advice(now!).map(({ text }) => text)).toEqual([
      expect.stringMatching(/^mode "generic" loses VLAN tags/),
    ]);
    // What it says to type is a line that ethtool takes.
    const peer = 'ip link add v0 type veth peer name v1';
    const typing = advice(now!)[0]!
      .command!.replace(/^sudo /, '')
      .replace('PEER', 'v1');
    const features = shell(`${peer}; ethtool -k v1; ${typing}; ethtool -k v1`);
    expect(features.match(/^tx-vlan-offload: \w+/gm)).toEqual([
      'tx-vlan-offload: on',
      'tx-vlan-offload: off',
    ]);
  });

  test('BIG TCP', () => {
    const big = (report: DoctorReport) =>
      report.findings.filter(({ text }) => text.includes('BIG TCP'));
    const make = 'ip link add v0 type veth peer name v1 && ip link set v0 gso_max_size 196608';
    const [ill] = reports(`${make}; ${command}`);
    expect(big(ill!).map(({ text }) => text)).toEqual([
      expect.stringMatching(/^v0 has frames of up to 196608 bytes/),
    ]);
    const [well] = reports(`${make}; ${typed(big(ill!)[0]!.command!)}; ${command}`);
    expect(big(well!)).toEqual([]);
  });

  test('locked memory', () => {
    const grant = '--securebits=+noroot --inh-caps=+net_raw --ambient-caps=+net_raw';
    const less = `prlimit --pid $$ --memlock=65536:65536; setpriv ${grant} ${command}`;
    const [ill] = reports(less);
    expect(ill!.machine.memlock).toBe(65_536);
    const finding = missing(ill!, 'af_xdp').find(({ text }) => text.includes('locked'))!;
    expect(finding.text).toContain('65536 bytes');
    if (!finding.command?.startsWith('sudo')) return; // Nothing helps from inside.
    const [, well] = reports(
      finding.command.startsWith('sudo prlimit')
        ? `${less}; ${typed(finding.command)}; setpriv ${grant} ${command}`
        : `${less}; ${typed(finding.command)}`,
    );
    expect(missing(well!, 'af_xdp').filter(({ text }) => text.includes('locked'))).toEqual([]);
  });

  test('/dev/net/tun: not there, and not for this user', () => {
    const hide = 'mount -t tmpfs none /dev/net';
    const [ill] = reports(`${hide}; ${command}`);
    const [finding] = missing(ill!, 'tap');
    expect(finding!.text).toMatch(/^\/dev\/net\/tun is not there/);
    expect(of(ill!, 'tap').available).toBe(false);
    if (ill!.machine.container) {
      expect(finding!.command).toMatch(/^docker run --device \/dev\/net\/tun/);
    } else if (way === 'root') {
      const [well] = reports(`${hide}; ${typed(finding!.command!)}; ${command}`);
      expect(of(well!, 'tap').available).toBe(true);
    }
    if (way !== 'root') return; // Nobody else makes device files.
    const grant = 'setpriv --securebits=+noroot --inh-caps=+net_admin --ambient-caps=+net_admin';
    const lock = `${hide}; mknod -m 600 /dev/net/tun c 10 200; chown 1 /dev/net/tun`;
    const [locked] = reports(`${lock}; ${grant} ${command}`);
    const [denied] = missing(locked!, 'tap');
    expect(denied!.text).toMatch(/may not open/);
    const [open] = reports(`${lock}; ${typed(denied!.command!)}; ${grant} ${command}`);
    expect(of(open!, 'tap').available).toBe(true);
  });
});
