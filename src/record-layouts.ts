/**
 * How records lie in the byte strings that cross to the core and back. All numbers are little-endian; a
 * layout has the size of the record's fixed part in bytes and the offset of each field there. The core has
 * the same twice over in native/changes/records.h and native/binding/records.h, with what each field means;
 * a test compares them.
 */
export const kRecordLayouts = {
  /** Flags, place and size of the key, size of the mask, place and size of the actions (32 bits each), timeout (a double), ufid. */
  change: {
    size: 48,
    flags: 0,
    keyAt: 4,
    keySize: 8,
    maskSize: 12,
    actionsAt: 16,
    actionsSize: 20,
    timeoutMs: 24,
    ufid: 32,
  },
  changeFlags: { put: 1, byUfid: 2, timeout: 4, replace: 8, create: 16, text: 32 },
  /** A verdict has the fields of a change, and in place of the ufid the place of its packet. */
  verdict: { size: 48, place: 32 },
  verdictFlags: { install: 1, timeout: 4, exact: 64 },
  /** A byte for each change, then the text of the ufid of each flow that was put. */
  outcome: { deleted: 1, put: 2, failed: 3, ufidText: 36 },
  /**
   * Sizes and flags have 32 bits, packets and bytes 64; times are doubles. The ufid is text. Key and mask (for
   * `addon.encodeMatch`) and the actions follow.
   */
  flow: {
    size: 84,
    keySize: 0,
    maskSize: 4,
    actionsSize: 8,
    flags: 12,
    packets: 16,
    bytes: 24,
    usedMs: 32,
    idleTimeoutMs: 40,
    ufid: 48,
  },
  /** Above the TCP flags. */
  flowFlags: { offloaded: 0x10000, reasonShift: 17 },
  /** 32 bits each. Frame, key (for `addon.encodeKey`) and userdata follow. */
  upcall: {
    size: 28,
    reason: 0,
    port: 4,
    wireLength: 8,
    frameSize: 12,
    keySize: 16,
    userdataSize: 20,
    hasUserdata: 24,
  },
} as const;
