// The package's types, as programs of all kinds compile against them: the library is checked as well.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Project } from './project.js';

const program = `
  const config: DatapathConfig = { name: 'x', ports: [{ name: 'a', type: 'memory' }] };
  export async function main(): Promise<bigint> {
    const dp: Datapath = await Datapath.open(config);
    const port: MemoryPort = await dp.addPort({ name: 'b', type: 'memory' });
    const handler: UpcallHandler = (batch) => {
      for (const packet of batch) packet.install([{ type: 'output', port }]);
    };
    dp.onUpcall(handler);
    dp.on('error', (error: DatapathError) => console.error(error.code, error.hint));
    const match: FlowMatch = { inPort: port, ipv4: { proto: 17 } };
    dp.flows.put(match, parseActions('drop'));
    const names: string[] = [...dp.ports.keys()];
    const text: string = formatMatch(match, { ports: dp.ports });
    await dp.close();
    return names.length > 0 && text !== '' ? dp.stats().ledger.received : 0n;
  }
`;
const names = 'Datapath, DatapathError, formatMatch, parseActions';
const types = 'DatapathConfig, FlowMatch, MemoryPort, UpcallHandler';

const project = new Project();
beforeAll(() => {
  project.install(
    ...['typescript-5.4@npm:typescript@5.4', 'typescript-newest@npm:typescript@latest'],
    '@types/node@20',
  );
  const imports = `import { ${names}, type ${types.replaceAll(', ', ', type ')} } from 'pollux';`;
  project.write('module.mts', `${imports}${program}`);
  // From CommonJS.
  const required = `import pollux = require('pollux');
    const { ${names} } = pollux;
    ${[...types.split(', '), 'Datapath', 'DatapathError'].map((name) => `type ${name} = import('pollux').${name};`).join('\n')}`;
  project.write(
    'script.cts',
    `${required}${program.replaceAll('export async', 'async')}\nexport = main;`,
  );
  project.write(
    'odp.mts',
    `import { formatActions, type KnownAction, parseMatch } from 'pollux/odp';
     const actions: KnownAction[] = [{ type: 'output', port: 1 }];
     export const told: string = formatActions(actions) + parseMatch('in_port(1)').inPort;`,
  );
});
afterAll(() => project[Symbol.dispose]());

const strict = ['--strict', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes'];

test.each(['typescript-5.4', 'typescript-newest'])('%s', (compiler) => {
  for (const module of ['node16', 'nodenext']) {
    project.node(
      ...[`node_modules/${compiler}/bin/tsc`, '--noEmit', '--skipLibCheck', 'false', ...strict],
      ...['--module', module, '--target', 'es2022', '--lib', 'es2023', '--types', 'node'],
      ...['module.mts', 'script.cts', 'odp.mts'],
    );
  }
});

test('CommonJS has every value that modules have', () => {
  for (const name of ['pollux', 'pollux/odp']) {
    const text = `
      const values = Object.keys(await import('${name}'));
      const { readFileSync } = await import('node:fs');
      const file = '${name === 'pollux' ? 'index' : 'language'}.d.cts';
      const types = readFileSync('node_modules/pollux/dist/' + file, 'utf8');
      console.log(values.filter((name) => !types.includes('const ' + name + ':')).join());`;
    expect(project.node('--input-type=module', '--eval', text)).toBe('');
  }
});
