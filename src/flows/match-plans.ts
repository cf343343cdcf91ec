import { addon } from '../binding.js';
import { encodeMatch, MatchPlan, type PortNames } from '../odp/index.js';
import type { FlowMatch } from './types.js';

/** The number of plans that are kept. */
const kMaxPlans = 8;

/** Plans that may be made, at most, before one was of use. */
const kPlanCredit = 256;

/** Plans for typed matches, the one used last in front. */
export class MatchPlans {
  readonly known: MatchPlan[] = [];
  /** So many plans may still be made before one must be of use. */
  #credit = kPlanCredit;

  /** To be called now and then: other kinds of matches may come. */
  renew(): void {
    this.#credit = Math.min(kPlanCredit, this.#credit + 8);
  }

  hit(plan: MatchPlan): void {
    this.#credit = kPlanCredit;
    if (this.known[0] === plan) return;
    this.known.splice(this.known.indexOf(plan), 1);
    this.known.unshift(plan);
  }

  /** Encodes a match that no plan is for, and learns a plan from it if that is worth while. */
  encode(match: FlowMatch, ports: PortNames): { key: Uint8Array; mask: Uint8Array } {
    if (this.#credit === 0) return encodeMatch(match, ports);
    this.#credit--;
    const { encoded, plan } = MatchPlan.learn(match, ports, addon.freeBytes);
    if (plan !== undefined) {
      this.known.unshift(plan);
      this.known.length = Math.min(this.known.length, kMaxPlans);
    }
    return encoded;
  }
}
