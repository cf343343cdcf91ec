/** Numbers and names that fields, and rules between fields, are made of. */

export const kEthTypeIpv4 = 0x0800;
export const kEthTypeArp = 0x0806;
export const kEthTypeRarp = 0x8035;
export const kEthTypeVlan = 0x8100;
export const kEthTypeQinq = 0x88a8;
export const kEthTypeIpv6 = 0x86dd;
export const kEthTypeMpls = 0x8847;
export const kEthTypeMplsMulticast = 0x8848;
export const kEthTypeNsh = 0x894f;
/** Below this it is a length. */
export const kEthTypeMin = 0x0600;
/** Stands for the type of frames that have none, but a length. */
export const kEthTypeNone = 0x05ff;

/** Namespace of a packet type whose id is an Ethernet type: a packet without Ethernet header. */
export const kPacketTypeEthType = 1;

/**
 * TPIDs that a tag may carry, matched or pushed. Behind one the core always finds a tag, so as a
 * payload type they make no sense while there is room for another.
 */
export const kTagTpids: readonly number[] = [kEthTypeVlan, kEthTypeQinq, 0x9100];

/** Neighbour solicitation and advertisement, the ICMPv6 types that carry `nd` and `nd_ext`. */
export const kNdTypes: readonly number[] = [135, 136];

/** OVS_KEY_ATTR_ENCAP and the two attributes a tag is made of. */
export const kKeyEncap = 1;
export const kKeyVlan = 5;
export const kKeyEthertype = 6;

/** Values of `frag`, OVS_FRAG_TYPE_* in order. */
export const kFragNames = ['no', 'first', 'later'] as const;

/** Names of the TCP flag bits, lowest first. */
export const kTcpFlagNames = [
  'fin',
  'syn',
  'rst',
  'psh',
  'ack',
  'urg',
  'ece',
  'cwr',
  'ns',
  '[200]',
  '[400]',
  '[800]',
] as const;

/** Names of the bits of a connection's state, lowest first. */
export const kCtStateNames = ['new', 'est', 'rel', 'rpl', 'inv', 'trk', 'snat', 'dnat'] as const;

/** Names of the tunnel flags, lowest first. */
export const kTunnelFlagNames = ['oam', 'df', 'csum', 'key'] as const;
/**
 * OVS_TUNNEL_KEY_ATTR_* of each tunnel flag. They have no payload; that of `key` is the tunnel's
 * id.
 */
export const kTunnelFlagAttributes = [7, 5, 6, 0] as const;
/** OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS. */
export const kTunnelGeneve = 8;

/** Metadata of an NSH header of this type is four words. */
export const kNshMdType1 = 1;
