// Counting what the runners report. A tally is { passed, failed, skipped: [names] }.
import { stripVTControlCharacters } from 'node:util';

export const emptyTally = () => ({ passed: 0, failed: 0, skipped: [] });

export function add(total, part) {
  total.passed += part.passed;
  total.failed += part.failed;
  total.skipped.push(...part.skipped);
}

export const ran = (tally) => tally.passed + tally.failed + tally.skipped.length;

export function closingLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped.length} skipped`;
}

/**
 * Our own scripts end with "N passed, N failed", and name each skip on a line "skipped: name (reason)".
 * The last such closing line counts.
 */
export function parseClosingLine(output) {
  const closing = [...output.matchAll(/^(\d+) passed, (\d+) failed(?:, \d+ skipped)?$/gm)].at(-1);
  if (!closing) return emptyTally();
  const skipped = [...output.matchAll(/^skipped: (.+)$/gm)].map((match) => match[1]);
  return { passed: Number(closing[1]), failed: Number(closing[2]), skipped };
}

/** `[doctest] test cases:  5 |  4 passed | 1 failed | 0 skipped` (skipped: those a filter left out). */
export function parseDoctest(output) {
  const line = /^\[doctest\] test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed/m;
  const match = stripVTControlCharacters(output).match(line);
  if (!match) return emptyTally();
  return { passed: Number(match[1]), failed: Number(match[2]), skipped: [] };
}

/** The report of vitest's JSON reporter. */
export function parseVitest(report) {
  const tally = emptyTally();
  for (const file of report.testResults) {
    // A file that fails before its first test (an import error) has no test to count.
    if (file.assertionResults.length === 0 && file.status === 'failed') tally.failed++;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') tally.passed++;
      else if (test.status === 'failed') tally.failed++;
      else tally.skipped.push(test.fullName);
    }
  }
  return tally;
}
