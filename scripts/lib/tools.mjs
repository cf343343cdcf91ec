// The programs Pollux is built and tested with, and how to get the missing ones.
import { accessSync, constants, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { run } from './run.mjs';

/** Where a program is, or undefined. The sbin folders are searched too: ip and ethtool live there. */
export function findProgram(...names) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  for (const name of names) {
    for (const folder of folders) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // not here
      }
    }
  }
  return undefined;
}

const program = (names, debian, what) => ({
  what: what ?? names[0],
  debian,
  present: () => findProgram(...names) !== undefined,
});

// Of several clangs, this one; other majors format and warn differently.
export const clangMajor = 14;
export const clangTool = (name) => findProgram(`${name}-${clangMajor}`, name);

/** Debian's own Python, for Debian's own scapy. */
export const scapyPython = '/usr/bin/python3';

const toBuild = [
  program(['g++', 'c++', 'clang++'], 'g++', 'a C++20 compiler'),
  program(['make'], 'make'),
  program(['python3'], 'python3'),
];
const toRun = [program(['ip'], 'iproute2'), program(['ping'], 'iputils-ping')];
const toTest = [
  program(['cmake'], 'cmake'),
  {
    what: 'the doctest header',
    debian: 'doctest-dev',
    present: () =>
      ['/usr/include', '/usr/local/include'].some((dir) => existsSync(`${dir}/doctest/doctest.h`)),
  },
  program(['ethtool'], 'ethtool'),
  program(['iperf3'], 'iperf3'),
  program(['readelf'], 'binutils'),
  program(['tshark'], 'tshark'), // and editcap, capinfos
  program(['tcpdump'], 'tcpdump'),
  {
    what: 'scapy',
    debian: 'python3-scapy',
    present: () => existsSync('/usr/lib/python3/dist-packages/scapy'),
  },
];
/** Without these, some checks are skipped by name. */
const toCheck = [
  ...['clang++', 'clang-format', 'clang-tidy'].map((name) =>
    program([name, `${name}-${clangMajor}`], name.replace('++', '')),
  ),
  program(['ovs-vswitchd'], 'openvswitch-switch', 'Open vSwitch'), // whose dumps are read
];

const needed = {
  build: { required: toBuild, optional: [] },
  demo: { required: [...toBuild, ...toRun], optional: [] },
  test: { required: [...toBuild, ...toRun, ...toTest], optional: toCheck },
};

export const purposes = Object.keys(needed);

const policy = '/usr/sbin/policy-rc.d';

/** What a package brings along is to be run by tests alone, not as a service of the machine. */
async function withoutServices(work) {
  if (existsSync(policy)) return work();
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return await work();
  } finally {
    rmSync(policy, { force: true });
  }
}

async function aptInstall(packages) {
  const apt = (...args) =>
    run('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], {
      show: 'never',
      env: { DEBIAN_FRONTEND: 'noninteractive' },
      timeoutMs: 900_000,
    });
  const install = () => apt('install', '-y', '--no-install-recommends', ...packages);
  const lists = '/var/lib/apt/lists';
  const haveLists = existsSync(lists) && readdirSync(lists).some((f) => f.includes('_Packages'));
  if (!haveLists) await apt('update');
  let result = await install();
  if (result.code !== 0 && haveLists) {
    await apt('update'); // the lists may be older than the archive
    result = await install();
  }
  if (result.code !== 0) throw new Error(`apt-get install failed:\n${result.output}`);
}

/** Makes the tools for `purpose` present. Returns what optional ones are missing; throws when a required one is. */
export async function ensureTools(purpose) {
  const { required, optional } = needed[purpose];
  const missing = [...required, ...optional].filter((tool) => !tool.present());
  if (missing.length === 0) return [];

  const packages = [...new Set(missing.map((tool) => tool.debian))];
  const names = missing.map((tool) => tool.what).join(', ');
  const canInstall = process.getuid() === 0 && findProgram('apt-get') !== undefined;
  if (canInstall) {
    console.log(`setup: installing ${names}`);
    await withoutServices(() => aptInstall(packages));
    return [];
  }
  const line = `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  const stillRequired = missing.filter((tool) => required.includes(tool));
  if (stillRequired.length > 0) {
    throw new Error(`missing: ${names}. Type this, then try again:\n\n  ${line}\n`);
  }
  console.log(`setup: missing, some checks will be skipped: ${names}. To have them:\n  ${line}`);
  return missing.map((tool) => tool.what);
}
