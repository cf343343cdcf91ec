#include "actions/rewrite.h"
#include "flow/extract.h"

namespace pollux {
namespace {

constexpr std::size_t kMaxWords = 16;
constexpr std::uint16_t kVlanVid = 0x0fff;

// Words to be hashed, one after the other.
class Hasher {
 public:
  void Add(std::uint64_t word) {
    POLLUX_DCHECK(n_ < kMaxWords);
    words_[n_++] = word;
  }
  template <std::size_t kSize>
  void Add(const std::array<std::uint8_t, kSize>& bytes) {
    for (std::size_t at = 0; at < kSize; at += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, std::min(sizeof word, kSize - at));
      Add(word);
    }
  }
  // The same whichever of the two comes first; it depends on both, not only on where they differ.
  void AddBoth(std::uint64_t a, std::uint64_t b) {
    Add(a ^ b);
    Add(a + b);
  }
  template <std::size_t kSize>
  void AddBoth(const std::array<std::uint8_t, kSize>& a, const std::array<std::uint8_t, kSize>& b) {
    for (std::size_t at = 0; at < kSize; at += sizeof(std::uint64_t)) {
      std::uint64_t words[2] = {};
      std::memcpy(&words[0], a.data() + at, std::min(sizeof words[0], kSize - at));
      std::memcpy(&words[1], b.data() + at, std::min(sizeof words[1], kSize - at));
      AddBoth(words[0], words[1]);
    }
  }
  // Never 0.
  std::uint32_t Finish(std::uint32_t basis) const {
    const std::uint32_t hash = HashWords(words_.data(), n_, basis);
    return hash != 0 ? hash : 1;
  }

 private:
  std::array<std::uint64_t, kMaxWords> words_;
  std::size_t n_ = 0;
};

// The fragments of a datagram must not part: only the first has ports.
bool HasPorts(const Flow& key) {
  return key.nw_frag == kFragNone && Layer4Of(key) != Layer4::kNone;
}

std::uint32_t HashLayer4(const Flow& key, std::uint32_t basis) {
  Hasher hasher;
  switch (Layer3Of(key)) {
    case Layer3::kIpv6:
      hasher.Add(key.ipv6_src);
      hasher.Add(key.ipv6_dst);
      break;
    case Layer3::kIpv4:
    case Layer3::kArp:
      hasher.Add(std::uint64_t{key.ipv4_src} << 32 | key.ipv4_dst);
      break;
    default:
      hasher.Add(key.eth_src);
      hasher.Add(key.eth_dst);
  }
  hasher.Add(std::uint64_t{key.eth_type} << 8 | key.nw_proto);
  if (HasPorts(key)) hasher.Add(std::uint64_t{key.tp_src} << 16 | key.tp_dst);
  return hasher.Finish(basis);
}

std::uint32_t HashSymmetricLayer4(const Flow& key, std::uint32_t basis) {
  Hasher hasher;
  switch (Layer3Of(key)) {
    case Layer3::kIpv6:
      hasher.AddBoth(key.ipv6_src, key.ipv6_dst);
      break;
    case Layer3::kIpv4:
      hasher.AddBoth(key.ipv4_src, key.ipv4_dst);
      break;
    default:
      hasher.AddBoth(key.eth_src, key.eth_dst);
      for (const VlanTag& tag : key.vlans) hasher.Add(tag.tci & ToBe16(kVlanVid));
  }
  const Layer4 layer4 = Layer4Of(key);
  hasher.Add(std::uint64_t{key.eth_type} << 8 | key.nw_proto);
  if (HasPorts(key) && (layer4 == Layer4::kTcp || layer4 == Layer4::kSctp))
    hasher.AddBoth(key.tp_src, key.tp_dst);
  return hasher.Finish(basis);
}

}  // namespace

bool Apply(const HashAction& hash, Packet& packet) {
  const std::uint16_t l3_offset = packet.l3_offset;
  const std::uint16_t l4_offset = packet.l4_offset;
  Miniflow miniflow;
  ExtractMiniflow(packet, miniflow);
  // What a list knows of the packet stays as it was, whether it was hashed or not.
  packet.l3_offset = l3_offset;
  packet.l4_offset = l4_offset;
  const Flow key = miniflow.Expand();
  packet.dp_hash = hash.algorithm == HashAction::Algorithm::kLayer4
                       ? HashLayer4(key, hash.basis)
                       : HashSymmetricLayer4(key, hash.basis);
  return true;
}

}  // namespace pollux
