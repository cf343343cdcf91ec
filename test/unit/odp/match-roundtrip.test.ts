// Conversions between the three forms lose nothing: for every field of the table and every shape of
// mask, then at random.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeMatch,
  encodeMatch,
  type FlowMatch,
  formatMatch,
  parseMatch,
} from '../../../src/odp/index.js';
import { groups } from '../../../src/odp/schema/compile.js';
import { anyMatch, matchOf, samples, wildcarded } from './match-samples.js';
import { noNames } from './refusals.js';

const seeded = { seed: 20160412, numRuns: 150 };

function checkMatch(match: FlowMatch<number | string>): void {
  const encoded = encodeMatch(match, noNames);
  expect(decodeMatch(encoded.key, encoded.mask)).toEqual(match);
  const text = formatMatch(match);
  expect(parseMatch(text)).toEqual(match);
  expect(formatMatch(parseMatch(text))).toBe(text);
  expect(encodeMatch(text, noNames)).toEqual(encoded);
  // Verbose text says the same.
  expect(parseMatch(formatMatch(match, { verbose: true }))).toEqual(match);
}

describe('every field of the table, every shape of mask', () => {
  for (const group of groups) {
    for (const field of group.fields) {
      test(field.label, () => {
        let tried = 0;
        for (const value of samples(field)) {
          const match = matchOf(group, field, value);
          if (match === undefined) continue;
          checkMatch(match);
          tried++;
        }
        expect(tried).toBeGreaterThan(0);
      });
    }
  }

  test('a mask of nothing says nothing', () => {
    for (const group of groups) {
      for (const field of group.fields) {
        if (field.exact === true || field.kind === 'frag' || field.implied !== undefined) continue;
        const encoded = encodeMatch(matchOf(group, field, wildcarded(field))!, noNames);
        expect(encoded).toEqual(encodeMatch(matchOf(group, field, undefined)!, noNames));
      }
    }
  });

  test('the bits of cfi that are not matched', () => {
    checkMatch({ inPort: 1, vlan: { vid: 3, cfi: { value: 1, mask: 0 } } });
  });
});

describe('at random', () => {
  test('match: typed, netlink, text and back', () => {
    fc.assert(fc.property(anyMatch, checkMatch), seeded);
  });

  test('what goes without saying is supplied: leaving it out gives the same bytes', () => {
    fc.assert(
      fc.property(anyMatch, (match) => {
        const { ethType, ...rest } = match as Record<string, unknown>;
        const says = ['ipv4', 'ipv6', 'arp'].some((key) => key in rest);
        const short = (says ? rest : match) as unknown as FlowMatch;
        expect(encodeMatch(short, noNames)).toEqual(encodeMatch(match, noNames));
      }),
      seeded,
    );
  });

  test('text in any spacing and any order of items means the same', () => {
    const separator = fc.constantFrom(',', ' ', '\t', ', ', ',,', '\r\n');
    fc.assert(
      fc.property(
        anyMatch,
        fc.array(separator, { minLength: 1, maxLength: 5 }),
        fc.nat(),
        (match, separators, turn) => {
          const items = splitItems(formatMatch(match));
          const turned = items.map((_, i) => items[(i + turn) % items.length]!);
          const text = turned.map((item, i) => item + separators[i % separators.length]).join('');
          expect(parseMatch(text)).toEqual(match);
        },
      ),
      seeded,
    );
  });

  test('rubbish is refused with a position inside the text, never otherwise', () => {
    const word = fc.constantFrom(
      'in_port(1)',
      'eth_type(0x8100)',
      'vlan(vid=1)',
      'vlan(any)',
      'encap(',
      ')',
      '(',
      '=',
      '/',
      ',',
      'ipv4(',
      'ttl=3',
      '-1',
      '0x',
      '09',
      'recirc_id(0)',
      'tcp_flags(+syn',
      '+',
      '|',
      'ufid:',
      '\u00e9',
      'ipv6(src=::',
      'tcp(',
      'tunnel(',
      'tun_id=1',
      'geneve(',
      '{',
      'len=4',
      '0xa',
      '}',
      'vxlan(gbp(',
      'erspan(ver=1',
      'flags(+csum',
      'eth_type(0x8847)',
      'mpls(label=1',
      'label=2',
      'eth_type(0x894f)',
      'nsh(ttl=1',
      'ct_state(+trk)',
      'ct_label(0x1',
      'packet_type(ns=1,id=0x800)',
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 12 }), (words) => {
        const text = words.join('');
        try {
          parseMatch(text);
        } catch (error) {
          expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL', errno: -22 });
          const { position } = error as { position: number };
          expect(position).toBeGreaterThanOrEqual(0);
          expect(position).toBeLessThanOrEqual(text.length);
        }
      }),
      { ...seeded, numRuns: 1000 },
    );
  });

  test('bytes that are no attributes are refused with EINVAL', () => {
    fc.assert(
      fc.property(
        anyMatch,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (match, edits) => {
          const { key, mask } = encodeMatch(match, noNames);
          for (const [at, byte] of edits) key[at % key.length] = byte;
          try {
            // What is understood, and makes sense, is understood in one way.
            const again = encodeMatch(decodeMatch(key, mask), noNames);
            checkMatch(decodeMatch(again.key, again.mask));
          } catch (error) {
            expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL' });
          }
        },
      ),
      seeded,
    );
  });
});

/** The items of the outermost level. */
function splitItems(text: string): string[] {
  const items: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    if (text[i] === '(') depth++;
    if (text[i] === ')') depth--;
    if (i === text.length || (text[i] === ',' && depth === 0)) {
      items.push(text.slice(start, i));
      start = i + 1;
    }
  }
  return items;
}
